"""Two thin senders of the same :class:`~airflow_provider_tinybird.api.call.Call`: one for workers, one for event
loops.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import httpx
import tenacity

from airflow_provider_tinybird.api import answers, retry
from airflow_provider_tinybird.api.body import Body
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.quiet import quiet_httpx
from airflow_provider_tinybird.api.settings import Settings

T = TypeVar("T")
log = logging.getLogger(__name__)

# httpx walks through all connections of its pool for each that is idle, so that many make every request slow.
_CONNECTIONS = 20
_LIMITS = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)


class Sink(Protocol):
    """Something that bytes can be written to."""

    def write(self, data: bytes, /) -> Any:
        """Take bytes."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """An answer that was written somewhere as it came in.

    :param size: bytes written.
    :param content_type: ``Content-Type`` of the answer.
    """

    size: int
    content_type: str


class Client:
    """Sends calls and waits for their answers. Thread-safe; close it, or use it in a ``with`` statement.

    :param settings: where to, and with which token.
    :param policy: how often and how long to try; by default as the settings say.
    :param transport: replaces the network, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: retry.RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self._policy = policy or retry.RetryPolicy(max_retries=settings.max_retries)
        self._http = httpx.Client(transport=transport, limits=_LIMITS, **_client_arguments(settings))
        self._ends_at: float | None = None
        self._seen: dict[str, str] = {}  # shared with the views of this client

    @property
    def server(self) -> str | None:
        """What the last answer calls its server; ``None`` before there is one."""
        return self._seen.get("server")

    def until(self, deadline: float | None) -> Client:
        """Return a view of this client, with the same connections, whose calls all have a deadline.

        Whoever is handed the view cannot forget it; a call that names a deadline of its own keeps that one.

        :param deadline: moment of ``time.monotonic()``; ``None`` for no deadline.
        """
        view = copy.copy(self)
        view._ends_at = deadline
        return view

    def send(self, call: Call[T], *, deadline: float | None = None) -> T:
        """Send a call, again where that is safe, and return its result.

        :param deadline: moment of ``time.monotonic()`` after which it is not sent again.
        :raises TinybirdError: see :mod:`airflow_provider_tinybird.api.errors`.
        """
        deadline = self._ends_at if deadline is None else deadline
        # The loop is not handed the call: its state refers to itself, and would keep each body in memory for a long while.
        for attempt in tenacity.Retrying(**retry.rules(self._policy, call, deadline=deadline)):
            with attempt:
                return self._send_once(call)
        raise AssertionError("the loop ends with a result or an error")

    def download(self, call: Call[Any], open_sink: Callable[[], AbstractContextManager[Sink]]) -> Downloaded:
        """Send a call and write its answer out as it comes in, in constant memory.

        :param open_sink: opens where the bytes go, empty; called anew for each time that the call is sent.
        """
        loop = tenacity.Retrying(**retry.rules(self._policy, call, deadline=self._ends_at))
        written: Downloaded = loop(self._download_once, call, open_sink)
        return written

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, call: Call[Any]) -> httpx.Request:
        content = call.body.chunks() if call.body else None
        return self._http.build_request(
            call.method, call.path, content=content, **_request_arguments(self.settings, call)
        )

    def _send_once(self, call: Call[T]) -> T:
        try:
            with quiet_httpx():
                answer = self._http.send(self._request(call))
        except httpx.HTTPError as e:
            raise answers.from_transport(self.settings, call, e) from e
        self._seen["server"] = answer.headers.get("server", "")
        return answers.read(self.settings, call, answer.status_code, answer.headers, answer.content)

    def _download_once(self, call: Call[Any], open_sink: Callable[[], AbstractContextManager[Sink]]) -> Downloaded:
        try:
            with quiet_httpx():
                answer = self._http.send(self._request(call), stream=True)
            self._seen["server"] = answer.headers.get("server", "")
            try:
                if not answer.is_success:
                    raise answers.from_status(self.settings, call, answer.status_code, answer.headers, answer.read())
                size = 0
                with open_sink() as sink:
                    for chunk in answer.iter_bytes():
                        sink.write(chunk)
                        size += len(chunk)
            finally:
                answer.close()
        except httpx.HTTPError as e:
            raise answers.from_transport(self.settings, call, e) from e
        return Downloaded(size, answer.headers.get("content-type", ""))


class AsyncClient:
    """Sends calls from an event loop; the twin of :class:`Client`.

    :param settings: where to, and with which token.
    :param policy: how often and how long to try; by default as the settings say.
    :param transport: replaces the network, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: retry.RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self._policy = policy or retry.RetryPolicy(max_retries=settings.max_retries)
        self._http = httpx.AsyncClient(transport=transport, limits=_LIMITS, **_client_arguments(settings))
        # Whoever waits for a connection waits here: the pool's own queue is walked through at every request.
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def send(self, call: Call[T], *, deadline: float | None = None) -> T:
        """Send a call, again where that is safe, and return its result.

        :param deadline: moment of ``time.monotonic()`` after which it is not sent again.
        :raises TinybirdError: see :mod:`airflow_provider_tinybird.api.errors`.
        """
        loop = tenacity.AsyncRetrying(**retry.rules(self._policy, call, deadline=deadline))
        return await loop(self._send_once, call)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send_once(self, call: Call[T]) -> T:
        content = _chunks(call.body) if call.body else None
        request = self._http.build_request(
            call.method, call.path, content=content, **_request_arguments(self.settings, call)
        )
        try:
            with quiet_httpx():
                async with self._slots:
                    answer = await self._http.send(request)
        except httpx.HTTPError as e:
            raise answers.from_transport(self.settings, call, e) from e
        return answers.read(self.settings, call, answer.status_code, answer.headers, answer.content)


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    chunks = body.chunks()
    while True:
        chunk = await asyncio.to_thread(next, chunks, b"") if body.reads_files else next(chunks, b"")
        if not chunk:
            return
        yield chunk


def _client_arguments(settings: Settings) -> dict[str, Any]:
    secure = settings.base_url.startswith("https:")
    return {
        "base_url": settings.base_url,
        # The token travels in this header only: in a query string it would end up in access logs and exceptions.
        "headers": {
            "Authorization": f"Bearer {_header_text(settings.token.value)}",
            "User-Agent": settings.user_agent,
            "Accept-Encoding": "gzip, deflate",
        },
        "verify": _verification(settings.verify) if secure else False,
        "proxy": settings.proxy,
        "follow_redirects": False,
    }


def _header_text(token: str) -> str:
    # The HTTP library shows a header that it refuses, so a token with a line end in it would end up in a message.
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise InvalidInputError(
            "The token is empty or has white space, a line end or another character that no token has: copy it again into the "
            "connection's Password."
        )
    return token


def _request_arguments(settings: Settings, call: Call[Any]) -> dict[str, Any]:
    seconds = max(settings.timeout, call.min_timeout)
    headers = {}
    if call.body is not None:
        headers["Content-Type"] = call.body.content_type
        headers["Content-Length"] = str(call.body.length)
        if call.body.content_encoding:
            headers["Content-Encoding"] = call.body.content_encoding
    return {
        "params": call.params or None,
        "headers": headers,
        "timeout": httpx.Timeout(seconds, connect=settings.connect_timeout),
    }


@lru_cache(maxsize=8)
def _verification(verify: bool | str) -> ssl.SSLContext | bool:
    """Make the TLS context once for each setting: loading certificates takes 16 ms, which blocks an event loop each
    time.
    """
    if verify is False:
        log.warning(
            "The Tinybird connection does not verify TLS certificates ('verify' is false): anyone on the way can read the token."
        )
        return False
    return httpx.create_ssl_context() if verify is True else ssl.create_default_context(cafile=verify)
