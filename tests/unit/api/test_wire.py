"""What servers, gateways and proxies do to a call on its way, by sockets that really do it."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import math
import socket
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import misbehaving as wrong
import pytest
from misbehaving import misbehaving

from airflow_provider_tinybird.api import datasources, events, imports, jobs, query
from airflow_provider_tinybird.api.body import FileBody
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.errors import (
    ApiError,
    ConnectionFailedError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    RateLimitedError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.jobs import submissions
from airflow_provider_tinybird.policies import deletes

TOKEN = "p.eyJ1IjoidSIsImlkIjoiaSIsImhvc3QiOiJnY3AtZXVyb3BlLXdlc3QzIn0.c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"
LOOK = jobs.get_job("j")
EVENTS = events.send_events("d", b'{"a": 1}\n')
COPY = imports.append_url("d", "https://example.com/f.csv", format=FileFormat.CSV)
DONE = b'{"id": "j", "status": "done"}'
IN = b'{"successful_rows": 1, "quarantined_rows": 0}'

SLACK = 8.0
"""Seconds that a busy machine may take on top; what is tested for would take for ever, or the 60 s of its own time-out."""


def settings_of(url: str, **fields: Any) -> Settings:
    return Settings(base_url=url, token=Token(TOKEN), **{"timeout": 60, "max_retries": 0, **fields})


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Send a call by the sync or the async client."""

    def run(settings: Settings, call: Any, **arguments: Any) -> Any:
        if request.param == "sync":
            with Client(settings) as client:
                return client.send(call, **arguments)

        async def run_async() -> Any:
            async with AsyncClient(settings) as client:
                return await client.send(call, **arguments)

        return asyncio.run(run_async())

    run.kind = request.param  # type: ignore[attr-defined]
    return run


def seconds_of(act: Callable[[], Any]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


class TestDeadlines:
    @pytest.mark.parametrize("behaviour", wrong.STUCK.values(), ids=wrong.STUCK)
    def test_nothing_outlasts_it(self, send, behaviour):
        with misbehaving(behaviour) as server:

            def look() -> None:
                with pytest.raises(ConnectionFailedError) as caught:
                    send(settings_of(server.url), LOOK, deadline=time.monotonic() + 0.4)
                assert caught.value.timed_out

            assert seconds_of(look) < 0.4 + SLACK

    @pytest.mark.parametrize("behaviour", wrong.STUCK.values(), ids=wrong.STUCK)
    def test_what_goes_once_is_unknown_then_and_was_sent_once(self, send, behaviour):
        """On a machine that is busy the time may be over before a byte is sent; then that is what is said."""
        with misbehaving(behaviour) as server:
            with pytest.raises((OutcomeUnknownError, ConnectionFailedError)) as caught:
                send(settings_of(server.url, max_retries=5), EVENTS, deadline=time.monotonic() + 0.4)
            assert isinstance(caught.value, OutcomeUnknownError) or not (caught.value.sent or server.requests)
            assert len(server.requests) <= 1

    @pytest.mark.parametrize("behaviour", wrong.STUCK.values(), ids=wrong.STUCK)
    def test_each_try_has_a_bound_without_one(self, send, behaviour):
        with misbehaving(behaviour) as server:

            def look() -> None:
                with pytest.raises(ConnectionFailedError) as caught:
                    send(settings_of(server.url, timeout=0.4), LOOK)
                assert caught.value.timed_out

            assert seconds_of(look) < 0.4 + SLACK

    def test_a_large_body_that_is_not_read(self, send):
        body = b"x" * 30_000_000
        file = FileBody(lambda: io.BytesIO(body), len(body), "text/csv")
        call = imports.append_file_v1("d", file, format=FileFormat.CSV)
        with misbehaving(wrong.silent_in_the_body) as server:

            def load() -> None:
                with pytest.raises(OutcomeUnknownError):
                    send(settings_of(server.url), call, deadline=time.monotonic() + 0.5)

            assert seconds_of(load) < 0.5 + SLACK

    @pytest.mark.parametrize("behaviour", [wrong.drip_body, wrong.drip_chunks, wrong.silent_in_the_answer])
    def test_a_download_is_bounded_too(self, behaviour, tmp_path):
        path = tmp_path / "out"
        call = query.sql_as("SELECT 1", "CSV")
        with misbehaving(behaviour) as server, Client(settings_of(server.url)) as client:

            def load() -> None:
                with pytest.raises(ConnectionFailedError):
                    client.download(call, lambda: path.open("wb"), deadline=time.monotonic() + 0.5)

            assert seconds_of(load) < 0.5 + SLACK

    def test_nobody_queues_past_it(self):
        """A hundred triggers share a client, which has twenty connections, and the server is half open."""

        async def look(client: AsyncClient) -> float:
            began = time.monotonic()
            with pytest.raises(ConnectionFailedError) as caught:
                await client.send(LOOK, deadline=began + 0.5)
            assert caught.value.timed_out
            return time.monotonic() - began

        async def run(url: str) -> list[float]:
            async with AsyncClient(settings_of(url)) as client:
                return await asyncio.gather(*(look(client) for _ in range(100)))

        with misbehaving(wrong.silent) as server:
            assert max(asyncio.run(run(server.url))) < 0.5 + SLACK

    def test_nobody_queues_behind_those_who_have_more_time(self):
        async def run(url: str) -> float:
            async with AsyncClient(settings_of(url)) as client:
                patient = [asyncio.create_task(client.send(LOOK)) for _ in range(20)]
                while len(server.requests) < 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                began = time.monotonic()
                with pytest.raises(ConnectionFailedError, match="Nothing was sent") as caught:
                    await client.send(EVENTS, deadline=began + 0.5)
                assert (caught.value.sent, caught.value.timed_out) == (False, True)
                for one in patient:
                    one.cancel()
                await asyncio.gather(*patient, return_exceptions=True)
                return time.monotonic() - began

        with misbehaving(wrong.silent) as server:
            assert asyncio.run(run(server.url)) < 0.5 + SLACK

    def test_who_never_got_a_connection_has_sent_nothing(self):
        async def run(url: str) -> list[Any]:
            async with AsyncClient(settings_of(url)) as client:
                sent = (client.send(EVENTS, deadline=time.monotonic() + 2) for _ in range(40))
                return await asyncio.gather(*sent, return_exceptions=True)

        with misbehaving(wrong.silent) as server:
            errors = asyncio.run(run(server.url))
        unknown = [error for error in errors if isinstance(error, OutcomeUnknownError)]
        unsent = [error for error in errors if isinstance(error, ConnectionFailedError) and not error.sent]
        assert (len(unknown), len(unsent)) == (20, 20)

    def test_a_wait_for_a_connection_of_the_pool_ends_with_it(self):
        """The sync client is used by several threads."""
        from concurrent.futures import ThreadPoolExecutor

        with misbehaving(wrong.silent) as server, Client(settings_of(server.url)) as client:

            def look(_: int) -> float:
                began = time.monotonic()
                with pytest.raises(ConnectionFailedError):
                    client.send(LOOK, deadline=began + 1)
                return time.monotonic() - began

            with ThreadPoolExecutor(30) as pool:
                assert max(pool.map(look, range(30))) < 1 + SLACK

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_name_that_is_not_answered(self, kind, monkeypatch):
        """A resolver has no time-out that we could set."""
        ended = threading.Event()
        settings = settings_of("http://tinybird.example:80")

        def hang(*_: Any, **__: Any) -> Any:
            ended.wait(30)
            raise socket.gaierror("gone")

        monkeypatch.setattr(socket, "getaddrinfo", hang)

        async def send_it(deadline: float) -> None:
            if kind == "sync":
                with Client(settings) as client:
                    client.send(LOOK, deadline=deadline)
            async with AsyncClient(settings) as client:
                await client.send(LOOK, deadline=deadline)

        async def look() -> float:
            began = time.monotonic()
            with pytest.raises(ConnectionFailedError, match="Nothing was sent"):
                await send_it(began + 0.4)
            ended.set()  # the end of the loop waits for the thread of its resolver
            return time.monotonic() - began

        assert asyncio.run(look()) < 0.4 + SLACK

    def test_all_addresses_of_a_name_share_the_time(self, monkeypatch):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", 80)) for n in range(1, 40)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        tried = []

        def refuse(address: Any, timeout: float | None, **_: Any) -> Any:
            tried.append(timeout)
            raise OSError("no route")

        monkeypatch.setattr(socket, "create_connection", refuse)
        with (
            Client(settings_of("http://tinybird.example")) as client,
            pytest.raises(ConnectionFailedError, match="no route"),
        ):
            client.send(LOOK, deadline=time.monotonic() + 20)
        assert len(tried) == 39
        assert tried == sorted(tried, reverse=True)
        assert max(tried) <= 10

    def test_the_proxy_of_a_tunnel_is_bounded_as_well(self, send):
        with misbehaving(wrong.drip_header) as proxy:
            settings = replace(settings_of("https://tinybird.example"), proxy=proxy.url)

            def look() -> None:
                with pytest.raises((ConnectionFailedError, OutcomeUnknownError)):
                    send(settings, LOOK, deadline=time.monotonic() + 0.4)

            assert seconds_of(look) < 0.4 + SLACK

    def test_a_slow_line_has_its_time(self, send):
        """An answer that takes three times its time-out, and comes on all the while."""

        def slow(peer: wrong.Peer) -> None:
            peer.read_head()
            peer.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60029\r\n\r\n")
            for _ in range(30):
                peer.connection.sendall(b" " * 2000)
                peer.server.ended.wait(0.05)
            peer.connection.sendall(DONE)

        with misbehaving(slow) as server:
            assert send(settings_of(server.url, timeout=0.5), LOOK).id == "j"


FOREIGN = [
    *range(300, 309),
    *(
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        408,
        409,
        410,
        411,
        412,
        413,
        414,
        415,
        416,
        417,
        418,
        421,
        422,
        423,
        425,
        426,
    ),
    *(
        428,
        429,
        431,
        451,
        499,
        500,
        501,
        502,
        503,
        504,
        505,
        507,
        508,
        511,
        520,
        521,
        522,
        523,
        524,
        525,
        530,
        598,
        599,
    ),
]


class TestPagesOfOthers:
    @pytest.mark.parametrize("status", FOREIGN)
    def test_say_nothing_of_what_goes_once(self, send, status):
        with misbehaving(wrong.page(status)) as server:
            for call in (EVENTS, COPY):
                with pytest.raises(
                    OutcomeUnknownError, match=f"HTTP {status} was answered.*not Tinybird's own words"
                ) as caught:
                    send(settings_of(server.url, max_retries=5), call)
                assert caught.value.answer.status == status
            assert len(server.requests) == 2

    @pytest.mark.parametrize("status", FOREIGN)
    def test_are_never_final(self, send, status):
        with misbehaving(wrong.page(status)) as server, pytest.raises(ApiError) as caught:
            send(settings_of(server.url), LOOK)
        assert caught.value.answer.from_tinybird is False
        assert caught.value.is_final is False
        assert caught.value.retry_can_help is True

    @pytest.mark.parametrize(
        "body",
        [
            b'{"message": "Service Unavailable"}',
            b'{"error": "Service Unavailable"}',
            b'{"error": "service unavailable."}',
            b'{"error": true}',
            b'{"error": ""}',
            b'{"errors": []}',
            b'{"error": null, "message": "no"}',
            b'{"error": {"code": 503, "message": "The service is currently unavailable.", "status": "UNAVAILABLE"}}',
            b'{"timestamp": "2026-01-01", "status": 503, "error": "upstream", "path": "/v0/events"}',
            b'{"error": "temporarily_unavailable", "error_description": "busy"}',
            b'{"fault": {"faultstring": "x"}}',
            b'["error"]',
            b'"error"',
            b"error",
            b"",
            b"[" * 100_000,
            b'{"error": ' + b"[" * 100_000,
            b"\xff\xfe\x00",
        ],
    )
    def test_json_of_others(self, send, body):
        other = wrong.answer("503 X", body, "Content-Type: application/json\r\n")
        with misbehaving(other) as server, pytest.raises(OutcomeUnknownError):
            send(settings_of(server.url, max_retries=3), EVENTS)
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "body",
        [
            b'{"error": "the table is busy"}',
            b'{"error": {"message": "the table is busy"}}',
            b'{"error": true, "errors": ["the table is busy"]}',
            b'{"errors": [{"error": "the table is busy"}], "documentation": "https://x", "status": 503}',
        ],
    )
    @pytest.mark.parametrize("content_type", ["application/json", "text/html", ""])
    def test_words_of_tinybirds_own_count_whatever_their_type(self, send, waits, body, content_type):
        refused = wrong.answer("503 X", body, f"Content-Type: {content_type}\r\n" if content_type else "")
        with misbehaving(refused, wrong.answer("200 OK", IN)) as server:
            assert send(settings_of(server.url, max_retries=2), EVENTS).successful_rows == 1
            assert len(server.requests) == 2

    @pytest.mark.parametrize("status", [408, 421, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 598, 599])
    def test_passing_ones_are_outlasted_by_reads_and_replaces(self, send, waits, status):
        with misbehaving(wrong.page(status), wrong.answer("200 OK", DONE)) as server:
            assert send(settings_of(server.url, max_retries=2), LOOK).id == "j"
            assert len(server.requests) == 2
        with misbehaving(wrong.page(status), wrong.answer("200 OK", b"")) as server:
            send(settings_of(server.url, max_retries=2), datasources.truncate("d"))
            assert len(server.requests) == 2

    @pytest.mark.parametrize("behaviour", [wrong.reset, wrong.reset_in_the_body])
    def test_a_reset_after_the_request(self, send, waits, behaviour):
        with misbehaving(behaviour) as server, pytest.raises(OutcomeUnknownError):
            send(settings_of(server.url, max_retries=3), EVENTS)
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        ("status", "kind"), [("413 X", PayloadTooLargeError), ("429 X", RateLimitedError), ("401 X", ApiError)]
    )
    def test_a_refusal_before_the_body_was_read_is_one(self, status, kind):
        """A body that never arrived whole cannot have been taken, whoever refused it. (An event loop loses such an answer.)"""
        big = events.send_events("d", b'{"a": 1}\n' * 4_000_000)
        with misbehaving(wrong.early(status, b"<html>no</html>")) as server:
            with Client(settings_of(server.url)) as client, pytest.raises(kind):
                client.send(big)
            assert len(server.requests) == 1


def memory_of(act: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestSizes:
    def test_a_page_that_is_a_bomb(self, send):
        def look(url: str) -> None:
            with pytest.raises(ApiError):
                send(settings_of(url), LOOK)

        with misbehaving(wrong.bomb("500 X")) as server:
            assert memory_of(lambda: look(server.url)) < 30_000_000

    def test_a_page_of_50_mb(self, send):
        def look(url: str) -> None:
            with pytest.raises(ApiError) as caught:
                send(settings_of(url), LOOK)
            assert len(str(caught.value)) < 3000

        with misbehaving(wrong.answer("500 X", b"x" * 50_000_000)) as server:
            assert memory_of(lambda: look(server.url)) < 30_000_000

    def test_an_answer_that_is_a_bomb_names_the_limit_and_the_way_out(self, send):
        def look(url: str) -> None:
            with pytest.raises(UnreadableAnswerError, match=r"64,000,000 bytes.*output_path"):
                send(settings_of(url), LOOK)

        with misbehaving(wrong.bomb()) as server:
            assert memory_of(lambda: look(server.url)) < 100_000_000

    def test_queries_may_have_more(self):
        assert query.sql("SELECT 1").max_answer == query.MOST_IN_MEMORY > LOOK.max_answer

    @pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "gzip, deflate, gzip"])
    def test_codings_that_were_not_asked_for(self, send, coding):
        coded = f"Content-Encoding: {coding}\r\n"
        twice = wrong.answer("200 OK", gzip.compress(gzip.compress(DONE)), coded)
        with misbehaving(twice) as server, pytest.raises(UnreadableAnswerError, match="not asked for"):
            send(settings_of(server.url), LOOK)
        page = wrong.answer("503 X", b"x", coded)
        with misbehaving(page) as server, pytest.raises(OutcomeUnknownError, match="503"):
            send(settings_of(server.url), EVENTS)

    @pytest.mark.parametrize(
        ("coding", "body"),
        [
            ("gzip", gzip.compress(DONE)),
            ("x-gzip", gzip.compress(DONE)),
            ("gzip", gzip.compress(DONE[:9]) + gzip.compress(DONE[9:])),
            ("deflate", zlib.compress(DONE)),
            ("deflate", zlib.compress(DONE)[2:-4]),
            ("identity", DONE),
        ],
    )
    def test_codings_that_were(self, send, coding, body):
        with misbehaving(wrong.answer("200 OK", body, f"Content-Encoding: {coding}\r\n")) as server:
            assert send(settings_of(server.url), LOOK).id == "j"

    @pytest.mark.parametrize("body", [gzip.compress(DONE)[:-9], gzip.compress(DONE)[:12], b"nonsense"])
    def test_one_that_breaks(self, send, body):
        broken = wrong.answer("200 OK", body, "Content-Encoding: gzip\r\n")
        with misbehaving(broken) as server, pytest.raises(ConnectionFailedError):
            send(settings_of(server.url), LOOK)
        with misbehaving(broken) as server, pytest.raises(OutcomeUnknownError):
            send(settings_of(server.url), EVENTS)

    def test_a_download_is_decompressed_in_pieces(self, tmp_path):
        path = tmp_path / "out"
        call = query.sql_as("SELECT 1", "CSV")
        with misbehaving(wrong.bomb(megabytes=100)) as server, Client(settings_of(server.url)) as client:
            used = memory_of(lambda: client.download(call, lambda: path.open("wb")))
        assert path.stat().st_size == 100_000_000
        assert used < 20_000_000


ODD = {
    "deep list": b"[" * 100_000,
    "deep object": b'{"a": ' * 50_000,
    "deep job": b'{"id": "j", "status": "done", "error": ' + b"[" * 400 + b"]" * 400 + b"}",
    "huge int": b'{"id": "j", "rows_affected": ' + b"9" * 5000 + b"}",
    "huge float": b'{"id": "j", "status": 1e999999}',
    "nan": b'{"id": NaN, "data": [NaN]}',
    "wrong types": b'{"id": [{}], "data": {"a": 1}, "jobs": 7, "job": [], "blocks": [[1]], "meta": 3, "datasources": {"a": 1}}',
    "nothing of it": b'{"a": 1}',
    "rows of the wrong kind": b'{"data": [1, null, []], "meta": [1]}',
    "no rows": b'{"data": [], "meta": []}',
    "lone surrogate": b'{"id": "\\ud800", "status": "\\ud800", "error": "\\ud800"}',
    "utf-16": '{"id": "j"}'.encode("utf-16"),
    "bad utf-8": b'{"id": "\xff"}',
    "empty": b"",
    "true": b"true",
}


class TestOddAnswers:
    @pytest.mark.parametrize("body", ODD.values(), ids=ODD)
    @pytest.mark.parametrize("status", [200, 400, 404, 503])
    def test_become_a_result_or_an_error_of_ours(self, wire, body, status):
        from unit.api.test_client import ALL_CALLS

        wire.settings = replace(wire.settings, max_retries=0)
        for call in ALL_CALLS.values():
            wire.answers((status, body))
            try:
                wire.send(call)
            except TinybirdError as e:
                str(e).encode("utf-8", "replace")

    @pytest.mark.parametrize(
        "counts",
        [
            {"successful_rows": True},
            {"successful_rows": -1},
            {"successful_rows": 1.5},
            {"successful_rows": math.inf},
            {"successful_rows": "1"},
            {"successful_rows": [1]},
            {"successful_rows": 1, "quarantined_rows": True},
            {"successful_rows": 1, "quarantined_rows": "x"},
        ],
    )
    def test_counts_of_rows_that_are_none(self, wire, counts):
        wire.answers((200, json.dumps(counts).encode()))
        with pytest.raises(OutcomeUnknownError, match="not as its API promises"):
            wire.send(EVENTS)

    @pytest.mark.parametrize(
        "rows", [[], [{}], [{"d": 1}], [{"c": None}], [{"c": "x"}], [{"c": [1]}], [1], {"c": 1}, None]
    )
    def test_counts_that_do_not_count(self, tinybird, rows):
        """Not known, not an exception of Python's."""
        tinybird.on("POST /v0/sql", {"data": rows, "meta": [], "rows": 1})
        tinybird.on("GET /v0/datasources/d", (404, {"error": "no"}))
        with Client(settings_of(tinybird.url)) as client:
            assert deletes.count_matching(client, "d", "a = 1") is None
            assert deletes.count_rows(client, "d") is None

    @pytest.mark.parametrize(
        "asked",
        [
            "Mon, 1 Jan 2024 00:00:00 +99999999999999999999",
            "Mon, 1 Jan 99999999999999 00:00:00 GMT",
            "Fri, 31 Dec 9999 23:59:59 -2359",
            "nan",
            "-inf",
            "1e400",
            "9" * 5000,
            "0x10",
            "\u0663",
            ", , ,",
            "Mon, 1 Jan 2024 00:00:00 +99:99",
        ],
    )
    def test_waits_that_make_no_sense(self, wire, asked):
        wire.settings = replace(wire.settings, max_retries=0)
        wire.answers((429, {"error": "slow"}, [(b"Retry-After", asked.encode("utf-8"))]))
        with pytest.raises(RateLimitedError) as caught:
            wire.send(LOOK)
        wait = caught.value.answer.retry_after
        assert wait is None or 0 <= wait <= 30 * 24 * 3600

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_last_try_that_is_too_late_does_not_hide_that_one_was_sent(self, monkeypatch, kind):
        sleep, sleep_in_the_loop = time.sleep, asyncio.sleep

        def oversleep(_: float) -> None:
            sleep(0.4)

        async def oversleep_in_the_loop(_: float) -> None:
            await sleep_in_the_loop(0.4)

        monkeypatch.setattr("tenacity.nap.time.sleep", oversleep)
        policy = RetryPolicy(first_wait=0.01)

        async def send_in_the_loop(settings: Settings) -> None:
            async with AsyncClient(settings, policy=policy) as client:
                await client.send(LOOK, deadline=time.monotonic() + 0.3)

        def send(settings: Settings) -> None:
            if kind == "async":
                asyncio.run(send_in_the_loop(settings))
            else:
                with Client(settings, policy=policy) as client:
                    client.send(LOOK, deadline=time.monotonic() + 0.3)

        monkeypatch.setattr("asyncio.sleep", oversleep_in_the_loop)
        with misbehaving(wrong.reset) as server, pytest.raises(ConnectionFailedError) as caught:
            send(settings_of(server.url))
        assert caught.value.sent
        assert "Nothing was sent" not in str(caught.value)

    def test_a_wait_longer_than_our_patience_lasts_until_the_deadline(self, wire):
        wire.answers((429, b"", {"Retry-After": "86000"}), {"id": "j", "status": "done"})
        assert wire.send(LOOK, deadline=time.monotonic() + 86_400).id == "j"
        assert wire.waits == [86_000]
        wire.answers((429, b"", {"Retry-After": "86000"}))
        with pytest.raises(RateLimitedError) as caught:
            wire.send(LOOK, deadline=time.monotonic() + 3600)
        assert caught.value.answer.retry_after == 86_000


class TestSecrets:
    def test_what_is_to_be_started_shows_no_signed_address(self):
        url = "https://b.example/f.csv?X-Amz-Signature=5ec3e7"
        submission = submissions.import_url("d", url, format=FileFormat.CSV, mode="append", replace_condition=None)
        assert submission.request
        assert "5ec3e7" not in repr(submission)
        assert "5ec3e7" not in repr(replace(submission, shows={"url": url}))

    @pytest.mark.parametrize(
        "echo",
        [
            f"HTTP/1.1 200 OK\r\nX {TOKEN}\x00: a\r\n\r\n",
            f"HTTP/1.1 200 OK\r\n {TOKEN}\r\n\r\n",
            f"{TOKEN} nonsense\r\n\r\n",
            f"HTTP/1.1 200 OK\r\nContent-Length: {TOKEN}\r\n\r\n",
            f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 98\r\n\r\n{TOKEN}",
        ],
    )
    @pytest.mark.parametrize("call", [LOOK, EVENTS])
    def test_the_chain_of_an_error_holds_none(self, send, echo, call):
        def behave(peer: wrong.Peer) -> None:
            peer.read_head()
            peer.read_body()
            peer.connection.sendall(echo.encode())

        with misbehaving(behave) as server, pytest.raises(TinybirdError) as caught:
            send(settings_of(server.url), call)
        error: BaseException | None = caught.value
        while error is not None:
            assert TOKEN not in str(error) + repr(error) + repr(vars(error))
            assert TOKEN not in "".join(traceback.format_exception(error))
            error = error.__cause__ or error.__context__

    def test_an_outage_is_told_in_few_lines(self, send):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(ConnectionFailedError) as caught:
            send(settings_of(f"http://127.0.0.1:{port}"), LOOK)
        told = "".join(traceback.format_exception(caught.value))
        assert "httpcore" not in told
        assert "During handling" not in told

    @pytest.mark.parametrize("body", [b"{} " + TOKEN.encode(), b'{"successful_rows": "' + TOKEN.encode() + b'"}'])
    def test_an_answer_that_cannot_be_read_is_not_in_the_chain(self, send, body):
        with misbehaving(wrong.answer("200 OK", body)) as server, pytest.raises(OutcomeUnknownError) as caught:
            send(settings_of(server.url), EVENTS)
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert TOKEN not in "".join(traceback.format_exception(caught.value))

    def test_the_logs_of_the_libraries_have_no_headers(self, send, caplog):
        for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
            caplog.set_level(logging.DEBUG, logger=name)
        echo = f"Set-Cookie: t={TOKEN}\r\nLocation: https://b/f?X-Amz-Signature=5ec3e7\r\n"
        with misbehaving(wrong.answer("200 OK", DONE, echo)) as server:
            send(settings_of(server.url), LOOK)
        assert not [record for record in caplog.records if record.name.startswith("http")]


@contextmanager
def refusing_proxy(status: str):
    with misbehaving(wrong.answer(status, b"<html>denied</html>", "Proxy-Authenticate: Basic\r\n")) as server:
        yield server


class TestProxies:
    def test_a_password_that_a_forward_proxy_wants(self, send):
        with refusing_proxy("407 X") as proxy:
            for call in (LOOK, EVENTS):
                settings = replace(settings_of("http://tinybird.example", max_retries=3), proxy=proxy.url)
                with pytest.raises(
                    ConnectionFailedError, match=r"the proxy http://127.*extra 'proxy'.*wants a user"
                ) as caught:
                    send(settings, call)
                assert (caught.value.sent, caught.value.retry_can_help) == (False, False)
            assert len(proxy.requests) == 2

    @pytest.mark.parametrize(("status", "tries"), [("407 X", 1), ("403 X", 1), ("502 X", 3)])
    def test_what_a_tunnel_is_refused_with(self, send, waits, status, tries):
        with refusing_proxy(status) as proxy:
            settings = replace(settings_of("https://tinybird.example", max_retries=2), proxy=proxy.url)
            with pytest.raises(
                ConnectionFailedError, match=r"the proxy http://127.*refused it \(\d+.*Nothing was sent"
            ):
                send(settings, EVENTS)
            assert len(proxy.requests) == tries
            assert all(TOKEN.encode() not in peer.head for peer in proxy.requests)
