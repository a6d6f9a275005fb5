"""Any accepted data -> slices of rows that are ready to be written, each as Arrow table or as lines of NDJSON."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.loads.files.arrow_schema import TargetColumn, fitting
from airflow_provider_tinybird.ndjson.errors import BadValueError
from airflow_provider_tinybird.ndjson.gate import Gate
from airflow_provider_tinybird.ndjson.rows import Encoded
from airflow_provider_tinybird.ndjson.sources import Source, sources

_FIRST_ROWS = 256
_GROWTH = 16  # a slice is at most so much longer than the one before: one short row says little about the next
_SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that are ready to be written.

    :param format: Parquet with a table, or NDJSON with lines.
    :param rows: how many.
    :param size: bytes before compression.
    :param table: Arrow table with the types of the data source.
    :param lines: NDJSON.
    :param ends: where each line ends.
    """

    format: FileFormat
    rows: int
    size: int
    table: Any = None
    lines: memoryview | None = None
    ends: Sequence[int] = ()


class Rows:
    """Rows of any accepted data, which are read once and only as far as they are needed.

    :param data: as :func:`airflow_provider_tinybird.ndjson.batches` takes it.
    :param max_bytes: bytes of a slice before compression.
    :param gate: looks at all values on their way.
    """

    def __init__(self, data: object, *, max_bytes: int, gate: Gate | None = None) -> None:
        self._max_bytes = max_bytes
        self._count = _FIRST_ROWS
        self._head: list[Source] = []
        self._rest: Iterator[Source] = sources(data, lambda: self._count, gate)

    def size_up_to(self, most: int) -> int:
        """Estimate how many bytes of NDJSON all rows are, reading no further than it takes to know that they are more than ``most``.

        :raises EncodeError: a value cannot be sent.
        """
        size = position = 0
        while size <= most and (source := next(self._rest, None)) is not None:
            self._head.append(source)
            if source.rows:
                encoded = source.encode(0, min(source.rows, _SAMPLE), position)
                self._learn(encoded.rows, len(encoded.body))
                size += len(encoded.body) * source.rows // encoded.rows
                position += source.rows
        return size

    def slices(self, columns: Sequence[TargetColumn] = ()) -> Iterator[Slice]:
        """Slices of at most ``max_bytes``, except where one row alone is larger.

        From the first rows on that do not fit the data source exactly, everything goes as NDJSON.

        :param columns: of the data source; without any all goes as NDJSON.
        :raises EncodeError: a value cannot be sent.
        """
        position = 0
        while (source := self._next_source()) is not None:
            start = 0
            while start < source.rows:
                wanted = min(self._count, source.rows - start)
                one = _typed(source, start, wanted, position, columns) if columns else None
                if one is None:
                    columns = ()
                    one = _lines(source.encode(start, wanted, position))
                self._learn(one.rows, one.size)
                start += one.rows
                position += one.rows
                yield from _cut(one, self._max_bytes)

    def _next_source(self) -> Source | None:
        return self._head.pop(0) if self._head else next(self._rest, None)

    def _learn(self, rows: int, size: int) -> None:
        fitting_rows = self._max_bytes * rows // max(size, 1)
        self._count = max(1, min(fitting_rows, max(rows, _FIRST_ROWS) * _GROWTH))


def text_of(rows: Rows) -> list[bytes]:
    """All rows as NDJSON, for few of them."""
    return [bytes(one.lines or b"") for one in rows.slices()]


def _typed(source: Source, start: int, count: int, first_row: int, columns: Sequence[TargetColumn]) -> Slice | None:
    try:
        table = source.arrow(start, count, first_row)
    except BadValueError:
        return None  # the other way names row and column
    table = None if table is None else fitting(table, columns)
    return None if table is None else Slice(FileFormat.PARQUET, table.num_rows, table.nbytes, table=table)


def _lines(encoded: Encoded) -> Slice:
    return Slice(FileFormat.NDJSON, encoded.rows, len(encoded.body), lines=encoded.body, ends=encoded.ends)


def _cut(one: Slice, max_bytes: int) -> Iterator[Slice]:
    """Rows were longer than those before them: the slice in parts."""
    if one.size <= max_bytes or one.rows == 1:
        yield one
    elif one.format is FileFormat.NDJSON:
        yield from _cut_lines(one, max_bytes)
    else:
        rows = max(1, one.rows * max_bytes // one.size // 2)
        for start in range(0, one.rows, rows):
            table = one.table.slice(start, rows)
            yield Slice(FileFormat.PARQUET, table.num_rows, table.nbytes, table=table)


def _cut_lines(one: Slice, max_bytes: int) -> Iterator[Slice]:
    row, begin = 0, 0
    lines = one.lines or memoryview(b"")
    while row < one.rows:
        end_row = max(bisect_right(one.ends, begin + max_bytes), row + 1)
        end = one.ends[end_row - 1]
        yield Slice(FileFormat.NDJSON, end_row - row, end - begin, lines=lines[begin:end])
        row, begin = end_row, end
