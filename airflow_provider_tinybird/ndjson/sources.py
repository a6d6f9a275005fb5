"""Any accepted data -> a lazy stream of sources, each of which encodes a slice of its rows when asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from airflow_provider_tinybird.ndjson.column_checks import ROWS
from airflow_provider_tinybird.ndjson.durations import Durations
from airflow_provider_tinybird.ndjson.errors import UnsupportedDataError
from airflow_provider_tinybird.ndjson.frames import PandasSource, PolarsSource
from airflow_provider_tinybird.ndjson.gate import Gate
from airflow_provider_tinybird.ndjson.queries import USED_UP, frames_of, is_a, tables_of
from airflow_provider_tinybird.ndjson.records import RecordsSource
from airflow_provider_tinybird.ndjson.rows import Encoded
from airflow_provider_tinybird.ndjson.tables import TableSource
from airflow_provider_tinybird.ndjson.text import file_sources, text_sources
from airflow_provider_tinybird.ndjson.textfiles import is_open_file, is_path

Pace = Callable[[], int]


class Source(Protocol):
    """Rows that are at hand."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    def encode(self, start: int, count: int, first_row: int) -> Encoded:
        """Lines of the rows from ``start`` on: up to ``count`` of them, at least one.

        :param start: first row, counted from this source's beginning.
        :param count: how many rows are wanted, at least 1.
        :param first_row: position of that first row in all of the data, for errors.
        """

    def check(self, first_row: int) -> int:
        """Look for values that cannot be sent, and say how many bytes the longest line has at the most.

        :param first_row: position of the first row in all of the data, for errors.
        """

    def columns(self, start: int, count: int, keys: Collection[str]) -> Iterable[tuple[str, Any]]:
        """Some columns of some rows, as Arrow arrays or lists of Python values; none where that costs as much as encoding.

        :param start: first row, counted from this source's beginning.
        :param count: how many rows.
        :param keys: names of the columns; those that there are not are passed over.
        """

    def arrow(self, start: int, count: int, first_row: int = 0) -> Any | None:
        """Up to ``count`` rows as an Arrow table; ``None`` where no table holds them exactly.

        :param start: first row, counted from this source's beginning.
        :param count: how many rows are wanted, at least 1.
        :param first_row: position of that first row in all of the data, for errors.
        """

    def durations(self) -> Mapping[str, str]:
        """The units of the columns that hold durations."""


class GatedSource:
    """Rows that are looked at before they are encoded.

    :param source: has them.
    :param gate: looks at them.
    """

    def __init__(self, source: Source, gate: Gate) -> None:
        self._source = source
        self._gate = gate
        self._seen = 0
        self.rows = source.rows

    def encode(self, start: int, count: int, first_row: int) -> Encoded:
        """See :class:`Source`."""
        self._look(start, count, first_row)
        return self._source.encode(start, count, first_row)

    def check(self, first_row: int) -> int:
        """See :class:`Source`."""
        self.look(first_row)
        return self._source.check(first_row)

    def columns(self, start: int, count: int, keys: Collection[str]) -> Iterable[tuple[str, Any]]:
        """See :class:`Source`."""
        return self._source.columns(start, count, keys)

    def arrow(self, start: int, count: int, first_row: int = 0) -> Any | None:
        """See :class:`Source`."""
        self._look(start, count, first_row)
        return self._source.arrow(start, count, first_row)

    def durations(self) -> Mapping[str, str]:
        """See :class:`Source`."""
        return self._source.durations()

    def look(self, first_row: int) -> None:
        """Look at all rows.

        :param first_row: position of the first row in all of the data, for errors.
        :raises EncodeError: a value would be changed.
        """
        for start in range(0, self.rows, ROWS):
            self._look(start, ROWS, first_row + start)

    def _look(self, start: int, count: int, first_row: int) -> None:
        begin, end = max(start, self._seen), min(start + count, self.rows)
        if begin < end:  # a slice may be cut short where it is encoded, and asked for once more
            end = min(
                max(end, begin + ROWS), self.rows
            )  # many rows at once: most of the cost of a look is that of beginning it
            self._gate.look(self._source.columns(begin, end - begin, self._gate.keys), first_row + begin - start)
            self._seen = end


def sources(data: object, pace: Pace, gate: Gate | None = None) -> Iterator[Source]:
    """The data as sources, in order, each made when the one before it was used up.

    All rows, whatever they come in, pass here.

    :param data: what the user gave.
    :param pace: how many records of an iterator to take at once; asked each time.
    :param gate: looks at all rows before they are encoded.
    :raises UnsupportedDataError: the data, or an item of it, is of a kind that has no rows.
    """
    if callable(data) and not _has_rows(data):
        data = _called(data)
    found = _of_one_unit(_walk(data, pace))
    return found if gate is None or not gate.keys else (GatedSource(one, gate) for one in found)


def _of_one_unit(found: Iterator[Source]) -> Iterator[Source]:
    durations, position = Durations(), 0
    for source in found:
        durations.note(source.durations(), position)
        position += source.rows
        yield source
        del source  # or a frame stays in memory until the next one is there


def _walk(data: object, pace: Pace) -> Iterator[Source]:
    if isinstance(data, Mapping):
        yield RecordsSource([data])
    elif isinstance(data, (str, bytes, bytearray, memoryview)):
        yield from text_sources(data)
    elif (
        whole := _frame(data)
    ) is not None:  # first of all that is known by its attributes: those of a frame can be its columns
        yield from whole
    elif is_path(data) or is_open_file(data):
        yield from file_sources(data)
    elif isinstance(data, Iterable) and not _is_opaque(data):
        yield from _items(data, pace)
    else:
        raise UnsupportedDataError(data, _hint(data))


def _items(data: Iterable[object], pace: Pace) -> Iterator[Source]:
    """Runs of records as they come, anything else on its own. No more is taken from the iterator than is needed now."""
    if inspect.isgenerator(data) and inspect.getgeneratorstate(data) == inspect.GEN_CLOSED:
        raise UnsupportedDataError(data, USED_UP)
    items = iter(data)
    for item in items:
        others = [item]
        del item  # or a frame stays in memory until the iterator has made the next one
        if isinstance(others[0], Mapping):
            records, others = _run(others[0], items, pace() - 1)
            yield RecordsSource(records)
            del records
        while others:
            yield from _walk(others.pop(), pace)


def _run(
    first: Mapping[str, object], items: Iterator[object], most: int
) -> tuple[list[Mapping[str, object]], list[object]]:
    """The record and those that follow it; and what came then, if that was no record."""
    records = [first]
    for item in islice(items, most):
        if type(item) is not dict and not isinstance(item, Mapping):  # the first test is the faster
            return records, [item]
        records.append(item)
    return records, []


def _frame(data: object) -> Iterable[Source] | None:
    """The sources of a table-like object; None when it is not one."""
    if is_a(data, "pandas", "DataFrame"):
        return [PandasSource(data)]
    if is_a(data, "polars", "DataFrame"):
        return [PolarsSource(data)]
    if is_a(data, "polars", "LazyFrame"):
        return map(PolarsSource, frames_of(data))
    if _is_opaque(data):
        raise UnsupportedDataError(data, _hint(data))
    tables = tables_of(data)
    return None if tables is None else map(TableSource, tables)


def is_in_memory(data: object) -> bool:
    """Whether all rows are at hand, and can be gone through more than once.

    :param data: what the user gave.
    """
    if isinstance(data, (Mapping, str, bytes, bytearray, memoryview)):
        return True
    if isinstance(data, (list, tuple)):
        return all(type(item) is dict or is_in_memory(item) for item in data)
    return (
        is_a(data, "pandas", "DataFrame")
        or is_a(data, "polars", "DataFrame")
        or is_a(data, "pyarrow", "Table", "RecordBatch")
    )


def _is_opaque(data: object) -> bool:
    """Iterable, or an Arrow stream, but of values and not of rows."""
    return (
        is_a(data, "pandas", "Series", "Index")
        or is_a(data, "polars", "Series")
        or is_a(data, "pyarrow", "Array", "ChunkedArray", "Scalar")
        or is_a(data, "numpy", "ndarray", "generic")
        or isinstance(data, (set, frozenset))
    )


def _hint(data: object) -> str:
    if is_a(data, "pandas", "Series") or is_a(data, "polars", "Series"):
        return "One column alone has no name for its key: call to_frame() first."
    if is_a(data, "pyarrow", "Array", "ChunkedArray") or is_a(data, "numpy", "ndarray"):
        return "One column alone has no name for its key: put it into a DataFrame or Table first."
    if inspect.iscoroutine(data):
        data.close()  # or the interpreter warns that nobody awaited it
    if inspect.isawaitable(data) or inspect.isasyncgen(data):
        return "An async function gives no data until it is awaited: use a plain function or generator."
    if data is None:
        return "A function that makes the data has to return it."
    return ""


def _has_rows(data: object) -> bool:
    return isinstance(data, Mapping) or hasattr(data, "__arrow_c_stream__") or isinstance(data, Iterable)


def _called(data: Callable[..., object]) -> object:
    try:
        inspect.signature(data).bind()
    except TypeError as error:
        raise UnsupportedDataError(data, f"It is called without arguments, but: {error}.") from None
    except ValueError:  # a builtin without a signature
        pass
    return data()
