"""Data Sources API on the wire."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api import datasources
from airflow_provider_tinybird.api.errors import ConflictError, InvalidInputError, NotFoundError, UnreadableAnswerError
from airflow_provider_tinybird.api.models import ColumnMeta, JobStatus, RowsDeleted, RowsToDelete

CONDITION = "day >= '2013-01-01' AND name = 'A+B & ü%'"
DELETE_JOB = {
    "id": "j-1",
    "job_id": "j-1",
    "delete_id": "j-1",
    "job_url": "https://api.tinybird.co/v0/jobs/j-1",
    "status": "waiting",
    "job": {
        "kind": "delete_data",
        "id": "j-1",
        "job_id": "j-1",
        "status": "waiting",
        "delete_condition": CONDITION,
        "rows_affected": 0,
        "is_cancellable": True,
        "datasource": {"id": "t_1", "name": "flights"},
    },
}
DETAIL = {
    "id": "t_1",
    "name": "flights",
    "engine": {"engine": "MergeTree", "sorting_key": "day"},
    "schema": {"columns": [{"name": "day", "type": "Date"}, {"name": "n", "type": "Int32"}]},
    "statistics": {"bytes": 10, "row_count": 3},
}


def test_list(wire):
    wire.answers({"datasources": [DETAIL, {"name": "other"}]}, {"datasources": []})
    flights, other = wire.send(datasources.list_datasources(attrs=("name", "used_by")))
    assert (wire.sent[0].method, wire.sent[0].path) == ("GET", "/v0/datasources")
    assert wire.sent[0].query == [("attrs", "name,used_by")]
    assert (flights.rows, flights.bytes, flights.engine["sorting_key"]) == (3, 10, "day")
    assert (other.name, other.rows, other.columns) == ("other", None, ())
    assert wire.send(datasources.list_datasources()) == ()
    assert wire.sent[1].target == "/v0/datasources"


@pytest.mark.parametrize(
    "statistics", [{"stats": {"row_count": 3, "bytes": 10}}, {"statistics": {"row_count": 3, "bytes": 10}}]
)
def test_get(wire, statistics):
    body = {key: value for key, value in DETAIL.items() if key != "statistics"} | statistics
    wire.answers(body)
    found = wire.send(datasources.get_datasource("workspace.flights"))
    assert (wire.only.method, wire.only.target) == ("GET", "/v0/datasources/workspace.flights")
    assert found.columns == (ColumnMeta("day", "Date"), ColumnMeta("n", "Int32"))
    assert (found.rows, found.bytes) == (3, 10)


def test_columns_at_the_top(wire):
    wire.answers({"id": "t_1", "name": "flights", "columns": [{"name": "a", "type": "String"}]})
    assert wire.send(datasources.get_datasource("flights")).columns == (ColumnMeta("a", "String"),)


def test_names_are_encoded_in_paths(wire):
    wire.answers(DETAIL)
    wire.send(datasources.get_datasource("vuelos_año:1"))
    assert wire.only.target == "/v0/datasources/vuelos_a%C3%B1o%3A1"


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [(200, b"", None), (200, b"ok", "ok"), (200, b"{}", {}), (204, b"", None), (205, b"", None), (200, b" \n", None)],
)
def test_truncate(wire, status, body, result):
    """Trap: the answer of truncate is usually empty or no JSON."""
    wire.answers((status, body))
    assert wire.send(datasources.truncate("flights")).result == result
    sent = wire.only
    assert (sent.method, sent.target, sent.body) == ("POST", "/v0/datasources/flights/truncate", b"")
    assert sent.headers["content-length"] == "0"


def test_delete_is_a_form_and_answers_with_a_job(wire):
    """Trap: JSON is not read here, and HTTP 200 means that the delete is queued."""
    wire.answers(DELETE_JOB)
    job = wire.send(datasources.delete_rows("flights", CONDITION))
    sent = wire.only
    assert (sent.method, sent.target) == ("POST", "/v0/datasources/flights/delete")
    assert sent.form == [("delete_condition", CONDITION)]
    assert (job.id, job.status, job.kind, job.datasource) == ("j-1", JobStatus.WAITING, "delete_data", "flights")
    assert job.status.is_terminal is False


def test_dry_run_counts_and_has_no_job(wire):
    """Traps: a dry run answers with a count and no job; its field is dry_run, not dry."""
    wire.answers({"rows_to_be_deleted": 7})
    assert wire.send(datasources.count_rows_to_delete("flights", CONDITION)) == RowsToDelete(7)
    assert wire.only.form == [("delete_condition", CONDITION), ("dry_run", "true")]


def test_a_dry_run_that_answers_with_a_job_is_not_zero_rows(wire):
    wire.answers(DELETE_JOB)
    with pytest.raises(UnreadableAnswerError, match="not as its API promises"):
        wire.send(datasources.count_rows_to_delete("flights", CONDITION))


def test_lightweight_delete_as_a_job(wire):
    """Trap: the shape of the answer follows from wait, not from the route."""
    wire.answers(DELETE_JOB)
    job = wire.send(datasources.delete_rows_v1("flights", CONDITION, partition="201301"))
    sent = wire.only
    assert (sent.method, sent.target) == ("POST", "/v1/datasources/flights/delete")
    assert sent.form == [("delete_condition", CONDITION), ("wait", "false"), ("partition", "201301")]
    assert job.id == "j-1"


def test_lightweight_delete_waited_for(wire):
    wire.answers({"rows_affected": 5, "mutation": {"partitions_done": 1}})
    result = wire.send(datasources.delete_rows_v1_and_wait("flights", CONDITION))
    assert wire.only.form == [("delete_condition", CONDITION), ("wait", "true")]
    assert result == RowsDeleted(rows_affected=5, mutation={"partitions_done": 1})


def test_a_lightweight_delete_that_did_not_wait_is_not_zero_rows(wire):
    wire.answers(DELETE_JOB)
    with pytest.raises(UnreadableAnswerError, match="not as its API promises"):
        wire.send(datasources.delete_rows_v1_and_wait("flights", CONDITION))


def test_a_lightweight_delete_that_waited_unasked_has_no_job(wire):
    wire.answers({"rows_affected": 5})
    with pytest.raises(UnreadableAnswerError, match="names no job"):
        wire.send(datasources.delete_rows_v1("flights", CONDITION))


@pytest.mark.parametrize("condition", ["", "  ", "\n", None, 1])
@pytest.mark.parametrize(
    "make",
    [
        datasources.delete_rows,
        datasources.count_rows_to_delete,
        datasources.delete_rows_v1,
        datasources.delete_rows_v1_and_wait,
    ],
)
def test_a_blank_condition_never_leaves(make, condition):
    with pytest.raises(InvalidInputError, match="delete_condition is blank"):
        make("flights", condition)


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (409, ConflictError)])
def test_errors(wire, status, kind):
    wire.answers((status, {"error": "Data Source flights"}))
    with pytest.raises(kind, match="Could not truncate data source 'flights'"):
        wire.send(datasources.truncate("flights"))


def test_scopes_are_named_in_the_plural(wire):
    """Trap: documents mix DATASOURCE:CREATE and DATASOURCES:CREATE; what is sent to create a token is the plural."""
    wire.answers((403, {"error": "no"}), (403, {"error": "no"}))
    with pytest.raises(Exception, match="DATASOURCES:CREATE"):
        wire.send(datasources.truncate("flights"))
    with pytest.raises(Exception, match="DATASOURCES:READ:flights"):
        wire.send(datasources.get_datasource("flights"))
