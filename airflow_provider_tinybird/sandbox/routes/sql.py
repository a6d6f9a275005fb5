"""The Query API, and what endpoints share with it: a read-only query in a format."""

from __future__ import annotations

import json
from collections.abc import Mapping

from airflow_provider_tinybird.sandbox.datafiles.resources import Pipe
from airflow_provider_tinybird.sandbox.datafiles.sqltext import (
    condition_of,
    literal,
    split_format,
    statement_of,
    tokens_of,
)
from airflow_provider_tinybird.sandbox.engine.engine import DATABASE, SERVICE_DATABASE
from airflow_provider_tinybird.sandbox.http.auth import Token, pipe_read_scope, read_scope
from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, parsed_json
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox, checked

SETTINGS = (
    "output_format_json_quote_64bit_integers",
    "output_format_json_quote_denormals",
    "output_format_parquet_string_as_string",
)
_RESERVED = frozenset(
    {"q", "pipeline", "token", "format", "release_replacements", "playground", "query_id", "debug", *SETTINGS}
)
_CONTENT_TYPES = {
    "JSON": "application/json; charset=utf-8",
    "JSONEachRow": "application/x-ndjson; charset=utf-8",
    "CSV": "text/csv; charset=utf-8",
    "CSVWithNames": "text/csv; charset=utf-8",
    "TSV": "text/tab-separated-values; charset=utf-8",
    "TSVWithNames": "text/tab-separated-values; charset=utf-8",
    "Parquet": "application/vnd.apache.parquet",
    "Prometheus": "text/plain; version=0.0.4; charset=utf-8",
}


def run_sql(box: Sandbox, call: Call) -> Answer:
    """``GET`` or ``POST /v0/sql``."""
    token = call.caller
    params = _params(call)
    text = params.get("q", "").strip()
    if not text:
        raise bad_request("the parameter 'q' is required: the SQL to run")
    pipeline = box.workspace.pipe(params["pipeline"]) if params.get("pipeline") else None
    composer = Composer(box.workspace, template_parameters(params), token)
    # A FORMAT in a template can only be seen once it is rendered.
    statement, output_format = split_format(statement_of(composer.rendered(text)))
    checked(box, statement)
    require_reads(box, token, statement, pipeline)
    query = composer.query(statement, pipeline)
    return read_answer(box, query, output_format or "JSON", query_settings(box, params, token))


def read_answer(box: Sandbox, query: str, output_format: str, settings: Mapping[str, str]) -> Answer:
    """Run a composed query and answer with its bytes."""
    checked(box, query)
    result = box.engine.read(query, output_format, settings)
    return Answer(200, result.body, _CONTENT_TYPES.get(output_format, "text/plain; charset=utf-8"))


def query_settings(box: Sandbox, params: Mapping[str, str], token: Token) -> dict[str, str]:
    """The settings that a caller may give, as far as given, and the conditions on the rows that the token may read.

    :raises ApiError: 400, for a value other than 0 and 1.
    """
    settings = {key: params[key] for key in SETTINGS if key in params}
    for key, value in settings.items():
        if value not in ("0", "1"):
            raise bad_request(f"'{key}' must be 0 or 1, not '{value}'")
    filters = _row_filters(box, token)
    return {**settings, "additional_table_filters": filters} if filters else settings


def _row_filters(box: Sandbox, token: Token) -> str:
    """Conditions on tables, as the engine takes them: it puts them on each table however it is reached, so that no SQL gets around them."""
    found = {}
    for name, condition in token.filters_of("DATASOURCES:READ").items():
        datasource = box.workspace.find_datasource(name)
        if datasource:
            condition_of(condition, box.engine.table_functions, box.engine.other_databases)
            found[f"{DATABASE}.{datasource.name}"] = condition
            # Its rows are text, which the condition was not written for.
            found[f"{DATABASE}.{datasource.quarantine}"] = "0"
    listed = ", ".join(f"{literal(table)}: {literal(condition)}" for table, condition in found.items())
    return f"{{{listed}}}" if listed else ""


def template_parameters(params: Mapping[str, str]) -> dict[str, str]:
    """Parameters of the caller that are for the templates."""
    return {key: value for key, value in params.items() if key not in _RESERVED and not key.startswith("__tb__")}


def require_reads(box: Sandbox, token: Token, sql: str, pipeline: Pipe | None = None) -> None:
    """Refuse a query of pipes and data sources that the token may not read; what a pipe itself reads needs no scope.

    :raises ApiError: 403, naming the missing scope.
    """
    if token.allows():
        return
    known = box.workspace.datasources
    quarantines = {one.quarantine: one.name for one in known.values() if one.quarantine not in known}
    names = box.workspace.references.of(sql, {*box.workspace.pipes, *known, *quarantines}).names
    pipes = names & box.workspace.pipes.keys() | ({pipeline.name} if pipeline else set())
    for name in sorted(pipes):
        token.require(pipe_read_scope(name))
    for name in sorted({quarantines.get(name, name) for name in names} & known.keys()):
        token.require(read_scope(name))
    for name in sorted(_service_datasources(sql)):
        token.require(read_scope(name))


def _service_datasources(sql: str) -> set[str]:
    """Names such as ``tinybird.jobs_log``."""
    tokens = tokens_of(sql)
    return {
        f"{SERVICE_DATABASE}.{tokens[index + 2].value}"
        for index, token in enumerate(tokens[:-2])
        if token.is_name and token.value.lower() == SERVICE_DATABASE and tokens[index + 1].text == "."
    }


def _params(call: Call) -> dict[str, str]:
    params = call.params()
    if call.method != "POST" or "q" in params:
        return params
    body = call.body.content().decode("utf-8", errors="replace")
    if call.content_type == "application/json":
        given = parsed_json(body, "the body is not JSON, as its Content-Type says")
        if not isinstance(given, dict):
            raise bad_request("the JSON body must be an object with 'q'")
        return {
            **params,
            **{key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()},
        }
    # Whatever else it is called, the body is the SQL: curl -d calls it a form.
    return {**dict(call.query), "q": body}
