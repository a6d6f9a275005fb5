"""A server that does wrong on the wire: it drips, breaks off, falls silent at any stage, or answers with pages of others.

Each behaviour is a function of the connection and the request that came over it. They are taken in turn, one a connection; the last one is
kept for all further connections, which run at the same time, each in a thread.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Behaviour = Callable[["Peer"], None]


@dataclass
class Peer:
    """One connection, and the request that came over it."""

    connection: socket.socket
    server: Misbehaving
    head: bytes = b""
    body: bytes = b""

    def read_head(self) -> None:
        """Read as far as the headers go."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.connection.recv(65536)
            if not more:
                raise ConnectionError("no request")
            data += more
        self.head, _, self.body = data.partition(b"\r\n\r\n")
        self.server.saw(self)

    def read_body(self) -> None:
        """Read the rest of the request."""
        while len(self.body) < self.length:
            more = self.connection.recv(1 << 20)
            if not more:
                break
            self.body += more

    @property
    def length(self) -> int:
        """What the request says of its length."""
        found = [line for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return int(found[0].split(b":")[1]) if found else 0

    def wait(self) -> None:
        """Say nothing until the server ends."""
        self.server.ended.wait()

    def drip(self, data: bytes, every: float) -> None:
        """Send a byte now and then, and begin anew at the end, for ever."""
        while not self.server.ended.wait(every):
            self.connection.sendall(data[:1])
            data = data[1:] + data[:1]

    def reset(self) -> None:
        """Break the connection off with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@dataclass
class Misbehaving:
    """The server; see :func:`misbehaving`."""

    behaviours: list[Behaviour]
    listener: socket.socket
    requests: list[Peer] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    accepting: threading.Thread = field(default_factory=threading.Thread)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def saw(self, peer: Peer) -> None:
        """Take down that a request came."""
        with self._lock:
            self.requests.append(peer)

    def serve(self) -> None:
        """Answer until it ends."""
        while True:
            connection, _ = self.listener.accept()
            self._open.append(connection)
            if self.ended.is_set():
                return
            behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
            thread = threading.Thread(target=self._run, args=(behave, Peer(connection, self)), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, behave: Behaviour, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            behave(peer)
        peer.connection.close()

    def end(self) -> None:
        """Close all there is."""
        self.ended.set()
        with socket.create_connection(self.listener.getsockname()[:2]):
            pass  # wakes accept()
        self.accepting.join(10)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self.listener.close()


@contextmanager
def misbehaving(*behaviours: Behaviour) -> Iterator[Misbehaving]:
    """Run a server that does these one after the other, one a connection, and then the last one for ever."""
    server = Misbehaving([*behaviours], socket.create_server(("127.0.0.1", 0), backlog=200))
    server.accepting = threading.Thread(target=server.serve, daemon=True)
    server.accepting.start()
    try:
        yield server
    finally:
        server.end()


def answer(status: str, body: bytes, headers: str = "", *, then: Behaviour | None = None) -> Behaviour:
    """Read the request and answer it whole."""

    def behave(peer: Peer) -> None:
        peer.read_head()
        peer.read_body()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
        peer.connection.sendall(head.encode())
        peer.connection.sendall(body)
        if then:
            then(peer)

    return behave


def page(status: int) -> Behaviour:
    """A page of a gateway."""
    html = f"<html><head><title>{status}</title></head><body><h1>{status}</h1><hr>nginx</body></html>".encode()
    return answer(f"{status} X", html, "Content-Type: text/html\r\n")


def _after_request(act: Behaviour) -> Behaviour:
    def behave(peer: Peer) -> None:
        peer.read_head()
        peer.read_body()
        act(peer)

    return behave


def silent_at_once(peer: Peer) -> None:
    """Accept the connection, and read nothing."""
    peer.wait()


def silent_in_the_body(peer: Peer) -> None:
    """Read the headers of the request only."""
    peer.read_head()
    peer.wait()


silent = _after_request(Peer.wait)
"""Read the request, and never answer."""


def _silent_after(data: bytes) -> Behaviour:
    def act(peer: Peer) -> None:
        peer.connection.sendall(data)
        peer.wait()

    return _after_request(act)


silent_in_the_headers = _silent_after(b"HTTP/1.1 200 OK\r\nContent-")
silent_in_the_answer = _silent_after(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"id": ')


def _drip(before: bytes, drops: bytes, every: float = 0.02) -> Behaviour:
    def act(peer: Peer) -> None:
        peer.connection.sendall(before)
        peer.drip(drops, every)

    return _after_request(act)


drip_status = _drip(b"", b"HTTP/1.1 200 " + b"a" * 60_000)
drip_header = _drip(b"HTTP/1.1 200 OK\r\nX-A: ", b"a")
drip_headers = _drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n")
drip_continue = _drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
drip_body = _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ")
drip_chunks = _drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")
drip_error = _drip(b"HTTP/1.1 500 X\r\nContent-Length: 1000000\r\n\r\n", b"x")
drip_until_closed = _drip(b"HTTP/1.0 200 OK\r\n\r\n", b" ")

STUCK: dict[str, Behaviour] = {
    name: value for name, value in globals().items() if name.startswith(("silent", "drip_")) and callable(value)
}
"""All that would keep a caller for ever who bounds single reads alone, or nothing."""

reset = _after_request(Peer.reset)


def reset_in_the_body(peer: Peer) -> None:
    """Break off in the middle of the request."""
    peer.read_head()
    peer.reset()


def bomb(status: str = "200 OK", *, megabytes: int = 300) -> Behaviour:
    """An answer that is a few hundred kB, and becomes large when it is decompressed."""
    packed = gzip.compress(b" " * (megabytes * 1_000_000), 9)
    return answer(status, packed, "Content-Encoding: gzip\r\n")


def early(status: str, body: bytes, headers: str = "") -> Behaviour:
    """Refuse a request by its headers, and close: what is left of its body makes that an RST, behind the answer."""

    def behave(peer: Peer) -> None:
        peer.read_head()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
        peer.connection.sendall(head.encode() + body)
        peer.connection.close()

    return behave
