"""Pipes over HTTP: list, get, make, drop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile, NodeKind, name_problem
from airflow_provider_tinybird.sandbox.datafiles.resources import Pipe, stamp
from airflow_provider_tinybird.sandbox.datafiles.text import text_of_pipe
from airflow_provider_tinybird.sandbox.http.auth import PIPES_CREATE, pipe_read_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer, needed, parsed_json
from airflow_provider_tinybird.sandbox.routes.datasources import picked, refuse_in_forward
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox


def list_pipes(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/pipes``: those that the token can read; ``attrs`` and ``node_attrs`` pick members of pipes and of nodes."""
    token, params = call.caller, call.params()
    # Clients that ask for members of nodes read the nodes, also when they leave them out of attrs.
    always = ("id", "name", "url", *(("nodes",) if params.get("node_attrs") else ()))
    shown = []
    for pipe in box.workspace.pipes.values():
        if token.allows(PIPES_CREATE, pipe_read_scope(pipe.name)):
            whole = described(box, pipe, call.base_url)
            wanted = {"attrs": params.get("node_attrs", "")}
            whole["nodes"] = [picked(node, wanted, ("id", "name")) for node in whole["nodes"]]
            shown.append(picked(whole, params, always))
    return json_answer({"pipes": shown})


def get_pipe(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/pipes/{name}``."""
    pipe = box.workspace.pipe(call.path_values["name"])
    call.caller.require(pipe_read_scope(pipe.name), PIPES_CREATE)
    return json_answer(described(box, pipe, call.base_url))


def create_pipe(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes``: JSON with nodes, or ``name`` and ``sql``. Its last node becomes the endpoint."""
    call.caller.require(PIPES_CREATE)
    refuse_in_forward(box)
    if call.params().get("from"):
        return _copy_of(box, call)
    given = _definition(call)
    name = needed(given, "name")
    nodes = tuple(_node(one, index, name) for index, one in enumerate(given["nodes"]))
    if not nodes:
        raise bad_request("the pipe has no node: give 'nodes' or 'sql'")
    if not any(node.kind is not NodeKind.STANDARD for node in nodes):
        nodes = (*nodes[:-1], NodeFile(nodes[-1].name, nodes[-1].sql, NodeKind.ENDPOINT, nodes[-1].description))
    pipe = Pipe(name, nodes, str(given.get("description") or ""))
    box.workspace.add_pipe(pipe)
    try:
        materialized.create_views(box, pipe)
    except Exception:
        drop(box, pipe)
        raise
    return json_answer(described(box, pipe, call.base_url))


def update_pipe(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/pipes/{name}``: ``name`` and ``description``."""
    call.caller.require(PIPES_CREATE)
    refuse_in_forward(box)
    pipe, params = box.workspace.pipe(call.path_values["name"]), call.params()
    name = params.get("name") or pipe.name
    if name != pipe.name:
        box.workspace.check_name("pipe", name)
        readers = [one.name for one in box.workspace.readers_of(pipe.name)]
        if readers:
            raise ApiError(409, f"Pipe '{pipe.name}' cannot be renamed: it is used by {', '.join(readers)}")
    new = replace(pipe, name=name, description=params.get("description", pipe.description))
    new = replace(new, ids={node.name: pipe.node_id(node) for node in pipe.nodes})
    change(box, pipe, new)
    return json_answer(described(box, new, call.base_url))


def get_pipe_info(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/pipes/{name}.pipe``: as JSON, with the nodes under ``pipeline`` as well."""
    pipe = box.workspace.pipe(call.path_values["name"])
    call.caller.require(pipe_read_scope(pipe.name), PIPES_CREATE)
    nodes = [
        {"name": node.name, "sql": node.sql, "materialized": node.kind is NodeKind.MATERIALIZED} for node in pipe.nodes
    ]
    return json_answer({**described(box, pipe, call.base_url), "pipeline": {"nodes": nodes}})


def get_pipe_file(box: Sandbox, call: Call) -> Answer:
    """``GET /v1/pipes/{name}.pipe``: as the text of a file."""
    pipe = box.workspace.pipe(call.path_values["name"])
    call.caller.require(pipe_read_scope(pipe.name), PIPES_CREATE)
    return Answer(200, text_of_pipe(pipe).encode(), "text/plain")


def change(box: Sandbox, old: Pipe, new: Pipe) -> None:
    """Let a pipe take another's place, with its views; when the engine refuses one, all is as before.

    :raises EngineError: for a view that cannot be made.
    """
    materialized.drop_views(box, old)
    box.workspace.put_pipe(old, new)
    try:
        materialized.create_views(box, new)
    except Exception:
        materialized.drop_views(box, new)
        box.workspace.put_pipe(new, old)
        materialized.create_views(box, old)
        raise


def delete_pipe(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/pipes/{name}``."""
    pipe = box.workspace.pipe(call.path_values["name"])
    call.caller.require(PIPES_CREATE, f"PIPES:DROP:{pipe.name}")
    refuse_in_forward(box)
    drop(box, pipe)
    return Answer(204)


def drop(box: Sandbox, pipe: Pipe) -> None:
    """Drop a pipe and its views; the rows that these made stay."""
    materialized.drop_views(box, pipe)
    box.workspace.drop_pipe(pipe)


def described(box: Sandbox, pipe: Pipe, base_url: str) -> dict[str, Any]:
    """A pipe as the API shows it."""
    shown: dict[str, Any] = {
        "id": pipe.id,
        "name": pipe.name,
        "description": pipe.description,
        "type": pipe.type,
        "endpoint": None,
        "created_at": stamp(pipe.created_at),
        "updated_at": stamp(pipe.created_at),
        "parent": None,
        "url": f"{base_url}/v0/pipes/{pipe.name}.json",
        "nodes": [described_node(box, pipe, node) for node in pipe.nodes],
    }
    if node := pipe.node_of(NodeKind.ENDPOINT):
        shown["endpoint"] = pipe.node_id(node)
    if node := pipe.node_of(NodeKind.COPY):
        target = box.workspace.find_datasource(node.settings.get("target_datasource", ""))
        shown["copy_node"] = pipe.node_id(node)
        shown["copy_mode"] = node.settings.get("copy_mode", "append")
        shown["copy_target_datasource"] = target.id if target else None
        shown["copy_target_workspace"] = box.workspace.id
        shown["schedule"] = schedule_of(box, pipe, node)
    if node := pipe.node_of(NodeKind.SINK):
        shown["sink_node"] = pipe.node_id(node)
    return shown


def cron_of(node: NodeFile) -> str | None:
    """When a copy node runs by itself; None for one that only runs on demand."""
    cron = node.settings.get("copy_schedule", "").strip()
    return None if cron.lower() in ("", "@on-demand") else cron


def schedule_of(box: Sandbox, pipe: Pipe, node: NodeFile) -> dict[str, Any]:
    """The schedule of a copy pipe; the sandbox keeps its state, and never runs it by itself."""
    cron = cron_of(node)
    paused = pipe.name in box.paused
    return {"timezone": "Etc/UTC", "cron": cron, "status": "shutdown" if paused or not cron else "running"}


def described_node(box: Sandbox, pipe: Pipe, node: NodeFile) -> dict[str, Any]:
    """A node as the API shows it."""
    known = box.workspace.datasources.keys() | box.workspace.pipes.keys() | {one.name for one in pipe.nodes}
    shown: dict[str, Any] = {
        "id": pipe.node_id(node),
        "name": node.name,
        "sql": node.sql,
        "description": node.description,
        "node_type": node.kind.value,
        "materialized": None,
        "dependencies": sorted(box.workspace.references.possible(node.sql, known - {node.name})),
        "params": [],
        "tags": {},
        "created_at": stamp(pipe.created_at),
        "updated_at": stamp(pipe.created_at),
    }
    if node.kind is NodeKind.COPY:
        target = box.workspace.find_datasource(node.settings.get("target_datasource", ""))
        shown["tags"] = {
            "copy_target_datasource": target.id if target else None,
            "copy_target_workspace": box.workspace.id,
        }
    if node.kind is NodeKind.MATERIALIZED:
        target = box.workspace.find_datasource(node.settings.get("datasource", ""))
        shown["materialized"] = target.id if target else None
    return shown


def _copy_of(box: Sandbox, call: Call) -> Answer:
    """A pipe like another; instead of one with that name, whose endpoint stays where the name of its node does."""
    params = call.params()
    name, source = needed(params, "name"), box.workspace.pipe(params["from"])
    nodes = tuple(replace(node, kind=NodeKind.STANDARD, settings={}) for node in source.nodes)
    known = box.workspace.pipes.get(name)
    if known is None:
        pipe = Pipe(name, nodes, source.description)
        box.workspace.add_pipe(pipe)
        return json_answer(described(box, pipe, call.base_url))
    endpoint = known.node_of(NodeKind.ENDPOINT)
    nodes = tuple(
        replace(node, kind=NodeKind.ENDPOINT) if endpoint and node.name == endpoint.name else node for node in nodes
    )
    pipe = replace(known, nodes=nodes, description=source.description)
    change(box, known, pipe)
    return json_answer(described(box, pipe, call.base_url))


def _definition(call: Call) -> dict[str, Any]:
    if call.content_type != "application/json":
        params = call.params()
        return {**params, "nodes": [{"sql": needed(params, "sql")}]}
    given = parsed_json(call.body.content(), "the body is not JSON, as its Content-Type says")
    if not isinstance(given, dict) or not isinstance(given.get("nodes", []), list):
        raise bad_request("the body must be a JSON object with 'name' and a list of 'nodes'")
    return {**dict(call.query), "nodes": [], **given}


def _node(given: Any, index: int, pipe: str) -> NodeFile:
    if not isinstance(given, Mapping) or not str(given.get("sql") or "").strip():
        raise bad_request(f"node {index} of pipe '{pipe}' has no 'sql'")
    name = str(given.get("name") or f"{pipe}_{index}")
    problem = name_problem("node", name)
    if problem:
        raise bad_request(problem)
    kind = str(given.get("type") or "standard").lower()
    try:
        node_kind = NodeKind(kind)
    except ValueError:
        raise bad_request(
            f"type '{kind}' of node '{name}' is none: use one of {', '.join(one.value for one in NodeKind)}"
        ) from None
    settings = {key: str(value) for key, value in given.items() if key not in ("name", "sql", "type", "description")}
    return NodeFile(name, str(given["sql"]), node_kind, str(given.get("description") or ""), settings)
