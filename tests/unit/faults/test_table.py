"""What each kind of operator does when the first answer to its request goes wrong: in what state it ends, and how often it was sent.

The rule is one: what must not be done twice is sent once, unless the answer proves that nothing was taken; and a task is red, and says
that the outcome is not known, wherever it is not.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faulty_tinybird import FAULTS, SLOW, Fault, serving

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.pipes import (
    TinybirdCopyOperator,
    TinybirdEndpointOperator,
    TinybirdPopulateOperator,
    TinybirdSinkOperator,
)
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

DOCUMENT = Path(__file__).parents[3] / "docs" / "reliability.md"
BEGIN = "<!-- The table of faults between these marks is written by tests/unit/faults. -->"
END = "<!-- End of the table. -->"
TOKEN = "p.eyJ1IjogInNlY3JldCJ9.very-secret"
EVENTS, ONCE, REPEATABLE, READ = "events", "must be done once", "can be repeated", "reads"
JOB = {"deferrable": False, "poll_interval": 0.05, "timeout": 20}


@dataclass(frozen=True)
class Case:
    """An operator, the request that goes wrong, and how safe that is to repeat."""

    kind: str
    target: str
    operator: Any
    arguments: dict[str, Any]


CASES = {
    "events": Case(EVENTS, "POST /v0/events", TinybirdEventsOperator, {"datasource": "orders", "data": [{"a": 1}]}),
    "append by URL": Case(
        ONCE,
        "POST /v0/datasources",
        TinybirdAppendUrlOperator,
        {"datasource": "orders", "url": "https://files.example/a.ndjson", "format": "ndjson", **JOB},
    ),
    "append of a file": Case(
        ONCE, "POST /v1/datasources/orders/append", TinybirdAppendFileOperator, {"datasource": "orders", **JOB}
    ),
    "copy that appends": Case(
        ONCE, "POST /v0/pipes/p/copy", TinybirdCopyOperator, {"pipe": "p", "mode": "append", **JOB}
    ),
    "sink": Case(ONCE, "POST /v0/pipes/p/sink", TinybirdSinkOperator, {"pipe": "p", **JOB}),
    "populate": Case(
        ONCE, "POST /v0/pipes/p/nodes/n/population", TinybirdPopulateOperator, {"pipe": "p", "node": "n", **JOB}
    ),
    "copy that replaces": Case(
        REPEATABLE, "POST /v0/pipes/p/copy", TinybirdCopyOperator, {"pipe": "p", "mode": "replace", **JOB}
    ),
    "delete": Case(
        REPEATABLE,
        "POST /v0/datasources/orders/delete",
        TinybirdDeleteOperator,
        {"datasource": "orders", "delete_condition": "a = 1", "allow_all": True, **JOB},
    ),
    "query": Case(READ, "POST /v0/sql", TinybirdQueryOperator, {"sql": "SELECT 1 AS c"}),
    "endpoint": Case(READ, r"\w+ /v0/pipes/p.json", TinybirdEndpointOperator, {"pipe": "p"}),
}


class Store(dict[str, Any]):
    def set(self, key: str, value: Any, **_: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@dataclass(frozen=True)
class Ending:
    """What became of a task."""

    sent: int
    is_green: bool
    is_unknown: bool
    message: str

    @property
    def short(self) -> str:
        state = "green" if self.is_green else "red, outcome unknown" if self.is_unknown else "red"
        return f"{state}, sent {self.sent}x"


@pytest.fixture
def run(monkeypatch, tmp_path, caplog):
    """Run an operator against a server whose first answer goes wrong."""
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr("airflow_provider_tinybird.durable._LOOKS", (0.0, 0.0, 0.0))

    def run(name: str, fault: Fault, **changes: Any) -> Ending:
        case = CASES[name]
        arguments = dict(case.arguments) | changes
        if case.operator is TinybirdAppendFileOperator:
            path = tmp_path / "rows.ndjson"
            path.write_text('{"a": 1}\n')
            arguments["path"] = str(path)
        ti = SimpleNamespace(
            dag_id="d", task_id="t", run_id="r", try_number=1, max_tries=0, map_index=-1, xcom_push=lambda **_: None
        )
        context = {"ti": ti, "task_instance": ti, "task_state_store": Store(), "run_id": "r", "params": {}}
        with serving(case.target, fault) as server:
            connection = {
                "conn_type": "tinybird",
                "host": f"http://127.0.0.1:{server.server_port}",
                "password": TOKEN,
                "extra": {"timeout": 2},
            }
            monkeypatch.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", json.dumps(connection))
            try:
                case.operator(task_id="t", **arguments).execute(context)
            except (TinybirdError, AirflowFailException) as e:
                message = str(e)
                assert TOKEN not in message
                unknown = "not known whether" in message or "nknown whether" in message
                return Ending(server.times, False, unknown, message)
            return Ending(server.times, True, False, "")

    return run


REFUSALS = {f"{status} in Tinybird's words" for status in (400, 401, 403, 404, 405, 409, 411, 418, 422)}
BROKEN = {name for name in FAULTS if name.startswith(("connection", "answer", "chunked", "no HTTP"))}
PASSING = {f"{status} with a page" for status in (408, 421, 425, 429, 500, 502, 503, 504, 520, 524, 599)}
PASSING |= {f"{status} in Tinybird's words" for status in (429, 502, 503, 504)}


def expected(kind: str, fault: str) -> str:
    """What has to come of it."""
    if kind in (EVENTS, ONCE):
        # Only of events is it documented that 503 means that nothing was inserted.
        if fault == "429 in Tinybird's words" or (kind == EVENTS and fault == "503 in Tinybird's words"):
            return "green, sent 2x"
        return "red, sent 1x" if fault in REFUSALS else "red, outcome unknown, sent 1x"
    return "green, sent 2x" if fault in BROKEN | PASSING else "red, sent 1x"


@pytest.mark.parametrize("name", CASES)
def test_what_a_task_does(name, run):
    seen = {fault: run(name, behave).short for fault, behave in FAULTS.items()}
    assert seen == {fault: expected(CASES[name].kind, fault) for fault in FAULTS}


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.kind != READ and "timeout" in case.arguments]
)
@pytest.mark.parametrize("fault", SLOW)
def test_a_task_ends_where_no_answer_does(name, fault, run):
    ended = run(name, SLOW[fault], timeout=1)
    assert not ended.is_green
    assert ended.is_unknown == (CASES[name].kind == ONCE)
    assert ended.sent == 1


def table() -> str:
    """Write what has to come of each fault, those with the same endings together."""
    grouped: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for fault in FAULTS:
        grouped[tuple(expected(kind, fault) for kind in (EVENTS, ONCE, REPEATABLE, READ))].append(fault)
    names = {
        kind: ", ".join(name for name, case in CASES.items() if case.kind == kind)
        for kind in (EVENTS, ONCE, REPEATABLE, READ)
    }
    lines = ["| the first answer is | " + " | ".join(names.values()) + " |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {_together(faults)} | " + " | ".join(endings) + " |" for endings, faults in grouped.items()]
    return "\n".join(lines)


def _together(faults: list[str]) -> str:
    """Name statuses that differ in nothing else in one breath."""
    found: dict[str, list[str]] = defaultdict(list)
    for fault in faults:
        status, _, rest = fault.partition(" ")
        found[rest if status.isdigit() and status != "200" else fault].append(status)
    return "; ".join(key if key in faults else f"{', '.join(statuses)} {key}" for key, statuses in found.items())


def test_the_page_says_so():
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    if os.environ.get("WRITE_TABLE"):
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")
        written = table()
    assert written.strip() == table(), "write it again: WRITE_TABLE=1 python -m pytest tests/unit/faults"
