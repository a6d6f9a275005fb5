"""Service data sources: what happened, as tables."""

from __future__ import annotations

import json

import pytest

SALES = "2026-01-01,a,1\n2026-01-02,b,2\n"
EVENTS = "/v0/events?name=sales&wait=true"


def operations(
    query, what: str = "event_type, result, rows, written_rows, rows_quarantine"
) -> list[tuple[object, ...]]:
    rows = query(f"SELECT {what} FROM tinybird.datasources_ops_log")
    return [tuple(row.values()) for row in rows]


def test_one_row_for_each_operation(client, query, wait_for_job):
    """Service data sources: tinybird.datasources_ops_log, its event types and columns."""
    client.post(EVENTS, content='{"day":"2026-01-01","shop":"a","amount":1}\n{"day":"x"}').raise_for_status()
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=SALES + "x,y,z\n").raise_for_status()
    client.post("/v0/datasources?name=sales&mode=replace&format=csv", content=SALES).raise_for_status()
    reverse = "\n".join([*reversed(SALES.splitlines()), ""])  # the same block would be dropped
    wait_for_job(client.post("/v1/datasources/sales/append?format=csv", content=reverse).json()["id"])
    client.post("/v1/datasources/sales/delete", data={"delete_condition": "shop = 'a'"}).raise_for_status()
    wait_for_job(client.post("/v0/datasources/sales/delete", data={"delete_condition": "0"}).json()["id"])
    wait_for_job(client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"])
    client.post("/v0/datasources/sales/truncate").raise_for_status()
    client.post("/v0/datasources", params={"name": "made", "schema": "a String"}).raise_for_status()
    assert operations(query) == [
        ("append-hfi", "ok", 1, 1, 1),
        ("append", "ok", 2, 2, 1),
        ("replace", "ok", 2, 2, 0),
        ("append", "ok", 2, 2, 0),
        ("delete", "ok", 4, 0, 0),
        ("delete", "ok", 2, 0, 0),
        ("copy", "ok", 1, 1, 0),
        ("truncate", "ok", 2, 0, 0),
        ("create", "ok", 0, 0, 0),
    ]
    [when] = query("SELECT max(abs(dateDiff('second', timestamp, now()))) AS s FROM tinybird.datasources_ops_log")
    assert when["s"] < 60


def test_who_did_it(client, query, wait_for_job):
    """Service data sources: job_id, import_id, pipe_name and datasource_id lead to the job and its resources."""
    body = client.post("/v0/datasources?name=sales&mode=append&format=csv", content=SALES).json()
    job = wait_for_job(client.post("/v1/datasources/sales/append?format=csv", content=SALES).json()["id"])
    copied = wait_for_job(client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"])
    sales, totals = (client.get(f"/v0/datasources/{name}").json()["id"] for name in ("sales", "totals"))
    assert operations(query, "import_id, job_id, pipe_name, datasource_id, datasource_name") == [
        (body["import_id"], None, "", sales, "sales"),
        (job["id"], job["id"], "", sales, "sales"),
        (None, copied["id"], "copy_totals", totals, "totals"),
    ]


def test_rows_that_a_job_wrote(client, query, wait_for_job):
    """Service data sources: a join on job_id tells the rows of one job, without those of the views that it feeds."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=SALES).raise_for_status()
    nodes = [
        {"name": "n", "sql": "SELECT shop, total FROM totals", "type": "materialized", "datasource": "sales_by_shop"}
    ]
    client.post("/v0/pipes", json={"name": "more", "nodes": nodes}).raise_for_status()
    # Two of them are of the view over sales, which a replace of totals leaves alone.
    for mode, fed in (("append", 2 + 2), ("replace", 2 + 2)):
        job = wait_for_job(client.post(f"/v0/pipes/copy_totals/copy?_mode={mode}").json()["job"]["id"])
        sql = f"SELECT count() AS n, sum(written_rows) AS w FROM tinybird.datasources_ops_log WHERE job_id = '{job['id']}'"
        assert query(f"{sql} AND result = 'ok'") == [{"n": 1, "w": 2}]
        assert query("SELECT sum(total) AS n FROM sales_by_shop WHERE shop = 'b'") == [{"n": fed}]


def test_what_failed(client, server, query, wait_for_job):
    """Service data sources: result and error."""
    url = f"{server.base_url}/files/nothing.csv"
    job = wait_for_job(client.post("/v1/datasources/sales/append", params={"format": "csv", "url": url}).json()["id"])
    client.post("/v0/datasources?name=sales&mode=append&format=parquet", content=b"no parquet")
    assert [row[:2] for row in operations(query)] == [("append", "error"), ("append", "error")]
    assert operations(query, "error")[0] == (job["error"],)


def test_a_cancelled_copy(client, query, poll):
    """Guess: a copy that was cancelled is an error in the log."""
    job_id = client.post("/v0/pipes/copy_slow/copy").json()["job"]["id"]
    poll(client, job_id, ("working",))
    client.post(f"/v0/jobs/{job_id}/cancel").raise_for_status()
    poll(client, job_id, ("cancelled",))
    assert operations(query, "event_type, result, job_id") == [("copy", "error", job_id)]


def test_jobs_log(client, query, wait_for_job):
    """Service data sources: tinybird.jobs_log has a row for each job, as it stands."""
    job = wait_for_job(client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"])
    columns = "job_id, job_type, status, error, pipe_id, datasource_id, job_metadata"
    [row] = query(f"SELECT {columns} FROM tinybird.jobs_log")
    metadata = json.loads(row.pop("job_metadata"))
    assert row == {
        "job_id": job["id"],
        "job_type": "copy",
        "status": "done",
        "error": None,
        "pipe_id": job["pipe_id"],
        "datasource_id": job["datasource"]["id"],
    }
    assert metadata["pipe_name"] == "copy_totals"
    [times] = query(
        "SELECT toString(created_at) AS c, started_at >= created_at AS s, updated_at >= started_at AS u FROM tinybird.jobs_log"
    )
    assert times == {"c": job["created_at"][:23], "s": 1, "u": 1}


def test_jobs_after_48_hours(client, query, wait_for_job):
    """Jobs API: jobs of the last 48 hours; service data sources: jobs_log remembers them beyond that."""
    job_id = client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"]
    wait_for_job(job_id)
    client.post("/sandbox/clock", json={"advance": 47.9 * 3600}).raise_for_status()
    assert client.get(f"/v0/jobs/{job_id}").status_code == 200
    client.post("/sandbox/clock", json={"advance": 0.2 * 3600}).raise_for_status()
    assert client.get(f"/v0/jobs/{job_id}").status_code == 404
    assert client.get("/v0/jobs").json() == {"jobs": []}
    assert query("SELECT job_id, status FROM tinybird.jobs_log") == [{"job_id": job_id, "status": "done"}]


def test_block_log(client, query):
    """Service data sources: tinybird.block_log, a row for each block of an import."""
    params = {"name": "sales", "mode": "append", "format": "csv", "debug": "blocks_block_log"}
    answer = client.post("/v0/datasources", params=params, content=SALES + "x,y,z\n").json()
    [row] = query(
        "SELECT import_id, block_id, status, rows, quarantine_lines, processing_error FROM tinybird.block_log"
    )
    assert row == {
        "import_id": answer["import_id"],
        "block_id": answer["blocks"][0]["block_id"],
        "status": "done",
        "rows": 2,
        "quarantine_lines": 1,
        "processing_error": None,
    }


def test_calls_of_endpoints(client, query, server):
    """Service data sources: pipe_stats_rt has every call, endpoint_errors those that failed; parameters of a POST are not kept."""
    client.get("/v0/pipes/shops.json", params={"at_least": "1", "token": server.token}).raise_for_status()
    client.post("/v0/pipes/shops.json", data={"at_least": "2"}).raise_for_status()
    assert client.get("/v0/pipes/shops.json?at_least=many").status_code == 400
    assert query("SELECT method, status_code, error, parameters FROM tinybird.pipe_stats_rt") == [
        {"method": "GET", "status_code": 200, "error": 0, "parameters": {"at_least": "1"}},
        {"method": "POST", "status_code": 200, "error": 0, "parameters": {}},
        {"method": "GET", "status_code": 400, "error": 1, "parameters": {"at_least": "many"}},
    ]
    [row] = query("SELECT pipe_name, url, status_code, params, error FROM tinybird.endpoint_errors")
    assert "many" in row.pop("error")
    assert row == {
        "pipe_name": "shops",
        "url": "/v0/pipes/shops.json?at_least=many",
        "status_code": 400,
        "params": '{"at_least": "many"}',
    }
    assert query(f"SELECT count() AS n FROM tinybird.pipe_stats_rt WHERE url LIKE '%{server.token}%'") == [{"n": 0}]


@pytest.mark.parametrize("sql", ["SELECT * FROM tinybird.jobs_log", "SELECT * FROM `tinybird`.`jobs_log`"])
def test_scopes(narrow, sql):
    """Service data sources: "with a suitable token". Guess: ADMIN, or READ of the service data source."""
    with narrow("DATASOURCES:READ:tinybird.jobs_log") as client:
        assert client.post("/v0/sql", content=sql).status_code == 200
        assert client.post("/v0/sql", content="SELECT * FROM tinybird.block_log").status_code == 403
    with narrow("DATASOURCES:CREATE", "DATASOURCES:READ:sales") as client:
        answer = client.post("/v0/sql", content=sql)
        assert (answer.status_code, "tinybird.jobs_log" in answer.json()["error"]) == (403, True)


def test_sinks_ops_log(client, query, wait_for_job):
    """Service data sources: tinybird.sinks_ops_log, a row for each run of a sink."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-01,a,1\n2026-01-01,b,1\n")
    job = wait_for_job(client.post("/v0/pipes/sink_shops/sink?at_least=0&format=csv").json()["job"]["id"])
    columns = "job_id, pipe_name, result, error, written_rows, output, parameters, options['format'] AS format"
    assert query(f"SELECT {columns} FROM tinybird.sinks_ops_log") == [
        {
            "job_id": job["id"],
            "pipe_name": "sink_shops",
            "result": "ok",
            "error": None,
            "written_rows": 2,
            "output": ["bucket/shops/a.csv", "bucket/shops/b.csv"],
            "parameters": {"at_least": "0"},
            "format": "csv",
        }
    ]


def test_storage_and_calls_by_day(client, query):
    """Service data sources: datasources_storage and pipe_stats."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-01,a,1\nx,b,1\n")
    client.get("/v0/pipes/shops.json").raise_for_status()
    client.get("/v0/pipes/shops.json?at_least=x")
    sql = "SELECT rows, rows_quarantine FROM tinybird.datasources_storage WHERE datasource_name = 'sales'"
    assert query(sql) == [{"rows": 1, "rows_quarantine": 1}]
    sql = "SELECT pipe_name, view_count, error_count FROM tinybird.pipe_stats"
    assert query(sql) == [{"pipe_name": "shops", "view_count": 2, "error_count": 1}]


@pytest.mark.parametrize("name", ["kafka_ops_log", "data_transfer", "cluster_control_log"])
def test_what_the_sandbox_has_none_of(query, name):
    assert query(f"SELECT * FROM tinybird.{name}") == []


def test_reset_empties_them(client, query, server, wait_for_job):
    wait_for_job(client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"])
    client.get("/v0/pipes/shops.json").raise_for_status()
    wait_for_job(client.post("/v0/pipes/sink_shops/sink").json()["job"]["id"])
    assert query("SELECT count() AS n FROM tinybird.sinks_ops_log") == [{"n": 1}]
    server.reset()
    for name in ("jobs_log", "datasources_ops_log", "block_log", "pipe_stats_rt", "endpoint_errors", "sinks_ops_log"):
        assert query(f"SELECT count() AS n FROM tinybird.{name}") == [{"n": 0}]


def test_a_line_that_a_killed_process_left_half(client, query, data):
    """A row that was cut off is left out, and the others can be read."""
    client.post("/v0/datasources/sales/truncate").raise_for_status()
    with (data / "operations.ndjson").open("a") as file:
        file.write('{"event_type": "cop')
    assert operations(query, "event_type") == [("truncate",)]
