"""Answers that are written out as they come in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_tinybird.api import pipes, query
from airflow_provider_tinybird.api.client import AsyncClient, Client, Downloaded
from airflow_provider_tinybird.api.errors import (
    BadRequestError,
    ConnectionFailedError,
    QueryBrokeError,
    QueryTimeoutError,
    ServerError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.models import EndpointFormat
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings

CALL = query.sql_as("SELECT * FROM d", "CSV")


class Sinks:
    """Opens a file anew for each try, and counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = 0
        self.failed = 0

    @contextmanager
    def __call__(self) -> Iterator[object]:
        self.opened += 1
        with self.path.open("wb") as file:
            try:
                yield file
            except BaseException:
                self.failed += 1
                raise


@pytest.fixture
def sinks(tmp_path) -> Sinks:
    return Sinks(tmp_path / "out.csv")


@pytest.fixture
def client(raw_server, waits) -> Iterator[Client]:
    with Client(Settings(base_url=raw_server.url, token=Token("t"), timeout=5, max_retries=3)) as client:
        yield client


def chunked(*pieces: bytes, end: bool):
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if end:
            connection.sendall(b"0\r\n\r\n")
        connection.close()

    return behave


def test_the_answer_is_written_as_it_is(raw_server, client, sinks):
    raw_server.behaviours = [chunked(b"a,b\n", b"1,2\n", end=True)]
    assert client.download(CALL, sinks) == Downloaded(size=8, content_type="text/csv")
    assert sinks.path.read_bytes() == b"a,b\n1,2\n"
    head = raw_server.requests[0].partition(b"\r\n\r\n")[0]
    assert head.startswith(b"POST /v0/sql HTTP/1.1")


def test_an_answer_larger_than_a_buffer(raw_server, client, sinks):
    raw_server.behaviours = [raw_server.reply("200 OK", b"0123456789" * 200_000)]
    assert client.download(CALL, sinks).size == 2_000_000
    assert sinks.path.stat().st_size == 2_000_000


def test_an_empty_answer_leaves_an_empty_file(raw_server, client, sinks):
    raw_server.behaviours = [raw_server.reply("200 OK", b"")]
    assert client.download(CALL, sinks).size == 0
    assert sinks.path.read_bytes() == b""


@pytest.mark.parametrize("kind", ["chunked", "length"])
def test_a_broken_stream_is_asked_for_again_into_an_empty_sink(raw_server, client, sinks, kind):
    """Without an end mark a short answer would pass for a whole one."""
    broken = (
        chunked(b"a,b\n", b"1", end=False) if kind == "chunked" else raw_server.reply("200 OK", b"a,b\n1", announced=8)
    )
    raw_server.behaviours = [broken, broken, chunked(b"a,b\n", b"1,2\n", end=True)]
    assert client.download(CALL, sinks).size == 8
    assert sinks.path.read_bytes() == b"a,b\n1,2\n"
    assert (sinks.opened, sinks.failed) == (3, 2)


def test_a_stream_that_stays_broken_fails_and_tells_the_sink(raw_server, client, sinks):
    raw_server.behaviours = [chunked(b"a,b\n", end=False)] * 4
    with pytest.raises(ConnectionFailedError, match="connection broke"):
        client.download(CALL, sinks)
    assert (sinks.opened, sinks.failed) == (4, 4)
    assert len(raw_server.requests) == 4


def test_an_error_never_reaches_the_sink(raw_server, client, sinks):
    """Trap: an error is JSON whatever format was asked for."""
    raw_server.behaviours = [raw_server.reply("400 Bad Request", b'{"error": "[Error] Missing columns: x"}')]
    with pytest.raises(BadRequestError, match="Missing columns: x"):
        client.download(CALL, sinks)
    assert sinks.opened == 0


def test_passing_trouble_is_waited_out_before_the_sink_opens(raw_server, client, sinks, waits):
    raw_server.behaviours = [
        raw_server.reply("503 Service Unavailable", b'{"error": "later"}'),
        raw_server.reply("429 Too Many Requests", b'{"error": "later"}'),
        raw_server.reply("200 OK", b"1"),
    ]
    assert client.download(CALL, sinks).size == 1
    assert sinks.opened == 1
    assert len(waits) == 2


@pytest.mark.parametrize(("status", "kind"), [("408 Timeout", QueryTimeoutError), ("500 Trouble", ServerError)])
def test_what_is_not_repeated(raw_server, client, sinks, status, kind):
    raw_server.behaviours = [raw_server.reply(status, b'{"error": "no"}')]
    with pytest.raises(kind):
        client.download(CALL, sinks)
    assert len(raw_server.requests) == 1


def test_a_sink_that_fails_is_not_taken_for_tinybird(raw_server, client):
    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    @contextmanager
    def full() -> Iterator[Full]:
        yield Full()

    raw_server.behaviours = [raw_server.reply("200 OK", b"1")]
    with pytest.raises(OSError, match="No space left"):
        client.download(CALL, full)
    assert len(raw_server.requests) == 1


def test_endpoints_download_too(raw_server, client, sinks):
    raw_server.behaviours = [raw_server.reply("200 OK", b"PAR1")]
    client.download(pipes.endpoint_as("p", EndpointFormat.PARQUET, {"day": "2024-01-01"}), sinks)
    assert raw_server.requests[0].startswith(b"GET /v0/pipes/p.parquet?day=2024-01-01 HTTP/1.1\r\n")


EXCEPTION = b"Code: 241. DB::Exception: Memory limit exceeded (MEMORY_LIMIT_EXCEEDED)"
BLOCK = b"\r\n__exception__\r\ndngjzjnxkvlwkeua\r\n" + EXCEPTION + b"\n72 dngjzjnxkvlwkeua\r\n__exception__\r\n"


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("words", [EXCEPTION + b"\n", BLOCK])
def test_an_exception_at_the_end_fails_at_once_and_tells_the_sink(raw_server, client, sinks, end, words):
    """Newer versions of ClickHouse cut the connection after it: what is said is the exception, not the connection."""
    raw_server.behaviours = [chunked(b"a,b\n", words, end=end)] * 4
    with pytest.raises(QueryBrokeError, match=r"MEMORY_LIMIT_EXCEEDED\)\. The rows before that are not all"):
        client.download(CALL, sinks)
    assert (sinks.opened, sinks.failed, len(raw_server.requests)) == (1, 1, 1)


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("is_async", [False, True])
def test_the_same_of_an_answer_that_is_taken_into_memory(raw_server, client, end, is_async):
    raw_server.behaviours = [chunked(b"a,b\n", BLOCK, end=end)] * 4

    async def ask() -> None:
        async with AsyncClient(client.settings) as other:
            await other.send(CALL)

    with pytest.raises(QueryBrokeError, match=r"MEMORY_LIMIT_EXCEEDED"):
        asyncio.run(ask()) if is_async else client.send(CALL)
    assert len(raw_server.requests) == 1


@pytest.mark.parametrize("format", ["Parquet", "JSON", "JSONEachRow"])
def test_an_answer_without_the_end_of_its_format(raw_server, client, sinks, format):
    """Under HTTP/1.0 a connection that is cut looks like the end."""
    body = b'PAR1{"data":[{"a":1'
    raw_server.behaviours = [
        lambda connection: (connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body), connection.close())
    ]
    with pytest.raises(UnreadableAnswerError, match=rf"er {len(body)} by"):
        client.download(query.sql_as("SELECT 1", format), sinks)
    assert sinks.failed == 1
