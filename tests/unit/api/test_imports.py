"""Imports on the wire: v0 and v1, URL and body."""

from __future__ import annotations

import email
import io

import pytest

from airflow_provider_tinybird.api import imports
from airflow_provider_tinybird.api.body import FileBody, MultipartBody
from airflow_provider_tinybird.api.errors import ImportRejectedError, InvalidInputError, UnreadableAnswerError
from airflow_provider_tinybird.api.models import FileFormat, JobStatus

CSV, NDJSON, PARQUET = FileFormat.CSV, FileFormat.NDJSON, FileFormat.PARQUET
URL = "https://bucket.s3.amazonaws.com/f.csv?X-Amz-Signature=5ec3e7&a=b c".replace(" ", "%20")
JOB = {
    "id": "j-1",
    "import_id": "j-1",
    "job_id": "j-1",
    "job_url": "http://localhost:8001/v0/jobs/j-1",
    "status": "waiting",
    "job": {"kind": "import", "id": "j-1", "job_id": "j-1", "import_id": "j-1", "status": "waiting", "mode": "append"},
    "datasource": {"id": "t_1", "name": "flights"},
}
DONE = {
    "datasource": {"id": "t_1", "name": "flights"},
    "import_id": "i-1",
    "invalid_lines": 0,
    "quarantine_rows": 0,
    "error": False,
    "blocks": [{"block_id": "b", "process_return": [{"lines": 10, "quarantine": 0}]}],
}
CONTENT = b"a,b\n1,2\n"


def file_body(content_type: str = "text/csv", encoding: str | None = None) -> FileBody:
    return FileBody(lambda: io.BytesIO(CONTENT), len(CONTENT), content_type, encoding)


@pytest.mark.parametrize("format", FileFormat)
def test_append_url(wire, format):
    """Trap: the API's defaults are mode=create and format=csv, so both are always sent. The address goes into the form,
    as a presigned one is a credential and query strings are logged.
    """
    wire.answers(JOB)
    job = wire.send(imports.append_url("flights", URL, format=format))
    sent = wire.only
    assert (sent.method, sent.path) == ("POST", "/v0/datasources")
    assert sent.query == [("mode", "append"), ("name", "flights"), ("format", format.value)]
    assert sent.form == [("url", URL)]
    assert (job.id, job.status, job.kind, job.datasource) == ("j-1", JobStatus.WAITING, "import", "flights")


def test_a_queued_import_is_not_done(wire):
    """Trap: HTTP 200 of an import by URL means queued."""
    wire.answers(JOB)
    job = wire.send(imports.append_url("flights", URL, format=CSV))
    assert job.status.is_terminal is False
    assert job.status.is_successful is False


def test_replace_url(wire):
    wire.answers(JOB, JOB)
    wire.send(imports.replace_url("flights", URL, format=CSV))
    wire.send(imports.replace_url("flights", URL, format=CSV, condition="day = '2024-01-01'"))
    assert wire.sent[0].query == [("mode", "replace"), ("name", "flights"), ("format", "csv")]
    assert wire.sent[1].query == [*wire.sent[0].query, ("replace_condition", "day = '2024-01-01'")]


@pytest.mark.parametrize(
    ("make", "path", "condition"),
    [
        (imports.append_url_v1, "/v1/datasources/flights/append", None),
        (imports.replace_url_v1, "/v1/datasources/flights/replace", None),
        (imports.replace_url_v1, "/v1/datasources/flights/replace", "a > 1"),
    ],
)
def test_url_on_v1(wire, make, path, condition):
    """The v1 routes take the address in the query string, with an empty body."""
    more = {"condition": condition} if condition else {}
    wire.answers({"import_id": "j-2"})
    job = wire.send(make("flights", URL, format=NDJSON, **more))
    sent = wire.only
    assert (sent.method, sent.path) == ("POST", path)
    expected = [("format", "ndjson"), ("url", URL)] + ([("replace_condition", condition)] if condition else [])
    assert sent.query == expected
    assert (sent.body, sent.headers["content-length"]) == (b"", "0")
    assert (job.id, job.status) == ("j-2", JobStatus.WAITING)


@pytest.mark.parametrize(
    ("format", "content_type"),
    [(CSV, "text/csv"), (NDJSON, "application/x-ndjson"), (PARQUET, "application/vnd.apache.parquet")],
)
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_file_on_v1_is_the_raw_bytes(wire, format, content_type, encoding):
    wire.answers({"id": "j-3"}, {"id": "j-3"})
    wire.send(imports.append_file_v1("flights", file_body(format.content_type, encoding), format=format))
    wire.send(
        imports.replace_file_v1("flights", file_body(format.content_type, encoding), format=format, condition="a > 1")
    )
    append, replace = wire.sent
    assert (append.path, append.query) == ("/v1/datasources/flights/append", [("format", format.value)])
    assert replace.path == "/v1/datasources/flights/replace"
    assert replace.query == [("format", format.value), ("replace_condition", "a > 1")]
    for sent in wire.sent:
        assert sent.body == CONTENT
        assert sent.headers["content-type"] == content_type
        assert sent.headers.get("content-encoding") == encoding


def parts_of(sent):
    message = email.message_from_bytes(
        b"Content-Type: " + sent.headers["content-type"].encode() + b"\r\n\r\n" + sent.body
    )
    assert message.is_multipart()
    return message.get_payload()


@pytest.mark.parametrize(("format", "field"), [(CSV, "csv"), (NDJSON, "ndjson"), (PARQUET, "ndjson")])
@pytest.mark.parametrize(("make", "mode"), [(imports.append_file, "append"), (imports.replace_file, "replace")])
def test_file_on_v0_is_multipart(wire, make, mode, format, field):
    """Trap: the name of the multipart field does not pick the format, ``format`` does."""
    wire.answers(DONE)
    result = wire.send(make("flights", file_body(format.content_type), format=format, file_name="f.csv.gz"))
    sent = wire.only
    assert (sent.method, sent.path) == ("POST", "/v0/datasources")
    assert sent.query == [("mode", mode), ("name", "flights"), ("format", format.value)]
    (part,) = parts_of(sent)
    assert part.get_param("name", header="content-disposition") == field
    assert part.get_filename() == "f.csv.gz"
    assert part.get_content_type() == format.content_type
    assert part.get_payload(decode=True) == CONTENT
    assert (result.import_id, result.datasource) == ("i-1", "flights")
    assert "blocks" not in result.raw


@pytest.mark.parametrize("name", ['a"b\r\nX-Evil: 1.csv', "naïve ü.csv"])
def test_odd_file_names_stay_inside_their_header(name):
    body = MultipartBody("csv", name, file_body())
    sent = b"".join(body.chunks())
    assert len(sent) == body.length
    assert sent.count(b"\r\n\r\n") == 1
    assert b"\r\nX-Evil" not in sent


@pytest.mark.parametrize(("make", "mode"), [(imports.append_body, "append"), (imports.replace_body, "replace")])
def test_raw_body_on_v0(wire, make, mode):
    wire.answers(DONE)
    wire.send(make("flights", CONTENT, format=NDJSON))
    sent = wire.only
    assert sent.path == "/v0/datasources"
    assert sent.query == [("mode", mode), ("name", "flights"), ("format", "ndjson")]
    assert (sent.body, sent.headers["content-type"]) == (CONTENT, "application/x-ndjson")


@pytest.mark.parametrize("key", ["quarantine_rows", "quarantined_rows"])
@pytest.mark.parametrize("error", [False, None, True])
def test_quarantine_on_success(wire, key, error):
    """Trap: bad rows answer with error true and HTTP 200 although the good rows are in. Taken for a failure, everything is
    sent again and the good rows are doubled. And the count has two names.
    """
    wire.answers({"import_id": "i-1", key: 4, "invalid_lines": 2, "error": error})
    result = wire.send(imports.append_body("flights", CONTENT, format=CSV))
    assert (result.quarantine_rows, result.invalid_lines) == (4, 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": True}, "says only that it failed"),
        ({"error": "There was an error when attempting to import"}, "when attempting to import"),
        ({"error": {"message": "broken"}}, "broken"),
        ({"error": ["one", "two"]}, "one; two"),
        ({"error": False, "errors": ["bad block"]}, "bad block"),
        ({"error": True, "errors": ["bad block", {"error": "worse"}]}, "bad block; worse"),
        ({"error": True, "errors": "as text"}, "as text"),
        ({"error": f"cannot read {URL}"}, r"f\.csv\?\*\*\*"),
    ],
)
def test_an_error_inside_of_a_200(wire, answer, words):
    """Trap: error and errors inside of HTTP 200."""
    wire.answers(DONE | answer)
    with pytest.raises(ImportRejectedError, match=words) as caught:
        wire.send(imports.append_body("flights", CONTENT, format=CSV))
    assert len(wire.sent) == 1
    assert caught.value.retry_can_help is False
    assert "5ec3e7" not in str(caught.value)


def test_a_v1_answer_with_an_error_and_no_job(wire):
    wire.answers({"error": "quota exceeded"})
    with pytest.raises(UnreadableAnswerError, match="quota exceeded"):
        wire.send(imports.append_file_v1("flights", file_body(), format=CSV))


@pytest.mark.parametrize(
    "url",
    ["", " ", "f.csv", "/data/f.csv", "file:///data/f.csv", "https://", "https://a b/c", "https://a/b\n", None, 5],
)
@pytest.mark.parametrize(
    "make", [imports.append_url, imports.replace_url, imports.append_url_v1, imports.replace_url_v1]
)
def test_addresses_that_tinybird_cannot_fetch(make, url):
    with pytest.raises(InvalidInputError, match="no address that Tinybird can fetch"):
        make("flights", url, format=CSV)


def test_a_refused_address_is_shown_without_its_secrets():
    with pytest.raises(InvalidInputError) as caught:
        imports.append_url("flights", "https://user:pa55@host/f.csv?sig=5ec3e7 x", format=CSV)
    assert "https://***@host/f.csv?***" in str(caught.value)


@pytest.mark.parametrize("condition", ["", " \n"])
def test_a_blank_condition_would_replace_everything(condition):
    with pytest.raises(InvalidInputError, match="replace_condition is blank"):
        imports.replace_url("flights", URL, format=CSV, condition=condition)
    with pytest.raises(InvalidInputError, match="replace_condition is blank"):
        imports.replace_file_v1("flights", file_body(), format=CSV, condition=condition)
