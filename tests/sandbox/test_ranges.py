"""A pipe run over a range, against ClickHouse: each row once, whatever is too large, fails, is killed or deferred."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from range_task import context
from sandbox_process import SandboxProcess

from airflow_provider_tinybird._compat import AirflowFailException, TaskDeferred
from airflow_provider_tinybird.jobs import slots
from airflow_provider_tinybird.jobs.backfill import RangeFailedError
from airflow_provider_tinybird.operators.pipes import TinybirdCopyRangeOperator

MONTHS = {"pipe": "copy_range", "start": "2012-12-31", "end": "2013-04-02", "window": "month"}
MEMORY = "Memory limit (for query) exceeded: would use 9.32 GiB (attempt to allocate chunk), maximum: 9.31 GiB"
ALL = "SELECT toString(day) AS day, carrier, delay, count() AS times FROM {} GROUP BY ALL ORDER BY ALL"
TASK = Path(__file__).parents[1] / "range_task.py"


class Store(dict[str, Any]):
    """Keeps what it is given as JSON, as Airflow's does."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def fill(box: Any) -> None:
    """Put 90 rows in, one for each day of the first quarter."""
    first = date(2013, 1, 1)
    box.append("flights", [{"day": str(first + timedelta(days=n)), "carrier": "UA", "delay": n} for n in range(90)])


def make(arguments: dict[str, Any]) -> Any:
    operator = TinybirdCopyRangeOperator(task_id="t", **{"poll_interval": 0.05, "retries": 3, **arguments})
    operator.render_template_fields({})
    return operator


def run_here(store: Any = None, attempt: int = 1, **arguments: Any) -> Any:
    return make(arguments).execute(context(store, attempt))


def run_deferred(store: Any = None, attempt: int = 1, **arguments: Any) -> Any:
    """Run it to its end, its triggers made anew from what is stored, and the operator made anew each time."""
    arguments = {"deferrable": True, **arguments}
    step: Callable[[], Any] = lambda: make(arguments).execute(context(store, attempt))  # noqa: E731
    while True:
        try:
            return step()
        except TaskDeferred as wait:
            path, stored = json.loads(json.dumps(wait.trigger.serialize()))
            event = asyncio.run(only_event(path, stored))
            kwargs = json.loads(json.dumps(wait.kwargs or {}))
            step = lambda method=wait.method_name, event=event, kwargs=kwargs: getattr(make(arguments), method)(  # noqa: E731
                context(store, attempt), event, **kwargs
            )


async def only_event(path: str, stored: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    events = [event.payload async for event in getattr(importlib.import_module(module), name)(**stored).run()]
    assert len(events) == 1
    return json.loads(json.dumps(events[0]))


@pytest.fixture(params=["sync", "deferred"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return run_here if request.param == "sync" else run_deferred


def spans(result: Any) -> list[str]:
    return [f"{one['start'][:10]} {one['end'][:10]}" for one in result["windows"]]


def assert_each_row_once(box: Any) -> None:
    assert box.rows(ALL.format("copied")) == box.rows(ALL.format("flights"))


def copies(box: Any) -> list[tuple[str, str]]:
    """Windows that were asked for, in order."""
    asked = [dict(request["query"]) for request in box.seen("POST", "/copy")]
    return [(one["start"], one["end"]) for one in asked]


# What is done


def test_month_after_month(box, run):
    fill(box)
    result = run(**MONTHS, parameters={"most": 31})
    assert spans(result) == [
        "2012-12-31 2013-01-01",
        "2013-01-01 2013-02-01",
        "2013-02-01 2013-03-01",
        "2013-03-01 2013-04-01",
        "2013-04-01 2013-04-02",
    ]
    assert [one["rows"] for one in result["windows"]] == [0, 31, 28, 31, 0]
    assert result["rows"] == 90
    assert {one["job_id"] for one in result["windows"]} == {job["id"] for job in box.jobs()}
    assert {dict(request["query"])["_mode"] for request in box.seen("POST", "/copy")} == {"append"}
    assert_each_row_once(box)


def test_windows_of_days_for_a_parameter_of_the_type_date(box, run):
    fill(box)
    result = run(
        pipe="copy_days",
        start="2013-02-26",
        end="2013-03-03",
        window="2 days",
        start_parameter="first",
        end_parameter="last",
        parameter_format="%Y-%m-%d",
    )
    assert spans(result) == ["2013-02-26 2013-02-28", "2013-02-28 2013-03-02", "2013-03-02 2013-03-03"]
    assert box.rows("SELECT min(day) AS a, max(day) AS b, count() AS n FROM copied") == [
        {"a": "2013-02-26", "b": "2013-03-02", "n": 5}
    ]


def test_a_sink(box, run):
    fill(box)
    result = run(pipe="out_range", kind="sink", start="2013-01-01", end="2013-04-01", window="month", concurrency=2)
    assert (len(result["windows"]), result["rows"]) == (3, None)
    assert [dict(request["query"])["start"][:10] for request in box.seen("POST", "/sink")] == [
        "2013-01-01",
        "2013-02-01",
        "2013-03-01",
    ]
    assert {job["status"] for job in box.jobs() if job["kind"] == "sink"} == {"done"}


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_at_once(box, run, concurrency):
    fill(box)
    box.plan_job("copy_range", delay=0.25, times=8)
    most = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.01):
            most = max(most, sum(job["status"] in ("waiting", "working") for job in box.jobs()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run(**{**MONTHS, "window": "2 weeks"}, concurrency=concurrency)
    finally:
        stop.set()
        thread.join()
    assert most == concurrency
    assert_each_row_once(box)


# What is too large


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_is_too_large_is_halved(box, run, concurrency):
    """ClickHouse itself refuses windows of more than sixteen rows."""
    fill(box)
    result = run(**MONTHS, parameters={"most": 16}, concurrency=concurrency)
    assert_each_row_once(box)
    assert all(one["rows"] <= 16 for one in result["windows"])
    assert all(one["start"].endswith("T00:00:00+00:00") for one in result["windows"])
    starts, ends = ([one[key] for one in result["windows"]] for key in ("start", "end"))
    assert starts[1:] == ends[:-1]  # in order, without a gap


def test_no_window_is_halved_beyond_the_shortest(box, run):
    fill(box)
    with pytest.raises(
        RangeFailedError, match=r"Window 2013-01-01 00:00:00 to 2013-01-08 00:00:00 UTC: .*Memory limit"
    ):
        run(**MONTHS, parameters={"most": 3}, min_window=timedelta(days=5))
    assert box.count("copied") == 0


def test_days_are_not_halved_where_the_parameter_is_a_date(box, run):
    fill(box)
    box.plan_job("copy_days", error=MEMORY)
    days = {"start_parameter": "first", "end_parameter": "last", "parameter_format": "%Y-%m-%d"}
    with pytest.raises(RangeFailedError, match="Memory limit"):
        run(pipe="copy_days", start="2013-01-01", end="2013-01-02", min_window="1 hour", **days)
    assert len(box.jobs()) == 1


@pytest.mark.parametrize(
    "why", ["Timeout exceeded: elapsed 20.1 seconds, maximum: 20", "Code: 159. DB::Exception", MEMORY]
)
def test_time_is_halved_too(box, why):
    fill(box)
    box.plan_job("copy_range", error=why, times=2)
    result = run_here(pipe="copy_range", start="2013-01-01", end="2013-01-09", window="week", concurrency=1)
    # A week that begins on a Tuesday, so that it is cut on the Monday; its two first parts are halved.
    assert [one["start"][8:10] for one in result["windows"]] == ["01", "02", "04", "07"]
    assert box.count("copied") == 8


@pytest.mark.parametrize(
    "why", ["Syntax error: no such column", "Cannot connect: connection timed out", "Disk is full"]
)
def test_nothing_else_is_halved(box, run, why):
    fill(box)
    box.plan_job("copy_range", error=why)
    with pytest.raises(RangeFailedError, match=why):
        run(**MONTHS)
    assert len(box.jobs()) == 1


# What fails


def test_after_a_failure_what_runs_comes_to_its_end_and_nothing_more_is_started(box, run):
    fill(box)
    box.plan_job("copy_range", error="no luck")
    box.plan_job("copy_range", delay=0.3)
    store = Store()
    with pytest.raises(
        RangeFailedError, match=r"no luck.* 1 windows are done, 4 are not, the first of them 2012-12-31 .*A retry"
    ) as e:
        run(store, **MONTHS, concurrency=2)
    assert "Window 2012-12-31 00:00:00 to 2013-01-01 00:00:00 UTC" in str(e.value)
    assert sorted(job["status"] for job in box.jobs() if job["kind"] == "copy") == ["done", "error"]
    assert box.count("copied") == 31
    result = run(store, 2, **MONTHS, concurrency=2)
    assert len(result["windows"]) == 5
    assert_each_row_once(box)


def test_a_retry_knows_what_was_halved(box, run):
    fill(box)
    store = Store()
    box.plan_job("copy_range", error=MEMORY)
    box.plan_job("copy_range", delay=0)
    box.plan_job("copy_range", error="no luck")
    arguments = {**MONTHS, "start": "2013-01-01", "end": "2013-03-01"}
    with pytest.raises(RangeFailedError, match="no luck"):
        run(store, **arguments)
    assert spans(run(store, 2, **arguments)) == [
        "2013-01-01 2013-01-16",
        "2013-01-16 2013-02-01",
        "2013-02-01 2013-03-01",
    ]
    assert len(copies(box)) == 5
    assert box.rows(ALL.format("copied")) == box.rows(ALL.format("flights WHERE day < '2013-03-01'"))


def test_a_changed_window_does_not_double_on_a_retry(box):
    fill(box)
    box.plan_job("copy_range", delay=0, times=2)
    box.plan_job("copy_range", error="no luck")
    store = Store()
    with pytest.raises(RangeFailedError):
        run_here(store, **MONTHS)
    with pytest.raises(AirflowFailException, match="changed since this task's earlier attempt"):
        run_here(store, 2, **{**MONTHS, "window": "2 months"})
    assert box.count("copied") == 31
    cleared = context(store, 3, max_tries=5 + 3)
    make({**MONTHS, "start": "2013-02-01", "window": "quarter"}).execute(cleared)
    assert_each_row_once(box)


def test_without_a_store_a_retry_that_finds_jobs_is_red(box):
    """Airflow before 3.3: rows are never doubled."""
    fill(box)
    box.plan_job("copy_range", delay=0, times=3)
    box.plan_job("copy_range", error="no luck")
    with pytest.raises(RangeFailedError, match="This Airflow remembers nothing"):
        run_here(**MONTHS)
    before = box.rows(ALL.format("copied"))
    with pytest.raises(AirflowFailException, match=r"Window 2012-12-31 .*It is not known whether"):
        run_here(None, 4, **MONTHS)
    assert box.rows(ALL.format("copied")) == before


def test_without_a_store_a_retry_that_finds_none_runs_all(box):
    fill(box)
    assert len(run_here(None, 4, **MONTHS)["windows"]) == 5
    assert_each_row_once(box)


@pytest.mark.parametrize("cut", ["after", "before"])
def test_a_lost_answer_is_red_and_names_the_window(box, monkeypatch, cut):
    from airflow_provider_tinybird.jobs import start

    monkeypatch.setattr(start, "_LOOKS", (0.0, 0.1))
    fill(box)
    store = Store()
    box.fault("/copy$", method="POST", cut=cut)
    message = r"Window 2012-12-31 .*It is not known whether .* They stay done"
    with pytest.raises(AirflowFailException, match=message):
        run_here(store, **{**MONTHS, "start": "2012-12-31"})
    assert len(box.seen("POST", "/copy")) == 1
    # And so is a retry, if somebody starts one.
    with pytest.raises(AirflowFailException, match=r"Window 2012-12-31 .*An earlier attempt broke off"):
        run_here(store, 2, **MONTHS)
    assert len(box.seen("POST", "/copy")) == 1


def test_a_timeout_cancels_the_job_of_the_window(box, run):
    box.plan_job("copy_range", hold="waiting")
    with pytest.raises(RangeFailedError, match=r"Window .* was still 'waiting'"):
        run(**MONTHS, timeout=0.4)
    assert [job["status"] for job in box.jobs()] == ["cancelled"]


def test_execution_timeout_counts_while_it_is_deferred(box, monkeypatch):
    """Airflow does not enforce it then, and each window wakes the task up: nothing would ever end it."""
    fill(box)
    monkeypatch.setattr("airflow_provider_tinybird.operators.ranges.INLINE_SECONDS", 0.0)
    box.plan_job("copy_range", delay=0.05)
    box.plan_job("copy_range", hold="working", times=9)
    with pytest.raises(
        RangeFailedError, match=r"was still 'working' .*asked to cancel.* 1 windows are done, 4 are not"
    ):
        run_deferred(**MONTHS, execution_timeout=timedelta(seconds=2))
    assert sorted(job["status"] for job in box.jobs()) == ["cancelled", "done"]


def test_no_window_is_started_after_execution_timeout(box, monkeypatch):
    fill(box)
    monkeypatch.setattr("airflow_provider_tinybird.operators.ranges.INLINE_SECONDS", 0.0)
    box.plan_job("copy_range", delay=0.4, times=9)
    with pytest.raises(RangeFailedError, match=r"[1-4] windows are done, [1-4] are not"):
        run_deferred(**MONTHS, execution_timeout=timedelta(seconds=1.2))
    assert not [job for job in box.jobs() if job["status"] in ("waiting", "working")]


BAD = {
    "replace": ({"mode": "replace"}, "only 'append' keeps"),
    "kind": ({"kind": "materialize"}, "'copy' or 'sink'"),
    "empty": ({"end": "2012-12-31"}, "is empty"),
    "window": ({"window": "fortnight"}, "fortnight"),
    "concurrency": ({"concurrency": 0}, "concurrency=0"),
    "one parameter": ({"start_parameter": "end"}, "are both 'end'"),
    "parameters": ({"parameters": {"start": 1}}, "sets itself"),
    "format": ({"parameter_format": "%Y-%m-%d", "window": "6 hours"}, "cannot write"),
    "a fraction": ({"start": "2013-01-01T00:00:00.5"}, "cannot write"),
    "no pipe": ({"pipe": "nope"}, "nope"),
    "no such parameter type": ({"parameters": {"most": "many"}}, "most"),
    "min_window": ({"min_window": "soon"}, "min_window"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(box, case):
    arguments, words = BAD[case]
    with pytest.raises(AirflowFailException) as caught:
        run_here(**{**MONTHS, **arguments})
    assert words in str(caught.value)
    assert box.jobs() == []


def test_an_end_that_moves_does_not_double_after_a_deferral(box, monkeypatch):
    """Templates are rendered anew each time the task wakes up: what ends now must go on ending when the task began."""
    fill(box)
    box.plan_job("copy_range", delay=0.2, times=20)
    monkeypatch.setattr("airflow_provider_tinybird.operators.ranges.INLINE_SECONDS", 0.0)
    ends = iter(f"2013-03-10T00:00:{second:02d}" for second in range(60))
    monkeypatch.setattr(
        "tests.sandbox.test_ranges.make", lambda arguments, was=make: was({**arguments, "end": next(ends)})
    )
    result = run_deferred(**{**MONTHS, "start": "2013-02-01"})
    assert len(result["windows"]) == 2
    assert box.rows(ALL.format("copied")) == box.rows(
        ALL.format("flights WHERE day >= '2013-02-01' AND day <= '2013-03-09'")
    )


# Quota


@pytest.fixture(scope="module")
def narrow() -> Iterator[SandboxProcess]:
    """A plan with room for two copies."""
    project = Path(__file__).parent / "project"
    with SandboxProcess("--project", project, "--job-delay", "0.1", "--max-copies", "2") as server:
        yield server


def test_more_at_once_than_the_plan_allows(narrow, tmp_path, connection, monkeypatch, run):
    from tests.sandbox.conftest import Box

    monkeypatch.setattr(slots, "LONGEST_WAIT", 0.2)
    narrow.reset()
    box = Box(narrow, tmp_path)
    connection(box.url, box.token)
    fill(box)
    run(**MONTHS, concurrency=5)
    assert_each_row_once(box)
    assert len(box.jobs()) == 5  # none that was refused
    box.close()


def test_no_slot_at_all(box, monkeypatch, run):
    monkeypatch.setattr(slots, "LONGEST_WAIT", 0.2)
    full = {"error": "You have reached the maximum number of copy jobs (2)."}
    box.fault("/copy$", method="POST", status=403, body=full, times=1000)
    with pytest.raises(RangeFailedError, match="no free slot"):
        run(**MONTHS, timeout=0.8)


# Kill


def test_a_kill_cancels_all_jobs_of_this_task_and_no_other(box, run):
    box.plan_job("copy_range", hold="waiting", times=6)
    other = box.post("/v0/pipes/copy_range/copy?start=2013-01-01%2000:00:00&end=2013-01-02%2000:00:00")["job"]["job_id"]
    operator = make({**MONTHS, "concurrency": 3})

    def kill() -> None:
        deadline = time.monotonic() + 20
        while len(box.jobs()) < 4 or len(operator._running_job_ids) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        operator.on_kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(RangeFailedError, match="was cancelled"):
        operator.execute(context(None, 1))
    thread.join(20)
    statuses = {job["id"]: job["status"] for job in box.jobs()}
    assert statuses.pop(other) == "waiting"
    assert list(statuses.values()) == ["cancelled"] * 3


def test_a_kill_of_a_deferred_task_cancels_all_its_jobs(box):
    box.plan_job("copy_range", hold="waiting", times=2)
    with pytest.raises(TaskDeferred) as caught:
        make({**MONTHS, "concurrency": 2, "deferrable": True}).execute(context(None, 1))
    path, stored = json.loads(json.dumps(caught.value.trigger.serialize()))
    assert path == "airflow_provider_tinybird.triggers.ranges.TinybirdAnyJobTrigger"
    module, _, name = path.rpartition(".")
    asyncio.run(getattr(importlib.import_module(module), name)(**stored).on_kill())
    assert [job["status"] for job in box.jobs()] == ["cancelled"] * 2


def test_a_retry_goes_on_after_kill_9(box, tmp_path):
    """Killed twice, at moments when some windows are done, some run and some are halved: each row is there once."""
    fill(box)
    arguments = {**MONTHS, "concurrency": 2, "poll_interval": 0.05, "parameters": {"most": 16}}
    for attempt, windows in ((1, 1), (2, 4)):
        box.plan_job("copy_range", delay=0.15, times=100)
        process = start(box, tmp_path, arguments, attempt)
        kill_when(process, tmp_path, lambda windows=windows: len(done(box)) >= windows)
    done_before = done(box)
    out, err = start(box, tmp_path, arguments, 3).communicate(timeout=100)
    result = json.loads(out.splitlines()[-1])
    assert_each_row_once(box)
    assert result["rows"] == 90
    assert {one["job_id"] for one in result["windows"]} == set(done(box))
    assert 4 <= len(done_before) < len(done(box))
    assert "was done by an earlier attempt" in out + err


def done(box: Any) -> list[str]:
    return [job["id"] for job in box.jobs() if job["kind"] == "copy" and job["status"] == "done"]


def kill_when(process: subprocess.Popen[str], folder: Path, is_time: Callable[[], bool]) -> None:
    """Kill it when it is time, but not while it awaits the answer to a submit: that is for a test of its own."""
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        if is_time():
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)  # until what it has sent is taken
            records = json.loads((folder / "store.json").read_text()).values()
            if all(record.get("job_id") or record.get("ending") for record in records if "began_at" in record):
                break
            process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_while_the_answer_to_a_submit_is_awaited(box, tmp_path):
    """It is not known whether there is a job: red, and the rows are there once."""
    fill(box)
    arguments = {**MONTHS, "start": "2013-01-01", "poll_interval": 0.05}
    box.fault("/copy$", method="POST", delay=8)
    process = start(box, tmp_path, arguments, 1)
    deadline = time.monotonic() + 120
    while not (tmp_path / "store.json").exists() or "began_at" not in (tmp_path / "store.json").read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    out, err = start(box, tmp_path, arguments, 2).communicate(timeout=100)
    assert "Window 2013-01-01 00:00:00 to 2013-02-01 00:00:00 UTC: It is not known whether" in out + err
    assert box.count("copied") in (0, 31)


def start(box: Any, folder: Path, arguments: dict[str, Any], attempt: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(TASK), str(folder / "store.json"), json.dumps(arguments), str(attempt)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
