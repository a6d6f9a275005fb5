"""Sensors that ask a question: poke, reschedule and deferrable mean the same."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_tinybird._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from airflow_provider_tinybird.conditions.wait import WaitLostError
from airflow_provider_tinybird.sensors.datasources import (
    TinybirdFreshnessSensor,
    TinybirdQuarantineSensor,
    TinybirdRowsSensor,
)
from airflow_provider_tinybird.sensors.jobs import TinybirdCopySucceededSensor

MODES = ("poke", "reschedule", "deferrable")
each_mode = pytest.mark.parametrize("mode", MODES)
ASK = "POST /v0/sql"
REFUSED = (400, {"error": "Unknown identifier nope"})


def rows(count, wanted=3):
    meta = [{"name": "is_met", "type": "UInt8"}, {"name": "rows", "type": "UInt64"}]
    return {"data": [{"is_met": int(count >= wanted), "rows": str(count)}], "meta": meta, "rows": 1}


def run(runner, mode, **arguments):
    return runner.run(mode, TinybirdRowsSensor, **{"datasource": "flights", "min_rows": 3, **arguments})


@each_mode
def test_one_query_a_poll(runner, tinybird, clock, mode):
    tinybird.on(ASK, rows(0), rows(2), rows(5))
    start = clock.now
    assert run(runner, mode) == {"rows": 5}
    assert len(tinybird.requests) == 3
    assert clock.now - start == pytest.approx(20, abs=1)
    assert runner.deferrals == (1 if mode == "deferrable" else 0)


@each_mode
def test_met_already(runner, tinybird, mode):
    tinybird.on(ASK, rows(3))
    assert run(runner, mode) == {"rows": 3}
    assert (len(tinybird.requests), runner.deferrals) == (1, 0)


@each_mode
def test_time_runs_out(runner, tinybird, clock, mode):
    start = clock.now
    tinybird.on(ASK, rows(2))
    with pytest.raises(AirflowSensorTimeout):
        run(runner, mode)
    assert 60 <= clock.now - start <= 70
    assert 7 <= len(tinybird.requests) <= 8


@each_mode
@pytest.mark.parametrize("how", ["soft_fail", "never_fail"])
def test_time_runs_out_softly(runner, tinybird, mode, how):
    tinybird.on(ASK, rows(2))
    with pytest.raises(AirflowSkipException):
        run(runner, mode, **{how: True})


@each_mode
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("before", [0, 2])
def test_a_refusal_fails_at_once_and_for_good(runner, tinybird, mode, soft, before):
    """Also with soft_fail: that is for time running out."""
    tinybird.on(ASK, *[rows(0)] * before, REFUSED)
    with pytest.raises(AirflowFailException, match="nope"):
        run(runner, mode, soft_fail=soft)
    assert len(tinybird.requests) == before + 1


@each_mode
@pytest.mark.parametrize("before", [0, 2])
def test_never_fail_skips(runner, tinybird, mode, before):
    tinybird.on(ASK, *[rows(0)] * before, REFUSED)
    with pytest.raises(AirflowSkipException):
        run(runner, mode, never_fail=True)


@each_mode
def test_silent_fail_waits_on(runner, tinybird, mode):
    tinybird.on(ASK, REFUSED, (403, {"error": "no"}), rows(3))
    assert run(runner, mode, silent_fail=True) == {"rows": 3}


@each_mode
def test_trouble_is_outlasted(runner, tinybird, mode):
    tinybird.on(ASK, (502, "<html>"), (503, {"error": "busy"}), (429, {"error": "slow"}), tinybird.cut, rows(3))
    assert run(runner, mode) == {"rows": 3}


@each_mode
def test_trouble_until_time_runs_out(runner, tinybird, mode):
    tinybird.on(ASK, (502, "<html>"))
    with pytest.raises(AirflowSensorTimeout):
        run(runner, mode)


@each_mode
def test_no_question_is_asked_where_it_is_none(runner, tinybird, mode):
    with pytest.raises(AirflowFailException, match=r"either at_least or max_age.*1.*3600"):
        runner.run(
            mode, TinybirdFreshnessSensor, datasource="flights", column="day", at_least=1, max_age=timedelta(hours=1)
        )
    assert tinybird.requests == []


def copy(job_id, status, created_at, **more):
    return {"job_id": job_id, "kind": "copy", "status": status, "created_at": created_at, **more}


@each_mode
def test_the_newest_copy_that_is_over_decides(runner, tinybird, mode):
    old, failed = copy("old", "done", "2026-01-01 00:00:00"), copy("bad", "error", "2026-01-02 00:00:01", error="x")
    going, good = copy("new", "working", "2026-01-02 00:00:02"), copy("new", "done", "2026-01-02 00:00:02")
    tinybird.on("GET /v0/jobs", *({"jobs": found} for found in ([old], [old, failed], [failed, going], [failed, good])))
    found = runner.run(mode, TinybirdCopySucceededSensor, pipe="p", since="2026-01-02")
    assert found == {"job_id": "new", "status": "done"}
    assert [request.query for request in tinybird.requests] == [{"kind": "copy", "pipe_name": "p"}] * 4


@each_mode
def test_a_copy_that_failed_is_red_if_asked_to(runner, tinybird, mode):
    bad = copy("bad", "cancelled", "2026-01-02 00:00:01")
    tinybird.on("GET /v0/jobs", {"jobs": []}, {"jobs": [bad]})
    with pytest.raises(AirflowFailException, match="bad of pipe 'p' is cancelled"):
        runner.run(mode, TinybirdCopySucceededSensor, pipe="p", since="2026-01-02", fail_on_error=True)


@pytest.mark.parametrize("event", [None, {}, {"ending": "??", "version": 1}, {"ending": "met", "version": 2}, "x"])
def test_an_event_that_is_none(event):
    sensor = TinybirdRowsSensor(task_id="t", datasource="flights")
    with pytest.raises(WaitLostError, match="no ending of a wait"):
        sensor.resume_execution("execute_complete", {"event": event}, {})


PAGES = [(status, b"<html>page</html>") for status in (200, 301, 400, 401, 403, 404, 408, 411, 421, 425, 451)]


@each_mode
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page[0]))
def test_a_page_of_a_gateway_does_not_end_it(runner, tinybird, mode, page):
    tinybird.on(ASK, page, rows(0), page, rows(3))
    assert run(runner, mode) == {"rows": 3}


@each_mode
@pytest.mark.parametrize(
    "odd", [{}, {"data": None}, {"data": [1]}, {"data": [{"rows": "many"}], "meta": []}, [], "text"], ids=str
)
@pytest.mark.parametrize("kind", ["rows", "quarantine"])
def test_an_odd_answer_does_not_end_it(runner, tinybird, mode, odd, kind):
    quarantine = {"data": [{"is_over": 1, "rows": 0, "reasons": []}], "meta": [], "rows": 1}
    tinybird.on(ASK, odd, rows(3) if kind == "rows" else quarantine)
    if kind == "rows":
        assert run(runner, mode) == {"rows": 3}
    else:
        assert runner.run(mode, TinybirdQuarantineSensor, datasource="flights", start="2026-01-01")["rows"] == 0


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_a_wait_that_is_asked_for_is_kept(runner, tinybird, mode):
    tinybird.on(ASK, rows(0), (429, b"", {"Retry-After": "45"}), rows(3))
    assert run(runner, mode, timeout=100) == {"rows": 3}
    assert len(tinybird.requests) == 3
