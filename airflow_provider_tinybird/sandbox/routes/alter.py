"""Data sources over HTTP, changed: schema, name, rows swapped, shared; and as the text of a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column, DatafileError, parse_schema
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource
from airflow_provider_tinybird.sandbox.datafiles.sqltext import condition_of, quoted
from airflow_provider_tinybird.sandbox.datafiles.text import text_of_datasource
from airflow_provider_tinybird.sandbox.engine.tables import column_definition, qualified
from airflow_provider_tinybird.sandbox.http.auth import ADMIN, CREATE, read_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer, needed
from airflow_provider_tinybird.sandbox.routes.datasources import described, refuse_in_forward, used_by
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_ALTERED = ("schema", "description", "ttl", "indexes")
_CONNECTOR_PREFIXES = ("import_", "kafka_")


@dataclass(frozen=True)
class _Change:
    """What an alter does: to the data source as the sandbox knows it, to its table, and to its quarantine."""

    datasource: DataSource
    operations: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()


def get_file(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/datasources/{name}.datasource``."""
    datasource = box.workspace.datasource(call.path_values["name"])
    call.caller.require(read_scope(datasource.name), CREATE)
    return Answer(200, text_of_datasource(datasource).encode(), "text/plain")


def alter(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{name}/alter``: columns at the end, the description, the time to live; ``dry=true`` only tells."""
    datasource, params = _changeable(box, call), call.params()
    if not any(key in params for key in _ALTERED):
        raise bad_request(f"there is nothing to alter: give one of {', '.join(_ALTERED)}")
    found = _schema(_Change(datasource), params.get("schema"))
    found = _ttl(box, found, params.get("ttl"))
    if "description" in params:
        found = replace(found, datasource=replace(found.datasource, description=params["description"]))
    if not flag(params, "dry"):
        _apply(box, datasource, found)
    return json_answer(
        {
            "operations": list(found.operations),
            "quarantine_operations": list(found.quarantine),
            "dependencies": [user["name"] for user in used_by(box, datasource)],
        }
    )


def update(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/datasources/{name}``: another name, or the settings of a connector."""
    datasource, params = _changeable(box, call), call.params()
    name = params.get("name") or datasource.name
    connector = {key: value for key, value in params.items() if key.startswith(_CONNECTOR_PREFIXES)}
    if name == datasource.name and not connector:
        raise bad_request("there is nothing to update: give 'name', or settings of the connector")
    new = replace(datasource, name=name, connector={**datasource.connector, **connector})
    if name == datasource.name:
        box.workspace.put_datasource(datasource, new)
        return json_answer(described(box, new))
    box.workspace.check_name("data source", name)
    users = used_by(box, datasource)
    if users:
        names = ", ".join(user["name"] for user in users)
        raise ApiError(409, f"The Data Source '{datasource.name}' cannot be renamed: it is used by {names}")
    with box.engine.locked(datasource.name, name), box.log.operation("rename", new):
        for old_table, new_table in ((datasource.name, name), (datasource.quarantine, new.quarantine)):
            box.engine.run(f"RENAME TABLE {qualified(old_table)} TO {qualified(new_table)}")
        box.workspace.put_datasource(datasource, new)
    return json_answer(described(box, new))


def exchange(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/exchange``: two data sources of the same columns swap their rows, and keep their names and ids."""
    call.caller.require(CREATE)
    refuse_in_forward(box)
    params = call.params()
    a, b = (box.workspace.datasource(needed(params, key)) for key in ("datasource_a", "datasource_b"))
    if a.columns != b.columns:
        raise bad_request(f"Data Sources '{a.name}' and '{b.name}' cannot be exchanged: their columns differ")
    if a.name == b.name:
        raise bad_request(f"Data Source '{a.name}' cannot be exchanged with itself")
    with box.engine.locked(a.name, b.name):
        for one, other in ((a.name, b.name), (a.quarantine, b.quarantine)):
            box.engine.run(f"EXCHANGE TABLES {qualified(one)} AND {qualified(other)}")
        # The engine and its keys go with the rows.
        box.workspace.put_datasource(a, replace(a, engine=b.engine, engine_options=b.engine_options))
        box.workspace.put_datasource(b, replace(b, engine=a.engine, engine_options=a.engine_options))
    return json_answer({"datasource_a": described(box, a), "datasource_b": described(box, b)})


def share(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{id}/share``: noted, and shown in ``shared_with``."""
    return _share(box, call, shared=True)


def unshare(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/datasources/{id}/share``."""
    return _share(box, call, shared=False)


def _share(box: Sandbox, call: Call, shared: bool) -> Answer:
    call.caller.require(ADMIN)
    datasource, params = box.workspace.datasource(call.path_values["name"]), call.params()
    if needed(params, "origin_workspace_id") != box.workspace.id:
        raise ApiError(404, f"Workspace '{params['origin_workspace_id']}' not found")
    with_ids = set(datasource.shared_with) - {needed(params, "destination_workspace_id")}
    if shared:
        with_ids.add(params["destination_workspace_id"])
    new = replace(datasource, shared_with=tuple(sorted(with_ids)))
    box.workspace.put_datasource(datasource, new)
    return json_answer(described(box, new))


def _changeable(box: Sandbox, call: Call) -> DataSource:
    call.caller.require(CREATE)
    refuse_in_forward(box)
    return box.workspace.datasource(call.path_values["name"])


def _schema(found: _Change, text: str | None) -> _Change:
    if text is None:
        return found
    try:
        columns = parse_schema(text)
    except DatafileError as error:
        raise bad_request(f"schema: {error.reason}") from None
    known = found.datasource.columns
    for index, column in enumerate(known):
        if index >= len(columns) or not _same(column, columns[index]):
            raise bad_request(
                f"schema: column '{column.name}' cannot be changed, moved or dropped: only columns at the end can be added"
            )
    new = columns[len(known) :]
    return _Change(
        replace(found.datasource, columns=(*known, *new)),
        tuple(f"ADD COLUMN {column_definition(column)}" for column in new),
        tuple(f"ADD COLUMN {quoted(column.name)} Nullable(String)" for column in new),
    )


def _same(one: Column, other: Column) -> bool:
    """Whether a column of the given schema is the one that is there; JSONPaths, defaults and codecs that are left out stay."""
    return (one.name, one.type) == (other.name, other.type)


def _ttl(box: Sandbox, found: _Change, text: str | None) -> _Change:
    if text is None:
        return found
    options: dict[str, Any] = dict(found.datasource.engine_options)
    before = options.pop("ttl", None)
    if text.strip().lower() in ("", "false"):
        operations = ("REMOVE TTL",) if before else ()
    else:
        options["ttl"] = condition_of(text, box.engine.table_functions, box.engine.other_databases)
        operations = (f"MODIFY TTL {options['ttl']}",)
    datasource = replace(found.datasource, engine_options=options)
    return _Change(datasource, (*found.operations, *operations), found.quarantine)


def _apply(box: Sandbox, old: DataSource, found: _Change) -> None:
    for column in found.datasource.columns[len(old.columns) :]:
        for text in (column.type, column.default, column.codec):
            if text:
                condition_of(text, box.engine.table_functions, box.engine.other_databases)
    views = materialized.views_below(box, old)
    with box.engine.locked(old.name, *(view.target for view in views)), box.log.operation("alter", found.datasource):
        if found.operations:
            box.engine.run(f"ALTER TABLE {qualified(old.name)} {', '.join(found.operations)}")
        if found.quarantine:
            box.engine.run(f"ALTER TABLE {qualified(old.quarantine)} {', '.join(found.quarantine)}")
        box.workspace.put_datasource(old, found.datasource)
