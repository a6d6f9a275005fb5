"""The life of an operator's job: waiting, deferral, kill, deadline, and which failures Airflow may retry."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import math
import threading
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_tinybird._compat import AirflowFailException, TaskDeferred
from airflow_provider_tinybird.api.errors import (
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    RateLimitedError,
    TinybirdError,
)
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger

START = 1_800_000_000.0
CANCEL = "POST /v0/jobs/j1/cancel"


def copy_operator(**arguments: Any) -> TinybirdCopyOperator:
    return TinybirdCopyOperator(task_id="t", **{"pipe": "daily", **arguments})


@pytest.fixture
def copies(tinybird, clock):
    """Copies are accepted as job j1."""

    def accept(*statuses: Any, **fields: Any) -> Any:
        job = tinybird.job("j1", *statuses, pipe_name="daily", **fields)
        tinybird.on("POST /v0/pipes/daily/copy", {"id": "node", "name": "n", "job": job})
        tinybird.on(CANCEL, {"id": "j1", "kind": "copy", "status": "cancelling"})
        return tinybird

    return accept


def deferred(operator: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute({})
    return caught.value


def event_of(wait: TaskDeferred) -> Any:
    """Run the trigger as the triggerer does: made anew from what is stored, its event through JSON."""
    path, arguments = json.loads(json.dumps(wait.trigger.serialize()))
    module, _, name = path.rpartition(".")

    async def run() -> list[Any]:
        trigger = getattr(importlib.import_module(module), name)(**arguments)
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(run())
    return json.loads(json.dumps(payload))


def finish(wait: TaskDeferred, operator: Any) -> Any:
    """Go on after the deferral with an operator made anew, as Airflow does."""
    return getattr(operator, wait.method_name)({}, event_of(wait), **(wait.kwargs or {}))


class TestWaiting:
    def test_until_it_is_done(self, copies):
        tinybird = copies("working", "working", "done")
        assert copy_operator().execute({}) == {
            "job_id": "j1",
            "status": "done",
            "job": {"id": "j1", "job_id": "j1", "kind": "copy", "status": "done", "pipe_name": "daily"},
            "rows": None,  # there is no log of operations here
        }
        looks = ["GET /v0/jobs/j1"] * 3
        assert tinybird.lines() == ["POST /v0/pipes/daily/copy", *looks, "POST /v0/sql"]

    def test_not_at_all(self, copies):
        tinybird = copies("working")
        value = copy_operator(wait_for_completion=False).execute({})
        assert (value["job_id"], value["status"]) == ("j1", "waiting")
        assert tinybird.lines() == ["POST /v0/pipes/daily/copy"]

    def test_not_at_all_and_deferrable(self, copies):
        copies("working")
        assert copy_operator(wait_for_completion=False, deferrable=True).execute({})["status"] == "waiting"

    def test_as_often_as_told(self, copies, clock):
        copies(*["working"] * 11, "done")
        copy_operator(poll_interval=timedelta(seconds=20)).execute({})
        assert clock.naps[-3:] == [20.0, 20.0, 20.0]

    def test_the_result_is_small(self, copies):
        copies("done", query_sql="SELECT " + "x" * 100_000, queries=[{"n": i} for i in range(10_000)])
        assert len(json.dumps(copy_operator().execute({}))) < 10_000


class TestDeferral:
    def test_a_short_job_never_defers(self, copies):
        tinybird = copies("working", "working", "done")
        assert copy_operator(deferrable=True).execute({})["status"] == "done"
        assert tinybird.count("GET /v0/jobs/j1") == 3

    @pytest.mark.parametrize("status", ["error", "cancelled"])
    def test_what_is_over_never_defers(self, copies, status):
        copies(status)
        with pytest.raises(TinybirdError):
            copy_operator(deferrable=True).execute({})

    def test_a_long_one_does(self, copies, clock):
        copies("working")
        wait = deferred(copy_operator(deferrable=True, timeout=600, poll_interval=30, cancel_on_kill=False))
        assert isinstance(wait.trigger, TinybirdJobTrigger)
        assert json.loads(json.dumps(wait.trigger.serialize()[1])) == {
            "tinybird_conn_id": "tinybird_default",
            "job_id": "j1",
            "poll_interval": 30.0,
            "deadline": START + 600,
            "started_at": START,
            "failures_tolerated": 10,
            "not_found_tolerated": 3,
            "cancel_on_kill": False,
            "pipe": "",
            "told": "working",
            "resume": {"deadline": START + 600, "started_at": START, "facts": {}, "bounces": 0},
        }
        assert wait.method_name == "execute_complete"
        # Airflow's own timeout cancels nothing, so it must come after ours.
        assert START + 600 < clock.now + wait.timeout.total_seconds() <= START + 600 + 300
        assert clock.now - START <= 5.0

    def test_the_result_is_that_of_the_worker(self, copies):
        statuses = ["working"] * 8 + ["done"]
        copies(*statuses, rows=7)
        in_worker = copy_operator().execute({})
        copies(*statuses, rows=7)
        wait = deferred(copy_operator(deferrable=True))
        assert finish(wait, copy_operator(deferrable=True)) == in_worker

    @pytest.mark.parametrize(("status", "error"), [("error", JobFailedError), ("cancelled", JobCancelledError)])
    def test_so_is_the_failure(self, copies, status, error):
        statuses = ["working"] * 8 + [status]
        copies(*statuses, error="no memory")
        with pytest.raises(error, match="no memory"):
            copy_operator().execute({})
        copies(*statuses, error="no memory")
        wait = deferred(copy_operator(deferrable=True))
        with pytest.raises(error, match="no memory"):
            finish(wait, copy_operator(deferrable=True))

    def test_execution_timeout_counts_too(self, copies):
        """Airflow does not enforce it while a task is deferred."""
        copies("working")
        wait = deferred(copy_operator(deferrable=True, timeout=6000, execution_timeout=timedelta(minutes=2)))
        assert wait.trigger.deadline == START + 120

    @pytest.mark.parametrize(
        "event",
        [
            None,
            {},
            "done",
            {"status": "success"},
            {"ending": "weird", "job_id": "j1"},
            {"ending": "done", "job_id": "j1", "version": 2},
        ],
    )
    def test_an_event_that_nobody_understands(self, copies, event):
        """The job may be done: a retry by itself would do it twice."""
        tinybird = copies("done")
        with pytest.raises(AirflowFailException, match="The job's state is unknown: look it up"):
            copy_operator().execute_complete({}, event)
        assert tinybird.lines() == []


class TestKill:
    def test_it_cancels_this_tasks_job_once(self, copies, clock):
        tinybird = copies("working")
        operator = copy_operator()

        def interrupt() -> None:
            operator.on_kill()
            raise KeyboardInterrupt

        clock.while_asleep = interrupt
        with pytest.raises(KeyboardInterrupt):
            operator.execute({})
        assert tinybird.count(CANCEL) == 1
        assert tinybird.lines()[-1] == CANCEL

    def test_from_another_thread_while_a_look_hangs(self, copies):
        tinybird = copies("working")
        looking, killed = threading.Event(), threading.Event()

        def hang(_: Any) -> Any:
            looking.set()
            killed.wait(10)
            return {"id": "j1", "kind": "copy", "status": "cancelled"}

        tinybird.on("GET /v0/jobs/j1", hang)
        operator = copy_operator()

        def kill() -> None:
            if looking.wait(10):
                operator.on_kill()
            killed.set()

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(JobCancelledError):
            operator.execute({})
        thread.join(10)
        assert tinybird.count(CANCEL) == 1

    def test_not_when_told_not_to(self, copies, clock, logs):
        tinybird = copies("working", "done")
        operator = copy_operator(cancel_on_kill=False)
        clock.while_asleep = operator.on_kill
        operator.execute({})
        assert tinybird.count(CANCEL) == 0
        assert "Job j1 goes on running: cancel_on_kill is off." in logs.text

    def test_before_the_submit_there_is_nothing_to_cancel(self, tinybird):
        copy_operator().on_kill()
        assert tinybird.lines() == []

    def test_after_the_end_there_is_nothing_to_cancel(self, copies):
        tinybird = copies("done")
        operator = copy_operator()
        operator.execute({})
        operator.on_kill()
        assert tinybird.count(CANCEL) == 0

    def test_a_job_that_nobody_waits_for_is_left_alone(self, copies):
        tinybird = copies("working")
        operator = copy_operator(wait_for_completion=False)
        operator.execute({})
        operator.on_kill()
        assert tinybird.count(CANCEL) == 0

    @pytest.mark.parametrize("answer", [(400, {"error": "Job j1 is not cancellable."}), (403, {}), (500, "boom")])
    def test_a_refusal_is_one_line(self, copies, clock, logs, answer):
        tinybird = copies("working", "done")
        tinybird.on(CANCEL, answer)
        operator = copy_operator()
        clock.while_asleep = operator.on_kill
        operator.execute({})
        said = [r.getMessage() for r in logs.records if "cancel" in r.getMessage() and "j1" in r.getMessage()]
        assert len([text for text in said if "refused" in text or "could not" in text]) == 1
        assert "\n" not in "".join(said)

    def test_it_needs_neither_the_connection_nor_the_client_in_use(self, copies, clock, monkeypatch):
        """It runs inside a signal handler: Airflow cannot be asked there, and the other client may hold a lock."""
        tinybird = copies("working", "done")
        operator = copy_operator()

        def kill() -> None:
            monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT")
            monkeypatch.setattr(operator.hook.client, "send", None)
            operator.on_kill()
            raise KeyboardInterrupt

        clock.while_asleep = kill
        with pytest.raises(KeyboardInterrupt):
            operator.execute({})
        assert tinybird.count(CANCEL) == 1


class TestDeadline:
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_it_cancels_and_fails(self, copies, deferrable):
        tinybird = copies("waiting", "working")
        run = partial(copy_operator(timeout=60).execute, {})
        if deferrable:
            wait = deferred(copy_operator(timeout=60, deferrable=True))
            run = partial(finish, wait, copy_operator(timeout=60, deferrable=True))
        with pytest.raises(JobTimeoutError) as caught:
            run()
        message = str(caught.value)
        assert "Copy job j1 (pipe 'daily') was still 'working' after 60 s; timeout gives it 60 s." in message
        assert "Tinybird was asked to cancel job j1: it is cancelling." in message
        assert tinybird.count(CANCEL) == 1
        assert tinybird.lines()[-1] == CANCEL

    def test_a_refused_cancel_is_told(self, copies):
        tinybird = copies("working")
        tinybird.on(CANCEL, (400, {"error": "Job j1 is not cancellable."}))
        with pytest.raises(JobTimeoutError, match="refused to cancel job j1: Job j1 is not cancellable"):
            copy_operator(timeout=10).execute({})

    def test_without_cancel(self, copies):
        tinybird = copies("working")
        with pytest.raises(JobTimeoutError):
            copy_operator(timeout=10, cancel_on_kill=False).execute({})
        assert tinybird.count(CANCEL) == 0

    @pytest.mark.parametrize("name", ["timeout", "poll_interval"])
    @pytest.mark.parametrize("value", [0, -1, timedelta(0), "soon", None, math.nan, math.inf, timedelta(seconds=-3)])
    def test_a_length_of_time_that_is_none(self, copies, name, value):
        tinybird = copies("done")
        with pytest.raises(AirflowFailException, match=f"{name}=.* is no length of time"):
            copy_operator(**{name: value}).execute({})
        assert tinybird.lines() == []


class TestWhatAirflowMayRetry:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ((400, {"error": "[Error] Syntax error"}), "Syntax error"),
            ((401, {"error": "invalid token"}), "invalid token"),
            ((403, {"error": "no scope"}), "PIPES:READ:daily and DATASOURCES:APPEND"),
            ((404, {"error": "The pipe 'daily' does not exist"}), "Check the name"),
            ((409, {"error": "in conflict"}), "in conflict"),
            ((500, "boom"), "It is not known whether Tinybird did this"),
            ((502, "<html>"), "It is not known whether Tinybird did this"),
            ((200, {"id": "node"}), "names no job"),
            ((200, b"<html>"), "not JSON"),
        ],
    )
    def test_not_what_trying_again_does_not_mend(self, tinybird, clock, answer, said):
        tinybird.on("POST /v0/pipes/daily/copy", answer)
        tinybird.on("GET /v0/jobs", {"jobs": []})
        with pytest.raises(AirflowFailException, match=said):
            copy_operator().execute({})
        assert tinybird.count("POST /v0/pipes/daily/copy") == 1

    def test_a_lost_answer_is_not_sent_again(self, tinybird, clock):
        tinybird.on("POST /v0/pipes/daily/copy", tinybird.cut)
        tinybird.on("GET /v0/jobs", {"jobs": []})
        with pytest.raises(
            AirflowFailException, match="It is not known whether Tinybird did this: run copy pipe 'daily'"
        ):
            copy_operator().execute({})
        assert tinybird.count("POST /v0/pipes/daily/copy") == 1

    def test_no_connection(self, clock):
        with pytest.raises(Exception, match="tinybird_default"):
            copy_operator().execute({})

    def test_a_connection_without_a_token(self, clock, connection):
        connection("https://api.tinybird.co", None)
        with pytest.raises(AirflowFailException, match="Connection 'tinybird_default': Password is empty"):
            copy_operator().execute({})

    def test_bad_input(self, tinybird, clock):
        with pytest.raises(AirflowFailException, match="mode='upsert' is no mode of a copy"):
            copy_operator(mode="upsert").execute({})
        assert tinybird.lines() == []

    def test_but_a_rate_limit(self, tinybird, clock):
        tinybird.on("POST /v0/pipes/daily/copy", (429, {"error": "too many"}))
        with pytest.raises(RateLimitedError):
            copy_operator().execute({})

    def test_and_nobody_listening(self, clock, connection):
        connection("http://127.0.0.1:9", "t", max_retries=0)
        with pytest.raises(TinybirdError, match="Nothing was sent"):
            copy_operator().execute({})

    @pytest.mark.parametrize("status", ["error", "cancelled"])
    def test_and_a_job_that_failed(self, copies, status):
        copies("working", status)
        with pytest.raises(TinybirdError):
            copy_operator().execute({})

    def test_a_job_that_cannot_be_looked_at_any_more_is_not_done_twice(self, copies):
        copies("working", (403, {"error": "token was revoked"}))
        with pytest.raises(AirflowFailException, match=r"may go on running\..*token was revoked"):
            copy_operator().execute({})


def test_a_token_shows_nowhere(copies, logs):
    """Through a whole life with trouble in each step, at DEBUG."""
    token = copies("working").token
    tinybird = copies(
        "working",
        (502, f"<html>{token}</html>"),
        (429, {"error": f"slow down {token}"}),
        "error",
        error=f"failed for {token}",
        url=f"https://x/?token={token}",
    )
    shown = []
    with pytest.raises(JobFailedError) as caught:
        copy_operator().execute({})
    shown.append(str(caught.value) + repr(caught.value) + repr(caught.value.job))
    for answer in ((403, {"error": f"no {token}"}), (400, f"bad {token}"), (500, {"error": f"boom {quote(token)}"})):
        tinybird.on("POST /v0/pipes/daily/copy", answer)
        tinybird.on("GET /v0/jobs", {"jobs": []})
        with pytest.raises(AirflowFailException) as refused:
            copy_operator().execute({})
        shown.append(str(refused.value))
    everything = "".join(shown) + logs.text
    secrets = [token, quote(token, safe=""), base64.b64encode(token.encode()).decode(), token.partition(".")[2]]
    assert [secret for secret in secrets if secret in everything] == []
    assert all(token not in request.target for request in tinybird.requests)


def test_the_context_of_a_real_task(copies):
    """What Airflow hands over, and not an empty mapping."""
    copies("done")
    ti = SimpleNamespace(max_tries=2, try_number=1, map_index=-1)
    context = {"ti": ti, "dag_run": SimpleNamespace(start_date=None)}
    assert copy_operator(retries=2).execute(context)["status"] == "done"
