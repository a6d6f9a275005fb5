"""Jobs that the Jobs API has forgotten, and the newest job of a pipe."""

from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_tinybird._compat import TaskDeferred
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.jobs.outcome import Ending
from airflow_provider_tinybird.jobs.watch import Rules, Watch, watch_job, watch_job_async
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

FORGOTTEN = (404, {"error": "Job not found"})


def watch(clock, **changes):
    return Watch("j1", Rules(deadline=clock.now + 600, started_at=clock.now, not_found_tolerated=0, **changes))


def logged(*rows):
    return {"meta": [], "data": list(rows), "rows": len(rows)}


@pytest.fixture(params=["sync", "async"])
def end(request, tinybird, clock):
    """Watch a job to its end, by either client."""

    def run(watched):
        if request.param == "sync":
            return watch_job(TinybirdHook().client, watched)

        async def wait():
            async with TinybirdHook().async_client() as client:
                return await watch_job_async(client, watched)

        return asyncio.run(wait())

    return run


def test_a_forgotten_job_is_looked_up_in_the_log(end, tinybird, clock):
    tinybird.on("GET /v0/jobs/j1", FORGOTTEN)
    tinybird.on("POST /v0/sql", logged({"job_id": "j1", "kind": "copy", "status": "done"}))
    outcome = end(watch(clock))
    assert (outcome.ending, outcome.as_job().kind) == (Ending.DONE, "copy")
    sql = next(request.form["q"] for request in tinybird.requests if request.path == "/v0/sql")
    assert "FROM tinybird.jobs_log WHERE job_id = 'j1'" in sql


def test_what_the_log_says_of_a_failure_is_said(end, tinybird, clock):
    tinybird.on("GET /v0/jobs/j1", FORGOTTEN)
    tinybird.on("POST /v0/sql", logged({"job_id": "j1", "kind": "copy", "status": "error", "error": "out of memory"}))
    outcome = end(watch(clock))
    assert outcome.ending is Ending.FAILED
    assert "out of memory" in outcome.message


@pytest.mark.parametrize("answer", [logged(), (403, {"error": "no such scope"})])
def test_a_job_that_nobody_knows_is_lost(end, tinybird, clock, answer):
    tinybird.on("GET /v0/jobs/j1", FORGOTTEN)
    tinybird.on("POST /v0/sql", answer)
    outcome = end(watch(clock))
    assert outcome.ending is Ending.LOST
    assert "48 hours" in outcome.message
    assert "tinybird.jobs_log" in outcome.message


class TestNewestJobOfAPipe:
    def jobs(self, *rows):
        return {
            "jobs": [
                {"id": job_id, "status": status, "kind": "copy", "pipe_name": "daily", "created_at": created}
                for job_id, status, created in rows
            ]
        }

    def test_in_poke_mode(self, tinybird, clock):
        old = ("j1", "done", "2026-01-01 00:00:00")
        tinybird.on(
            "GET /v0/jobs",
            self.jobs(),
            self.jobs(old, ("j2", "working", "2026-01-02 00:00:00.5")),
            self.jobs(("j2", "done", "2026-01-02 00:00:00.5"), old),
        )
        sensor = TinybirdJobSensor(task_id="t", pipe="daily", deferrable=False)
        assert sensor.poke({}).is_done is False
        assert sensor.poke({}).is_done is False
        assert sensor.poke({}).xcom_value["job_id"] == "j2"
        assert all(request.query == {"pipe_name": "daily"} for request in tinybird.requests)

    def test_deferred(self, tinybird, clock):
        tinybird.on("GET /v0/jobs", self.jobs(), self.jobs(), self.jobs(("j2", "done", "2026-01-02 00:00:00")))
        sensor = TinybirdJobSensor(task_id="t", pipe="daily", deferrable=True)
        with pytest.raises(TaskDeferred) as caught:
            sensor.execute({})
        _, arguments = json.loads(json.dumps(caught.value.trigger.serialize()))

        async def run():
            return [event.payload async for event in type(caught.value.trigger)(**arguments).run()]

        (payload,) = asyncio.run(run())
        fresh = TinybirdJobSensor(task_id="t", pipe="daily", deferrable=True)
        assert fresh.execute_complete({}, payload)["job_id"] == "j2"

    @pytest.mark.parametrize("arguments", [{}, {"job_id": "j1", "pipe": "daily"}, {"job_id": ""}])
    def test_either_and_not_both(self, arguments):
        with pytest.raises(Exception, match="either job_id or pipe"):
            TinybirdJobSensor(task_id="t", deferrable=False, **arguments).poke({})
