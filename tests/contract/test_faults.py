"""What only the sandbox has: faults on demand, the record of requests, reset."""

from __future__ import annotations

import threading

import httpx
import pytest

ROW = '{"day":"2026-01-01","shop":"a","amount":1}'
EVENTS = "/v0/events?name=sales&wait=true"


def add(client, **fault: object) -> None:
    client.post(
        "/sandbox/faults", json=[{"match": {"method": "POST", "path": "/v0/events$"}, **fault}]
    ).raise_for_status()


def test_an_answer_instead_of_the_work(client, query):
    add(client, status=429, headers={"Retry-After": "2"}, body={"error": "slow down"}, times=2)
    for _ in range(2):
        answer = client.post(EVENTS, content=ROW)
        assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (429, "2", {"error": "slow down"})
    assert client.get("/v0/jobs").status_code == 200
    assert client.post(EVENTS, content=ROW).status_code == 200
    assert query("SELECT count() AS n FROM sales") == [{"n": 1}]


def test_a_refusal_has_words_unless_a_gateway_is_played(client):
    add(client, status=429)
    add(client, status=503, body="")
    assert client.post(EVENTS, content=ROW).json() == {"error": "a fault asked for 429"}
    assert client.post(EVENTS, content=ROW).content == b""


@pytest.mark.parametrize(("cut", "rows"), [("before", 0), ("after", 1)])
def test_a_connection_that_is_cut(client, query, server, cut, rows):
    """The caller cannot tell whether it was before or after the work."""
    add(client, cut=cut)
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(EVENTS, content=ROW * 100)
    assert query("SELECT count() > 0 AS n FROM (SELECT 1 FROM sales UNION ALL SELECT 1 FROM sales_quarantine)") == [
        {"n": rows}
    ]
    assert server.errors() == ""


def test_a_delay(client):
    """The answer comes later, and is the usual one."""
    add(client, delay=0.2)
    answer = client.post(EVENTS, content=ROW)
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.2


def test_faults_can_be_dropped(client):
    add(client, status=500, times=100)
    client.delete("/sandbox/faults").raise_for_status()
    assert client.post(EVENTS, content=ROW).status_code == 200


@pytest.mark.parametrize(
    "fault", [{}, {"status": 500, "often": 2}, {"cut": "middle"}, {"match": {"path": "("}, "status": 500}, 7]
)
def test_a_fault_that_cannot_be_read(client, fault):
    assert client.post("/sandbox/faults", json=[fault]).status_code == 400


def test_requests_seen(client, server):
    """Method, path, query, headers that matter, status; never a token."""
    client.post(
        EVENTS,
        params={"name": "sales", "token": server.token},
        content=ROW,
        headers={"Content-Type": "application/x-ndjson"},
    )
    client.get("/v0/jobs/nothing")
    seen = client.get("/sandbox/requests")
    assert seen.json()["requests"] == [
        {
            "method": "POST",
            "path": "/v0/events",
            "query": [["name", "sales"]],
            "content_type": "application/x-ndjson",
            "content_encoding": None,
            "content_length": len(ROW),
            "status": 202,
        },
        {
            "method": "GET",
            "path": "/v0/jobs/nothing",
            "query": [],
            "content_type": None,
            "content_encoding": None,
            "content_length": None,
            "status": 404,
        },
    ]
    assert server.token not in seen.text


def test_reset(client, query, data):
    """Rows, quarantine, jobs, files, faults, and what was made over HTTP are gone; the project is there."""
    client.post(EVENTS, content=f"{ROW}\n{{}}")
    client.post("/v0/datasources", params={"name": "made", "schema": "a String"}).raise_for_status()
    client.post("/v0/pipes", data={"name": "made_pipe", "sql": "SELECT 1"}).raise_for_status()
    token = client.post("/v0/tokens", params={"name": "made", "scope": "ADMIN"}).json()["token"]
    client.post("/v0/pipes/copy_slow/copy").raise_for_status()
    client.post("/v0/pipes/sink_shops/sink").raise_for_status()
    add(client, status=500)
    client.post("/sandbox/reset").raise_for_status()
    assert client.get("/sandbox/requests").json() == {"requests": []}
    assert client.get("/v0/jobs").json() == {"jobs": []}
    assert query(
        "SELECT (SELECT count() FROM sales) + (SELECT count() FROM sales_quarantine) + (SELECT count() FROM totals) AS n"
    ) == [{"n": 0}]
    assert client.get("/v0/datasources/made").status_code == 404
    assert client.get("/v0/pipes/made_pipe").status_code == 404
    assert httpx.get(f"{client.base_url}/v0/workspace", headers={"Authorization": f"Bearer {token}"}).status_code == 403
    assert client.post(EVENTS, content=ROW).status_code == 200
    assert client.get("/v0/pipes/shops.json").json()["data"] == [{"shop": "a", "total": 1}]
    assert not list((data / "uploads").iterdir())
    assert not (data / "sinks").exists()


def test_readers_never_see_a_replace_half_done(client):
    """Data Sources API: readers see the old rows or the new, never nothing."""
    bodies = ["".join(f"2026-01-01,{name},1\n" for _ in range(1000)) for name in "ab"]
    client.post("/v0/datasources?name=sales&mode=replace&format=csv", content=bodies[0]).raise_for_status()
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        with httpx.Client(base_url=client.base_url, headers=client.headers) as reader:
            while not stop.is_set():
                seen.add(reader.post("/v0/sql", content="SELECT count(), uniq(shop) FROM sales FORMAT CSV").text)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(10):
        client.post("/v0/datasources?name=sales&mode=replace&format=csv", content=bodies[number % 2]).raise_for_status()
    stop.set()
    for reader in readers:
        reader.join()
    assert seen == {"1000,1\n"}


def test_writers_beside_each_other(client, query, wait_for_job):
    """Events, appends, deletes and copies at once: every answer is a success, and every row is there once."""
    errors: list[str] = []

    def send(number: int) -> None:
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=60) as sender:
            for turn in range(5):
                row = f'{{"day":"2026-01-01","shop":"s{number}","amount":{turn}}}'
                answers = (
                    sender.post(EVENTS, content=row),
                    sender.post(
                        "/v0/datasources?name=sales&mode=append&format=ndjson", content=row.replace("-01-01", "-01-02")
                    ),
                    sender.post("/v0/datasources/sales/delete", data={"delete_condition": f"shop = 'x{number}'"}),
                    sender.post("/v0/pipes/copy_totals/copy?_mode=replace"),
                )
                errors.extend(answer.text for answer in answers if not answer.is_success)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert errors == []
    assert {wait_for_job(job["id"])["status"] for job in client.get("/v0/jobs").json()["jobs"]} == {"done"}
    assert query("SELECT count() AS n, uniqExact(shop, amount) AS different FROM sales") == [{"n": 40, "different": 20}]


def test_a_replace_beside_appends_loses_none(client, query):
    """The sandbox promises more than Tinybird here: its writers of one table take turns."""
    condition = {"format": "csv", "mode": "replace", "name": "sales", "replace_condition": "toYYYYMM(day) = 202602"}

    def send(number: int) -> None:
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=60) as sender:
            for turn in range(10):
                sender.post(
                    EVENTS, content=f'{{"day":"2026-01-01","shop":"{number}","amount":{turn}}}'
                ).raise_for_status()

    senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        client.post("/v0/datasources", params=condition, content="2026-02-01,b,1\n").raise_for_status()
    assert query("SELECT toMonth(day) AS month, count() AS n FROM sales GROUP BY month ORDER BY month") == [
        {"month": 1, "n": 30},
        {"month": 2, "n": 1},
    ]
