"""Operators of every kind, and what becomes of them at a server whose first answer goes wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faulty_tinybird import Fault, Tinybird, serving

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api import client
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.tries import Try
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.operators.pipes import (
    TinybirdCopyOperator,
    TinybirdEndpointOperator,
    TinybirdPopulateOperator,
    TinybirdSinkOperator,
)
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

TOKEN = "p.eyJ1IjogInNlY3JldCJ9.very-secret"
EVENTS, LOADS, COPIES, REPLACES, READS, POLLS = "events", "appends", "copies", "replaces", "reads", "polls"
JOB = {"deferrable": False, "poll_interval": 0.01, "timeout": 20}
EVENT = {"datasource": "orders", "data": [{"a": 1}]}
URL = {"datasource": "orders", "url": "https://files.example/a.ndjson", "format": "ndjson", **JOB}
SUBMITS_FILE = r"POST /v1/datasources/orders/(append|replace)"
ROW = '{"a": 1, "batch": "x"}\n'


@dataclass(frozen=True)
class Case:
    """An operator, and the request that goes wrong.

    :param kind: how safe that request is to repeat, and how it is told whether it was done.
    """

    kind: str
    target: str
    operator: Any
    arguments: dict[str, Any] = field(default_factory=dict)


CASES = {
    "events": Case(EVENTS, "POST /v0/events", TinybirdEventsOperator, EVENT),
    "append by URL": Case(LOADS, "POST /v0/datasources", TinybirdAppendUrlOperator, URL),
    "append of a file": Case(LOADS, SUBMITS_FILE, TinybirdAppendFileOperator, {"datasource": "orders", **JOB}),
    "load by files": Case(LOADS, SUBMITS_FILE, TinybirdLoadOperator, {**EVENT, "via": "files", **JOB}),
    "copy that appends": Case(
        COPIES, "POST /v0/pipes/p/copy", TinybirdCopyOperator, {"pipe": "p", "mode": "append", **JOB}
    ),
    "sink": Case(COPIES, "POST /v0/pipes/p/sink", TinybirdSinkOperator, {"pipe": "p", **JOB}),
    "populate": Case(
        COPIES, "POST /v0/pipes/p/nodes/n/population", TinybirdPopulateOperator, {"pipe": "p", "node": "n", **JOB}
    ),
    "copy that replaces": Case(
        REPLACES, "POST /v0/pipes/p/copy", TinybirdCopyOperator, {"pipe": "p", "mode": "replace", **JOB}
    ),
    "replace by URL": Case(REPLACES, "POST /v0/datasources", TinybirdAppendUrlOperator, {**URL, "mode": "replace"}),
    "replace by a file": Case(
        REPLACES, SUBMITS_FILE, TinybirdAppendFileOperator, {"datasource": "orders", "mode": "replace", **JOB}
    ),
    "delete": Case(
        REPLACES,
        "POST /v0/datasources/orders/delete",
        TinybirdDeleteOperator,
        {"datasource": "orders", "delete_condition": "a = 1", "allow_all": True, **JOB},
    ),
    "query": Case(READS, "POST /v0/sql", TinybirdQueryOperator, {"sql": "SELECT 1 AS c"}),
    "endpoint": Case(READS, r"\w+ /v0/pipes/p.json", TinybirdEndpointOperator, {"pipe": "p"}),
    "poll of a copy": Case(POLLS, "GET /v0/jobs/.*", TinybirdCopyOperator, {"pipe": "p", "mode": "append", **JOB}),
    "poll of an import": Case(POLLS, "GET /v0/jobs/.*", TinybirdAppendUrlOperator, URL),
}


@dataclass(frozen=True)
class Ended:
    """What became of a task.

    :param sent: times that the request in question came.
    :param is_green: whether the task is.
    :param is_unknown: whether it says that it is not known what was done.
    :param is_retried: whether Airflow's own retries are left on.
    :param message: why it is red.
    :param rows: rows that are there, of events.
    """

    sent: int
    is_green: bool
    is_unknown: bool = False
    is_retried: bool = False
    message: str = field(default="", compare=False)
    rows: int = field(default=0, compare=False)


class Store(dict[str, Any]):
    """Stands for Airflow's task state store."""

    def set(self, key: str, value: Any, **_: Any) -> None:
        """Keep JSON."""
        self[key] = json.loads(json.dumps(value))


@contextmanager
def impatient() -> Iterator[None]:
    """Take away the pauses between tries, and shorten the time that each try has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda _: None))
        for name, pauses in {
            "jobs.start._LOOKS": (0.0, 0.0, 0.0),
            "jobs.watch.FIND_PAUSES": (0.0, 0.0, 0.0),
            "jobs.watch.SHORTEST_PAUSE": 0.01,
            "loads.events.datasource_journal._LOOKS": (0.0, 0.0, 0.0),
            "loads.events.datasource_journal._LAST_LOOKS": (0.0, 0.0, 0.0),
            "loads.events.datasource_journal._LAST_LOOK": 0.0,
            "loads.events.loader._WAITS": (0.0, 0.0, 0.0, 0.0),
            "loads.events.loader.backoff": lambda *_: 0.0,
        }.items():
            patch.setattr(f"airflow_provider_tinybird.{name}", pauses)
        yield


@contextmanager
def short_tries(seconds: float) -> Iterator[None]:
    """Give each try of a call so many seconds, whatever it asks for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_try", lambda _settings, _call, deadline: Try(seconds, deadline))
        yield


def run(
    case: Case, fault: Fault, folder: Path, caplog: pytest.LogCaptureFixture, *, takes: bool = True, **changes: Any
) -> Ended:
    """Run a case at a server whose first answer goes wrong.

    :param takes: whether Tinybird does what it was asked for all the same.
    :param changes: arguments that are other than those of the case.
    """
    with serving(case.target, fault, takes=takes) as server:
        return run_at(case, f"http://127.0.0.1:{server.server_port}", server, folder, caplog, **changes)


def run_at(
    case: Case, url: str, server: Tinybird, folder: Path, caplog: pytest.LogCaptureFixture, **changes: Any
) -> Ended:
    """Run a case at a server."""
    arguments = {**case.arguments, **changes}
    if case.operator is TinybirdAppendFileOperator and "path" not in arguments:
        path = folder / "rows.ndjson"
        path.write_text(ROW)
        arguments["path"] = str(path)
    ti = SimpleNamespace(
        dag_id="d", task_id="t", run_id="r", try_number=1, max_tries=0, map_index=-1, xcom_push=lambda **_: None
    )
    context: Any = {"ti": ti, "task_instance": ti, "task_state_store": Store(), "run_id": "r", "params": {}}
    connection = {"conn_type": "tinybird", "host": url, "password": TOKEN, "extra": {"timeout": 5, "max_retries": 3}}
    caplog.clear()
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.DEBUG):
        patch.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", json.dumps(connection))
        try:
            case.operator(task_id="t", **arguments).execute(context)
        except (TinybirdError, AirflowFailException) as e:
            ended = Ended(
                server.times,
                is_green=False,
                is_unknown="nknown" in str(e) or "not known" in str(e),
                is_retried=not isinstance(e, AirflowFailException),
                message=str(e),
                rows=len(server.rows),
            )
        else:
            ended = Ended(server.times, is_green=True, rows=len(server.rows))
    assert TOKEN not in ended.message
    assert TOKEN not in caplog.text
    return ended


Runner = Callable[..., Ended]
