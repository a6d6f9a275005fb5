"""Replace: all of a data source or what matches a condition, and the views below it."""

from __future__ import annotations

import pytest

CSV = "day,shop,amount\n2026-01-01,a,1\n2026-02-01,b,2\n"
ROWS = [{"day": "2026-01-01", "shop": "a", "amount": 1}, {"day": "2026-02-01", "shop": "b", "amount": 2}]
SALES = "SELECT * FROM sales ORDER BY day, shop"


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
