"""Data sources over HTTP: list, get, truncate, drop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, stamp
from airflow_provider_tinybird.sandbox.datafiles.sqltext import quoted
from airflow_provider_tinybird.sandbox.engine.fitting import type_of
from airflow_provider_tinybird.sandbox.engine.tables import qualified, size_of
from airflow_provider_tinybird.sandbox.http.auth import CREATE, Token, append_scope, read_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

# Clients read these also when they ask for others.
_ALWAYS = ("id", "name", "engine", "type", "indexes", "new_columns_detected", "quarantine_rows")


def list_datasources(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/datasources``: those that the token can read; ``attrs`` picks members."""
    token = call.caller
    found = [described(box, one) for one in box.workspace.datasources.values() if _visible(token, one)]
    wanted = call.params().get("attrs", "")
    if wanted and "engine" not in wanted.split(","):
        found = [_listed(one) for one in found]
    return json_answer({"datasources": [picked(one, call.params(), _ALWAYS) for one in found]})


def _listed(shown: Mapping[str, Any]) -> dict[str, Any]:
    """A data source in a list of some members, as clients read it: the keys of the engine by the names of project files."""
    engine = shown["engine"]
    keys = {f"engine_{key}": engine.get(key) for key in ("sorting_key", "partition_key", "primary_key")}
    columns = [{key: value for key, value in column.items() if key != "auto"} for column in shown["columns"]]
    return {**shown, "engine": {"engine": engine["engine"], **keys}, "columns": columns}


def get_datasource(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/datasources/{name}``."""
    datasource = box.workspace.datasource(call.path_values["name"])
    call.caller.require(read_scope(datasource.name), append_scope(datasource.name), CREATE)
    return json_answer(picked(described(box, datasource), call.params(), _ALWAYS))


def truncate(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{name}/truncate``: the answer has no body, and nothing cascades."""
    call.caller.require(CREATE)
    datasource = box.workspace.datasource_or_quarantine(call.path_values["name"])
    with box.engine.locked(datasource.name), box.log.operation("truncate", datasource) as done:
        done.rows = size_of(box.engine, datasource.name)[0]
        box.engine.run(f"TRUNCATE TABLE {qualified(datasource.name)}")
    return Answer(200)


def drop(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/datasources/{name}``, in Classic workspaces."""
    datasource = box.workspace.datasource(call.path_values["name"])
    call.caller.require(CREATE, f"DATASOURCES:DROP:{datasource.name}")
    refuse_in_forward(box)
    params = call.params()
    users = used_by(box, datasource)
    if users and not flag(params, "dry_run") and not flag(params, "force"):
        names = ", ".join(user["name"] for user in users)
        raise ApiError(
            409, f"The Data Source '{datasource.name}' is used by {names}: drop them first, or give force=true"
        )
    if flag(params, "dry_run"):
        found = {"id": datasource.id, "name": datasource.name, "dependent_pipes": [user["name"] for user in users]}
        return json_answer(found)
    with box.engine.locked(datasource.name):
        box.workspace.drop(datasource)
    return Answer(204)


def refuse_in_forward(box: Sandbox) -> None:
    """Refuse to make or drop a resource in a Forward workspace.

    :raises ApiError: 403.
    """
    if box.options.forward:
        raise ApiError(
            403, "In a Forward workspace resources are created and dropped by deployments only, not over HTTP"
        )


def described(box: Sandbox, datasource: DataSource) -> dict[str, Any]:
    """A data source as the API shows it."""
    rows, size = size_of(box.engine, datasource.name)
    columns = [
        {
            "name": column.name,
            "type": column.type,
            "codec": column.codec,
            "default_value": f"DEFAULT {column.default}" if column.default else None,
            "jsonpath": column.jsonpath,
            "nullable": type_of(column.type).nullable,
            "normalized_name": column.name,
            "auto": False,
        }
        for column in datasource.columns
    ]
    return {
        "id": datasource.id,
        "name": datasource.name,
        "description": datasource.description,
        "type": "ndjson" if any(column.jsonpath for column in datasource.columns) else "csv",
        "cluster": "local",
        "created_at": stamp(datasource.created_at),
        "updated_at": stamp(datasource.created_at),
        "version": 0,
        "project": None,
        "replicated": False,
        "tags": {},
        "headers": {},
        "indexes": [],
        "shared_with": list(datasource.shared_with),
        "used_by": used_by(box, datasource),
        "engine": {"engine": datasource.engine, **datasource.engine_options},
        "schema": {
            "columns": columns,
            "sql_schema": ", ".join(f"{quoted(column.name)} {column.type}" for column in datasource.columns),
        },
        "columns": columns,
        "statistics": {"row_count": rows, "bytes": size},
        "quarantine_rows": size_of(box.engine, datasource.quarantine)[0],
        "new_columns_detected": {},
        "errors_discarded_at": None,
    }


def used_by(box: Sandbox, datasource: DataSource) -> list[dict[str, str]]:
    """Pipes that read a data source, or write to it."""
    readers = box.workspace.readers_of(datasource.name)
    return [
        {"id": pipe.id, "name": pipe.name}
        for pipe in box.workspace.pipes.values()
        if pipe in readers or any(view.target == datasource.name for view in materialized.views_of(pipe))
    ]


def picked(shown: dict[str, Any], params: Mapping[str, str], always: tuple[str, ...] = ()) -> dict[str, Any]:
    """Only the members that ``attrs`` lists; all of them without it."""
    if not params.get("attrs"):
        return shown
    wanted = {*always, *(one.strip() for one in params["attrs"].split(","))}
    return {key: value for key, value in shown.items() if key in wanted}


def _visible(token: Token, datasource: DataSource) -> bool:
    return token.allows(CREATE, read_scope(datasource.name), append_scope(datasource.name))
