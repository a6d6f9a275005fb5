"""Tokens that see a part: JWTs, and static tokens with filters."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import httpx
import pytest

ROWS = "2026-01-01,a,1\n2026-01-02,b,2\n2026-02-01,b,3\nno date,b,4\n"


@pytest.fixture(autouse=True)
def _rows(client):
    client.post("/v0/datasources?name=sales&mode=append&format=csv", content=ROWS).raise_for_status()


@pytest.fixture
def as_token(client):
    """A client with another token."""
    return lambda token: httpx.Client(
        base_url=client.base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30
    )


@pytest.fixture
def jwt(client, as_token):
    """``jwt(scope, ..., rps=1)``: a client with a JWT."""

    def make(*scopes: dict[str, object], rps: int | None = None) -> httpx.Client:
        body = {"scopes": list(scopes), **({"limits": {"rps": rps}} if rps else {})}
        answer = client.post(f"/v0/tokens?name=j&expiration_time={int(time.time()) + 60}", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json().keys() == {"token"}
        return as_token(answer.json()["token"])

    return make


def sql(client: httpx.Client, text: str) -> httpx.Response:
    return client.post("/v0/sql", content=f"{text} FORMAT TSV")


def test_fixed_params(jwt):
    """JWTs: fixed_params win over what the holder sends, in an endpoint and in SQL."""
    with jwt({"type": "PIPES:READ", "resource": "shops", "fixed_params": {"at_least": 2}}) as client:
        assert client.get("/v0/pipes/shops.json?at_least=0").json()["data"] == [{"shop": "b", "total": 5}]
        assert sql(client, "SELECT shop FROM shops").text == "b\n"
        assert client.get("/v0/pipes/metrics.json").status_code == 403


def test_a_jwt_only_reads(jwt, client):
    with jwt(
        {"type": "DATASOURCES:READ", "resource": "sales"}, {"type": "PIPES:READ", "resource": "sink_shops"}
    ) as holder:
        assert sql(holder, "SELECT count() FROM sales").text == "3\n"
        assert holder.post("/v0/events?name=sales", content="{}").status_code == 403
        assert holder.post("/v0/datasources/sales/truncate").status_code == 403
        assert holder.post("/v0/pipes/sink_shops/sink").status_code == 403
        assert holder.get("/v0/tokens").status_code == 403
    assert [token["name"] for token in client.get("/v0/tokens").json()["tokens"]][5:] == []


def test_it_ends_by_itself(jwt, client):
    with jwt({"type": "PIPES:READ", "resource": "shops"}) as holder:
        assert holder.get("/v0/pipes/shops.json").status_code == 200
        client.post("/sandbox/clock", json={"advance": 61}).raise_for_status()
        answer = holder.get("/v0/pipes/shops.json")
        assert (answer.status_code, "expired" in answer.json()["error"]) == (403, True)


def test_requests_a_second(jwt, client):
    """JWTs: 429 beyond limits.rps, for each token apart."""
    client.post("/sandbox/clock", json={"stopped": True}).raise_for_status()
    scope = {"type": "PIPES:READ", "resource": "shops"}
    with jwt(scope, rps=2) as holder:
        statuses = [holder.get("/v0/pipes/shops.json").status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert holder.get("/v0/pipes/shops.json").headers["Retry-After"] == "1"
    assert client.get("/v0/pipes/shops.json").status_code == 200


def test_signed_by_whoever_has_the_admin_token(server, client, as_token):
    """JWTs: signed with the workspace's admin token, by HS256; nothing else counts."""
    workspace = client.get("/v0/workspace").json()["id"]
    scopes = [{"type": "PIPES:READ", "resource": "shops"}]
    payload = {"workspace_id": workspace, "name": "own", "exp": int(time.time()) + 60, "scopes": scopes}

    def status(key: str, changed: dict[str, object], header: dict[str, str]) -> int:
        with as_token(signed(key, {**payload, **changed}, header)) as holder:
            return holder.get("/v0/pipes/shops.json").status_code

    good = {"alg": "HS256", "typ": "JWT"}
    assert status(server.token, {}, good) == 200
    assert status("another key", {}, good) == 403
    assert status(server.token, {}, {"alg": "none"}) == 403
    assert status(server.token, {"workspace_id": "another"}, good) == 403
    assert status(server.token, {"exp": int(time.time()) - 1}, good) == 403
    assert status(server.token, {"scopes": [{"type": "ADMIN"}]}, good) == 403
    assert status(server.token, {"scopes": "all"}, good) == 403


def signed(key: str, payload: dict[str, object], header: dict[str, str]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, payload)]
    signature = hmac.new(key.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize(
    ("body", "query", "word"),
    [
        ({"scopes": [{"type": "ADMIN"}]}, "", "ADMIN"),
        ({"scopes": [{"type": "PIPES:READ"}]}, "", "resource"),
        ({"scopes": []}, "", "scope"),
        ({}, "", "scopes"),
        ({"scopes": [{"type": "PIPES:READ", "resource": "shops"}], "limits": {"rps": 0}}, "", "rps"),
        ({"scopes": [{"type": "PIPES:READ", "resource": "shops"}]}, "&expiration_time=1", "over"),
        ({"scopes": [{"type": "PIPES:READ", "resource": "shops"}]}, "&expiration_time=x", "expiration_time"),
        ({"scopes": [{"type": "DATASOURCES:READ", "resource": "sales", "filter": "nope = 1"}]}, "", "nope"),
    ],
)
def test_refused(client, body, query, word):
    answer = client.post(f"/v0/tokens?name=j&expiration_time={int(time.time()) + 60}{query}", json=body)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]


@pytest.fixture(params=["jwt", "static"])
def filtered(request, jwt, narrow):
    """A client that may read sales of shop b, and each pipe."""
    condition = "shop = 'b'"
    if request.param == "jwt":
        return jwt(
            {"type": "DATASOURCES:READ", "resource": "sales", "filter": condition},
            {"type": "PIPES:READ", "resource": "shops"},
        )
    return narrow(f"DATASOURCES:READ:sales:{condition}", "PIPES:READ:shops")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("SELECT count() FROM sales", "2\n"),
        ("SELECT count() FROM workspace.sales", "2\n"),
        ("WITH x AS (SELECT * FROM sales) SELECT DISTINCT shop FROM x", "b\n"),
        ("SELECT count() FROM sales AS one INNER JOIN sales AS other ON one.day = other.day", "2\n"),
        ("SELECT shop FROM shops", "b\n"),
        ("SELECT count() FROM sales_quarantine", "0\n"),
    ],
)
def test_a_filter_is_on_every_way_to_the_rows(filtered, text, answer):
    """Tokens: DATASOURCES:READ:<name>:<filter>; Guess: also in pipes, and the quarantine is empty."""
    with filtered as client:
        assert sql(client, text).text == answer
        assert sql(client, f"{text} SETTINGS additional_table_filters = {{}}").status_code == 400


def test_a_filter_on_a_pipe(narrow):
    """Tokens: PIPES:READ:<name>:<filter>."""
    with narrow("PIPES:READ:shops:total > 1") as client:
        assert client.get("/v0/pipes/shops.json").json()["data"] == [{"shop": "b", "total": 5}]
        assert sql(client, "SELECT shop FROM shops").text == "b\n"


def test_filters_are_shown_kept_and_checked(client, narrow):
    narrow("DATASOURCES:READ:sales:amount > 1").close()
    scopes = client.get("/v0/tokens/DATASOURCES:READ:sales:amount > 1").json()["scopes"]
    assert scopes == [{"type": "DATASOURCES:READ", "resource": "sales", "filter": "amount > 1"}]
    for scope in ("DATASOURCES:READ:sales:nope", "DATASOURCES:APPEND:sales:amount > 1"):
        assert client.post("/v0/tokens", params={"name": "x", "scope": scope}).status_code == 400
