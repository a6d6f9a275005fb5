"""Faults on demand, and a record of the requests: what a test cannot get from the real service."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from h11 import LocalProtocolError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_tinybird.sandbox import UNSEEN_HEADER
from airflow_provider_tinybird.sandbox.http.clock import now
from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import number, parsed_json

_KEPT = 10_000
_CUTS = ("before", "after")
_LEAST_STATUS, _MOST_STATUS = 200, 599
_KEYS = frozenset({"match", "times", "status", "headers", "body", "delay", "cut"})
OWN_PATH = "/sandbox/"
_PAGE = ("/", "/sandbox")
_UNSEEN = UNSEEN_HEADER.lower().encode()

_connections: dict[tuple[str, int], asyncio.Transport] = {}


class Protocol(H11Protocol):
    """uvicorn's protocol, which also keeps the connections by peer, so that a fault can close one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection."""
        # Of a connection that was reset already there is no peer.
        _connections[tuple(transport.get_extra_info("peername") or ())] = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _connections.pop(tuple(self.transport.get_extra_info("peername") or ()), None)
        super().connection_lost(exc)


@dataclass
class Fault:
    """What happens to the next requests that match.

    :param path: a regular expression, found anywhere in the path.
    :param times: how many requests it is for; each takes one away.
    :param status: answer with it, and do nothing.
    :param delay: seconds before anything is done.
    :param cut: close the connection instead of answering: ``before`` the work, or ``after`` it was done.
    """

    path: re.Pattern[str]
    method: str | None = None
    times: int = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    cut: str | None = None


@dataclass
class SeenRequest:
    """A request as it came in.

    :param status: of the answer; None while it runs, and where the connection was cut.
    :param at: when it came in.
    """

    method: str
    path: str
    query: list[tuple[str, str]]
    content_type: str | None
    content_encoding: str | None
    content_length: int | None
    status: int | None = None
    at: datetime = field(default_factory=now)


class Monitor:
    """Faults to come and requests seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._seen: deque[SeenRequest] = deque(maxlen=_KEPT)

    def add(self, text: bytes) -> int:
        """Add faults from JSON: one object or a list of them.

        :return: how many wait now.
        :raises ApiError: 400, naming what cannot be read.
        """
        given = parsed_json(text, "the body must be a JSON list of faults")
        faults = [_fault(one) for one in (given if isinstance(given, list) else [given])]
        with self._lock:
            self._faults.extend(faults)
            return len(self._faults)

    def clear_faults(self) -> None:
        """Drop the faults that are still to come."""
        with self._lock:
            self._faults.clear()

    def clear(self) -> None:
        """Drop faults and requests."""
        self.clear_faults()
        with self._lock:
            self._seen.clear()

    def seen(self) -> list[dict[str, Any]]:
        """The requests, oldest first."""
        with self._lock:
            found = [asdict(one) for one in self._seen]
        return [{key: value for key, value in one.items() if key != "at"} for one in found]

    def recent(self) -> list[SeenRequest]:
        """The requests themselves, oldest first."""
        with self._lock:
            return list(self._seen)

    def record(self, scope: Scope) -> SeenRequest:
        """Take note of a request; tokens are left out."""
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        query = [
            pair
            for pair in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if pair[0] != "token"
        ]
        length = headers.get("content-length", "")
        seen = SeenRequest(
            scope["method"],
            scope["path"],
            query,
            headers.get("content-type"),
            headers.get("content-encoding"),
            int(length) if length.isdigit() else None,
        )
        with self._lock:
            self._seen.append(seen)
        return seen

    def take(self, method: str, path: str) -> Fault | None:
        """The first fault that matches a request; it is used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.method in (None, method) and fault.path.search(path):
                    fault.times -= 1
                    self._faults = [one for one in self._faults if one.times > 0]
                    return fault
        return None


def with_faults(app: ASGIApp, monitor: Monitor) -> ASGIApp:
    """An application in front of another: records each request, and applies the faults."""

    async def monitored(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_own(scope["path"]) or _is_unseen(scope):
            await app(scope, receive, send)
            return
        seen = monitor.record(scope)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
            await send(message)

        fault = monitor.take(scope["method"], scope["path"])
        if fault is None:
            await app(scope, receive, noting)
            return
        await asyncio.sleep(fault.delay)
        if fault.cut == "after":
            await app(scope, receive, _nowhere)
            await _cut(scope, receive)
        elif fault.cut == "before":
            await _drain(receive)
            await _cut(scope, receive)
        elif fault.status is not None:
            await _drain(receive)
            await _answer(fault, noting)
        else:
            await app(scope, receive, noting)

    async def tolerant(scope: Scope, receive: Receive, send: Send) -> None:
        # The server refuses by itself what follows and is no HTTP, and then takes no other answer.
        with suppress(LocalProtocolError):
            await monitored(scope, receive, send)

    return tolerant


def _is_own(path: str) -> bool:
    return path in _PAGE or path.startswith(OWN_PATH)


def _is_unseen(scope: Scope) -> bool:
    return any(key == _UNSEEN for key, _ in scope["headers"])


async def _nowhere(_message: Message) -> None:
    return


async def _drain(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        continue


async def _cut(scope: Scope, receive: Receive) -> None:
    transport = _connections.get(tuple(scope["client"]))
    if transport is not None:
        transport.close()
    # Only once the server knows that the connection is gone does it not answer in our place.
    while (await receive())["type"] != "http.disconnect":
        continue


async def _answer(fault: Fault, send: Send) -> None:
    headers = {
        "content-type": "application/json; charset=utf-8",
        **{key.lower(): value for key, value in fault.headers.items()},
    }
    headers["content-length"] = str(len(fault.body))
    raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": raw})
    await send({"type": "http.response.body", "body": fault.body})


def _fault(given: Any) -> Fault:
    if not isinstance(given, dict) or not given.keys() <= _KEYS:
        raise bad_request(f"a fault must be an object with keys of {', '.join(sorted(_KEYS))}, not {given!r}")
    match = given.get("match") or {}
    if not isinstance(match, dict) or not isinstance(given.get("headers") or {}, dict):
        raise bad_request("'match' and 'headers' of a fault must be objects")
    status = given.get("status")
    if status is not None and (not isinstance(status, int) or not _LEAST_STATUS <= status <= _MOST_STATUS):
        raise bad_request(
            f"'status' of a fault must be a number from {_LEAST_STATUS} to {_MOST_STATUS}, not {status!r}"
        )
    try:
        path = re.compile(str(match.get("path", "")))
    except re.error as error:
        raise bad_request(f"the path {match.get('path')!r} of a fault is no regular expression: {error}") from None
    if given.get("cut") not in (None, *_CUTS):
        raise bad_request(f"'cut' of a fault must be one of {', '.join(_CUTS)}, not {given['cut']!r}")
    if not {"status", "delay", "cut"} & given.keys():
        raise bad_request("a fault needs one of status, delay and cut")
    # Tinybird's own refusals have words: a refusal without any is a gateway's, and is to be asked for.
    body = given.get("body", {"error": f"a fault asked for {status}"} if status and status >= 400 else "")
    return Fault(
        path=path,
        method=str(match["method"]).upper() if match.get("method") else None,
        times=int(number(given.get("times", 1), "'times' of a fault")),
        status=status,
        headers={str(key): str(value) for key, value in (given.get("headers") or {}).items()},
        body=body.encode() if isinstance(body, str) else json.dumps(body).encode(),
        delay=number(given.get("delay", 0), "'delay' of a fault"),
        cut=given.get("cut"),
    )
