"""The Query API."""

from __future__ import annotations

import pytest

ROWS = "2026-01-01,a,1\n2026-01-02,b,2\n"


@pytest.fixture(autouse=True)
def _rows(client):
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=ROWS).raise_for_status()


SQL = "SELECT shop FROM sales ORDER BY shop FORMAT JSONEachRow"
LINES = '{"shop":"a"}\n{"shop":"b"}\n'


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("GET", {"params": {"q": SQL}}),
        ("POST", {"params": {"q": SQL}}),
        ("POST", {"data": {"q": SQL}}),
        ("POST", {"content": SQL}),
        ("POST", {"content": SQL, "headers": {"Content-Type": "text/plain"}}),
        ("POST", {"content": SQL, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}),
        ("POST", {"json": {"q": SQL}}),
    ],
)
def test_ways_to_send_it(client, method, given):
    """Query API, and official clients: q in the query, in a form, in JSON; or the SQL as the body."""
    assert client.request(method, "/v0/sql", **given).text == LINES


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("CSV", '1,"x"\n'),
        ("CSVWithNames", '"n","t"\n1,"x"\n'),
        ("TSV", "1\tx\n"),
        ("TSVWithNames", "n\tt\n1\tx\n"),
        ("JSONEachRow", '{"n":1,"t":"x"}\n'),
        ("jsoneachrow", '{"n":1,"t":"x"}\n'),
    ],
)
def test_formats(client, format_, text):
    """Query API: formats; the FORMAT is at the end, in any case."""
    assert client.post("/v0/sql", content=f"SELECT 1 AS n, 'x' AS t FORMAT {format_};").text == text


@pytest.mark.parametrize("format_", ["Parquet", "PrettyCompact", "Markdown"])
def test_other_formats(client, format_):
    assert client.post("/v0/sql", content=f"SELECT 1 AS n FORMAT {format_}").status_code == 200


def test_without_format_it_is_json(client):
    """Guess: documents disagree."""
    assert client.post("/v0/sql", content="SELECT 1 AS n").json()["data"] == [{"n": 1}]


def test_json_members(client):
    """Query API: meta, data, rows, statistics; rows_before_limit_at_least with LIMIT only; 64-bit integers bare, nan null."""
    result = client.post("/v0/sql", content="SELECT toUInt64(1) AS n, nan AS x FROM sales LIMIT 1 FORMAT JSON").json()
    assert result["data"] == [{"n": 1, "x": None}]
    assert result["meta"] == [{"name": "n", "type": "UInt64"}, {"name": "x", "type": "Float64"}]
    assert result["rows_before_limit_at_least"] == 2
    assert "rows_before_limit_at_least" not in client.post("/v0/sql", content="SELECT 1 FORMAT JSON").json()


def test_a_word_format_elsewhere(client):
    """The FORMAT clause is at the end; the word in a text or as a name is none."""
    answer = client.post("/v0/sql", content="SELECT ' FORMAT CSV' AS format FORMAT JSON")
    assert answer.json()["data"] == [{"format": " FORMAT CSV"}]


def test_pipeline(client):
    """Query API: pipeline names a pipe, which is _ in the SQL."""
    params = {"pipeline": "shops", "q": "SELECT sum(total) AS n FROM _ FORMAT JSON"}
    assert client.get("/v0/sql", params=params).json()["data"] == [{"n": 3}]
    assert client.get("/v0/sql", params={**params, "pipeline": "nothing"}).status_code == 404


def test_pipes_by_name(client):
    """Endpoints can be queried by name, beside data sources, with a WITH of one's own, and joined."""
    sql = "WITH top AS (SELECT * FROM shops) SELECT s.shop, t.total FROM sales AS s JOIN top AS t ON s.shop = t.shop ORDER BY 1 FORMAT CSV"
    assert client.post("/v0/sql", content=sql).text == '"a",1\n"b",2\n'
    assert (
        client.post(
            "/v0/sql", content="(SELECT max(total) FROM shops) UNION ALL (SELECT max(total) FROM shops) FORMAT CSV"
        ).text
        == "2\n2\n"
    )


def test_templates(client):
    """Query API: SQL that starts with % is a template; other keys are its parameters."""
    sql = "% SELECT shop FROM sales WHERE amount > {{Int32(least)}} FORMAT CSV"
    assert client.post("/v0/sql", data={"q": sql, "least": "1"}).text == '"b"\n'
    assert client.post("/v0/sql", json={"q": sql, "least": 1}).text == '"b"\n'
    answer = client.post("/v0/sql", data={"q": sql, "least": "x"})
    assert answer.status_code == 400
    assert "least" in answer.json()["error"]


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("", "'q' is required"),
        ("SELECT nope FROM sales", "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM nothing", "nothing"),
        ("SELEC 1", "only SELECT"),
        ("SELECT 1 FROM", "SYNTAX_ERROR"),
        ("SELECT 1 FORMAT XML", "XML"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT 1; DROP TABLE sales", "one statement"),
        ("DROP TABLE sales", "only SELECT"),
        ("INSERT INTO sales VALUES ('2026-01-01', 'x', 1)", "only SELECT"),
        ("SET readonly = 0", "only SELECT"),
        ("SELECT 1 SETTINGS readonly = 0", "READONLY"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "file"),
        ("SELECT file('/etc/passwd')", "file"),
        ("SELECT * FROM `file`('/etc/passwd', 'LineAsString')", "file"),
        ("SELECT * FROM FILE /* x */ ('/etc/passwd', 'LineAsString')", "FILE"),
        ("SELECT * FROM url('http://127.0.0.1/', 'LineAsString')", "url"),
        ("SELECT * FROM s3('http://bucket.s3.amazonaws.com/x')", "s3"),
        ("SELECT * FROM python('x')", "python"),
        ("SELECT * FROM merge('system', '.*')", "merge"),
        ("SELECT * FROM system.tables", "system"),
        ('SELECT * FROM "system" . "tables"', "system"),
        ("SELECT * FROM INFORMATION_SCHEMA.TABLES", "INFORMATION_SCHEMA"),
        ("WITH x AS (SELECT * FROM system.tables) SELECT * FROM x", "system"),
        ("SELECT 1 INTO OUTFILE '/tmp/never'", "OUTFILE"),
    ],
)
def test_refused(client, query, sql, word):
    """Query API: SELECT only; 400 with ClickHouse's text, and no traceback."""
    answer = client.post("/v0/sql", content=sql)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert query("SELECT count() AS n FROM sales") == [{"n": 2}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 -- ; comment",
        "SELECT ';' AS x",
        "SELECT 1 /* ; */ ;",
        "SELECT 'system.tables' AS x",
        "# comment\nSELECT 1",
    ],
)
def test_not_refused(client, sql):
    assert client.post("/v0/sql", content=sql).status_code == 200


def test_a_pipe_does_not_reach_further(client):
    """What a query must not reach, a pipe must not either."""
    client.post(
        "/v0/pipes", data={"name": "sly", "sql": "SELECT * FROM file('/etc/passwd', 'LineAsString')"}
    ).raise_for_status()
    for answer in (client.get("/v0/pipes/sly.json"), client.post("/v0/sql", content="SELECT * FROM sly")):
        assert answer.status_code == 400
        assert "file" in answer.json()["error"]


def test_time_limit(client):
    """API overview, error codes: 408 on a query timeout."""
    answer = client.post("/v0/sql", content="SELECT sum(sleepEachRow(0.1)) FROM numbers(25)")
    assert answer.status_code == 408, answer.text


def test_scopes(narrow):
    """Query API and Token API: read on every table and pipe used; the quarantine comes with its data source."""
    with narrow("DATASOURCES:READ:sales") as client:
        assert client.post("/v0/sql", content="SELECT * FROM sales").status_code == 200
        assert client.post("/v0/sql", content="SELECT * FROM sales_quarantine").status_code == 200
        assert client.post("/v0/sql", content="SELECT 1").status_code == 200
        answer = client.post("/v0/sql", content="SELECT * FROM sales, totals")
        assert answer.status_code == 403
        assert "DATASOURCES:READ:totals" in answer.json()["error"]
        answer = client.post("/v0/sql", content="SELECT * FROM shops")
        assert answer.status_code == 403
        assert "PIPES:READ:shops" in answer.json()["error"]
        assert client.get("/v0/sql", params={"q": "SELECT * FROM _", "pipeline": "shops"}).status_code == 403
    with narrow("PIPES:READ:shops") as client:
        assert client.post("/v0/sql", content="SELECT * FROM shops").status_code == 200
        assert client.get("/v0/sql", params={"q": "SELECT * FROM _", "pipeline": "shops"}).status_code == 200
        assert client.get("/v0/sql", params={"q": "SELECT * FROM _, totals", "pipeline": "shops"}).status_code == 403


def test_a_long_url(client):
    """Known of a client: 414 above about 8 kB; a body may be longer."""
    sql = f"SELECT 1 AS n, '{'x' * 9000}' AS text FORMAT JSONEachRow"
    assert client.get("/v0/sql", params={"q": sql}).status_code == 414
    assert client.post("/v0/sql", content=sql).status_code == 200
