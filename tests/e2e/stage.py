"""Where scenarios play: a whole Airflow, sandboxes, and what a scenario does to both."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import httpx
from e2e.airflow_process import PATIENCE, Airflow, Run, wait_until
from e2e.proxy import Proxy
from e2e.scenario import Facts, Scenario
from sandbox_process import SandboxProcess

ACTIVE = ("waiting", "working", "cancelling")
_DATASOURCE = "SCHEMA >\n    `n` Int64\n"
_LOADS = """SCHEMA >
    `delivery` LowCardinality(String) `json:$.delivery`,
    `load` Int32 `json:$.load`,
    `n` Int32 `json:$.n`,
    `batch` LowCardinality(String) `json:$.batch` DEFAULT ''
"""
_PIPE = "NODE rows\nSQL >\n    {sql}\nTYPE copy\nTARGET_DATASOURCE {target}\nCOPY_MODE append\n"
_THREE = "SELECT arrayJoin([1, 2, 3]) AS n"
_MAPPED = "%\n    SELECT toInt64({{Int64(n, 0)}}) AS n"
MAPPED = ("quota", "crowd")


def target_of(name: str) -> str:
    """The data source that the pipe of a scenario fills."""
    return f"{name}_rows"


class Box:
    """A sandbox with the project of the scenarios.

    :param options: further options of its command line.
    """

    def __init__(self, project: Path, *options: str | Path) -> None:
        # A row that is doubled is to be seen: a table that drops repetitions would hide it.
        self._options = ("--project", project, "--no-deduplication", *options)
        self.process = SandboxProcess(*self._options)
        self.url = self.process.base_url
        self._client = httpx.Client(base_url=self.url, headers=self.process.headers, timeout=30, trust_env=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kill it with -9."""
        self.process.process.kill()
        self.process.process.wait()

    def start_again(self) -> None:
        """Start it on the same port and data."""
        self.process.stop()
        self.process = SandboxProcess(*self._options, "--port", str(self.port))

    def stop(self) -> None:
        """Stop it."""
        self._client.close()
        self.process.stop()

    def jobs(self, target: str) -> list[dict[str, Any]]:
        """Jobs that write to a data source, oldest first."""
        found: list[dict[str, Any]] = []
        before: dict[str, str] = {}
        while True:
            page = self._get("/v0/jobs", **before)["jobs"]
            known = {job["id"] for job in found}
            fresh = [job for job in page if job["id"] not in known]
            found += fresh
            if len(page) < 100 or not fresh:
                break
            before = {"created_before": page[-1]["created_at"]}
        mine = [job for job in found if (job.get("datasource") or {}).get("name") == target]
        return mine[::-1]

    def rows(self, name: str) -> int:
        """Rows in a data source."""
        return int(self._get("/v0/sql", q=f"SELECT count() AS n FROM {name} FORMAT JSON")["data"][0]["n"])

    def distinct(self, name: str) -> int:
        """Different rows in a data source."""
        return int(self._get("/v0/sql", q=f"SELECT uniqExact(n) AS n FROM {name} FORMAT JSON")["data"][0]["n"])

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a SELECT."""
        found: list[dict[str, Any]] = self._get("/v0/sql", q=f"{sql} FORMAT JSON")["data"]
        return found

    def requests(self, method: str, path: str) -> list[dict[str, Any]]:
        """Requests that it has seen."""
        seen = self._get("/sandbox/requests")["requests"]
        return [one for one in seen if one["method"] == method and path in one["path"]]

    def send(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """Send a request that changes something."""
        return self._client.request(method, path, json=body, params=params).raise_for_status().json()

    def _get(self, path: str, **params: str) -> Any:
        return self._client.get(path, params=params).raise_for_status().json()


class Stage:
    """What one scenario has in its hands."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        name = scenario.name
        self.world = world
        self.meets = scenario.meets
        self.airflow = world.airflow
        self.name = name
        self.target = target_of(name)
        self.box = world.boxes[scenario.box]
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The run of the scenario's DAG."""
        assert self._run is not None
        return self._run

    def start(self) -> None:
        """Start a run of the DAG."""
        self._run = self.airflow.trigger(self.name)

    def course(self, **course: Any) -> None:
        """Say how the next job goes."""
        self.box.send("POST", "/sandbox/jobs", {"name": self.target, **course})

    def release(self) -> None:
        """Let held jobs go on."""
        self.box.send("DELETE", "/sandbox/jobs", name=self.target)

    def fault(self, method: str, path: str, **fault: Any) -> None:
        """Have the next requests to a path go wrong."""
        self.box.send("POST", "/sandbox/faults", {"match": {"method": method, "path": path}, **fault})

    def wait_for_job(self, *states: str, count: int = 1) -> dict[str, Any]:
        """Wait until there are so many jobs and the newest is in one of some states."""

        def look() -> dict[str, Any] | None:
            jobs = self.box.jobs(self.target)
            return jobs[-1] if len(jobs) >= count and jobs[-1]["status"] in states else None

        try:
            return wait_until(f"job of {self.name} in {states}", look)
        except TimeoutError as e:
            raise TimeoutError(f"{e}; {self.box.jobs(self.target)}\n{self.run.log()[-6000:]}") from None

    def wait_until_waiting(self) -> None:
        """Wait until the task waits for its job, wherever it does that."""
        job = self.wait_for_job("working")
        if self.name.endswith("_deferred"):
            self.run.wait_for("deferred")
        polls = f"/v0/jobs/{job['id']}"
        seen = len(self.box.requests("GET", polls))
        wait_until(f"polls of {self.name}", lambda: len(self.box.requests("GET", polls)) > seen)

    def processes(self, attempt: int = 1) -> tuple[int, int]:
        """Process of an attempt of the task, and the one that supervises it."""
        path = self.world.processes / f"{self.name}.{attempt}"
        wait_until(f"process of {self.name}", path.exists)
        task, supervisor = path.read_text().split()
        return int(task), int(supervisor)

    def together(self, action: Callable[[], None]) -> None:
        """Wait for the other scenarios that meet this one, then do something once for all of them."""
        meeting = self.world.meeting(self.meets)
        if meeting.wait(PATIENCE) == 0:
            action()
        meeting.wait(PATIENCE)

    def kill(self, *processes: int) -> None:
        """Kill processes with -9."""
        for process in processes:
            os.kill(process, signal.SIGKILL)

    def facts(self, *, settle: bool = True, patience: float = PATIENCE) -> Facts:
        """Wait for the end of the task and of its jobs, and say how it ended.

        :param settle: wait until no job goes on any more.
        """
        task = tuple(self.run.wait_for_end(patience=patience))
        if settle:
            wait_until(f"end of the jobs of {self.name}", lambda: not self.active_jobs())
        jobs = tuple(job["status"] for job in self.box.jobs(self.target))
        return Facts(jobs, task, self.box.rows(self.target))

    def active_jobs(self) -> list[dict[str, Any]]:
        """Jobs that go on."""
        return [job for job in self.box.jobs(self.target) if job["status"] in ACTIVE]

    def cancels(self) -> int:
        """How often a cancel of a job of this scenario was asked for."""
        return sum(len(self.box.requests("POST", f"/v0/jobs/{job['id']}/cancel")) for job in self.box.jobs(self.target))

    def log_has(self, *texts: str) -> None:
        """Check what the task wrote."""
        log = self.run.log()
        missing = [text for text in texts if text not in log]
        assert not missing, f"the log of {self.name} does not say {missing}:\n{log[-8000:]}"


class World:
    """Everything that runs."""

    def __init__(self, airflow: Airflow, boxes: dict[str, Box], proxies: dict[str, Proxy], processes: Path) -> None:
        self.airflow = airflow
        self.boxes = boxes
        self.proxies = proxies
        self.processes = processes
        self.wanted: list[Scenario] = []
        self._meetings: dict[str, Barrier] = {}
        self._lock = Lock()

    def meeting(self, name: str) -> Barrier:
        """Where scenarios meet."""
        with self._lock:
            if name not in self._meetings:
                self._meetings[name] = Barrier(sum(one.meets == name for one in self.wanted))
            return self._meetings[name]


@contextmanager
def running_world(place: Path, dags: Path, names: list[str], ports: tuple[int, ...]) -> Iterator[World]:
    """Start a world.

    :param place: an empty directory.
    :param names: the scenarios.
    """
    folders = {name: place / name for name in ("home", "project", "files", "processes")}
    for folder in folders.values():
        folder.mkdir()
    _write_project(folders["project"], names)
    (folders["files"] / "rows.csv").write_text("n\n1\n2\n3\n")
    with ExitStack() as stack:
        boxes: dict[str, Box] = {}
        for name, options in {
            "default": ("--files", folders["files"]),
            "limited": ("--files", folders["files"], "--max-copies", "2", "--job-delay", "0.5"),
            "fragile": (),
        }.items():
            boxes[name] = Box(folders["project"], "--data", place / name, *options)
            stack.callback(boxes[name].stop)
        proxies = {name: stack.enter_context(Proxy(boxes["default"].port)) for name in ("flaky_sync", "flaky_deferred")}
        token = boxes["default"].process.token
        hosts = {name: (box.url, box.process.token) for name, box in boxes.items()}
        hosts |= {name: (proxy.url, token) for name, proxy in proxies.items()}
        environment = {
            "E2E_PROCESSES": str(folders["processes"]),
            "E2E_FILE": f"{boxes['default'].url}/files/rows.csv",
            **{f"AIRFLOW_CONN_TINYBIRD_{name.upper()}": _connection(*host) for name, host in hosts.items()},
        }
        airflow = stack.enter_context(Airflow(folders["home"], dags, ports, environment))
        yield World(airflow, boxes, proxies, folders["processes"])


def _connection(host: str, token: str) -> str:
    return json.dumps({"conn_type": "tinybird", "host": host, "password": token})


def _write_project(folder: Path, names: list[str]) -> None:
    (folder / "killed_loads.datasource").write_text(_LOADS)
    for name in names:
        (folder / f"{target_of(name)}.datasource").write_text(_DATASOURCE)
        (folder / f"{name}.pipe").write_text(
            _PIPE.format(target=target_of(name), sql=_MAPPED if name in MAPPED else _THREE)
        )
