"""Data sources changed over HTTP: schema, name, rows swapped, shared; and as the text of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_tinybird.sandbox.datafiles.datafile import parse_datasource

ROWS = "2026-01-01,a,1\n2026-01-02,b,2\n"
SALES = "day Date, shop String, amount Int64"


@pytest.fixture(autouse=True)
def _rows(client):
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=ROWS).raise_for_status()


def names(client, datasource="sales"):
    return [column["name"] for column in client.get(f"/v0/datasources/{datasource}").json()["columns"]]


def test_columns_at_the_end(client, query):
    """Data Sources API, alter: operations, also of the quarantine; rows that are there get the default."""
    schema = f"{SALES}, currency String DEFAULT 'EUR', note Nullable(String)"
    planned = client.post("/v0/datasources/sales/alter", data={"schema": schema, "dry": "true"}).json()
    assert {key: sorted(value) for key, value in planned.items()} == {
        "operations": ["ADD COLUMN `currency` String DEFAULT 'EUR'", "ADD COLUMN `note` Nullable(String)"],
        "quarantine_operations": ["ADD COLUMN `currency` Nullable(String)", "ADD COLUMN `note` Nullable(String)"],
        "dependencies": ["metrics", "sales_view", "shops"],
    }
    assert names(client) == ["day", "shop", "amount"]
    assert (
        client.post("/v0/datasources/sales/alter", data={"schema": schema}).json()["operations"]
        == planned["operations"]
    )
    assert names(client) == ["day", "shop", "amount", "currency", "note"]
    client.post(
        "/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-03,c,3,USD,x\nno date,c,3,USD,x\n"
    )
    assert query("SELECT shop, currency FROM sales ORDER BY shop") == [
        {"shop": "a", "currency": "EUR"},
        {"shop": "b", "currency": "EUR"},
        {"shop": "c", "currency": "USD"},
    ]
    assert query("SELECT currency FROM sales_quarantine") == [{"currency": "USD"}]
    assert query("SELECT sum(total) AS n FROM sales_by_shop") == [{"n": 6}]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"schema": "day Date, shop String"}, "amount"),
        ({"schema": "day Date, shop String, amount Int32"}, "amount"),
        ({"schema": "shop String, day Date, amount Int64"}, "day"),
        ({"schema": f"{SALES}, more"}, "more"),
        ({"schema": f"{SALES}, more Int64 DEFAULT file('/etc/passwd')"}, "file"),
        ({"ttl": "day + INTERVAL 1 DAY, (SELECT 1"}, ""),
        ({}, "nothing to alter"),
    ],
)
def test_an_alter_is_refused_whole(client, fields, word):
    answer = client.post("/v0/datasources/sales/alter", data=fields)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]
    assert names(client) == ["day", "shop", "amount"]
    assert client.get("/v0/datasources/sales").json()["statistics"]["row_count"] == 2


def test_time_to_live_and_description(client):
    data = {"ttl": "day + INTERVAL 100 YEAR", "description": "of all shops"}
    assert client.post("/v0/datasources/sales/alter", data=data).json()["operations"] == [
        "MODIFY TTL day + INTERVAL 100 YEAR"
    ]
    shown = client.get("/v0/datasources/sales").json()
    assert (shown["engine"]["ttl"], shown["description"]) == ("day + INTERVAL 100 YEAR", "of all shops")
    assert client.post("/v0/datasources/sales/alter", data={"ttl": "false"}).json()["operations"] == ["REMOVE TTL"]
    assert "ttl" not in client.get("/v0/datasources/sales").json()["engine"]


def test_rename(client, query):
    """Data Sources API, update: ids survive a rename, and rows and quarantine go with it; Guess: 409 while it is used."""
    client.post("/v0/datasources", params={"name": "before", "schema": "n Int64"}).raise_for_status()
    client.post("/v0/datasources?name=before&mode=append&format=csv", content="1\nx\n")
    before = client.get("/v0/datasources/before").json()
    assert client.put("/v0/datasources/before", data={"name": "later"}).json()["id"] == before["id"]
    assert client.get("/v0/datasources/before").status_code == 404
    assert client.get(f"/v0/datasources/{before['id']}").json()["name"] == "later"
    assert query("SELECT (SELECT count() FROM later) AS rows, (SELECT count() FROM later_quarantine) AS bad") == [
        {"rows": 1, "bad": 1}
    ]
    for datasource, name, status in (
        ("later", "sales", 409),
        ("later", "from", 400),
        ("sales", "other", 409),
        ("later", "", 400),
    ):
        assert client.put(f"/v0/datasources/{datasource}", data={"name": name}).status_code == status


def test_exchange(client, query):
    """Data Sources API, exchange: two data sources swap their rows; Guess: names and ids stay, columns must be the same."""
    client.post("/v0/datasources", params={"name": "twin", "schema": SALES}).raise_for_status()
    ids = [client.get(f"/v0/datasources/{name}").json()["id"] for name in ("sales", "twin")]
    client.post("/v0/datasources/exchange", data={"datasource_a": "sales", "datasource_b": "twin"}).raise_for_status()
    assert query("SELECT (SELECT count() FROM sales) AS a, (SELECT count() FROM twin) AS b") == [{"a": 0, "b": 2}]
    assert [client.get(f"/v0/datasources/{name}").json()["id"] for name in ("sales", "twin")] == ids
    # Views stay with the name.
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-05,z,9\n").raise_for_status()
    assert query("SELECT total FROM sales_by_shop WHERE shop = 'z'") == [{"total": 9}]
    for other, status in (("totals", 400), ("sales", 400), ("nothing", 404)):
        data = {"datasource_a": "sales", "datasource_b": other}
        assert client.post("/v0/datasources/exchange", data=data).status_code == status


def test_share(client):
    workspace = client.get("/v0/workspace").json()["id"]
    data = {"origin_workspace_id": workspace, "destination_workspace_id": "elsewhere"}
    client.post("/v0/datasources/sales/share", data=data).raise_for_status()
    assert client.get("/v0/datasources/sales").json()["shared_with"] == ["elsewhere"]
    client.request("DELETE", "/v0/datasources/sales/share", data=data).raise_for_status()
    assert client.get("/v0/datasources/sales").json()["shared_with"] == []
    assert client.post("/v0/datasources/sales/share", data={**data, "origin_workspace_id": "x"}).status_code == 404


@pytest.mark.parametrize("name", ["sales", "events", "sales_by_shop"])
def test_its_file_makes_it_again(client, name):
    """The text of a data source's file makes one that is the same."""
    text = client.get(f"/v0/datasources/{name}.datasource").text
    original = Path(__file__).parent / "project" / "datasources" / f"{name}.datasource"
    one, other = (parse_datasource(content, original) for content in (text, original.read_text()))
    assert one == other


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v0/datasources/sales/alter?description=x"),
        ("PUT", "/v0/datasources/sales?name=x"),
        ("POST", "/v0/datasources/exchange?datasource_a=sales&datasource_b=totals"),
        ("POST", "/v0/datasources/sales/share"),
    ],
)
def test_scopes(narrow, method, path):
    with narrow("DATASOURCES:APPEND:sales", "DATASOURCES:READ:sales") as client:
        assert client.request(method, path).status_code == 403
        assert client.get("/v0/datasources/sales.datasource").status_code == 200


def test_a_reset_takes_changes_of_the_project_back(client, server, query):
    client.post("/v0/datasources/sales/alter", data={"schema": f"{SALES}, more Int64", "description": "x"})
    client.delete("/v0/datasources/totals?force=true").raise_for_status()
    client.delete("/v0/pipes/sales_view/nodes/summed/materialization").raise_for_status()
    client.delete("/v0/pipes/metrics").raise_for_status()
    node = {
        "name": "n",
        "sql": "SELECT shop, 1 AS total FROM sales",
        "type": "materialized",
        "datasource": "sales_by_shop",
    }
    client.post("/v0/pipes", json={"name": "further", "nodes": [node]}).raise_for_status()
    server.reset()
    assert names(client) == ["day", "shop", "amount"]
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=ROWS).raise_for_status()
    assert query("SELECT sum(total) AS n FROM sales_by_shop") == [{"n": 3}]
    assert query("SELECT count() AS n FROM totals") == [{"n": 0}]
    assert client.get("/v0/pipes/metrics.json").json()["rows"] == 1
