"""Tokens, workspace, and what is about neither data nor pipes."""

from __future__ import annotations

import base64
import json

import httpx
import pytest


def test_local_tokens(server):
    """Tinybird Local: GET /tokens needs none, and has three keys."""
    tokens = httpx.get(f"{server.base_url}/tokens").json()
    assert tokens.keys() == {"user_token", "admin_token", "workspace_admin_token"}
    for token in tokens.values():
        head, payload, signature = token.split(".")
        assert head == "p"
        assert signature
        content = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert content.keys() == {"u", "id", "host"}
        assert content["host"] == "local"


@pytest.mark.parametrize(
    "path", ["/v0/workspace", "/v0/datasources", "/v0/jobs", "/v0/sql?q=SELECT+1", "/v0/pipes", "/v0/tokens"]
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer p.not.known"}, {"Authorization": "Basic x"}])
def test_without_a_token_it_is_403(server, path, headers):
    """API overview, authentication and error codes: 403, not 401, for a missing or invalid token; errors are JSON."""
    answer = httpx.get(f"{server.base_url}{path}", headers=headers)
    assert answer.status_code == 403
    assert "token" in answer.json()["error"]
    assert "p.not.known" not in answer.text


def test_the_token_may_be_a_parameter(server):
    """API overview, authentication: the query parameter token is the other way."""
    assert httpx.get(f"{server.base_url}/v0/workspace", params={"token": server.token}).status_code == 200


def test_health_and_regions_need_no_token(server):
    """API overview, regions; Tinybird Local, health."""
    assert httpx.get(f"{server.base_url}/v0/health").status_code == 200
    [region] = httpx.get(f"{server.base_url}/v0/regions").json()["regions"]
    assert {"name", "provider", "api_host", "host"} <= region.keys()


def test_auth(server, narrow):
    """Official clients, GET /v0/auth: is_valid and is_user; any token may ask."""
    with narrow("DATASOURCES:APPEND:events") as client:
        assert client.get("/v0/auth").json() == {"is_valid": True, "is_user": False}
    assert (
        httpx.get(f"{server.base_url}/v0/auth", headers={"Authorization": "Bearer nonsense"}).json()["is_valid"]
        is False
    )


def test_workspace(client, narrow):
    """Official clients, GET /v0/workspace: members; guess: of admin tokens only."""
    result = client.get("/v0/workspace").json()
    assert {
        "id",
        "name",
        "user_id",
        "user_email",
        "scope",
        "main",
        "is_forward",
        "is_branch",
        "limits",
    } <= result.keys()
    assert result["is_forward"] is False
    with narrow("DATASOURCES:APPEND:events", "DATASOURCES:CREATE") as other:
        assert other.get("/v0/workspace").status_code == 403


def test_workspace_v1_is_for_forward(client):
    """Official clients, GET /v1/workspace: it fails on Classic, with an error that is not about the token."""
    assert client.get("/v1/workspace").status_code == 400


@pytest.mark.parametrize("as_form", [True, False])
def test_create_a_token(client, as_form):
    """Token API: name, and scope repeated, in the query or in a form."""
    given = [("name", "two scopes"), ("scope", "DATASOURCES:READ:events"), ("scope", "PIPES:READ:shops")]
    body = "&".join(f"{key}={value}" for key, value in given)
    form = {"content": body, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    answer = client.post("/v0/tokens", **(form if as_form else {"params": given}))
    assert answer.status_code == 200
    assert answer.json()["scopes"] == [
        {"type": "DATASOURCES:READ", "resource": "events"},
        {"type": "PIPES:READ", "resource": "shops"},
    ]
    listed = {token["name"]: token for token in client.get("/v0/tokens").json()["tokens"]}
    assert listed["two scopes"] == answer.json()
    assert client.post("/v0/tokens", params=given).status_code == 409


@pytest.mark.parametrize("scope", ["DATASOURCES:APPEND", "NOTHING", "PIPES:READ:", ""])
def test_create_a_token_refused(client, scope):
    assert client.post("/v0/tokens", params={"name": "x", "scope": scope}).status_code == 400


def test_tokens_need_their_scope(narrow):
    """Token API: TOKENS or ADMIN."""
    with narrow("TOKENS") as client:
        assert client.get("/v0/tokens").status_code == 200
    with narrow("DATASOURCES:CREATE") as client:
        answer = client.get("/v0/tokens")
    assert answer.status_code == 403
    assert "TOKENS" in answer.json()["error"]


def test_list_data_sources(client, narrow):
    """Data Sources API: only those that the token can read; attrs picks members."""
    names = [one["name"] for one in client.get("/v0/datasources").json()["datasources"]]
    assert names == ["events", "sales", "sales_by_shop", "totals"]
    assert client.get("/v0/datasources/", params={"attrs": "name,used_by"}).json()["datasources"][1].keys() == {
        # Clients read these also when they ask for others.
        *("id", "name", "engine", "type", "indexes", "new_columns_detected", "quarantine_rows"),
        "used_by",
    }
    with narrow("DATASOURCES:READ:sales") as reader:
        assert [one["name"] for one in reader.get("/v0/datasources").json()["datasources"]] == ["sales"]
        assert reader.get("/v0/datasources/sales").status_code == 200
        assert reader.get("/v0/datasources/events").status_code == 403


def test_get_a_data_source(client):
    """Data Sources API: members that a client has seen of Tinybird Local."""
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content="2026-01-01,a,1\nx,a,1\n")
    result = client.get("/v0/datasources/sales").json()
    assert result["statistics"]["row_count"] == 1
    assert result["quarantine_rows"] == 1
    assert {user["name"] for user in result["used_by"]} == {"sales_view", "shops", "metrics"}
    assert result["engine"]["engine"] == "MergeTree"
    column = client.get("/v0/datasources/events").json()["schema"]["columns"][5]
    assert (column["name"], column["type"], column["jsonpath"], column["nullable"]) == (
        "small",
        "Int8",
        "$.small",
        False,
    )
    assert client.get(f"/v0/datasources/{result['id']}").json()["name"] == "sales"
    assert client.get("/v0/datasources/nothing").status_code == 404


def test_unknown_paths_and_methods(client):
    """API overview, error codes: 404 and 405; errors are JSON."""
    assert (client.get("/v0/nothing").status_code, "error" in client.get("/v0/nothing").json()) == (404, True)
    assert (client.put("/v0/jobs").status_code, "error" in client.put("/v0/jobs").json()) == (405, True)
