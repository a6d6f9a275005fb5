"""The provider against the sandbox: a ClickHouse engine behind Tinybird's API, whose jobs take their time."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_process import SandboxProcess

PROJECT = Path(__file__).parent / "project"
CSV = "day,carrier,delay\n2013-01-01,UA,2\n2013-01-01,AA,-5\n2013-01-02,UA,30\n2013-02-01,B6,11\n"
"""Four flights, in two months."""
POLL_INTERVAL = 0.05
"""Seconds between two looks at a job, of which each takes 0.3 seconds here: waiting for the looks was half of the time of these tests."""


class Box:
    """The sandbox with nothing of the provider in between: what is in the tables, what came in, what goes wrong."""

    def __init__(self, server: SandboxProcess, files: Path) -> None:
        self.url = server.base_url
        self.token = server.token
        self.files = files
        self._http = httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        answer = self._http.post("/v0/sql", content=f"{sql} FORMAT JSON")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    def count(self, datasource: str = "flights") -> int:
        return int(self.rows(f"SELECT count() AS n FROM {datasource}")[0]["n"])

    def names(self) -> set[str]:
        """Names of the data sources that there are."""
        return {one["name"] for one in self._http.get("/v0/datasources").json()["datasources"]}

    def fill(self) -> None:
        """Put the four flights in. They can be loaded once more: nothing remembers them as a block."""
        header, *lines = CSV.splitlines()
        self.insert("flights", [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines])

    def append(self, datasource: str, rows: list[dict[str, Any]]) -> None:
        """Put rows in; those that do not fit go to quarantine."""
        lines = "\n".join(json.dumps(row) for row in rows)
        answer = self._http.post(f"/v0/events?name={datasource}&wait=true", content=lines)
        assert answer.status_code == 200, answer.text

    def post(self, path: str) -> Any:
        answer = self._http.post(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def insert(self, datasource: str, rows: list[dict[str, Any]]) -> None:
        """Put rows in behind the provider's back."""
        answer = self._http.post(f"/sandbox/rows?name={datasource}", content="\n".join(map(json.dumps, rows)))
        assert answer.status_code == 200, answer.text

    def delete(self, datasource: str, condition: str) -> None:
        """Delete rows behind the provider's back."""
        answer = self._http.post(f"/v0/datasources/{datasource}/delete", data={"delete_condition": condition})
        assert answer.status_code == 200, answer.text
        self.wait_for_jobs()

    def truncate(self, datasource: str = "flights") -> None:
        """Empty a data source, which forgets what was there."""
        assert self._http.post(f"/v0/datasources/{datasource}/truncate").status_code == 200

    def narrow_token(self, *scopes: str) -> str:
        params = [("name", " ".join(scopes)), *(("scope", scope) for scope in scopes)]
        token: str = self._http.post("/v0/tokens", params=params).json()["token"]
        return token

    def fault(self, path: str, *, method: str | None = None, **fault: Any) -> None:
        answer = self._http.post("/sandbox/faults", json={"match": {"path": path, "method": method}, **fault})
        assert answer.status_code == 200, answer.text

    def clear_faults(self) -> None:
        """Drop the faults that are still to come."""
        self._http.delete("/sandbox/faults").raise_for_status()

    def plan_job(self, name: str, **course: Any) -> None:
        answer = self._http.post("/sandbox/jobs", json={"name": name, **course})
        assert answer.status_code == 200, answer.text

    def release(self) -> None:
        """Let jobs go on that are held."""
        assert self._http.delete("/sandbox/jobs").status_code == 200

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get("/v0/jobs").json()["jobs"]
        return found

    def wait_for_jobs(self) -> None:
        deadline = time.monotonic() + 20
        while any(job["status"] in ("waiting", "working") for job in self.jobs()):
            assert time.monotonic() < deadline, self.jobs()
            time.sleep(0.02)

    def seen(self, method: str, path: str) -> list[dict[str, Any]]:
        """Requests with this method, whose path ends so."""
        seen = self._http.get("/sandbox/requests").json()["requests"]
        return [one for one in seen if one["method"] == method and one["path"].endswith(path)]

    def close(self) -> None:
        self._http.close()


def _options(files: Path) -> tuple[str | Path, ...]:
    (files / "flights.csv").write_text(CSV)
    return ("--project", PROJECT, "--files", files, "--job-delay", "0.15")


@pytest.fixture(scope="session")
def _keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SandboxProcess, Path]]:
    files = tmp_path_factory.mktemp("files")
    with SandboxProcess(*_options(files), "--no-deduplication") as server:
        yield server, files


@pytest.fixture(scope="session")
def _dropping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SandboxProcess, Path]]:
    files = tmp_path_factory.mktemp("files")
    with SandboxProcess(*_options(files)) as server:
        yield server, files


def _as_started(running: tuple[SandboxProcess, Path], connection: Callable[..., None]) -> Iterator[Box]:
    server, files = running
    server.reset()
    box = Box(server, files)
    connection(box.url, box.token)
    yield box
    box.close()


@pytest.fixture
def keeping(_keeping: tuple[SandboxProcess, Path], connection: Callable[..., None]) -> Iterator[Box]:
    """The sandbox as after its start, and the connection ``tinybird_default`` pointing at it. It keeps what is sent twice, so that a
    doubled row is seen.
    """
    yield from _as_started(_keeping, connection)


@pytest.fixture
def box(keeping: Box) -> Box:
    """The sandbox of most tests."""
    return keeping


@pytest.fixture
def dropping(_dropping: tuple[SandboxProcess, Path], connection: Callable[..., None]) -> Iterator[Box]:
    """The same of a sandbox that drops rows that were inserted before, as it does by default."""
    yield from _as_started(_dropping, connection)


@pytest.fixture
def quick_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for replicas that lag: there is one table."""
    from airflow_provider_tinybird.policies import target_rows

    monkeypatch.setattr(target_rows, "LOOKS", (0.0, 0.05))


def run_sync(cls: type[Any], **arguments: Any) -> Any:
    """Run an operator in the worker from its start to its end."""
    from airflow_provider_tinybird.operators.job import TinybirdJobOperator

    looks = {"poll_interval": POLL_INTERVAL} if issubclass(cls, TinybirdJobOperator) else {}
    operator = _make(cls, {**looks, **arguments})
    return _small_json(operator.execute({}))


def run_deferred(cls: type[Any], **arguments: Any) -> Any:
    """Run an operator that defers: its trigger made anew from what is stored, then the operator made anew."""
    from airflow_provider_tinybird._compat import TaskDeferred

    settings = {"deferrable": True, **arguments}
    if "poke_interval" not in settings:
        settings.setdefault("poll_interval", POLL_INTERVAL)
    with pytest.raises(TaskDeferred) as caught:
        _make(cls, settings).execute({})
    wait = caught.value
    event = asyncio.run(_only_event(*json.loads(json.dumps(wait.trigger.serialize()))))
    resumed = _make(cls, settings)
    assert not wait.kwargs  # dag.test() drops them: what a resume needs is in the event
    return _small_json(getattr(resumed, wait.method_name)({}, json.loads(json.dumps(event))))


async def _only_event(path: str, arguments: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    trigger = getattr(importlib.import_module(module), name)(**arguments)
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return events[0]


def _make(cls: type[Any], arguments: dict[str, Any]) -> Any:
    operator = cls(task_id="t", **arguments)
    operator.render_template_fields({})
    return operator


def _small_json(value: Any) -> Any:
    text = json.dumps(value)
    assert len(text) < 10_000
    assert json.loads(text) == value
    return value


@pytest.fixture(params=["sync", "deferred"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run an operator: in the worker, and deferred through the real trigger."""
    return run_sync if request.param == "sync" else run_deferred


@pytest.fixture
def run_here() -> Callable[..., Any]:
    """Run an operator in the worker."""
    return run_sync
