"""Limits that are off unless they are asked for: rates, copies at a time, sizes; and faults from a file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest
from sandbox_process import SandboxProcess

EVENTS = "/v0/events?name=sales&wait=true"
ROW = '{"day":"2026-01-01","shop":"a","amount":1}'
CSV = "2026-01-01,a,1\n"


@pytest.fixture(scope="session")
def limited_server(tmp_path_factory: pytest.TempPathFactory, project) -> Iterator[SandboxProcess]:
    faults = tmp_path_factory.mktemp("faults") / "faults.json"
    broken = {"match": {"path": "^/v0/regions$"}, "status": 503, "times": 2}
    faults.write_text(json.dumps({"requests": [broken], "jobs": [{"name": "events", "error": "as the file says"}]}))
    rates = ("--events-per-second", "5", "--imports-per-minute", "3")
    sizes = ("--max-events-bytes", "1000", "--max-copies", "1")
    with SandboxProcess("--project", project, *rates, *sizes, "--faults", faults) as server:
        yield server


@pytest.fixture
def limited(limited_server: SandboxProcess) -> Iterator[httpx.Client]:
    """A client of a sandbox with limits; the clock of its rate windows stands still."""
    limited_server.reset()
    with httpx.Client(base_url=limited_server.base_url, headers=limited_server.headers, timeout=30) as client:
        client.post("/sandbox/clock", json={"stopped": True}).raise_for_status()
        yield client


def test_events_beyond_the_rate(limited):
    """Events API reference: 429, X-RateLimit-Limit, -Remaining and -Reset, Retry-After on 429 only; nothing is inserted."""
    answers = [limited.post(EVENTS, content=ROW.replace('"a"', f'"a{number}"')) for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"5"}
    assert {answer.headers["x-ratelimit-reset"] for answer in answers} == {"1"}
    assert [answer.headers.get("retry-after") for answer in answers] == [None] * 5 + ["1"]
    assert limited.post("/v0/sql", content="SELECT count() AS n FROM sales").json()["data"] == [{"n": 5}]


def test_the_next_window(limited):
    """The sandbox's own: its clock can be put forward, so that no test waits."""
    for _ in range(5):
        limited.post(EVENTS, content=ROW).raise_for_status()
    assert limited.post(EVENTS, content=ROW).status_code == 429
    shown = limited.post("/sandbox/clock", json={"advance": 1}).json()
    assert (shown["ahead"], shown["stopped"]) == (1, True)
    assert limited.post(EVENTS, content=ROW).status_code == 200
    assert limited.delete("/sandbox/clock").json()["stopped"] is False


def test_each_data_source_has_its_own_rate(limited):
    """Events API reference: the limit is of a data source."""
    for _ in range(6):
        last = limited.post(EVENTS, content=ROW)
    assert last.status_code == 429
    other = limited.post("/v0/events?name=events", content='{"id":1,"user":{"name":"x"},"at":"2026-01-01 00:00:00"}')
    assert other.headers["x-ratelimit-remaining"] == "4"


def test_imports_beyond_the_rate(limited):
    """Limits: create from data, append and replace share one number of calls a minute. Guess: v1 counts too."""
    append, replace = (f"/v0/datasources?name=sales&mode={mode}&format=csv" for mode in ("append", "replace"))
    statuses = [
        limited.post(append, content=CSV).status_code,
        limited.post(replace, content=CSV).status_code,
        limited.post("/v1/datasources/sales/append?format=csv", content=CSV).status_code,
        limited.post("/v0/datasources?name=made", content="n\n1\n").status_code,
        limited.post("/v0/datasources?name=empty&schema=a+String").status_code,
    ]
    assert statuses == [200, 200, 200, 429, 200]
    refused = limited.post(append, content=CSV)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    limited.post("/sandbox/clock", json={"advance": int(refused.headers["retry-after"])})
    assert limited.post(append, content=CSV).status_code == 200


@pytest.mark.parametrize("body", [{}, {"advance": -1}, {"advance": "soon"}, {"stopped": False}, {"back": 1}, 7])
def test_a_clock_that_cannot_be_set(limited, body):
    assert limited.post("/sandbox/clock", json=body).status_code == 400


def test_copies_beyond_the_quota(limited, poll):
    """Copy Pipes API: 403 when as many copy jobs run as may, which is no proof of a bad token; nothing is started."""
    limited.post("/sandbox/jobs", json={"name": "totals", "hold": "working"}).raise_for_status()
    first = limited.post("/v0/pipes/copy_totals/copy").json()["job"]["id"]
    refused = limited.post("/v0/pipes/copy_totals/copy")
    assert (refused.status_code, "maximum number of copy jobs" in refused.json()["error"]) == (403, True)
    limited.delete("/sandbox/jobs").raise_for_status()
    poll(limited, first, ("done",))
    assert limited.post("/v0/pipes/copy_totals/copy").status_code == 200
    assert len(limited.get("/v0/jobs?kind=copy").json()["jobs"]) == 2


def test_too_large_a_body(limited):
    """Events API: 413 above the limit of the plan; guess: of the unpacked bytes."""
    at = "/v0/events?name=sales"
    assert limited.post(at, content=json.dumps({"shop": "x" * 900})).status_code == 202
    assert limited.post(at, content=json.dumps({"shop": "x" * 1000})).status_code == 413
    packed = gzip.compress(json.dumps({"shop": "x" * 1000}).encode())
    assert limited.post(at, content=packed, headers={"Content-Encoding": "gzip"}).status_code == 413
    count = "SELECT count() AS n FROM sales_quarantine"
    assert limited.post("/v0/sql", content=count).json()["data"] == [{"n": 1}]


def test_faults_from_a_file(limited, poll, limited_server):
    """The sandbox's own: --faults, from the start on and again after each reset."""
    for _ in range(2):
        assert [limited.get("/v0/regions").status_code for _ in range(3)] == [503, 503, 200]
        row = '{"id":1,"user":{"name":"x"},"at":"2026-01-01"}'
        job = limited.post("/v1/datasources/events/append?format=ndjson", content=row).json()
        assert poll(limited, job["id"], ("error",))["error"] == "as the file says"
        limited_server.reset()


def test_a_body_without_a_length(client, query):
    """Error codes: 411, missing Content-Length. Guess: of every body that comes in chunks."""
    answer = client.post(EVENTS, content=iter([ROW.encode()]))
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert (answer.status_code, "Content-Length" in answer.json()["error"]) == (411, True)
    assert client.post("/v0/datasources/sales/truncate", content=b"").status_code == 200
    assert query("SELECT count() AS n FROM sales") == [{"n": 0}]


@pytest.mark.parametrize("after", [{"Retry-After": "3"}, {}])
def test_429_with_and_without_retry_after(client, after):
    """Error codes: 429, with the seconds to wait or without them."""
    fault = {"match": {"path": "^/v0/events$"}, "status": 429, "headers": after, "body": {"error": "slow down"}}
    client.post("/sandbox/faults", json=fault).raise_for_status()
    answer = client.post(EVENTS, content=ROW)
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, after.get("Retry-After"))


def test_a_job_that_somebody_else_cancels(client, poll, query):
    """Jobs API: cancelled is an end, whoever asked for it."""
    client.post("/sandbox/jobs", json={"name": "copy_totals", "cancel": True}).raise_for_status()
    job_id = client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"]
    assert poll(client, job_id, ("done", "error", "cancelled"))["status"] == "cancelled"
    assert query("SELECT count() AS n FROM totals") == [{"n": 0}]
    again = client.post("/v0/pipes/copy_totals/copy").json()["job"]["id"]
    poll(client, again, ("done",))


def test_size_of_a_result(client):
    """Limits: 100 MB of result. Guess: 400."""
    answer = client.post("/v0/sql", content="SELECT repeat('x', 1000000) AS x FROM numbers(120) FORMAT JSONEachRow")
    assert answer.status_code == 400, answer.status_code
    assert "TOO_MANY_ROWS_OR_BYTES" in answer.json()["error"]


def test_64_bit_integers_and_denormals(client):
    """Query API: output_format_json_quote_64bit_integers and output_format_json_quote_denormals; both are off."""
    sql = "SELECT toUInt64(1) AS n, inf AS x FORMAT JSONEachRow"
    quoted = {"output_format_json_quote_64bit_integers": "1", "output_format_json_quote_denormals": "1"}
    assert client.post("/v0/sql", content=sql).json() == {"n": 1, "x": None}
    assert client.get("/v0/sql", params={"q": sql, **quoted}).json() == {"n": "1", "x": "inf"}
    assert client.post("/v0/sql", data={"q": sql, **quoted}).json() == {"n": "1", "x": "inf"}
    assert client.get("/v0/sql", params={"q": sql, "output_format_json_quote_denormals": "yes"}).status_code == 400
