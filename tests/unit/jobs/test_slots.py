"""The wait for a free slot: refused at submit or failed as a job, held by a worker or by the triggerer, never for ever."""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any

import pytest

from airflow_provider_tinybird._compat import TaskDeferred
from airflow_provider_tinybird.api.errors import JobSlotTimeoutError
from airflow_provider_tinybird.jobs import slots
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.triggers.slots import TinybirdSlotTrigger

REFUSED = (403, {"error": "You have reached the maximum number of copy jobs (2)."})
COPY = "POST /v0/pipes/daily/copy"


@pytest.fixture
def copies(tinybird, clock):
    """Answer submits in turn: ``refused``, or the id of a job that is done at the first look."""

    def answer(*submits: str, words: str = "") -> Any:
        answers = []
        for submit in submits:
            if submit == "refused":
                answers.append(REFUSED)
                continue
            job = tinybird.job(submit, "error" if words and submit == submits[0] else "done", error=words or None)
            answers.append({"id": "t_node", "job": job})
        tinybird.on(COPY, *answers)
        tinybird.on("POST /v0/sql", {"meta": [], "data": [{"operations": 0, "written": 0}], "rows": 1})
        return tinybird

    return answer


def operator(**arguments: Any) -> TinybirdCopyOperator:
    return TinybirdCopyOperator(task_id="t", pipe="daily", **arguments)


def event_of(wait: TaskDeferred) -> Any:
    path, arguments = json.loads(json.dumps(wait.trigger.serialize()))
    module, _, name = path.rpartition(".")

    async def run() -> list[Any]:
        return [event.payload async for event in getattr(importlib.import_module(module), name)(**arguments).run()]

    (payload,) = asyncio.run(run())
    return json.loads(json.dumps(payload))


def test_a_worker_waits_and_tries_again(copies, clock):
    tinybird = copies("refused", "refused", "j1")
    assert operator().execute({})["job_id"] == "j1"
    assert tinybird.count(COPY) == 3
    assert all(slots.LONGEST_WAIT / 2 <= nap <= slots.LONGEST_WAIT for nap in clock.naps)


def test_a_job_that_failed_for_want_of_a_slot_is_started_again(copies):
    tinybird = copies("j1", "j2", words="You have reached the maximum number of copy jobs")
    assert operator().execute({})["job_id"] == "j2"
    assert tinybird.count(COPY) == 2


def test_another_403_is_no_want_of_a_slot(tinybird, clock):
    tinybird.on(COPY, (403, {"error": "The token lacks the scope PIPES:READ:daily"}))
    with pytest.raises(Exception, match="scope"):
        operator().execute({})
    assert tinybird.count(COPY) == 1


def test_the_wait_ends_with_the_timeout_and_says_that_nothing_was_started(copies, clock):
    tinybird = copies("refused")
    start = clock.now
    with pytest.raises(JobSlotTimeoutError, match=r"no free slot .* 600 s .*nothing was started.*pool"):
        operator(timeout=600).execute({})
    assert clock.now - start == pytest.approx(600)
    assert tinybird.count("POST /v0/jobs/j1/cancel") == 0


def test_deferred_it_waits_in_the_triggerer_and_a_worker_submits(copies, clock):
    tinybird = copies("refused", "j1")
    start = clock.now
    task = operator(deferrable=True, timeout=600)
    with pytest.raises(TaskDeferred) as caught:
        task.execute({})
    wait = caught.value
    assert isinstance(wait.trigger, TinybirdSlotTrigger)
    assert wait.trigger.resume == {"deadline": start + 600, "started_at": start}
    assert not wait.kwargs  # dag.test() drops them
    tinybird.on("GET /v0/jobs", *[{"jobs": [{"id": f"x{n}", "status": "working"} for n in range(2)]}] * 4, {"jobs": []})
    event = event_of(wait)
    assert tinybird.count(COPY) == 1, "a trigger never submits"
    fresh = operator(deferrable=True, timeout=600)
    assert getattr(fresh, wait.method_name)({}, event)["job_id"] == "j1"
    assert tinybird.count(COPY) == 2


def test_the_deadline_is_kept_over_the_waits(copies, clock):
    copies("refused")
    task = operator(deferrable=True, timeout=600)
    with pytest.raises(TaskDeferred) as caught:
        task.execute({})
    clock.now += 599
    with pytest.raises(TaskDeferred) as again:
        operator(deferrable=True, timeout=600).execute_again({}, {"message": "", "resume": caught.value.trigger.resume})
    assert again.value.trigger.resume == caught.value.trigger.resume
    clock.now += 1
    with pytest.raises(JobSlotTimeoutError):  # what an older version left
        operator(deferrable=True, timeout=600).execute_again({}, {"message": ""}, **caught.value.trigger.resume)


def test_a_deferred_job_that_failed_for_want_of_a_slot_waits_for_one(copies, clock):
    copies("j1")
    payload = {
        "ending": "failed",
        "job_id": "j1",
        "waited": 10.0,
        "message": "Copy job j1 failed: You have reached the maximum number of copy jobs, after 10 s.",
        "job": {"job_id": "j1", "status": "error"},
        "version": 1,
    }
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True, timeout=600).execute_complete({}, payload)
    assert isinstance(caught.value.trigger, TinybirdSlotTrigger)
    assert caught.value.trigger.resume["deadline"] == clock.now - 10 + 600


class TestTrigger:
    def test_what_is_stored(self):
        trigger = TinybirdSlotTrigger(tinybird_conn_id="c", kind="copy", until=5.0)
        assert trigger.serialize() == (
            "airflow_provider_tinybird.triggers.slots.TinybirdSlotTrigger",
            {"tinybird_conn_id": "c", "kind": "copy", "until": 5.0, "poll_interval": 5.0, "resume": None},
        )

    def test_it_fires_when_there_are_fewer(self, tinybird, clock):
        full = {"jobs": [{"id": "a", "status": "working"}]}
        tinybird.on("GET /v0/jobs", full, full, full, full, {"jobs": []})
        start = clock.now
        event = self._run(TinybirdSlotTrigger(tinybird_conn_id="tinybird_default", kind="copy", until=start + 60))
        assert event == {"message": "0 copy jobs are running or waiting, 2 were.", "version": 1}
        assert clock.now - start == pytest.approx(10)
        assert {request.query["status"] for request in tinybird.requests} == {"waiting", "working"}

    @pytest.mark.parametrize("kind", ["copy", ""])
    def test_it_fires_when_the_time_is_over(self, tinybird, clock, kind):
        tinybird.on("GET /v0/jobs", {"jobs": [{"id": "a", "status": "working"}]})
        start = clock.now
        event = self._run(TinybirdSlotTrigger(tinybird_conn_id="tinybird_default", kind=kind, until=start + 60))
        assert event["message"] == "the wait is over."
        assert clock.now - start == pytest.approx(60)
        assert bool(tinybird.requests) == bool(kind)

    def test_it_fires_when_it_cannot_look(self, tinybird, clock):
        tinybird.on("GET /v0/jobs", (403, {"error": "no"}))
        until = clock.now + 60
        assert self._run(TinybirdSlotTrigger(tinybird_conn_id="tinybird_default", kind="copy", until=until))

    def test_it_fires_when_there_is_no_such_connection(self, clock):
        event = self._run(TinybirdSlotTrigger(tinybird_conn_id="missing", kind="copy", until=clock.now + 60))
        assert "Connection 'missing' could not be read in the triggerer" in event["message"]

    def _run(self, trigger: TinybirdSlotTrigger) -> Any:
        async def run() -> list[Any]:
            return [event.payload async for event in trigger.run()]

        (payload,) = asyncio.run(run())
        return payload
