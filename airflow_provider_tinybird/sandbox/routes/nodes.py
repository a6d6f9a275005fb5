"""Nodes of pipes over HTTP: add, change, delete, materialize, publish as the endpoint."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column, NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe
from airflow_provider_tinybird.sandbox.http.auth import CREATE, PIPES_CREATE
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request, not_found
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer, needed
from airflow_provider_tinybird.sandbox.routes import populate
from airflow_provider_tinybird.sandbox.routes.copies import checked_columns
from airflow_provider_tinybird.sandbox.routes.datasources import refuse_in_forward, used_by
from airflow_provider_tinybird.sandbox.routes.pipes import change, described, described_node
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox, checked

_TYPES = ("standard", "materialized", "endpoint")


def add_node(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/nodes``: the SQL is the body; ``type=materialized`` makes a view, and its data source where it is missing."""
    pipe, params = changeable_pipe(box, call), dict(call.query)
    name = params.get("name") or f"{pipe.name}_{len(pipe.nodes)}"
    _check_name(box, pipe, name)
    kind = (params.get("type") or "standard").lower()
    if kind not in _TYPES:
        raise bad_request(f"type '{kind}' of a node is none: use one of {', '.join(_TYPES)}")
    node = NodeFile(name, _sql(call), NodeKind.STANDARD, params.get("description", ""))
    _check_sql(box, pipe.with_node(node), node)
    if kind == "materialized":
        node = replace(
            node, kind=NodeKind.MATERIALIZED, settings={"datasource": _target(box, call, pipe, node, params)}
        )
    new = pipe.with_node(node)
    change(box, pipe, published(new, node) if kind == "endpoint" else new)
    shown = described_node(box, new, node)
    if flag(params, "populate") and kind == "materialized":
        shown["job"] = populate.start(box, call, new, node, params)
    return json_answer(shown)


def update_node(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/pipes/{name}/nodes/{node}``: the SQL is the body, name and description are in the URL."""
    pipe, params = changeable_pipe(box, call), dict(call.query)
    old = node_of(pipe, call)
    name = params.get("name") or old.name
    if name != old.name:
        _check_name(box, pipe, name)
    node = replace(old, name=name, sql=_sql(call), description=params.get("description", old.description))
    new = pipe.with_node_for(old, node)
    _check_sql(box, new, node)
    change(box, pipe, new)
    return json_answer(described_node(box, new, node))


def delete_node(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/pipes/{name}/nodes/{node}``: not of one that is published; others may still name it."""
    pipe = changeable_pipe(box, call)
    node = node_of(pipe, call)
    if node.kind is not NodeKind.STANDARD:
        raise bad_request(
            f"Node '{node.name}' is published as {node.kind.value}, and cannot be removed: take that back first"
        )
    change(box, pipe, pipe.without_node(node))
    return Answer(204)


def publish(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/nodes/{node}/endpoint``: in the place of another node that was the endpoint."""
    pipe = changeable_pipe(box, call)
    return _publish(box, call, pipe, node_of(pipe, call))


def publish_by_id(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/pipes/{name}/endpoint``: the older way, with the id or name of the node as the body."""
    pipe = changeable_pipe(box, call)
    text = call.body.content().decode("utf-8", errors="replace").strip()
    node = pipe.node_named(text)
    if node is None:
        raise not_found("Node", text)
    return _publish(box, call, pipe, node)


def unpublish(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/pipes/{name}/nodes/{node}/endpoint``."""
    pipe = changeable_pipe(box, call)
    return json_answer(described(box, _without(box, pipe, node_of(pipe, call), NodeKind.ENDPOINT), call.base_url))


def unlink(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/pipes/{name}/nodes/{node}/materialization``: the rows that it made stay."""
    pipe = changeable_pipe(box, call)
    _without(box, pipe, node_of(pipe, call), NodeKind.MATERIALIZED)
    return Answer(204)


def analyze(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/pipes/{name}/nodes/{node}/analysis``: what a data source for the rows of a node would have to be."""
    pipe = changeable_pipe(box, call)
    node = node_of(pipe, call)
    columns = box.engine.check(checked(box, Composer(box.workspace, {}).pipe(pipe, node)))
    return json_answer(
        {
            "analysis": {
                "pipe": {"id": pipe.id, "name": pipe.name},
                "node": described_node(box, pipe, node),
                "datasource": {
                    "name": call.params().get("datasource") or f"{node.name}_mv",
                    "schema": ", ".join(f"`{name}` {kind}" for name, kind in columns),
                    "engine": {"engine": "MergeTree", "sorting_key": "tuple()"},
                },
            },
            "warnings": [],
        }
    )


def changeable_pipe(box: Sandbox, call: Call) -> Pipe:
    """The pipe of a call that changes it.

    :raises ApiError: 403, without the scope and in Forward; 404.
    """
    call.caller.require(PIPES_CREATE)
    refuse_in_forward(box)
    return box.workspace.pipe(call.path_values["name"])


def node_of(pipe: Pipe, call: Call) -> NodeFile:
    """The node of a call, by name or id.

    :raises ApiError: 404.
    """
    node = pipe.node_named(call.path_values["node"])
    if node is None:
        raise not_found("Node", call.path_values["node"])
    return node


def published(pipe: Pipe, node: NodeFile) -> Pipe:
    """The pipe with a node as its endpoint, and no other."""
    before = pipe.node_of(NodeKind.ENDPOINT)
    if before:
        pipe = pipe.with_node_for(before, replace(before, kind=NodeKind.STANDARD))
    return pipe.with_node_for(node, replace(node, kind=NodeKind.ENDPOINT)) if node is not before else pipe


def _publish(box: Sandbox, call: Call, pipe: Pipe, node: NodeFile) -> Answer:
    if node.kind not in (NodeKind.STANDARD, NodeKind.ENDPOINT) or pipe.type in ("copy", "sink"):
        raise bad_request(f"Node '{node.name}' cannot be the endpoint: the type of pipe '{pipe.name}' is {pipe.type}")
    new = pipe if node.kind is NodeKind.ENDPOINT else published(pipe, node)
    change(box, pipe, new)
    return json_answer(described(box, new, call.base_url))


def _without(box: Sandbox, pipe: Pipe, node: NodeFile, kind: NodeKind) -> Pipe:
    if node.kind is not kind:
        raise bad_request(f"Node '{node.name}' is not published as {kind.value}: it is {node.kind.value}")
    new = pipe.with_node_for(node, replace(node, kind=NodeKind.STANDARD, settings={}))
    change(box, pipe, new)
    return new


def _target(box: Sandbox, call: Call, pipe: Pipe, node: NodeFile, params: dict[str, str]) -> str:
    """The data source that a new view fills: one that is there, or one that is made for it."""
    name = needed(params, "datasource")
    select = checked(box, Composer(box.workspace, {}).pipe(pipe.with_node(node), node))
    known = box.workspace.find_datasource(name)
    if known and flag(params, "override_datasource"):
        users = used_by(box, known)
        if users:
            names = ", ".join(user["name"] for user in users)
            raise ApiError(409, f"The Data Source '{known.name}' cannot be overridden: it is used by {names}")
        box.workspace.drop(known)
        known = None
    if known is None:
        call.caller.require(CREATE, PIPES_CREATE)
        columns = tuple(Column(column, kind) for column, kind in box.engine.check(select))
        options = {key.removeprefix("engine_"): value for key, value in params.items() if key.startswith("engine_")}
        known = DataSource(name, columns, params.get("engine") or "MergeTree", options)
        with box.log.operation("create", known):
            box.workspace.create(known)
    checked_columns(box, select, known)
    return known.name


def _sql(call: Call) -> str:
    text = call.body.content().decode("utf-8", errors="replace")
    if not text.strip():
        raise bad_request("the SQL of the node is empty: send it as the body")
    return text


def _check_name(box: Sandbox, pipe: Pipe, name: str) -> None:
    box.workspace.check_name("node", name)
    if pipe.node_named(name):
        raise ApiError(409, f"There is already a node with the name '{name}' in pipe '{pipe.name}'")


def _check_sql(box: Sandbox, pipe: Pipe, node: NodeFile) -> None:
    """Refuse SQL that is wrong; that of a template can only be judged with its parameters."""
    if any(one.sql.lstrip().startswith("%") for one in pipe.nodes):
        return
    box.engine.check(checked(box, Composer(box.workspace, {}).pipe(pipe, node)))
