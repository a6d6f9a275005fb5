"""New data sources: from a schema, and guessed from CSV."""

from __future__ import annotations

import json

import pytest


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
