"""Append and replace: v0 and v1, by URL and by body."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CSV = "day,shop,amount\n2026-01-01,a,1\n2026-02-01,b,2\n"
NDJSON = '{"day":"2026-01-01","shop":"a","amount":1}\n{"day":"2026-02-01","shop":"b","amount":2}\n'
ROWS = [{"day": "2026-01-01", "shop": "a", "amount": 1}, {"day": "2026-02-01", "shop": "b", "amount": 2}]
SALES = "SELECT * FROM sales ORDER BY day, shop"


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


PARQUET = parquet(day=["2026-01-01", "2026-02-01"], shop=["a", "b"], amount=[1.0, 2.0])
BODIES = [("csv", CSV.encode()), ("ndjson", NDJSON.encode()), ("parquet", PARQUET)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("format_", "body"), BODIES)
def test_append_a_body_v0(client, query, format_, body, packed):
    """Data Sources API: a body is loaded at once; the answer has import_id, quarantine_rows, invalid_lines, the data source, no job."""
    content = gzip.compress(body) if packed else body
    params = {"name": "sales", "mode": "append", "format": format_, "debug": "blocks_block_log"}
    answer = client.post(
        "/v0/datasources", params=params, content=content, headers={"Content-Type": "text/html; charset=utf-8"}
    )
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["quarantine_rows"], result["invalid_lines"], result["error"]) == (0, 0, False)
    assert result["datasource"]["name"] == "sales"
    assert result["import_id"]
    assert "job" not in result
    assert [block["process_return"][0]["lines"] for block in result["blocks"]] == [2]
    assert query(SALES) == ROWS


@pytest.mark.parametrize("field", ["csv", "ndjson", "anything"])
@pytest.mark.parametrize(("format_", "body"), BODIES)
def test_append_multipart_v0(client, query, format_, body, field):
    """Data Sources API: the field is csv or ndjson; official clients send either for any format, so `format` decides."""
    params = {"name": "sales", "mode": "append", "format": format_}
    answer = client.post("/v0/datasources", params=params, files={field: (f"data.{format_}", body)})
    assert answer.status_code == 200, answer.text
    assert query(SALES) == ROWS


def test_parameters_may_be_parts_of_the_form(client, query):
    answer = client.post(
        "/v0/datasources", data={"name": "sales", "mode": "append", "format": "csv"}, files={"csv": ("a.csv", CSV)}
    )
    assert answer.status_code == 200, answer.text
    assert query(SALES) == ROWS


@pytest.mark.parametrize("where", ["query", "form"])
@pytest.mark.parametrize(("format_", "body"), BODIES)
def test_append_a_url_v0(client, query, server, files, wait_for_job, format_, body, where):
    """Data Sources API: a job; id, import_id and job_id are one value; parameters in the query, or in a form."""
    (files / f"sales.{format_}.gz").write_bytes(gzip.compress(body))
    url = f"{server.base_url}/files/sales.{format_}.gz"
    params = {"name": "sales", "mode": "append", "format": format_, "url": url}
    answer = client.post("/v0/datasources", **({"params": params} if where == "query" else {"data": params}))
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert result["id"] == result["import_id"] == result["job_id"] == result["job"]["id"] == result["job"]["job_id"]
    assert result["status"] == result["job"]["status"] == "waiting"
    assert result["job"]["kind"] == "import"
    assert (result["job"]["mode"], result["job"]["url"], result["job"]["datasource"]["name"]) == (
        "append",
        url,
        "sales",
    )
    assert result["datasource"]["name"] == "sales"
    job = wait_for_job(result["id"])
    assert job["status"] == "done"
    assert (job["quarantine_rows"], job["invalid_lines"]) == (0, 0)
    assert query(SALES) == ROWS


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("format_", "body"), BODIES)
def test_append_a_body_v1(client, query, wait_for_job, format_, body, packed):
    """Known of official clients: v1 takes raw bytes, gzip by header, and always answers with a job."""
    headers = {"Content-Type": "application/octet-stream", **({"Content-Encoding": "gzip"} if packed else {})}
    content = gzip.compress(body) if packed else body
    answer = client.post("/v1/datasources/sales/append", params={"format": format_}, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    job = wait_for_job(answer.json()["id"])
    assert job["status"] == "done", job
    assert [block["process_return"][0]["lines"] for block in job["blocks"]] == [2]
    assert query(SALES) == ROWS


def test_append_a_url_v1(client, query, server, files, wait_for_job):
    """Known of official clients: url= in the query, no body."""
    (files / "sales.csv").write_text(CSV)
    answer = client.post(
        "/v1/datasources/sales/append", params={"format": "csv", "url": f"{server.base_url}/files/sales.csv"}
    )
    assert wait_for_job(answer.json()["id"])["status"] == "done"
    assert query(SALES) == ROWS


def test_statistics_are_of_the_whole_table(client, server, files, wait_for_job):
    """Jobs API: statistics of an import describe the whole data source; blocks have the rows of the import."""
    (files / "sales.csv").write_text(CSV)
    params = {"format": "csv", "url": f"{server.base_url}/files/sales.csv"}
    for _ in range(2):
        job = wait_for_job(client.post("/v1/datasources/sales/append", params=params).json()["id"])
    assert job["statistics"]["row_count"] == 4
    assert job["blocks"][0]["process_return"][0]["lines"] == 2


def test_blocks_only_on_debug(client, wait_for_job):
    """Jobs API: debug=blocks,block_log adds blocks and block_log."""
    job_id = client.post("/v1/datasources/sales/append?format=csv", content=CSV).json()["id"]
    wait_for_job(job_id)
    assert not {"blocks", "block_log"} & client.get(f"/v0/jobs/{job_id}").json().keys()
    assert {"blocks", "block_log"} <= client.get(f"/v0/jobs/{job_id}?debug=blocks,block_log").json().keys()


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01,a,1\n2026-02-01,b,2\n",
        "amount,shop,day\n1,a,2026-01-01\n2,b,2026-02-01\n",
        '"day";"shop";"amount"\r\n2026-01-01;a;1\r\n2026-02-01;b;2\r\n',
        "\ufeffday|other|shop|amount\n2026-01-01|x|a|1\n2026-02-01|y|b|2",
    ],
)
def test_csv_headers_and_delimiters(client, query, text):
    """Data Sources API: the header is optional, columns go by name, else by position; the delimiter is guessed."""
    answer = client.post(
        "/v0/datasources?name=sales&mode=append&format=csv", content=text.encode(), headers={"Content-Type": "text/csv"}
    )
    assert answer.json()["error"] is False, answer.text
    assert query(SALES) == ROWS


def test_a_first_line_that_is_data(client, query):
    """Guess: a header is a line of which at least half of the fields name a column."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-01,amount,1\n").raise_for_status()
    assert query(SALES) == [{"day": "2026-01-01", "shop": "amount", "amount": 1}]


def test_dialect_delimiter(client, query):
    """Data Sources API: dialect_delimiter."""
    params = {"name": "sales", "mode": "append", "format": "csv", "dialect_delimiter": "#"}
    client.post("/v0/datasources", params=params, content=CSV.replace(",", "#").encode())
    assert query(SALES) == ROWS


def test_csv_values(client, query):
    """Guess: an empty field is NULL where the column can be, empty text in a String, the default where there is one."""
    text = (
        "id,name,at,day,value,small,tags,kind,price,ok\n"
        '1,,2026-01-01 00:00:00,,,,"[""a"",""b""]",,,\n'
        '2,"x,""y""",2026-01-01T00:00:00Z,2026-01-02,1.5,-3,"[\'c\']",k,1.10,true\n'
        ",x,2026-01-01,,,,,,,\n"
    )
    answer = client.post("/v0/datasources?name=events&mode=append&format=csv", content=text.encode())
    assert (answer.json()["quarantine_rows"], answer.json()["invalid_lines"]) == (1, 0)
    assert query("SELECT * EXCEPT at FROM events ORDER BY id") == [
        {
            "id": 1,
            "name": "",
            "day": None,
            "value": None,
            "small": 7,
            "tags": ["a", "b"],
            "kind": "none",
            "price": None,
            "ok": None,
        },
        {
            "id": 2,
            "name": 'x,"y"',
            "day": "2026-01-02",
            "value": 1.5,
            "small": -3,
            "tags": ["c"],
            "kind": "k",
            "price": 1.1,
            "ok": True,
        },
    ]


def test_parquet_values(client, query):
    """Parquet brings types of its own: what can be converted is, what cannot is quarantined."""
    table = parquet(
        id=[1, 2, 2**40],
        **{"user.name": ["a", "b", "c"]},
        at=pa.array([0, 1_500, 2], pa.timestamp("ms", "UTC")),
        value=pa.array([1.5, None, 2.5], pa.float32()),
        tags=[["x"], [], None],
        day=pa.array([0, 1, 2], pa.date32()),
    )
    answer = client.post("/v0/datasources?name=events&mode=append&format=parquet", content=table)
    assert answer.json()["quarantine_rows"] == 1, answer.text
    assert query("SELECT id, name, at, value, tags, day, small FROM events ORDER BY id") == [
        {
            "id": 1,
            "name": "a",
            "at": "1970-01-01 00:00:00.000",
            "value": 1.5,
            "tags": ["x"],
            "day": "1970-01-01",
            "small": 7,
        },
        {
            "id": 2,
            "name": "b",
            "at": "1970-01-01 00:00:01.500",
            "value": None,
            "tags": [],
            "day": "1970-01-02",
            "small": 7,
        },
    ]


def test_bad_rows_are_in_a_successful_answer(client, query):
    """Data Sources API, quarantine: 200 with quarantine_rows and invalid_lines, and `error` set, though the good rows are in."""
    body = NDJSON + '{"day":"x","shop":"c","amount":3}\nno json\n'
    answer = client.post("/v0/datasources?name=sales&mode=append&format=ndjson", content=body)
    assert answer.status_code == 200
    result = answer.json()
    assert (result["quarantine_rows"], result["invalid_lines"], result["error"]) == (1, 1, True)
    assert len(result["errors"]) == 2
    assert query(SALES) == ROWS
    assert query(
        "SELECT day, shop, amount, c__import_id = '" + result["import_id"] + "' AS same FROM sales_quarantine"
    ) == [{"day": "x", "shop": "c", "amount": "3", "same": 1}]


def test_a_job_with_bad_rows_is_done(client, wait_for_job):
    """Jobs API: done with quarantined rows is normal."""
    job = wait_for_job(
        client.post("/v1/datasources/sales/append?format=ndjson", content=NDJSON + '{"day":"x"}\nno json\n').json()[
            "id"
        ]
    )
    assert job["status"] == "done"
    assert (job["quarantine_rows"], job["invalid_lines"]) == (1, 1)
    block = job["blocks"][0]["process_return"][0]
    assert (block["lines"], block["quarantine"]) == (2, 1)


@pytest.mark.parametrize(
    ("format_", "body"),
    [("parquet", b"no parquet"), ("ndjson", b"a,b\n1,2\n"), ("csv", gzip.compress(b"a,b\n" * 1000, mtime=0)[:-20])],
    ids=["parquet", "ndjson", "gzip"],
)
def test_a_file_of_another_format(client, query, wait_for_job, format_, body):
    """An import that reads nothing fails, and leaves nothing; its text does not hold paths of this machine."""
    answer = client.post("/v0/datasources", params={"name": "sales", "mode": "append", "format": format_}, content=body)
    assert answer.status_code == 400, answer.text
    assert "uploads" not in answer.text
    job = wait_for_job(
        client.post("/v1/datasources/sales/append", params={"format": format_}, content=body).json()["id"]
    )
    assert job["status"] == "error"
    assert "uploads" not in job["error"]
    assert query("SELECT count() AS n FROM sales") == [{"n": 0}]


def test_a_url_that_is_not_there(client, server, wait_for_job):
    """The job fails with the status of the URL."""
    params = {"name": "sales", "mode": "append", "format": "csv", "url": f"{server.base_url}/files/nothing.csv"}
    job = wait_for_job(client.post("/v0/datasources", params=params).json()["id"])
    assert job["status"] == "error"
    assert "404" in job["error"]


@pytest.mark.parametrize(
    ("params", "status", "word"),
    [
        ({"name": "nothing", "mode": "append", "format": "csv"}, 404, "nothing"),
        ({"mode": "append", "format": "csv"}, 400, "name"),
        ({"name": "sales", "mode": "upsert"}, 400, "upsert"),
        ({"name": "sales", "mode": "append", "format": "xlsx"}, 400, "xlsx"),
        ({"name": "sales", "format": "csv"}, 409, "sales"),  # without mode it is create, as documented
        ({"name": "sales", "mode": "replace", "format": "csv", "replace_condition": "nope = 1"}, 400, "nope"),
        ({"name": "sales", "mode": "replace", "format": "csv", "replace_condition": "1) OR (1"}, 400, "parentheses"),
        ({"name": "sales", "mode": "replace", "format": "csv", "replace_condition": " "}, 400, "replace_condition"),
        ({"name": "sales", "mode": "append", "format": "csv", "dialect_delimiter": "ab"}, 400, "dialect_delimiter"),
    ],
)
def test_refused(client, query, params, status, word):
    answer = client.post("/v0/datasources", params=params, content=CSV)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]
    assert query("SELECT count() AS n FROM sales") == [{"n": 0}]


def test_missing_format_is_csv(client, query):
    """Data Sources API: format defaults to csv."""
    assert client.post("/v0/datasources?name=sales&mode=append", content=CSV).status_code == 200
    assert query(SALES) == ROWS


def test_nothing_to_load(client):
    assert client.post("/v0/datasources?name=sales&mode=append&format=csv").status_code == 400
    assert client.post("/v1/datasources/sales/append?format=csv").status_code == 400
    assert client.post("/v0/datasources?name=sales&mode=append&format=csv&url=ftp://x/y").status_code == 400


def test_a_raw_body_over_8_mb(client):
    """Limits: 8 MB for a body, much more for multipart."""
    body = b"2026-01-01,a,1\n" * 600_000
    assert client.post("/v0/datasources?name=sales&mode=append&format=csv", content=body).status_code == 413
    assert (
        client.post("/v0/datasources?name=sales&mode=append&format=csv", files={"csv": ("a.csv", body)}).status_code
        == 200
    )


@pytest.mark.parametrize("route", ["v0", "v1"])
def test_replace_everything(client, query, wait_for_job, route):
    """Replace and delete data: a full replace swaps the data."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=CSV)
    body = "day,shop,amount\n2026-03-01,c,3\n"
    if route == "v0":
        client.post("/v0/datasources?name=sales&mode=replace&format=csv", content=body).raise_for_status()
    else:
        assert (
            wait_for_job(client.post("/v1/datasources/sales/replace?format=csv", content=body).json()["id"])["status"]
            == "done"
        )
    assert query(SALES) == [{"day": "2026-03-01", "shop": "c", "amount": 3}]


@pytest.mark.parametrize("route", ["v0", "v1"])
def test_replace_by_condition(client, query, wait_for_job, route):
    """Replace and delete data: rows that match are swapped for the new ones that match; the rest stays."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=CSV + "2026-01-02,a,7\n")
    body = "day,shop,amount\n2026-01-05,z,50\n2026-02-09,z,90\n"
    params = {"format": "csv", "replace_condition": "toYYYYMM(day) = 202601"}
    if route == "v0":
        client.post(
            "/v0/datasources", params={**params, "name": "sales", "mode": "replace"}, content=body
        ).raise_for_status()
    else:
        job = wait_for_job(client.post("/v1/datasources/sales/replace", params=params, content=body).json()["id"])
        assert job["status"] == "done", job
    assert query(SALES) == [
        {"day": "2026-01-05", "shop": "z", "amount": 50},
        {"day": "2026-02-01", "shop": "b", "amount": 2},
    ]


def test_replace_reaches_only_partitions_of_the_new_rows(client, query):
    """Replace and delete data: the partitions touched come from the payload, so a condition without the key leaves others alone."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-01,a,1\n2026-02-01,a,2\n")
    params = {"name": "sales", "mode": "replace", "format": "csv", "replace_condition": "shop = 'a'"}
    client.post("/v0/datasources", params=params, content="2026-01-09,a,10\n").raise_for_status()
    assert query("SELECT amount FROM sales ORDER BY amount") == [{"amount": 2}, {"amount": 10}]


def test_replace_by_nothing_changes_nothing(client, query):
    """Recalled of the reference: only with replace_truncate_when_empty does an empty replace empty the data source."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=CSV)
    params = {"name": "sales", "mode": "replace", "format": "csv"}
    client.post("/v0/datasources", params=params, content="day,shop,amount\n").raise_for_status()
    assert query(SALES) == ROWS
    client.post(
        "/v0/datasources", params={**params, "replace_truncate_when_empty": "true"}, content="day,shop,amount\n"
    )
    assert query(SALES) == []


def test_replace_cascades_to_materialized_views(client, query):
    """Replace and delete data: a replace reaches the views below; a truncate does not."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=CSV)
    client.post("/v0/datasources?name=sales&mode=replace&format=csv", content="2026-01-01,a,100\n")
    totals = "SELECT shop, sum(total) AS total FROM sales_by_shop GROUP BY shop ORDER BY shop"
    assert query(totals) == [{"shop": "a", "total": 100}]
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-01,b,1\n")
    assert query(totals) == [{"shop": "a", "total": 100}, {"shop": "b", "total": 1}]
    client.post("/v0/datasources/sales/truncate")
    assert query("SELECT count() AS n FROM sales") == [{"n": 0}]
    assert len(query(totals)) == 2


def test_replace_cascades_over_two_views(client, query):
    """Views over views are filled anew too, the nearest first."""
    client.post(
        "/v0/datasources", params={"name": "grand", "schema": "total Int64", "engine": "SummingMergeTree"}
    ).raise_for_status()
    node = {
        "name": "grand_sum",
        "sql": "SELECT sum(total) AS total FROM sales_by_shop",
        "type": "materialized",
        "datasource": "grand",
    }
    client.post("/v0/pipes", json={"name": "grand_view", "nodes": [node]}).raise_for_status()
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=CSV)
    assert query("SELECT sum(total) AS n FROM grand") == [{"n": 3}]
    client.post("/v0/datasources?name=sales&mode=replace&format=csv", content="2026-01-01,a,100\n")
    assert query("SELECT sum(total) AS n FROM grand") == [{"n": 100}]
    client.delete("/v0/pipes/grand_view").raise_for_status()
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=CSV)
    assert query("SELECT sum(total) AS n FROM grand") == [{"n": 100}]


def test_replace_keeps_what_other_sources_gave_to_the_same_target(client, query):
    """Two data sources feed one target: when one is replaced, the rows of the other stay in it."""
    params = {"name": "other_sales", "schema": "day Date, shop String, amount Int64"}
    client.post("/v0/datasources", params=params).raise_for_status()
    node = {
        "name": "other_node",
        "sql": "SELECT shop, sum(amount) AS total FROM other_sales GROUP BY shop",
        "type": "materialized",
        "datasource": "sales_by_shop",
    }
    client.post("/v0/pipes", json={"name": "other_view", "nodes": [node]}).raise_for_status()
    for name, mode, row in (
        ("sales", "append", "2026-01-01,a,1"),
        ("other_sales", "append", "2026-01-01,b,10"),
        ("sales", "replace", "2026-01-01,a,2"),
    ):
        params = {"name": name, "mode": mode, "format": "csv"}
        client.post("/v0/datasources", params=params, content=row).raise_for_status()
    rows = query("SELECT shop, sum(total) AS total FROM sales_by_shop GROUP BY shop ORDER BY shop")
    assert rows == [{"shop": "a", "total": 2}, {"shop": "b", "total": 10}]
    client.delete("/v0/pipes/other_view").raise_for_status()


@pytest.mark.parametrize(
    ("scope", "append", "replace"),
    [("DATASOURCES:APPEND:sales", 200, 403), ("DATASOURCES:CREATE", 200, 200), ("DATASOURCES:READ:sales", 403, 403)],
)
def test_scopes(narrow, scope, append, replace):
    with narrow(scope) as client:
        for path, status in (("append", append), ("replace", replace)):
            assert client.post(f"/v0/datasources?name=sales&mode={path}&format=csv", content=CSV).status_code == status
            assert client.post(f"/v1/datasources/sales/{path}?format=csv", content=CSV).status_code == status


def test_create(client, query):
    """Data Sources API (Classic): schema with JSONPaths, engine and its options."""
    schema = "`id` UInt64 `json:$.id`, `user` LowCardinality(String) `json:$.a.user`, at DateTime `json:$.at`"
    params = {
        "mode": "create",
        "name": "made",
        "schema": schema,
        "engine": "ReplacingMergeTree",
        "engine_sorting_key": "id",
        "engine_ver": "at",
    }
    answer = client.post("/v0/datasources", data=params)
    assert answer.status_code == 200, answer.text
    assert answer.json()["datasource"]["engine"] == {"engine": "ReplacingMergeTree", "sorting_key": "id", "ver": "at"}
    rows = [{"id": 1, "a": {"user": "x"}, "at": f"2026-01-0{day}"} for day in (2, 1)]
    client.post("/v0/events?name=made&wait=true", content="\n".join(map(json.dumps, rows)))
    assert query("SELECT toDate(at) AS day FROM made FINAL") == [{"day": "2026-01-02"}]


@pytest.mark.parametrize(
    ("params", "status", "word"),
    [
        ({"name": "select", "schema": "a String"}, 400, "select"),
        ({"name": "with space", "schema": "a String"}, 400, "with space"),
        ({"name": "made", "schema": "a NoType"}, 400, "NoType"),
        ({"name": "made", "schema": "a String,"}, 400, "schema"),
        ({"name": "made", "schema": "a String `json:$.a[0]`"}, 400, "JSONPath"),
        ({"name": "made", "schema": "a String", "engine": "MergeTree", "engine_sorting_key": "b"}, 400, "b"),
        ({"name": "made"}, 400, "schema"),
        ({"name": "shops", "schema": "a String"}, 409, "shops"),
    ],
)
def test_create_refused(client, params, status, word):
    answer = client.post("/v0/datasources", params={"mode": "create", **params})
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]
    assert client.get("/v0/datasources/made").status_code == 404


CREATED = "day,Shop name,n,x,at\n2026-01-01,a,1,1.5,2026-01-01 10:00:00\n2026-01-02,b,-2,,2026-01-02 10:00:00\n"
GUESSED = [
    {"day": "2026-01-01", "Shop_name": "a", "n": 1, "x": 1.5, "at": "2026-01-01 10:00:00"},
    {"day": "2026-01-02", "Shop_name": "b", "n": -2, "x": None, "at": "2026-01-02 10:00:00"},
]


def test_create_from_csv_guesses_the_schema(client, query):
    """Data Sources API: mode=create with CSV data infers the schema. Guess: the types, and the names of the columns."""
    answer = client.post("/v0/datasources?name=guessed&mode=create", content=CREATED)
    assert answer.status_code == 200, answer.text
    assert query("SELECT * FROM guessed ORDER BY day") == GUESSED
    types = {one["name"]: one["type"] for one in answer.json()["datasource"]["schema"]["columns"]}
    assert types == {"day": "Date", "Shop_name": "String", "n": "Int64", "x": "Nullable(Float64)", "at": "DateTime"}


def test_create_from_a_url_guesses_the_schema(client, query, server, files, wait_for_job):
    """Data Sources API: mode=create with url, the default mode."""
    (files / "guess.csv").write_text(CREATED)
    job = client.post("/v0/datasources", params={"name": "guessed", "url": f"{server.base_url}/files/guess.csv"}).json()
    assert wait_for_job(job["id"])["status"] == "done"
    assert query("SELECT * FROM guessed ORDER BY day") == GUESSED
    missing = {"name": "other", "url": f"{server.base_url}/files/no.csv"}
    assert client.post("/v0/datasources", params=missing).status_code == 400
    assert client.get("/v0/datasources/other").status_code == 404


def test_type_guessing_can_be_off(client, query):
    """Data Sources API: type_guessing=false makes every CSV column a String."""
    client.post("/v0/datasources?name=texts&type_guessing=false", content="1,2026-01-01\n2,x\n").raise_for_status()
    assert query("SELECT * FROM texts ORDER BY column_00") == [
        {"column_00": "1", "column_01": "2026-01-01"},
        {"column_00": "2", "column_01": "x"},
    ]


@pytest.mark.parametrize(("format_", "body"), [("ndjson", '{"a":1}'), ("parquet", "PAR1"), ("csv", "")])
def test_only_csv_is_guessed(client, format_, body):
    """Data Sources API: schema inference is for CSV only, not for NDJSON and Parquet."""
    answer = client.post(f"/v0/datasources?name=guessed&format={format_}", content=body)
    assert (answer.status_code, "schema" in answer.json()["error"]) == (400, True)
    assert client.get("/v0/datasources/guessed").status_code == 404


@pytest.mark.parametrize(
    ("params", "body"),
    [
        ({"dialect_escapechar": "\\"}, '2026-01-01,a\\,b,1\n2026-01-02,"say \\"so\\"",2\n'),
        ({"dialect_new_line": "\r"}, '2026-01-01,"a,b",1\r2026-01-02,"say ""so""",2\r'),
        ({"dialect_new_line": "\r\n"}, '2026-01-01,"a,b",1\r\n2026-01-02,"say ""so""",2\r\n'),
        ({"dialect_new_line": "$"}, '2026-01-01,"a,b",1$2026-01-02,"say ""so""",2$'),
        (
            {"dialect_new_line": "$\n", "dialect_delimiter": "|", "dialect_escapechar": "\\"},
            '2026-01-01|a,b|1$\n2026-01-02|"say \\"so\\""|2$\n',
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_dialects(client, query, params, body, packed):
    """Data Sources API: dialect_delimiter, dialect_new_line and dialect_escapechar."""
    content = gzip.compress(body.encode()) if packed else body.encode()
    answer = client.post(
        "/v0/datasources", params={"name": "sales", "mode": "append", **params}, content=content
    ).json()
    assert (answer["quarantine_rows"], answer["invalid_lines"]) == (0, 0)
    assert query("SELECT shop, amount FROM sales ORDER BY day") == [
        {"shop": "a,b", "amount": 1},
        {"shop": 'say "so"', "amount": 2},
    ]


@pytest.mark.parametrize(
    "params", [{"dialect_escapechar": "ab"}, {"dialect_escapechar": '"'}, {"dialect_new_line": "abc"}]
)
def test_dialects_refused(client, params):
    """Data Sources API: one character, and one or two for a new line."""
    answer = client.post("/v0/datasources", params={"name": "sales", "mode": "append", **params}, content="x")
    assert (answer.status_code, next(iter(params)) in answer.json()["error"]) == (400, True)
