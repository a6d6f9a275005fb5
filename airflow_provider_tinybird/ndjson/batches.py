"""Sources -> bodies near the byte limit, with each row encoded once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_tinybird.ndjson.errors import EncodeError
from airflow_provider_tinybird.ndjson.rows import Encoded
from airflow_provider_tinybird.ndjson.sources import sources

_FIRST_SLICE = 256
_GROWTH = 16  # a slice is at most so much longer than the one before: one short row says little about the next
_SLICE_BYTES = 16_000_000  # larger bodies are put together from several slices
_RECORD_BYTES = 4_000_000  # taken from an iterator at once, as the records stay in memory until they are encoded
_FULL = 0.9  # from here on a body is sent as it is, rather than topped up with a slice that costs a copy of it
_MARGIN = 0.97  # rows vary: aim a little low, so that few slices have to be cut


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


def batches(data: object, *, max_bytes: int = 10_000_000) -> Iterator[Batch]:
    """NDJSON bodies of any data, made as they are asked for.

    Lossless, or an error: see the table of types in the documentation. Rows of several frames or generators share bodies.
    An iterator is read only as far as the next body needs; a bad value is found when its slice is encoded, so that bodies
    before it may have been handed out already.

    :param data: pandas or polars DataFrame, pyarrow Table, RecordBatch or RecordBatchReader, anything with
        ``__arrow_c_stream__``, a list or generator of records, one mapping, NDJSON text or bytes, a generator of any of
        these, or a function without arguments that returns or yields any of them.
    :param max_bytes: the most bytes that a body may have; at least 1.
    :raises EncodeError: a value cannot be sent without loss, or one row alone is longer than ``max_bytes``.
    :raises UnsupportedDataError: the data is of a kind that has no rows.
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
    packer = _Packer(max_bytes)
    pace = _Pace(max_bytes)
    for source in sources(data, lambda: pace.rows(packer.size, _RECORD_BYTES)):
        start = 0
        while start < source.rows:
            count = min(pace.rows(packer.size), source.rows - start)
            encoded = source.encode(start, count, packer.position)
            pace.learn(encoded)
            start += encoded.rows
            yield from packer.add(encoded)
    yield from packer.rest()


class _Pace:
    """How many rows to encode next, by the size of the last ones."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._last_rows = 0
        self._row_bytes = 1.0

    def rows(self, packed: int, most: int = _SLICE_BYTES) -> int:
        if not self._last_rows:
            return _FIRST_SLICE
        room = min((self._max_bytes - packed) * _MARGIN, most)
        return max(1, min(int(room / self._row_bytes), self._last_rows * _GROWTH))

    def learn(self, encoded: Encoded) -> None:
        self._last_rows = max(encoded.rows, _FIRST_SLICE // _GROWTH)
        self._row_bytes = len(encoded.body) / encoded.rows


class _Packer:
    """Collects finished lines until a body is full."""

    def __init__(self, max_bytes: int) -> None:
        self.size = 0
        self.position = 0
        self._max_bytes = max_bytes
        self._pieces: list[memoryview] = []
        self._rows = 0

    def add(self, encoded: Encoded) -> Iterator[Batch]:
        row, begin = 0, 0
        while row < encoded.rows:
            fits = bisect_right(encoded.ends, begin + self._max_bytes - self.size)
            if fits > row:
                end = encoded.ends[fits - 1]
                self._take(encoded.body[begin:end], fits - row)
                row, begin = fits, end
            if row < encoded.rows:
                if not self.size:
                    raise self._too_long(encoded.ends[row] - begin)
                yield self._flush()
        if self.size >= self._max_bytes * _FULL:
            yield self._flush()

    def rest(self) -> Iterator[Batch]:
        if self.size:
            yield self._flush()

    def _take(self, piece: memoryview, rows: int) -> None:
        self._pieces.append(piece)
        self.size += len(piece)
        self._rows += rows
        self.position += rows

    def _flush(self) -> Batch:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        batch = Batch(body, self._rows, self.position - self._rows)
        self._pieces, self.size, self._rows = [], 0, 0
        return batch

    def _too_long(self, size: int) -> EncodeError:
        return EncodeError(
            f"the row alone takes {size} bytes, and a body may have {self._max_bytes}; shorten it, split it, "
            "or send the data as a file",
            row=self.position,
        )
