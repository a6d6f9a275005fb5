"""Data sources: what they are and what goes out of them. Connectors and analysis with them."""

from __future__ import annotations

from airflow_provider_tinybird.api import (
    analyze,
    connectors,
    datasources,
    definitions,
    dependencies,
    jobs,
    organizations,
)
from airflow_provider_tinybird.api.body import BytesBody
from airflow_provider_tinybird.api.call import Call
from api_cases.case import CSV, CSV_, FORM_URL, URL, Case, Send, a_file, count, done, file_of, rows

AN_OTHER = (definitions.create_datasource("other", "day Date, n Int64"),)
TWINS = (
    definitions.create_datasource("twin", "day Date, shop String, amount Int64"),
    definitions.create_datasource("other", "day Date, shop String, amount Int64"),
)
BUCKET = {"import_connection_name": "bucket", "import_bucket_uri": "s3://bucket/sale*.csv"}
A_BUCKET = (TWINS[0], definitions.update_datasource("twin", connector=BUCKET))
A_TOPIC = (*AN_OTHER, definitions.update_datasource("other", connector={"kafka_connection_name": "kafka"}))
SHARED = b"origin_workspace_id=a&destination_workspace_id=b"


def both_workspaces(send: Send) -> dict[str, str]:
    workspace = send(organizations.list_workspaces())[0]
    other = send(organizations.create_workspace("other"))
    return {"origin_workspace_id": workspace.id, "destination_workspace_id": other.id}


def shared_with(send: Send) -> list[str]:
    return list(send(datasources.get_datasource("sales")).raw["shared_with"])


def unsharing(send: Send) -> Call[None]:
    send(definitions.share_datasource("sales", **both_workspaces(send)))
    return definitions.unshare_datasource("sales", **both_workspaces(send))


EXISTING = (
    Case(
        datasources.list_datasources,
        (),
        "GET /v0/datasources?attrs=name%2Cused_by",
        kw={"attrs": ("name", "used_by")},
        shows=lambda found, _: {"sales", "events", "totals", "sales_by_shop"} == {one.name for one in found},
    ),
    Case(
        datasources.get_datasource,
        ("sales",),
        "GET /v0/datasources/sales",
        shows=lambda found, _: (found.rows, [one.name for one in found.columns]) == (3, ["day", "shop", "amount"]),
    ),
    Case(
        definitions.get_datafile,
        ("sales",),
        "GET /v0/datasources/sales.datasource",
        shows=lambda text, _: (
            text.startswith("SCHEMA >\n    `day` Date,\n") and 'ENGINE_SORTING_KEY "day, shop"' in text
        ),
    ),
    Case(
        dependencies.get_dependencies,
        (),
        "GET /v0/dependencies?no_deps=false&check_for_partial_replace=true&recursive=false&datasource=sales",
        kw={"datasource": "sales", "check_for_partial_replace": True},
        shows=lambda found, _: found.incompatible_datasources == {"sales_by_shop": ("sales_view",)},
    ),
    Case(
        datasources.truncate,
        ("sales",),
        "POST /v0/datasources/sales/truncate",
        shows=lambda _, send: count(send, "sales") == 0,
    ),
    Case(
        datasources.delete_rows,
        ("sales", "amount > 1"),
        "POST /v0/datasources/sales/delete",
        b"delete_condition=amount+%3E+1",
        shows=lambda job, send: done(job, send) and rows(send, "SELECT amount FROM sales") == [{"amount": 1}],
    ),
    Case(
        datasources.count_rows_to_delete,
        ("sales", "1"),
        "POST /v0/datasources/sales/delete",
        b"delete_condition=1&dry_run=true",
        shows=lambda found, send: (found.rows_to_be_deleted, count(send, "sales")) == (3, 3),
    ),
    Case(
        datasources.delete_rows_v1,
        ("sales", "1"),
        "POST /v1/datasources/sales/delete",
        b"delete_condition=1&wait=false",
        shows=lambda job, send: done(job, send) and count(send, "sales") == 0,
    ),
    Case(
        datasources.delete_rows_v1_and_wait,
        ("sales", "1"),
        "POST /v1/datasources/sales/delete",
        b"delete_condition=1&wait=true",
        shows=lambda found, send: (found.rows_affected, count(send, "sales")) == (3, 0),
    ),
)
DEFINING = (
    Case(
        definitions.create_datasource,
        ("made", "day Date, n Int64"),
        "POST /v0/datasources",
        b"name=made&schema=day+Date%2C+n+Int64&engine=MergeTree&engine_sorting_key=day",
        kw={"engine": "MergeTree", "engine_options": {"sorting_key": "day"}},
        shows=lambda found, send: found.engine["sorting_key"] == "day" and count(send, "made") == 0,
    ),
    Case(
        definitions.create_datasource_from_url,
        ("made", URL),
        "POST /v0/datasources?mode=create&name=made&format=csv&schema=day+Date%2C+shop+String%2C+amount+Int64",
        FORM_URL,
        kw={**CSV_, "schema": "day Date, shop String, amount Int64"},
        live=lambda send: ("made", file_of(send)),
        shows=lambda job, send: done(job, send) and count(send, "made") == 3,
    ),
    Case(
        definitions.create_datasource_from_file,
        ("made", a_file()),
        "POST /v0/datasources?mode=create&name=made&format=csv&type_guessing=false",
        CSV,
        kw={**CSV_, "file_name": "x.csv", "type_guessing": False},
        shows=lambda _, send: rows(send, "SELECT amount FROM made") == [{"amount": "1"}],
    ),
    Case(
        definitions.update_datasource,
        ("other",),
        "PUT /v0/datasources/other",
        b"name=renamed",
        kw={"name": "renamed"},
        before=AN_OTHER,
        shows=lambda found, send: found.name == "renamed" and count(send, "renamed") == 0,
    ),
    Case(
        definitions.alter_datasource,
        ("other",),
        "POST /v0/datasources/other/alter",
        b"schema=day+Date%2C+n+Int64%2C+m+Int64&ttl=day+%2B+INTERVAL+1+DAY&dry=false",
        kw={"schema": "day Date, n Int64, m Int64", "ttl": "day + INTERVAL 1 DAY"},
        before=AN_OTHER,
        shows=lambda found, send: (
            found.operations == ("ADD COLUMN `m` Int64", "MODIFY TTL day + INTERVAL 1 DAY")
            and [one.name for one in send(datasources.get_datasource("other")).columns] == ["day", "n", "m"]
            and rows(send, "SELECT m FROM other") == []
        ),
    ),
    Case(
        definitions.drop_datasource,
        ("other",),
        "DELETE /v0/datasources/other?force=true&dry_run=false",
        kw={"force": True},
        before=AN_OTHER,
        shows=lambda _, send: "other" not in {one.name for one in send(datasources.list_datasources())},
    ),
    Case(
        definitions.exchange_datasources,
        ("sales", "twin"),
        "POST /v0/datasources/exchange",
        b"datasource_a=sales&datasource_b=twin",
        before=TWINS[:1],
        shows=lambda _, send: (count(send, "sales"), count(send, "twin")) == (0, 3),
    ),
    Case(
        definitions.share_datasource,
        ("t_1",),
        "POST /v0/datasources/t_1/share",
        SHARED,
        kw={"origin_workspace_id": "a", "destination_workspace_id": "b"},
        live=lambda send: definitions.share_datasource("sales", **both_workspaces(send)),
        shows=lambda _, send: shared_with(send) == [both_workspaces(send)["destination_workspace_id"]],
    ),
    Case(
        definitions.unshare_datasource,
        ("t_1",),
        "DELETE /v0/datasources/t_1/share",
        SHARED,
        kw={"origin_workspace_id": "a", "destination_workspace_id": "b"},
        live=unsharing,
        shows=lambda _, send: shared_with(send) == [],
    ),
)
CONNECTED = (
    Case(
        connectors.list_connectors,
        (),
        "GET /v0/connectors?service=s3",
        kw={"service": "s3"},
        before=A_BUCKET,
        shows=lambda found, _: (
            [(one.name, [linker["datasource_name"] for linker in one.raw["linkers"]]) for one in found]
            == [("bucket", ["twin"])]
        ),
    ),
    Case(
        connectors.sync_now,
        ("twin",),
        "POST /v0/datasources/twin/scheduling/runs",
        before=A_BUCKET,
        shows=lambda _, send: done(send(jobs.list_jobs())[0], send) and count(send, "twin") == 3,
    ),
    Case(
        connectors.get_schedule,
        ("twin",),
        "GET /v0/datasources/twin/scheduling/state",
        before=A_BUCKET,
        shows=lambda state, _: state == "running",
    ),
    Case(
        connectors.set_schedule,
        ("twin", "paused"),
        "PUT /v0/datasources/twin/scheduling/state",
        b'{"state":"paused"}',
        before=A_BUCKET,
        shows=lambda _, send: send(connectors.get_schedule("twin")) == "paused",
    ),
    Case(
        connectors.sample,
        ("twin",),
        "POST /v0/datasources/twin/sample",
        b'{"max_files":2,"full_export":false}',
        kw={"max_files": 2},
        before=A_BUCKET,
        shows=lambda job, send: (
            done(job, send)
            and count(send, "twin") == 3
            and send(jobs.get_job(job.id)).raw["stats"] == {"found_files": 1}
        ),
    ),
    Case(connectors.stop_ingestion, ("other",), "POST /v0/datasources/other/stop", before=A_TOPIC),
    Case(connectors.start_ingestion, ("other",), "POST /v0/datasources/other/start", before=A_TOPIC),
)
ANALYZING = (
    Case(
        analyze.analyze_file,
        (a_file(),),
        "POST /v0/analyze",
        CSV,
        kw={"file_name": "x.csv"},
        shows=lambda found, _: found.schema == "`day` Date, `shop` String, `amount` Int64",
    ),
    Case(
        analyze.analyze_body,
        (BytesBody(CSV, "text/csv"),),
        "POST /v0/analyze",
        CSV,
        shows=lambda found, _: found.preview["rows"] == 1,
    ),
    Case(
        analyze.analyze_url,
        (URL,),
        "POST /v0/analyze?url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv",
        live=lambda send: (file_of(send),),
        shows=lambda found, _: found.preview["rows"] == 3,
    ),
)
CASES = (*EXISTING, *DEFINING, *CONNECTED, *ANALYZING)
