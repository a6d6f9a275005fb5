"""Every function of ``api`` that makes a call: what it sends, byte by byte, and how it is tried over HTTP.

The tests go through these, and so does ``scripts/api_coverage.py``: a function without a case fails both.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_tinybird.api import (
    analyze,
    connectors,
    datasources,
    definitions,
    dependencies,
    events,
    imports,
    jobs,
    nodes,
    organizations,
    pipe_definitions,
    pipes,
    query,
    tokens,
    variables,
    workspaces,
)
from airflow_provider_tinybird.api.body import BytesBody, FileBody
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.errors import BadRequestError, NotFoundError, TinybirdError
from airflow_provider_tinybird.api.models import EndpointFormat, FileFormat
from airflow_provider_tinybird.api.resources import Scope

Sequence = tuple[Any, ...]
CSV = b"day,shop,amount\n2026-01-01,a,1\n"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Case:
    """One use of one function.

    :param sent: method and target of the request.
    :param body: its body; of a multipart one a piece of it.
    :param before: what is done to the sandbox first.
    :param refused: the error that the sandbox answers with, where that is the point.
    :param canned: what a server with a prepared answer answers, for what the sandbox does not have.
    """

    function: Callable[..., Call[Any]]
    arguments: Sequence
    sent: str
    body: bytes = b""
    kw: dict[str, Any] = field(default_factory=dict)
    before: tuple[Call[Any], ...] = ()
    refused: type[TinybirdError] | None = None
    canned: Any = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__name__}"

    @property
    def id(self) -> str:
        return f"{self.name}[{self.sent.partition('?')[0]}]"

    def call(self) -> Call[Any]:
        return self.function(*self.arguments, **self.kw)


def a_file() -> FileBody:
    return FileBody(lambda: io.BytesIO(CSV), len(CSV), "text/csv")


JOB = {"id": "j-1", "job_id": "j-1", "status": "waiting", "kind": "import"}
PIPE = {"id": "t_1", "name": "p", "nodes": []}
NODE = {"id": "t_2", "name": "n", "sql": "SELECT 1"}
TOKEN = {"id": "1", "name": "reader", "token": "p.e30.s", "scopes": [{"type": "PIPES:READ", "resource": "shops"}]}
VARIABLE = {"name": "key", "type": "secret"}
CSV_ = {"format": FileFormat.CSV}
URL = "http://127.0.0.1:9/x.csv"
FORM_URL = b"url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv"
READER = Scope("PIPES:READ", "shops")
A_TOKEN = (tokens.create_token("reader", [READER]),)
A_VARIABLE = (variables.create_variable("key", "v"),)
A_PIPE = (
    pipe_definitions.create_pipe(
        "mine", [pipe_definitions.NewNode("SELECT shop, amount AS total FROM sales", "first")]
    ),
)
TWO = (*A_PIPE, nodes.create_node("mine", "SELECT * FROM first", name="second"))
A_COPY = (*TWO, pipe_definitions.create_copy("mine", "second", "totals"))
A_SINK = (
    *TWO,
    pipe_definitions.create_sink("mine", "second", connection="bucket", path="s3://b/x", file_template="f"),
)
AN_OTHER = (definitions.create_datasource("other", "day Date, n Int64"),)
TWINS = (*AN_OTHER, definitions.create_datasource("twin", "day Date, n Int64"))

CASES: tuple[Case, ...] = (
    # Data sources
    Case(
        datasources.list_datasources, (), "GET /v0/datasources?attrs=name%2Cused_by", kw={"attrs": ("name", "used_by")}
    ),
    Case(datasources.get_datasource, ("sales",), "GET /v0/datasources/sales"),
    Case(datasources.truncate, ("sales",), "POST /v0/datasources/sales/truncate"),
    Case(
        datasources.delete_rows,
        ("sales", "amount > 1"),
        "POST /v0/datasources/sales/delete",
        b"delete_condition=amount+%3E+1",
    ),
    Case(
        datasources.count_rows_to_delete,
        ("sales", "1"),
        "POST /v0/datasources/sales/delete",
        b"delete_condition=1&dry_run=true",
    ),
    Case(
        datasources.delete_rows_v1,
        ("sales", "1"),
        "POST /v1/datasources/sales/delete",
        b"delete_condition=1&wait=false",
    ),
    Case(
        datasources.delete_rows_v1_and_wait,
        ("sales", "1"),
        "POST /v1/datasources/sales/delete",
        b"delete_condition=1&wait=true",
    ),
    Case(
        definitions.create_datasource,
        ("made", "day Date, n Int64"),
        "POST /v0/datasources",
        b"name=made&schema=day+Date%2C+n+Int64&engine=MergeTree&engine_sorting_key=day",
        kw={"engine": "MergeTree", "engine_options": {"sorting_key": "day"}},
    ),
    Case(
        definitions.create_datasource_from_url,
        ("made", URL),
        "POST /v0/datasources?mode=create&name=made&format=csv&schema=a+Int64",
        FORM_URL,
        kw={**CSV_, "schema": "a Int64"},
    ),
    Case(
        definitions.create_datasource_from_file,
        ("made", a_file()),
        "POST /v0/datasources?mode=create&name=made&format=csv&type_guessing=false",
        CSV,
        kw={**CSV_, "file_name": "x.csv", "type_guessing": False},
    ),
    Case(definitions.get_datafile, ("sales",), "GET /v0/datasources/sales.datasource", canned="SCHEMA >"),
    Case(
        definitions.update_datasource,
        ("other",),
        "PUT /v0/datasources/other",
        b"name=renamed",
        kw={"name": "renamed"},
        before=AN_OTHER,
        canned={"id": "t_1", "name": "renamed"},
    ),
    Case(
        definitions.alter_datasource,
        ("other",),
        "POST /v0/datasources/other/alter",
        b"schema=day+Date%2C+n+Int64%2C+m+Int64&dry=true",
        kw={"schema": "day Date, n Int64, m Int64", "dry": True},
        before=AN_OTHER,
        canned={"operations": ["ADD COLUMN m"]},
    ),
    Case(
        definitions.drop_datasource,
        ("other",),
        "DELETE /v0/datasources/other?force=true&dry_run=false",
        kw={"force": True},
        before=AN_OTHER,
    ),
    Case(
        definitions.exchange_datasources,
        ("other", "twin"),
        "POST /v0/datasources/exchange",
        b"datasource_a=other&datasource_b=twin",
        before=TWINS,
    ),
    Case(
        definitions.share_datasource,
        ("t_1",),
        "POST /v0/datasources/t_1/share",
        b"origin_workspace_id=a&destination_workspace_id=b",
        kw={"origin_workspace_id": "a", "destination_workspace_id": "b"},
    ),
    Case(
        definitions.unshare_datasource,
        ("t_1",),
        "DELETE /v0/datasources/t_1/share",
        b"origin_workspace_id=a&destination_workspace_id=b",
        kw={"origin_workspace_id": "a", "destination_workspace_id": "b"},
    ),
    Case(
        dependencies.get_dependencies,
        (),
        "GET /v0/dependencies?no_deps=false&check_for_partial_replace=true&recursive=false&datasource=sales",
        kw={"datasource": "sales", "check_for_partial_replace": True},
    ),
    Case(
        connectors.list_connectors,
        (),
        "GET /v0/connectors?service=s3",
        kw={"service": "s3"},
        canned={"connectors": [{"id": "1", "name": "c"}]},
    ),
    Case(connectors.sync_now, ("sales",), "POST /v0/datasources/sales/scheduling/runs"),
    Case(connectors.get_schedule, ("sales",), "GET /v0/datasources/sales/scheduling/state", canned={"state": "paused"}),
    Case(
        connectors.set_schedule,
        ("sales", "paused"),
        "PUT /v0/datasources/sales/scheduling/state",
        b'{"state":"paused"}',
    ),
    Case(
        connectors.sample,
        ("sales",),
        "POST /v0/datasources/sales/sample",
        b'{"max_files":2,"full_export":false}',
        kw={"max_files": 2},
        canned=JOB,
    ),
    Case(connectors.stop_ingestion, ("sales",), "POST /v0/datasources/sales/stop"),
    Case(connectors.start_ingestion, ("sales",), "POST /v0/datasources/sales/start"),
    Case(analyze.analyze_file, (a_file(),), "POST /v0/analyze", CSV, kw={"file_name": "x.csv"}),
    Case(analyze.analyze_body, (BytesBody(CSV, "text/csv"),), "POST /v0/analyze", CSV),
    Case(
        analyze.analyze_url, (URL,), "POST /v0/analyze?url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv", refused=BadRequestError
    ),
    # Rows in
    Case(events.send_events, ("events", b'{"id":1}\n'), "POST /v0/events?name=events&wait=true", b'{"id":1}\n'),
    Case(
        imports.append_url, ("sales", URL), "POST /v0/datasources?mode=append&name=sales&format=csv", FORM_URL, kw=CSV_
    ),
    Case(
        imports.replace_url,
        ("sales", URL),
        "POST /v0/datasources?mode=replace&name=sales&format=csv",
        FORM_URL,
        kw=CSV_,
    ),
    Case(
        imports.append_url_v1,
        ("sales", URL),
        "POST /v1/datasources/sales/append?format=csv&url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv",
        kw=CSV_,
    ),
    Case(
        imports.replace_url_v1,
        ("sales", URL),
        "POST /v1/datasources/sales/replace?format=csv&url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv",
        kw=CSV_,
    ),
    Case(
        imports.append_file,
        ("sales", a_file()),
        "POST /v0/datasources?mode=append&name=sales&format=csv",
        CSV,
        kw={**CSV_, "file_name": "x.csv"},
    ),
    Case(
        imports.replace_file,
        ("sales", a_file()),
        "POST /v0/datasources?mode=replace&name=sales&format=csv",
        CSV,
        kw={**CSV_, "file_name": "x.csv"},
    ),
    Case(imports.append_body, ("sales", CSV), "POST /v0/datasources?mode=append&name=sales&format=csv", CSV, kw=CSV_),
    Case(
        imports.replace_body,
        ("sales", CSV),
        "POST /v0/datasources?mode=replace&name=sales&format=csv&replace_condition=amount+%3D+1",
        CSV,
        kw={**CSV_, "condition": "amount = 1"},
    ),
    Case(imports.append_file_v1, ("sales", a_file()), "POST /v1/datasources/sales/append?format=csv", CSV, kw=CSV_),
    Case(imports.replace_file_v1, ("sales", a_file()), "POST /v1/datasources/sales/replace?format=csv", CSV, kw=CSV_),
    # Jobs; the ids are of none
    Case(
        jobs.list_jobs,
        (),
        "GET /v0/jobs?kind=import&status=done&pipe_id=t_1&pipe_name=p&created_after=2026-01-01&created_before=2027-01-01",
        kw={
            "kind": "import",
            "status": "done",
            "pipe_id": "t_1",
            "pipe_name": "p",
            "created_after": "2026-01-01",
            "created_before": "2027-01-01",
        },
    ),
    Case(jobs.newest_job, ("shops",), "GET /v0/jobs?pipe_name=shops"),
    Case(
        jobs.get_job,
        ("nope",),
        "GET /v0/jobs/nope?debug=blocks%2Cblock_log",
        kw={"blocks": True},
        refused=NotFoundError,
    ),
    Case(jobs.cancel_job, ("nope",), "POST /v0/jobs/nope/cancel", refused=NotFoundError),
    Case(jobs.retry_job, ("nope",), "POST /v0/jobs/nope/retry", refused=NotFoundError),
    Case(
        jobs.get_job_from_log,
        ("nope",),
        "POST /v0/sql",
        b"q=SELECT+job_id%2C+job_type+AS+kind%2C+status%2C+error%2C+pipe_id%2C+created_at%2C+started_at%2C+updated_at+FROM+tinybird.jobs_log"
        b"+WHERE+job_id+%3D+%27nope%27+ORDER+BY+updated_at+DESC+LIMIT+1%0AFORMAT+JSON",
    ),
    Case(
        jobs.count_written_rows,
        ("nope",),
        "POST /v0/sql",
        b"q=SELECT+count%28%29+AS+operations%2C+sum%28written_rows%29+AS+written+FROM+tinybird.datasources_ops_log"
        b"+WHERE+job_id+%3D+%27nope%27+AND+result+%3D+%27ok%27%0AFORMAT+JSON",
    ),
    # Queries
    Case(query.sql, ("SELECT 1",), "POST /v0/sql", b"q=SELECT+1%0AFORMAT+JSON"),
    Case(query.sql_as, ("SELECT 1", "TSV"), "POST /v0/sql", b"q=SELECT+1%0AFORMAT+TSV"),
    Case(
        query.sql_as_parquet,
        ("SELECT 1",),
        "POST /v0/sql",
        b"q=SELECT+1%0AFORMAT+Parquet&output_format_parquet_string_as_string=1",
    ),
    Case(pipes.endpoint, ("shops", {"at_least": 1}), "GET /v0/pipes/shops.json?at_least=1"),
    Case(pipes.endpoint, ("shops", {"unused": "x" * 4100}), "POST /v0/pipes/shops.json", b"unused=" + b"x" * 4100),
    Case(pipes.endpoint_as, ("shops", EndpointFormat.CSV), "GET /v0/pipes/shops.csv"),
    Case(pipes.endpoint_as, ("shops", EndpointFormat.NDJSON), "GET /v0/pipes/shops.ndjson"),
    Case(pipes.endpoint_as, ("shops", EndpointFormat.PARQUET), "GET /v0/pipes/shops.parquet"),
    Case(pipes.endpoint_as, ("metrics", EndpointFormat.PROMETHEUS), "GET /v0/pipes/metrics.prometheus"),
    # Pipes
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
    Case(pipe_definitions.create_pipe_from_pipe, ("mine", "shops"), "POST /v0/pipes?name=mine&from=shops", canned=PIPE),
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
    # Tokens and variables
    Case(tokens.list_tokens, (), "GET /v0/tokens"),
    Case(tokens.get_token, ("reader",), "GET /v0/tokens/reader", before=A_TOKEN),
    Case(
        tokens.create_token,
        ("new", [READER, Scope("DATASOURCES:CREATE")]),
        "POST /v0/tokens?name=new&description=d&scope=PIPES%3AREAD%3Ashops&scope=DATASOURCES%3ACREATE",
        kw={"description": "d"},
    ),
    Case(
        tokens.create_jwt,
        ("j", [Scope("PIPES:READ", "shops", fixed_params={"at_least": 2})]),
        "POST /v0/tokens?name=j&expiration_time=4102444800",
        b'{"scopes":[{"type":"PIPES:READ","resource":"shops","fixed_params":{"at_least":2}}],"limits":{"rps":10}}',
        kw={"expiration_time": 4102444800, "rps": 10},
        canned={"token": "x.y.z"},
    ),
    Case(
        tokens.update_token,
        ("reader", [READER]),
        "PUT /v0/tokens/reader?description=d&scope=PIPES%3AREAD%3Ashops",
        kw={"description": "d"},
        before=A_TOKEN,
    ),
    Case(tokens.delete_token, ("reader",), "DELETE /v0/tokens/reader", before=A_TOKEN),
    Case(tokens.refresh_token, ("reader",), "POST /v0/tokens/reader/refresh", before=A_TOKEN),
    Case(variables.list_variables, (), "GET /v0/variables"),
    Case(variables.create_variable, ("key", "a b"), "POST /v0/variables", b"name=key&value=a+b&type=secret"),
    Case(variables.get_variable, ("key",), "GET /v0/variables/key", before=A_VARIABLE),
    Case(variables.update_variable, ("key", "new"), "PUT /v0/variables/key", b"value=new", before=A_VARIABLE),
    Case(variables.delete_variable, ("key",), "DELETE /v0/variables/key", before=A_VARIABLE),
    # Workspaces and what is above
    Case(workspaces.get_workspace, (), "GET /v0/workspace"),
    Case(workspaces.get_workspace_v1, (), "GET /v1/workspace", refused=BadRequestError),
    Case(workspaces.get_auth, (), "GET /v0/auth"),
    Case(
        organizations.list_organizations,
        (),
        "GET /v0/organizations",
        canned={"organizations": [{"id": "o", "name": "org"}]},
    ),
    Case(
        organizations.list_members, ("o",), "GET /v0/organizations/o/members", canned={"members": [{"email": "a@b.c"}]}
    ),
    Case(
        organizations.list_organization_workspaces,
        ("o",),
        "GET /v0/organizations/o/workspaces",
        canned={"workspaces": [{"id": "w", "name": "one"}]},
    ),
    Case(
        organizations.list_workspaces,
        (),
        "GET /v1/user/workspaces?with_organization=true",
        kw={"with_organization": True},
    ),
    Case(
        organizations.create_workspace,
        ("other",),
        "POST /v1/workspaces",
        b"name=other&assign_to_organization_id=o",
        kw={"organization_id": "o"},
    ),
    Case(organizations.delete_workspace, ("w",), "DELETE /v1/workspaces/w?hard_delete_confirmation=yes"),
    Case(organizations.list_branches, (), "GET /v1/environments"),
    Case(
        organizations.create_branch,
        ("b",),
        "POST /v1/environments?name=b&data=last_partition",
        kw={"data": "last_partition"},
        canned={"job": JOB},
    ),
    Case(
        organizations.get_branch,
        ("b",),
        "GET /v0/environments/b?with_token=true",
        kw={"with_token": True},
        canned={"id": "1", "name": "b", "token": "p.e30.s"},
    ),
    Case(organizations.delete_branch, ("1",), "DELETE /v0/environments/1"),
    Case(organizations.list_tags, (), "GET /v0/tags", canned={"tags": [{"id": "1", "name": "t"}]}),
    Case(organizations.create_tag, ("t",), "POST /v0/tags", b'{"name":"t"}', canned={"id": "1", "name": "t"}),
    Case(organizations.delete_tag, ("t",), "DELETE /v0/tags/t"),
    Case(organizations.list_regions, (), "GET /v0/regions"),
)
