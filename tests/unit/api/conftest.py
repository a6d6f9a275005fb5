"""What the tests of the API share: a wire that shows the bytes of each request, and a server that can misbehave."""

from __future__ import annotations

import asyncio
import socket
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings

TOKEN = "p.eyJ1IjoidSIsImlkIjoiaSIsImhvc3QiOiJnY3AtZXVyb3BlLXdlc3QzIn0.c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"


@dataclass
class Sent:
    """One request as it left the client."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    timeout: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def form(self) -> list[tuple[str, str]]:
        assert self.headers["content-type"] == "application/x-www-form-urlencoded"
        return parse_qsl(self.body.decode(), keep_blank_values=True)


class Wire:
    """Sends calls through the sync or the async client, answers from a script and keeps what was sent."""

    def __init__(self, kind: str, settings: Settings) -> None:
        self.kind = kind
        self.settings = settings
        self.sent: list[Sent] = []
        self.waits: list[float] = []
        self._script: list[Any] = []

    def answers(self, *script: Any) -> Wire:
        """Answer one request with each: JSON, ``(status, JSON, bytes or text[, headers])``, or an exception to raise."""
        self._script = list(script)
        return self

    def send(self, call: Call[Any], *, policy: RetryPolicy | None = None, deadline: float | None = None) -> Any:
        transport = httpx.MockTransport(self._handle)
        if self.kind == "sync":
            with Client(self.settings, policy=policy, transport=transport) as client:
                return client.send(call, deadline=deadline)

        async def run() -> Any:
            async with AsyncClient(self.settings, policy=policy, transport=transport) as client:
                return await client.send(call, deadline=deadline)

        return asyncio.run(run())

    @property
    def only(self) -> Sent:
        assert len(self.sent) == 1
        return self.sent[0]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(
            Sent(
                request.method,
                request.url.raw_path.decode(),
                dict(request.headers),
                request.content,
                request.extensions["timeout"],
            )
        )
        assert self._script, f"the client sent more requests than expected: {self.sent[-1]}"
        answer = self._script.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        if not isinstance(answer, tuple):
            return httpx.Response(200, json=answer)
        status, body, *headers = answer
        if isinstance(body, dict | list):
            return httpx.Response(status, json=body, headers=headers[0] if headers else None)
        return httpx.Response(status, content=body, headers=headers[0] if headers else None)


@pytest.fixture
def settings() -> Settings:
    return Settings(base_url="https://api.tinybird.co", token=Token(TOKEN))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were to be waited between two tries; nothing waits really."""
    seen: list[float] = []
    sleep = asyncio.sleep

    async def no_wait(seconds: float, result: Any = None) -> Any:
        if seconds:
            seen.append(seconds)
        return await sleep(0, result)

    monkeypatch.setattr("tenacity.nap.time", types.SimpleNamespace(sleep=seen.append))
    monkeypatch.setattr(asyncio, "sleep", no_wait)
    return seen


@pytest.fixture(params=["sync", "async"])
def wire(request: pytest.FixtureRequest, settings: Settings, waits: list[float]) -> Wire:
    wire = Wire(request.param, settings)
    wire.waits = waits
    return wire


Behaviour = Callable[[socket.socket], None]


class RawServer:
    """Speaks HTTP byte by byte, so that a test can break an answer where it likes."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.behaviours: list[Behaviour] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._closing:
            return
        # A connection wakes up accept(), which a mere close() would not.
        self.behaviours = []
        self._closing = True
        with socket.create_connection(self._listener.getsockname()):
            pass
        self._thread.join(5)
        assert not self._thread.is_alive()
        for connection in self._open:
            connection.close()
        self._listener.close()

    _closing = False

    def _serve(self) -> None:
        while not self._closing:
            connection, _ = self._listener.accept()
            self._open.append(connection)
            connection.settimeout(5)
            try:
                request = self._read(connection)
                if not request:
                    continue
                self.requests.append(request)
                self.behaviours.pop(0)(connection)
            except (OSError, IndexError):
                connection.close()

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return data
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        wanted = int(lengths[0].split(b":")[1]) if lengths else 0
        while len(body) < wanted:
            more = connection.recv(65536)
            if not more:
                break
            body += more
        return head + b"\r\n\r\n" + body


def reply(status: str, body: bytes, *, announced: int | None = None) -> Behaviour:
    """Answer and close; ``announced`` is the length that the answer claims to have."""

    def behave(connection: socket.socket) -> None:
        length = len(body) if announced is None else announced
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        connection.close()

    return behave


def cut(connection: socket.socket) -> None:
    """Close without a byte of an answer."""
    connection.close()


def silence(connection: socket.socket) -> None:
    """Never answer; the connection is closed with the server."""


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    server.reply, server.cut, server.silence = reply, cut, silence  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sync", "async"])
def send_raw(request: pytest.FixtureRequest, raw_server: RawServer, waits: list[float]) -> Callable[..., Any]:
    """Send a call to the raw server, by the sync or the async client."""

    def send(call: Call[Any], *, timeout: float = 5.0, max_retries: int = 2) -> Any:
        settings = Settings(base_url=raw_server.url, token=Token(TOKEN), timeout=timeout, max_retries=max_retries)
        if request.param == "sync":
            with Client(settings) as client:
                return client.send(call)

        async def run() -> Any:
            async with AsyncClient(settings) as client:
                return await client.send(call)

        return asyncio.run(run())

    return send
