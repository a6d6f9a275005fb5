"""A whole Airflow for tests: API servers, scheduler with its workers, triggerer and DAG processor, each a process of its
own, so that one of them can be killed and started again.

There are two API servers, one for people and one for tasks: on SQLite the former blocks its event loop while it waits
for a writer, and if that is a task that it serves itself, both wait for each other.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

COMPONENTS = ("api-server", "execution-api", "scheduler", "triggerer", "dag-processor")
START_TIMEOUT = 180.0
PATIENCE = 240.0
"""Seconds that anything may take before it counts as never: generous, for slow machines."""


def wait_until(what: str, look: Callable[[], T | None], *, patience: float = PATIENCE, pause: float = 0.25) -> T:
    """Look until there is something to see.

    :raises TimeoutError: there was nothing for so long.
    """
    end = time.monotonic() + patience
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise TimeoutError(f"after {patience:.0f} s still no {what}")
        time.sleep(pause)


class Component:
    """One process of Airflow, in a process group of its own.

    :param command: the command line.
    :param log: file that takes what it prints, over all its starts.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []
        self._is_wanted = False

    @property
    def died(self) -> bool:
        """Whether it ended although nobody asked for it."""
        return self._is_wanted and self.process is not None and self.process.poll() is not None

    def start(self) -> None:
        """Start it."""
        self._is_wanted = True
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(self._environment),
                cwd=self.log.parent,
                start_new_session=True,
            )
        self._groups.append(self.process.pid)

    def kill(self, number: signal.Signals = signal.SIGKILL, *, with_children: bool = True) -> None:
        """Send it a signal and wait for its end.

        :param with_children: its children get the signal, too.
        """
        assert self.process is not None
        self._is_wanted = False
        (os.killpg if with_children else os.kill)(self.process.pid, number)
        self.process.wait(60)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to it and to all that its starts have left."""
        self._is_wanted = False
        self._signal_groups(signal.SIGTERM)

    def stop(self) -> None:
        """Make sure that nothing of it is left."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
        self._signal_groups(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def _signal_groups(self, number: signal.Signals) -> None:
        for group in self._groups:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                continue


class Airflow:
    """A running Airflow; a context manager.

    :param home: its AIRFLOW_HOME, an empty directory.
    :param dags: the DAGs folder.
    :param ports: four free ports: for the two API servers, and for the log servers of workers and triggerer.
    :param environment: further variables, such as connections.
    """

    def __init__(self, home: Path, dags: Path, ports: tuple[int, ...], environment: Mapping[str, str]) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{ports[0]}"
        self._environment = {**os.environ, **_settings(home, dags, ports), **environment}
        self._airflow = [sys.executable, "-m", "airflow"]
        self._components = {
            name: Component(
                [*_PRIORITY.get(name, []), *self._airflow, *_command(name, ports)],
                self._environment,
                home / f"{name}.log",
            )
            for name in COMPONENTS
        }
        self._one_writer = Lock()
        self._client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def __getitem__(self, name: str) -> Component:
        """One of its processes."""
        return self._components[name]

    def __enter__(self) -> Airflow:
        (self.home / "config").mkdir()
        (self.home / "config" / "airflow_local_settings.py").write_text(_PRELOADED)
        migration = subprocess.run(
            [*self._airflow, "db", "migrate"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
        )
        if migration.returncode:
            raise RuntimeError(f"airflow db migrate failed:\n{migration.stdout[-2000:]}\n{migration.stderr[-4000:]}")
        try:
            for component in self._components.values():
                component.start()
            self.wait_until_healthy()
            token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
            self._client.headers["Authorization"] = f"Bearer {token}"
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every process."""
        for component in self._components.values():
            component.ask_to_stop()
        for component in self._components.values():
            component.stop()
        self._client.close()

    def wait_until_healthy(self) -> None:
        """Wait until all of it runs."""
        try:
            wait_until("healthy Airflow", self._is_healthy, patience=START_TIMEOUT)
        except TimeoutError as e:
            tails = (f"--- {one.log.name}\n{one.log.read_text()[-3000:]}" for one in self._components.values())
            raise RuntimeError(f"{e}\n" + "\n".join(tails)) from None

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until a DAG is parsed, and switch it on."""

        def switch_on() -> bool:
            return self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False}).status_code == 200

        wait_until(f"DAG {dag_id}", switch_on, pause=1.0)

    def trigger(self, dag_id: str) -> Run:
        """Start a run of a DAG."""
        self.send("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "dag_run_id": dag_id})
        return Run(self, dag_id, dag_id)

    def get(self, path: str, **params: Any) -> Any:
        """Read from the REST API, patiently."""

        def look() -> dict[str, Any] | None:
            self.check()
            try:
                answer = self._client.get(path, params=params)
            except httpx.TransportError:
                return None
            return answer.json() if answer.status_code == 200 else None

        return wait_until(f"answer from {path}", look, patience=60)

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """Change something by the REST API."""
        with self._one_writer:  # SQLite takes one at a time
            answer = self._client.request(method, path, json=body)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: HTTP {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def connect(self, conn_id: str, host: str, token: str) -> None:
        """Store a connection, in the place of one that is there."""
        self.disconnect(conn_id)
        fields = {"connection_id": conn_id, "conn_type": "tinybird", "host": host, "password": token}
        self.send("POST", "/api/v2/connections", fields)

    def disconnect(self, conn_id: str) -> None:
        """Remove a connection, if it is there."""
        with self._one_writer:
            answer = self._client.delete(f"/api/v2/connections/{conn_id}")
        if answer.status_code not in (204, 404):
            raise RuntimeError(f"connection {conn_id} is still there: HTTP {answer.status_code}")

    def check(self) -> None:
        """Check that no process ended by itself."""
        for name, component in self._components.items():
            if component.died:
                raise RuntimeError(f"the {name} ended by itself:\n{component.log.read_text()[-4000:]}")

    def _is_healthy(self) -> bool:
        self.check()
        try:
            health = self._client.get("/api/v2/monitor/health").raise_for_status().json()
        except httpx.HTTPError:
            return False
        return all((health.get(part) or {}).get("status") == "healthy" for part in _MONITORED)


class Run:
    """A run of a DAG."""

    def __init__(self, airflow: Airflow, dag_id: str, run_id: str) -> None:
        self._airflow = airflow
        self.dag_id = dag_id
        self.run_id = run_id
        self._path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"

    def tasks(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """Its task instances."""
        found = self._airflow.get(f"{self._path}/taskInstances", limit=1000)["task_instances"]
        return [one for one in found if task_id in (None, one["task_id"])]

    def states(self, task_id: str = "job") -> list[str | None]:
        """States of a task's instances."""
        return [one["state"] for one in self.tasks(task_id)]

    def wait_for(self, *states: str, task_id: str = "job", patience: float = PATIENCE) -> list[str]:
        """Wait until all instances of a task are in one of some states.

        :raises AssertionError: they are over in another.
        """

        def look() -> list[str] | None:
            found = self.states(task_id)
            if found and all(one in _ENDS and one not in states for one in found):
                raise AssertionError(f"{task_id} of {self.dag_id} is {found}, not {states}\n{self.log()[-8000:]}")
            return [str(one) for one in found] if found and all(one in states for one in found) else None

        try:
            return wait_until(f"task of {self.dag_id} in {states}", look, patience=patience, pause=0.5)
        except TimeoutError as e:
            raise TimeoutError(f"{e}; it is {self.states(task_id)}\n{self.log()[-6000:]}") from None

    def wait_for_end(self, task_id: str = "job", patience: float = PATIENCE) -> list[str]:
        """Wait until all instances of a task are over."""
        return self.wait_for(*_ENDS, task_id=task_id, patience=patience)

    def mark(self, state: str, task_id: str = "job") -> None:
        """Do what the button "Mark as ..." does."""
        self._airflow.send("PATCH", f"{self._path}/taskInstances/{task_id}", {"new_state": state})

    def clear(self, task_id: str = "job") -> None:
        """Do what the button "Clear" does."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task_id], "only_failed": False}
        self._airflow.send("POST", f"/api/v2/dags/{self.dag_id}/clearTaskInstances", body)

    def xcom(self, task_id: str = "job") -> Any:
        """What a task returned."""
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/return_value"
        return self._airflow.get(path, deserialize=True)["value"]

    def log(self) -> str:
        """What its tasks and their triggers wrote."""
        return "\n".join(f"--- {name}\n{text}" for name, text in self.logs().items())

    def logs(self) -> dict[str, str]:
        """The same, file by file."""
        folder = self._airflow.home / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        return {str(file.relative_to(folder)): file.read_text() for file in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


# Imported by the scheduler once, so that the processes of tasks, which are forked from it, need not: a third less to do.
_PRELOADED = """
import airflow.dag_processing.bundles.local
import airflow.dag_processing.dagbag
import airflow.sdk.execution_time.supervisor
import airflow.sdk.execution_time.task_runner
import airflow_provider_tinybird.decorators.events
import airflow_provider_tinybird.operators.datasources
import airflow_provider_tinybird.operators.pipes
import airflow_provider_tinybird.sensors.jobs
"""
_ENDS = ("success", "failed", "skipped", "upstream_failed")
# Workers come after the triggerer, as if it had a machine of its own.
_PRIORITY = {name: ["nice", "-n", "10"] for name in COMPONENTS if name != "triggerer"}
_MONITORED = ("metadatabase", "scheduler", "triggerer", "dag_processor")


def _command(name: str, ports: tuple[int, ...]) -> list[str]:
    apps = {"api-server": ("core", ports[0]), "execution-api": ("execution", ports[1])}
    if name not in apps:
        return [name]
    app, port = apps[name]
    return ["api-server", "--apps", app, "--host", "127.0.0.1", "--port", str(port)]


def _settings(home: Path, dags: Path, ports: tuple[int, ...]) -> dict[str, str]:
    api, execution_api, worker_logs, trigger_logs = ports
    url = f"http://127.0.0.1:{api}"
    root = Path(__file__).resolve().parents[2]
    settings = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "12",
        # By default a writer gives up after 5 s of waiting for the others.
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=120",
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{execution_api}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        "API__SECRET_KEY": secrets.token_urlsafe(32),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API__MAXIMUM_PAGE_LIMIT": "1000",
        "LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        # With its default of 5 s a task whose trigger fires soon after the deferral can fail by a race in the scheduler.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "40",
        "SCHEDULER__MAX_TIS_PER_QUERY": "64",
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        # Of what Airflow warns about at 0.2 s on a machine of the triggerer's own: here a dozen workers share two cores with it.
        "TRIGGERER__BLOCKED_MAIN_THREAD_WARNING_THRESHOLD": "1.0",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return {f"AIRFLOW__{name}": value for name, value in settings.items()} | {
        "AIRFLOW_HOME": str(home),
        "PATH": path,
        "PYTHONPATH": python_path,
        "no_proxy": "127.0.0.1,localhost",
    }
