"""What a task's log says, from its first line to its last: what is asked, the job, each change of its status, rows, and nothing twice."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from operator_cases import operators

from airflow_provider_tinybird._compat import BaseTrigger

OWN = "airflow_provider_tinybird"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\b(\d+ min )?\d+\.\d+ s\b")


@pytest.fixture
def lines(monkeypatch, caplog, box) -> Callable[[], list[str]]:
    """What was logged, with names in place of what is another each time."""
    logger = logging.getLogger(f"{OWN}.task")
    for kind in (*operators().values(), BaseTrigger):
        monkeypatch.setattr(kind, "log", property(lambda _: logger), raising=False)
    caplog.set_level(logging.INFO)

    def lines() -> list[str]:
        own = [one.getMessage() for one in caplog.records if OWN in one.pathname]
        return [TIME.sub("TIME", UUID.sub("ID", line)).replace(box.url, "URL") for line in own]

    return lines


def course(kind: str, *, deferred: bool) -> list[str]:
    """The lines of a job's life."""
    return [
        f"Tinybird accepted {kind} job ID: it is waiting.",
        *([f"Waiting for {kind} job ID in the triggerer."] if deferred else []),
        f"{kind.capitalize()} job ID is done, after TIME.",
    ]


def without_work(lines: list[str]) -> list[str]:
    """Whether anybody looks while the job is working, and whether before or after the deferral, is a matter of time."""
    working = [line for line in lines if re.fullmatch(r"\w+ job ID is working, after TIME\.", line)]
    assert len(working) <= 1
    return [line for line in lines if line not in working]


def test_an_import(box, run, lines):
    url = f"{box.url}/files/flights.csv?X-Amz-Signature=5ec3e7"
    deferred = _run(run, "TinybirdAppendUrlOperator", datasource="flights", url=url)
    assert without_work(lines()) == [
        "Asking Tinybird at URL to append a URL to data source 'flights' "
        "(url='URL/files/flights.csv?***', format='csv', mode='append').",
        *course("import", deferred=deferred),
        "Done: import job ID, after TIME. It wrote 4 rows.",
    ]


def test_a_copy(box, run, lines):
    box.fill()
    deferred = _run(run, "TinybirdCopyOperator", pipe="copy_totals", parameters={"at_least": 0}, mode="replace")
    assert without_work(lines()) == [
        "Asking Tinybird at URL to run copy pipe 'copy_totals' (parameters={'at_least': 0}, mode='replace').",
        *course("copy", deferred=deferred),
        "Done: copy job ID, after TIME. It wrote 2 rows.",
    ]


def test_a_delete(box, run, lines):
    box.fill()
    deferred = _run(run, "TinybirdDeleteOperator", datasource="flights", delete_condition="delay\n  > 10")
    assert without_work(lines()) == [
        "Asking Tinybird at URL to delete rows of data source 'flights' (delete_condition='delay > 10').",
        "2 rows are about to be deleted.",
        *course("delete", deferred=deferred),
        "Done: delete job ID, after TIME.",
        "Deleted 2 rows of data source 'flights'.",
    ]


def test_a_query(box, run_here, lines):
    box.fill()
    run_here(operators()["TinybirdQueryOperator"], sql=f"SELECT 1 /* {'long ' * 200}*/ AS one")
    asked, answered = lines()
    assert asked.startswith("Asking Tinybird at URL to run the SQL query (sql='SELECT 1 /* long long")
    assert asked.endswith("characters more)', format='JSON').")
    assert len(asked) < 700
    assert answered == "The result of the query: 1 row (1 rows read, 1 bytes read, TIME)."


def test_a_file(box, run_here, lines, tmp_path):
    box.fill()
    run_here(operators()["TinybirdEndpointOperator"], pipe="top", format="csv", output_path=str(tmp_path / "top.csv"))
    size = (tmp_path / "top.csv").stat().st_size
    assert lines() == [
        f"Asking Tinybird at URL to call endpoint 'top' (format='csv', output_path='{tmp_path}/top.csv').",
        f"Wrote {size} bytes to {tmp_path}/top.csv.",
    ]


def test_a_job_that_nobody_waits_for(box, run_here, lines):
    run_here(operators()["TinybirdSinkOperator"], pipe="out", wait_for_completion=False)
    assert lines() == [
        "Asking Tinybird at URL to run sink pipe 'out'.",
        "Tinybird accepted sink job ID: it is waiting.",
    ]


def test_events(box, run_here, lines):
    row = {"day": "2013-01-01", "carrier": "UA", "delay": 5}
    run_here(operators()["TinybirdEventsOperator"], datasource="flights", data=[row])
    asked, sent = lines()
    assert asked == "Asking Tinybird at URL to send rows to data source 'flights'."
    assert sent.startswith("1 row is in data source 'flights', 0 in its quarantine: 1 request")


def _run(run: Callable[..., Any], name: str, **arguments: Any) -> bool:
    """Run an operator in the mode of ``run``; tell whether it is deferred."""
    run(operators()[name], poll_interval=0.05, **arguments)
    return run.__name__ == "run_deferred"
