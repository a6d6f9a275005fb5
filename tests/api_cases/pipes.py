"""Pipes and nodes: how they are made and run."""

from __future__ import annotations

from airflow_provider_tinybird.api import nodes, pipe_definitions, pipes
from airflow_provider_tinybird.api.errors import BadRequestError
from api_cases.case import A_COPY, A_PIPE, A_SINK, NODE, PIPE, TWO, Case

CASES = (
    Case(
        pipes.list_pipes,
        (),
        "GET /v0/pipes?dependencies=true&attrs=name&node_attrs=id%2Cname",
        kw={"dependencies": True, "attrs": ["name"], "node_attrs": ["id", "name"]},
    ),
    Case(pipes.get_pipe, ("shops",), "GET /v0/pipes/shops"),
    Case(pipes.copy, ("copy_totals",), "POST /v0/pipes/copy_totals/copy"),
    Case(pipes.pause_copy, ("copy_totals",), "POST /v0/pipes/copy_totals/copy/pause"),
    Case(pipes.resume_copy, ("copy_totals",), "POST /v0/pipes/copy_totals/copy/resume"),
    Case(pipes.cancel_copy, ("copy_totals",), "POST /v0/pipes/copy_totals/copy/cancel"),
    Case(pipes.sink, ("sink_shops",), "POST /v0/pipes/sink_shops/sink"),
    Case(
        pipes.populate,
        ("sales_view", "summed"),
        "POST /v0/pipes/sales_view/nodes/summed/population?truncate=true",
        kw={"truncate": True},
    ),
    Case(
        pipe_definitions.create_pipe,
        ("mine", [pipe_definitions.NewNode("SELECT 1", "alone", "d")]),
        "POST /v0/pipes",
        b'{"name":"mine","nodes":[{"sql":"SELECT 1","name":"alone","description":"d"}]}',
    ),
    Case(pipe_definitions.create_pipe_from_sql, ("mine", "SELECT 1"), "POST /v0/pipes", b"name=mine&sql=SELECT+1"),
    Case(
        pipe_definitions.create_pipe_from_pipe,
        ("mine", "shops"),
        "POST /v0/pipes?name=mine&from=shops",
        refused=BadRequestError,
    ),
    Case(
        pipe_definitions.update_pipe,
        ("mine",),
        "PUT /v0/pipes/mine?name=yours&description=d",
        kw={"name": "yours", "description": "d"},
        before=A_PIPE,
        canned=PIPE,
    ),
    Case(pipe_definitions.drop_pipe, ("mine",), "DELETE /v0/pipes/mine", before=A_PIPE),
    Case(pipe_definitions.get_pipe_datafile, ("shops",), "GET /v1/pipes/shops.pipe", canned="NODE"),
    Case(
        pipe_definitions.create_copy,
        ("mine", "second", "totals"),
        "POST /v0/pipes/mine/nodes/second/copy",
        b"target_datasource=totals&schedule_cron=0+%2A+%2A+%2A+%2A&mode=replace",
        kw={"schedule_cron": "0 * * * *", "mode": pipes.CopyMode.REPLACE},
        before=TWO,
        canned=PIPE,
    ),
    Case(
        pipe_definitions.update_copy,
        ("mine", "second"),
        "PUT /v0/pipes/mine/nodes/second/copy",
        b"schedule_cron=None",
        kw={"schedule_cron": "None"},
        before=A_COPY,
        canned=PIPE,
    ),
    Case(pipe_definitions.remove_copy, ("mine", "second"), "DELETE /v0/pipes/mine/nodes/second/copy", before=A_COPY),
    Case(
        pipe_definitions.create_sink,
        ("mine", "second"),
        "POST /v0/pipes/mine/nodes/second/sink?connection=c&path=s3%3A%2F%2Fb%2Fx&file_template=f&format=csv&compression=none",
        kw={"connection": "c", "path": "s3://b/x", "file_template": "f"},
        before=TWO,
        canned=PIPE,
    ),
    Case(pipe_definitions.remove_sink, ("mine", "second"), "DELETE /v0/pipes/mine/nodes/second/sink", before=A_SINK),
    Case(
        nodes.create_node,
        ("mine", "SELECT * FROM first"),
        "POST /v0/pipes/mine/nodes?name=second",
        b"SELECT * FROM first",
        kw={"name": "second"},
        before=A_PIPE,
        canned=NODE,
    ),
    Case(
        nodes.create_materialized_node,
        ("mine", "SELECT shop, total FROM first", "totals"),
        "POST /v0/pipes/mine/nodes?name=view&type=materialized&datasource=totals",
        b"SELECT shop, total FROM first",
        kw={"name": "view"},
        before=A_PIPE,
        canned=NODE,
    ),
    Case(
        nodes.update_node,
        ("mine", "first", "SELECT 2"),
        "PUT /v0/pipes/mine/nodes/first?name=renamed&description=d",
        b"SELECT 2",
        kw={"name": "renamed", "description": "d"},
        before=A_PIPE,
        canned=NODE,
    ),
    Case(nodes.delete_node, ("mine", "second"), "DELETE /v0/pipes/mine/nodes/second", before=TWO),
    Case(
        nodes.publish_endpoint, ("mine", "second"), "POST /v0/pipes/mine/nodes/second/endpoint", before=TWO, canned=PIPE
    ),
    Case(nodes.unpublish_endpoint, ("mine", "first"), "DELETE /v0/pipes/mine/nodes/first/endpoint", before=A_PIPE),
    Case(
        nodes.publish_endpoint_by_id,
        ("mine", "second"),
        "PUT /v0/pipes/mine/endpoint",
        b"second",
        before=TWO,
        canned=PIPE,
    ),
    Case(
        nodes.explain,
        ("shops", {"at_least": 1}),
        "GET /v0/pipes/shops/explain?at_least=1",
        canned={"debug_query": "q", "query_explain": "e"},
    ),
    Case(
        nodes.explain,
        ("shops",),
        "GET /v0/pipes/shops/nodes/filtered/explain",
        kw={"node": "filtered"},
        canned={"debug_query": "q", "query_explain": "e"},
    ),
    Case(
        nodes.analyze_materialization,
        ("mine", "first"),
        "GET /v0/pipes/mine/nodes/first/analysis?include_datafile=true&dry_run=false",
        before=A_PIPE,
    ),
    Case(
        nodes.unlink_materialization,
        ("sales_view", "summed"),
        "DELETE /v0/pipes/sales_view/nodes/summed/materialization",
    ),
)
