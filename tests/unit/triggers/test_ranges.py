"""The trigger that waits for any of several jobs: what Airflow stores of it, when it fires, and whom it cancels."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from airflow_provider_tinybird.jobs.slots import SlotEvent
from airflow_provider_tinybird.triggers.ranges import TinybirdAnyJobTrigger

ARGUMENTS = {
    "tinybird_conn_id": "tinybird_default",
    "job_ids": ["j1", "j2"],
    "until": 1_800_000_060.0,
    "poll_interval": 5.0,
    "cancel_on_kill": True,
    "resume": {"progress": {"version": 1}, "ends_at": None},
}


@pytest.fixture(autouse=True)
def _time(clock, monkeypatch):
    from types import SimpleNamespace

    from airflow_provider_tinybird.triggers import ranges

    offset = time.monotonic() - clock.now
    monkeypatch.setattr(ranges, "time", SimpleNamespace(time=clock.time, monotonic=lambda: clock.now + offset))
    monkeypatch.setattr(ranges, "asyncio", SimpleNamespace(sleep=clock.sleep_async, gather=asyncio.gather))


def event(**changes):
    async def events():
        return [one.payload async for one in TinybirdAnyJobTrigger(**{**ARGUMENTS, **changes}).run()]

    (payload,) = asyncio.run(events())
    return SlotEvent.from_payload(json.loads(json.dumps(payload))).message


def test_what_airflow_stores():
    """Tasks that are deferred while the package is upgraded are made anew from this."""
    path, arguments = TinybirdAnyJobTrigger(**ARGUMENTS).serialize()
    assert path == "airflow_provider_tinybird.triggers.ranges.TinybirdAnyJobTrigger"
    assert arguments == ARGUMENTS
    assert json.loads(json.dumps(arguments)) == arguments


@pytest.mark.parametrize("status", ["done", "error", "cancelled"])
def test_it_fires_when_one_is_over(tinybird, status):
    tinybird.job("j1", "working")
    tinybird.job("j2", "waiting", "working", status)
    assert f"j2 is {status}" in event()
    assert tinybird.count("GET /v0/jobs/j2") == 3


def test_it_fires_when_the_time_is_over(tinybird, clock):
    tinybird.job("j1", "working")
    tinybird.job("j2", "cancelling")
    assert event() == "the wait is over."
    assert clock.now >= ARGUMENTS["until"]


def test_trouble_is_outlasted(tinybird):
    tinybird.job("j1", (502, "<html>"), tinybird.cut, "done")
    tinybird.job("j2", (503, {"error": "busy"}))
    assert "j1 is done" in event()


def test_a_look_is_not_repeated_beyond_the_end(tinybird, clock, connection):
    """The client sends a look again for minutes by itself; Airflow would end the deferral in the meantime, and cancel nothing."""
    connection(tinybird.url, tinybird.token, max_retries=1)
    tinybird.on("GET /v0/jobs/j[12]", (503, {"error": "busy"}, {"Retry-After": "30"}))
    assert event(until=clock.now + 9) == "the wait is over."
    assert tinybird.count("GET /v0/jobs/j1") == 2  # the second is the last look, at the end


def test_a_token_that_may_not_look_any_more_wakes_the_task(tinybird):
    tinybird.job("j1", (403, {"error": "no scope"}))
    assert "no scope" in event()


def test_no_connection(tinybird):
    assert "Connection 'nowhere' could not be read in the triggerer" in event(tinybird_conn_id="nowhere")


@pytest.mark.parametrize("is_on", [True, False])
def test_a_kill_cancels_all_of_them(tinybird, is_on):
    tinybird.on("POST /v0/jobs/j1/cancel", (400, {"error": "too late"}))
    tinybird.on("POST /v0/jobs/j2/cancel", {"job_id": "j2", "status": "cancelled"})
    asyncio.run(TinybirdAnyJobTrigger(**{**ARGUMENTS, "cancel_on_kill": is_on}).on_kill())
    expected = ["POST /v0/jobs/j1/cancel", "POST /v0/jobs/j2/cancel"]
    assert sorted(tinybird.lines()) == (expected if is_on else [])
