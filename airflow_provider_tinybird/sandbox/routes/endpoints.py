"""Endpoints: the data of a pipe, in a format."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import Pipe
from airflow_provider_tinybird.sandbox.datafiles.sqltext import split_format, statement_of
from airflow_provider_tinybird.sandbox.http.auth import pipe_read_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request, of_engine
from airflow_provider_tinybird.sandbox.http.web import Answer, Call
from airflow_provider_tinybird.sandbox.routes.sql import query_settings, read_answer, require_reads, template_parameters
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.operations_log import EndpointCall
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox, checked

_FORMATS = {
    "json": "JSON",
    "csv": "CSVWithNames",
    "ndjson": "JSONEachRow",
    "parquet": "Parquet",
    "prometheus": "Prometheus",
}


def call_endpoint(box: Sandbox, call: Call) -> Answer:
    """``GET`` or ``POST /v0/pipes/{name}.{format}``: parameters in the URL or in a form; ``q`` is SQL over the result, ``_``."""
    pipe = box.workspace.pipe(call.path_values["name"])
    call.caller.require(pipe_read_scope(pipe.name))
    started = time.monotonic()
    status, problem = 200, None
    try:
        return _answer(box, call, pipe)
    except (ApiError, EngineError) as error:
        refused = of_engine(error) if isinstance(error, EngineError) else error
        status, problem = refused.status, refused.text
        raise
    finally:
        _log(box, call, pipe, time.monotonic() - started, status, problem)


def _log(box: Sandbox, call: Call, pipe: Pipe, seconds: float, status: int, problem: str | None) -> None:
    query = urlencode(call.query)
    box.log.called(
        EndpointCall(
            pipe=pipe,
            method=call.method,
            url=f"{call.path}?{query}" if query else call.path,
            # As documented, those of a POST are not recorded.
            params=dict(call.query) if call.method == "GET" else {},
            token_name=call.caller.name,
            token_id=call.caller.id,
            seconds=seconds,
            status=status,
            error=problem,
            user_agent=call.headers.get("user-agent"),
        )
    )


def _answer(box: Sandbox, call: Call, pipe: Pipe) -> Answer:
    output_format = _FORMATS.get(call.path_values["format"])
    if output_format is None:
        raise bad_request(f"format '{call.path_values['format']}' is not supported: use one of {', '.join(_FORMATS)}")
    if pipe.node_of(NodeKind.ENDPOINT) is None:
        raise ApiError(404, f"The pipe '{pipe.name}' does not have an endpoint yet")
    params = call.params()
    composer = Composer(box.workspace, template_parameters(params), call.caller)
    if params.get("q", "").strip():
        statement, _ = split_format(statement_of(params["q"]))
        checked(box, statement)
        require_reads(box, call.caller, statement, pipe)
        query = composer.query(statement, pipe)
    else:
        query = composer.pipe(pipe)
    return read_answer(box, query, output_format, query_settings(box, params, call.caller))
