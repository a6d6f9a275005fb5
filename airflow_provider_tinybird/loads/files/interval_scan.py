"""What rows say of themselves on their way into a file, or in one: whether they are in an interval, and which partitions they belong to."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.files.local_or_remote import FileToSend
from airflow_provider_tinybird.loads.files.arrow_schema import TargetColumn
from airflow_provider_tinybird.loads.files.slices import Slice
from airflow_provider_tinybird.timespans.intervals import Interval
from airflow_provider_tinybird.timespans.partitions import KeyValues

_AT_ONCE = 50_000  # rows of a file that are looked at together


@dataclass(slots=True)
class Seen:
    """Counts of rows.

    :param interval: the interval.
    :param keys: takes in the values of the partition key; ``None`` where there is none.
    :param columns: of the data source, which say where in a record a value is.
    :param inside: rows in the interval.
    :param outside: rows that are not.
    :param unknown: rows whose value cannot be read.
    :param example: a value that is outside, or cannot be read.
    """

    interval: Interval
    keys: KeyValues | None
    columns: Sequence[TargetColumn]
    inside: int = 0
    outside: int = 0
    unknown: int = 0
    example: object = None

    @property
    def rows(self) -> int:
        """All of them."""
        return self.inside + self.outside + self.unknown

    def pass_on(self, slices: Iterable[Slice]) -> Iterator[Slice]:
        """Look at slices on their way into files."""
        for one in slices:
            if one.format is FileFormat.PARQUET:
                self._see_table(one.table)
            else:
                self._see_lines(bytes(one.lines or b"").splitlines())
            yield one

    def look_into(self, file: FileToSend) -> None:
        """Look at all rows of a file."""
        with file.open_file() as opened:
            if file.format is FileFormat.PARQUET:
                self._see_parquet(opened)
                return
            plain = cast(BinaryIO, gzip.GzipFile(fileobj=opened)) if file.gzipped else opened
            if file.format is FileFormat.NDJSON:
                self._see_lines(plain)
            else:
                self._see_csv(io.TextIOWrapper(plain, encoding="utf-8-sig", newline=""))

    def _wanted(self) -> list[str]:
        names = [self.interval.column.name, *(self.keys.key.columns if self.keys else ())]
        known = {column.name: column.key for column in self.columns}
        keys = [known.get(name) for name in names]
        if None in keys:
            name = names[keys.index(None)]
            raise InvalidInputError(
                f"Column '{name}' of the data source comes from deep within a record, so that it cannot be told here whether rows are in "
                "the interval: give a url."
            )
        return [str(key) for key in keys]

    def _see_parquet(self, opened: BinaryIO) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = pq.ParquetFile(opened)
        present = [name for name in dict.fromkeys(self._wanted()) if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=present, batch_size=_AT_ONCE):
            self._see_table(pa.Table.from_batches([batch]))

    def _see_table(self, table: Any) -> None:
        wanted = self._wanted()
        names = list(dict.fromkeys(name for name in wanted if name in table.schema.names))
        if not names:
            self._count((None,) * len(wanted), table.num_rows)
            return
        grouped = table.select(names).group_by(names).aggregate([([], "count_all")])
        counts = grouped.column("count_all").to_pylist()
        values = {name: grouped.column(name).to_pylist() for name in names}
        missing = [None] * len(counts)
        for *row, count in zip(*(values.get(name, missing) for name in wanted), counts, strict=True):
            self._count(tuple(row), count)

    def _see_lines(self, lines: Iterable[bytes]) -> None:
        wanted = self._wanted()
        found: Counter[tuple[Any, ...]] = Counter()
        for line in lines:
            if line.isspace() or not line:
                continue
            found[_values(line, wanted)] += 1
            if len(found) >= _AT_ONCE:
                self._count_all(found)
        self._count_all(found)

    def _see_csv(self, text: io.TextIOBase) -> None:
        first = text.readline()
        delimiter = max(",;\t|", key=first.count)
        names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        known = [column.name for column in self.columns]
        has_header = self.interval.column.name in names
        order = names if has_header else known
        columns = [self.interval.column.name, *(self.keys.key.columns if self.keys else ())]
        places = [order.index(name) if name in order else None for name in columns]
        lines = text if has_header else _first_and(first, text)
        found: Counter[tuple[Any, ...]] = Counter()
        for row in csv.reader(lines, delimiter=delimiter):
            if row:
                found[tuple(row[place] if place is not None and place < len(row) else None for place in places)] += 1
            if len(found) >= _AT_ONCE:
                self._count_all(found)
        self._count_all(found)

    def _count_all(self, found: Counter[tuple[Any, ...]]) -> None:
        for values, count in found.items():
            self._count(values, count)
        found.clear()

    def _count(self, values: tuple[Any, ...], count: int) -> None:
        held = self.interval.holds(values[0])
        if held:
            self.inside += count
            if self.keys is not None:
                *plain, moment = (*values[1:], None) if self.keys.key.moment is None else values[1:]
                self.keys.add(plain, moment)
            return
        self.example = values[0] if self.example is None else self.example
        if held is None:
            self.unknown += count
        else:
            self.outside += count


def _values(line: bytes, wanted: Sequence[str]) -> tuple[Any, ...]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, Mapping):
        return (None,) * len(wanted)
    return tuple(_hashable(record.get(key)) for key in wanted)


def _hashable(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _first_and(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest
