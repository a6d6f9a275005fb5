"""A real Airflow runs every operator with the results of other tasks in each of its template fields: one by one, and mapped."""

from __future__ import annotations

from pathlib import Path

import pytest
from operator_cases import CSV, PROJECT, operators
from sandbox_process import SandboxProcess

DAGS = Path(__file__).with_name("dags")


@pytest.fixture(scope="module")
def run(start_airflow, tmp_path_factory):
    files = tmp_path_factory.mktemp("files")
    (files / "flights.csv").write_text(CSV)
    with SandboxProcess("--project", PROJECT, "--files", files, "--no-deduplication") as sandbox:
        into = {"name": "flights", "mode": "append", "format": "csv"}
        sandbox.request("POST", "/v0/datasources", into, body=CSV.encode())
        started = sandbox.request("POST", "/v0/pipes/copy_totals/copy")
        conf = {"url": sandbox.base_url, "file": str(files / "flights.csv"), "job": started["job"]["job_id"]}
        yield start_airflow(DAGS, sandbox).run("every_operator", **conf)


@pytest.mark.parametrize("name", operators())
def test_results_of_other_tasks(run, name):
    ways = ("results", "expand_kwargs", "expand")
    states = {way: run.states[f"{name}.{way}"] for way in ways if f"{name}.{way}" in run.states}
    assert len(states) >= 2
    reasons = [line for line in run.log.splitlines() if "Error: " in line or "Exception: " in line]
    good = {"success", "skipped"} if name.endswith("Sensor") else {"success"}
    assert set(states.values()) <= good, "\n".join([str(states), *reasons])
