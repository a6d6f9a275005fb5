"""The sensor: poke, reschedule and deferrable mean the same."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from airflow_provider_tinybird._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_provider_tinybird.api.errors import JobCancelledError, JobFailedError
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

MODES = ("poke", "reschedule", "deferrable")
each_mode = pytest.mark.parametrize("mode", MODES)


@each_mode
def test_done(runner, tinybird, mode):
    tinybird.job("j1", "waiting", "working", "done")
    assert runner.run(mode) == {
        "job_id": "j1",
        "status": "done",
        "job": {"id": "j1", "job_id": "j1", "kind": "copy", "status": "done"},
    }
    assert tinybird.lines() == ["GET /v0/jobs/j1"] * 3
    assert runner.deferrals == (1 if mode == "deferrable" else 0)


@each_mode
def test_done_already(runner, tinybird, mode):
    tinybird.job("j1", "done")
    assert runner.run(mode)["status"] == "done"
    assert (len(tinybird.requests), runner.deferrals) == (1, 0)


@each_mode
@pytest.mark.parametrize("more", [{}, {"soft_fail": True}])
@pytest.mark.parametrize("statuses", [["error"], ["working", "working", "error"]])
def test_a_failed_job_fails(runner, tinybird, mode, more, statuses):
    """Also with soft_fail: that is for time running out."""
    tinybird.job("j1", *statuses, error="no memory")
    with pytest.raises(JobFailedError, match="no memory"):
        runner.run(mode, **more)


@each_mode
@pytest.mark.parametrize("statuses", [["cancelled"], ["working", "cancelling", "cancelled"]])
def test_a_cancelled_job_fails(runner, tinybird, mode, statuses):
    tinybird.job("j1", *statuses)
    with pytest.raises(JobCancelledError):
        runner.run(mode)


@each_mode
def test_time_runs_out(runner, tinybird, clock, mode):
    start = clock.now
    tinybird.job("j1", "working")
    with pytest.raises(AirflowSensorTimeout):
        runner.run(mode)
    assert 60 <= clock.now - start <= 70
    assert {request.method for request in tinybird.requests} == {"GET"}  # not its job: it cancels nothing


@each_mode
def test_time_runs_out_softly(runner, tinybird, mode):
    tinybird.job("j1", "working")
    with pytest.raises(AirflowSkipException):
        runner.run(mode, soft_fail=True)


@each_mode
@pytest.mark.parametrize("statuses", [["error"], ["working", "working", "cancelled"]])
def test_never_fail_skips(runner, tinybird, mode, statuses):
    tinybird.job("j1", *statuses)
    with pytest.raises(AirflowSkipException):
        runner.run(mode, never_fail=True)


@each_mode
def test_trouble_is_outlasted(runner, tinybird, mode):
    trouble = [(502, "<html>"), (503, {"error": "busy"}), (429, {"error": "slow"}), tinybird.cut, (500, "boom")]
    tinybird.job("j1", *trouble, "done")
    assert runner.run(mode)["status"] == "done"


@each_mode
def test_trouble_until_time_runs_out(runner, tinybird, mode):
    tinybird.job("j1", (502, "<html>"))
    with pytest.raises(AirflowSensorTimeout):
        runner.run(mode)


@each_mode
def test_a_job_that_does_not_exist(runner, tinybird, mode):
    tinybird.job("j1", (404, {"error": "Job j1 not found"}))
    tinybird.on("POST /v0/sql", (403, {"error": "no"}))
    with pytest.raises(AirflowFailException, match="48 hours"):
        runner.run(mode, soft_fail=True)


@each_mode
def test_a_token_that_may_not_look(runner, tinybird, mode):
    tinybird.job("j1", "working", (403, {"error": "no scope"}))
    with pytest.raises(AirflowFailException, match=r"no scope.*DATASOURCES:CREATE"):
        runner.run(mode)
    # The connection is read again, and the worker looks where the triggerer may not.
    assert len(tinybird.requests) == (2 if mode != "deferrable" else 7)


@each_mode
@pytest.mark.parametrize("job_id", ["", None])
def test_no_job(runner, tinybird, mode, job_id):
    with pytest.raises(AirflowFailException, match="job_id"):
        runner.run(mode, job_id=job_id)
    assert tinybird.requests == []


def test_airflows_own_timeout_comes_later(clock, tinybird):
    tinybird.job("j1", "working")
    sensor = TinybirdJobSensor(
        task_id="t", job_id="j1", deferrable=True, timeout=600, poke_interval=timedelta(seconds=7)
    )
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute({})
    arguments = json.loads(json.dumps(caught.value.trigger.serialize()[1]))
    assert arguments["deadline"] == clock.now + 600
    assert arguments["poll_interval"] == 7.0
    assert arguments["cancel_on_kill"] is False
    assert caught.value.timeout.total_seconds() > 600


def test_poke_agrees_with_airflow(clock, tinybird):
    tinybird.job("j1", "working", "done")
    sensor = TinybirdJobSensor(task_id="t", job_id="j1")
    assert not sensor.poke({})
    assert sensor.poke({})


PAGES = [(status, b"<html>page</html>") for status in (200, 301, 400, 401, 403, 404, 408, 411, 421, 425, 451)]


@each_mode
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page[0]))
def test_a_page_of_a_gateway_does_not_end_it(runner, tinybird, mode, page):
    tinybird.job("j1", page, "working", page, "done")
    assert runner.run(mode)["status"] == "done"


@each_mode
def test_a_job_that_is_not_known_everywhere_yet(runner, tinybird, mode):
    tinybird.job("j1", (404, {"error": "Job j1 not found"}), "done")
    assert runner.run(mode)["status"] == "done"


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_a_wait_that_is_asked_for_is_kept(runner, tinybird, mode):
    tinybird.job("j1", "working", (429, b"", {"Retry-After": "45"}), "done")
    assert runner.run(mode, timeout=100)["status"] == "done"
    assert tinybird.count("GET /v0/jobs/j1") == 3


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_a_long_poke_interval_does_not_prolong_the_wait(runner, tinybird, clock, mode):
    start = clock.now
    tinybird.job("j1", "working")
    with pytest.raises(AirflowSensorTimeout):
        runner.run(mode, poke_interval=600, timeout=60)
    assert clock.now - start <= 61
