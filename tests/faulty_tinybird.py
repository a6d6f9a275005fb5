"""A Tinybird whose first answer to one kind of request goes wrong, as servers and networks do."""

from __future__ import annotations

import gzip
import http.server
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

JOB_ID = "11111111-0000-0000-0000-000000000000"
JOB = {
    "id": JOB_ID,
    "job_id": JOB_ID,
    "status": "done",
    "quarantine_rows": 0,
    "invalid_lines": 0,
    "blocks": [{"block_id": "b", "process_return": [{"lines": 1, "quarantine": 0, "invalid_lines": 0, "bytes": 9}]}],
}
DATASOURCE = {
    "id": "t_0123456789abcdef0123456789abcdef",
    "name": "orders",
    "columns": [{"name": "a", "type": "Int64", "jsonpath": "$.a", "nullable": False, "normalized_name": "a"}],
    "engine": {"engine": "MergeTree", "engine_sorting_key": "a"},
}
NO_ROWS = {"meta": [{"name": "c", "type": "UInt64"}], "data": [{"c": 0, "c__rows": 0}], "rows": 1}
GOOD: tuple[tuple[str, Callable[[bytes], Any]], ...] = (
    (r"POST /v0/events", lambda body: {"successful_rows": len(body.splitlines()), "quarantined_rows": 0}),
    (r"GET /v0/jobs/", lambda _: JOB),
    (r"POST /v0/jobs/.*/cancel", lambda _: {**JOB, "status": "cancelled"}),
    (r"GET /v0/jobs", lambda _: {"jobs": []}),
    (r"\w+ /v0/sql", lambda _: NO_ROWS),
    (r"\w+ /v0/pipes/[^/]*\.json", lambda _: NO_ROWS),
    (r"POST /v0/pipes/.*/(copy|sink|population)", lambda _: {"id": "node", "job": JOB}),
    (r"GET /v0/datasources/orders", lambda _: DATASOURCE),
    (r"POST /v0/datasources/orders/delete", lambda _: {**JOB, "job": JOB}),
    (r"POST /v\d/datasources", lambda _: {**JOB, "job": JOB, "import_id": JOB_ID, "error": False}),
)

PAGE = b"<html><head><title>Sorry</title></head><body><h1>The gateway says no</h1></body></html>"
Fault = Callable[["Handler"], None]


class Tinybird(http.server.ThreadingHTTPServer):
    """Answers well, but for the first request that matches.

    :param target: regular expression of method and path, such as ``POST /v0/events``.
    :param fault: what happens to the first one.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = re.compile(target)
        self.fault = fault
        self.times = 0
        self.over = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """Keep quiet: connections are broken on purpose."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Tinybird

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def raw(self, content: bytes, *, reset: bool = False) -> None:
        """Send bytes and end the connection."""
        self.wfile.write(content)
        self.wfile.flush()
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = f"{self.command} {self.path.partition('?')[0]}"
        if self.server.target.fullmatch(what):
            self.server.times += 1
            if self.server.times == 1:
                self.server.fault(self)
                return
        good = next((make for pattern, make in GOOD if re.match(pattern, what)), None)
        if good is None:
            self.answer(404, json.dumps({"error": f"nothing at {what}"}).encode())
        else:
            self.answer(200, json.dumps(good(body)).encode())

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names that the server looks for


def page(status: int, **headers: str) -> Fault:
    """A page of something in front of Tinybird."""
    return lambda handler: handler.answer(status, PAGE, Content_Type="text/html", **headers)


def words(status: int, **headers: str) -> Fault:
    """Tinybird's own words."""
    content = json.dumps({"error": "Tinybird's own words"}).encode()
    return lambda handler: handler.answer(status, content, Content_Type="application/json", **headers)


def success(content: bytes, **headers: str) -> Fault:
    """A success that is not what the API promises."""
    return lambda handler: handler.answer(200, content, **headers)


def raw(content: bytes, *, reset: bool = False) -> Fault:
    """Bytes, and the end of the connection."""
    return lambda handler: handler.raw(content, reset=reset)


def silence(handler: Handler) -> None:
    """Take the request and never answer."""
    handler.server.over.wait(60)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Begin an answer and never end it, a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    end = time.monotonic() + 60
    while time.monotonic() < end and not handler.server.over.wait(0.1):
        handler.wfile.write(b"a")
        handler.wfile.flush()
    handler.close_connection = True


FAULTS: dict[str, Fault] = {
    "connection closed before the answer": raw(b""),
    "connection reset before the answer": raw(b"", reset=True),
    "connection reset in the headers": raw(b"HTTP/1.1 200 OK\r\nContent-Ty", reset=True),
    "answer cut short": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"a": '),
    "chunked answer without an end": raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"a": \r\n'),
    "answer that is not gzip though it says so": success(b"not gzip", Content_Encoding="gzip"),
    "no HTTP at all": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "gzip of nothing useful": success(gzip.compress(PAGE), Content_Encoding="gzip"),
    "200 with a page": success(PAGE),
    "200 with nothing": success(b""),
    "200 with []": success(b"[]"),
    "200 with null": success(b"null"),
    "200 with bytes that are no text": success(b"\xff\xfe\x00{"),
    "200 with 100,000 brackets": success(b"[" * 100_000),
    **{
        f"{status} with a page": page(status)
        for status in (400, 401, 403, 404, 405, 408, 409, 411, 418, 421, 425, 429, 451)
    },
    **{f"{status} with a page": page(status) for status in (500, 501, 502, 503, 504, 520, 524, 599)},
    **{
        f"{status} to elsewhere": page(status, Location="http://elsewhere.example/")
        for status in (301, 302, 303, 307, 308)
    },
    **{f"{status} in Tinybird's words": words(status) for status in (400, 401, 403, 404, 405, 409, 411, 418, 422)},
    **{f"{status} in Tinybird's words": words(status) for status in (408, 500, 502, 504)},
    "429 in Tinybird's words": words(429, Retry_After="0"),
    "503 in Tinybird's words": words(503),
}
SLOW: dict[str, Fault] = {"no answer": silence, "answer that drips, a byte at a time": drip}


@contextmanager
def serving(target: str, fault: Fault) -> Iterator[Tinybird]:
    """Run a server."""
    server = Tinybird(target, fault)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
