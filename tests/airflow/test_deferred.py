"""``dag.test()`` runs triggers too, and drops what Airflow should keep for a task that resumes (seen on 3.3.2)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from operator_cases import PROJECT
from sandbox_process import SandboxProcess

DAGS = Path(__file__).with_name("deferred_dags")


@pytest.fixture(scope="module")
def sandbox():
    with SandboxProcess("--project", PROJECT, "--job-delay", "7", "--max-copies", "1") as server:
        yield server


@pytest.fixture(scope="module")
def airflow(start_airflow, sandbox):
    return start_airflow(DAGS, sandbox)


def result(airflow, name):
    run = airflow.run(name)
    assert run.states == {"t": "success"}, run.log[-6000:]
    assert "in the triggerer" in run.log  # it did defer: its job takes longer than a task waits itself
    return run.results["t"]


def test_a_load(airflow):
    assert result(airflow, "load")["rows"] == 3


def test_an_interval(airflow):
    assert result(airflow, "interval")["rows"] == 2


def test_a_subclass_that_deletes(airflow):
    found = result(airflow, "delete")
    assert found["own"]
    assert (found["rows_before"], found["rows_after"]) == (2, 1)


def test_a_range(airflow):
    assert [one["rows"] for one in result(airflow, "window_by_window")["windows"]].count(None) == 0


def test_a_copy_that_waits_for_a_slot(airflow, sandbox):
    sandbox.request("POST", "/sandbox/jobs", {}, body=b'{"name": "copy_totals", "hold": "working"}')
    sandbox.request("POST", "/v0/pipes/copy_totals/copy")

    def release_when_refused() -> None:
        ends = time.monotonic() + 120
        while time.monotonic() < ends and not stop.wait(0.2):
            seen = sandbox.request("GET", "/sandbox/requests")["requests"]
            if any(one["path"].endswith("/copy") and one["status"] == 403 for one in seen):
                sandbox.request("DELETE", "/sandbox/jobs")
                return

    stop = threading.Event()
    thread = threading.Thread(target=release_when_refused)
    thread.start()
    try:
        assert result(airflow, "slot")["status"] == "done"
    finally:
        stop.set()
        thread.join()
