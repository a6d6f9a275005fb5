"""A real Airflow runs tasks whose arguments turn out to be None: red, not retried, and every row is where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from operator_cases import CSV, PROJECT
from sandbox_process import SandboxProcess

DAGS = Path(__file__).with_name("dags")
ASIDE = {"skipped", "nothing", "rows"}


@pytest.fixture(scope="module")
def sandbox():
    with SandboxProcess("--project", PROJECT) as process:
        into = {"name": "flights", "mode": "append", "format": "csv"}
        process.request("POST", "/v0/datasources", into, body=CSV.encode())
        yield process


@pytest.fixture(scope="module")
def airflow(start_airflow, sandbox):
    return start_airflow(DAGS, sandbox)


@pytest.mark.parametrize("dag_id", ["given_none", "given_none_native"])
def test_nothing_is_touched(airflow, sandbox, dag_id, tmp_path):
    (tmp_path / "flights.csv").write_text(CSV)
    before = contents(sandbox)
    asked = len(sandbox.request("GET", "/sandbox/requests")["requests"])
    run = airflow.run(dag_id, file=str(tmp_path / "flights.csv"))
    states = {task: state for task, state in run.states.items() if task.partition("__")[0] not in ASIDE}
    assert len(states) == 15
    assert set(states.values()) == {"failed"}, states
    assert run.log.count(" was given and came out as ") >= len(states)
    assert sandbox.request("GET", "/sandbox/requests")["requests"][asked:] == []
    assert contents(sandbox) == before


def contents(sandbox: SandboxProcess) -> list[object]:
    names = [one["name"] for one in sandbox.request("GET", "/v0/datasources")["datasources"]]
    return [
        (name, sandbox.request("GET", "/v0/sql", {"q": f"SELECT * FROM {name} FORMAT JSON"})["data"]) for name in names
    ]
