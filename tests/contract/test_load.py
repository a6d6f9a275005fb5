"""Under load, and killed in the middle of it: what was acknowledged is there, once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from load_clients import run_load, write_project
from sandbox_process import SandboxProcess

CLIENTS = 12
ROUNDS = 5
WRITERS = 4
SCHEMA = "SCHEMA >\n    `writer` UInt8 `json:$.writer`,\n    `n` UInt32 `json:$.n`\n"


def test_mixed_calls(tmp_path):
    """Events, appends, SQL, endpoints, copies, deletes and truncates of 12 clients: no error, no row lost or doubled."""
    write_project(tmp_path, CLIENTS)
    with SandboxProcess("--project", tmp_path, "--no-deduplication") as server:  # its copies copy the same rows again
        load = run_load(server.base_url, server.headers, CLIENTS, calls=25)
        assert [problem for client in load for problem in client.problems()] == []
        calls = sum((client.calls for client in load), start=type(load[0].calls)())
        assert len(calls) == 10, calls
        assert sum(len(client.shared) for client in load) > 0
        assert server.errors() == ""


def test_killed_while_it_writes(tmp_path):
    """kill -9 between the writes of four clients, five times on the same data: every acknowledged row is there after a restart."""
    project, data = tmp_path / "project", tmp_path / "data"
    project.mkdir()
    (project / "written.datasource").write_text(SCHEMA)
    acknowledged: list[tuple[int, int]] = []
    unsure: set[tuple[int, int]] = set()
    for number in range(ROUNDS):
        with SandboxProcess("--project", project, "--data", data) as server:
            _check(server, acknowledged, unsure)
            before = len(acknowledged)
            writers = [_Writer(server, writer, number * 100_000) for writer in range(WRITERS)]
            for one in writers:
                one.thread.start()
            for one in writers:
                assert one.some.wait(30)
            server.process.kill()
            for one in writers:
                one.thread.join(30)
                acknowledged += one.acknowledged
                unsure.add(one.last)
        assert len(acknowledged) > before
    with SandboxProcess("--project", project, "--data", data) as server:
        _check(server, acknowledged, unsure)


def _check(server: SandboxProcess, acknowledged: list[tuple[int, int]], unsure: set[tuple[int, int]]) -> None:
    sql = "SELECT writer, n FROM written ORDER BY ALL FORMAT TSV"
    text = httpx.post(f"{server.base_url}/v0/sql", content=sql, headers=server.headers).raise_for_status().text
    rows = [(int(writer), int(n)) for writer, n in (line.split("\t") for line in text.splitlines())]
    assert len(rows) == len(set(rows))
    assert set(acknowledged) <= set(rows)
    # A row whose answer the kill cut off can be there too.
    assert set(rows) <= set(acknowledged) | unsure


class _Writer:
    """Sends one row after the other, until nobody answers any more."""

    def __init__(self, server: SandboxProcess, writer: int, start: int) -> None:
        self.acknowledged: list[tuple[int, int]] = []
        self.last = (writer, start)
        self.some = threading.Event()
        self.thread = threading.Thread(target=self._write, args=(server, start))

    def _write(self, server: SandboxProcess, start: int) -> None:
        with httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client:
            for n in range(start, start + 100_000):
                self.last = (self.last[0], n)
                try:
                    row = {"writer": self.last[0], "n": n}
                    answer = client.post("/v0/events", params={"name": "written", "wait": "true"}, json=row)
                except httpx.TransportError:
                    return
                if answer.json() == {"successful_rows": 1, "quarantined_rows": 0}:
                    self.acknowledged.append(self.last)
                if len(self.acknowledged) >= 5:
                    self.some.set()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[SandboxProcess]:
    (tmp_path / "tmp").mkdir()
    with SandboxProcess(environment={"TMPDIR": str(tmp_path / "tmp")}) as server:
        yield server


def test_nothing_is_left_by_a_kill_9(started, tmp_path):
    """Its temporary directory cannot be removed by itself; the next start does."""
    [left] = (tmp_path / "tmp").glob("tinybird-sandbox-*")
    started.process.kill()
    started.process.wait()
    assert left.exists()
    os.utime(left / "lock", (0, 0))  # one that is new could be just starting
    with SandboxProcess(environment={"TMPDIR": str(tmp_path / "tmp")}):
        [own] = (tmp_path / "tmp").glob("tinybird-sandbox-*")
        assert own != left
        os.utime(own / "lock", (0, 0))
        with SandboxProcess(environment={"TMPDIR": str(tmp_path / "tmp")}):
            assert own.exists()  # that of a sandbox that runs stays
    assert list((tmp_path / "tmp").iterdir()) == []


def test_nothing_is_left_by_a_kill_9_of_its_owner(tmp_path):
    """The sandbox ends by itself, and takes its temporary directory along."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from airflow_provider_tinybird.sandbox.process import SandboxProcess\n"
        "server = SandboxProcess(); print(server.process.pid, flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(Path(__file__).resolve().parents[2])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        sandbox = Path(f"/proc/{int(owner.stdout.readline())}")
        assert list(tmp_path.glob("tinybird-sandbox-*"))
        owner.kill()
    deadline = time.monotonic() + 20
    while sandbox.exists() and "Z" not in (sandbox / "stat").read_text().rpartition(")")[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
