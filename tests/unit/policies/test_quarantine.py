"""The policy on rows in quarantine: what is allowed, what is asked, what is told."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.policies.quarantine import Load, QuarantinePolicy, QuarantineUnknownError, Verdict

pytestmark = pytest.mark.usefixtures("clock")


def policy(on_quarantine: str = "fail", rows: Any = None, fraction: Any = None) -> QuarantinePolicy:
    return QuarantinePolicy.parse(on_quarantine, rows, fraction)


def load(rows: int | None, bad: int, invalid: int = 0) -> Load:
    return Load(datasource="flights", rows=rows, quarantined=bad, invalid_lines=invalid)


@pytest.mark.parametrize(
    ("given", "counts", "verdict"),
    [
        ({}, (10, 0), Verdict.OK),
        ({}, (10, 1), Verdict.FAIL),
        ({}, (10, 0, 1), Verdict.FAIL),  # a line that could not be read is no more in than a row that does not fit
        ({}, (0, 1), Verdict.FAIL),
        ({}, (None, 1), Verdict.FAIL),
        ({"on_quarantine": "warn"}, (10, 0), Verdict.OK),
        ({"on_quarantine": "warn", "rows": 1}, (0, 9), Verdict.WARN),
        ({"on_quarantine": "ignore"}, (0, 9), Verdict.OK),
        ({"rows": 0}, (10, 1), Verdict.FAIL),
        ({"rows": 2}, (10, 2), Verdict.WARN),
        ({"rows": "2"}, (10, 1, 2), Verdict.FAIL),
        ({"fraction": 0.1}, (9, 1), Verdict.WARN),
        ({"fraction": "0.1"}, (8, 1), Verdict.FAIL),
        ({"fraction": 0}, (9, 1), Verdict.FAIL),
        ({"fraction": 0.29}, (71, 29), Verdict.WARN),  # 0.29 * 100 is a little less than 29
        ({"fraction": 0.07}, (93, 8), Verdict.FAIL),
        ({"fraction": 1}, (0, 9), Verdict.WARN),
        ({"rows": 1, "fraction": 0.5}, (2, 2), Verdict.FAIL),
        ({"rows": 5, "fraction": 0.1}, (2, 2), Verdict.FAIL),
        ({"rows": 5, "fraction": 0.5}, (2, 2), Verdict.WARN),
        ({"rows": 1, "fraction": 0.5}, (None, 2), Verdict.FAIL),
    ],
)
def test_verdict(given, counts, verdict):
    assert policy(**given).verdict(load(*counts)) is verdict


def test_a_fraction_of_what_is_not_known_is_no_zero():
    with pytest.raises(QuarantineUnknownError, match=r"max_quarantined_fraction=0\.5"):
        policy(fraction=0.5).verdict(load(None, 1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"on_quarantine": "stop"}, r"on_quarantine='stop'.*'fail', 'warn' or 'ignore'"),
        ({"rows": -1}, "max_quarantined_rows=-1"),
        ({"rows": 1.5}, r"max_quarantined_rows=1\.5"),
        ({"rows": True}, "max_quarantined_rows=True"),
        ({"rows": "many"}, "max_quarantined_rows='many'"),
        ({"fraction": 1.1}, r"max_quarantined_fraction=1\.1"),
        ({"fraction": -0.1}, r"max_quarantined_fraction=-0\.1"),
        ({"fraction": float("nan")}, "max_quarantined_fraction=nan"),
        ({"fraction": "1%"}, "max_quarantined_fraction='1%'"),
    ],
)
def test_a_policy_that_makes_no_sense(given, said):
    with pytest.raises(InvalidInputError, match=said):
        policy(**given)


def why(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"meta": [], "data": list(rows), "rows": len(rows)}


REASON = {"c__error_column": ["delay"], "c__errors": ["no Int32: 'many'"], "c__rows": "2"}


def send(**arguments: Any) -> Any:
    return TinybirdEventsOperator(task_id="t", datasource="flights", data=[{}, {}, {}], **arguments).execute({})


class TestEvents:
    @pytest.fixture(autouse=True)
    def _quarantine(self, tinybird):
        tinybird.on("POST /v0/events", {"successful_rows": 1, "quarantined_rows": 2})
        tinybird.on("POST /v0/sql", why(REASON))

    def test_any_row_fails_for_good(self, tinybird):
        with pytest.raises(AirflowFailException) as caught:
            send()
        said = str(caught.value).splitlines()
        assert said[0] == "2 of 3 rows did not fit into data source 'flights' and are in 'flights_quarantine'."
        assert said[1] == "Why: delay: no Int32: 'many' (2 rows)."
        assert said[2].startswith("on_quarantine='fail' allows none. The other rows are in, so this is not retried")
        asked = tinybird.requests[-1].form["q"]
        assert (
            "FROM `flights_quarantine` WHERE insertion_date >= toDateTime(intDiv(toUnixTimestamp64Milli(now64(3)) - 1"
            in asked
        )

    def test_what_to_do_depends_on_whether_anything_is_in(self, tinybird):
        with pytest.raises(AirflowFailException, match=r"The other rows are in, .* load only them"):
            send()
        tinybird.on("POST /v0/events", {"successful_rows": 0, "quarantined_rows": 3})
        with pytest.raises(AirflowFailException, match=r"No row is in, .* then clear the task"):
            send()

    def test_one_row_is_a_row(self, tinybird):
        tinybird.on("POST /v0/sql", why({**REASON, "c__rows": "1"}))
        with pytest.raises(AirflowFailException, match=r"no Int32: 'many' \(1 row\)"):
            send()

    def test_warn(self, logs):
        value = send(on_quarantine="warn")
        assert (value["successful_rows"], value["quarantined_rows"]) == (1, 2)
        assert "2 of 3 rows did not fit into data source 'flights'" in logs.text
        assert "delay: no Int32: 'many' (2 rows)" in logs.text

    def test_ignore_asks_nothing(self, tinybird):
        assert send(on_quarantine="ignore")["quarantined_rows"] == 2
        assert tinybird.count("POST /v0/sql") == 0

    def test_nothing_in_quarantine_asks_nothing(self, tinybird):
        tinybird.on("POST /v0/events", {"successful_rows": 3, "quarantined_rows": 0})
        send()
        assert tinybird.lines() == ["POST /v0/events"]

    def test_as_many_as_allowed(self):
        assert send(max_quarantined_rows=2)["quarantined_rows"] == 2

    def test_a_token_that_may_not_look_still_tells_how_many(self, tinybird):
        tinybird.on("POST /v0/sql", (403, {"error": "not allowed"}))
        with pytest.raises(AirflowFailException, match=r"(?s)2 of 3 rows .*Why cannot be read: .*not allowed"):
            send()

    def test_a_mistake_is_found_before_anything_is_sent(self, tinybird):
        with pytest.raises(AirflowFailException, match="on_quarantine='no'"):
            send(on_quarantine="no")
        assert tinybird.requests == []

    def test_values_are_cut_and_secrets_hidden(self, tinybird, logs):
        row = {"c__error_column": "x", "c__errors": f"{tinybird.token} https://h/f?sig=abc {'y' * 500}", "c__rows": 1}
        tinybird.on("POST /v0/sql", why(row))
        send(on_quarantine="warn")
        assert "x: *** https://h/f?*** yyyyy" in logs.text
        assert tinybird.token not in logs.text
        assert "y" * 200 not in logs.text

    def test_reasons_of_more_rows_than_this_load_has_may_be_others(self, tinybird):
        tinybird.on("POST /v0/sql", why(REASON, {**REASON, "c__error_column": ["day"], "c__rows": 1}))
        with pytest.raises(AirflowFailException, match=r"\nWhy \(some may be other loads' rows\): delay: .*; day: "):
            send()


class TestImports:
    def given(self, tinybird, **fields):
        job = tinybird.job("j1", "done", kind="import", import_id="i'1", datasource={"name": "flights"}, **fields)
        tinybird.on("POST /v0/datasources", {"id": "j1", "job_id": "j1", "job": job})

    def load(self, **arguments):
        return TinybirdAppendUrlOperator(
            task_id="t", datasource="flights", url="https://host/x.csv", **arguments
        ).execute({})

    def test_any_row_fails_for_good(self, tinybird):
        self.given(tinybird, quarantine_rows=3, invalid_lines=2, blocks=[{"process_return": [{"lines": 5}]}])
        tinybird.on("POST /v0/sql", why(REASON))
        with pytest.raises(
            AirflowFailException, match=r"3 of 10 rows .* and 2 lines could not be read at all\.\nWhy: delay"
        ):
            self.load()
        assert "WHERE c__import_id = 'i\\'1'" in tinybird.requests[-1].form["q"]

    def test_reasons_of_an_import_are_its_own(self, tinybird):
        # The file's own lines, which Tinybird need not count as rows.
        self.given(tinybird, quarantine_rows=1, invalid_lines=0)
        tinybird.on("POST /v0/sql", why(REASON))
        with pytest.raises(AirflowFailException, match=r"\nWhy: delay"):
            self.load()

    def test_a_line_that_could_not_be_read_counts(self, tinybird):
        self.given(tinybird, quarantine_rows=0, invalid_lines=1)
        tinybird.on("POST /v0/sql", why())
        with pytest.raises(AirflowFailException, match="1 lines could not be read"):
            self.load()

    def test_the_counts_are_in_what_is_returned(self, tinybird):
        self.given(tinybird, quarantine_rows=3, invalid_lines=2)
        value = self.load(on_quarantine="ignore")
        assert (value["quarantine_rows"], value["invalid_lines"]) == (3, 2)
        assert tinybird.count("POST /v0/sql") == 0

    def test_where_the_job_does_not_tell_the_quarantine_is_counted(self, tinybird):
        self.given(tinybird)
        tinybird.on("POST /v0/sql", why({"c__rows": "4"}), why(REASON))
        with pytest.raises(AirflowFailException, match="4 rows did not fit"):
            self.load()

    def test_a_count_that_fails_is_no_zero(self, tinybird, logs):
        self.given(tinybird)
        tinybird.on("POST /v0/sql", (403, {"error": "not allowed"}))
        with pytest.raises(AirflowFailException, match=r"it is not known how many went to quarantine.*not allowed"):
            self.load()
        self.load(on_quarantine="warn")
        assert "it is not known how many went to quarantine" in logs.text
