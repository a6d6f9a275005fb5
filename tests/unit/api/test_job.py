"""Jobs as Tinybird describes them, and where their ids stand in the answers to the calls that start them."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from airflow_provider_tinybird.api import datasources, imports, jobs, pipes
from airflow_provider_tinybird.api.body import FileBody
from airflow_provider_tinybird.api.errors import (
    BadRequestError,
    InvalidInputError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.job import parse_job, parse_time
from airflow_provider_tinybird.api.models import BlockCounts, FileFormat, JobStatus
from airflow_provider_tinybird.conditions.checks import CopyCheck

CSV = FileFormat.CSV
NODE = {"id": "t_node", "name": "n", "sql": "SELECT 1", "tags": {"copy_target_datasource": "t_2"}, "params": []}
IMPORT_TOP = {
    "id": "J",
    "import_id": "J",
    "job_id": "J",
    "job_url": "http://localhost:8001/v0/jobs/J",
    "status": "waiting",
}
NESTED = {"id": "J", "job_id": "J", "job_url": "http://localhost:8001/v0/jobs/J", "status": "waiting"}

APPEND_URL = imports.append_url("d", "https://e.com/f", format=CSV)
APPEND_V1 = imports.append_file_v1("d", FileBody(lambda: io.BytesIO(b""), 0, "text/csv"), format=CSV)
REPLACE_V1 = imports.replace_url_v1("d", "https://e.com/f", format=CSV)
DELETE = datasources.delete_rows("d", "1")
DELETE_V1 = datasources.delete_rows_v1("d", "1")

ENVELOPES = {
    "v0 url": (APPEND_URL, IMPORT_TOP | {"job": NESTED, "datasource": {"id": "t_1", "name": "d"}}),
    "v0 url, ids at the top only": (APPEND_URL, IMPORT_TOP),
    "v0 url, id only": (APPEND_URL, {"id": "J"}),
    "v0 url, nested id only": (APPEND_URL, {"job": {"id": "J"}}),
    "v0 url, nested import id only": (APPEND_URL, {"job": {"import_id": "J"}}),
    "v0 url, job is only its id": (APPEND_URL, {"id": "J", "job": "J"}),
    "v1 append, id": (APPEND_V1, {"id": "J"}),
    "v1 append, import_id": (APPEND_V1, {"import_id": "J"}),
    "v1 replace": (REPLACE_V1, {"import_id": "J"}),
    "v0 delete": (DELETE, {"id": "J", "job_id": "J", "delete_id": "J", "status": "waiting", "job": NESTED}),
    "v0 delete, delete_id only": (DELETE, {"delete_id": "J", "status": "waiting"}),
    "v1 delete without wait": (DELETE_V1, {"id": "J", "job_id": "J", "delete_id": "J", "job": NESTED}),
    "copy": (pipes.copy("p"), NODE | {"node_type": "copy", "job": NESTED | {"kind": "copy"}}),
    "copy, id and job_id of the job only": (pipes.copy("p"), NODE | {"job": {"job_id": "J"}}),
    "sink": (pipes.sink("p"), NODE | {"job": {"id": "J", "job_url": "http://localhost:8001/v0/jobs/J"}}),
    "populate": (pipes.populate("p", "n"), NODE | {"job": {"id": "J", "job_url": "x"}}),
    "cancel": (jobs.cancel_job("J"), {"id": "J", "status": "cancelling"}),
    "retry": (jobs.retry_job("old"), {"id": "J", "status": "waiting"}),
}


@pytest.mark.parametrize(("call", "envelope"), ENVELOPES.values(), ids=ENVELOPES)
def test_where_the_id_of_a_job_stands(wire, call, envelope):
    """Trap: the id at the top of a copy's or sink's answer is the node's, not the job's."""
    wire.answers(envelope)
    job = wire.send(call)
    assert job.id == "J"
    assert job.status in (JobStatus.WAITING, JobStatus.CANCELLING)
    assert job.status.is_terminal is False
    assert job.status_text


@pytest.mark.parametrize(
    "call", [pipes.copy("p"), pipes.sink("p"), pipes.populate("p", "n")], ids=["copy", "sink", "populate"]
)
@pytest.mark.parametrize("job", [{}, {"job": None}, {"job": {}}, {"job": {"status": "waiting"}}, {"job": "x"}])
def test_a_node_is_never_taken_for_a_job(wire, call, job):
    wire.answers(NODE | job)
    with pytest.raises(UnreadableAnswerError, match=r"names no job.*look at the jobs list") as caught:
        wire.send(call)
    assert caught.value.retry_can_help is False
    assert len(wire.sent) == 1


@pytest.mark.parametrize("call", [APPEND_URL, DELETE, APPEND_V1], ids=["import", "delete", "v1"])
@pytest.mark.parametrize("answer", [{}, {"job": {}}, {"id": ""}, {"id": None}, {"datasource": {"id": "t_1"}}])
def test_a_success_without_a_job(wire, call, answer):
    wire.answers(answer)
    with pytest.raises(UnreadableAnswerError, match="names no job"):
        wire.send(call)


def test_details_of_the_envelope_complete_the_job(wire):
    wire.answers({"id": "J", "status": "working", "job": {"id": "J"}, "datasource": {"name": "d"}})
    job = wire.send(APPEND_URL)
    assert (job.status, job.datasource) == (JobStatus.WORKING, "d")


def test_get_builds_its_own_address(wire):
    """Trap: job_url names a host inside the container on Tinybird Local."""
    wire.answers(NESTED | {"status": "done"})
    assert wire.send(jobs.get_job("J")).status is JobStatus.DONE
    assert (wire.only.method, wire.only.target) == ("GET", "/v0/jobs/J")
    assert wire.only.headers["host"] == "api.tinybird.co"


def test_get_with_blocks_counts_the_rows_of_this_import(wire):
    """Trap: statistics.row_count of an import is the whole table."""
    blocks = [
        {"process_return": [{"lines": 10, "quarantine": 1, "bytes": 100}, {"lines": 5, "quarantine": None}]},
        {"process_return": [{"lines": 7}], "processing_time": 0.1},
        {"process_return": None},
        {"block_id": "b"},
        "odd",
    ]
    wire.answers(
        {"id": "J", "status": "done", "statistics": {"row_count": 1_000_000}, "blocks": blocks, "block_log": [1]}
    )
    job = wire.send(jobs.get_job("J", blocks=True))
    assert wire.only.query == [("debug", "blocks,block_log")]
    assert job.blocks == BlockCounts(lines=22, quarantined=1, bytes=100)
    assert set(job.raw) == {"id", "status", "statistics"}


def test_blocks_that_were_not_asked_for(wire):
    wire.answers({"id": "J", "status": "done"})
    assert wire.send(jobs.get_job("J")).blocks is None


def test_list_with_every_filter(wire):
    wire.answers({"jobs": [{"id": "a", "status": "done", "kind": "copy"}, {"job_id": "b", "status": "queued"}]})
    found = wire.send(
        jobs.list_jobs(
            kind="copy",
            status=JobStatus.WORKING,
            pipe_id="t_1",
            pipe_name="p",
            created_after=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
            created_before="2024-02-01 00:00:00",
        )
    )
    assert [job.id for job in found] == ["a", "b"]
    assert wire.only.path == "/v0/jobs"
    assert wire.only.query == [
        ("kind", "copy"),
        ("status", "working"),
        ("pipe_id", "t_1"),
        ("pipe_name", "p"),
        ("created_after", "2024-01-02 03:04:05"),
        ("created_before", "2024-02-01 00:00:00"),
    ]


@pytest.mark.parametrize(("make", "verb"), [(jobs.cancel_job, "cancel"), (jobs.retry_job, "retry")])
def test_cancel_and_retry_have_no_body(wire, make, verb):
    new = "J" if verb == "cancel" else "new"
    wire.answers({"id": new, "status": "cancelled"})
    assert wire.send(make("J")).id == new
    sent = wire.only
    assert (sent.method, sent.target, sent.body) == ("POST", f"/v0/jobs/J/{verb}", b"")


@pytest.mark.parametrize("make", [jobs.get_job, jobs.cancel_job])
@pytest.mark.parametrize("key", ["id", "job_id", "import_id"])
def test_the_answer_about_another_job_says_nothing_of_this_one(wire, make, key):
    wire.answers(
        {"id": "other", "job_id": "another", "status": "done"}, {"id": "x", "job_id": "y", key: "0aB", "status": "done"}
    )
    with pytest.raises(UnreadableAnswerError, match="about another job, 'another'"):
        wire.send(make("0Ab"))
    assert wire.send(make("0Ab")).status is JobStatus.DONE


def test_a_job_that_cannot_be_cancelled(wire):
    wire.answers((400, {"error": "Job is in status done"}))
    with pytest.raises(BadRequestError, match=r"Could not cancel job J: .*Job is in status done"):
        wire.send(jobs.cancel_job("J"))


@pytest.mark.parametrize("job_id", ["", " ", "../pipes", "a b", "a?b=c"])
@pytest.mark.parametrize("make", [jobs.get_job, jobs.cancel_job, jobs.retry_job])
def test_impossible_ids(make, job_id):
    with pytest.raises(InvalidInputError):
        make(job_id)


@pytest.mark.parametrize(
    ("text", "status", "over", "good"),
    [
        ("waiting", JobStatus.WAITING, False, False),
        ("working", JobStatus.WORKING, False, False),
        ("done", JobStatus.DONE, True, True),
        ("error", JobStatus.ERROR, True, False),
        ("cancelling", JobStatus.CANCELLING, False, False),
        ("cancelled", JobStatus.CANCELLED, True, False),
        ("queued", JobStatus.UNKNOWN, False, False),
        ("failed", JobStatus.UNKNOWN, False, False),
        (None, JobStatus.UNKNOWN, False, False),
        (7, JobStatus.UNKNOWN, False, False),
    ],
)
def test_statuses(text, status, over, good):
    """Trap: done and error are not all; cancelled is over as well, cancelling and what is not known are not."""
    job = parse_job({"id": "J", "status": text})
    assert (job.status, job.status.is_terminal, job.status.is_successful) == (status, over, good)
    assert job.status_text == str(text or "")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, ""),
        ({"error": None}, ""),
        ({"error": False}, ""),
        ({"error": False, "errors": []}, ""),
        ({"error": ""}, ""),
        ({"error": "broken"}, "broken"),
        ({"error": True}, "Tinybird says only that it failed"),
        ({"error": True, "errors": ["a", "b"]}, "a; b"),
        ({"error": {"message": "broken"}}, "broken"),
        ({"error": {"code": 5}}, '{"code": 5}'),
        ({"error": {"message": {"deep": 1}}}, "{'deep': 1}"),
        ({"error": ["a", "b"]}, "a; b"),
        ({"error": "a", "errors": ["a", "b", None, "b"]}, "a; b"),
        ({"errors": [{"message": "a"}, {"error": "b"}]}, "a; b"),
        ({"errors": "as text"}, "as text"),
        ({"error": 500}, "500"),
        (
            {"error": "no file at https://b.s3.amazonaws.com/f?X-Amz-Signature=5ec3e7"},
            "no file at https://b.s3.amazonaws.com/f?***",
        ),
    ],
)
def test_errors_of_a_job(body, text):
    """Trap: error of a job can be a boolean, with the words in errors."""
    assert parse_job({"id": "J", "status": "error", **body}).error == text


def test_done_with_quarantined_rows_is_done():
    job = parse_job({"id": "J", "status": "done", "error": False, "quarantine_rows": 3, "invalid_lines": 1})
    assert job.status.is_successful
    assert (job.quarantine_rows, job.invalid_lines, job.error) == (3, 1, "")


def test_all_fields():
    job = parse_job(
        {
            "kind": "copy",
            "id": "J",
            "status": "working",
            "created_at": "2024-01-02 03:04:05.678901",
            "updated_at": "2024-01-02 03:04:06",
            "started_at": None,
            "is_cancellable": True,
            "datasource": {"id": "t_1"},
            "pipe_id": "t_2",
            "pipe_name": "p",
            "mode": "replace",
            "rows_affected": 4,
        }
    )
    assert job.created_at == datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert job.updated_at == datetime(2024, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert job.started_at is None
    assert (job.is_cancellable, job.datasource, job.pipe, job.mode, job.rows_affected) == (
        True,
        "t_1",
        "p",
        "replace",
        4,
    )
    assert str(job) == "copy job J"
    assert str(parse_job({"id": "J"})) == "job J"


def test_a_job_with_next_to_nothing():
    job = parse_job({"id": "J"})
    assert (job.status, job.kind, job.datasource, job.is_cancellable) == (JobStatus.UNKNOWN, "", "", None)
    with pytest.raises(UnreadableAnswerError, match="without an id; it has the keys kind, status"):
        parse_job({"status": "done", "kind": "import"})


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "2024-13-01 00:00:00"])
def test_times_that_are_none(text):
    assert parse_time(text) is None


def test_a_job_shows_no_raw_answer():
    job = parse_job({"id": "J", "url": "https://b/f?sig=5ec3e7"})
    assert "5ec3e7" not in repr(job)


def test_404_of_a_job(wire):
    wire.answers((404, {"error": "Job not found"}))
    with pytest.raises(TinybirdError, match="Could not get job J"):
        wire.send(jobs.get_job("J"))


def test_the_newest_job_of_a_pipe(wire):
    listed = [
        {"id": "a", "status": "done", "created_at": "2024-01-01 00:00:01"},
        {"id": "b", "status": "working", "created_at": "2024-01-01 00:00:03.5"},
        {"id": "c", "status": "done", "created_at": "2024-01-01 00:00:02"},
        {"id": "d", "status": "done"},
    ]
    wire.answers({"jobs": listed}, {"jobs": []})
    newest = wire.send(jobs.newest_job("p"))
    assert newest is not None
    assert newest.id == "b"
    assert wire.sent[0].target == "/v0/jobs?pipe_name=p"
    assert wire.send(jobs.newest_job("p")) is None


@pytest.mark.parametrize(("pipe", "key"), [("t_totals", "pipe_name"), (f"t_{'0a' * 16}", "pipe_id")])
def test_a_name_that_begins_like_an_id_is_a_name(wire, pipe, key):
    wire.answers({"jobs": []}, {"jobs": []})
    wire.send(jobs.newest_job(pipe))
    wire.send(CopyCheck(pipe=pipe, since="2024-01-01T00:00:00+00:00").call)
    assert [request.target for request in wire.sent] == [f"/v0/jobs?{key}={pipe}", f"/v0/jobs?kind=copy&{key}={pipe}"]


def test_a_job_that_is_forgotten_is_found_in_the_log(wire):
    """Trap: jobs are known for 48 hours; later only tinybird.jobs_log has them."""
    row = {"job_id": "J", "kind": "copy", "status": "error", "error": "broken", "created_at": "2024-01-01 00:00:01"}
    wire.answers({"data": [row]}, {"data": []})
    job = wire.send(jobs.get_job_from_log("J"))
    assert (job.id, job.kind, job.status, job.error) == ("J", "copy", JobStatus.ERROR, "broken")
    assert wire.sent[0].target == "/v0/sql"
    assert "FROM tinybird.jobs_log WHERE job_id = 'J' " in dict(wire.sent[0].form)["q"]
    assert wire.send(jobs.get_job_from_log("J'")) is None
    assert "job_id = 'J\\'' " in dict(wire.sent[1].form)["q"]
