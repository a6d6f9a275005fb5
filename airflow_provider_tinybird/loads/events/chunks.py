"""The rows of a load, in bodies that can be cut further: each chunk knows where it begins and what came before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from airflow_provider_tinybird.ndjson import Batch

_DIGITS = 24


class Hash(Protocol):
    """A running hash."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take bytes in."""

    def copy(self) -> Hash:
        """Make another that goes on from here."""

    def hexdigest(self) -> str:
        """Tell it so far."""


def digest(body: bytes | memoryview) -> str:
    """Tell what is in a body: 24 hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()[:_DIGITS]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One request body.

    :param body: NDJSON; each line ends in a newline.
    :param rows: how many lines it has.
    :param first_row: 0-based position of its first row in all of the data.
    :param before: hash over all bytes of the data before it; ``None`` where nobody keeps a journal.
    :param after: the same up to its end.
    :param batch_id: what its rows carry in the column for it; empty where they carry none.
    """

    body: bytes | memoryview = field(repr=False)
    rows: int
    first_row: int
    before: Hash | None = field(default=None, repr=False, compare=False)
    after: Hash | None = field(default=None, repr=False, compare=False)
    batch_id: str = ""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)

    @property
    def end(self) -> int:
        """Position of the row after its last one."""
        return self.first_row + self.rows

    def through(self) -> str:
        """Hash over all bytes of the data up to its end: 24 hexadecimal digits."""
        return self.after.hexdigest()[:_DIGITS] if self.after else ""

    def halves(self) -> tuple[Chunk, Chunk]:
        """Cut it at the row boundary that is nearest behind its middle, or else before it. It has two rows or more.

        The place depends on the body alone, so that another attempt cuts alike.
        """
        body = bytes(self.body)
        middle = len(body) // 2
        cut = body.find(b"\n", middle, len(body) - 1) + 1 or body.rfind(b"\n", 0, middle) + 1
        return self._cut_at(cut, body.count(b"\n", 0, cut))

    def split(self, rows: int) -> tuple[Chunk, Chunk]:
        """Cut it after so many of its rows."""
        import numpy as np

        ends = np.flatnonzero(np.frombuffer(self.body, dtype=np.uint8) == ord("\n"))
        return self._cut_at(int(ends[rows - 1]) + 1, rows)

    def _cut_at(self, cut: int, rows: int) -> tuple[Chunk, Chunk]:
        body = memoryview(self.body)
        between = None
        if self.before is not None:
            between = self.before.copy()
            between.update(body[:cut])
        left = Chunk(body[:cut], rows, self.first_row, self.before, between)
        return left, Chunk(body[cut:], self.rows - rows, self.first_row + rows, between, self.after)


class RowReader:
    """Reads batches as chunks of any number of rows.

    :param batches: the data, encoded as it is asked for.
    :param hashing: keep a running hash over all bytes.
    """

    def __init__(self, batches: Iterable[Batch], *, hashing: bool) -> None:
        self._batches = iter(batches)
        self._hash: Hash | None = hashlib.sha256() if hashing else None
        self._left: Chunk | None = None
        self.row = 0
        """Position of the next row."""

    def rest(self) -> Iterator[Chunk]:
        """Yield all that is left, in the batches that it comes in."""
        while (chunk := self._next()) is not None:
            yield chunk

    def take(self, rows: int) -> Chunk | None:
        """Return the next rows as one chunk; ``None`` when there are not so many."""
        parts = list(self.parts(rows))
        if sum(part.rows for part in parts) < rows:
            return None
        if len(parts) == 1:
            return parts[0]
        body = b"".join(part.body for part in parts)
        return Chunk(body, rows, parts[0].first_row, parts[0].before, parts[-1].after)

    def parts(self, rows: int) -> Iterator[Chunk]:
        """Yield chunks with so many rows together, or fewer at the end of the data."""
        while rows and (chunk := self._next()) is not None:
            if chunk.rows > rows:
                chunk, self._left = chunk.split(rows)
                self.row = chunk.end
            rows -= chunk.rows
            yield chunk

    def _next(self) -> Chunk | None:
        if self._left is not None:
            chunk, self._left = self._left, None
        else:
            batch = next(self._batches, None)
            if batch is None:
                return None
            before = after = None
            if self._hash:
                before, after = self._hash, self._hash.copy()
                after.update(batch.body)
                self._hash = after
            chunk = Chunk(batch.body, batch.rows, batch.first_row, before, after)
        self.row = chunk.end
        return chunk
