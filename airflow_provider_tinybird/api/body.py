"""Request bodies. Each knows its length, since Tinybird may answer 411 without one, and can be sent again from its
start.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol
from urllib.parse import urlencode

from airflow_provider_tinybird.api.encoding import Pairs
from airflow_provider_tinybird.api.errors import InvalidInputError

CHUNK_BYTES = 256 * 1024
"""Size of the pieces a body is handed to the socket in: the HTTP library's cost grows with the square of larger
ones.
"""

FORM = "application/x-www-form-urlencoded"
NDJSON = "application/x-ndjson"


class Body(Protocol):
    """A request body."""

    @property
    def content_type(self) -> str:
        """Value of the ``Content-Type`` header."""

    @property
    def content_encoding(self) -> str | None:
        """Value of the ``Content-Encoding`` header: ``gzip`` when the bytes are compressed."""

    @property
    def length(self) -> int:
        """Number of bytes."""

    @property
    def reads_files(self) -> bool:
        """Whether ``chunks`` may block on a file, so that an event loop must not run it itself."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from the start, each time it is called."""


@dataclass(frozen=True, slots=True)
class BytesBody:
    """A body that is in memory.

    :param content: the bytes; a memoryview is not copied.
    """

    content: bytes | memoryview = field(repr=False)
    content_type: str
    content_encoding: str | None = None
    reads_files: bool = False

    @property
    def length(self) -> int:
        """Number of bytes."""
        return len(self.content)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from the start."""
        view = memoryview(self.content)
        for start in range(0, len(view), CHUNK_BYTES):
            yield bytes(view[start : start + CHUNK_BYTES])


def form(fields: Pairs) -> BytesBody:
    """Make a form body, which is what Tinybird reads where one would expect JSON."""
    return BytesBody(urlencode(fields).encode(), FORM)


@dataclass(frozen=True, slots=True)
class FileBody:
    """The raw bytes of a file, read as they are sent.

    :param open_file: opens the file for reading, at its start; called once for each time the body is sent.
    :param length: size of the file in bytes.
    """

    open_file: Callable[[], BinaryIO] = field(repr=False)
    length: int
    content_type: str
    content_encoding: str | None = None
    reads_files: bool = True

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the file.

        :raises InvalidInputError: it is no longer as long as announced. The body then stays incomplete, so that nothing of
            it can be taken.
        """
        sent = 0
        with self.open_file() as file:
            while chunk := file.read(CHUNK_BYTES):
                sent += len(chunk)
                if sent > self.length:
                    break
                yield chunk
        if sent != self.length:
            now = "more" if sent > self.length else f"{sent:,}"
            raise InvalidInputError(
                f"The file changed while it was sent: it had {self.length:,} bytes and now has {now}. Nothing was taken. Send it when "
                "it is complete."
            )


@dataclass(frozen=True, slots=True)
class MultipartBody:
    """One file as ``multipart/form-data``.

    :param field_name: name of the form's field: ``csv`` or ``ndjson``. The format is told by ``format=``, not by this.
    :param file_name: name given to the server.
    :param file: the file.
    """

    field_name: str
    file_name: str
    file: FileBody
    boundary: str = field(default_factory=lambda: uuid.uuid4().hex)
    content_encoding: str | None = None
    reads_files: bool = True

    @property
    def content_type(self) -> str:
        """Value of the ``Content-Type`` header."""
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def length(self) -> int:
        """Number of bytes, the frame around the file included."""
        return len(self._head()) + self.file.length + len(self._tail())

    def chunks(self) -> Iterator[bytes]:
        """Yield the frame and the file."""
        yield self._head()
        yield from self.file.chunks()
        yield self._tail()

    def _head(self) -> bytes:
        # A quote or a line end in the name would end the header early.
        name = self.file_name.replace('"', "%22").replace("\r", "").replace("\n", "")
        return (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{self.field_name}"; filename="{name}"\r\n'
            f"Content-Type: {self.file.content_type}\r\n\r\n"
        ).encode()

    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()
