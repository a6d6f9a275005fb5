"""Pipes API: the nodes of a pipe. Scope where nothing else is said: ``PIPES:CREATE``. A Forward workspace refuses changes with 403."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from airflow_provider_tinybird.api.body import BytesBody
from airflow_provider_tinybird.api.call import Call, JsonObject, Repeat, Reply
from airflow_provider_tinybird.api.encoding import pairs, pipe_parameters, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import Pipe
from airflow_provider_tinybird.api.pipes import one_pipe
from airflow_provider_tinybird.api.resources import Explained, Node
from airflow_provider_tinybird.api.sending import manage_pipe, nothing, required

T = TypeVar("T")

# As the reference says of the subset that a new view is filled with; populate itself takes more.
_MOST_SUBSET = 0.1


def create_node(
    pipe: str, sql: str, *, name: str | None = None, description: str | None = None, type: str | None = None
) -> Call[Node]:
    """Append a node. ``POST /v0/pipes/{name}/nodes`` with the SQL as the body.

    :param pipe: name or id of the pipe.
    :param sql: its SQL.
    :param name: its name, no reserved word; by default Tinybird makes one.
    :param description: text about it.
    :param type: ``standard`` (default) or ``endpoint``; for ``materialized`` there is :func:`create_materialized_node`.
    :raises ConflictError: the name is taken.
    """
    return _create(pipe, sql, name, {"description": description, "type": type})


def create_materialized_node(
    pipe: str,
    sql: str,
    datasource: str,
    *,
    name: str | None = None,
    description: str | None = None,
    engine: str | None = None,
    engine_options: Mapping[str, str] | None = None,
    override_datasource: bool = False,
    populate: bool = False,
    populate_subset: float | None = None,
    populate_condition: str | None = None,
    unlink_on_populate_error: bool = False,
) -> Call[Node]:
    """Append a node that keeps a data source up to date. ``POST /v0/pipes/{name}/nodes?type=materialized``.

    :param pipe: name or id of the pipe.
    :param sql: its SQL.
    :param datasource: data source to fill; created where it does not exist.
    :param name: its name, no reserved word; by default Tinybird makes one of the pipe's.
    :param description: text about it.
    :param engine: its engine, with ``engine_options`` such as ``{"sorting_key": "day"}``.
    :param engine_options: such as ``{"sorting_key": "day"}``.
    :param override_datasource: replace an existing data source.
    :param populate: start a job that fills it with what is there: ``raw["job"]`` of the answer.
    :param populate_subset: share of the rows, above 0 and below 0.1; it wins over the condition.
    :param populate_condition: SQL condition on the rows of the source to populate with.
    :param unlink_on_populate_error: take the view off its source when the populate fails.
    :raises ConflictError: the name is taken, the view exists, or the data source cannot be overridden.
    """
    if populate_subset is not None and not 0 < populate_subset < _MOST_SUBSET:
        raise InvalidInputError(f"populate_subset is {populate_subset}: give a share above 0 and below {_MOST_SUBSET}.")
    resource_name("data source", datasource)
    options = {f"engine_{key.removeprefix('engine_')}": value for key, value in (engine_options or {}).items()}
    more = {
        "description": description,
        "type": "materialized",
        "datasource": datasource,
        "engine": engine,
        **options,
        "override_datasource": override_datasource or None,
        "populate": populate or None,
        "populate_subset": populate_subset,
        "populate_condition": populate_condition,
        "unlink_on_populate_error": unlink_on_populate_error or None,
    }
    return _create(pipe, sql, name, more)


def update_node(
    pipe: str, node: str, sql: str, *, name: str | None = None, description: str | None = None
) -> Call[Node]:
    """Change a node. ``PUT /v0/pipes/{name}/nodes/{node}`` with the SQL as the body.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    :param sql: its SQL, also where only the name changes.
    :param name: its new name, no reserved word.
    :param description: new text about it.
    """
    if name is not None:
        resource_name("node", name)
    return manage_pipe(
        f"update node '{node}' of pipe '{pipe}'",
        "PUT",
        _path(pipe, node),
        _node,
        Repeat.ONCE if name else Repeat.IDEMPOTENT,
        pairs({"name": name, "description": description}),
        _sql(sql),
    )


def delete_node(pipe: str, node: str) -> Call[None]:
    """Delete a node; others may still read it. ``DELETE /v0/pipes/{name}/nodes/{node}``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    :raises BadRequestError: it is published.
    """
    return manage_pipe(
        f"delete node '{node}' of pipe '{pipe}'", "DELETE", _path(pipe, node), nothing, Repeat.IDEMPOTENT
    )


def publish_endpoint(pipe: str, node: str) -> Call[Pipe]:
    """Publish a node as the pipe's endpoint, in place of another. ``POST /v0/pipes/{name}/nodes/{node}/endpoint``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    """
    what = f"publish node '{node}' of pipe '{pipe}'"
    return manage_pipe(what, "POST", f"{_path(pipe, node)}/endpoint", one_pipe, Repeat.IDEMPOTENT)


def unpublish_endpoint(pipe: str, node: str) -> Call[None]:
    """Take an endpoint back. ``DELETE /v0/pipes/{name}/nodes/{node}/endpoint``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    """
    what = f"unpublish node '{node}' of pipe '{pipe}'"
    return manage_pipe(what, "DELETE", f"{_path(pipe, node)}/endpoint", nothing, Repeat.IDEMPOTENT)


def publish_endpoint_by_id(pipe: str, node_id: str) -> Call[Pipe]:
    """Publish a node the older way: ``PUT /v0/pipes/{name}/endpoint`` with the node's id as the body. Prefer
    :func:`publish_endpoint`.

    :param pipe: name or id of the pipe.
    :param node_id: id of the node.
    """
    return manage_pipe(
        f"publish node '{node_id}' of pipe '{pipe}'",
        "PUT",
        f"/v0/pipes/{resource_name('pipe', pipe)}/endpoint",
        one_pipe,
        Repeat.IDEMPOTENT,
        body=BytesBody(resource_name("node", node_id).encode(), "text/plain"),
    )


def explain(pipe: str, parameters: Mapping[str, object] | None = None, *, node: str | None = None) -> Call[Explained]:
    """Show how a pipe or one of its nodes would be run. ``GET /v0/pipes/{name}/explain``, or ``GET
    /v0/pipes/{name}/nodes/{node}/explain``.

    :param pipe: name or id of the pipe.
    :param parameters: values of the pipe's parameters.
    :param node: by default the published node, else the last. Scopes: ``PIPES:READ:<pipe>`` and ``DATASOURCES:READ`` on what it reads.
    """
    return manage_pipe(
        f"explain pipe '{pipe}'",
        "GET",
        f"{_path(pipe, node) if node is not None else '/v0/pipes/' + resource_name('pipe', pipe)}/explain",
        _explained,
        Repeat.READ,
        pipe_parameters(parameters),
        scope=f"PIPES:READ:{pipe} and DATASOURCES:READ on what it reads",
    )


def analyze_materialization(pipe: str, node: str, *, datasource: str | None = None) -> Call[Mapping[str, Any]]:
    """Find out what a node would need to be materialized. ``GET /v0/pipes/{name}/nodes/{node}/analysis``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    :param datasource: data source that it would fill.
    :return: the answer as JSON: no document tells its members.
    """
    return manage_pipe(
        f"analyze node '{node}' of pipe '{pipe}'",
        "GET",
        f"{_path(pipe, node)}/analysis",
        lambda reply: reply.json_object(),
        Repeat.READ,
        pairs({"include_datafile": True, "dry_run": False, "datasource": datasource}),
    )


def unlink_materialization(pipe: str, node: str) -> Call[None]:
    """Take a materialized view off its source; the rows that it made stay. ``DELETE /v0/pipes/{name}/nodes/{node}/materialization``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    """
    what = f"unlink node '{node}' of pipe '{pipe}'"
    return manage_pipe(what, "DELETE", f"{_path(pipe, node)}/materialization", nothing, Repeat.IDEMPOTENT)


def _create(pipe: str, sql: str, name: str | None, more: Mapping[str, object]) -> Call[Node]:
    if name is not None:
        resource_name("node", name)
    path = f"/v0/pipes/{resource_name('pipe', pipe)}/nodes"
    what = f"add node '{name or ''}' to pipe '{pipe}'"
    return manage_pipe(what, "POST", path, _node, Repeat.ONCE, pairs({"name": name, **more}), _sql(sql))


def _path(pipe: str, node: str) -> str:
    return f"/v0/pipes/{resource_name('pipe', pipe)}/nodes/{resource_name('node', node)}"


def _sql(sql: str) -> BytesBody:
    return BytesBody(required("sql", sql).encode(), "text/plain; charset=utf-8")


def _node(reply: Reply) -> Node:
    body: JsonObject = reply.json_object()
    return Node(
        id=str(body["id"]),
        name=str(body.get("name") or ""),
        sql=str(body.get("sql") or ""),
        type=str(body.get("node_type") or ""),
        raw=body,
    )


def _explained(reply: Reply) -> Explained:
    body = reply.json_object()
    return Explained(str(body["debug_query"]), str(body["query_explain"]))
