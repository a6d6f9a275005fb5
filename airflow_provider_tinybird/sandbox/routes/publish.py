"""What a node is published as, over HTTP, beside an endpoint: a copy or a sink, with its schedule."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import Pipe
from airflow_provider_tinybird.sandbox.http.auth import CREATE, append_scope
from airflow_provider_tinybird.sandbox.http.errors import EngineError, bad_request, of_engine
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer, needed
from airflow_provider_tinybird.sandbox.routes.copies import MODES, checked_columns, copy_query
from airflow_provider_tinybird.sandbox.routes.nodes import changeable_pipe, node_of
from airflow_provider_tinybird.sandbox.routes.pipes import change, described
from airflow_provider_tinybird.sandbox.routes.sink import output_of
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_CRON_FIELDS = 5
_SINK_SETTINGS = ("path", "file_template", "format", "compression", "write_strategy")


def create_copy(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/nodes/{node}/copy``: a form with ``target_datasource``, ``schedule_cron`` and ``mode``."""
    pipe = changeable_pipe(box, call)
    node, params = _free_node(pipe, call, "copy"), call.params()
    needed(params, "target_datasource")
    return _publish(box, call, pipe, node, NodeKind.COPY, _copy_settings(box, call, pipe, node, params))


def update_copy(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/pipes/{name}/nodes/{node}/copy``: only what is given changes; the schedule ``None`` takes it away."""
    pipe = changeable_pipe(box, call)
    node = _published(pipe, call, NodeKind.COPY)
    settings = {**node.settings, **_copy_settings(box, call, pipe, node, call.params())}
    return _publish(box, call, pipe, node, NodeKind.COPY, settings)


def remove_copy(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/pipes/{name}/nodes/{node}/copy``: the node stays."""
    return _remove(box, call, NodeKind.COPY)


def create_sink(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/nodes/{node}/sink``: parameters in the URL or in a form."""
    pipe = changeable_pipe(box, call)
    node, params = _free_node(pipe, call, "sink"), call.params()
    settings = {"export_connection_name": needed(params, "connection"), "export_path": needed(params, "path")}
    settings |= {f"export_{key}": params[key] for key in _SINK_SETTINGS if params.get(key)}
    if params.get("schedule_cron"):
        settings["export_schedule"] = _cron(params["schedule_cron"])
    sink = replace(node, kind=NodeKind.SINK, settings=settings)
    output_of(sink, {}, pipe.name)
    try:
        box.engine.check(copy_query(box, pipe, node, {}))
    except EngineError as error:
        raise of_engine(error) from None
    return _publish(box, call, pipe, node, NodeKind.SINK, settings)


def remove_sink(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/pipes/{name}/nodes/{node}/sink``: the node stays."""
    return _remove(box, call, NodeKind.SINK)


def _copy_settings(box: Sandbox, call: Call, pipe: Pipe, node: NodeFile, params: dict[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    target = box.workspace.datasource(params.get("target_datasource") or node.settings["target_datasource"])
    call.caller.require(append_scope(target.name), CREATE)
    checked_columns(box, copy_query(box, pipe, node, {}), target)
    settings["target_datasource"] = target.name
    if "schedule_cron" in params:
        settings["copy_schedule"] = _cron(params["schedule_cron"])
    if params.get("mode"):
        if params["mode"] not in MODES:
            raise bad_request(f"mode '{params['mode']}' is none: use one of {', '.join(MODES)}")
        settings["copy_mode"] = params["mode"]
    return settings


def _cron(text: str) -> str:
    if text.strip().lower() in ("", "none", "@on-demand"):
        return "@on-demand"
    if len(text.split()) != _CRON_FIELDS and not text.startswith("@"):
        raise bad_request(f"schedule_cron '{text}' is no cron expression: it has five fields, as in '0 * * * *'")
    return text.strip()


def _free_node(pipe: Pipe, call: Call, kind: str) -> NodeFile:
    """A node of a pipe that is not published as anything.

    :raises ApiError: 400, for others: a pipe is one thing at a time.
    """
    node = node_of(pipe, call)
    if pipe.type != "default":
        raise bad_request(
            f"Node '{node.name}' cannot be a {kind}: pipe '{pipe.name}' is published as {pipe.type} already"
        )
    return node


def _published(pipe: Pipe, call: Call, kind: NodeKind) -> NodeFile:
    node = node_of(pipe, call)
    if node.kind is not kind:
        raise bad_request(f"Node '{node.name}' is not a {kind.value}: it is {node.kind.value}")
    return node


def _publish(box: Sandbox, call: Call, pipe: Pipe, node: NodeFile, kind: NodeKind, settings: dict[str, str]) -> Answer:
    new = pipe.with_node_for(node, replace(node, kind=kind, settings=settings))
    change(box, pipe, new)
    return json_answer(described(box, new, call.base_url))


def _remove(box: Sandbox, call: Call, kind: NodeKind) -> Answer:
    pipe = changeable_pipe(box, call)
    node = _published(pipe, call, kind)
    change(box, pipe, pipe.with_node_for(node, replace(node, kind=NodeKind.STANDARD, settings={})))
    box.paused.discard(pipe.name)
    return Answer(204)
