"""Arrow tables and record batches, encoded slice by slice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from airflow_provider_tinybird.ndjson import durations
from airflow_provider_tinybird.ndjson.column_checks import ROWS, check_array
from airflow_provider_tinybird.ndjson.columns import encode_array
from airflow_provider_tinybird.ndjson.errors import BadValueError, EncodeError
from airflow_provider_tinybird.ndjson.rows import Encoded, encode_rows
from airflow_provider_tinybird.ndjson.values import SURROGATE, key_text

# A slice is sized by what its rows were on average; where rows suddenly grow, this bounds what is encoded at once.
MAX_SLICE_BYTES = 8_000_000


class TableSource:
    """A pyarrow Table or RecordBatch.

    :param table: the table.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self.rows: int = table.num_rows

    def encode(self, start: int, count: int, first_row: int) -> Encoded:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return encode_table(bounded(self._table, start, count), first_row)

    def check(self, first_row: int) -> int:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return check_table(self._table, first_row)

    def columns(self, start: int, count: int, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        part = self._table.slice(start, count)
        for name, column in zip(part.schema.names, part.columns, strict=True):
            if name in keys:
                yield name, one_chunk(column)

    def durations(self) -> dict[str, str]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return durations.in_fields(self._table.schema)

    def arrow(self, start: int, count: int, first_row: int = 0) -> Any | None:  # noqa: ARG002
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return bounded(self._table, start, count)


def bounded(table: Any, start: int, count: int) -> Any:
    """A slice of at most ``count`` rows that is not much larger than :data:`MAX_SLICE_BYTES`.

    :param table: pyarrow Table or RecordBatch.
    :param start: first row.
    :param count: how many rows are wanted.
    """
    part = table.slice(start, count)
    size = size_of(part)
    if size > MAX_SLICE_BYTES and part.num_rows > 1:
        part = part.slice(0, max(1, part.num_rows * MAX_SLICE_BYTES // size))
    return part


def size_of(table: Any) -> int:
    """Bytes of a table or record batch, those outside of a slice not counted.

    Of views, as polars and DuckDB may hand them over, a copy is measured: pyarrow below 24 does not know their size, and later ones
    count all that a slice could show.
    """
    import pyarrow as pa

    return sum(_size_of_column(column, pa) for column in table.columns)


def _size_of_column(column: Any, pa: Any) -> int:
    if str(column.type) in {"string_view", "binary_view"}:
        return int(column.cast(pa.large_binary()).nbytes)
    try:
        return int(column.nbytes)
    except pa.ArrowTypeError:  # views inside of lists or structs: too much rather than too little
        return int(column.get_total_buffer_size())


def encode_table(table: Any, first_row: int) -> Encoded:
    """The lines of a whole (small) table.

    :param table: pyarrow Table or RecordBatch with at least one row.
    :param first_row: position of its first row in all of the data, for errors.
    :raises EncodeError: two columns have one name, or a value cannot be sent.
    """
    names = list(table.schema.names)
    check_names(names)
    columns = []
    for name, column in zip(names, table.columns, strict=True):
        try:
            columns.append(encode_array(one_chunk(column)))
        except BadValueError as error:
            raise error.located(name, first_row) from None
    return encode_rows(names, columns, table.num_rows)


def check_table(table: Any, first_row: int) -> int:
    """How long the longest line of a table is at the most.

    :param table: pyarrow Table or RecordBatch.
    :param first_row: position of its first row in all of the data, for errors.
    :raises EncodeError: two columns have one name, or a value cannot be sent.
    """
    names = list(table.schema.names)
    check_names(names)
    longest = 0
    for start in range(0, table.num_rows, ROWS):
        part = table.slice(start, ROWS)
        lengths = []
        for name, column in zip(names, part.columns, strict=True):
            try:
                lengths.append(check_array(one_chunk(column)))
            except BadValueError as error:
                raise error.located(name, first_row + start) from None
        longest = max(longest, line_length(names, lengths))
    return longest


def line_length(names: Sequence[str], lengths: Sequence[int]) -> int:
    """How long a line is at the most.

    :param names: the keys.
    :param lengths: for each value the most bytes that its text may have.
    """
    return sum(lengths) + sum(len(key_text(name).encode()) + 2 for name in names) + len("{}\n")


def one_chunk(column: Any) -> Any:
    """A column as one Array; copied only where the slice lies across chunks.

    :param column: pyarrow Array or ChunkedArray.
    """
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            return column.chunk(0)
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # older versions keep a ChunkedArray for extension types
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return column


def check_names(names: Sequence[object]) -> None:
    """Refuse names that a JSON object cannot have.

    :param names: column names.
    :raises EncodeError: a name is not text, or there twice.
    """
    seen: set[object] = set()
    for name in names:
        if not isinstance(name, str):
            raise EncodeError(
                f"the column name {name!r} is {type(name).__name__}, not text; rename it, for instance with "
                "df.columns = df.columns.map(str)"
            )
        if name in seen:
            raise EncodeError("two columns have this name, and JSON would keep one of them; rename one", column=name)
        seen.add(name)
        try:
            name.encode()
        except UnicodeEncodeError:
            raise EncodeError(f"the column name {name!a}: {SURROGATE}") from None
