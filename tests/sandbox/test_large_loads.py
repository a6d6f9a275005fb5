"""TinybirdLoadOperator against the sandbox: rows in the engine, files on the wire, retries, and what is remembered in between."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from background import Background
from large_loads import MANY, ROWS, SUM, Store, Ti, attempt, expected, frame, imports, run_to_the_end

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api.errors import JobFailedError
from airflow_provider_tinybird.operators import load, load_files, series
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator


def breaking_after(files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker die right after so many files were handed over: nothing is remembered of the last one but what was written."""
    hand_over = load_files.FilesRun._hand_over
    handed = []

    def dying(run: Any, file: Any) -> None:
        hand_over(run, file)
        handed.append(file)
        if len(handed) == files:
            raise KeyboardInterrupt

    monkeypatch.setattr(load_files.FilesRun, "_hand_over", dying)


def chunks(count: int) -> Iterator[pd.DataFrame]:
    data = frame()
    size = -(-len(data) // count)
    for start in range(0, len(data), size):
        yield data.iloc[start : start + size]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the operator logs, on each version of Airflow."""
    logger = logging.getLogger("own.log")
    monkeypatch.setattr(TinybirdLoadOperator, "log", property(lambda _: logger), raising=False)
    caplog.set_level("INFO")
    caplog.set_level("INFO")
    return caplog


class TestAppend:
    def test_few_rows_go_as_events(self, box, run_here, said):
        value = run_here(TinybirdLoadOperator, datasource="flights", data=frame())
        assert box.rows(SUM) == [expected()]
        assert (value["via"], value["rows"]) == ("events", ROWS)
        assert imports(box) == []
        assert "The rows go as events: they are about 0.2 MB" in said.text

    def test_more_go_as_files(self, box, run_here, said, monkeypatch):
        monkeypatch.setattr(load, "EVENTS_BYTES", 20_000)
        value = run_here(TinybirdLoadOperator, datasource="flights", data=lambda: chunks(10))
        assert box.rows(SUM) == [expected()]
        assert (value["via"], value["files"]) == ("files", 1)
        assert "The rows go as files: they are more than" in said.text

    @pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "records", "text dates"])
    def test_each_kind_of_frame_in_several_files(self, box, run_here, kind):
        data = frame()
        given: Any = {
            "pandas": lambda: data,
            "polars": lambda: pl.from_pandas(data),
            "arrow": lambda: pa.Table.from_pandas(data, preserve_index=False),
            "records": lambda: iter(data.to_dict("records")),
            "text dates": lambda: data.assign(day=data["day"].astype(str)),
        }[kind]
        value = run_here(TinybirdLoadOperator, datasource="flights", data=given, via="files", **MANY)
        assert box.rows(SUM) == [expected()]
        sent = box.seen("POST", "/v1/datasources/flights/append")
        assert {dict(one["query"])["format"] for one in sent} == {"ndjson" if kind == "text dates" else "parquet"}
        assert value["files"] == len(sent) == len(value["job_ids"]) > 1
        assert value["rows"] == ROWS
        assert all(one["content_length"] <= 20_000 for one in sent)

    def test_no_rows_are_no_file(self, box, run_here):
        value = run_here(TinybirdLoadOperator, datasource="flights", data=[], via="files")
        assert (value["rows"], value["files"], imports(box)) == (0, 0, [])

    def test_rows_of_which_some_go_to_quarantine(self, box, run_here):
        rows = [{"day": "2013-01-01", "carrier": "A", "delay": delay} for delay in (1, "many", 3)]
        value = run_here(TinybirdLoadOperator, datasource="flights", data=rows, via="files", on_quarantine="warn")
        assert (value["rows"], value["quarantine_rows"]) == (2, 1)
        with pytest.raises(AirflowFailException, match="1 of 3 rows did not fit"):
            attempt(None, 1, data=rows[::-1], via="files")

    def test_deferred_between_files(self, box, monkeypatch):
        wait = TinybirdLoadOperator.wait_for_job
        monkeypatch.setattr(TinybirdLoadOperator, "wait_for_job", lambda *args, patience=0: wait(*args, patience=0.0))
        calls = []

        def data() -> Iterator[pd.DataFrame]:
            calls.append(1)
            return chunks(7)

        value, waits = run_to_the_end(data=data, via="files")
        assert box.rows(SUM) == [expected()]
        assert waits == value["files"] > 2
        # The last deferral needs no rows any more.
        assert len(calls) == waits


class TestReplace:
    def test_first_replaces_and_the_rest_is_appended(self, box, run_here):
        box.fill()
        value = run_here(TinybirdLoadOperator, datasource="flights", data=frame(), mode="replace", **MANY)
        assert box.rows(SUM) == [expected()]
        assert imports(box)[-value["files"] :] == ["replace", *["append"] * (value["files"] - 1)]
        assert (value["rows_before"], value["rows_after"]) == (4, ROWS)

    def test_rows_around_it_are_known_after_deferrals(self, box, monkeypatch):
        box.fill()
        wait = TinybirdLoadOperator.wait_for_job
        monkeypatch.setattr(TinybirdLoadOperator, "wait_for_job", lambda *args, patience=0: wait(*args, patience=0.0))
        value, waits = run_to_the_end(data=frame, mode="replace")
        assert waits > 2
        assert (value["rows_before"], value["rows_after"]) == (4, ROWS)

    def test_condition(self, box, run_here):
        box.fill()
        rows = [{"day": dt.date(2013, 2, 3), "carrier": "DL", "delay": 1}]
        options = {"mode": "replace", "replace_condition": "toYYYYMM(day) = 201302"}
        run_here(TinybirdLoadOperator, datasource="flights", data=rows, **options)
        assert box.rows("SELECT carrier FROM flights ORDER BY carrier") == [
            {"carrier": name} for name in ("AA", "DL", "UA", "UA")
        ]

    def test_condition_must_fit_into_one_file(self, box):
        box.fill()
        with pytest.raises(AirflowFailException, match="do not fit into one file of 20,000 bytes"):
            attempt(None, 1, data=frame(), mode="replace", replace_condition="toYYYYMM(day) > 0")
        assert box.count() == 4

    @pytest.mark.parametrize("condition", [None, "carrier = 'UA'"])
    def test_no_rows_fail(self, box, condition):
        box.fill()
        with pytest.raises(load.NothingToReplaceError, match="no rows to put in the place"):
            attempt(None, 1, data=[], mode="replace", replace_condition=condition)
        assert box.count() == 4

    def test_no_rows_keep(self, box):
        box.fill()
        value = attempt(None, 1, data=[], mode="replace", on_empty="keep")
        assert (value["rows_before"], value["rows_after"], box.count()) == (4, 4, 4)

    @pytest.mark.parametrize(("condition", "left"), [(None, 0), ("carrier = 'UA'", 2)])
    def test_no_rows_delete(self, box, condition, left):
        box.fill()
        value = attempt(None, 1, data=[], mode="replace", replace_condition=condition, on_empty="delete")
        assert (value["rows_before"], value["rows_after"], box.count()) == (4, left, left)


class TestRetry:
    """An attempt dies, and the next one brings it to its end."""

    @pytest.mark.parametrize("mode", ["append", "replace"])
    @pytest.mark.parametrize("files", [1, 2, 3])
    def test_every_row_is_there_once(self, box, monkeypatch, mode, files):
        store = Store()
        with monkeypatch.context() as patch:
            breaking_after(files, patch)
            with pytest.raises(KeyboardInterrupt):
                attempt(store, 1, data=frame(), via="files", mode=mode)
        before = len(imports(box))
        value = attempt(store, 2, data=frame(), via="files", mode=mode)
        assert box.rows(SUM) == [expected()]
        assert value["rows"] == ROWS
        if mode == "replace":
            assert (value["rows_before"], value["rows_after"]) == (0, ROWS)
        again = len(imports(box)) - before
        # An append goes on behind what is in; a replace begins again, unless it is itself under way.
        assert again == (value["files"] - files if mode == "append" or files == 1 else value["files"])

    def test_clear_sends_all_again(self, box):
        store = Store()
        attempt(store, 1, data=frame(), via="files")
        operator_context = {"ti": Ti(2, max_tries=4), "task_state_store": store}
        operator = TinybirdLoadOperator(task_id="t", retries=3, datasource="flights", data=frame(), via="files", **MANY)
        operator.execute(operator_context)
        assert box.rows(SUM) == [expected(times=2)]

    def test_clear_over_rows_that_are_there_is_red(self, dropping, quick_judge):
        """The same files again are dropped as repetitions, under success."""
        attempt(Store(), 1, data=frame(), via="files")
        before = len(imports(dropping))
        with pytest.raises(
            AirflowFailException, match=r"of them are not there.*\n.*equal rows that were inserted before"
        ):
            attempt(Store(), 1, data=frame(), via="files")
        assert len(imports(dropping)) == before + 1, "no more files after the first that is not there"
        assert dropping.rows(SUM) == [expected()]

    @pytest.mark.parametrize("change", ["value", "fewer", "none"])
    def test_other_rows_are_noticed(self, box, monkeypatch, change):
        store, data = Store(), frame()
        with monkeypatch.context() as patch:
            breaking_after(3, patch)
            with pytest.raises(KeyboardInterrupt):
                attempt(store, 1, data=data, via="files")
        box.wait_for_jobs()
        before = box.count()
        data.loc[0, "delay"] = -1
        data = {"value": data, "fewer": data.iloc[:100], "none": data.iloc[:0]}[change]
        with pytest.raises(AirflowFailException, match="not those of the attempt before"):
            attempt(store, 2, data=data, via="files")
        assert box.count() == before

    def test_without_a_memory_an_append_is_not_repeated_blindly(self, box, monkeypatch):
        with monkeypatch.context() as patch:
            breaking_after(2, patch)
            with pytest.raises(KeyboardInterrupt):
                attempt(None, 1, data=frame(), via="files")
        box.wait_for_jobs()
        before = box.count()
        with pytest.raises(AirflowFailException, match="earlier attempt may have started a job"):
            attempt(None, 2, data=frame(), via="files")
        assert box.count() == before

    def test_without_a_memory_a_replace_is_repeated(self, box, monkeypatch):
        with monkeypatch.context() as patch:
            breaking_after(2, patch)
            with pytest.raises(KeyboardInterrupt):
                attempt(None, 1, data=frame(), mode="replace")
        attempt(None, 2, data=frame(), mode="replace")
        assert box.rows(SUM) == [expected()]

    def test_a_bad_value_says_what_is_in(self, box):
        rows = frame().to_dict("records")
        rows[-1]["delay"] = float("inf")
        with pytest.raises(AirflowFailException, match=r"the first \d+ rows \(\d+ files\) are in") as caught:
            attempt(None, 1, data=iter(rows), via="files")
        assert int(re.search(r"first (\d+) rows", str(caught.value))[1]) == box.count() > 0

    def test_nothing_is_said_of_the_file_before_where_nothing_went_wrong(self, box, said):
        attempt(Store(), 1, data=frame(), via="files")
        assert box.rows(SUM) == [expected()]
        assert [one for one in said.messages if one.startswith("File 2: ")]
        assert not [one for one in said.messages if "another request" in one]

    def test_data_that_breaks_says_what_is_in(self, box, said):
        def breaking() -> Iterator[Any]:
            yield from frame().to_dict("records")
            raise RuntimeError("the source went away")

        with pytest.raises(RuntimeError, match="the source went away"):
            attempt(None, 1, data=breaking(), via="files")
        box.wait_for_jobs()
        (line,) = [one for one in said.messages if "stopped" in one]
        found = re.search(
            r"the first (\d+) rows \(\d+ files\) are in, the import of one more may be under way, the rest is not", line
        )
        assert found is not None
        assert 0 < int(found[1]) <= box.count() < len(frame())

    def test_rows_that_tinybird_refused_can_be_corrected(self, box):
        store = Store()
        box.plan_job("flights", error="no disk")
        with pytest.raises(JobFailedError, match="no disk"):
            attempt(store, 1, data=frame(), via="files", mode="replace")
        attempt(store, 2, data=frame(100), via="files", mode="replace")
        assert box.rows(SUM) == [expected(100)]

    @pytest.mark.parametrize("rows", [None, 100])
    def test_an_append_that_failed_may_have_written(self, box, rows):
        """The same rows or corrected ones: nothing tells how many of the first are in."""
        store = Store()
        box.plan_job("flights", error="no disk")
        with pytest.raises(JobFailedError, match="no disk"):
            attempt(store, 1, data=frame(), via="files")
        with pytest.raises(AirflowFailException, match="a part of its rows may be in"):
            attempt(store, 2, data=frame(rows) if rows else frame(), via="files")
        assert box.count() == 0


def test_the_quota_is_a_wait(box, monkeypatch):
    pauses = []
    monkeypatch.setattr(series.time, "sleep", pauses.append)
    box.fault(
        "/v1/datasources/flights/append",
        method="POST",
        status=429,
        times=8,
        body={"error": "slow down"},
        headers={"Retry-After": "0"},
    )
    attempt(None, 1, data=frame(), via="files", timeout=600)
    assert box.rows(SUM) == [expected()]
    assert pauses


def test_kill_cancels_the_job_of_the_file_that_is_under_way(box):
    box.plan_job("flights", hold="working")
    operator = TinybirdLoadOperator(task_id="t", datasource="flights", data=frame(), via="files", **MANY)
    running = Background(operator)
    running.start()
    running.wait_for_job()
    operator.on_kill()
    running.join(20)
    assert [job["status"] for job in box.jobs()] == ["cancelled"]
    assert box.count() == 0
    assert "was cancelled" in str(running.error)
