"""A server that speaks HTTP and answers from a script, and a clock that only moves when somebody sleeps."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest

TOKEN = "p.eyJ1IjoidSIsImlkIjoiaSIsImhvc3QiOiJnY3AtZXVyb3BlLXdlc3QzIn0.bm90LWEtcmVhbC1zaWduYXR1cmU"

_CUT = object()


@dataclass
class Request:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True, strict_parsing=True))

    @property
    def form(self) -> dict[str, str]:
        assert self.headers["content-type"] == "application/x-www-form-urlencoded"
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True))


Answer = Any
"""JSON, ``(status, JSON, text or bytes[, headers])``, ``cut``, or a function from a request to one of these."""


_COUNTS = re.compile(
    r"POST /v0/sql\n.*(AS at,|SELECT count\(\) AS n FROM `[^`]+`\s*FORMAT)|GET /v0/pipes/[^/?.]+(\?|\n|$)", re.DOTALL
)


@dataclass
class FakeTinybird:
    """Answers from a script and keeps what was sent to it."""

    url: str = ""
    token: str = TOKEN
    cut: object = _CUT
    """An answer that is none: the connection is closed instead."""
    looked_up: list[Request] = field(default_factory=list)
    """Looks at data sources that the test has no answer for: each load has one. They find it, without columns."""
    counts: bool = False
    """Whether the questions by which writers are judged come here; else they are refused, and not among ``requests``."""
    requests: list[Request] = field(default_factory=list)
    _routes: list[tuple[str, re.Pattern[str], list[Answer]]] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def on(self, route: str, *answers: Answer) -> None:
        """Answer requests to ``METHOD /path`` (a regular expression) in turn; the last answer is given for ever."""
        method, _, path = route.partition(" ")
        self._routes.insert(0, (method, re.compile(path), list(answers)))

    def job(self, job_id: str, *statuses: Any, **fields: Any) -> dict[str, Any]:
        """Have a job that goes through statuses, one a look; returns how it looks at first.

        A status may also be a whole answer, for a look that fails.
        """

        def shown(status: str) -> dict[str, Any]:
            return {"id": job_id, "job_id": job_id, "kind": "copy", "status": status, **fields}

        self.on(f"GET /v0/jobs/{job_id}", *(shown(s) if isinstance(s, str) else s for s in statuses))
        return shown("waiting")

    def lines(self) -> list[str]:
        """Method and path of each request."""
        return [request.line for request in self.requests]

    def count(self, line: str) -> int:
        """How many requests had this method and path."""
        return self.lines().count(line)

    @property
    def only(self) -> Request:
        assert len(self.requests) == 1, self.lines()
        return self.requests[0]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            if not self.counts and _COUNTS.search(
                f"{request.line}\n{unquote_plus(request.body.decode(errors='replace'))}"
            ):
                return 403, {"error": "the rows of a target are not for this token"}
            for method, path, answers in self._routes:
                if method == request.method and path.fullmatch(request.path):
                    found = answers.pop(0) if len(answers) > 1 else answers[0]
                    break
            else:
                if name := re.fullmatch("GET /v0/datasources/([^/]+)", request.line):
                    self.looked_up.append(request)
                    return {"id": "t_1", "name": name[1], "engine": {}, "columns": []}
                found = (501, {"error": f"the test has no answer for {request.line}"})
            self.requests.append(request)
        return found(request) if callable(found) else found

    def reset(self) -> None:
        self.requests.clear()
        self.looked_up.clear()
        self._routes.clear()
        self.counts = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeTinybird

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that a test kills hang up in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one packet: in two, the second waits for an acknowledgement of the first
    server: _Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.fake.answer(Request(self.command, self.path, headers, body))
        if answer is _CUT:
            self.close_connection = True
            return
        status, content, *more = answer if isinstance(answer, tuple) else (200, answer)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (more[0] if more else {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = do_PUT = handle_any  # noqa: N815 - the names that the base class calls

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture(scope="session")
def _running() -> Iterator[FakeTinybird]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.fake = FakeTinybird(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server.fake
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def tinybird(_running: FakeTinybird, connection: Callable[..., None]) -> FakeTinybird:
    """The server, with the connection ``tinybird_default`` pointing at it; calls are not sent again by the client."""
    _running.reset()
    connection(_running.url, TOKEN, max_retries=0)
    return _running


class Clock:
    """Time as the code under test sees it. Sleeping moves it and costs nothing."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.naps: list[float] = []
        self.while_asleep: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
        self.while_asleep()

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock of our own in place of time, for all that waits for jobs."""
    from airflow_provider_tinybird.conditions import wait
    from airflow_provider_tinybird.hooks import rereading
    from airflow_provider_tinybird.jobs import slots, start, watch
    from airflow_provider_tinybird.operators import job as operators
    from airflow_provider_tinybird.sensors import base as condition_sensors
    from airflow_provider_tinybird.sensors import jobs as sensors
    from airflow_provider_tinybird.timespans import deadlines

    clock = Clock()
    # The HTTP client measures by the real clock, so that the two must mean the same by "now".
    offset = time.monotonic() - clock.now
    fake_time = types.SimpleNamespace(time=clock.time, monotonic=lambda: clock.now + offset, sleep=clock.sleep)
    for module in (wait, deadlines, start, watch, slots, operators, sensors, condition_sensors, rereading):
        monkeypatch.setattr(module, "time", fake_time)
    for module in (wait, watch, slots, rereading):
        monkeypatch.setattr(module, "asyncio", types.SimpleNamespace(sleep=clock.sleep_async))
    monkeypatch.setattr(watch.random, "uniform", lambda low, high: low)
    for function, name, fake in (
        (watch.Watch.__init__, "clock", clock.time),
        (wait.Wait.__init__, "clock", clock.time),
        (start.Submitter.__init__, "sleep", clock.sleep),
    ):
        assert function.__kwdefaults__ is not None
        monkeypatch.setitem(function.__kwdefaults__, name, fake)
    return clock


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that is logged, from DEBUG on. Airflow's own loggers differ between versions, and the newest mask secrets."""
    from airflow_provider_tinybird.operators.base import TinybirdOperator
    from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor
    from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger

    for kind in (TinybirdOperator, TinybirdJobSensor, TinybirdJobTrigger):
        logger = logging.getLogger(f"airflow_provider_tinybird.{kind.__name__}")
        monkeypatch.setattr(kind, "log", property(lambda _, logger=logger: logger))
    caplog.set_level(logging.DEBUG)
    return caplog
