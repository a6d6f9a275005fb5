"""TinybirdReplaceIntervalOperator against the sandbox: each row of the interval once, whatever happens in between."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import gzip
import importlib
import json
import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from background import Background

from airflow_provider_tinybird._compat import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.operators import interval
from airflow_provider_tinybird.operators.interval import (
    EmptyIntervalError,
    IntervalNotReplacedError,
    TinybirdReplaceIntervalOperator,
)

DAY = dt.timedelta(days=1)


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)


def table(box: Any, name: str, kind: str, partition: str | None, *, more: str = "") -> str:
    """Make a data source with a column ``at`` of some type."""
    schema = f"at {kind} `json:$.at`, n Int64 `json:$.n`, carrier String `json:$.carrier`{more}"
    params = {"mode": "create", "name": name, "schema": schema, "engine_sorting_key": "n"}
    if partition:
        params["engine_partition_key"] = partition
    answer = box._http.post("/v0/datasources", params=params)
    assert answer.status_code == 200, answer.text
    return name


def put(box: Any, name: str, rows: list[dict[str, Any]]) -> None:
    lines = "\n".join(json.dumps(row) for row in rows)
    answer = box._http.post(f"/v0/datasources?name={name}&mode=append&format=ndjson", content=lines)
    assert answer.status_code == 200, answer.text


def hourly(start: dt.datetime, hours: int, *, days_only: bool = False, carrier: str = "new") -> list[dict[str, Any]]:
    """One row for each hour, as JSON has it."""
    moments = [start + dt.timedelta(hours=hour) for hour in range(hours)]
    texts = [moment.date().isoformat() if days_only else moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]
    return [{"at": text, "n": number, "carrier": carrier} for number, text in enumerate(texts)]


def swap(name: str, start: dt.datetime, end: dt.datetime, data: Any, **arguments: Any) -> Any:
    operator = TinybirdReplaceIntervalOperator(
        task_id="t", datasource=name, column="at", data=data, start=start, end=end, poll_interval=0.05, **arguments
    )
    return operator.execute({})


def shape(box: Any, name: str) -> list[dict[str, Any]]:
    return box.rows(f"SELECT carrier, count() AS rows FROM {name} GROUP BY carrier ORDER BY carrier")


def counts(**carriers: int) -> list[dict[str, Any]]:
    return [{"carrier": name, "rows": count} for name, count in sorted(carriers.items())]


@pytest.fixture(autouse=True)
def _no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job wrote is there at once in the sandbox."""
    monkeypatch.setattr(interval, "_LOOKS", (0.0,))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logger = logging.getLogger("own.log")
    monkeypatch.setattr(TinybirdReplaceIntervalOperator, "log", property(lambda _: logger), raising=False)
    caplog.set_level("INFO")
    return caplog


TYPES = [
    "Date",
    "Date32",
    "DateTime",
    "DateTime('Europe/Madrid')",
    "DateTime64(3)",
    "DateTime64(6, 'America/New_York')",
]


class TestEdges:
    """Half-open in UTC, whatever the type and its zone; over the end of a month."""

    @pytest.mark.parametrize("partition", ["toYYYYMM(at)", "toDate(at)"])
    @pytest.mark.parametrize("kind", TYPES)
    def test_rows_before_and_behind_stay(self, box, kind, partition):
        name = table(box, "t1", kind, partition)
        days_only = kind.startswith("Date") and "Time" not in kind
        old = hourly(utc(2013, 1, 30), 96, days_only=days_only, carrier="old")
        put(box, name, old)
        new = hourly(utc(2013, 1, 31), 48, days_only=days_only)
        for _ in range(2):
            value = swap(name, utc(2013, 1, 31), utc(2013, 2, 2), new)
        assert shape(box, name) == counts(new=48, old=48)
        edges = box.rows(
            f"SELECT toUnixTimestamp(min(at)) AS a, toUnixTimestamp(max(at)) AS b FROM {name} WHERE carrier = 'new'"
        )
        last = utc(2013, 2, 1) if days_only else utc(2013, 2, 1, 23)
        assert edges == [{"a": int(utc(2013, 1, 31).timestamp()), "b": int(last.timestamp())}]
        assert (value["rows"], value["rows_deleted"]) == (48, 0)

    def test_local_days_over_the_change_of_the_clock(self, box):
        """The last Sunday of March has 23 hours in Madrid; its days are the column's."""
        name = table(box, "t1", "Date", "toYYYYMM(at)")
        put(box, name, [{"at": f"2013-03-{day}", "n": 1, "carrier": "old"} for day in (30, 31)])
        new = [{"at": "2013-03-31", "n": 2, "carrier": "new"}]
        swap(name, utc(2013, 3, 30, 23), utc(2013, 3, 31, 22), new, timezone="Europe/Madrid")
        assert shape(box, name) == counts(new=1, old=1)

    def test_an_interval_of_an_hour_that_comes_twice(self, box):
        """At the end of October the clock of Madrid shows 02:00 to 03:00 twice: instants are told apart."""
        name = table(box, "t1", "DateTime('Europe/Madrid')", "toYYYYMM(at)")
        put(box, name, hourly(utc(2013, 10, 27), 4, carrier="old"))
        swap(name, utc(2013, 10, 27, 1), utc(2013, 10, 27, 2), hourly(utc(2013, 10, 27, 1), 1))
        assert shape(box, name) == counts(new=1, old=3)

    def test_half_a_day_is_no_interval_of_days(self, box):
        name = table(box, "t1", "Date", None)
        with pytest.raises(AirflowFailException, match="is not of whole"):
            swap(name, utc(2013, 1, 1, 12), utc(2013, 1, 2), [])

    def test_a_run_without_length_says_what_to_do(self, box):
        name = table(box, "t1", "Date", None)
        with pytest.raises(AirflowFailException, match="CronTriggerTimetable"):
            swap(name, utc(2013, 1, 1), utc(2013, 1, 1), [])

    def test_the_run_has_the_interval(self, box):
        name = table(box, "t1", "Date", "at")
        operator = TinybirdReplaceIntervalOperator(
            task_id="t", datasource=name, column="at", data=[{"at": "2013-01-01", "n": 1, "carrier": "new"}]
        )
        value = operator.execute({"data_interval_start": utc(2013, 1, 1), "data_interval_end": utc(2013, 1, 2)})
        assert (value["start"], value["end"]) == ("2013-01-01", "2013-01-02")
        with pytest.raises(AirflowFailException, match="has no data interval"):
            operator.execute({})


class TestLeftOver:
    """Old rows in partitions that no new row is in."""

    @pytest.mark.parametrize(
        ("kind", "partition", "more"),
        [
            ("Date", "at", ""),
            ("DateTime('Europe/Madrid')", "toDate(at)", ""),
            ("DateTime64(3)", "toYYYYMM(at), carrier", ""),
            ("DateTime", "toStartOfHour(at)", ""),
            ("DateTime", "carrier", ""),
        ],
    )
    def test_are_deleted(self, box, kind, partition, more):
        name = table(box, "t1", kind, partition, more=more)
        days_only = kind == "Date"
        put(
            box,
            name,
            [
                {**row, "at": row["at"].replace("01-31", "01-30")}
                for row in hourly(utc(2013, 1, 31), 5, days_only=days_only, carrier="old")
            ],
        )
        put(box, name, hourly(utc(2013, 1, 31), 30, days_only=days_only, carrier="old"))
        new = hourly(utc(2013, 1, 31), 5, days_only=days_only)
        value = swap(name, utc(2013, 1, 30), utc(2013, 2, 1), new)
        assert shape(box, name) == counts(new=5, old=6)
        assert value["rows_deleted"] >= 5

    def test_an_url_cannot_tell_and_is_red(self, box):
        name = table(box, "t1", "Date", "at")
        put(box, name, [{"at": "2013-01-01", "n": 1, "carrier": "old"}])
        (box.files / "day.ndjson").write_text('{"at": "2013-01-02", "n": 1, "carrier": "new"}\n')
        with pytest.raises(IntervalNotReplacedError, match="could not be told here"):
            swap(name, utc(2013, 1, 1), utc(2013, 1, 3), None, url=f"{box.url}/files/day.ndjson", format="ndjson")

    @pytest.mark.parametrize("engine", ["MergeTree", "ReplacingMergeTree"])
    @pytest.mark.parametrize(
        ("default", "rows"), [("String DEFAULT 'UA'", [{}, {}]), ("Nullable(String)", [{}, {"carrier": None}])]
    )
    def test_new_rows_in_a_partition_by_default_are_not_taken_for_old(self, box, engine, default, rows):
        """A row that lacks a column of the partition key is in the partition of the column's default."""
        schema = f"at DateTime `json:$.at`, n Int64 `json:$.n`, carrier {default} `json:$.carrier`"
        params = {"mode": "create", "name": "t1", "schema": schema, "engine": engine, "engine_sorting_key": "n"}
        params |= {"engine_partition_key": "carrier, toDate(at)", "engine_settings": "allow_nullable_key=1"}
        answer = box._http.post("/v0/datasources", params=params)
        assert answer.status_code == 200, answer.text
        new = [{"at": f"2013-01-01 0{n}:00:00", "n": n, **row} for n, row in enumerate(rows)]
        value = swap("t1", utc(2013, 1, 1), utc(2013, 1, 3), new)
        assert (value["rows"], value["rows_deleted"]) == (2, 0)
        assert box.count("t1") == 2

    def test_new_rows_in_a_partition_by_the_clock_are_not_taken_for_old(self, box):
        name = table(box, "t1", "DateTime", "toYYYYMM(came)", more=", came DateTime DEFAULT now() `json:$.came`")
        value = swap(name, utc(2013, 1, 1), utc(2013, 1, 2), hourly(utc(2013, 1, 1), 3))
        assert (value["rows"], box.count("t1")) == (3, 3)

    def test_nothing_is_deleted_where_the_new_rows_are_not_where_they_were_reckoned(self, box, tmp_path):
        """Spaces around a value of CSV, which ClickHouse cuts off."""
        name = table(box, "t1", "DateTime", "carrier")
        put(box, name, hourly(utc(2013, 1, 1), 5, carrier="old"))
        path = tmp_path / "x.csv"
        path.write_text("at,n,carrier\n2013-01-01 00:00:00,1,  UA  \n2013-01-01 01:00:00,2,  UA  \n")
        with pytest.raises(IntervalNotReplacedError, match="Nothing was deleted"):
            swap(name, utc(2013, 1, 1), utc(2013, 1, 2), None, path=str(path))
        assert shape(box, name) == counts(UA=2, old=5)


class TestOutside:
    @pytest.mark.parametrize("source", ["records", "pandas", "csv", "ndjson", "parquet"])
    def test_is_refused_before_anything_is_sent(self, box, tmp_path, source):
        name = table(box, "t1", "DateTime", "toYYYYMM(at)")
        put(box, name, hourly(utc(2013, 1, 1), 24, carrier="old"))
        given = given_as(source, hourly(utc(2013, 1, 1), 25), tmp_path)
        with pytest.raises(AirflowFailException, match="1 of 25 rows are outside the interval"):
            swap(name, utc(2013, 1, 1), utc(2013, 1, 2), **given)
        assert shape(box, name) == counts(old=24)

    @pytest.mark.parametrize("source", ["records", "pandas", "csv", "ndjson", "parquet"])
    def test_can_be_left_out(self, box, tmp_path, source):
        name = table(box, "t1", "DateTime", "toYYYYMM(at)")
        put(box, name, hourly(utc(2013, 1, 1), 26, carrier="old"))
        given = given_as(source, hourly(utc(2013, 1, 1), 25), tmp_path)
        value = swap(name, utc(2013, 1, 1), utc(2013, 1, 2), outside="drop", **given)
        assert shape(box, name) == counts(new=24, old=2)
        assert value["rows"] == 24

    def test_of_an_url_is_noticed(self, box):
        name = table(box, "t1", "Date", "at")
        (box.files / "day.ndjson").write_text(
            "".join(f'{{"at": "2013-01-0{day}", "n": 1, "carrier": "new"}}\n' for day in (1, 2, 3))
        )
        with pytest.raises(IntervalNotReplacedError, match="outside the interval are left out"):
            swap(name, utc(2013, 1, 1), utc(2013, 1, 3), None, url=f"{box.url}/files/day.ndjson", format="ndjson")


def given_as(source: str, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    frame = pd.DataFrame(rows).assign(at=lambda one: pd.to_datetime(one["at"]))
    path = folder / {"csv": "x.csv.gz", "ndjson": "x.ndjson", "parquet": "x.parquet"}.get(source, "none")
    if source == "records":
        return {"data": rows}
    if source == "pandas":
        return {"data": frame}
    if source == "csv":
        with gzip.open(path, "wt", newline="") as file:
            writer = csv.DictWriter(file, ["n", "at", "carrier"])
            writer.writeheader()
            writer.writerows({**row, "at": row["at"].replace("T", " ").rstrip("Z")} for row in rows)
    elif source == "ndjson":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return {"data": None, "path": str(path)}


class TestEmpty:
    def test_fails(self, box):
        name = table(box, "t1", "Date", "at")
        put(box, name, [{"at": "2013-01-01", "n": 1, "carrier": "old"}])
        with pytest.raises(EmptyIntervalError, match="Nothing was changed"):
            swap(name, utc(2013, 1, 1), utc(2013, 1, 2), [])
        assert shape(box, name) == counts(old=1)

    def test_skips(self, box):
        name = table(box, "t1", "Date", "at")
        put(box, name, [{"at": "2013-01-01", "n": 1, "carrier": "old"}])
        with pytest.raises(AirflowSkipException):
            swap(name, utc(2013, 1, 1), utc(2013, 1, 2), [], on_empty="skip")
        assert shape(box, name) == counts(old=1)

    def test_deletes(self, box):
        name = table(box, "t1", "Date", "at")
        put(box, name, [{"at": f"2013-01-0{day}", "n": 1, "carrier": "old"} for day in (1, 2)])
        value = swap(name, utc(2013, 1, 1), utc(2013, 1, 2), [], on_empty="delete")
        assert shape(box, name) == counts(old=1)
        assert (value["rows"], value["rows_deleted"]) == (0, 1)


def test_nothing_is_sent_beside_a_job_that_does_not_end(box):
    """Another import into the same partitions loses rows: where it does not end in time, the task is red and has sent nothing."""
    name = table(box, "t1", "DateTime", "toYYYYMM(at)")
    box.plan_job(name, hold="working")
    (box.files / "day.ndjson").write_text('{"at": "2013-01-01 00:00:00", "n": 1, "carrier": "other"}\n')
    other = box.post(f"/v0/datasources?name={name}&mode=append&format=ndjson&url={box.url}/files/day.ndjson")["id"]
    with pytest.raises(TinybirdError, match=f"Nothing was sent.*{other}"):
        swap(name, utc(2013, 1, 1), utc(2013, 1, 2), hourly(utc(2013, 1, 1), 3), timeout=5)
    assert [(job["id"], job["status"]) for job in box.jobs()] == [(other, "working")]


@pytest.mark.parametrize("has_store", [True, False])
def test_what_was_there_before_is_what_the_first_attempt_found(box, monkeypatch, has_store):
    name = table(box, "t1", "Date", "toYYYYMM(at)")
    put(box, name, [{"at": f"2013-01-{day}", "n": 1, "carrier": "old"} for day in (10, 11, 20)])
    store = SimpleNamespace(kept={})
    store.get, store.set = store.kept.get, store.kept.__setitem__

    def run(try_number: int, max_tries: int = 3) -> Any:
        context: dict[str, Any] = {"ti": SimpleNamespace(try_number=try_number, max_tries=max_tries, map_index=-1)}
        if has_store:
            context["task_state_store"] = store
        new = hourly(utc(2013, 1, 10), 5, days_only=True)
        times = {"start": utc(2013, 1, 10), "end": utc(2013, 1, 12), "poll_interval": 0.05}
        operator = TinybirdReplaceIntervalOperator(
            task_id="t", datasource=name, column="at", data=new, retries=3, **times
        )
        return operator.execute(context)

    with monkeypatch.context() as patch:
        patch.setattr(TinybirdReplaceIntervalOperator, "_verified", lambda *_: worker_dies())
        with pytest.raises(KeyboardInterrupt):
            run(1)
    assert shape(box, name) == counts(new=5, old=1)
    value = run(2)
    assert (value["rows_before"], value["rows"]) == (2 if has_store else 5, 5)
    cleared = run(3, max_tries=5)
    assert (cleared["rows_before"], cleared["rows"]) == (5, 5)


def worker_dies() -> None:
    raise KeyboardInterrupt


class TestWarnings:
    def test_partly_in_a_partition(self, box, said):
        name = table(box, "t1", "Date", "toYYYYMM(at)")
        swap(name, utc(2013, 1, 1), utc(2013, 1, 2), [{"at": "2013-01-01", "n": 1, "carrier": "new"}])
        assert "begins or ends within a partition of 't1' (toYYYYMM(at))" in said.text

    def test_whole_partitions(self, box, said):
        name = table(box, "t1", "DateTime", "toYYYYMM(at)")
        swap(name, utc(2013, 1, 1), utc(2013, 2, 1), [{"at": "2013-01-01 00:00:00", "n": 1, "carrier": "new"}])
        assert "begins or ends within" not in said.text

    def test_views_that_cannot_follow(self, box, said):
        rows = [{"day": "2013-01-01", "carrier": "UA", "delay": 1}]
        operator = TinybirdReplaceIntervalOperator(
            task_id="t", datasource="flights", column="day", data=rows, start=utc(2013, 1, 1), end=utc(2013, 2, 1)
        )
        operator.execute({})
        assert "cannot follow the replace: by_carrier" in said.text


def test_rows_in_quarantine_are_not_missed(box):
    name = table(box, "t1", "Date", "toYYYYMM(at)")
    rows = [{"at": "2013-01-01", "n": n, "carrier": "new"} for n in (1, "many", 3)]
    value = swap(name, utc(2013, 1, 1), utc(2013, 1, 2), rows, on_quarantine="warn")
    assert (value["rows"], value["quarantine_rows"]) == (2, 1)


def test_deferred_at_each_job(box, monkeypatch):
    """The import and the delete of what is left over, each through its trigger, with what is stored in between as JSON."""
    wait = TinybirdReplaceIntervalOperator.wait_for_job
    monkeypatch.setattr(
        TinybirdReplaceIntervalOperator, "wait_for_job", lambda *args, patience=0: wait(*args, patience=0.0)
    )
    name = table(box, "t1", "Date", "at")
    put(box, name, [{"at": f"2013-01-0{day}", "n": 1, "carrier": "old"} for day in (1, 2, 3)])
    rows = [{"at": "2013-01-01", "n": 1, "carrier": "new"}]

    def made() -> TinybirdReplaceIntervalOperator:
        return TinybirdReplaceIntervalOperator(
            task_id="t",
            datasource=name,
            column="at",
            data=rows,
            start=utc(2013, 1, 1),
            end=utc(2013, 1, 3),
            deferrable=True,
            poll_interval=0.05,
        )

    waits = []
    step = partial(made().execute, {})
    while True:
        try:
            value = step()
            break
        except TaskDeferred as wait_:
            waits.append(wait_)
            event = asyncio.run(only_event(*json.loads(json.dumps(wait_.trigger.serialize()))))
            step = partial(getattr(made(), wait_.method_name), {}, event, **json.loads(json.dumps(wait_.kwargs or {})))
    assert len(waits) == 2
    assert shape(box, name) == counts(new=1, old=1)
    assert (value["rows"], value["rows_deleted"]) == (1, 1)


async def only_event(path: str, arguments: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    (event,) = [one.payload async for one in getattr(importlib.import_module(module), name)(**arguments).run()]
    return event


def test_kill_cancels_its_job_and_old_rows_stay(box):
    name = table(box, "t1", "Date", "at")
    put(box, name, [{"at": "2013-01-01", "n": 1, "carrier": "old"}])
    box.plan_job(name, hold="waiting")
    operator = TinybirdReplaceIntervalOperator(
        task_id="t",
        datasource=name,
        column="at",
        data=[{"at": "2013-01-01", "n": 1, "carrier": "new"}],
        start=utc(2013, 1, 1),
        end=utc(2013, 1, 2),
    )
    running = Background(operator)
    running.start()
    running.wait_for_job()
    operator.on_kill()
    running.join(30)
    assert [job["status"] for job in box.jobs()] == ["cancelled"]
    assert shape(box, name) == counts(old=1)
    assert "was cancelled" in str(running.error)


def test_another_workspace_is_left_alone(box):
    name = table(box, "t1", "Date", "at")
    put(box, name, [{"at": "2013-01-01", "n": 1, "carrier": "old"}])
    rows = [{"at": "2013-01-01", "n": 1, "carrier": "new"}]
    with pytest.raises(AirflowFailException, match="production"):
        swap(name, utc(2013, 1, 1), utc(2013, 1, 2), rows, expected_workspace="production")
    assert shape(box, name) == counts(old=1)
