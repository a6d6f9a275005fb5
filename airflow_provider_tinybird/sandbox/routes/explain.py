"""How a pipe or a node would be run: one query out of all nodes, and ClickHouse's plan of it."""

from __future__ import annotations

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import Pipe
from airflow_provider_tinybird.sandbox.http.auth import pipe_read_scope
from airflow_provider_tinybird.sandbox.http.errors import bad_request, not_found
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer
from airflow_provider_tinybird.sandbox.routes.sql import query_settings, require_reads, template_parameters
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox, checked


def explain(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/pipes/{name}/explain`` and ``.../nodes/{node}/explain``; parameters of the pipe are in the URL."""
    pipe = box.workspace.pipe(call.path_values["name"])
    call.caller.require(pipe_read_scope(pipe.name))
    name = call.path_values.get("node")
    node = pipe.node_named(name) if name else pipe.node_of(NodeKind.MATERIALIZED) or _last(pipe)
    if name and node is None:
        raise not_found("Node", name)
    composer = Composer(box.workspace, template_parameters(call.params()), call.caller)
    query = checked(box, composer.pipe(pipe, node))
    require_reads(box, call.caller, query)
    plan = box.engine.read(f"EXPLAIN indexes = 1 {query}", "TSVRaw", query_settings(box, {}, call.caller)).body.decode(
        "utf-8", errors="replace"
    )
    return json_answer(
        {
            "debug_query": composer.without_secrets(query),
            "query_explain": composer.without_secrets(" ".join(plan.split())),
        }
    )


def _last(pipe: Pipe) -> NodeFile:
    if not pipe.nodes:
        raise bad_request(f"Could not get a node of pipe '{pipe.name}' to run the explain plan")
    return pipe.output
