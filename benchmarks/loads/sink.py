"""A server that takes events as fast as they come, counts their rows and answers after a while: ``sink.py DELAY_MS``.

It is no Tinybird and keeps nothing: what is measured against it is the client. It prints its port.
"""

from __future__ import annotations

import asyncio
import re
import sys

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


class Sink(asyncio.BufferedProtocol):
    """One connection. The body is counted in the buffer that the kernel fills, and never copied."""

    delay = 0.0

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 20)
        self._view = memoryview(self._buffer)
        self._head = b""
        self._left: int | None = None  # bytes of the body to come; None while the head is read
        self._rows = 0
        self._last = 0x0A
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        start = 0
        while start < nbytes:
            start = self._read_head(start, nbytes) if self._left is None else self._read_body(start, nbytes)

    def _read_head(self, start: int, end: int) -> int:
        known = len(self._head)
        self._head += bytes(self._view[start:end])
        at = self._head.find(b"\r\n\r\n")
        if at < 0:
            return end
        found = _LENGTH.search(self._head[:at])
        body = start + at + 4 - known
        self._head, self._left = b"", int(found[1]) if found else 0
        if not self._left:
            self._answer()
        return body

    def _read_body(self, start: int, end: int) -> int:
        assert self._left is not None
        stop = min(end, start + self._left)
        self._rows += self._buffer.count(b"\n", start, stop)
        self._last = self._buffer[stop - 1]
        self._left -= stop - start
        if not self._left:
            self._answer()
        return stop

    def _answer(self) -> None:
        rows = self._rows + (self._last != 0x0A)  # some clients end the last row without a newline
        body = b'{"successful_rows":%d,"quarantined_rows":0}' % rows
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._left, self._rows, self._last = None, 0, 0x0A
        assert self._transport is not None
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._transport.write, head + body)
        else:
            self._transport.write(head + body)


async def main() -> None:
    """Serve until the process is killed."""
    Sink.delay = float(sys.argv[1]) / 1000
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
