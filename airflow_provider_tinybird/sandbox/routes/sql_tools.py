"""``/v0/sql_...``: what the command line asks about SQL that it does not run."""

from __future__ import annotations

from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, split_format, statement_of, tokens_of
from airflow_provider_tinybird.sandbox.engine.references import in_table_position, replaced
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer, needed, parsed_json
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox


def tables(box: Sandbox, call: Call) -> Answer:
    """``/v0/sql_tables``: the tables that a query reads, each with its database, which is empty for the workspace."""
    _ = call.caller
    params = call.params()
    text = needed(params, "q")
    try:
        found = _read(box, text)
    except (ApiError, EngineError):
        if flag(params, "raising"):
            raise
        found = sorted(in_table_position(text))
    return json_answer({"tables": [["", name, ""] for name in found]})


def replace_tables(box: Sandbox, call: Call) -> Answer:
    """``/v0/sql_replace``: a query with other tables, ``replacements`` of which is JSON of names by names."""
    _ = call.caller
    params = call.params()
    other = parsed_json(needed(params, "replacements"), "'replacements' must be JSON")
    if not isinstance(other, dict):
        raise bad_request("'replacements' must be an object of names by names")
    text = split_format(statement_of(needed(params, "q")))[0]
    names = {str(key): str(value) for key, value in other.items()}
    return json_answer({"query": replaced(text, box.workspace.references.of(text, names), names)})


def format_sql(box: Sandbox, call: Call) -> Answer:
    """``/v0/sql_format``: a query as the engine would write it; a template as it is."""
    _ = call.caller
    text = needed(call.params(), "q")
    if text.lstrip().startswith("%"):
        return json_answer({"q": text})
    return json_answer({"q": box.engine.scalar(f"SELECT formatQuery({literal(statement_of(text))}) AS q")})


def _read(box: Sandbox, text: str) -> list[str]:
    sql = split_format(statement_of(text))[0]
    names = {token.value for token in tokens_of(sql) if token.is_name}
    return list(dict.fromkeys(one.name for one in box.workspace.references.of(sql, names).references))
