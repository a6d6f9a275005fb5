"""The network below the clients: sockets that keep to the clock of a try, and the way through a proxy.

httpx bounds single reads and writes. An answer that comes byte by byte keeps each of them short and all of them endless, so that
here each is given only what is left of the whole.
"""

from __future__ import annotations

import _thread
import asyncio
import ipaddress
import math
import queue
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpcore
import httpx

from airflow_provider_tinybird.api.tries import current

T = TypeVar("T")

_PIECE = 64 * 1024
"""Bytes that are written between two looks at the clock."""


def _time(timeout: float | None, left: float) -> float | None:
    shorter = left if timeout is None else min(timeout, left)
    return None if shorter == math.inf else shorter


def _to_connect(timeout: float | None) -> float | None:
    one = current.get()
    left = _time(timeout, one.until_deadline() if one else math.inf)
    if left is not None and left <= 0:
        raise httpcore.ConnectTimeout("the deadline is over")
    return left


def _to_read(timeout: float | None) -> float | None:
    one = current.get()
    left = _time(timeout, one.left("in") if one else math.inf)
    if left is not None and left <= 0:
        raise httpcore.ReadTimeout("the whole answer took too long")
    return left


def _to_write(timeout: float | None) -> float | None:
    one = current.get()
    left = _time(timeout, one.left("out") if one else math.inf)
    if left is not None and left <= 0:
        error = httpcore.WriteTimeout if one and one.sent else httpcore.ConnectTimeout  # nothing has left so far
        raise error("sending the request took too long")
    if one:
        one.sent = True
    return left


def _moved(size: int) -> None:
    one = current.get()
    if one:
        one.moved(size)


@contextmanager
def _noted() -> Iterator[None]:
    """Note that a request was cut off: the pool goes on to read, since a server may answer before it closes."""
    try:
        yield
    except httpcore.WriteError:
        one = current.get()
        if one:
            one.is_cut = True
        raise


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _to_read(timeout))
        _moved(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            left = _to_write(timeout)
            with _noted():
                self._stream.write(piece, left)  # type: ignore[arg-type]  # a socket takes it, and nothing is copied
            _moved(len(piece))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _to_connect(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        # A name may have many addresses, each of which would get the whole time, and asking for them has no time-out of its own.
        end = time.monotonic() + (_to_connect(timeout) or math.inf)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in _addresses(host, port, end):
            left = end - time.monotonic()
            if left <= 0:
                raise failure or httpcore.ConnectTimeout("no address answered in time")
            try:
                stream = self._backend.connect_tcp(
                    address, port, None if left == math.inf else left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as e:
                failure = failure or e
            else:
                return _Stream(stream)
        raise failure or httpcore.ConnectError(f"{host} has no address")


def _addresses(host: str, port: int, end: float) -> list[str]:
    """Ask for the addresses of a name, in a thread of its own: nothing else can end a resolver that does not answer."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    answer: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(one[4][0]) for one in found)))
        except (OSError, UnicodeError) as e:
            answer.put(e)

    # Not threading.Thread, whose lock a signal handler could wait for that interrupts the start of another thread.
    _thread.start_new_thread(ask, ())
    left = end - time.monotonic()
    try:
        found = answer.get(timeout=None if left == math.inf else max(0.0, left))
    except queue.Empty:
        raise httpcore.ConnectTimeout(f"the address of {host} was not found in time") from None
    if isinstance(found, list):
        return found
    raise httpcore.ConnectError(str(found))


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore\'s interface
        data = await self._stream.read(max_bytes, _to_read(timeout))
        _moved(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore\'s interface
        for start in range(0, len(buffer), _PIECE):
            piece = buffer[start : start + _PIECE]
            left = _to_write(timeout)
            with _noted():
                await self._stream.write(piece, left)
            _moved(len(piece))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, _to_connect(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, _to_connect(timeout), local_address, socket_options)
        return _AsyncStream(stream)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Turn httpcore's errors into httpx's of the same names, which all else is written for."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as e:
        raise getattr(httpx, type(e).__name__)(str(e)) from e
    except httpcore.UnsupportedProtocol as e:
        raise httpx.UnsupportedProtocol(str(e)) from e


def _core(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


class _Answer(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


class Transport(httpx.BaseTransport):
    """The network for :class:`httpx.Client`.

    :param context: how to verify TLS certificates.
    :param connections: connections at once, at the most.
    :param proxy: URL of a proxy to go through.
    """

    def __init__(self, context: ssl.SSLContext, *, connections: int, proxy: str | None = None) -> None:
        options = _pool_options(context, connections) | {"network_backend": _Backend()}
        if proxy is None:
            self._pool: httpcore.ConnectionPool = httpcore.ConnectionPool(**options)
        else:
            kind, by = _proxy_options(proxy, httpcore.HTTPProxy, httpcore.SOCKSProxy)
            self._pool = kind(**options, **by)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the head of its answer."""
        with _as_httpx():
            answer = self._pool.handle_request(_core(request))
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Answer(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class _AsyncAnswer(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._stream:
                yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class AsyncTransport(httpx.AsyncBaseTransport):
    """The network for :class:`httpx.AsyncClient`; the twin of :class:`Transport`."""

    def __init__(self, context: ssl.SSLContext, *, connections: int, proxy: str | None = None) -> None:
        options = _pool_options(context, connections) | {"network_backend": _AsyncBackend()}
        if proxy is None:
            self._pool: httpcore.AsyncConnectionPool = httpcore.AsyncConnectionPool(**options)
        else:
            kind, by = _proxy_options(proxy, httpcore.AsyncHTTPProxy, httpcore.AsyncSOCKSProxy)
            self._pool = kind(**options, **by)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the head of its answer."""
        with _as_httpx():
            answer = await self._pool.handle_async_request(_core(request))
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_AsyncAnswer(answer.stream), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


def _pool_options(context: ssl.SSLContext, connections: int) -> dict[str, Any]:
    # httpx's own default for how long an idle connection is kept.
    return {
        "ssl_context": context,
        "max_connections": connections,
        "max_keepalive_connections": connections,
        "keepalive_expiry": 5.0,
    }


def _proxy_options(url: str, http: type[T], socks: type[T]) -> tuple[type[T], dict[str, Any]]:
    proxy = httpx.Proxy(url)
    raw = httpcore.URL(
        scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
    )
    by: dict[str, Any] = {"proxy_url": raw, "proxy_auth": proxy.raw_auth}
    return (http if proxy.url.scheme in ("http", "https") else socks), by
