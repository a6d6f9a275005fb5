"""Pipes API on the wire."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api import pipes
from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    BadRequestError,
    InvalidInputError,
    JobQuotaError,
    QueryTimeoutError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.models import ColumnMeta, EndpointFormat
from airflow_provider_tinybird.api.pipes import CopyMode

JOB = {"id": "t_node", "node_type": "copy", "job": {"id": "J", "job_id": "J", "status": "waiting"}}
RESULT = {
    "meta": [{"name": "c", "type": "UInt64"}],
    "data": [{"c": 18446744073709551615}],
    "rows": 1,
    "rows_before_limit_at_least": 9,
    "statistics": {"elapsed": 0.01, "rows_read": 1, "bytes_read": 8},
}
PIPE = {"id": "t_1", "name": "p", "type": "copy", "nodes": [{"id": "t_2", "name": "first"}, {"name": "second"}]}


def test_list_and_get(wire):
    wire.answers({"pipes": [PIPE]}, PIPE)
    (listed,) = wire.send(pipes.list_pipes())
    got = wire.send(pipes.get_pipe("p"))
    assert [sent.target for sent in wire.sent] == ["/v0/pipes", "/v0/pipes/p"]
    assert listed == got
    assert (got.id, got.type, got.nodes) == ("t_1", "copy", ("first", "second"))


def test_endpoint(wire):
    """Trap: 64-bit integers come as JSON numbers."""
    wire.answers(RESULT)
    result = wire.send(pipes.endpoint("p"))
    assert (wire.only.method, wire.only.target) == ("GET", "/v0/pipes/p.json")
    assert result.data == ({"c": 18446744073709551615},)
    assert result.meta == (ColumnMeta("c", "UInt64"),)
    assert (result.rows, result.rows_before_limit_at_least) == (1, 9)
    assert result.statistics["rows_read"] == 1


def test_endpoint_parameters(wire):
    """Traps: booleans as True, lists as repeated keys, times with a T."""
    from datetime import datetime

    wire.answers(RESULT)
    wire.send(
        pipes.endpoint(
            "p",
            {"flag": True, "ids": [1, 2], "since": datetime(2024, 1, 2, 3, 4, 5), "none": None, "text": "a&b=ü +"},
            q="SELECT * FROM _",
        )
    )
    assert wire.only.query == [
        ("flag", "true"),
        ("ids", "1,2"),
        ("since", "2024-01-02 03:04:05"),
        ("text", "a&b=ü +"),
        ("q", "SELECT * FROM _"),
    ]


@pytest.mark.parametrize("format", EndpointFormat)
def test_formats(wire, format):
    """Trap: the parser follows what was asked for, not the Content-Type."""
    content = b"PAR1PAR1" if format is EndpointFormat.PARQUET else b'{"c": 1}\n{"c": 2}\n'
    wire.answers((200, content, {"Content-Type": "application/json"}))
    result = wire.send(pipes.endpoint_as("p", format))
    assert wire.only.target == f"/v0/pipes/p.{format.value}"
    assert (result.content, result.format, result.text) == (content, format.value, content.decode())


def test_an_error_is_json_whatever_the_format(wire):
    wire.answers((400, {"error": "wrong value"}, {"Content-Type": "text/csv"}))
    with pytest.raises(BadRequestError, match="wrong value"):
        wire.send(pipes.endpoint_as("p", EndpointFormat.PARQUET))


@pytest.mark.parametrize(("length", "method"), [(4000, "GET"), (4097, "POST"), (100_000, "POST")])
def test_long_parameters_go_by_post(wire, length, method):
    """Trap: a URL of more than about 8 kB is answered with 414."""
    wire.answers(RESULT)
    wire.send(pipes.endpoint("p", {"text": "x" * length, "b": "ü"}, q="SELECT 1"))
    sent = wire.only
    assert (sent.method, sent.path) == (method, "/v0/pipes/p.json")
    values = [("text", "x" * length), ("b", "ü"), ("q", "SELECT 1")]
    if method == "POST":
        assert sent.form == values
        assert sent.query == []
    else:
        assert sent.query == values
        assert sent.body == b""


def test_the_length_is_that_of_the_encoded_parameters(wire):
    wire.answers(RESULT)
    wire.send(pipes.endpoint("p", {"text": "ü" * 1000}))  # 1,000 characters, 6,000 in a URL
    assert wire.only.method == "POST"


def test_408(wire):
    wire.answers((408, {"error": "Timeout exceeded"}))
    with pytest.raises(QueryTimeoutError, match=r"Timeout exceeded.*narrow it"):
        wire.send(pipes.endpoint("p"))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("answer", [{"meta": []}, {"data": None}, {"data": {}}])
def test_an_endpoint_without_rows_is_no_result(wire, answer):
    wire.answers(answer)
    with pytest.raises(UnreadableAnswerError, match="no rows"):
        wire.send(pipes.endpoint("p"))


@pytest.mark.parametrize(
    ("mode", "on_demand", "more"),
    [
        (None, False, []),
        (CopyMode.APPEND, False, [("_mode", "append")]),
        (CopyMode.REPLACE, True, [("_mode", "replace"), ("on_demand_compute", "true")]),
    ],
)
def test_copy(wire, mode, on_demand, more):
    """Trap: on_demand_compute in the pipe's file does not count for manual runs. All parameters are in the query string."""
    wire.answers(JOB)
    job = wire.send(
        pipes.copy("p", {"job_timestamp": "2024-01-01 00:00:00", "n": 5}, mode=mode, on_demand_compute=on_demand)
    )
    sent = wire.only
    assert (sent.method, sent.path, sent.body) == ("POST", "/v0/pipes/p/copy", b"")
    assert sent.query == [("job_timestamp", "2024-01-01 00:00:00"), ("n", "5"), *more]
    assert job.id == "J"
    assert job.status.is_terminal is False


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    "text", ["You have reached the maximum number of copy jobs (12)", "maximum number of delete jobs"]
)
def test_a_limit_of_jobs_is_told_from_a_bad_token(wire, status, text):
    """Trap: 403 is no proof of a bad token; job limits answer with it as well."""
    wire.answers((status, {"error": text}))
    with pytest.raises(JobQuotaError, match="Nothing was started") as caught:
        wire.send(pipes.copy("p"))
    assert text in str(caught.value)
    assert "token" not in str(caught.value)
    assert caught.value.retry_can_help is True
    assert len(wire.sent) == 1


def test_another_403_of_a_copy_names_scopes_and_limits(wire):
    wire.answers((403, {"error": "Too many rows"}))
    with pytest.raises(AccessDeniedError, match=r"PIPES:READ:p and DATASOURCES:APPEND.*a job limit of the plan also"):
        wire.send(pipes.copy("p"))


def test_sink(wire):
    wire.answers(JOB)
    parameters = {
        "day": "2024-01-01",
        "connection": "c",
        "path": "bucket/dir",
        "file_template": "f_{day}",
        "format": "parquet",
        "compression": "gz",
        "write_strategy": "truncate",
    }
    assert wire.send(pipes.sink("p", parameters)).id == "J"
    sent = wire.only
    assert (sent.method, sent.path, sent.body) == ("POST", "/v0/pipes/p/sink", b"")
    assert dict(sent.query) == parameters


def test_populate(wire):
    wire.answers(JOB, JOB)
    wire.send(pipes.populate("p", "n"))
    wire.send(
        pipes.populate(
            "p",
            "n",
            truncate=True,
            populate_subset=0.1,
            populate_condition="day > 1",
            unlink_on_populate_error=True,
            on_demand_compute=True,
        )
    )
    assert {sent.path for sent in wire.sent} == {"/v0/pipes/p/nodes/n/population"}
    assert wire.sent[0].query == [("truncate", "false")]
    assert wire.sent[1].query == [
        ("truncate", "true"),
        ("populate_subset", "0.1"),
        ("populate_condition", "day > 1"),
        ("unlink_on_populate_error", "true"),
        ("on_demand_compute", "true"),
    ]


@pytest.mark.parametrize("subset", [0, -1, 1.1, float("nan")])
def test_populate_subset_is_a_share(subset):
    with pytest.raises(InvalidInputError, match="populate_subset"):
        pipes.populate("p", "n", populate_subset=subset)


@pytest.mark.parametrize(("make", "verb"), [(pipes.pause_copy, "pause"), (pipes.resume_copy, "resume")])
@pytest.mark.parametrize("body", [b"", b"{}", b"ok"])
def test_pause_and_resume(wire, make, verb, body):
    wire.answers((200, body))
    assert wire.send(make("p")) is None
    sent = wire.only
    assert (sent.method, sent.target, sent.body) == ("POST", f"/v0/pipes/p/copy/{verb}", b"")


@pytest.mark.parametrize(
    "name", ["q", "token", "pipeline", "debug", "explain", "TOKEN", "__tb__deployment", "_mode", "format"]
)
@pytest.mark.parametrize("make", [pipes.endpoint, pipes.copy])
def test_names_that_the_server_keeps_for_itself(make, name):
    """Trap: as a pipe's parameter they would change the request instead of reaching the pipe."""
    with pytest.raises(InvalidInputError, match=f"'{name}'"):
        make("p", {name: "x"})
    if name != "format":
        with pytest.raises(InvalidInputError, match=f"'{name}'"):
            pipes.sink("p", {name: "x"})


@pytest.mark.parametrize(
    "name", ["job_timestamp", "output_format_json_quote_64bit_integers", "output_format_parquet_string_as_string"]
)
def test_names_that_are_meant_for_the_server_pass(wire, name):
    wire.answers(RESULT)
    wire.send(pipes.endpoint("p", {name: 1}))
    assert wire.only.query == [(name, "1")]


def test_names_of_pipes_are_encoded_in_paths(wire):
    wire.answers(RESULT)
    wire.send(pipes.endpoint("año"))
    assert wire.only.target == "/v0/pipes/a%C3%B1o.json"
