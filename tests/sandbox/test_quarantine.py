"""Rows that do not fit: the good ones are in, the task is what the policy says, and its message says why."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.operators.datasources import TinybirdAppendFileOperator, TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator

GOOD = {"day": "2013-03-01", "carrier": "DL", "delay": 1}
BAD = {**GOOD, "delay": "many"}
FILE = "day,carrier,delay\n2013-03-01,DL,1\n2013-03-01,DL,2\n2013-03-01,DL,many\n"


def quarantined(box):
    return box.count(), box.count("flights_quarantine")


def test_events_fail_for_good(box, run_here):
    with pytest.raises(
        AirflowFailException, match=r"(?s)1 of 2 rows .*Why: delay: cannot read many as Int32 \(1 row\)"
    ):
        run_here(TinybirdEventsOperator, datasource="flights", data=[GOOD, BAD])
    assert quarantined(box) == (1, 1)


def test_events_by_a_token_that_only_appends(box, run_here, connection):
    connection(box.url, box.narrow_token("DATASOURCES:APPEND:flights"))
    with pytest.raises(AirflowFailException, match=r"(?s)1 of 2 rows .*Why cannot be read: .*DATASOURCES:READ:flights"):
        run_here(TinybirdEventsOperator, datasource="flights", data=[GOOD, BAD])


@pytest.mark.parametrize("bounds", [{"max_quarantined_rows": 1}, {"max_quarantined_fraction": "{{ 1 / 3 + 0.01 }}"}])
def test_bounds_that_hold(box, run, tmp_path, bounds):
    (tmp_path / "x.csv").write_text(FILE)
    value = run(TinybirdAppendFileOperator, datasource="flights", path=str(tmp_path / "x.csv"), **bounds)
    assert (value["rows"], value["quarantine_rows"]) == (2, 1)
    assert quarantined(box) == (2, 1)


@pytest.mark.parametrize("bounds", [{}, {"max_quarantined_rows": 0}, {"max_quarantined_fraction": 0.3}])
def test_bounds_that_do_not(box, run, tmp_path, bounds):
    (tmp_path / "x.csv").write_text(FILE)
    with pytest.raises(
        AirflowFailException, match=r"(?s)1 of 3 rows .*Why: delay: cannot read many as Int32.*on_quarantine='fail'"
    ):
        run(TinybirdAppendFileOperator, datasource="flights", path=str(tmp_path / "x.csv"), **bounds)
    assert quarantined(box) == (2, 1)


def test_only_the_reasons_of_this_import_are_told(box, run, run_here, tmp_path):
    run_here(TinybirdEventsOperator, datasource="flights", data=[{**GOOD, "day": "x"}] * 9, on_quarantine="ignore")
    (box.files / "bad.csv").write_text(FILE)
    with pytest.raises(AirflowFailException, match=r"(?s)1 of 3 rows .*Why: delay: [^;]*\(1 row\)\.\n") as caught:
        run(TinybirdAppendUrlOperator, datasource="flights", url=f"{box.url}/files/bad.csv")
    assert "day:" not in str(caught.value)


def test_reasons_of_another_load_of_the_same_moment_are_not_passed_off_as_its_own(box, run_here):
    run_here(TinybirdEventsOperator, datasource="flights", data=[{**GOOD, "day": "x"}], on_quarantine="ignore")
    with pytest.raises(AirflowFailException, match=r"1 of 1 rows") as caught:
        run_here(TinybirdEventsOperator, datasource="flights", data=[BAD])
    assert "\nWhy (some may be other loads' rows): " in str(caught.value)
    assert "delay: cannot read many" in str(caught.value)


def test_reasons_of_a_load_by_files_are_its_own(box, run_here):
    run_here(TinybirdEventsOperator, datasource="flights", data=[{**GOOD, "day": "x"}] * 9, on_quarantine="ignore")
    with pytest.raises(AirflowFailException, match=r"1 of 2 rows .*\nWhy: delay: [^;]*\(1 row\)\.\n"):
        run_here(TinybirdLoadOperator, datasource="flights", data=[GOOD, BAD], via="files")
