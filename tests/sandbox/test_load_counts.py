"""Green means the rows are there: imports of TinybirdLoadOperator that say that fewer rows came in than were sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from large_loads import ROWS, Store, attempt, frame, imports, run_to_the_end

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.policies.row_accounting import ReplacedRowsMissingError

BAD = {"day": "2013-01-01", "carrier": "A", "delay": "many"}
FEBRUARY = {"mode": "replace", "replace_condition": "toYYYYMM(day) = 201302"}


@pytest.fixture(params=["sync", "deferred"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run one attempt of a load of files: in the worker, or with a deferral for each file."""
    if request.param == "sync":
        return lambda store=None, **arguments: attempt(store, 1, via="files", **arguments)
    wait = TinybirdLoadOperator.wait_for_job
    monkeypatch.setattr(TinybirdLoadOperator, "wait_for_job", lambda *args, patience=0: wait(*args, patience=0.0))
    return lambda store=None, **arguments: run_to_the_end(store, via="files", **arguments)[0]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the operator logs, on each version of Airflow."""
    monkeypatch.setattr(TinybirdLoadOperator, "log", property(lambda _: logging.getLogger("own.log")), raising=False)
    caplog.set_level("INFO")
    return caplog


def lines(*delays: Any) -> list[dict[str, Any]]:
    """Rows whose day is a text, which go as NDJSON."""
    return [{"day": "2013-02-01", "carrier": "A", "delay": delay} for delay in delays]


class TestMissingRows:
    def test_are_red_for_good_in_an_append(self, box, load):
        box.plan_job("flights", lose=3)
        with pytest.raises(AirflowFailException) as caught:
            load(data=lines(*range(10)))
        said = str(caught.value)
        (job,) = box.jobs()
        assert f"Of the 10 rows that import job {job['id']} was to bring into data source 'flights'" in said
        assert "7 came in and 0 went to 'flights_quarantine': 3 rows are missing" in said
        assert "All rows were sent, in 1 files. This is not retried" in said
        assert "take them out and clear the task" in said
        assert box.count() == 7

    def test_beside_rows_in_quarantine(self, box, load):
        box.plan_job("flights", lose=2)
        with pytest.raises(AirflowFailException, match=r"1 came in and 1 went to .*: 2 rows are missing"):
            load(data=lines(1, 2, 3, "many"), on_quarantine="ignore")

    def test_stop_before_the_next_file(self, box, load):
        box.plan_job("flights", delay=0)
        box.plan_job("flights", lose=1)
        with pytest.raises(AirflowFailException, match=r"1 row is missing\. The load stopped: the first \d+ rows"):
            load(data=frame())
        assert len(imports(box)) == 2

    def test_of_a_replace_are_tried_again_from_the_replace(self, box, load):
        box.fill()
        store = Store()
        box.plan_job("flights", lose=5)
        with pytest.raises(ReplacedRowsMissingError, match=r"5 rows are missing.*begins again with the replace"):
            load(store, data=lines(1, 2, 3, 4, 5, 6), mode="replace")
        assert box.count() == 1
        value = attempt(store, 2, data=lines(1, 2, 3, 4, 5, 6), mode="replace")
        assert (value["rows"], value["rows_before"], box.count()) == (6, 4, 6)
        assert imports(box)[-2:] == ["replace", "replace"]

    def test_of_a_replace_in_several_files(self, box, load):
        store = Store()
        box.plan_job("flights", delay=0)
        box.plan_job("flights", lose=1)
        with pytest.raises(ReplacedRowsMissingError, match="The load stopped"):
            load(store, data=frame(), mode="replace")
        value = attempt(store, 2, data=frame(), mode="replace")
        assert value["rows"] == box.count() == ROWS

    def test_of_a_replace_by_condition(self, box, load):
        box.fill()
        box.plan_job("flights", lose=1)
        with pytest.raises(ReplacedRowsMissingError, match="leaves out rows that do not match replace_condition"):
            load(data=lines(1, 2), **FEBRUARY)

    def test_nothing_is_missing_after_a_replace_by_condition(self, box, load):
        box.fill()
        assert load(data=lines(1, 2, 3), **FEBRUARY)["rows"] == 3

    @pytest.mark.parametrize("day", ["2013-02-01", "2013-03-01"])
    def test_rows_that_do_not_match_the_condition_are_told(self, box, load, said, day):
        load(data=[*lines(1, 2), {**lines(3)[0], "day": day}], **FEBRUARY)
        told = "3 rows were written, and replace_condition holds for 2 rows of 'flights' now"
        assert (told in said.text) is (day == "2013-03-01")


class TestUnknownCounts:
    def test_are_told_and_green(self, box, load, caplog):
        box.plan_job("flights", uncounted=True)
        value = load(data=lines(1, 2, 3))
        assert (value["rows"], value["quarantine_rows"], box.count()) == (3, 0, 3)
        assert "wrote is unknown: Tinybird does not say" in caplog.text

    def test_the_quarantine_is_counted_where_the_job_does_not_tell(self, box, load):
        box.plan_job("flights", uncounted=True)
        with pytest.raises(AirflowFailException, match="1 rows did not fit"):
            load(data=lines(1, 2, "many"))

    @pytest.mark.parametrize("policy", ["fail", "warn", "ignore"])
    def test_a_quarantine_that_cannot_be_counted(self, box, load, connection, policy, caplog):
        connection(box.url, box.narrow_token("DATASOURCES:CREATE"))
        box.plan_job("flights", uncounted=True)
        if policy == "fail":
            with pytest.raises(AirflowFailException, match="it is not known how many went to quarantine"):
                load(data=lines(1, 2, "many"))
            return
        value = load(data=lines(1, 2, "many"), on_quarantine=policy)
        assert value["quarantine_rows"] is None
        assert ("not known how many went to quarantine" in caplog.text) is (policy == "warn")


class TestQuarantine:
    """What the other operators do, and no further file where it is red already."""

    def data(self) -> list[dict[str, Any]]:
        good = frame().assign(day=frame()["day"].astype(str)).to_dict("records")
        return [*good[:10], BAD, *good[10:], BAD]

    def test_stops_before_the_next_file(self, box, load):
        with pytest.raises(AirflowFailException, match=r"(?s)1 of \d+ rows did not fit .*The load stopped: the first"):
            load(data=self.data())
        assert len(imports(box)) == 1

    def test_goes_on_within_its_bound(self, box, load):
        value = load(data=self.data(), max_quarantined_rows=2)
        assert (value["rows"], value["quarantine_rows"]) == (ROWS, 2)
        assert value["files"] > 2

    def test_stops_where_the_bound_is_passed_over_all_files(self, box, load):
        with pytest.raises(AirflowFailException, match=f"2 of {ROWS + 2} rows did not fit"):
            load(data=self.data(), max_quarantined_rows=1)

    def test_a_fraction_is_that_of_the_whole_load(self, box, load):
        rows = [BAD, *(self.data()[:10] * 300)]
        assert load(data=rows, max_quarantined_fraction=0.001)["quarantine_rows"] == 1
