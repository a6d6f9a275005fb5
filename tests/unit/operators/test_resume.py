"""Between worker and triggerer: what comes back in the event, and what the worker does when the triggerer lost sight of a job."""

from __future__ import annotations

import asyncio
import importlib
import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_tinybird._compat import AirflowFailException, AirflowNotFoundException, TaskDeferred
from airflow_provider_tinybird.api.errors import InvalidInputError, JobCancelledError, JobOutOfSightError
from airflow_provider_tinybird.operators.interval import TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.operators.ranges import TinybirdCopyRangeOperator
from airflow_provider_tinybird.sensors.datasources import TinybirdRowsSensor
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

START = 1_800_000_000.0
LOOK = "GET /v0/jobs/j1"
REFUSED = (403, {"error": "invalid authentication token"})
LOST = {"ending": "lost", "job_id": "j1", "message": "Job j1 could not be watched in the triggerer.", "version": 1}


class Store(dict[str, Any]):
    """Keeps JSON, as Airflow's does."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def context(store: Store | None = None) -> dict[str, Any]:
    ti = SimpleNamespace(max_tries=2, try_number=1, map_index=-1, xcom_push=lambda **_: None)
    return {"ti": ti} if store is None else {"ti": ti, "task_state_store": store}


def copy_operator(**arguments: Any) -> TinybirdCopyOperator:
    return TinybirdCopyOperator(task_id="t", retries=2, **{"pipe": "daily", "deferrable": True, **arguments})


def deferred(function: Any, *arguments: Any, **named: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        function(*arguments, **named)
    return caught.value


def event_of(wait: TaskDeferred) -> Any:
    path, arguments = json.loads(json.dumps(wait.trigger.serialize()))
    module, _, name = path.rpartition(".")

    async def run() -> list[Any]:
        return [event.payload async for event in getattr(importlib.import_module(module), name)(**arguments).run()]

    (payload,) = asyncio.run(run())
    return json.loads(json.dumps(payload))


@pytest.fixture
def copies(tinybird, clock):
    """Copies are accepted as job j1."""

    def accept(*statuses: Any) -> Any:
        job = tinybird.job("j1", *statuses, pipe_name="daily")
        tinybird.on("POST /v0/pipes/daily/copy", {"id": "node", "name": "n", "job": job})
        tinybird.on("POST /v0/jobs/j1/cancel", {"id": "j1", "kind": "copy", "status": "cancelling"})
        return tinybird

    return accept


class TestLostSight:
    """What the triggerer cannot look at says nothing of the job."""

    def test_the_worker_finds_it_done(self, copies):
        tinybird = copies("done")
        assert copy_operator().execute_complete(context(), LOST)["status"] == "done"
        assert tinybird.count(LOOK) == 1

    def test_an_event_of_an_older_version_too(self, copies):
        copies("done")
        old = {**LOST, "waited": 5.0, "job": {}, "message": "Job j1 could not be watched and may go on running: ..."}
        assert copy_operator().execute_complete(context(), old)["status"] == "done"

    def test_a_job_that_goes_on_goes_back_to_the_triggerer_then_waits_here(self, copies, clock):
        copies("working")
        left = {"deadline": START + 600, "started_at": START, "facts": {"rows_before": 7}, "bounces": 0}
        for bounces in (1, 2, 3):
            wait = deferred(copy_operator().execute_complete, context(), {**LOST, "resume": left})
            left = wait.trigger.resume
            assert left == {
                "deadline": START + 600,
                "started_at": START,
                "facts": {"rows_before": 7},
                "bounces": bounces,
            }
            assert (wait.trigger.job_id, wait.trigger.deadline) == ("j1", START + 600)
            assert wait.method_name == "execute_complete"
        tinybird = copies(*["working"] * 30, "done")
        before = clock.now
        assert copy_operator().execute_complete(context(), {**LOST, "resume": left})["status"] == "done"
        assert tinybird.lines()[-1] != LOOK  # it was over, and its rows were asked for
        assert clock.now - before > 60  # longer than a deferrable task waits before it defers

    def test_the_deadline_is_kept(self, copies, clock):
        tinybird = copies("working")
        clock.now = START + 601
        left = {"deadline": START + 600, "started_at": START, "facts": {}, "bounces": 0}
        with pytest.raises(Exception, match="still 'working' after 601 s") as caught:
            copy_operator().execute_complete(context(), {**LOST, "resume": left})
        assert "was asked to cancel" in str(caught.value)
        assert tinybird.count("POST /v0/jobs/j1/cancel") == 1

    def test_a_kill_meanwhile_cancels_it(self, copies, clock):
        tinybird = copies("working", "cancelled")
        operator = copy_operator(deferrable=False)
        clock.while_asleep = operator.on_kill
        with pytest.raises(JobCancelledError, match="by this task, which was killed"):
            operator.execute_complete(context(), LOST)
        assert tinybird.count("POST /v0/jobs/j1/cancel") == 1

    def test_where_the_worker_may_not_look_either_a_retry_does(self, copies):
        copies(REFUSED)
        with pytest.raises(JobOutOfSightError, match="invalid authentication token"):
            copy_operator().execute_complete(context(Store()), LOST)

    @pytest.mark.parametrize("durable", [True, False])
    def test_unless_it_could_double_rows(self, copies, durable):
        """Nothing is remembered of the job: before Airflow 3.3, or since the task is not to."""
        copies(REFUSED)
        store = None if durable else Store()
        with pytest.raises(AirflowFailException, match="invalid authentication token"):
            copy_operator(durable=durable).execute_complete(context(store), LOST)

    def test_what_can_be_done_twice_is_retried_anyway(self, copies):
        copies(REFUSED)
        with pytest.raises(JobOutOfSightError):
            copy_operator(durable=False, mode="replace").execute_complete(context(), LOST)

    def test_a_job_that_tinybird_does_not_know_is_not_retried(self, copies, tinybird):
        copies((404, {"error": "no such job"}))
        tinybird.on("POST /v0/sql", (403, {"error": "no"}))
        with pytest.raises(AirflowFailException, match="48 hours"):
            copy_operator(deferrable=False).execute_complete(context(Store()), LOST)

    def test_a_connection_that_the_worker_lacks_too(self, clock, monkeypatch):
        monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", raising=False)
        with pytest.raises(
            JobOutOfSightError, match=r"could not be watched.*Nor can the worker look: .*tinybird_default"
        ):
            copy_operator().execute_complete(context(Store()), LOST)

    def test_it_is_said_where_it_happened_and_what_helps(self, copies, logs):
        copies("done")
        copy_operator().execute_complete(context(), LOST)
        assert "in the triggerer" in logs.text
        assert "connection 'tinybird_default'" in logs.text
        assert "deferrable=False" in logs.text

    def test_from_end_to_end_with_a_token_that_is_rotated_under_way(self, copies, clock, connection):
        """The triggerer sees no new token; the worker does."""
        tinybird = copies(*["working"] * 8, REFUSED)
        operator = copy_operator()
        event = event_of(deferred(operator.execute, context(Store())))
        assert event["ending"] == "lost"
        copies("done")
        connection(tinybird.url, "new", max_retries=0)
        assert copy_operator().execute_complete(context(Store()), event)["status"] == "done"

    def test_in_the_worker_too_a_refused_watch_is_left_to_a_retry(self, copies):
        copies("working", REFUSED)
        with pytest.raises(JobOutOfSightError):
            copy_operator(deferrable=False).execute(context(Store()))

    def test_the_job_sensor_looks_itself(self, copies, clock):
        copies("working")
        sensor = TinybirdJobSensor(task_id="s", job_id="j1", deferrable=True, poke_interval=10, timeout=600)
        left = {"deadline": START + 600, "bounces": 0}
        for bounces in (1, 2, 3):
            wait = deferred(sensor.execute_complete, context(), {**LOST, "resume": left})
            left = wait.trigger.resume
            assert left == {"deadline": START + 600, "bounces": bounces}
        tinybird = copies("working", "working", "done")
        assert sensor.execute_complete(context(), {**LOST, "resume": left})["status"] == "done"
        assert tinybird.count(LOOK) >= 3

    def test_so_does_a_sensor_of_conditions(self, tinybird, clock):
        rows = [{"data": [{"is_met": 0, "rows": 1}]}, {"data": [{"is_met": 1, "rows": 9}]}]
        tinybird.on("POST /v0/sql", *rows)
        sensor = TinybirdRowsSensor(
            task_id="s", datasource="o", min_rows=5, deferrable=True, poke_interval=10, timeout=600
        )
        lost = {"ending": "lost", "message": "Connection 'c' could not be read in the triggerer.", "version": 1}
        wait = deferred(sensor.execute_complete, context(), {**lost, "resume": {"deadline": START + 600, "bounces": 0}})
        assert wait.trigger.resume == {"deadline": START + 600, "bounces": 1}
        assert wait.trigger.deadline == START + 600
        assert sensor.execute_complete(context(), {**lost, "resume": {"deadline": START + 600, "bounces": 3}}) == {
            "rows": 9
        }

    def test_a_sensor_whose_connection_is_gone_is_retried(self, clock, monkeypatch):
        monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", raising=False)
        sensor = TinybirdRowsSensor(task_id="s", datasource="o", min_rows=5, deferrable=True)
        lost = {"ending": "lost", "message": "Connection 'c' could not be read in the triggerer.", "version": 1}
        with pytest.raises(AirflowNotFoundException):
            sensor.execute_complete(context(), lost)


class TestWhatWasLeft:
    """It comes back in the event: dag.test() drops what Airflow should keep. Older versions left it with Airflow."""

    def test_facts_of_an_older_version(self, copies):
        class Own(TinybirdCopyOperator):
            def facts_after(self, job, facts):
                return {"seen": dict(facts)}

        copies("done")
        event = {
            "ending": "done",
            "job_id": "j1",
            "message": "",
            "waited": 3.0,
            "job": {"status": "done"},
            "version": 1,
        }
        operator = Own(task_id="t", pipe="daily")
        assert operator.execute_complete({}, event, facts={"rows_before": 1})["seen"] == {"rows_before": 1}
        both = {**event, "resume": {"facts": {"rows_before": 2}, "deadline": START + 9, "started_at": START}}
        assert operator.execute_complete({}, both, facts={"rows_before": 1})["seen"] == {"rows_before": 2}
        assert operator.execute_complete({}, event)["seen"] == {}

    @pytest.mark.parametrize(
        "operator",
        [
            TinybirdLoadOperator(task_id="load", datasource="o", data=[{"n": 1}], mode="replace"),
            TinybirdReplaceIntervalOperator(task_id="interval", datasource="o", data=[{"n": 1}], column="n"),
        ],
        ids=["load", "interval"],
    )
    def test_an_event_that_says_too_little_is_red_and_starts_nothing(self, tinybird, operator):
        event = {
            "ending": "done",
            "job_id": "j1",
            "message": "",
            "waited": 3.0,
            "job": {"status": "done"},
            "version": 1,
        }
        with pytest.raises(AirflowFailException, match=r"how far this task was \(state\)"):
            operator.execute_complete({}, event)
        assert tinybird.lines() == []

    def test_so_is_that_of_a_range(self, tinybird):
        operator = TinybirdCopyRangeOperator(task_id="r", pipe="p", start="2026-01-01", end="2026-01-03")
        with pytest.raises(AirflowFailException, match=r"how far this task was \(progress\)"):
            operator.execute_on({}, {"message": "the wait is over.", "version": 1})
        assert tinybird.lines() == []

    def test_a_range_of_an_older_version(self, tinybird, clock):
        progress = {
            "version": 1,
            "done": [["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", "j0", 3]],
            "halved": [],
            "running": [["2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", "j1", START, START + 600]],
            "failures": [],
            "refused_since": 0.0,
            "span": ["2026-01-01T00:00:00+00:00", "2026-01-03T00:00:00+00:00"],
        }
        tinybird.job("j1", "done")
        tinybird.on("POST /v0/sql", {"data": [{"operations": 1, "written": 4}]})
        operator = TinybirdCopyRangeOperator(task_id="r", pipe="p", start="2026-01-01", end="2026-01-03")
        result = operator.execute_on({}, {"message": "j1 is done.", "version": 1}, progress=progress, ends_at=None)
        assert (result["rows"], tinybird.count("POST /v0/pipes/p/copy")) == (7, 0)

    def test_a_subclass_without_further_arguments(self, copies, clock):
        class Own(TinybirdCopyOperator):
            def before_submit(self, earlier):
                return {"rows_before": 5}

            def facts_after(self, job, facts):
                return dict(facts)

            def execute_complete(self, context, event=None):
                return super().execute_complete(context, event)

        copies(*["working"] * 9, "done")
        wait = deferred(Own(task_id="t", pipe="daily", deferrable=True).execute, {})
        assert not wait.kwargs
        resumed = Own(task_id="t", pipe="daily", deferrable=True)
        result = resumed.resume_execution(wait.method_name, {**(wait.kwargs or {}), "event": event_of(wait)}, {})
        assert result["rows_before"] == 5

    def test_it_is_refused_before_anything_is_read(self):
        from airflow_provider_tinybird.jobs.outcome import left_before

        assert left_before({"resume": {"a": 1}}, needs="a", a=2, b=None) == {"a": 1}
        for event in (None, "text", {"resume": "text"}, {}):
            assert left_before(event, a=2) == {"a": 2}
            with pytest.raises(InvalidInputError):
                left_before(event, needs="a")


def test_a_reattached_job_is_not_said_to_be_accepted(copies, logs):
    copies("working", "done", "done")
    store = Store()
    copy_operator(deferrable=False).execute(context(store))
    logs.clear()
    again = context(store)
    again["ti"].try_number = 2
    copy_operator(deferrable=False).execute(again)
    assert "An earlier attempt started" in logs.text
    assert "Nothing is submitted now; clear the task" in logs.text
    assert "accepted" not in logs.text


def test_a_clear_while_running_starts_afresh(copies):
    """Airflow retries it, as if it had failed; only the trace context of the task instance tells."""
    tinybird = copies("working", "done", "done")
    store = Store()
    for traceparent, submits in (("a", 1), ("a", 1), ("b", 2)):
        this = context(store)
        this["ti"].try_number = 2
        this["ti"].context_carrier = {"traceparent": traceparent}
        copy_operator(deferrable=False, cancel_on_kill=False).execute(this)
        assert tinybird.count("POST /v0/pipes/daily/copy") == submits
