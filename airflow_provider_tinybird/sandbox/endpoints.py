"""Endpoints: the data of a pipe, in a format."""

from __future__ import annotations

from airflow_provider_tinybird.sandbox.auth import pipe_read_scope
from airflow_provider_tinybird.sandbox.box import Sandbox
from airflow_provider_tinybird.sandbox.compose import Composer
from airflow_provider_tinybird.sandbox.datafile import NodeKind
from airflow_provider_tinybird.sandbox.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.sql import (
    checked,
    query_settings,
    read_answer,
    require_reads,
    template_parameters,
)
from airflow_provider_tinybird.sandbox.sqltext import split_format, statement_of
from airflow_provider_tinybird.sandbox.web import Answer, Call

_FORMATS = {
    "json": "JSON",
    "csv": "CSVWithNames",
    "ndjson": "JSONEachRow",
    "parquet": "Parquet",
    "prometheus": "Prometheus",
}


def call_endpoint(box: Sandbox, call: Call) -> Answer:
    """``GET`` or ``POST /v0/pipes/{name}.{format}``: parameters in the URL or in a form; ``q`` is SQL over the result, ``_``."""
    token = call.caller
    pipe = box.workspace.pipe(call.path_values["name"])
    token.require(pipe_read_scope(pipe.name))
    output_format = _FORMATS.get(call.path_values["format"])
    if output_format is None:
        raise bad_request(f"format '{call.path_values['format']}' is not supported: use one of {', '.join(_FORMATS)}")
    if pipe.node_of(NodeKind.ENDPOINT) is None:
        raise ApiError(404, f"The pipe '{pipe.name}' does not have an endpoint yet")
    params = call.params()
    composer = Composer(box.workspace.pipes, template_parameters(params))
    if params.get("q", "").strip():
        statement, _ = split_format(statement_of(params["q"]))
        checked(box, statement)
        require_reads(box, token, statement, pipe)
        query = composer.query(statement, pipe)
    else:
        query = composer.pipe(pipe)
    return read_answer(box, query, output_format, query_settings(params))
