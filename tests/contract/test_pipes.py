"""Pipes: endpoints, copy, sink, populate, management."""

from __future__ import annotations

import gzip
import io
import itertools
import json

import pyarrow.parquet as pq
import pytest

ROWS = "2026-01-01,a,1\n2026-01-02,b,2\n2026-02-01,b,3\n"


@pytest.fixture(autouse=True)
def _rows(client):
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=ROWS).raise_for_status()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_endpoint_json(client, method):
    """Pipes API: data, meta, rows and statistics; parameters in the URL, or in a form."""
    given = {"params" if method == "GET" else "data": {"at_least": "2"}}
    answer = client.request(method, "/v0/pipes/shops.json", **given)
    assert answer.status_code == 200
    result = answer.json()
    assert result["data"] == [{"shop": "b", "total": 5}]
    assert result["meta"] == [{"name": "shop", "type": "String"}, {"name": "total", "type": "Int64"}]
    assert result["rows"] == 1
    assert result["statistics"].keys() == {"elapsed", "rows_read", "bytes_read"}


def test_endpoint_csv_and_ndjson(client):
    """Pipes API: csv has a header line, ndjson one object for each row."""
    assert client.get("/v0/pipes/shops.csv").text == '"shop","total"\n"a",1\n"b",5\n'
    assert [json.loads(line) for line in client.get("/v0/pipes/shops.ndjson").text.splitlines()] == [
        {"shop": "a", "total": 1},
        {"shop": "b", "total": 5},
    ]


@pytest.mark.parametrize(("value", "type_"), [("0", "binary"), ("1", "string")])
def test_endpoint_parquet(client, value, type_):
    """Pipes API: strings are Binary unless output_format_parquet_string_as_string=1."""
    answer = client.get("/v0/pipes/shops.parquet", params={"output_format_parquet_string_as_string": value})
    table = pq.read_table(io.BytesIO(answer.content))
    assert str(table.schema.field("shop").type) == type_
    assert table.column("total").to_pylist() == [1, 5]


def test_endpoint_prometheus(client):
    """Pipes API: columns name, type, help and value."""
    assert client.get("/v0/pipes/metrics.prometheus").text == "# HELP rows rows of sales\n# TYPE rows gauge\nrows 3\n\n"


def test_q_over_the_result(client):
    """Pipes API: q is SQL over the result, which is _."""
    answer = client.get(
        "/v0/pipes/shops.json", params={"q": "SELECT count() AS n, max(total) AS most FROM _", "at_least": "1"}
    )
    assert answer.json()["data"] == [{"n": 2, "most": 5}]


@pytest.mark.parametrize(("value", "shown"), [("0", "5"), ("1", '"5"')])
def test_quoted_integers(client, value, shown):
    """Pipes API: output_format_json_quote_64bit_integers, default 0."""
    text = client.get("/v0/pipes/shops.ndjson", params={"output_format_json_quote_64bit_integers": value}).text
    assert f'"total":{shown}' in text


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/v0/pipes/nothing.json", 404, "nothing"),
        ("/v0/pipes/shops.json?at_least=abc", 400, "at_least"),
        ("/v0/pipes/shops.xml", 400, "xml"),
        ("/v0/pipes/copy_totals.json", 404, "endpoint"),
        ("/v0/pipes/shops.json?q=SELECT+nope+FROM+_", 400, "nope"),
        ("/v0/pipes/shops.json?q=SELECT+1;SELECT+2", 400, "one statement"),
        ("/v0/pipes/shops.json?output_format_json_quote_denormals=yes", 400, "denormals"),
    ],
)
def test_endpoint_refused(client, path, status, word):
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]


def test_endpoint_scope(narrow):
    """Pipes API: PIPES:READ:<pipe>; what the pipe itself reads needs no scope."""
    with narrow("PIPES:READ:shops") as client:
        assert client.get("/v0/pipes/shops.json").status_code == 200
        assert client.get("/v0/pipes/metrics.json").status_code == 403
        assert [pipe["name"] for pipe in client.get("/v0/pipes").json()["pipes"]] == ["shops"]


def test_copy_answers_the_node_with_a_job(client, wait_for_job, query):
    """Copy Pipes API: the top-level id is the node's; the job is nested."""
    result = client.post(
        "/v0/pipes/copy_totals/copy", params={"at_least": "2", "job_timestamp": "2026-05-06 07:08:09"}
    ).json()
    pipe = client.get("/v0/pipes/copy_totals").json()
    assert result["id"] == pipe["copy_node"] != result["job"]["id"]
    assert result["node_type"] == "copy"
    assert result["tags"]["copy_target_datasource"] == client.get("/v0/datasources/totals").json()["id"]
    assert (result["job"]["kind"], result["job"]["status"], result["job"]["pipe_name"]) == (
        "copy",
        "waiting",
        "copy_totals",
    )
    assert result["job"]["pipe_id"] == pipe["id"]
    assert wait_for_job(result["job"]["job_id"])["status"] == "done"
    assert query("SELECT * FROM totals") == [{"shop": "b", "total": 5, "taken_at": "2026-05-06 07:08:09"}]


def test_job_timestamp_defaults_to_the_present(client, wait_for_job, query):
    """Copy pipes: job_timestamp defaults to the time that the job was received."""
    wait_for_job(client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"])
    assert query("SELECT min(abs(taken_at - now()) < 60) AS recent FROM totals") == [{"recent": 1}]


def test_copy_modes(client, wait_for_job, query):
    """Copy Pipes API: append adds, replace takes the place; the pipe's own mode is append when unset."""

    times = itertools.count(1)

    def copied(**params: str) -> int:
        params = {"job_timestamp": f"2026-01-01 00:00:{next(times):02}", **params}
        assert (
            wait_for_job(client.post("/v0/pipes/copy_totals/copy", params=params).json()["job"]["id"])["status"]
            == "done"
        )
        return query("SELECT count() AS n FROM totals")[0]["n"]

    assert [copied(), copied(), copied(_mode="append"), copied(_mode="replace")] == [2, 4, 6, 2]


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/v0/pipes/nothing/copy", 404, "nothing"),
        ("/v0/pipes/shops/copy", 400, "not a copy pipe"),
        ("/v0/pipes/copy_totals/copy?_mode=upsert", 400, "upsert"),
        ("/v0/pipes/copy_totals/copy?at_least=x", 400, "at_least"),
        ("/v0/pipes/copy_wrong/copy", 400, "unknown_column"),
        ("/v0/pipes/copy_slow/copy/pause", 400, "schedule"),
        ("/v0/pipes/shops/sink", 400, "not a sink pipe"),
        ("/v0/pipes/shops/nodes/nothing/population", 404, "nothing"),
        ("/v0/pipes/shops/nodes/filtered/population", 400, "materialized"),
    ],
)
def test_jobs_of_pipes_refused(client, path, status, word):
    answer = client.post(path)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]
    assert client.get("/v0/jobs").json() == {"jobs": []}


def test_copy_scopes(narrow):
    """Recalled of the reference: PIPES:READ of the pipe and DATASOURCES:APPEND of the target."""
    with narrow("PIPES:READ:copy_totals") as client:
        answer = client.post("/v0/pipes/copy_totals/copy")
        assert answer.status_code == 403
        assert "DATASOURCES:APPEND:totals" in answer.json()["error"]
    with narrow("PIPES:READ:copy_totals", "DATASOURCES:APPEND:totals") as client:
        assert client.post("/v0/pipes/copy_totals/copy").status_code == 200


def test_pause_and_resume(client):
    """Copy Pipes API: pause stops the schedule, resume starts it; the status is running or shutdown."""
    statuses = [client.get("/v0/pipes/copy_totals").json()["schedule"]["status"]]
    for action in ("pause", "resume"):
        assert client.post(f"/v0/pipes/copy_totals/copy/{action}").status_code == 200
        statuses.append(client.get("/v0/pipes/copy_totals").json()["schedule"]["status"])
    assert statuses == ["running", "shutdown", "running"]


def test_sink_writes_a_file_for_each_value(client, data, wait_for_job):
    """Sink Pipes API: the answer is a node with a nested job; the file template names the files."""
    result = client.post("/v0/pipes/sink_shops/sink").json()
    assert result["id"] != result["job"]["id"]
    job = wait_for_job(result["job"]["id"])
    assert job["status"] == "done", job
    assert job["output"] == ["bucket/shops/a.ndjson", "bucket/shops/b.ndjson"]
    assert (data / "sinks" / "bucket" / "shops" / "b.ndjson").read_text() == '{"shop":"b","total":5}\n'


def test_sink_overrides_and_strategies(client, data, wait_for_job):
    """Sink Pipes API: format, compression, path and template of a run; new adds a file, truncate overwrites it."""
    params = {
        "format": "csv",
        "compression": "gzip",
        "path": "s3://other",
        "file_template": "all",
        "write_strategy": "new",
    }
    folder = data / "sinks" / "other"
    for strategy, files in (("new", 1), ("new", 2), ("truncate", 2)):
        job = client.post("/v0/pipes/sink_shops/sink", params={**params, "write_strategy": strategy}).json()["job"]
        assert wait_for_job(job["id"])["status"] == "done"
        assert len(list(folder.iterdir())) == files
    assert gzip.decompress((folder / "all.csv.gz").read_bytes()) == b'"shop","total"\n"a",1\n"b",5\n'


def test_a_sink_does_not_leave_its_folder(client):
    assert client.post("/v0/pipes/sink_shops/sink", params={"path": "../.."}).status_code == 400
    assert client.post("/v0/pipes/sink_shops/sink", params={"file_template": "../x"}).status_code == 400


def test_populate(client, wait_for_job, query):
    """Materialized Views API: a job of kind populateview; truncate empties the target first."""
    totals = "SELECT shop, sum(total) AS total FROM sales_by_shop GROUP BY shop ORDER BY shop"
    client.post("/v0/datasources/sales_by_shop/truncate")
    result = client.post("/v0/pipes/sales_view/nodes/summed/population").json()
    assert result["job"]["kind"] == "populateview"
    assert wait_for_job(result["job"]["id"])["status"] == "done"
    assert query(totals) == [{"shop": "a", "total": 1}, {"shop": "b", "total": 5}]
    only_b = {"populate_condition": "shop = 'b'"}
    wait_for_job(client.post("/v0/pipes/sales_view/nodes/summed/population", params=only_b).json()["job"]["id"])
    assert query(totals)[1] == {"shop": "b", "total": 10}
    params = {"truncate": "true", "populate_condition": "toMonth(day) = 2"}
    wait_for_job(client.post("/v0/pipes/sales_view/nodes/summed/population", params=params).json()["job"]["id"])
    assert query(totals) == [{"shop": "b", "total": 3}]


def test_list_and_get(client):
    """Pipes API: members of a pipe and its nodes; attrs picks members."""
    pipes = {pipe["name"]: pipe for pipe in client.get("/v0/pipes").json()["pipes"]}
    assert {name: pipe["type"] for name, pipe in pipes.items()} == {
        "shops": "endpoint",
        "metrics": "endpoint",
        "copy_totals": "copy",
        "copy_slow": "copy",
        "copy_wrong": "copy",
        "sink_shops": "sink",
        "sales_view": "materialized",
    }
    pipe = client.get("/v0/pipes/shops").json()
    assert pipe["endpoint"] == pipe["nodes"][1]["id"]
    assert pipe["nodes"][1]["dependencies"] == ["filtered"]
    assert client.get(f"/v0/pipes/{pipe['id']}").json()["name"] == "shops"
    assert client.get("/v0/pipes?attrs=name,type").json()["pipes"][0].keys() == {"id", "name", "type"}


def test_create_and_delete(client):
    """Pipes API (Classic): JSON with nodes, or name and sql."""
    nodes = [
        {"name": "first", "sql": "SELECT 1 AS x"},
        {"name": "second", "sql": "% SELECT x + {{Int32(y, 1)}} AS z FROM first"},
    ]
    assert client.post("/v0/pipes", json={"name": "made", "nodes": nodes}).status_code == 200
    assert client.get("/v0/pipes/made.json?y=4").json()["data"] == [{"z": 5}]
    assert client.post("/v0/pipes", data={"name": "made2", "sql": "SELECT z FROM made"}).status_code == 200
    assert client.get("/v0/pipes/made2.json").json()["data"] == [{"z": 2}]
    assert client.post("/v0/pipes", data={"name": "made", "sql": "SELECT 1"}).status_code == 409
    assert client.post("/v0/pipes", data={"name": "from", "sql": "SELECT 1"}).status_code == 400
    assert client.delete("/v0/pipes/made").status_code == 204
    assert client.get("/v0/pipes/made.json").status_code == 404


def test_a_pipe_that_reads_itself(client):
    client.post("/v0/pipes", data={"name": "ring_a", "sql": "SELECT * FROM ring_b"}).raise_for_status()
    client.post("/v0/pipes", data={"name": "ring_b", "sql": "SELECT * FROM ring_a"}).raise_for_status()
    answer = client.get("/v0/pipes/ring_a.json")
    assert answer.status_code == 400
    assert "itself" in answer.json()["error"]
