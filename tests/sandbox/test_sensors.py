"""Sensors on rows, freshness, quarantine and copies, against ClickHouse."""

from __future__ import annotations

import asyncio
import importlib
import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from urllib.parse import urlencode

import pytest

from airflow_provider_tinybird._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineCheckOperator
from airflow_provider_tinybird.sensors.datasources import (
    TinybirdFreshnessSensor,
    TinybirdQuarantineSensor,
    TinybirdRowsSensor,
    TinybirdSqlSensor,
)
from airflow_provider_tinybird.sensors.jobs import TinybirdCopySucceededSensor

LATER = {"day": "2099-01-01", "carrier": "UA", "delay": 1}
LONG_AGO = "2000-01-01"


def sensor(cls, **arguments):
    found = cls(task_id="t", poke_interval=0.05, **{"timeout": 0.3, "deferrable": False, **arguments})
    found.render_template_fields({})
    return found


def run_now(cls, **arguments):
    return sensor(cls, **arguments).execute({})


def run_deferred(while_it_waits, cls, **arguments):
    """Run a sensor that defers, and do something before its trigger looks for the first time."""
    arguments = {"timeout": 10, **arguments, "deferrable": True}
    with pytest.raises(TaskDeferred) as caught:
        sensor(cls, **arguments).execute({})
    while_it_waits()
    path, stored = json.loads(json.dumps(caught.value.trigger.serialize()))
    module, _, name = path.rpartition(".")

    async def events():
        return [event.payload async for event in getattr(importlib.import_module(module), name)(**stored).run()]

    (event,) = asyncio.run(events())
    event = json.loads(json.dumps(event))
    return sensor(cls, **arguments).resume_execution(caught.value.method_name, {"event": event}, {})


# What is true at the first look

TRUE = {
    "the very day, as text": (TinybirdFreshnessSensor, {"at_least": "2013-02-01"}),
    "the very day, as a date": (TinybirdFreshnessSensor, {"at_least": date(2013, 2, 1)}),
    "a moment": (TinybirdFreshnessSensor, {"at_least": datetime(2013, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)}),
    "a moment of another zone": (TinybirdFreshnessSensor, {"at_least": "2013-02-01T01:00:00+01:00"}),
    "a template": (TinybirdFreshnessSensor, {"at_least": "{{ '2013-02-01T00:00:00+00:00' }}"}),
    "a number": (TinybirdFreshnessSensor, {"column": "delay", "at_least": 30}),
    "a number as text": (TinybirdFreshnessSensor, {"column": "delay", "at_least": "29.5"}),
    "a day without dashes": (TinybirdFreshnessSensor, {"at_least": "20130201"}),
    "a day without dashes, for times": (
        TinybirdFreshnessSensor,
        {"column": "toDateTime(day, 'America/New_York')", "at_least": "20130201"},
    ),
    "a number that looks like a day": (TinybirdFreshnessSensor, {"column": "delay + 20130172", "at_least": "20130202"}),
    "an expression": (TinybirdFreshnessSensor, {"column": "toStartOfMonth(day)", "at_least": "2013-02-01"}),
    "an age": (TinybirdFreshnessSensor, {"max_age": timedelta(days=365 * 200)}),
    "an age, in place of a moment": (TinybirdFreshnessSensor, {"at_least": timedelta(days=365 * 200)}),
    "under a condition": (TinybirdFreshnessSensor, {"at_least": "2013-01-02", "condition": "carrier = 'UA' -- ours"}),
    "any row": (TinybirdRowsSensor, {}),
    "as many rows": (TinybirdRowsSensor, {"min_rows": 4}),
    "as many rows, a template": (TinybirdRowsSensor, {"min_rows": "{{ 2 + 2 }}"}),
    "rows that match": (TinybirdRowsSensor, {"min_rows": 2, "condition": "carrier = 'UA' OR delay < -100"}),
}
FALSE = {
    "a microsecond more": (TinybirdFreshnessSensor, {"at_least": datetime(2013, 2, 1, 0, 0, 0, 1, tzinfo=UTC)}),
    "a number more": (TinybirdFreshnessSensor, {"column": "delay", "at_least": 31}),
    "a day without dashes": (TinybirdFreshnessSensor, {"at_least": "{{ '20130202' }}"}),
    "a day without dashes, for times": (TinybirdFreshnessSensor, {"column": "toDateTime(day)", "at_least": "20130202"}),
    "a day without dashes, for nothing": (
        TinybirdFreshnessSensor,
        {"column": "toDateTime64OrNull('', 3)", "at_least": "20130202"},
    ),
    "a number that looks like a day": (TinybirdFreshnessSensor, {"column": "delay + 20130172", "at_least": "20130203"}),
    "an age": (TinybirdFreshnessSensor, {"max_age": 3600.0}),
    "under a condition": (TinybirdFreshnessSensor, {"at_least": "2013-01-03", "condition": "carrier = 'UA' -- ours"}),
    "no rows at all": (TinybirdFreshnessSensor, {"at_least": "1960-01-01", "condition": "delay > 1000"}),
    "one row more": (TinybirdRowsSensor, {"min_rows": 5}),
    "rows that match": (TinybirdRowsSensor, {"min_rows": 3, "condition": "carrier = 'UA' OR delay < -100"}),
}


def filled(cls, arguments):
    return {"datasource": "flights", **({"column": "day"} if cls is TinybirdFreshnessSensor else {}), **arguments}


@pytest.mark.parametrize("case", TRUE)
def test_true(box, case):
    box.fill()
    cls, arguments = TRUE[case]
    assert run_now(cls, **filled(cls, arguments))["rows"] >= 1
    assert len(box.seen("POST", "/v0/sql")) == 1


@pytest.mark.parametrize("case", FALSE)
def test_false(box, case):
    box.fill()
    cls, arguments = FALSE[case]
    with pytest.raises(AirflowSensorTimeout):
        run_now(cls, **{**filled(cls, arguments), "timeout": 0})
    assert len(box.seen("POST", "/v0/sql")) == 1


@pytest.mark.parametrize(
    ("sql", "is_true"),
    [
        ("SELECT count() >= 4 FROM flights", True),
        ("SELECT count() >= 5 FROM flights", False),
        ("SELECT carrier FROM flights WHERE delay = 30", True),
        ("SELECT carrier FROM flights WHERE delay = 31", False),
        ("SELECT NULL", False),
        ("SELECT ''", False),
        ("SELECT groupArray(carrier) FROM flights WHERE delay > 99", False),
        ("SELECT groupArray(carrier) FROM flights", True),
        ("SELECT 0.0", False),
        ("SELECT sum(0) FROM flights", False),
        ("SELECT true", True),
        ("SELECT false", False),
    ],
)
def test_sql(box, sql, is_true):
    box.fill()
    if is_true:
        run_now(TinybirdSqlSensor, sql=sql, timeout=0)
    else:
        with pytest.raises(AirflowSensorTimeout):
            run_now(TinybirdSqlSensor, sql=sql, timeout=0)


def test_names_of_columns_that_the_query_uses_itself(box):
    """A column called like what is selected would be taken for it."""
    sql = "SELECT toDateTime('2020-01-01 00:00:00', 'Asia/Tokyo') AS newest, 1 AS rows, 1 AS is_met"
    box.post(f"/v0/pipes?{urlencode({'name': 'odd', 'sql': sql})}")
    assert run_now(TinybirdFreshnessSensor, datasource="odd", column="newest", at_least="2019-12-31 15:00", timeout=0)
    with pytest.raises(AirflowSensorTimeout):
        run_now(TinybirdFreshnessSensor, datasource="odd", column="newest", at_least="2019-12-31 15:01", timeout=0)
    assert run_now(TinybirdRowsSensor, datasource="odd", condition="rows = 1 AND is_met", timeout=0) == {"rows": 1}


# What becomes true while it is waited


def test_rows_that_come_while_it_is_deferred(box):
    def append():
        box.append("flights", [LATER])

    facts = run_deferred(append, TinybirdRowsSensor, datasource="flights", min_rows=1)
    assert facts == {"rows": 1}


def test_fresh_rows_that_come_while_it_is_deferred(box):
    box.fill()

    def append():
        box.append("flights", [LATER])

    facts = run_deferred(append, TinybirdFreshnessSensor, datasource="flights", column="day", at_least="2098-01-01")
    assert facts == {"rows": 5, "newest": "2099-01-01"}


# What waiting cannot mend

UNMENDABLE = {
    "column": (TinybirdFreshnessSensor, {"datasource": "flights", "column": "nope", "at_least": 1}, "nope"),
    "data source": (TinybirdRowsSensor, {"datasource": "nowhere"}, "nowhere"),
    "condition": (TinybirdRowsSensor, {"datasource": "flights", "condition": "delay >"}, "SQL"),
    "type": (TinybirdFreshnessSensor, {"datasource": "flights", "column": "[day]", "at_least": "2013-01-01"}, "types"),
    "SQL": (TinybirdSqlSensor, {"sql": "SELEKT"}, "SELEKT"),
    "no moment": (TinybirdFreshnessSensor, {"datasource": "flights", "column": "day", "at_least": "soon"}, "soon"),
    "neither": (TinybirdFreshnessSensor, {"datasource": "flights", "column": "day"}, "max_age"),
    "no name": (TinybirdRowsSensor, {"datasource": "flights; DROP"}, "DROP"),
    "no number": (TinybirdRowsSensor, {"datasource": "flights", "min_rows": "many"}, "many"),
    "quarantine of": (TinybirdQuarantineSensor, {"datasource": "nowhere", "start": LONG_AGO}, "nowhere"),
    "empty window": (TinybirdQuarantineSensor, {"datasource": "flights", "start": LONG_AGO, "end": LONG_AGO}, "empty"),
}


@pytest.mark.parametrize(
    ("case", "mode"), [*((case, "poke") for case in UNMENDABLE), ("column", "deferrable"), ("no moment", "deferrable")]
)
def test_fails_at_once(box, case, mode):
    """So it does in the mode reschedule: see the unit tests, which have a clock for it."""
    cls, arguments, word = UNMENDABLE[case]
    with pytest.raises(AirflowFailException) as caught:
        sensor(cls, timeout=600, soft_fail=True, deferrable=mode == "deferrable", **arguments).execute({})
    assert word in str(caught.value)


def test_a_token_that_may_not_read(box, connection):
    box.fill()
    narrow = box.narrow_token("DATASOURCES:READ:totals")
    connection(box.url, narrow)
    with pytest.raises(AirflowFailException, match="DATASOURCES:READ"):
        run_now(TinybirdRowsSensor, datasource="flights", timeout=600)
    connection(box.url, box.token)
    # The right to read goes while it is waited.
    with pytest.raises(AirflowFailException, match="DATASOURCES:READ"):
        run_deferred(
            lambda: connection(box.url, narrow),
            TinybirdRowsSensor,
            datasource="flights",
            min_rows=5,
        )


def test_passing_trouble_is_outlasted(box, connection):
    box.fill()
    connection(box.url, box.token, max_retries=0)
    box.fault("/v0/sql", status=503, body={"error": "busy"}, times=3)
    assert run_now(TinybirdRowsSensor, datasource="flights", timeout=60) == {"rows": 4}


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_soft_fail_skips_when_time_is_over(box, mode):
    run = run_now if mode == "poke" else partial(run_deferred, lambda: None)
    with pytest.raises(AirflowSkipException):
        run(TinybirdRowsSensor, datasource="flights", timeout=0.2, soft_fail=True)


def test_the_message_says_what_was_seen_at_last(box):
    box.fill()
    with pytest.raises(
        AirflowSensorTimeout, match=r"timeout=0\.2\) for 9 rows of data source 'flights', in vain: rows is 4"
    ):
        run_deferred(lambda: None, TinybirdRowsSensor, datasource="flights", min_rows=9, timeout=0.2)


# Quarantine


class AnyReason(list):
    def __eq__(self, other):
        return len(other) == 1 and "delay" in other[0]

    __hash__ = None


ANY_REASON = AnyReason()


def bad(box):
    box.append("flights", [{"day": "2013-01-01", "carrier": "UA", "delay": "late"}, LATER])


def test_a_clean_quarantine(box):
    box.append("flights", [LATER])
    facts = run_now(TinybirdQuarantineSensor, datasource="flights", start=LONG_AGO)
    assert facts == {"rows": 0, "reasons": []}


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_rows_in_quarantine_are_red_at_once(box, mode):
    window = {"datasource": "flights", "start": LONG_AGO, "end": "2100-01-01", "timeout": 600, "soft_fail": True}
    if mode == "poke":
        bad(box)
    run = run_now if mode == "poke" else partial(run_deferred, lambda: bad(box))
    with pytest.raises(AirflowFailException, match=r"1 rows came into flights_quarantine .*max_rows allows 0.*delay"):
        run(TinybirdQuarantineSensor, **window)


def test_so_many_may_be_there(box):
    bad(box)
    facts = run_now(TinybirdQuarantineSensor, datasource="flights", start=LONG_AGO, max_rows=1)
    assert facts["rows"] == 1
    assert "delay" in facts["reasons"][0]


@pytest.mark.parametrize(
    "window", [{"start": "2000-01-01", "end": "2000-01-02"}, {"start": "2000-01-01", "condition": "carrier != 'UA'"}]
)
def test_rows_outside_do_not_count(box, window):
    bad(box)
    assert run_now(TinybirdQuarantineSensor, datasource="flights", **window)["rows"] == 0


def test_green_only_when_the_window_is_over(box):
    soon = datetime.now(UTC) + timedelta(seconds=1.2)
    facts = run_now(TinybirdQuarantineSensor, datasource="flights", start=LONG_AGO, end=soon, timeout=10)
    assert facts["rows"] == 0
    assert datetime.now(UTC) >= soon.replace(microsecond=0)
    assert len(box.seen("POST", "/v0/sql")) > 2


class TestCheckOfTheQuarantine:
    """The operator, which looks once."""

    def test_green(self, box):
        box.append("flights", [LATER])
        assert self.run() == {"rows": 0, "reasons": []}
        assert len(box.seen("POST", "/v0/sql")) == 1

    def test_red_for_good_and_with_reasons(self, box):
        bad(box)
        with pytest.raises(
            AirflowFailException, match=r"1 rows came into flights_quarantine .*max_rows=0 .*Why: delay"
        ):
            self.run()

    @pytest.mark.parametrize("most", [1, "{{ 1 }}"])
    def test_so_many_may_be_there(self, box, most):
        bad(box)
        assert self.run(max_rows=most)["rows"] == 1

    def test_outside_of_the_window(self, box):
        bad(box)
        assert self.run(end="2000-01-02")["rows"] == 0

    @pytest.mark.parametrize(
        ("bounds", "is_green"),
        [
            ({"max_fraction": 0.25}, True),
            ({"max_fraction": "0.24"}, False),
            ({"max_fraction": 0.25, "max_rows": 0}, False),
            ({"max_fraction": 0.25, "max_rows": 1}, True),
        ],
    )
    def test_a_fraction(self, box, bounds, is_green):
        bad(box)
        box.append("flights", [LATER, LATER])
        if is_green:
            assert self.run(column="day", **bounds) == {"rows": 1, "reasons": ANY_REASON, "fraction": 0.25}
        else:
            with pytest.raises(AirflowFailException, match=r"25\.00% of the window"):
                self.run(column="day", **bounds)

    @pytest.mark.parametrize(
        ("bounds", "word"),
        [
            ({"max_fraction": 0.1}, "column"),
            ({"max_fraction": 2}, "^max_fraction=2 .*from 0 to 1"),
            ({"max_rows": "many"}, "^max_rows='many'"),
            ({"datasource": "nowhere"}, "nowhere"),
            ({"end": LONG_AGO}, "is empty.*triggered by hand"),
        ],
    )
    def test_bad_input(self, box, bounds, word):
        with pytest.raises(AirflowFailException, match=word):
            self.run(**bounds)

    def run(self, **arguments):
        given = {"datasource": "flights", "start": LONG_AGO, **arguments}
        operator = TinybirdQuarantineCheckOperator(task_id="t", **given)
        operator.render_template_fields({})
        return operator.execute({})


# Copies


def start_copy(box):
    return box.post("/v0/pipes/copy_totals/copy")["job"]["job_id"]


def test_a_copy_that_somebody_started(box):
    before = datetime.now(UTC) - timedelta(seconds=1)
    facts = run_deferred(lambda: start_copy(box), TinybirdCopySucceededSensor, pipe="copy_totals", since=before)
    assert facts == {"job_id": box.jobs()[0]["id"], "status": "done"}


def test_a_copy_of_before_does_not_count(box):
    start_copy(box)
    box.wait_for_jobs()
    since = datetime.now(UTC) + timedelta(seconds=1)
    with pytest.raises(AirflowSensorTimeout):
        run_now(TinybirdCopySucceededSensor, pipe="copy_totals", since=since.isoformat(), timeout=0)


def test_a_copy_that_failed_is_waited_past(box):
    box.plan_job("copy_totals", error="no memory")
    start_copy(box)
    box.wait_for_jobs()
    with pytest.raises(AirflowSensorTimeout):
        run_now(TinybirdCopySucceededSensor, pipe="copy_totals", since=LONG_AGO, timeout=0)
    good = start_copy(box)
    assert run_now(TinybirdCopySucceededSensor, pipe="copy_totals", since=LONG_AGO, timeout=10)["job_id"] == good


def test_or_is_red_if_asked_to(box):
    start_copy(box)
    box.wait_for_jobs()
    box.plan_job("copy_totals", error="no memory")
    start_copy(box)
    box.wait_for_jobs()
    with pytest.raises(AirflowFailException, match="no memory"):
        run_now(TinybirdCopySucceededSensor, pipe="copy_totals", since=LONG_AGO, fail_on_error=True)


def test_one_that_goes_on_decides_nothing(box):
    done = start_copy(box)
    box.wait_for_jobs()
    box.plan_job("copy_totals", hold="working")
    start_copy(box)
    assert run_now(TinybirdCopySucceededSensor, pipe="copy_totals", since=LONG_AGO)["job_id"] == done
    assert len(box.seen("GET", "/v0/jobs")) >= 1


def test_a_pipe_that_is_none(box):
    """Its jobs are an empty list, as Tinybird does not say that there is no such pipe."""
    with pytest.raises(AirflowSensorTimeout):
        run_now(TinybirdCopySucceededSensor, pipe="nope", since=LONG_AGO, timeout=0)
