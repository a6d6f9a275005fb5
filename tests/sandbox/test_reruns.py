"""A hundred random reruns of every writer, over rows that were there before, were deleted, or were truncated: never green and short."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sandbox_process import SandboxProcess

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.loads.events import batch_counts, datasource_journal
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator, TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.pipes import (
    TinybirdCopyOperator,
    TinybirdCopyRangeOperator,
    TinybirdPopulateOperator,
)
from airflow_provider_tinybird.policies import target_rows

SCHEMA = "SCHEMA >\n    `day` Date `json:$.day`,\n    `v` UInt64 `json:$.v`"
ENGINE = '\n\nENGINE "MergeTree"\nENGINE_PARTITION_KEY "toYYYYMM(day)"\nENGINE_SORTING_KEY "day, v"\n'
COPY = (
    "NODE n\nSQL >\n    %\n    SELECT day, v{more} FROM src WHERE day >= {{{{ Date(start, '2026-01-01') }}}}"
    " AND day < {{{{ Date(end, '2026-02-01') }}}}\nTYPE copy\nTARGET_DATASOURCE {target}\nCOPY_MODE append\n"
)
VIEW = "NODE view\nSQL >\n    SELECT day, v FROM src\nTYPE materialized\nDATASOURCE viewed\n"
PROJECT = {
    "src.datasource": SCHEMA + ENGINE,
    "dst.datasource": SCHEMA + ENGINE,
    "viewed.datasource": SCHEMA + ENGINE,
    "batches.datasource": f"{SCHEMA},\n    `batch` String `json:$.batch` DEFAULT ''{ENGINE}",
    "stamped.datasource": f"{SCHEMA},\n    `copied_at` DateTime64(3){ENGINE}",
    "cp.pipe": COPY.format(more="", target="dst"),
    "cp_stamped.pipe": COPY.format(more=", now64(3) AS copied_at", target="stamped"),
    "view.pipe": VIEW,
}
ROWS = [{"day": f"2026-01-{1 + number % 20:02}", "v": number} for number in range(40)]
POOL = [ROWS[:20], ROWS[20:], ROWS, ROWS[:1]]
RUNS = itertools.count()


@dataclasses.dataclass(frozen=True)
class Box:
    """The sandbox with nothing of the provider in between."""

    client: httpx.Client
    files: Path

    def count(self, table: str) -> int:
        answer = self.client.post("/v0/sql", content=f"SELECT count() AS n FROM {table} FORMAT JSON")
        return int(answer.raise_for_status().json()["data"][0]["n"])

    def cut_next(self) -> None:
        """The next answer to events is lost, after its rows are in."""
        fault = {"match": {"path": "/v0/events"}, "cut": "after"}
        self.client.post("/sandbox/faults", json=fault).raise_for_status()


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SandboxProcess, Path]]:
    project, files = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("files")
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    with SandboxProcess("--project", project, "--files", files) as server:
        yield server, files


@pytest.fixture
def box(_server: tuple[SandboxProcess, Path], connection: Callable[..., None]) -> Iterator[Box]:
    server, files = _server
    server.reset()
    connection(server.base_url, server.token)
    with httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client:
        client.post("/sandbox/rows?name=src", content="\n".join(map(json.dumps, ROWS))).raise_for_status()
        client.post("/v0/datasources/viewed/truncate").raise_for_status()  # that went through the view
        yield Box(client, files)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_rows, "LOOKS", (0.0, 0.02))
    monkeypatch.setattr(datasource_journal, "_LOOKS", (0.0, 0.05))
    monkeypatch.setattr(datasource_journal, "_LAST_LOOK", 0.0)
    monkeypatch.setattr(datasource_journal, "_LAST_LOOKS", (0.0, 0.02))
    monkeypatch.setattr("airflow_provider_tinybird.loads.events.loader._WAITS", (0.01,) * 4)
    monkeypatch.setattr(batch_counts, "_POLL_INTERVAL", 0.05)


class Store(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def run(cls: type[Any], **arguments: Any) -> Any:
    """Run the one attempt of a new task."""
    events = cls is TinybirdEventsOperator
    looks = {} if events or cls is TinybirdTruncateOperator else {"poll_interval": 0.05}
    operator = cls(task_id="t", **looks, **arguments)
    ti = SimpleNamespace(max_tries=0, try_number=1, map_index=-1, dag_id="d", task_id="t", run_id=f"r{next(RUNS)}")
    return operator.execute({"ti": ti, "task_state_store": Store()})


@dataclasses.dataclass(frozen=True)
class Writer:
    """A writer: what runs it with some rows, which table it writes to, and whether its rows take the place of all others."""

    write: Callable[[Box, list[dict[str, Any]]], None]
    table: str = "dst"
    replaces: bool = False
    rows: list[dict[str, Any]] | None = None


def events(box: Box, rows: Any, **arguments: Any) -> None:
    run(TinybirdEventsOperator, **{"datasource": "dst", "data": rows, "pacing": False, **arguments})


def at_least_once(box: Box, rows: Any) -> None:
    box.cut_next()
    events(box, rows, delivery="at_least_once")


def once(box: Box, rows: Any) -> None:
    box.cut_next()
    events(box, rows, datasource="batches", delivery="exactly_once", batch_id_column="batch")


def file_of(box: Box, rows: Any) -> Path:
    path = box.files / "rows.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def interval(box: Box, rows: Any) -> None:
    span = {"start": "2026-01-01", "end": "2026-02-01"}
    run(TinybirdReplaceIntervalOperator, datasource="dst", column="day", data=rows, **span)


def windows(pipe: str) -> Callable[[Box, Any], None]:
    span = {"start": "2026-01-01", "end": "2026-02-01", "window": "week", "parameter_format": "%Y-%m-%d"}
    return lambda box, rows: run(TinybirdCopyRangeOperator, pipe=pipe, concurrency=2, **span)


def populate(**arguments: Any) -> Callable[[Box, Any], None]:
    return lambda box, rows: run(TinybirdPopulateOperator, pipe="view", node="view", **arguments)


def load(**arguments: Any) -> Callable[[Box, Any], None]:
    return lambda box, rows: run(TinybirdLoadOperator, datasource="dst", data=rows, **arguments)


def by_url(box: Box, rows: Any) -> None:
    url = f"{box.client.base_url}/files/{file_of(box, rows).name}"
    run(TinybirdAppendUrlOperator, datasource="dst", url=url, format="ndjson")


WRITERS = {
    "events": Writer(events),
    "events again after a lost answer": Writer(at_least_once),
    "events exactly once": Writer(once, "batches"),
    "load as events": Writer(load(via="events")),
    "load by files": Writer(load(via="files")),
    "load in place of all": Writer(load(mode="replace"), replaces=True),
    "append a file": Writer(
        lambda box, rows: run(TinybirdAppendFileOperator, datasource="dst", path=str(file_of(box, rows)))
    ),
    "append a URL": Writer(by_url),
    "interval": Writer(interval, replaces=True),
    "copy": Writer(lambda box, rows: run(TinybirdCopyOperator, pipe="cp"), rows=ROWS),
    "copy in place of all": Writer(
        lambda box, rows: run(TinybirdCopyOperator, pipe="cp", mode="replace"), replaces=True, rows=ROWS
    ),
    "windows": Writer(windows("cp"), rows=ROWS),
    "windows with the time of the copy": Writer(windows("cp_stamped"), "stamped", rows=ROWS),
    "populate": Writer(populate(), "viewed", rows=ROWS),
    "populate in place of all": Writer(populate(truncate=True), "viewed", replaces=True, rows=ROWS),
}
NEVER_RED = {
    "events exactly once",
    "load in place of all",
    "interval",
    "copy in place of all",
    "windows with the time of the copy",
    "populate in place of all",
}
"""Writers that a rerun leaves right, whatever was there before: the ways out."""


def delete(table: str, condition: str) -> None:
    run(TinybirdDeleteOperator, datasource=table, delete_condition=condition, allow_all=True)


PREPARATIONS: dict[str, Callable[[str], Any]] = {
    "nothing": lambda table: None,
    "delete all": lambda table: delete(table, "v >= 0"),
    "delete some": lambda table: delete(table, "v % 2 = 0"),
    "truncate": lambda table: run(TinybirdTruncateOperator, datasource=table),
}


def error_of(write: Callable[[], None]) -> str:
    try:
        write()
    except (AirflowFailException, TinybirdError) as e:
        return str(e)
    return ""


def rerun(box: Box, name: str, rows: list[dict[str, Any]]) -> str:
    """Run a writer: whether it was green, and if it was red, that it says why."""
    writer = WRITERS[name]
    before, expected = box.count(writer.table), len(writer.rows or rows)
    why = error_of(lambda: writer.write(box, rows))
    if why:
        assert "not there" in why, f"{name}: {why}"
        assert name not in NEVER_RED, f"{name}: {why}"
        return "red"
    found = box.count(writer.table)
    assert found == (expected if writer.replaces else before + expected), f"{name} is green"
    return "green"


@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_random_reruns(box, seed):
    choose = random.Random(seed)
    ended: Counter[str] = Counter()
    for _ in range(25):
        name = choose.choice(list(WRITERS))
        preparation = choose.choice(list(PREPARATIONS))
        PREPARATIONS[preparation](WRITERS[name].table)
        ended[rerun(box, name, choose.choice(POOL))] += 1
    print(f"\n[reruns] seed {seed}: {dict(ended)}, none green and short")
    assert ended["green"] >= 5
    assert ended["red"] >= 1


@pytest.mark.parametrize("name", WRITERS)
def test_delete_and_write_the_same_again(box, name):
    """What the documented backfill did: right, or red with the way out; and a truncate makes each of them right."""
    writer = WRITERS[name]
    assert rerun(box, name, ROWS) == "green"
    delete(writer.table, "v >= 0")
    assert box.count(writer.table) == 0
    assert rerun(box, name, ROWS) == ("green" if name in NEVER_RED else "red")
    PREPARATIONS["truncate"](writer.table)
    assert rerun(box, name, ROWS) == "green"
