"""A Tinybird whose first answer to one kind of request goes wrong, as servers and networks do."""

from __future__ import annotations

import gzip
import http.server
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
NEW_JOB = {**JOB, "status": "waiting"}
DATASOURCE = {
    "id": "t_0123456789abcdef0123456789abcdef",
    "name": "orders",
    "columns": [
        {"name": "a", "type": "Int64", "jsonpath": "$.a", "nullable": False, "normalized_name": "a"},
        {"name": "batch", "type": "String", "jsonpath": "$.batch", "nullable": False, "normalized_name": "batch"},
    ],
    # What a TTL may take out is not counted before and after.
    "engine": {"engine": "MergeTree", "engine_sorting_key": "a", "ttl": "toDate(a) + INTERVAL 1 DAY"},
}
ONE_ROW = {"meta": [{"name": "c", "type": "UInt64"}], "data": [{"c": 1}], "rows": 1}
GOOD: tuple[tuple[str, Callable[[Tinybird, bytes], Any]], ...] = (
    (r"POST /v0/events", lambda server, body: server.store(body)),
    (r"POST /v0/jobs/.*/cancel", lambda *_: {**JOB, "status": "cancelled"}),
    (r"GET /v0/jobs/", lambda *_: JOB),
    (r"GET /v0/jobs", lambda *_: {"jobs": []}),
    (r"\w+ /v0/sql", lambda server, body: server.count(body)),
    (r"\w+ /v0/pipes/[^/]*\.json", lambda *_: ONE_ROW),
    (r"POST /v0/pipes/.*/(copy|sink|population)", lambda *_: {"id": "node", "job": NEW_JOB}),
    (r"GET /v0/datasources/orders", lambda *_: DATASOURCE),
    (r"GET /v\d/workspace", lambda *_: {"id": "w", "name": "shop"}),
    (r"POST /v0/datasources/orders/delete", lambda *_: {**NEW_JOB, "job": NEW_JOB}),
    (r"POST /v\d/datasources", lambda server, _: server.imported()),
)

PAGE = b"<html><head><title>Sorry</title></head><body><h1>The gateway says no</h1></body></html>"
Fault = Callable[["Handler"], None]


class Tinybird(http.server.ThreadingHTTPServer):
    """Answers well, but for the first request that matches.

    :param target: regular expression of method and path, such as ``POST /v0/events``.
    :param fault: what happens to the first one.
    :param takes: whether the first one is done all the same: only its answer goes wrong.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str, fault: Fault, *, takes: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = re.compile(target)
        self.fault = fault
        self.takes = takes
        self.times = 0
        self.rows: list[dict[str, Any]] = []
        self.imports = 0
        self.over = threading.Event()

    def store(self, body: bytes) -> dict[str, int]:
        """Take events."""
        rows = [json.loads(line) for line in body.splitlines()]
        self.rows += rows
        return {"successful_rows": len(rows), "quarantined_rows": 0}

    def imported(self) -> dict[str, Any]:
        """Take a file, of one row."""
        self.imports += 1
        return {**NEW_JOB, "job": NEW_JOB, "import_id": JOB_ID, "error": False}

    def count(self, question: bytes) -> dict[str, Any]:
        """Answer a query: how many rows each batch has, or how many there are."""
        if b"GROUP BY" not in question and b"GROUP+BY" not in question:
            row = {"c": 1, "n": len(self.rows) or min(self.imports, 1), "at": "2026-01-01 00:00:00", "operations": []}
            return {"meta": [{"name": "c", "type": "UInt64"}], "data": [row], "rows": 1}
        counts = Counter(row["batch"] for row in self.rows if "batch" in row and b"_quarantine" not in question)
        return {"meta": [], "data": [{"id": one, "n": n} for one, n in counts.items()], "rows": len(counts)}

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
        what = f"{self.command} {self.path.partition('?')[0]}"
        goes_wrong = False
        if self.server.target.fullmatch(what):
            self.server.times += 1
            goes_wrong = self.server.times == 1
        if goes_wrong and self.server.fault in EARLY.values():
            self.server.fault(self)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        good = next((make for pattern, make in GOOD if re.match(pattern, what)), None)
        if good is None:
            self.answer(404, json.dumps({"error": f"nothing at {what}"}).encode())
        elif not goes_wrong:
            self.answer(200, json.dumps(good(self.server, body or self.path.encode())).encode())
        else:
            if self.server.takes:
                good(self.server, body)
            self.server.fault(self)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815


def page(status: int, **headers: str) -> Fault:
    """A page of something in front of Tinybird."""
    return lambda handler: handler.answer(status, PAGE, Content_Type="text/html", **headers)


def words(status: int, text: str = "Tinybird's own words", **headers: str) -> Fault:
    """Tinybird's own words."""
    content = json.dumps({"error": text}).encode()
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


def early(status: int, content: bytes, *, reset: bool) -> Fault:
    """Answer before the body was read, and break the connection."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"

    def fault(handler: Handler) -> None:
        handler.rfile.read(1000)
        handler.raw(head.encode() + content if status else b"", reset=reset)

    return fault


OWN = json.dumps({"error": "Tinybird's own words"}).encode()
EARLY: dict[str, Fault] = {
    "closed within the request": early(0, b"", reset=False),
    "reset within the request": early(0, b"", reset=True),
    **{f"{status} in Tinybird's words, within the request": early(status, OWN, reset=False) for status in (401, 413)},
    **{f"{status} with a page, within the request": early(status, PAGE, reset=False) for status in (401, 413)},
}

FAULTS: dict[str, Fault] = {
    "connection closed before the answer": raw(b""),
    "connection reset before the answer": raw(b"", reset=True),
    "connection reset in the headers": raw(b"HTTP/1.1 200 OK\r\nContent-Ty", reset=True),
    "answer cut short": raw(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"a": '),
    "chunked answer without an end": raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"a": \r\n'),
    "gzip that is none": success(b"not gzip", Content_Encoding="gzip"),
    "no HTTP at all": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "only 100 Continue": raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "101 Switching Protocols": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "gzip of a page": success(gzip.compress(PAGE), Content_Encoding="gzip"),
    "br that was not asked for": success(b"\x0b\x02\x80{}\x03", Content_Encoding="br"),
    "200 with a page": success(PAGE),
    "200 with nothing": success(b""),
    "204": lambda handler: handler.answer(204, b""),
    "200 with []": success(b"[]"),
    "200 with null": success(b"null"),
    "200 with {}": success(b"{}"),
    "200 with bytes that are no text": success(b"\xff\xfe\x00{"),
    "200 with 100,000 brackets": success(b"[" * 100_000),
    **{
        f"{status} with a page": page(status)
        for status in (400, 401, 403, 404, 405, 408, 409, 411, 413, 418, 421, 425, 429, 451)
    },
    **{f"{status} with a page": page(status) for status in (500, 501, 502, 503, 504, 520, 524, 599)},
    **{
        f"{status} to elsewhere": page(status, Location="http://elsewhere.example/")
        for status in (301, 302, 303, 307, 308)
    },
    "302 to nowhere that can be read": page(302, Location="http://[elsewhere"),
    **{f"{status} in Tinybird's words": words(status) for status in (400, 401, 403, 404, 405, 409, 411, 413, 418)},
    **{f"{status} in Tinybird's words": words(status) for status in (408, 500, 502, 503, 504)},
    "429 in Tinybird's words": words(429, Retry_After="0"),
    "429 in Tinybird's words, Retry-After: nan": words(429, Retry_After="nan"),
}
ODD_JOBS: dict[str, Fault] = {
    "a job with another id": success(json.dumps({**JOB, "id": "other", "job_id": "other"}).encode()),
    "a job without an id": success(json.dumps({"status": "done"}).encode()),
}
TAILS: dict[str, Fault] = {
    "plain": success(b"1\n2\nCode: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n"),
    "with a version": success(b"1\nCode: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED) (version 24.2.1.1)"),
}
SLOW: dict[str, Fault] = {"no answer": silence, "answer that drips, a byte at a time": drip}


@contextmanager
def serving(target: str, fault: Fault, *, takes: bool = True, pem: Path | None = None) -> Iterator[Tinybird]:
    """Run a server.

    :param pem: its certificate and key, for one that speaks TLS.
    """
    server = Tinybird(target, fault, takes=takes)
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
