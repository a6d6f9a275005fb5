"""Append: v0 and v1, by URL and by body."""

from __future__ import annotations

import gzip
import io

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
    for more in ("", "2026-03-01,c,3\n"):
        (files / "sales.csv").write_text(f"{CSV}{more}")
        job = wait_for_job(client.post("/v1/datasources/sales/append", params=params).json()["id"])
    assert job["statistics"]["row_count"] == 5
    assert job["blocks"][0]["process_return"][0]["lines"] == 3


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


@pytest.mark.parametrize(
    ("scope", "append", "replace"),
    [("DATASOURCES:APPEND:sales", 200, 403), ("DATASOURCES:CREATE", 200, 200), ("DATASOURCES:READ:sales", 403, 403)],
)
def test_scopes(narrow, scope, append, replace):
    with narrow(scope) as client:
        for path, status in (("append", append), ("replace", replace)):
            assert client.post(f"/v0/datasources?name=sales&mode={path}&format=csv", content=CSV).status_code == status
            assert client.post(f"/v1/datasources/sales/{path}?format=csv", content=CSV).status_code == status


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
