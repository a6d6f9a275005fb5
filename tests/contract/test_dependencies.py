"""What hangs on a data source. Source: the official command line, which asks before it cascades."""

from __future__ import annotations

import pytest


def ask(client, **params):
    answer = client.get("/v0/dependencies", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_a_data_source_feeds(client):
    assert ask(client, datasource="sales") == {
        "dependencies": {"sales_by_shop": ["sales_view"]},
        "incompatible_datasources": {},
    }
    assert ask(client, datasource="totals") == {"dependencies": {}, "incompatible_datasources": {}}


def test_partition_keys_that_do_not_go_together(client):
    """sales has a partition for each month, what its view fills has one for all."""
    assert ask(client, datasource="sales", check_for_partial_replace="true") == {
        "dependencies": {},
        "incompatible_datasources": {"sales_by_shop": ["sales_view"]},
    }


def test_partition_keys_that_go_together(client):
    schema = {"name": "months", "schema": "day Date, n Int64", "engine_partition_key": "toYYYYMM( day )"}
    client.post("/v0/datasources", data=schema).raise_for_status()
    view = {"name": "view", "sql": "SELECT day, amount AS n FROM sales", "type": "materialized", "datasource": "months"}
    client.post("/v0/pipes", json={"name": "by_month", "nodes": [view]}).raise_for_status()
    found = ask(client, datasource="sales", check_for_partial_replace="true")
    assert found["dependencies"] == {"months": ["by_month"]}
    assert found["incompatible_datasources"].keys() == {"sales_by_shop"}


def test_further_down_only_when_asked(client):
    client.post("/v0/datasources", data={"name": "lower", "schema": "shop String"}).raise_for_status()
    view = {"name": "v", "sql": "SELECT shop FROM sales_by_shop", "type": "materialized", "datasource": "lower"}
    client.post("/v0/pipes", json={"name": "second", "nodes": [view]}).raise_for_status()
    assert ask(client, datasource="sales")["dependencies"].keys() == {"sales_by_shop"}
    assert ask(client, datasource="sales", recursive="true")["dependencies"].keys() == {"sales_by_shop", "lower"}


def test_readers_of_each(client):
    found = ask(client)["dependencies"]
    assert "shops" in found["sales"]
    assert found["events"] == []
    assert ask(client, pipe="shops")["dependencies"] == {"sales": ["shops"]}
    assert ask(client, match="^even", no_deps="true")["dependencies"] == {"events": []}


@pytest.mark.parametrize(
    ("params", "status"), [({"datasource": "nope"}, 404), ({"pipe": "nope"}, 404), ({"match": "("}, 400)]
)
def test_refused(client, params, status):
    assert client.get("/v0/dependencies", params=params).status_code == status


def test_scope(narrow):
    with narrow("DATASOURCES:READ:sales") as client:
        assert client.get("/v0/dependencies", params={"datasource": "sales"}).status_code == 200
        assert client.get("/v0/dependencies").status_code == 403
