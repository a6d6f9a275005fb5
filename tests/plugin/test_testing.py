"""The Python object that users' tests hold: what it shows, puts in and makes go wrong, seen from a client of its own."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from airflow_provider_tinybird.sandbox.process import SandboxProcess
from airflow_provider_tinybird.sandbox.testing import SandboxError, SandboxStartError, SeenRequest, TinybirdSandbox

ROOT = Path(__file__).resolve().parents[2]
ORDERS = "SCHEMA >\n    `day` Date `json:$.day`,\n    `amount` Int64 `json:$.amount`\n"
COPY = "NODE n\nSQL >\n    SELECT day, amount FROM orders\nTYPE copy\nTARGET_DATASOURCE copied\nCOPY_MODE append\n"
ENDPOINT = "NODE n\nSQL >\n    %\n    SELECT amount FROM orders WHERE amount > {{Int64(least, 0)}}\nTYPE endpoint\n"
EVENTS = "/v0/events?name=orders&wait=true"
ROW = '{"day":"2026-01-01","amount":1}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinybirdSandbox]:
    project = tmp_path_factory.mktemp("project")
    files = {"orders.datasource": ORDERS, "copied.datasource": ORDERS, "fill.pipe": COPY, "big.pipe": ENDPOINT}
    for name, text in files.items():
        (project / name).write_text(text)
    with TinybirdSandbox(project) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: TinybirdSandbox) -> TinybirdSandbox:
    running.reset()
    return running


@pytest.fixture
def client(sandbox: TinybirdSandbox) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    with httpx.Client(base_url=sandbox.base_url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def start_copy(client: httpx.Client) -> str:
    job_id: str = client.post("/v0/pipes/fill/copy").raise_for_status().json()["job"]["job_id"]
    return job_id


def wait_for(client: httpx.Client, job_id: str, *statuses: str) -> str:
    deadline = time.monotonic() + 20
    while (status := client.get(f"/v0/jobs/{job_id}").json()["status"]) not in statuses:
        assert time.monotonic() < deadline, status
        time.sleep(0.01)
    return status


FINAL = ("done", "error", "cancelled")


# Rows


def test_rows_go_in_and_come_out(sandbox):
    rows = [{"day": dt.date(2026, 1, 2), "amount": 2**53 + 1}, {"day": "2026-01-01", "amount": 5}]
    assert sandbox.insert("orders", rows) == 2
    assert sandbox.rows("orders") == [{"day": "2026-01-01", "amount": 5}, {"day": "2026-01-02", "amount": 2**53 + 1}]
    assert sandbox.query("%SELECT count() AS n FROM orders WHERE amount > {{Int64(least)}}", least="5") == [{"n": 1}]
    assert sandbox.query("SELECT count() AS n FROM big;") == [{"n": 2}]
    assert sandbox.insert("orders", []) == 0


def test_many_rows(sandbox):
    """More than one body takes."""
    assert sandbox.insert("orders", ({"day": "2026-01-01", "amount": n} for n in range(250_000))) == 250_000
    assert sandbox.query("SELECT count() AS n, uniqExact(amount) AS u FROM orders") == [{"n": 250_000, "u": 250_000}]


def test_rows_that_do_not_fit_are_refused_with_the_reason(sandbox):
    sandbox.insert("orders", [{"day": "2026-01-01", "amount": 1}])
    with pytest.raises(ValueError, match=r"'orders' do not fit: 1 in quarantine, 0 unreadable\n  amount: .*many"):
        sandbox.insert("orders", [{"day": "2026-01-01", "amount": "many"}])
    [bad] = sandbox.rows("orders_quarantine")
    assert bad["c__error_column"] == ["amount"]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda it: it.insert("order", [{"a": 1}]), 'Data Source "order" does not exist'),
        (lambda it: it.query("SELECT nothing FROM orders"), "nothing"),
        (lambda it: it.query("SELECT 1 FORMAT CSV"), "leave out FORMAT"),
        (lambda it: it.fail_next("("), "regular expression"),
        (lambda it: it.create_token("EVERYTHING"), "EVERYTHING"),
    ],
)
def test_what_is_wrong_is_said(sandbox, call, reason):
    with pytest.raises(SandboxError, match=reason):
        call(sandbox)
    made = {source["name"] for source in sandbox.process.request("GET", "/v0/datasources")["datasources"]}
    assert made == {"orders", "copied"}


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.fail_next(status=42),
        lambda it: it.fail_next(times=0),
        lambda it: it.fail_job("fill", times=-1),
        lambda it: it.serve_file("../up.csv", ""),
    ],
)
def test_arguments_are_checked(sandbox, call):
    with pytest.raises(ValueError, match="must be"):
        call(sandbox)


def test_files_are_served_for_imports(sandbox, client):
    url = sandbox.serve_file("orders.csv", "day,amount\n2026-01-01,7\n")
    job_id = client.post("/v1/datasources/orders/append", params={"url": url, "format": "csv"}).json()["job_id"]
    assert wait_for(client, job_id, *FINAL) == "done"
    assert sandbox.rows("orders") == [{"day": "2026-01-01", "amount": 7}]
    [job] = sandbox.jobs(name="orders", kind="import")
    assert (job.id, job.kind, job.status, job.datasource, job.pipe, job.error) == (
        job_id,
        "import",
        "done",
        "orders",
        None,
        None,
    )
    assert sandbox.jobs(name="fill") == sandbox.jobs(kind="copy") == []


def test_a_token_may_do_what_it_is_made_for(sandbox):
    headers = {"Authorization": f"Bearer {sandbox.create_token('DATASOURCES:APPEND:orders', 'PIPES:READ:big')}"}
    url = sandbox.base_url
    assert httpx.post(f"{url}{EVENTS}", headers=headers, content=ROW).status_code == 200
    assert httpx.get(f"{url}/v0/pipes/big.json", headers=headers).status_code == 200
    assert httpx.get(f"{url}/v0/sql?q=SELECT 1 FROM copied", headers=headers).status_code == 403


# Requests


def test_requests_are_those_of_the_tested_code_alone(sandbox, client):
    sandbox.insert("orders", [{"day": "2026-01-01", "amount": 1}])
    sandbox.rows("orders")
    sandbox.jobs()
    client.post(EVENTS, content=ROW, headers={"Content-Type": "application/x-ndjson"})
    client.get("/v0/jobs", params={"token": "secret", "kind": "copy"})
    assert sandbox.requests() == [
        SeenRequest(
            "POST", "/v0/events", {"name": "orders", "wait": "true"}, 200, "application/x-ndjson", None, len(ROW)
        ),
        SeenRequest("GET", "/v0/jobs", {"kind": "copy"}, 200, None, None, None),
    ]
    assert len(sandbox.requests("/jobs")) == len(sandbox.requests(method="POST")) == 1


# Faults


def test_an_answer_instead_of_the_work(sandbox, client):
    sandbox.fail_next("/v0/events", status=429, headers={"Retry-After": "3"}, error="slow down", times=2)
    for _ in range(2):
        answer = client.post(EVENTS, content=ROW)
        assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (429, "3", {"error": "slow down"})
    assert client.post(EVENTS, content=ROW).status_code == 200
    assert [request.status for request in sandbox.requests()] == [429, 429, 200]
    assert len(sandbox.rows("orders")) == 1


def test_the_whole_answer_can_be_given(sandbox, client):
    sandbox.fail_next(status=502, body="<html>", headers={"Content-Type": "text/html"})
    answer = client.get("/v0/jobs")
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (502, "<html>", "text/html")
    sandbox.fail_next(status=403, body={"error": "quota", "documentation": "x"})
    assert client.get("/v0/jobs").json() == {"error": "quota", "documentation": "x"}


def test_only_requests_that_match(sandbox, client):
    sandbox.fail_next("/v0/(events|jobs)$", method="POST")
    assert client.get("/v0/jobs").status_code == 200
    assert client.post(EVENTS, content=ROW).status_code == 500


def test_what_the_test_asks_for_meets_no_fault(sandbox):
    sandbox.fail_next(times=100)
    sandbox.insert("orders", [{"day": "2026-01-01", "amount": 1}])
    assert len(sandbox.rows("orders")) == 1
    assert sandbox.jobs() == []
    assert sandbox.faults_left() == 1


@pytest.mark.parametrize(("cut", "rows"), [("cut_before", 0), ("cut_after", 1)])
def test_a_connection_that_breaks(sandbox, client, cut, rows):
    getattr(sandbox, cut)("/v0/events")
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(EVENTS, content=ROW)
    assert len(sandbox.rows("orders")) == rows
    assert [request.status for request in sandbox.requests()] == [None]


def test_a_slow_answer(sandbox, client):
    sandbox.slow_next("/v0/events", seconds=0.3)
    with pytest.raises(httpx.ReadTimeout):
        client.post(EVENTS, content=ROW, timeout=0.1)
    sandbox.slow_next("/v0/jobs", seconds=0.3)
    started = time.monotonic()
    assert client.get("/v0/jobs").status_code == 200
    assert time.monotonic() - started >= 0.3


def test_a_job_that_fails(sandbox, client):
    sandbox.insert("orders", [{"day": "2026-01-01", "amount": 1}])
    sandbox.fail_job("fill", "Memory limit exceeded")
    assert wait_for(client, start_copy(client), *FINAL) == "error"
    [job] = sandbox.jobs(name="fill")
    assert "Memory limit exceeded" in (job.error or "")
    assert sandbox.rows("copied") == []
    assert wait_for(client, start_copy(client), *FINAL) == "done"
    assert [job.status for job in sandbox.jobs()] == ["error", "done"]
    assert len(sandbox.rows("copied")) == 1


@pytest.mark.parametrize("status", ["waiting", "working"])
def test_a_job_that_hangs_until_it_is_released(sandbox, client, status):
    sandbox.hang_job("fill", status)
    job_id = start_copy(client)
    assert wait_for(client, job_id, status, *FINAL) == status
    sandbox.release_jobs("fill")
    assert wait_for(client, job_id, *FINAL) == "done"


def test_a_job_that_ignores_its_cancel(sandbox, client):
    sandbox.hang_job("fill", ignores_cancel=True)
    job_id = start_copy(client)
    wait_for(client, job_id, "working")
    client.post(f"/v0/jobs/{job_id}/cancel").raise_for_status()
    assert [job.status for job in sandbox.jobs()] == ["cancelling"]
    sandbox.clear_faults()
    assert wait_for(client, job_id, *FINAL) == "cancelled"


def test_a_slow_job(sandbox, client):
    sandbox.slow_job("fill", seconds=0.1)
    started = time.monotonic()
    assert wait_for(client, start_copy(client), *FINAL) == "done"
    assert time.monotonic() - started >= 0.2


def test_an_import_that_loses_rows(sandbox, client):
    sandbox.lose_rows("orders", rows=2)
    answer = client.post("/v1/datasources/orders/append?format=ndjson", content=f"{ROW}\n" * 5)
    assert wait_for(client, answer.json()["id"], *FINAL) == "done"
    assert len(sandbox.rows("orders")) == 3


def test_faults_that_have_not_happened(sandbox, client):
    sandbox.fail_next("/v0/jobs")
    sandbox.fail_job("fill")
    assert sandbox.faults_left() == 2
    client.get("/v0/jobs")
    assert sandbox.faults_left() == 1
    sandbox.clear_faults()
    assert sandbox.faults_left() == 0


# Start and stop


def test_it_runs_unless_it_was_stopped():
    with TinybirdSandbox() as sandbox:
        assert sandbox.process.is_running
        assert sandbox.files.is_dir()
    assert not sandbox.process.is_running
    assert not sandbox.files.exists()
    with pytest.raises(SandboxError, match="does not answer to GET /v0/jobs"):
        sandbox.jobs()


def test_a_start_that_takes_too_long_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = psutil.Process().children()
    with pytest.raises(SandboxStartError, match=r"not ready after 0\.01 seconds"):
        TinybirdSandbox(start_timeout=0.01)
    assert psutil.Process().children() == before


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with TinybirdSandbox() as sandbox:
        assert sandbox.query("SELECT 1 AS one") == [{"one": 1}]


def test_modules_of_the_current_directory_do_not_get_in_the_way(tmp_path, monkeypatch):
    for name in ("queue", "chdb", "signal", "starlette"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    with SandboxProcess() as process:
        assert process.is_running


INTERRUPTED = """
import psutil, signal, sys
from airflow_provider_tinybird.sandbox.testing import TinybirdSandbox

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    TinybirdSandbox(options=["--job-delay", "1"])
except KeyboardInterrupt:
    print("interrupted", psutil.Process().children())
"""


def test_ctrl_c_during_the_start_leaves_nothing_behind():
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert result.stdout == "interrupted []\n", result.stderr


FORKED = """
import os, sys
from airflow_provider_tinybird.sandbox.testing import TinybirdSandbox

with TinybirdSandbox() as sandbox:
    child = os.fork()
    if not child:
        sandbox.stop()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(sandbox.query("SELECT 1 AS one"))
"""


def test_a_fork_does_not_stop_what_is_not_its_own():
    result = subprocess.run(
        [sys.executable, "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert result.stdout == "[{'one': 1}]\n", result.stderr
