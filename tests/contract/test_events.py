"""The Events API."""

from __future__ import annotations

import gzip
import json

import httpx
import pyarrow as pa
import pytest
from sandbox_process import SandboxProcess

ROW = {"id": 1, "user": {"name": "ana"}, "at": "2026-01-02T03:04:05.678Z"}


def lines(*rows: object) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def test_wait_answers_200_and_the_counts(client, query):
    """Events API: wait=true answers 200 once the rows are committed, with successful_rows and quarantined_rows."""
    answer = client.post("/v0/events", params={"name": "events", "wait": "true"}, content=lines(ROW, {**ROW, "id": 2}))
    assert answer.status_code == 200
    assert answer.json() == {"successful_rows": 2, "quarantined_rows": 0}
    assert query("SELECT count() AS n FROM events") == [{"n": 2}]


def test_without_wait_answers_202(client):
    """Events API: without wait the answer is 202, accepted."""
    assert client.post("/v0/events", params={"name": "events"}, content=lines(ROW)).status_code == 202


def test_values_arrive_as_sent(client, query):
    """NDJSON Data Sources, JSONPaths: JSONPaths take nested values and arrays; a missing path takes the default, or NULL."""
    full = {
        **ROW,
        "day": "2026-01-02",
        "value": 1.5,
        "small": -3,
        "tags": ["a", "b"],
        "kind": "x",
        "price": "12.30",
        "ok": True,
    }
    client.post("/v0/events", params={"name": "events", "wait": "true"}, content=lines(full, {**ROW, "id": 2}))
    assert query("SELECT * FROM events ORDER BY id") == [
        {
            "id": 1,
            "name": "ana",
            "at": "2026-01-02 03:04:05.678",
            "day": "2026-01-02",
            "value": 1.5,
            "small": -3,
            "tags": ["a", "b"],
            "kind": "x",
            "price": 12.3,
            "ok": True,
        },
        {
            "id": 2,
            "name": "ana",
            "at": "2026-01-02 03:04:05.678",
            "day": None,
            "value": None,
            "small": 7,
            "tags": [],
            "kind": "none",
            "price": None,
            "ok": None,
        },
    ]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"id": "abc"}, "id"),
        ({"id": -1}, "id"),
        ({"id": 2**32}, "id"),
        ({"id": 1.5}, "id"),
        ({"id": None}, "id"),
        ({"user": {}}, "name"),
        ({"user": {"name": None}}, "name"),
        ({"at": "yesterday"}, "at"),
        ({"day": "no day"}, "day"),
        ({"value": "much"}, "value"),
        ({"small": 128}, "small"),
        ({"tags": "no list"}, "tags"),
        ({"tags": ["a", None]}, "tags"),
        ({"price": "12,30"}, "price"),
        ({"ok": "perhaps"}, "ok"),
    ],
)
def test_a_row_that_does_not_fit_is_quarantined(client, query, change, column):
    """Quarantine Data Sources: rows that do not match the schema go to <name>_quarantine, and the call succeeds."""
    bad = {**ROW, **change}
    answer = client.post(
        "/v0/events", params={"name": "events", "wait": "true"}, content=lines(ROW, bad, {**ROW, "id": 3})
    )
    assert answer.status_code == 200
    assert answer.json() == {"successful_rows": 2, "quarantined_rows": 1}
    assert query("SELECT id FROM events ORDER BY id") == [{"id": 1}, {"id": 3}]
    [row] = query(
        "SELECT c__error_column, c__error, c__import_id, insertion_date > now() - 60 AS recent FROM events_quarantine"
    )
    assert row["c__error_column"] == [column]
    assert len(row["c__error"]) == 1
    assert row["c__import_id"]
    assert row["recent"]


def test_the_quarantine_keeps_the_values_as_text(client, query):
    """Quarantine Data Sources: the quarantine can be queried like a table."""
    client.post(
        "/v0/events",
        params={"name": "events", "wait": "true"},
        content=lines({**ROW, "id": "abc", "tags": ["x"], "value": 2}),
    )
    [row] = query("SELECT id, name, tags, value, day FROM events_quarantine")
    assert row == {"id": "abc", "name": "ana", "tags": '["x"]', "value": "2", "day": None}


def test_every_bad_column_of_a_row_is_named(client, query):
    client.post("/v0/events", params={"name": "events", "wait": "true"}, content=lines({"id": "x", "at": "y"}))
    assert query("SELECT c__error_column FROM events_quarantine") == [{"c__error_column": ["id", "name", "at"]}]


def test_lines_that_are_no_json_count_as_quarantined(client, query):
    """Guess: the answer has no other member to count them in."""
    body = lines(ROW) + "\n{broken\n[1]\n\n   \n42\n" + lines({**ROW, "id": 2})
    answer = client.post("/v0/events", params={"name": "events", "wait": "true"}, content=body)
    assert answer.json() == {"successful_rows": 2, "quarantined_rows": 3}
    assert query("SELECT count() AS n FROM events_quarantine") == [{"n": 3}]


def test_gzip(client):
    """Events API: Content-Encoding: gzip."""
    body = gzip.compress(lines(ROW).encode()) + gzip.compress(b"\n" + lines(ROW).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}
    answer = client.post("/v0/events", params={"name": "events", "wait": "true"}, content=body, headers=headers)
    assert answer.json() == {"successful_rows": 2, "quarantined_rows": 0}


def test_zstd(client):
    """Known of one client only: Content-Encoding: zstd."""
    body = pa.compress(lines(ROW, ROW).encode(), codec="zstd", asbytes=True)
    answer = client.post(
        "/v0/events", params={"name": "events", "wait": "true"}, content=body, headers={"Content-Encoding": "zstd"}
    )
    assert answer.json() == {"successful_rows": 2, "quarantined_rows": 0}


def test_gzip_header_without_gzip_data(client):
    """A known bug of a client: the header is there, the body is plain."""
    answer = client.post("/v0/events?name=events", content=lines(ROW), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "gzip" in answer.json()["error"]


def test_one_json_document_over_several_lines(client):
    """Documented by a client: format=json takes one JSON document."""
    answer = client.post("/v0/events?name=events&wait=true&format=json", content=json.dumps(ROW, indent=2))
    assert answer.json() == {"successful_rows": 1, "quarantined_rows": 0}


def test_name_may_be_the_id(client):
    """Events API: name is the data source's name or id."""
    datasource_id = client.get("/v0/datasources/events").json()["id"]
    assert client.post("/v0/events", params={"name": datasource_id}, content=lines(ROW)).status_code == 202


def test_missing_name(client):
    """Events API: 400, often a missing name; nothing is inserted."""
    answer = client.post("/v0/events", content=lines(ROW))
    assert answer.status_code == 400
    assert "name" in answer.json()["error"]


def test_rate_limit_headers(client):
    """Events API reference, rate limit headers: X-RateLimit-Limit, -Remaining and -Reset on the answers."""
    headers = client.post("/v0/events?name=events", content=lines(ROW)).headers
    assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= headers.keys()


def test_unknown_data_source_is_made_from_the_rows(client, query):
    """Events API (Classic guide): a token that may create infers the schema and creates the data source."""
    row = {"n": 1, "text": "x", "nested": {"deep": 2.5}, "list": ["a"], "when": "2026-01-02 03:04:05"}
    assert client.post("/v0/events?name=inferred&wait=true", content=lines(row)).status_code == 200
    assert query("SELECT * FROM inferred") == [
        {"n": 1, "text": "x", "nested_deep": 2.5, "list": ["a"], "when": "2026-01-02 03:04:05"}
    ]


def test_unknown_data_source_needs_the_create_scope(narrow):
    """Events API: DATASOURCES:APPEND:<ds> to append, DATASOURCES:CREATE to create."""
    with narrow("DATASOURCES:APPEND:inferred") as client:
        answer = client.post("/v0/events?name=inferred", content=lines(ROW))
    assert answer.status_code == 403
    assert "DATASOURCES:CREATE" in answer.json()["error"]


@pytest.mark.parametrize("scope", ["DATASOURCES:APPEND:events", "DATASOURCES:CREATE", "ADMIN"])
def test_scopes_that_may_append(narrow, scope):
    with narrow(scope) as client:
        assert client.post("/v0/events?name=events", content=lines(ROW)).status_code == 202


@pytest.mark.parametrize("scope", ["DATASOURCES:APPEND:sales", "DATASOURCES:READ:events", "PIPES:CREATE"])
def test_scopes_that_may_not_append(narrow, scope):
    with narrow(scope) as client:
        answer = client.post("/v0/events?name=events", content=lines(ROW))
    assert answer.status_code == 403
    assert "DATASOURCES:APPEND:events" in answer.json()["error"]


def test_materialized_views_are_fed(client, query):
    """Materialized views: inserts go through materialized views."""
    client.post(
        "/v0/events?name=sales&wait=true",
        content=lines(
            {"day": "2026-01-01", "shop": "a", "amount": 5}, {"day": "2026-01-01", "shop": "a", "amount": -1}
        ),
    )
    assert query("SELECT shop, sum(total) AS total FROM sales_by_shop GROUP BY shop") == [{"shop": "a", "total": 5}]


def test_in_forward_nothing_is_made():
    """Events API (Forward): in Forward the data source must exist; creation is by deployment only."""
    with (
        SandboxProcess("--forward") as forward,
        httpx.Client(base_url=forward.base_url, headers=forward.headers) as client,
    ):
        assert client.post("/v0/events?name=inferred", content=lines(ROW)).status_code == 404
        assert client.post("/v0/datasources", params={"name": "t", "schema": "a String"}).status_code == 403
        assert client.post("/v0/pipes", params={"name": "p", "sql": "SELECT 1"}).status_code == 403
        assert client.get("/v0/workspace").json()["is_forward"] is True
        # The Python SDK makes an object of this answer, and fails on a member that it does not know.
        members = {"id", "name", "user_id", "user_email", "scope", "main"}
        assert client.get("/v1/workspace").json().keys() == members


def test_a_materialized_view_that_fails(client, query):
    """Events API: 422, the rows are in and the view has none of them; Guess: none at all."""
    params = {"name": "made", "schema": "id Int64 `json:$.id`"}
    client.post("/v0/datasources", params=params).raise_for_status()
    sql = "SELECT toString(id) AS shop, toInt64(1) AS total FROM made WHERE throwIf(id = 2) = 0"
    node = {"name": "fragile", "sql": sql, "type": "materialized", "datasource": "sales_by_shop"}
    client.post("/v0/pipes", json={"name": "fragile_view", "nodes": [node]}).raise_for_status()
    assert client.post("/v0/events?name=made&wait=true", content='{"id":1}').status_code == 200
    answer = client.post("/v0/events?name=made&wait=true", content='{"id":1}\n{"id":2}\n{"id":"x"}')
    assert answer.status_code == 422
    assert "materialized view failed" in answer.json()["error"]
    assert query("SELECT count() AS n FROM made") == [{"n": 3}]
    assert query("SELECT count() AS n FROM sales_by_shop") == [{"n": 1}]


def test_hfi_requests(client, query):
    """Service data sources: tinybird.hfi_requests has the requests, and what came of them."""
    client.post("/v0/events?name=events", content='{"id":1,"user":{"name":"x"},"at":"2026-01-01 00:00:00"}\n{"id":"x"}')
    client.post("/v0/events?name=events", content="x", headers={"Content-Encoding": "gzip"})
    columns = "datasource_name, successful_requests, error_requests, rows_successful, rows_quarantined, bytes_received"
    assert [list(row.values()) for row in query(f"SELECT {columns} FROM tinybird.hfi_requests")] == [
        ["events", 1, 0, 1, 1, 66],
        ["events", 0, 1, 0, 0, 1],
    ]
