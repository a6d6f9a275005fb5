"""The page of the sandbox: what it shows, to whom, and what it must never show."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import httpx
import pytest

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=\"alert('2')\">"


class Page(HTMLParser):
    """Tags, ids and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids |= {value or "" for name, value in attrs if name == "id"}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def open_page(client: httpx.Client, **params: str) -> Page:
    answer = client.get("/sandbox", params=params)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


def test_it_shows_data_sources_jobs_requests_and_pipes(client, wait_for_job, project):
    client.post(
        "/v0/events?name=sales&wait=true",
        content='{"day": "2024-01-01", "shop": "a", "amount": 5}\n{"day": "no day"}\n',
    )
    job = client.post("/v0/pipes/copy_totals/copy").json()["job"]
    wait_for_job(job["id"])
    page = open_page(client)
    assert {"datasource-sales", "pipe-copy_totals", f"job-{job['id']}", "activity"} <= page.ids
    assert "1 in quarantine" in page.texts
    assert "done" in page.texts
    assert "/v0/events" in page.texts
    listed = client.get("/v0/datasources").json()["datasources"]
    assert {f"datasource-{one['id']}" for one in listed} <= page.ids  # jobs of Tinybird name their target by id


def test_the_way_to_it(client):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/sandbox")


def test_what_is_hostile_is_text(client):
    client.post("/v0/datasources", data={"name": "hostile", "schema": "a String", "mode": "create"})
    answer = client.post(
        "/v0/datasources?name=hostile&mode=append&format=csv", content='a\n"' + HOSTILE.replace('"', '""') + '"\n'
    )
    assert answer.status_code == 200, answer.text
    client.get("/v0/<script>alert(3)</script>")
    text = client.get("/sandbox").text
    assert HOSTILE not in text
    assert html.escape(HOSTILE) in text
    page = Page(text)
    assert page.tags & {"script", "img", "iframe", "object", "form"} == set()
    assert not {name for name in page.attributes if name.startswith("on") or name == "src"}


def test_no_script_and_no_frame_even_if_something_got_through(client):
    headers = client.get("/sandbox").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:7181", ""]
)
def test_a_name_that_is_pointed_at_this_machine_is_refused(client, host):
    answer = client.get("/sandbox", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert "<html" not in answer.text
    tokens = client.get("/tokens", headers={"Host": host})
    assert tokens.status_code in (400, 403)
    assert "p." not in tokens.text


@pytest.mark.parametrize("host", ["localhost:7181", "127.0.0.1", "[::1]:7181", "LOCALHOST"])
def test_names_of_this_machine_are_not(client, host):
    assert client.get("/sandbox", headers={"Host": host}).status_code == 200
    assert client.get("/tokens", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_is_for_reading(client, method):
    assert client.request(method, "/sandbox").status_code == 405


def test_it_needs_no_token_and_shows_none(client, server):
    token = server.token
    made = client.post("/v0/tokens", params={"name": "mine", "scope": "ADMIN"}).json()["token"]
    client.get(f"/v0/tokens/{made}")
    client.get("/v0/datasources", params={"token": token})
    client.post("/v0/variables", data={"name": "key", "value": "variable-with-a-secret"})
    client.post("/v0/datasources", data={"name": "leak", "schema": "a String", "mode": "create"})
    client.post(
        "/v0/datasources?name=leak&mode=append&format=csv", content=f"a\n{token}\n{made}\nvariable-with-a-secret\n"
    )
    client.post(
        "/v0/datasources",
        params={"name": "leak", "mode": "append", "url": "http://127.0.0.1:1/x?X-Amz-Signature=5ec3e7"},
    )
    text = httpx.get(f"{server.base_url}/sandbox").text
    assert "leak" in text
    for secret in (token, made, "variable-with-a-secret", "5ec3e7"):
        assert secret not in text


def test_a_look_at_it_is_no_request_that_a_test_sees(client):
    client.get("/sandbox")
    client.get("/")
    assert client.get("/sandbox/requests").json() == {"requests": []}


def test_the_time_that_is_shown(client):
    client.get("/v0/pipes")
    now = datetime.now(UTC)
    before, after = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    assert "/v0/pipes" in open_page(client, since=before, until=after).texts
    assert "/v0/pipes" not in open_page(client, since=after).texts
    assert "/v0/pipes" not in open_page(client, until=before).texts
    assert "/v0/pipes" in open_page(client, since="no time").texts


def test_long_values_are_cut(client):
    client.post("/v0/datasources", data={"name": "long", "schema": "a String", "mode": "create"})
    client.post("/v0/datasources?name=long&mode=append&format=csv", content=f"a\n{'x' * 100_000}\n")
    text = client.get("/sandbox").text
    assert re.search("x{120}\\.\\.\\.", text)
    assert len(text) < 100_000
