"""Two thin senders of the same :class:`~airflow_provider_tinybird.api.call.Call`: one for workers, one for event
loops.
"""

from __future__ import annotations

import asyncio
import copy
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar

import httpx
import tenacity

from airflow_provider_tinybird.api import answers, retry
from airflow_provider_tinybird.api.body import Body
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.certificates import context_of
from airflow_provider_tinybird.api.errors import InvalidInputError, QueryBrokeError
from airflow_provider_tinybird.api.inflate import inflater_of
from airflow_provider_tinybird.api.proxies import Proxy, proxy_of
from airflow_provider_tinybird.api.quiet import quiet_httpx
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.api.tries import Try, within

T = TypeVar("T")
U = TypeVar("U")

# The pool walks through all of its connections for each that is idle, so that many make every request slow.
_CONNECTIONS = 20

_LONGEST_ERROR = 1_000_000
"""Bytes of an answer that is no success that are read; the rest of such a page is left."""


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
    :raises SettingsError: the proxy or the certificate authorities that the environment names cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: retry.RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy or retry.RetryPolicy(max_retries=settings.max_retries)
        self._proxy = proxy_of(settings)
        if transport is None:
            from airflow_provider_tinybird.api.transport import Transport  # takes long to import

            transport = Transport(**_network(settings, self._proxy))
        self._http = httpx.Client(transport=transport, **_client_arguments(settings))
        self._ends_at: float | None = None
        self._seen: dict[str, str] = {}  # shared with the views of this client

    @property
    def server(self) -> str | None:
        """What the last answer calls its server; ``None`` before there is one."""
        return self._seen.get("server")

    @property
    def ends_at(self) -> float:
        """Moment of ``time.monotonic()`` at which all calls of this view are over; infinite where there is none."""
        return math.inf if self._ends_at is None else self._ends_at

    def until(self, deadline: float | None) -> Client:
        """Return a view of this client, with the same connections, whose calls all have a deadline.

        Code that gets the view cannot forget the deadline. A call that names a deadline of its own keeps that one.

        :param deadline: moment of ``time.monotonic()``; ``None`` for no deadline.
        """
        view = copy.copy(self)
        view._ends_at = deadline
        return view

    def send(self, call: Call[T], *, deadline: float | None = None) -> T:
        """Send a call, again where that is safe, and return its result.

        :param deadline: moment of ``time.monotonic()`` at which all of it is over, answered or not; nothing is sent after it.
        :raises TinybirdError: see :mod:`airflow_provider_tinybird.api.errors`.
        """
        deadline = self._ends_at if deadline is None else deadline
        # The loop is not handed the call: its state refers to itself, and would keep each body in memory for a long while.
        for attempt in tenacity.Retrying(**retry.rules(self.policy, call, deadline=deadline)):
            with attempt:
                return self.send_once(call, deadline=deadline)
        raise AssertionError("the loop ends with a result or an error")

    def send_once(self, call: Call[T], *, deadline: float | None = None) -> T:
        """Send a call one time, whatever comes back, and return its result.

        For those who keep a journal of what they send: below it nothing may be repeated.

        :param deadline: moment of ``time.monotonic()`` at which it is over.
        :raises TinybirdError: see :mod:`airflow_provider_tinybird.api.errors`.
        """
        one = _try(self.settings, call, self._ends_at if deadline is None else deadline)
        status, headers, content = self._exchange(call, one, lambda answer: self._taken(call, answer))
        return answers.read(self.settings, call, status, headers, content, proxy=self._proxy, is_cut=one.is_cut)

    def download(
        self, call: Call[Any], open_sink: Callable[[], AbstractContextManager[Sink]], *, deadline: float | None = None
    ) -> Downloaded:
        """Send a call and write its answer out as it comes in, in constant memory.

        :param open_sink: opens where the bytes go, empty; called again each time the call is sent.
        :param deadline: moment of ``time.monotonic()`` at which all of it is over.
        """
        deadline = self._ends_at if deadline is None else deadline
        for attempt in tenacity.Retrying(**retry.rules(self.policy, call, deadline=deadline)):
            with attempt:
                one = _try(self.settings, call, deadline)
                return self._exchange(call, one, lambda answer: self._written(call, answer, open_sink))
        raise AssertionError("the loop ends with a result or an error")

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

    def _exchange(self, call: Call[Any], one: Try, take: Callable[[httpx.Response], U]) -> U:
        """Send a request and have its answer taken, within the time of one try."""
        try:
            with quiet_httpx(), within(one):
                answer = self._http.send(self._request(call), stream=True)
                self._seen["server"] = answer.headers.get("server", "")
                try:
                    return take(answer)
                finally:
                    answer.close()
        except httpx.HTTPError as e:
            failure = answers.from_transport(self.settings, call, e, proxy=self._proxy)
        # Raised here: the HTTP library's exception holds what it was sent as it came, and its frames say nothing.
        raise failure

    def _taken(self, call: Call[Any], answer: httpx.Response) -> tuple[int, Mapping[str, str], bytes]:
        if answer.is_stream_consumed:  # a transport of tests, which hands over whole answers
            return answer.status_code, answer.headers, answer.content
        taker = _Taker(self.settings, call, answer)
        with taker.saying_why_it_broke():
            for chunk in answer.iter_raw():
                if not taker.take(chunk):
                    break
        return answer.status_code, answer.headers, taker.content()

    def _written(
        self, call: Call[Any], answer: httpx.Response, open_sink: Callable[[], AbstractContextManager[Sink]]
    ) -> Downloaded:
        if not answer.is_success:
            status, headers, content = self._taken(call, answer)
            raise answers.from_status(self.settings, call, status, headers, content, proxy=self._proxy)
        size = 0
        inflater = inflater_of(self.settings, call, answer)
        whole = answers.whole_answer(self.settings, call, answer.headers, answer.status_code)
        with open_sink() as sink, whole as end:
            for chunk in chain(answer.iter_raw(), [None]):
                for piece in inflater.rest() if chunk is None else inflater.inflate(chunk):
                    if end:
                        end.add(piece)
                    sink.write(piece)
                    size += len(piece)
        return Downloaded(size, answer.headers.get("content-type", ""))


class AsyncClient:
    """Sends calls from an event loop; the twin of :class:`Client`.

    :param settings: where to, and with which token.
    :param policy: how often and how long to try; by default as the settings say.
    :param transport: replaces the network, for tests.
    :raises SettingsError: the proxy or the certificate authorities that the environment names cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: retry.RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy or retry.RetryPolicy(max_retries=settings.max_retries)
        self._proxy = proxy_of(settings)
        if transport is None:
            from airflow_provider_tinybird.api.transport import AsyncTransport  # takes long to import

            transport = AsyncTransport(**_network(settings, self._proxy))
        self._http = httpx.AsyncClient(transport=transport, **_client_arguments(settings))
        # Callers wait for a connection here: the pool's own queue is walked through at every request.
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def send(self, call: Call[T], *, deadline: float | None = None) -> T:
        """Send a call, again where that is safe, and return its result.

        :param deadline: moment of ``time.monotonic()`` at which all of it is over, answered or not; nothing is sent after it.
        :raises TinybirdError: see :mod:`airflow_provider_tinybird.api.errors`.
        """
        loop = tenacity.AsyncRetrying(**retry.rules(self.policy, call, deadline=deadline))
        return await loop(self.send_once, call, deadline=deadline)

    async def send_once(self, call: Call[T], *, deadline: float | None = None) -> T:
        """Send a call one time, whatever comes back, and return its result; see :meth:`Client.send_once`."""
        one = _try(self.settings, call, deadline)
        status, headers, content = await self._exchange(call, one)
        return answers.read(self.settings, call, status, headers, content, proxy=self._proxy, is_cut=one.is_cut)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _request(self, call: Call[Any]) -> httpx.Request:
        content = _chunks(call.body) if call.body else None
        return self._http.build_request(
            call.method, call.path, content=content, **_request_arguments(self.settings, call)
        )

    async def _exchange(self, call: Call[Any], one: Try) -> tuple[int, Mapping[str, str], bytes]:
        try:
            # The sockets keep to the time as well. This is for all that is none: the queues in front of them, and the name's address.
            left = one.until_deadline()
            async with asyncio.timeout(None if left == math.inf else left):
                async with self._slots:
                    with quiet_httpx(), within(one):
                        return await self._sent(call)
        except httpx.HTTPError as e:
            failure = answers.from_transport(self.settings, call, e, proxy=self._proxy)
        except TimeoutError:
            late = httpx.ReadTimeout("the deadline is over")
            failure = answers.from_transport(self.settings, call, late, proxy=self._proxy, sent=one.sent)
        # Raised here: the HTTP library's exception holds what it was sent as it came, and its frames say nothing.
        raise failure

    async def _sent(self, call: Call[Any]) -> tuple[int, Mapping[str, str], bytes]:
        answer = await self._http.send(self._request(call), stream=True)
        try:
            if answer.is_stream_consumed:  # a transport of tests, which hands over whole answers
                return answer.status_code, answer.headers, answer.content
            taker = _Taker(self.settings, call, answer)
            with taker.saying_why_it_broke():
                async for chunk in answer.aiter_raw():
                    if not taker.take(chunk):
                        break
            return answer.status_code, answer.headers, taker.content()
        finally:
            await answer.aclose()


class _Taker:
    """Takes an answer into memory, as far as there is room for it.

    :raises UnreadableAnswerError: a success is larger than its call foresees, or is not compressed as it says.
    """

    def __init__(self, settings: Settings, call: Call[Any], answer: httpx.Response) -> None:
        self._settings = settings
        self._call = call
        self._status = answer.status_code
        self._headers = answer.headers
        self._most = call.max_answer if answer.is_success else _LONGEST_ERROR
        self._pieces: list[bytes] = []
        self._size = 0
        self._has_enough = False
        self._inflater = inflater_of(settings, call, answer)

    def take(self, chunk: bytes) -> bool:
        """Take a piece; returns whether more is wanted."""
        return self._keep(self._inflater.inflate(chunk))

    @contextmanager
    def saying_why_it_broke(self) -> Iterator[None]:
        """Say what ClickHouse wrote at the end of an answer that was cut after it, rather than that it was cut."""
        try:
            yield
        except httpx.HTTPError:
            end = answers.end_of(self._call, self._headers, b"".join(self._pieces))
            broken = answers.broken_off(self._settings, self._call, end) if 200 <= self._status < 300 else None
            if isinstance(broken, QueryBrokeError):
                raise broken from None
            raise

    def content(self) -> bytes:
        """All of it, or as much of an error as is wanted."""
        if not self._has_enough:
            self._keep(self._inflater.rest())
        return b"".join(self._pieces)

    def _keep(self, pieces: Iterable[bytes]) -> bool:
        for piece in pieces:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > self._most:
                return self._is_full()
        return True

    def _is_full(self) -> bool:
        if self._most == _LONGEST_ERROR:  # the beginning of an error says enough
            self._has_enough = True
            return False
        raise answers.unreadable(
            self._settings,
            self._call,
            self._status,
            b"".join(self._pieces[:1])[:200],
            why=f"it is larger than the {self._most:,} bytes that are taken into memory; a result as large as that can be written to "
            "a file: output_path of the operators, query_to_file of the hook",
        )


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    chunks = body.chunks()
    while True:
        chunk = await asyncio.to_thread(next, chunks, b"") if body.reads_files else next(chunks, b"")
        if not chunk:
            return
        yield chunk


def _client_arguments(settings: Settings) -> dict[str, Any]:
    return {
        "base_url": settings.base_url,
        # The token travels in this header only: in a query string it would end up in access logs and exceptions.
        "headers": {
            "Authorization": f"Bearer {_header_text(settings.token.value)}",
            "User-Agent": settings.user_agent,
            "Accept-Encoding": "gzip, deflate",
        },
        "trust_env": False,  # what the environment says of proxies and certificates is read by us
        "follow_redirects": False,
    }


def _network(settings: Settings, proxy: Proxy | None) -> dict[str, Any]:
    return {
        "context": context_of(settings, proxy),
        "connections": _CONNECTIONS,
        "proxy": proxy.url if proxy else None,
    }


def _try(settings: Settings, call: Call[Any], deadline: float | None) -> Try:
    one = Try(max(settings.timeout, call.min_timeout), deadline)
    if one.until_deadline() <= 0:
        raise answers.too_late(settings, call)
    return one


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
