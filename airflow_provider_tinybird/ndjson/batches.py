"""Sources -> bodies near the byte limit, with each row encoded once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_provider_tinybird.ndjson.errors import EncodeError
from airflow_provider_tinybird.ndjson.gate import Gate
from airflow_provider_tinybird.ndjson.rows import Encoded
from airflow_provider_tinybird.ndjson.sources import sources

DEFAULT_MAX_BYTES = 10_000_000
"""What Tinybird takes in one request of events on every plan."""

_FIRST_SLICE = 256
_GROWTH = 16  # a slice is at most so much longer than the one before: one short row says little about the next
_SLICE_BYTES = 2_000_000  # encoding takes a few times this much memory, however large the bodies and the data are
_SHORTEST_ROW = len(b"{}\n")


@dataclass(frozen=True, slots=True)
class Batch:
    """One request body.

    :param body: NDJSON; each line ends in a newline; no more than ``max_bytes``.
    :param rows: how many lines it has.
    :param first_row: 0-based position of its first row in all of the data.
    """

    body: bytes | memoryview
    rows: int
    first_row: int


def batches(
    data: object, *, max_bytes: int = DEFAULT_MAX_BYTES, row_overhead: int = 0, gate: Gate | None = None
) -> Iterator[Batch]:
    """NDJSON bodies of any data, made as they are asked for, each row encoded once.

    Lossless, or an error: see the table of types in the documentation. Rows of several frames or generators share bodies.
    An iterator is read only as far as the next body needs; a bad value is found when its slice is encoded, so that bodies
    before it may have been handed out already: see :func:`~airflow_provider_tinybird.ndjson.check`.

    A body ends where the next row does not fit. So the cuts depend on the lines alone: the same rows make the same
    bodies as one table, as many frames, or one by one from an iterator.

    :param data: pandas or polars DataFrame, polars LazyFrame, pyarrow Table, RecordBatch, RecordBatchReader, Dataset or
        Scanner, DuckDB relation, anything with ``__arrow_c_stream__``, a list or generator of records, one mapping, NDJSON
        text or bytes, the ``Path`` of a file of NDJSON (gzipped or not) or the file opened, a generator of any of these,
        or a function without arguments that returns or yields any of them.
    :param max_bytes: the most bytes that a body may have; at least 1.
    :param row_overhead: bytes that each row is to grow by before it is sent. They count toward ``max_bytes``, and are not
        in the bodies.
    :param gate: looks at all values; without one, what a column does to them is not known.
    :raises EncodeError: a value cannot be sent without loss, the gate refuses one, or one row alone is longer than ``max_bytes``.
    :raises UnsupportedDataError: the data is of a kind that has no rows.
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
    if row_overhead < 0:
        raise ValueError(f"row_overhead must be at least 0, not {row_overhead}")
    packer = _Packer(max_bytes, row_overhead)
    pace = _Pace(min(_SLICE_BYTES, max_bytes))
    for source in sources(data, pace.rows, gate):
        start = 0
        while start < source.rows:
            encoded = source.encode(start, min(pace.rows(), source.rows - start), packer.position)
            pace.learn(encoded)
            start += encoded.rows
            yield from packer.add(encoded)
            del encoded
        del source  # what it held is not needed while the next is made
    yield from packer.rest()


class _Pace:
    """How many rows to encode next, by the size of the last ones."""

    def __init__(self, slice_bytes: int) -> None:
        self._slice_bytes = slice_bytes
        self._last_rows = 0
        self._row_bytes = 1.0

    def rows(self) -> int:
        if not self._last_rows:
            return _FIRST_SLICE
        return max(1, min(int(self._slice_bytes / self._row_bytes), self._last_rows * _GROWTH))

    def learn(self, encoded: Encoded) -> None:
        self._last_rows = max(encoded.rows, _FIRST_SLICE // _GROWTH)
        self._row_bytes = len(encoded.body) / encoded.rows


class _Packer:
    """Collects finished lines until the next one does not fit."""

    def __init__(self, max_bytes: int, row_overhead: int) -> None:
        self.position = 0
        self._max_bytes = max_bytes
        self._row_overhead = row_overhead
        self._size = 0  # with the overhead
        self._body = _Body(max_bytes)
        self._rows = 0

    def add(self, encoded: Encoded) -> Iterator[Batch]:
        row, begin = 0, 0
        while row < encoded.rows:
            fits = self._fitting(encoded.ends, row, begin)
            if fits > row:
                end = encoded.ends[fits - 1]
                self._take(encoded.body[begin:end], fits - row)
                row, begin = fits, end
            elif not self._rows:
                raise self._too_long(encoded.ends[row] - begin)
            if row < encoded.rows or self._is_full():
                yield self._flush()

    def rest(self) -> Iterator[Batch]:
        if self._rows:
            yield self._flush()

    def _fitting(self, ends: Sequence[int], row: int, begin: int) -> int:
        """The row behind the last one that fits into the body."""
        room = begin + self._max_bytes - self._size
        if not self._row_overhead:
            return bisect_right(ends, room)
        numbers = range(row, len(ends))
        return row + bisect_right(
            numbers, room, key=lambda number: ends[number] + (number + 1 - row) * self._row_overhead
        )

    def _is_full(self) -> bool:
        return self._size + _SHORTEST_ROW + self._row_overhead > self._max_bytes

    def _take(self, piece: memoryview, rows: int) -> None:
        self._body.append(piece)
        self._size += len(piece) + rows * self._row_overhead
        self._rows += rows
        self.position += rows

    def _flush(self) -> Batch:
        batch = Batch(self._body.so_far(), self._rows, self.position - self._rows)
        self._body, self._size, self._rows = _Body(self._max_bytes), 0, 0
        return batch

    def _too_long(self, size: int) -> EncodeError:
        more = f" and {self._row_overhead} more when it is sent" if self._row_overhead else ""
        return EncodeError(
            f"the row alone takes {size} bytes{more}, and a body may have {self._max_bytes}; shorten it, split it, "
            "or send the data as a file",
            row=self.position,
        )


class _Body:
    """Bytes that are written one behind the other. Chunks joined at the end would be in memory twice."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._room = memoryview(b"")
        self._size = 0

    def append(self, piece: memoryview) -> None:
        end = self._size + len(piece)
        if end > len(self._room):
            self._grow(end)
        self._room[self._size : end] = piece
        self._size = end

    def so_far(self) -> memoryview:
        return self._room[: self._size].toreadonly()

    def _grow(self, size: int) -> None:
        """At first all that is allowed, unless that is unusually much: what is not written to takes no memory."""
        room = memoryview(bytearray(max(size, min(self._max_bytes, max(DEFAULT_MAX_BYTES, 2 * size)))))
        room[: self._size] = self._room[: self._size]
        self._room = room
