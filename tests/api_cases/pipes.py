"""Pipes and nodes: how they are made, what they are published as, and run."""

from __future__ import annotations

from typing import Any

from airflow_provider_tinybird.api import datasources, jobs, nodes, pipe_definitions, pipes
from airflow_provider_tinybird.api.models import JobStatus
from api_cases.case import Case, Send, count, done, rows

A_PIPE = (
    pipe_definitions.create_pipe(
        "mine", [pipe_definitions.NewNode("SELECT shop, amount AS total FROM sales", "first")]
    ),
)
# The sandbox publishes the last node of a new pipe.
TWO = (
    *A_PIPE,
    nodes.unpublish_endpoint("mine", "first"),
    nodes.create_node("mine", "SELECT * FROM first", name="second"),
)
A_COPY = (*TWO, pipe_definitions.create_copy("mine", "second", "totals", schedule_cron="0 * * * *"))
A_SINK = (
    *TWO,
    pipe_definitions.create_sink("mine", "second", connection="bucket", path="s3://b/x", file_template="f"),
)


def raw(name: str, send: Send) -> dict[str, Any]:
    return dict(send(pipes.get_pipe(name)).raw)


def node(name: str, node_name: str, send: Send) -> dict[str, Any]:
    (found,) = [one for one in raw(name, send)["nodes"] if one["name"] == node_name]
    return dict(found)


def type_of(name: str, send: Send) -> str:
    return str(send(pipes.get_pipe(name)).type)


RUNNING = (
    Case(
        pipes.list_pipes,
        (),
        "GET /v0/pipes?dependencies=true&attrs=name&node_attrs=id%2Cname",
        kw={"dependencies": True, "attrs": ["name"], "node_attrs": ["id", "name"]},
        shows=lambda found, _: {"shops", "copy_totals", "sink_shops"} < {one.name for one in found},
    ),
    Case(
        pipes.get_pipe,
        ("shops",),
        "GET /v0/pipes/shops",
        shows=lambda found, _: (found.type, found.nodes) == ("endpoint", ("filtered", "endpoint")),
    ),
    Case(
        pipes.copy,
        ("copy_totals",),
        "POST /v0/pipes/copy_totals/copy",
        shows=lambda job, send: done(job, send) and count(send, "totals") == 2,
    ),
    Case(
        pipes.pause_copy,
        ("copy_totals",),
        "POST /v0/pipes/copy_totals/copy/pause",
        shows=lambda _, send: raw("copy_totals", send)["schedule"]["status"] == "shutdown",
    ),
    Case(
        pipes.resume_copy,
        ("copy_totals",),
        "POST /v0/pipes/copy_totals/copy/resume",
        before=(pipes.pause_copy("copy_totals"),),
        shows=lambda _, send: raw("copy_totals", send)["schedule"]["status"] == "running",
    ),
    Case(
        pipes.cancel_copy,
        ("copy_slow",),
        "POST /v0/pipes/copy_slow/copy/cancel",
        before=(pipes.copy("copy_slow"),),
        shows=lambda _, send: send(jobs.newest_job("copy_slow")).status in (JobStatus.CANCELLING, JobStatus.CANCELLED),
    ),
    Case(
        pipes.sink,
        ("sink_shops",),
        "POST /v0/pipes/sink_shops/sink",
        shows=lambda job, send: (
            done(job, send)
            and rows(send, "SELECT result, written_rows AS n FROM tinybird.sinks_ops_log") == [{"result": "ok", "n": 2}]
        ),
    ),
    Case(
        pipes.populate,
        ("sales_view", "summed"),
        "POST /v0/pipes/sales_view/nodes/summed/population?truncate=true",
        kw={"truncate": True},
        before=(datasources.truncate("sales_by_shop"),),
        shows=lambda job, send: done(job, send) and count(send, "sales_by_shop") == 2,
    ),
)
MAKING = (
    Case(
        pipe_definitions.create_pipe,
        ("mine", [pipe_definitions.NewNode("SELECT 1", "alone", "d")]),
        "POST /v0/pipes",
        b'{"name":"mine","nodes":[{"sql":"SELECT 1","name":"alone","description":"d"}]}',
        shows=lambda _, send: node("mine", "alone", send)["description"] == "d",
    ),
    Case(
        pipe_definitions.create_pipe_from_sql,
        ("mine", "SELECT 1"),
        "POST /v0/pipes",
        b"name=mine&sql=SELECT+1",
        shows=lambda _, send: raw("mine", send)["nodes"][0]["sql"] == "SELECT 1",
    ),
    Case(
        pipe_definitions.create_pipe_from_pipe,
        ("mine", "shops"),
        "POST /v0/pipes?name=mine&from=shops",
        shows=lambda _, send: send(pipes.get_pipe("mine")).nodes == ("filtered", "endpoint"),
    ),
    Case(
        pipe_definitions.update_pipe,
        ("mine",),
        "PUT /v0/pipes/mine?name=yours&description=d",
        kw={"name": "yours", "description": "d"},
        before=A_PIPE,
        shows=lambda found, send: raw("yours", send)["description"] == "d" and found.id == raw("yours", send)["id"],
    ),
    Case(
        pipe_definitions.drop_pipe,
        ("mine",),
        "DELETE /v0/pipes/mine",
        before=A_PIPE,
        shows=lambda _, send: "mine" not in {one.name for one in send(pipes.list_pipes())},
    ),
    Case(
        pipe_definitions.get_pipe_datafile,
        ("shops",),
        "GET /v1/pipes/shops.pipe",
        shows=lambda text, _: "NODE filtered\nSQL >\n    %\n" in text and text.endswith("\nTYPE endpoint\n"),
    ),
)
PUBLISHING = (
    Case(
        pipe_definitions.create_copy,
        ("mine", "second", "totals"),
        "POST /v0/pipes/mine/nodes/second/copy",
        b"target_datasource=totals&schedule_cron=0+%2A+%2A+%2A+%2A&mode=replace",
        kw={"schedule_cron": "0 * * * *", "mode": pipes.CopyMode.REPLACE},
        before=TWO,
        shows=lambda found, send: (
            (found.type, found.raw["copy_mode"]) == ("copy", "replace")
            and found.raw["schedule"] == {"timezone": "Etc/UTC", "cron": "0 * * * *", "status": "running"}
            and done(send(pipes.copy("mine")), send)
            and count(send, "totals") == 3
        ),
    ),
    Case(
        pipe_definitions.update_copy,
        ("mine", "second"),
        "PUT /v0/pipes/mine/nodes/second/copy",
        b"schedule_cron=None",
        kw={"schedule_cron": "None"},
        before=A_COPY,
        shows=lambda _, send: raw("mine", send)["schedule"]["cron"] is None and type_of("mine", send) == "copy",
    ),
    Case(
        pipe_definitions.remove_copy,
        ("mine", "second"),
        "DELETE /v0/pipes/mine/nodes/second/copy",
        before=A_COPY,
        shows=lambda _, send: type_of("mine", send) == "default",
    ),
    Case(
        pipe_definitions.create_sink,
        ("mine", "second"),
        "POST /v0/pipes/mine/nodes/second/sink?connection=c&path=s3%3A%2F%2Fb%2Fx&file_template=f&format=csv&compression=none",
        kw={"connection": "c", "path": "s3://b/x", "file_template": "f"},
        before=TWO,
        shows=lambda found, send: found.type == "sink" and done(send(pipes.sink("mine")), send),
    ),
    Case(
        pipe_definitions.remove_sink,
        ("mine", "second"),
        "DELETE /v0/pipes/mine/nodes/second/sink",
        before=A_SINK,
        shows=lambda _, send: type_of("mine", send) == "default",
    ),
    Case(
        nodes.publish_endpoint,
        ("mine", "second"),
        "POST /v0/pipes/mine/nodes/second/endpoint",
        before=TWO,
        shows=lambda found, send: (
            found.raw["endpoint"] == node("mine", "second", send)["id"] and send(pipes.endpoint("mine")).rows == 3
        ),
    ),
    Case(
        nodes.unpublish_endpoint,
        ("mine", "first"),
        "DELETE /v0/pipes/mine/nodes/first/endpoint",
        before=A_PIPE,
        shows=lambda _, send: raw("mine", send)["endpoint"] is None,
    ),
    Case(
        nodes.publish_endpoint_by_id,
        ("mine", "second"),
        "PUT /v0/pipes/mine/endpoint",
        b"second",
        before=TWO,
        live=lambda send: ("mine", node("mine", "second", send)["id"]),
        shows=lambda found, send: found.raw["endpoint"] == node("mine", "second", send)["id"],
    ),
)
NODES = (
    Case(
        nodes.create_node,
        ("mine", "SELECT * FROM first"),
        "POST /v0/pipes/mine/nodes?name=second",
        b"SELECT * FROM first",
        kw={"name": "second"},
        before=A_PIPE,
        shows=lambda found, send: (
            found.id == node("mine", "second", send)["id"] and found.raw["dependencies"] == ["first"]
        ),
    ),
    Case(
        nodes.create_materialized_node,
        ("mine", "SELECT shop, total FROM first", "by_hand"),
        "POST /v0/pipes/mine/nodes?name=view&type=materialized&datasource=by_hand&populate=true",
        b"SELECT shop, total FROM first",
        kw={"name": "view", "populate": True},
        before=A_PIPE,
        shows=lambda found, send: (
            found.raw["materialized"] == send(datasources.get_datasource("by_hand")).id
            and done(send(jobs.get_job(found.raw["job"]["id"])), send)
            and count(send, "by_hand") == 3
        ),
    ),
    Case(
        nodes.update_node,
        ("mine", "first", "SELECT 2"),
        "PUT /v0/pipes/mine/nodes/first?name=renamed&description=d",
        b"SELECT 2",
        kw={"name": "renamed", "description": "d"},
        before=A_PIPE,
        shows=lambda found, send: (
            (found.name, found.sql) == ("renamed", "SELECT 2") and node("mine", "renamed", send)["id"] == found.id
        ),
    ),
    Case(
        nodes.delete_node,
        ("mine", "second"),
        "DELETE /v0/pipes/mine/nodes/second",
        before=TWO,
        shows=lambda _, send: send(pipes.get_pipe("mine")).nodes == ("first",),
    ),
    Case(
        nodes.explain,
        ("shops", {"at_least": 7}),
        "GET /v0/pipes/shops/explain?at_least=7",
        shows=lambda found, _: (
            "amount >= toInt64('7')" in found.debug_query and "ReadFromMergeTree" in found.query_explain
        ),
    ),
    Case(
        nodes.explain,
        ("shops",),
        "GET /v0/pipes/shops/nodes/filtered/explain",
        kw={"node": "filtered"},
        shows=lambda found, _: "amount >= toInt64('0')" in found.debug_query and "sum(" not in found.debug_query,
    ),
    Case(
        nodes.analyze_materialization,
        ("mine", "first"),
        "GET /v0/pipes/mine/nodes/first/analysis?include_datafile=true&dry_run=false",
        before=A_PIPE,
        shows=lambda found, _: found["analysis"]["datasource"]["schema"] == "`shop` String, `total` Int64",
    ),
    Case(
        nodes.unlink_materialization,
        ("sales_view", "summed"),
        "DELETE /v0/pipes/sales_view/nodes/summed/materialization",
        shows=lambda _, send: type_of("sales_view", send) == "default" and count(send, "sales_by_shop") == 2,
    ),
)
CASES = (*RUNNING, *MAKING, *PUBLISHING, *NODES)
