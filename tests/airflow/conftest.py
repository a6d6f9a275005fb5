"""A real Airflow that runs the example DAGs, and the sandbox that they talk to."""

from __future__ import annotations

import json
import os
import select
import shutil
import sqlite3
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sandbox_process import SandboxProcess

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "example_dags"
RUNNER = Path(__file__).with_name("dag_runner.py")
LONGEST_RUN = 240


@dataclass(frozen=True)
class Run:
    """A run of a DAG that is over.

    :param states: state of each task.
    :param results: what each task returned.
    :param log: what Airflow logged meanwhile.
    """

    state: str
    states: dict[str, str]
    results: dict[str, Any]
    log: str


class Airflow:
    """An Airflow with a home of its own, and a process that has read the DAGs of a folder and runs them.

    :param home: an empty folder.
    :param dags: the DAGs.
    :param connection: the connection ``tinybird_default`` as JSON.
    """

    def __init__(self, home: Path, dags: Path, connection: str) -> None:
        self.home = home
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")} | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_TINYBIRD_DEFAULT": connection,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
        }
        migrated = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], env=self.env, cwd=home, capture_output=True, text=True
        )
        assert migrated.returncode == 0, migrated.stderr
        self._log = home / "runner.log"
        self._answers, theirs = os.pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, RUNNER, str(theirs)],
                env=self.env,
                cwd=home,
                pass_fds=(theirs,),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        os.close(theirs)
        self.bag = self._answer()

    def run(self, dag_id: str, **conf: Any) -> Run:
        """Run a DAG to its end."""
        before = len(self.log())
        assert self._process.stdin is not None
        print(json.dumps({"dag_id": dag_id, "conf": conf}), file=self._process.stdin, flush=True)
        found = self._answer()
        with closing(sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True)) as database:
            states = database.execute(
                "SELECT task_id, state FROM task_instance WHERE run_id = ? AND dag_id = ?", (found["run_id"], dag_id)
            )
            results = database.execute(
                "SELECT task_id, value FROM xcom WHERE run_id = ? AND dag_id = ? AND key = 'return_value'",
                (found["run_id"], dag_id),
            )
            return Run(
                found["state"],
                dict(states.fetchall()),
                # The column turns JSON that is a number into one.
                {task: json.loads(value) if isinstance(value, str | bytes) else value for task, value in results},
                self.log()[before:],
            )

    def log(self) -> str:
        """All that the process has logged."""
        return self._log.read_text(errors="replace")

    def _answer(self) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], LONGEST_RUN)
            piece = os.read(self._answers, 65536) if ready else b""
            assert piece, f"the runner did not answer:\n{self.log()[-4000:]}"
            line += piece
        return json.loads(line)

    def stop(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)


class Tinybird:
    """The sandbox with the example project, asked directly over HTTP, not through the provider."""

    def __init__(self, process: SandboxProcess, data: Path) -> None:
        self.process = process
        self.data = data
        self.base_url = process.base_url
        self.flights_url = f"{process.base_url}/files/flights_2013_01.csv.gz"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a SELECT."""
        query = urllib.parse.urlencode({"q": f"{sql} FORMAT JSON"})
        request = urllib.request.Request(f"{self.base_url}/v0/sql?{query}", headers=self.process.headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [tuple(row.values()) for row in json.load(answer)["data"]]


@pytest.fixture(scope="module")
def tinybird(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tinybird]:
    """A sandbox with the project and the files of the example DAGs."""
    data = tmp_path_factory.mktemp("data")
    options = ("--project", EXAMPLES / "tinybird", "--files", EXAMPLES / "data", "--data", data)
    with SandboxProcess(*options) as process:
        yield Tinybird(process, data)


Start = Callable[[Path, SandboxProcess], Airflow]


@pytest.fixture(scope="module")
def start_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start an Airflow for a folder of DAGs, whose connection ``tinybird_default`` points at a sandbox."""
    started: list[Airflow] = []

    def start(dags: Path, sandbox: SandboxProcess) -> Airflow:
        fields = {"conn_type": "tinybird", "host": sandbox.base_url, "password": sandbox.token}
        started.append(Airflow(tmp_path_factory.mktemp("airflow_home"), dags, json.dumps(fields)))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        shutil.rmtree(one.home, ignore_errors=True)


@pytest.fixture(scope="module")
def airflow(tinybird: Tinybird, start_airflow: Start, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """An Airflow whose DAGs are the examples and the one of the README."""
    dags = tmp_path_factory.mktemp("dags")
    (dags / "example_dags").symlink_to(EXAMPLES)
    for number, block in enumerate(python_blocks(ROOT / "README.md")):
        (dags / f"readme_{number}.py").write_text(block.replace("http://localhost:7181", tinybird.base_url))
    return start_airflow(dags, tinybird.process)


@dataclass(frozen=True)
class Served:
    """A folder whose files can be fetched."""

    folder: Path
    url: str


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A web server for the files of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Served(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """The file that the examples load, as pandas reads it."""
    return pd.read_csv(EXAMPLES / "data" / "flights_2013_01.csv.gz")


@pytest.fixture(scope="module")
def demo_table(flights: pd.DataFrame) -> list[str]:
    """The lines of the table that the demo ends with, single-spaced, as pandas computes them from the file."""
    cancelled = flights[flights["dep_time"].isna()].groupby("carrier").size()
    flown = flights[flights["dep_time"].notna()].groupby("carrier")["dep_delay"].agg(["size", "mean", "max"])
    flown = flown.sort_values("size", ascending=False).head(10)
    return [
        f"{carrier} {row['size']:,.0f} {cancelled.get(carrier, 0):,} {row['mean']:.1f} {row['max']:,.0f}"
        for carrier, row in flown.iterrows()
    ]


def python_blocks(document: Path) -> list[str]:
    """The Python code of a Markdown document."""
    parts = document.read_text().split("```python\n")[1:]
    return [part.partition("```")[0] for part in parts]
