"""What only a real socket shows: the bytes of the request, and answers that break."""

from __future__ import annotations

import io
import socket

import pytest

from airflow_provider_tinybird.api import datasources, events, imports, jobs
from airflow_provider_tinybird.api.body import CHUNK_BYTES, BytesBody, FileBody
from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    ConnectionFailedError,
    InvalidInputError,
    OutcomeUnknownError,
    PayloadTooLargeError,
)
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings

BIG = bytes(range(256)) * (CHUNK_BYTES // 128) + b"end"  # more than two pieces
JOB = b'{"id": "j", "status": "done"}'
EVENTS = b'{"successful_rows": 1, "quarantined_rows": 0}'
IMPORT = b'{"import_id": "i", "quarantine_rows": 0, "invalid_lines": 0, "error": false}'


def file_body(content: bytes, *, length: int | None = None) -> FileBody:
    return FileBody(lambda: io.BytesIO(content), len(content) if length is None else length, "text/csv")


BODIES = {
    "bytes": (imports.append_body("d", BIG, format=FileFormat.CSV), IMPORT, BIG),
    "memoryview": (events.send_events("d", memoryview(BIG)), EVENTS, BIG),
    "file": (imports.append_file_v1("d", file_body(BIG), format=FileFormat.CSV), JOB, BIG),
    "empty file": (imports.append_file_v1("d", file_body(b""), format=FileFormat.CSV), JOB, b""),
    "multipart": (imports.append_file("d", file_body(BIG), format=FileFormat.CSV, file_name="f.csv"), IMPORT, None),
    "form": (datasources.delete_rows("d", "a = 'é'"), JOB, b"delete_condition=a+%3D+%27%C3%A9%27"),
    "none": (datasources.truncate("d"), b"", b""),
}


@pytest.mark.parametrize(("call", "answer", "body"), BODIES.values(), ids=BODIES)
def test_bodies_have_a_length_and_are_never_chunked(raw_server, send_raw, call, answer, body):
    """Trap: a chunked upload without Content-Length may be answered with 411."""
    raw_server.behaviours = [raw_server.reply("200 OK", answer)]
    send_raw(call)
    head, _, sent = raw_server.requests[0].partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert f"content-length: {len(sent)}".encode() in head.lower().split(b"\r\n")
    if body is None:
        assert BIG in sent
        assert sent.endswith(b"--\r\n")
    else:
        assert sent == body


@pytest.mark.parametrize("name", ["bytes", "file", "multipart"])
def test_a_body_is_sent_again_from_its_start(raw_server, send_raw, name):
    call, answer, _ = BODIES[name]
    raw_server.behaviours = [
        raw_server.reply("429 Too Many Requests", b'{"error": "slow"}'),
        raw_server.reply("200 OK", answer),
    ]
    send_raw(call)
    first, second = (request.partition(b"\r\n\r\n")[2] for request in raw_server.requests)
    assert first == second
    assert BIG in second


@pytest.mark.parametrize(("length", "says"), [(len(BIG) + 5, f"now has {len(BIG):,}"), (len(BIG) - 5, "now has more")])
def test_a_file_that_changes_while_it_is_sent_never_arrives_whole(raw_server, send_raw, length, says):
    raw_server.behaviours = [raw_server.cut]
    with pytest.raises(InvalidInputError, match=f"changed while it was sent.*{says}"):
        send_raw(imports.append_file_v1("d", file_body(BIG, length=length), format=FileFormat.CSV))
    raw_server.close()  # so that all it read is there
    (request,) = raw_server.requests
    assert f"content-length: {length}".encode() in request.lower()
    assert len(request.partition(b"\r\n\r\n")[2]) < length


def test_a_file_that_cannot_be_opened_again_says_so_itself(raw_server, send_raw):
    def gone():
        raise FileNotFoundError("f.csv")

    with pytest.raises(FileNotFoundError, match=r"f\.csv"):
        send_raw(imports.append_file_v1("d", FileBody(gone, 4, "text/csv"), format=FileFormat.CSV))


@pytest.mark.parametrize("announced", [None, 1000], ids=["before the answer", "in the middle of the body"])
def test_cut_connections(raw_server, send_raw, announced):
    """Events are not sent again, a look at a job is."""
    broken = raw_server.cut if announced is None else raw_server.reply("200 OK", EVENTS[:20], announced=announced)
    raw_server.behaviours = [broken]
    with pytest.raises(OutcomeUnknownError, match="connection broke") as caught:
        send_raw(events.send_events("d", b"{}"))
    assert len(raw_server.requests) == 1
    assert "was not sent again" in str(caught.value)

    raw_server.behaviours = [broken, broken, raw_server.reply("200 OK", JOB)]
    assert send_raw(jobs.get_job("j")).id == "j"
    assert len(raw_server.requests) == 4


def test_a_status_line_that_is_none(raw_server, send_raw):
    def nonsense(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        connection.close()

    raw_server.behaviours = [nonsense] * 3
    with pytest.raises(ConnectionFailedError, match="connection broke") as caught:
        send_raw(jobs.get_job("j"))
    assert caught.value.sent is True


def test_no_answer_in_time(raw_server, send_raw):
    slow = Call(what="look", method="GET", path="/x", read=lambda reply: reply.status, repeat=Repeat.READ)
    raw_server.behaviours = [raw_server.silence] * 3
    with pytest.raises(ConnectionFailedError, match="time for an answer ran out") as caught:
        send_raw(slow, timeout=0.1)
    assert caught.value.timed_out is True
    assert len(raw_server.requests) == 3

    once = Call(
        what="append", method="POST", path="/x", body=BytesBody(b"1", "text/csv"), read=lambda _: 1, repeat=Repeat.ONCE
    )
    raw_server.behaviours = [raw_server.silence]
    with pytest.raises(OutcomeUnknownError, match="time for an answer ran out"):
        send_raw(once, timeout=0.1)
    assert len(raw_server.requests) == 4


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_refused_connection_is_tried_again_and_named(waits, caplog):
    """Nothing was sent, so even events may be sent again."""
    settings = Settings(base_url=f"http://127.0.0.1:{free_port()}", token=Token("t"), max_retries=3)
    with Client(settings) as client, pytest.raises(ConnectionFailedError, match="Nothing was sent") as caught:
        client.send(events.send_events("d", b"{}"))
    assert caught.value.sent is False
    assert settings.base_url in str(caught.value)
    assert len(waits) == 3


def test_413_in_the_middle_of_an_upload_is_understood(raw_server, send_raw):
    """A server may refuse a body by its length, before it has read it."""
    body = b"x" * (8 << 20)

    raw_server._read = lambda connection: connection.recv(65536)

    def answer_then_drain(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 413 X\r\nContent-Length: 22\r\nConnection: close\r\n\r\n{"error": "too large"}')
        while connection.recv(1 << 20):
            pass

    raw_server.behaviours = [answer_then_drain]
    with pytest.raises(PayloadTooLargeError, match=r"too large.*smaller pieces"):
        send_raw(events.send_events("d", body))
