"""The trigger that waits for a job: what it stores, its one event in each case, and when it cancels."""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any

import pytest

from airflow_provider_tinybird._compat import TRIGGER_HAS_ON_KILL
from airflow_provider_tinybird.jobs import watch
from airflow_provider_tinybird.jobs.watch import Ending, Outcome
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger

START = 1_800_000_000.0


def trigger(**changes: Any) -> TinybirdJobTrigger:
    arguments = {"tinybird_conn_id": "tinybird_default", "job_id": "j1", "deadline": START + 60, "started_at": START}
    return TinybirdJobTrigger(**{**arguments, **changes})


async def events(made: TinybirdJobTrigger) -> list[Outcome]:
    """Run a trigger to its end, as the triggerer does: made anew from what was stored."""
    path, arguments = json.loads(json.dumps(made.serialize()))
    module, _, name = path.rpartition(".")
    rebuilt = getattr(importlib.import_module(module), name)(**arguments)
    payloads = [event.payload async for event in rebuilt.run()]
    return [Outcome.from_payload(json.loads(json.dumps(payload))) for payload in payloads]


async def only_event(made: TinybirdJobTrigger) -> Outcome:
    (outcome,) = await events(made)
    return outcome


def test_what_is_stored():
    assert trigger(poll_interval=7.5).serialize() == (
        "airflow_provider_tinybird.triggers.jobs.TinybirdJobTrigger",
        {
            "tinybird_conn_id": "tinybird_default",
            "job_id": "j1",
            "poll_interval": 7.5,
            "deadline": START + 60,
            "started_at": START,
            "failures_tolerated": 10,
            "not_found_tolerated": 3,
            "cancel_on_kill": True,
            "pipe": "",
            "told": "",
            "resume": None,
        },
    )


def test_what_an_older_version_stored_still_works():
    """Arguments of the first version: whatever is added must have a default, as tasks stay deferred over upgrades."""
    TinybirdJobTrigger(tinybird_conn_id="c", job_id="j", poll_interval=5.0, deadline=1.0, started_at=0.0)


def test_making_one_costs_nothing(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", raising=False)
    assert "hook" not in vars(trigger())


class TestRun:
    async def test_done(self, clock, tinybird):
        tinybird.job("j1", "working", "working", "done", pipe_name="daily")
        outcome = await only_event(trigger())
        assert (outcome.ending, outcome.job_id, outcome.waited) == (Ending.DONE, "j1", 15.0)
        assert outcome.job["pipe_name"] == "daily"
        assert clock.naps == [5.0, 5.0, 5.0]  # it pauses first: the task has just looked

    @pytest.mark.parametrize(("status", "ending"), [("error", Ending.FAILED), ("cancelled", Ending.CANCELLED)])
    async def test_not_well(self, clock, tinybird, status, ending):
        tinybird.job("j1", "working", status, error="out of memory")
        outcome = await only_event(trigger())
        assert outcome.ending is ending
        assert "out of memory" in outcome.message

    async def test_cancelling_and_unknown_go_on(self, clock, tinybird):
        tinybird.job("j1", "cancelling", "never heard of", "done")
        assert (await only_event(trigger())).ending is Ending.DONE

    async def test_timeout(self, clock, tinybird):
        tinybird.job("j1", "working")
        outcome = await only_event(trigger())
        assert outcome.ending is Ending.TIMEOUT
        assert "still 'working' after 60 s" in outcome.message
        assert clock.now == START + 60
        assert set(tinybird.lines()) == {"GET /v0/jobs/j1"}  # cancelling is the task's business

    async def test_a_second_run_has_no_new_deadline(self, clock, tinybird):
        """A triggerer was restarted: the deadline is a moment, not a length of time."""
        tinybird.job("j1", "working")
        clock.now = START + 55
        assert (await only_event(trigger())).ending is Ending.TIMEOUT
        assert clock.now == START + 60

    async def test_done_while_nobody_watched(self, clock, tinybird):
        tinybird.job("j1", "done")
        clock.now = START + 7200
        assert (await only_event(trigger())).ending is Ending.DONE

    async def test_404_a_few_times(self, clock, tinybird):
        tinybird.job("j1", *[(404, {"error": "unknown"})] * 3, "done")
        assert (await only_event(trigger())).ending is Ending.DONE

    async def test_404_for_good(self, clock, tinybird):
        tinybird.job("j1", (404, {"error": "unknown"}))
        tinybird.on("POST /v0/sql", (403, {"error": "no"}))
        outcome = await only_event(trigger())
        assert outcome.ending is Ending.LOST
        assert tinybird.count("GET /v0/jobs/j1") == 4
        assert "48 hours" in outcome.message

    async def test_trouble_that_passes(self, clock, tinybird):
        tinybird.job("j1", *[(502, "<html>bad gateway</html>")] * 10, "done")
        assert (await only_event(trigger(deadline=START + 600))).ending is Ending.DONE

    async def test_trouble_that_stays(self, clock, tinybird):
        tinybird.job("j1", (502, "<html>bad gateway</html>"))
        outcome = await only_event(trigger(deadline=START + 7200, poll_interval=600))
        assert outcome.ending is Ending.LOST
        assert tinybird.count("GET /v0/jobs/j1") == 11  # more than ten, and for more than an hour
        assert "bad gateway" in outcome.message

    async def test_no_server(self, clock, connection):
        connection("http://127.0.0.1:9", "t", max_retries=0)
        outcome = await only_event(trigger(failures_tolerated=1))
        assert outcome.ending is Ending.TIMEOUT
        assert "no connection to http://127.0.0.1:9" in outcome.message

    async def test_a_refusal_that_stays_wakes_the_worker(self, clock, tinybird):
        """The token may have been rotated, and the connection be about to hold the new one."""
        tinybird.job("j1", (403, {"error": "token has no scope"}))
        outcome = await only_event(trigger(deadline=START + 600))
        assert outcome.ending is Ending.LOST
        assert "token has no scope" in outcome.message
        assert "Connection 'tinybird_default' is refused by Tinybird in the triggerer" in outcome.message
        assert tinybird.count("GET /v0/jobs/j1") == 6
        assert 60 <= clock.now - START <= 70

    async def test_that_is_within_the_deadline(self, clock, tinybird):
        tinybird.job("j1", (403, {"error": "token has no scope"}))
        assert (await only_event(trigger(deadline=START + 12))).ending is Ending.LOST
        assert clock.now <= START + 16

    async def test_a_rotated_token(self, clock, tinybird, connection):
        tinybird.on("GET /v0/jobs/j1", by_token(tinybird, "new", {"id": "j1", "status": "done"}))
        clock.while_asleep = lambda: clock.now > START + 8 and connection(tinybird.url, "new", max_retries=0)
        assert (await only_event(trigger(deadline=START + 600))).ending is Ending.DONE
        assert tinybird.count("GET /v0/jobs/j1") == 3

    async def test_a_connection_that_is_not_there(self, clock):
        outcome = await only_event(trigger(tinybird_conn_id="nowhere", deadline=START + 600))
        assert outcome.ending is Ending.LOST
        assert "Connection 'nowhere' could not be read in the triggerer" in outcome.message
        assert "may go on running" in outcome.message

    async def test_a_connection_that_is_missing_for_a_moment(self, clock, tinybird, connection, monkeypatch):
        tinybird.job("j1", "done")
        monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT")
        clock.while_asleep = lambda: clock.now > START + 8 and connection(tinybird.url, tinybird.token)
        assert (await only_event(trigger(deadline=START + 600))).ending is Ending.DONE

    async def test_the_event_brings_back_what_the_task_left(self, clock, tinybird):
        tinybird.job("j1", "done")
        left = {"facts": {"rows_before": 3}, "deadline": 1.5}
        made = trigger(resume=left)
        _, arguments = json.loads(json.dumps(made.serialize()))
        (event,) = [one.payload async for one in TinybirdJobTrigger(**arguments).run()]
        assert event["resume"] == left

    async def test_something_unexpected(self, clock, tinybird, monkeypatch, logs):
        """Whatever breaks: an exception from here would fail the task with nothing but a traceback."""

        def broken(*_: Any) -> None:
            raise RuntimeError(f"bug with {tinybird.token}")

        monkeypatch.setattr(watch, "small_json", broken)
        tinybird.job("j1", "done")
        outcome = await only_event(trigger())
        assert outcome.ending is Ending.LOST
        assert "RuntimeError: bug with ***" in outcome.message
        assert "Traceback" in logs.text

    async def test_being_cancelled_cancels_nothing(self, tinybird):
        """The triggerer stops, or hands the trigger to another: the job must go on."""
        tinybird.job("j1", "working")
        looked = asyncio.Event()
        loop = asyncio.get_running_loop()
        tinybird.on(
            "GET /v0/jobs/j1", lambda _: loop.call_soon_threadsafe(looked.set) and {"id": "j1", "status": "working"}
        )
        import time

        made = trigger(poll_interval=0.01, deadline=time.time() + 60, started_at=time.time())
        task = asyncio.ensure_future(events(made))
        await asyncio.wait_for(looked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await made.cleanup()
        assert {line for line in tinybird.lines() if line.startswith("POST")} == set()

    async def test_a_token_shows_nowhere(self, clock, tinybird, logs):

        tinybird.job("j1", (502, f"no {tinybird.token}"), "error", error=f"bad {tinybird.token}")
        made = trigger()
        outcome = await only_event(made)
        shown = logs.text + repr(made) + str(made.serialize()) + json.dumps(outcome.to_payload())
        assert tinybird.token not in shown
        assert all(tinybird.token not in request.target for request in tinybird.requests)
        assert {request.headers["authorization"] for request in tinybird.requests} == {f"Bearer {tinybird.token}"}


def by_token(tinybird: Any, token: str, answer: Any) -> Any:
    """Answer to one token only."""
    refusal = (403, {"error": "invalid authentication token"})
    return lambda request: answer if request.headers["authorization"] == f"Bearer {token}" else refusal


class TestOnKill:
    async def test_it_cancels_its_job(self, tinybird):
        tinybird.on("POST /v0/jobs/j1/cancel", {"id": "j1", "status": "cancelling"})
        await trigger().on_kill()
        assert tinybird.lines() == ["POST /v0/jobs/j1/cancel"]

    async def test_not_when_told_not_to(self, tinybird):
        await trigger(cancel_on_kill=False).on_kill()
        assert tinybird.lines() == []

    @pytest.mark.parametrize(
        "answer", [(400, {"error": "Job j1 is not cancellable."}), (403, {"error": "no"}), (404, {}), (500, "boom")]
    )
    async def test_a_refusal_is_one_line(self, tinybird, logs, answer):

        tinybird.on("POST /v0/jobs/j1/cancel", answer)
        await trigger().on_kill()
        (said,) = [record.getMessage() for record in logs.records if "j1" in record.getMessage()]
        assert "\n" not in said
        assert tinybird.lines() == ["POST /v0/jobs/j1/cancel"]

    async def test_a_connection_that_is_not_there(self, logs):
        await trigger(tinybird_conn_id="nowhere").on_kill()
        assert "Job j1 could not be cancelled and may go on running" in logs.text

    def test_airflow_knows_it_from_3_3_on(self):
        from airflow import __version__

        assert (tuple(int(part) for part in __version__.split(".")[:2]) >= (3, 3)) == TRIGGER_HAS_ON_KILL
