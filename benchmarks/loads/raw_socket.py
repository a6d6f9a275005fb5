"""Bodies that are ready-made, over plain sockets: the most that a client can get out of a server's answer time."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor


def send_over_sockets(port: int, bodies: Sequence[memoryview | bytes], connections: int) -> int:
    """Send each body as a request; each connection sends its next one when the last was answered.

    :return: bytes of all bodies.
    """

    def one(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for body in bodies[number::connections]:
                head = (
                    f"POST /v0/events?name=events&wait=true HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                link.sendall(head.encode())
                link.sendall(body)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += link.recv(65536)
                if b"200 OK" not in answer:
                    raise RuntimeError(answer.decode())

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(one, range(connections)))
    return sum(map(len, bodies))
