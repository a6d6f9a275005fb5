"""Data sources: what they are, not what is in them. Connectors and analysis with them."""

from __future__ import annotations

from airflow_provider_tinybird.api import analyze, connectors, datasources, definitions, dependencies
from airflow_provider_tinybird.api.body import BytesBody
from airflow_provider_tinybird.api.errors import BadRequestError, NotFoundError
from api_cases.case import AN_OTHER, CSV, CSV_, FORM_URL, JOB, TWINS, URL, Case, a_file

CASES = (
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
    Case(definitions.get_datafile, ("sales",), "GET /v0/datasources/sales.datasource", refused=NotFoundError),
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
)
