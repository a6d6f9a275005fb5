"""Requests that pages of others can make a browser send: what needs no token is out of their reach."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_tinybird.sandbox.app import ROUTES

OPEN = sorted(
    {(method, path) for method, path, _ in ROUTES if not path.startswith(("/v0/", "/v1/"))} | {("GET", "/files/x.csv")}
)
FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://localhost.evil.example:{port}"},
    {"Host": "evil.example:{port}"},
    {"Host": "localhost.evil.example"},
    {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
]


@pytest.mark.parametrize(
    ("method", "path"), [*OPEN, ("POST", "/sandbox/reset/"), ("POST", "/sandbox%2Freset"), ("GET", "/none")]
)
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_page_of_others(server, client, files, method, path, headers):
    """A plain form of another page needs no preflight, and a name of another can point at this machine."""
    (files / "x.csv").write_text("a,b\n")
    client.post("/v0/events?name=sales&wait=true", content='{"day": "2024-01-01", "shop": "a", "amount": 5}')
    port = httpx.URL(server.base_url).port
    sent = {key: value.format(port=port) for key, value in headers.items()}
    answer = httpx.request(method, f"{server.base_url}{path}", headers={"Content-Type": "text/plain", **sent})
    assert answer.status_code == 403
    assert "for this machine only" in answer.json()["error"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert client.get("/v0/sql", params={"q": "SELECT count() AS n FROM sales FORMAT TSV"}).text == "1\n"


@pytest.mark.parametrize("headers", [{}, {"Host": "localhost:{port}"}, {"Origin": "http://127.0.0.1:{port}"}], ids=str)
def test_this_machine_and_its_own_page(server, headers):
    port = httpx.URL(server.base_url).port
    sent = {key: value.format(port=port) for key, value in headers.items()}
    assert httpx.get(f"{server.base_url}/tokens", headers=sent).status_code == 200
    assert httpx.post(f"{server.base_url}/sandbox/reset", headers=sent).json() == {"ok": True}


def test_pages_call_the_api(client, server):
    """CORS: trackers and charts in browsers send events to the API and call endpoints, from any page."""
    page = {"Origin": "https://shop.example"}
    asked = {
        **page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    allowed = httpx.options(f"{server.base_url}/v0/events?name=sales", headers=asked)
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "*"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    sent = client.post("/v0/events?name=sales", headers=page, content='{"day": "2024-01-01", "shop": "a", "amount": 5}')
    assert sent.status_code == 202
    assert sent.headers["access-control-allow-origin"] == "*"
    refused = httpx.get(f"{server.base_url}/v0/datasources", headers=page)
    assert refused.status_code == 403
    assert refused.headers["access-control-allow-origin"] == "*"


def test_a_preflight_of_what_is_for_this_machine(server):
    answer = httpx.options(f"{server.base_url}/sandbox/faults", headers={"Access-Control-Request-Method": "DELETE"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
