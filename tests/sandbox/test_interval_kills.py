"""Intervals replaced again and again, from several processes at a time that are killed (SIGKILL) in between: rows and checksum are
those of one clean run.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.operators.interval import TinybirdReplaceIntervalOperator

CHECKSUM = "SELECT count() AS rows, sum(cityHash64(toString(at), n, carrier)) AS checksum FROM "
MOST_CALLS = 22
"""Calls of the API that a run makes, or more."""


@dataclass(frozen=True)
class Case:
    """A data source, and intervals that are replaced at the same time.

    :param kind: type of the column.
    :param partition: partition key.
    :param first: first moment of the first interval.
    :param hours: length of each interval.
    :param timezone: whose days a column of days counts.
    """

    kind: str
    partition: str
    first: dt.datetime
    hours: tuple[int, ...]
    timezone: str = "UTC"

    def intervals(self) -> list[tuple[dt.datetime, dt.datetime]]:
        found, start = [], self.first
        for hours in self.hours:
            found.append((start, start + dt.timedelta(hours=hours)))
            start = found[-1][1]
        return found

    def rows(self, start: dt.datetime, end: dt.datetime, *, carrier: str, every: int = 1) -> list[dict[str, Any]]:
        """A row for each hour, or for every so many."""
        count = int((end - start) / dt.timedelta(hours=1))
        moments = [start + dt.timedelta(hours=hour) for hour in range(0, count, every)]
        return [{"at": self.text(one), "n": int(one.timestamp()) // 3600, "carrier": carrier} for one in moments]

    def text(self, moment: dt.datetime) -> str:
        if self.kind == "Date":
            import zoneinfo

            return moment.astimezone(zoneinfo.ZoneInfo(self.timezone)).date().isoformat()
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def new_rows(self, number: int) -> list[dict[str, Any]]:
        """Rows of an interval: only of its first half, so that old ones would be left in partitions by day."""
        start, end = self.intervals()[number]
        middle = start + dt.timedelta(hours=int((end - start) / dt.timedelta(hours=2)))
        return self.rows(start, middle, carrier=f"new {number}")

    def replace(self, name: str, number: int) -> None:
        """Run the operator on an interval."""
        start, end = self.intervals()[number]
        TinybirdReplaceIntervalOperator(
            task_id="t",
            datasource=name,
            column="at",
            data=self.new_rows(number),
            start=start,
            end=end,
            timezone=self.timezone,
            poll_interval=0.05,
        ).execute({})


MONTH_END = Case("DateTime64(3)", "toYYYYMM(at)", dt.datetime(2013, 1, 28, tzinfo=dt.UTC), (48, 48, 48, 48))
# In Madrid the last Sunday of March has 23 hours, the last one of October 25.
SPRING = Case("DateTime('Europe/Madrid')", "toDate(at)", dt.datetime(2013, 3, 29, 23, tzinfo=dt.UTC), (24, 23, 24, 24))
AUTUMN = Case("Date", "at", dt.datetime(2013, 10, 24, 22, tzinfo=dt.UTC), (48, 49, 48, 48), "Europe/Madrid")


class Tasks:
    """Mapped tasks, each run several times, and each attempt a process of its own."""

    def __init__(self, case: Case, name: str, runs: int, seed: int, log: Path) -> None:
        self.case, self.name, self.log = case, name, log
        self.left = dict.fromkeys(range(len(case.hours)), runs)
        self.random = random.Random(seed)
        self.killed = 0
        self._running: dict[int, tuple[int, bool]] = {}

    def run(self) -> None:
        for number in self.left:
            self._start(number, dies=True)
        while self._running:
            pid, status = os.wait()
            number, dies = self._running.pop(pid)
            if os.WIFSIGNALED(status):
                assert dies
                self.killed += 1
                self._start(number, dies=self.random.random() < 0.3)
                continue
            assert os.WEXITSTATUS(status) == 0, self.log.read_text()
            self.left[number] -= 1
            if self.left[number]:
                self._start(number, dies=self.random.random() < 0.8)

    def _start(self, number: int, *, dies: bool) -> None:
        at, before = self.random.randint(1, MOST_CALLS) if dies else 0, self.random.random() < 0.5
        pid = os.fork()
        if pid:
            self._running[pid] = (number, dies)
            return
        try:
            _die_at(at, before)
            self.case.replace(self.name, number)
        except BaseException:
            self.log.write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)


def _die_at(number: int, before: bool) -> None:
    send, calls = Client.send, []

    def sending(client: Client, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if before and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = send(client, *args, **kwargs)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Client.send = sending  # type: ignore[method-assign]  # in a process that is about to end


def make(box: Any, case: Case, name: str) -> None:
    schema = f"at {case.kind} `json:$.at`, n Int64 `json:$.n`, carrier String `json:$.carrier`"
    params = {"mode": "create", "name": name, "schema": schema, "engine_sorting_key": "n"}
    answer = box._http.post("/v0/datasources", params={**params, "engine_partition_key": case.partition})
    assert answer.status_code == 200, answer.text


def put(box: Any, name: str, rows: list[dict[str, Any]]) -> None:
    lines = "\n".join(map(json.dumps, rows))
    answer = box._http.post(f"/v0/datasources?name={name}&mode=append&format=ndjson", content=lines)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("case", "runs", "seed"), [(MONTH_END, 5, 1), (SPRING, 5, 2), (AUTUMN, 5, 3)], ids=["month end", "spring", "autumn"]
)
def test_rows_and_checksum_are_those_of_one_clean_run(box, tmp_path, case, runs, seed):
    day = dt.timedelta(days=1)
    before, behind = case.first - day, case.intervals()[-1][1] + day
    outside = [*case.rows(before, case.first, carrier="stays"), *case.rows(behind - day, behind, carrier="stays")]
    for name in ("clean", "killed"):
        make(box, case, name)
        put(box, name, [*outside, *case.rows(case.first, behind - day, carrier="old")])
    for number in range(len(case.hours)):
        case.replace("clean", number)

    tasks = Tasks(case, "killed", runs, seed, tmp_path / "log")
    tasks.run()
    assert set(tasks.left.values()) == {0}
    assert tasks.killed >= runs
    assert box.rows(f"{CHECKSUM}killed") == box.rows(f"{CHECKSUM}clean")
    new = sum(len(case.new_rows(number)) for number in range(len(case.hours)))
    carriers = "SELECT countIf(carrier = 'stays') AS stays, countIf(startsWith(carrier, 'new')) AS new, count() AS all FROM killed"
    assert box.rows(carriers) == [{"stays": 48, "new": new, "all": 48 + new}]
