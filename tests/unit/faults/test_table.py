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
ONCE, REPEATABLE, READ = "must be done once", "can be repeated", "reads"
JOB = {"deferrable": False, "poll_interval": 0.05, "timeout": 20}


@dataclass(frozen=True)
class Case:
    """An operator, the request that goes wrong, and how safe that is to repeat."""

    kind: str
    target: str
    operator: Any
    arguments: dict[str, Any]


CASES = {
    "events": Case(ONCE, "POST /v0/events", TinybirdEventsOperator, {"datasource": "orders", "data": [{"a": 1}]}),
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
        return f"{state}, sent {self.sent}×"


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
