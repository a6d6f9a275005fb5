"""The sandbox over HTTP, with nothing of the provider in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_process import SandboxProcess

PROJECT = Path(__file__).parent / "project"
# The engine has 1 GiB for a statement; beside it are 0.25 GB at rest and what the allocator keeps.
MOST_MEMORY = 2_000_000_000
FINAL = ("done", "error", "cancelled")

WaitForJob = Callable[[str], dict[str, Any]]
Poll = Callable[[httpx.Client, str, tuple[str, ...]], dict[str, Any]]
Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def project() -> Path:
    """The Tinybird project of these tests."""
    return PROJECT


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sandbox serves at /files."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of the sandbox."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def contract_server(files: Path, data: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess("--project", PROJECT, "--files", files, "--data", data, "--query-timeout", "1") as server:
        yield server


@pytest.fixture(scope="session")
def _slow_server() -> Iterator[SandboxProcess]:
    with SandboxProcess("--project", PROJECT, "--job-delay", "0.3") as server:
        yield server


@pytest.fixture
def slow(_slow_server: SandboxProcess) -> Iterator[httpx.Client]:
    """A client of a sandbox whose jobs take their time: 0.3 seconds waiting, and as long working."""
    _slow_server.reset()
    with httpx.Client(base_url=_slow_server.base_url, headers=_slow_server.headers, timeout=30) as client:
        yield client


@pytest.fixture
def server(contract_server: SandboxProcess) -> SandboxProcess:
    """The sandbox as after its start."""
    contract_server.reset()
    return contract_server


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def hostile_server(files: Path) -> Iterator[SandboxProcess]:
    """A sandbox with short limits. In the end it has said nothing about what it met but who sent it."""
    options = ("--query-timeout", "1", "--url-timeout", "0.5", "--max-import-bytes", "30000000", "--files", files)
    with SandboxProcess("--project", PROJECT, *options) as server:
        yield server
        assert "Traceback" not in server.errors()
        assert server.token not in server.errors()


@pytest.fixture
def hostile(hostile_server: SandboxProcess) -> Iterator[httpx.Client]:
    """A client for hostile input; after the test a normal request works, and the server has not grown beyond its bounds."""
    process = Path(f"/proc/{hostile_server.process.pid}")
    (process / "clear_refs").write_text("5")  # forget the peak so far
    with httpx.Client(base_url=hostile_server.base_url, headers=hostile_server.headers, timeout=30) as client:
        yield client
    row = '{"id":1,"user":{"name":"x"},"at":"2026-01-01 00:00:00"}'
    with httpx.Client(base_url=hostile_server.base_url, headers=hostile_server.headers, timeout=30) as client:
        answer = client.post("/v0/events?name=events&wait=true", content=row)
        assert answer.json() == {"successful_rows": 1, "quarantined_rows": 0}
        assert client.post("/v0/sql", content="SELECT count() > 0 AS n FROM events FORMAT TSV").text == "1\n"
    lines = (process / "status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    assert peak < MOST_MEMORY
    assert "Traceback" not in hostile_server.errors()


@pytest.fixture
def hostile_count(hostile: httpx.Client) -> Callable[[], int]:
    """How many rows the hostile sandbox has, with the quarantined."""
    tables = ("events", "events_quarantine", "sales", "totals")
    sql = f"SELECT {' + '.join(f'(SELECT count() FROM {table})' for table in tables)} FORMAT TSV"
    return lambda: int(hostile.post("/v0/sql", content=sql).text)


@pytest.fixture
def narrow(client: httpx.Client) -> Callable[..., httpx.Client]:
    """``narrow("DATASOURCES:APPEND:events")``: a client whose token has these scopes only."""

    def make(*scopes: str) -> httpx.Client:
        answer = client.post("/v0/tokens", params=[("name", " ".join(scopes)), *(("scope", scope) for scope in scopes)])
        token = answer.json()["token"]
        return httpx.Client(base_url=client.base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    return make


@pytest.fixture
def query(client: httpx.Client) -> Query:
    """Run SQL and return its rows."""

    def run(sql: str) -> list[dict[str, Any]]:
        answer = client.post("/v0/sql", content=f"{sql} FORMAT JSON")
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows

    return run


@pytest.fixture
def wait_for_job(client: httpx.Client, poll: Poll) -> WaitForJob:
    """Poll a job until it is over."""
    return lambda job_id: poll(client, job_id, FINAL)


@pytest.fixture
def poll() -> Poll:
    """``poll(client, job_id, statuses)``: poll a job until it has one of some statuses."""

    def until(client: httpx.Client, job_id: str, statuses: tuple[str, ...]) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while True:
            job: dict[str, Any] = client.get(f"/v0/jobs/{job_id}", params={"debug": "blocks,block_log"}).json()
            if job["status"] in statuses:
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.01)

    return until
