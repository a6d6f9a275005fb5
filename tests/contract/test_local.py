"""How clients made for Tinybird Local find the workspace, and what they read of it."""

from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize("path", ["/v1/user/workspaces", "/v0/user/workspaces/"])
def test_workspaces_of_a_user(server, path):
    """Tinybird Local: the workspaces with their tokens, for the admin token; the command line reads id, name, role and plan."""
    tokens = httpx.get(f"{server.base_url}/tokens").json()
    answer = httpx.get(
        f"{server.base_url}{path}", params={"with_organization": "true", "token": tokens["admin_token"]}
    ).json()
    assert "organization_id" in answer
    [workspace] = answer["workspaces"]
    assert workspace["name"] == "Tinybird_Local_Testing"
    assert workspace["token"] == tokens["workspace_admin_token"]
    assert {"id", "role", "plan"} <= workspace.keys()
    assert workspace["id"] == httpx.get(f"{server.base_url}/v0/workspace", headers=server.headers).json()["id"]


def test_a_workspace_that_a_client_makes_holds_the_project(server, client):
    """Tinybird Local: POST /v1/workspaces. Guess: it is the one workspace by a further name, until the next reset."""
    made = client.post("/v1/workspaces", data={"name": "Tinybird_Local_Build_0123", "assign_to_organization_id": ""})
    assert made.status_code == 200
    listed = {one["name"]: one for one in client.get("/v1/user/workspaces").json()["workspaces"]}
    assert listed.keys() == {"Tinybird_Local_Testing", "Tinybird_Local_Build_0123"}
    token = listed["Tinybird_Local_Build_0123"]["token"]
    assert made.json()["token"] == token
    found = httpx.get(f"{server.base_url}/v0/datasources", headers={"Authorization": f"Bearer {token}"}).json()
    assert sorted(one["name"] for one in found["datasources"]) == ["events", "sales", "sales_by_shop", "totals"]
    server.reset()
    assert len(client.get("/v1/user/workspaces").json()["workspaces"]) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/user/workspaces"), ("POST", "/v1/workspaces?name=x"), ("GET", "/v1/environments")],
)
def test_workspaces_need_an_admin_token(narrow, method, path):
    with narrow("DATASOURCES:CREATE", "DATASOURCES:READ:events") as client:
        assert client.request(method, path).status_code == 403


def test_a_workspace_needs_a_name(client):
    assert client.post("/v1/workspaces").status_code == 400


def test_there_are_no_branches(client):
    """Branches: GET /v1/environments lists them."""
    assert client.get("/v1/environments").json() == {"environments": []}


def test_members_of_the_nodes_of_pipes(client):
    """Pipes API: attrs and node_attrs. A client that gives node_attrs reads the nodes, also when attrs does not name them."""
    params = {"dependencies": "false", "attrs": "name,updated_at,type", "node_attrs": "name"}
    pipes = {one["name"]: one for one in client.get("/v0/pipes", params=params).json()["pipes"]}
    assert pipes["copy_totals"].keys() == {"id", "name", "url", "updated_at", "type", "nodes"}
    assert pipes["copy_totals"]["type"] == "copy"
    assert [node.keys() for node in pipes["copy_totals"]["nodes"]] == [{"id", "name"}]
    whole = {one["name"]: one for one in client.get("/v0/pipes").json()["pipes"]}
    assert "sql" in whole["copy_totals"]["nodes"][0]


def test_row_count_after_a_lightweight_delete(client, query):
    """The row count of a data source is what a query counts; the engine's own statistics keep the rows that such a delete hides."""
    rows = "".join(f"2026-01-01,{'ab'[n % 2]},{n}\n" for n in range(10))
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=rows)
    deleted = client.post("/v1/datasources/sales/delete", data={"delete_condition": "shop = 'a'"}).json()
    assert deleted["rows_affected"] == 5
    assert query("SELECT count() AS n FROM sales") == [{"n": 5}]
    assert client.get("/v0/datasources/sales").json()["statistics"]["row_count"] == 5
