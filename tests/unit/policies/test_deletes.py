"""What is asked before rows are destroyed, byte by byte, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_tinybird._compat import AirflowFailException, TaskDeferred
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.interval import TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator, TinybirdPopulateOperator
from airflow_provider_tinybird.policies.deletes import (
    DeleteBounds,
    RowsOutOfBoundsError,
    TooFewRowsError,
    check_rows_written,
    check_truncate,
)

pytestmark = pytest.mark.usefixtures("clock")

DELETE = "POST /v0/datasources/flights/delete"
TRUNCATE = "POST /v0/datasources/flights/truncate"
WORKSPACE = "GET /v0/workspace"
SQL = "POST /v0/sql"
QUOTA = (403, {"error": "You have reached the maximum number of delete jobs (1)"})


def bounds(**given: Any) -> DeleteBounds:
    return DeleteBounds.parse(**{"min_rows": None, "max_rows": None, "max_fraction": None, "allow_all": False, **given})


def counted(rows: int) -> dict[str, Any]:
    return {"meta": [], "data": [{"c": str(rows)}], "rows": 1}


class TestBounds:
    @pytest.mark.parametrize(
        ("given", "matching", "total"),
        [
            ({}, 9, 10),
            ({}, 0, 0),
            ({}, 0, None),
            ({"min_rows": 2, "max_rows": "4"}, 2, 10),
            ({"min_rows": 2, "max_rows": 4}, 4, 10),
            ({"max_fraction": 0.4}, 4, 10),
            ({"max_fraction": 0.29}, 29, 100),
            ({"max_fraction": "0"}, 0, 10),
            ({"allow_all": True}, 10, 10),
            ({"allow_all": "true", "max_rows": 10}, 10, None),
        ],
    )
    def test_inside(self, given, matching, total):
        bounds(**given).check(matching, total, "flights")

    @pytest.mark.parametrize(
        ("given", "matching", "total", "said"),
        [
            ({}, 10, 10, "10 of 10 rows .* all rows.*allow_all"),
            ({}, 11, 10, "all rows"),  # rows went away between the two counts
            ({}, 1, None, "how many there are is not known"),
            ({"min_rows": 2}, 1, 10, "min_rows=2 asks for more"),
            ({"min_rows": 1}, 0, 10, "min_rows=1"),
            ({"max_rows": 4}, 5, 10, "5 of 10 rows.*max_rows=4 allows fewer"),
            ({"max_rows": 0}, 1, 10, "max_rows=0"),
            ({"max_fraction": 0.4}, 5, 10, r"max_fraction=0\.4 allows 4"),
            ({"max_fraction": 0.4, "allow_all": True}, 5, None, "how many there are is not known"),
            ({"max_fraction": 1}, 10, 10, "all rows"),
        ],
    )
    def test_outside(self, given, matching, total, said):
        with pytest.raises(RowsOutOfBoundsError, match=f"Nothing was deleted: .*{said}"):
            bounds(**given).check(matching, total, "flights")

    def test_rows_that_an_earlier_attempt_may_have_deleted_may_be_gone(self):
        bounds(min_rows=2).check(0, 10, "flights", may_be_gone=True)
        with pytest.raises(RowsOutOfBoundsError):
            bounds(max_rows=2).check(3, 10, "flights", may_be_gone=True)

    @pytest.mark.parametrize(
        "given", [{"min_rows": -1}, {"max_rows": "x"}, {"max_fraction": 2}, {"allow_all": "perhaps"}, {"max_rows": 1.5}]
    )
    def test_that_make_no_sense(self, given):
        [(name, value)] = given.items()
        with pytest.raises(InvalidInputError, match=f"{name}={value!r}"):
            bounds(**given)

    def test_a_truncate(self):
        check_truncate(None, None, "flights")
        check_truncate(3, 3, "flights")
        for rows in (4, None):
            with pytest.raises(RowsOutOfBoundsError, match="max_rows=3"):
                check_truncate(rows, 3, "flights")

    def test_rows_that_were_written(self, logs):
        check_rows_written(3, 3, "flights", replaces=True)
        check_rows_written(None, None, "flights", replaces=True)
        assert logs.text == ""
        for rows in (2, None):
            with pytest.raises(TooFewRowsError, match="min_rows=3"):
                check_rows_written(rows, 3, "flights", replaces=True)
        check_rows_written(0, None, "flights", replaces=True)
        assert "No rows were written to 'flights'. What was there before may be gone. min_rows=1" in logs.text


class TestDelete:
    @pytest.fixture(autouse=True)
    def _tables(self, tinybird):
        job = tinybird.job("j1", "done", kind="delete_data", rows_affected=2)
        self.started = {"id": "j1", "job_id": "j1", "job": job}
        tinybird.on(DELETE, lambda request: {"rows_to_be_deleted": 2} if "dry_run" in request.form else self.started)
        tinybird.on(SQL, counted(10), counted(8))

    def run(self, context: Any = None, **arguments: Any) -> Any:
        given = {"datasource": "flights", "delete_condition": "carrier = 'UA'", **arguments}
        return TinybirdDeleteOperator(task_id="t", **given).execute(context or {})

    def real_deletes(self, tinybird):
        return [one for one in tinybird.requests if one.line == DELETE and "dry_run" not in one.form]

    def test_counts_first(self, tinybird):
        value = self.run()
        assert tinybird.lines() == [DELETE, SQL, DELETE, "GET /v0/jobs/j1", SQL]
        assert tinybird.requests[0].form == {"delete_condition": "carrier = 'UA'", "dry_run": "true"}
        assert " ".join(tinybird.requests[1].form["q"].split()) == "SELECT count() AS c FROM `flights` FORMAT JSON"
        assert (value["rows_before"], value["rows_after"]) == (10, 8)

    @pytest.mark.parametrize("arguments", [{"max_rows": 1}, {"min_rows": 3}, {"max_fraction": 0.1}])
    def test_outside_of_its_bounds_deletes_nothing(self, tinybird, arguments):
        with pytest.raises(AirflowFailException, match="Nothing was deleted"):
            self.run(**arguments)
        assert self.real_deletes(tinybird) == []

    @pytest.mark.parametrize("condition", ["1=1", "true", "carrier = 'UA' OR 1 = 1"])
    def test_a_condition_that_is_always_true_sends_nothing(self, tinybird, condition):
        with pytest.raises(AirflowFailException, match=r"true for every row.*allow_all=True"):
            self.run(delete_condition=condition)
        assert tinybird.requests == []

    def test_all_rows_by_their_number(self, tinybird):
        tinybird.on(SQL, counted(2))
        with pytest.raises(AirflowFailException, match=r"2 of 2 rows .* all rows"):
            self.run()
        assert self.real_deletes(tinybird) == []
        assert self.run(allow_all=True)["rows_before"] == 2

    def test_a_blank_condition_where_all_may_go(self, tinybird):
        self.run(delete_condition=" ", allow_all=True)
        [sent] = self.real_deletes(tinybird)
        assert sent.form == {"delete_condition": "1 = 1"}

    def test_a_token_that_may_not_query_takes_tinybirds_own_count(self, tinybird):
        tinybird.on(SQL, (403, {"error": "no"}))
        tinybird.on("GET /v0/datasources/flights", {"id": "t", "name": "flights", "statistics": {"row_count": 10}})
        value = self.run()
        assert (value["rows_before"], value["rows_after"]) == (10, 10)

    def test_a_total_that_is_not_known_is_no_leave(self, tinybird):
        tinybird.on(SQL, (403, {"error": "no"}))
        tinybird.on("GET /v0/datasources/flights", (403, {"error": "no"}))
        with pytest.raises(AirflowFailException, match="how many there are is not known"):
            self.run()
        assert self.real_deletes(tinybird) == []
        value = self.run(allow_all=True, max_rows=2)
        assert (value["rows_before"], value["rows_after"]) == (None, None)

    def test_the_facts_go_through_the_triggerer(self, tinybird):
        tinybird.job("j1", "working", kind="delete_data")
        with pytest.raises(TaskDeferred) as caught:
            self.run(deferrable=True, poll_interval=1)
        wait = caught.value
        assert wait.trigger.resume["facts"] == {"rows_before": 10}
        event = {"ending": "done", "job_id": "j1", "job": {"status": "done", "rows_affected": 2}, "version": 1}
        fresh = TinybirdDeleteOperator(task_id="t", datasource="flights", delete_condition="carrier = 'UA'")
        value = getattr(fresh, wait.method_name)({}, {**event, "resume": wait.trigger.resume})
        assert (value["rows_before"], value["rows_after"]) == (10, 8)
        # As Airflow kept it for a task that an older version deferred.
        value = fresh.execute_complete({}, event, facts={"rows_before": 10})
        assert (value["rows_before"], value["rows_after"]) == (10, 8)
        # As a task that was deferred by a version before there were facts comes back.
        assert fresh.execute_complete({}, event)["rows_before"] is None

    def test_after_a_wait_for_a_slot_it_counts_again(self, tinybird):
        answers = [QUOTA, self.started]
        tinybird.on(DELETE, lambda request: {"rows_to_be_deleted": 2} if "dry_run" in request.form else answers.pop(0))
        tinybird.on("GET /v0/jobs", {"jobs": []})
        with pytest.raises(TaskDeferred) as caught:
            self.run(deferrable=True)
        tinybird.on(SQL, counted(2))
        fresh = TinybirdDeleteOperator(task_id="t", datasource="flights", delete_condition="carrier = 'UA'")
        with pytest.raises(AirflowFailException, match="all rows"):
            getattr(fresh, caught.value.method_name)({}, {"resume": caught.value.trigger.resume})
        assert len(self.real_deletes(tinybird)) == 1  # that which was refused

    def test_a_retry_below_3_3_does_not_mind_that_its_rows_are_gone(self, tinybird):
        tinybird.on(DELETE, lambda request: {"rows_to_be_deleted": 0} if "dry_run" in request.form else self.started)
        first, second = (
            {"ti": SimpleNamespace(max_tries=2, try_number=n, map_index=-1, xcom_push=lambda **_: None)} for n in (1, 2)
        )
        with pytest.raises(AirflowFailException, match="min_rows=1"):
            self.run(first, min_rows=1, retries=2)
        self.run(second, min_rows=1, retries=2)
        tinybird.on(DELETE, {"rows_to_be_deleted": 1})
        with pytest.raises(AirflowFailException, match="max_rows=0"):
            self.run(second, max_rows=0, retries=2)

    def test_the_quarantine_goes_first(self, tinybird):
        tinybird.job("q1", "done", kind="delete_data", rows_affected=1)
        answer = {"id": "q1", "job_id": "q1", "job": {"id": "q1", "status": "waiting"}}
        tinybird.on("POST /v0/datasources/flights_quarantine/delete", answer)
        self.run(quarantine=True, quarantine_condition="carrier IS NULL")
        assert tinybird.lines()[2:6] == [
            "POST /v0/datasources/flights_quarantine/delete",
            "GET /v0/jobs/q1",
            DELETE,
            "GET /v0/jobs/j1",
        ]
        assert tinybird.requests[2].form == {"delete_condition": "carrier IS NULL"}


class TestWorkspace:
    """Each operator that destroys: nothing but the question is sent."""

    CASES: tuple[tuple[type[Any], dict[str, Any]], ...] = (
        (TinybirdDeleteOperator, {"datasource": "flights", "delete_condition": "a = 1"}),
        (TinybirdTruncateOperator, {"datasource": "flights"}),
        (TinybirdTruncateOperator, {"datasource": "flights", "quarantine": True}),
        (TinybirdAppendUrlOperator, {"datasource": "flights", "url": "https://h/x.csv", "mode": "replace"}),
        (TinybirdCopyOperator, {"pipe": "daily", "mode": "replace"}),
        (TinybirdPopulateOperator, {"pipe": "daily", "node": "mv", "truncate": True}),
        (TinybirdLoadOperator, {"datasource": "flights", "data": [{"a": 1}], "mode": "replace"}),
        (TinybirdReplaceIntervalOperator, {"datasource": "flights", "data": [{"day": "2013-01-01"}], "column": "day"}),
    )

    @pytest.mark.parametrize("where", ["argument", "connection"])
    @pytest.mark.parametrize(("cls", "arguments"), CASES)
    def test_another_one(self, tinybird, connection, cls, arguments, where):
        tinybird.on(WORKSPACE, {"id": "w1", "name": "production"})
        more = {"expected_workspace": "staging"} if where == "argument" else {}
        connection(tinybird.url, tinybird.token, workspace="staging" if where == "connection" else "production")
        with pytest.raises(AirflowFailException, match=r"belongs to workspace 'production'.*'staging' is expected"):
            cls(task_id="t", **arguments, **more).execute({})
        assert tinybird.lines() == [WORKSPACE]

    @pytest.mark.parametrize(("cls", "arguments"), CASES)
    def test_a_token_that_may_not_see_it(self, tinybird, cls, arguments):
        tinybird.on(WORKSPACE, (403, {"error": "not allowed"}))
        with pytest.raises(AirflowFailException, match=r"may not see which workspace.*WORKSPACE:READ_ALL.*not allowed"):
            cls(task_id="t", expected_workspace="staging", **arguments).execute({})
        assert tinybird.lines() == [WORKSPACE]

    @pytest.mark.parametrize(("cls", "arguments"), CASES)
    def test_a_blank_one_is_no_leave(self, tinybird, cls, arguments):
        with pytest.raises(AirflowFailException, match="expected_workspace='' is blank"):
            cls(task_id="t", expected_workspace="", **arguments).execute({})
        assert tinybird.requests == []

    @pytest.mark.parametrize("said", ["production", "w1"])
    def test_the_right_one(self, tinybird, said):
        tinybird.on(WORKSPACE, {"id": "w1", "name": "production"})
        tinybird.on(TRUNCATE, (200, b""))
        tinybird.on(SQL, counted(3), counted(0))
        value = TinybirdTruncateOperator(task_id="t", datasource="flights", expected_workspace=said).execute({})
        assert value == {"truncated": True, "result": None, "rows_before": 3, "rows_after": 0}
        assert tinybird.lines() == [WORKSPACE, SQL, TRUNCATE, SQL]

    @pytest.mark.parametrize(
        ("cls", "arguments"),
        [
            (TinybirdAppendUrlOperator, {"datasource": "flights", "url": "https://h/x.csv"}),
            (TinybirdCopyOperator, {"pipe": "daily"}),
        ],
    )
    def test_what_appends_asks_only_where_the_task_says_so(self, tinybird, connection, cls, arguments):
        connection(tinybird.url, tinybird.token, workspace="staging")
        job = tinybird.job("j1", "done", quarantine_rows=0)
        tinybird.on("POST /v0/datasources", {"id": "j1", "job_id": "j1", "job": job})
        tinybird.on("POST /v0/pipes/daily/copy", {"id": "n", "job": job})
        tinybird.on(WORKSPACE, {"id": "w1", "name": "production"})
        cls(task_id="t", **arguments).execute({})
        assert tinybird.count(WORKSPACE) == 0
        with pytest.raises(AirflowFailException, match="'staging' is expected"):
            cls(task_id="t", expected_workspace="staging", **arguments).execute({})
