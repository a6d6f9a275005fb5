"""pandas and polars DataFrames, encoded slice by slice. Neither library is imported here: a frame brings its own."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airflow_provider_tinybird.ndjson import durations
from airflow_provider_tinybird.ndjson.column_checks import ROWS, check_array
from airflow_provider_tinybird.ndjson.columns import encode_array
from airflow_provider_tinybird.ndjson.errors import BadValueError, EncodeError
from airflow_provider_tinybird.ndjson.objects import check_objects, encode_objects, table_of
from airflow_provider_tinybird.ndjson.rows import Encoded, JsonColumn, encode_rows, first_surrogate
from airflow_provider_tinybird.ndjson.tables import (
    MAX_SLICE_BYTES,
    bounded,
    check_names,
    check_table,
    encode_table,
    line_length,
    one_chunk,
)
from airflow_provider_tinybird.ndjson.values import SURROGATE


class PolarsSource:
    """A polars DataFrame.

    :param frame: the frame.
    :raises EncodeError: a column has a type that polars cannot hand to Arrow.
    """

    def __init__(self, frame: Any) -> None:
        types = {name: str(dtype) for name, dtype in frame.schema.items()}
        for name, kind in types.items():
            if kind == "Object":  # to_arrow() would send pointers
                raise EncodeError("the polars type Object has no JSON form; cast it to text first", column=name)
        # Arrow has no integers of 128 bits. As texts they keep their digits, and ClickHouse reads those.
        self._huge = [name for name, kind in types.items() if kind in {"Int128", "UInt128"}]
        self._has_lists = any("List(" in kind or "Array(" in kind for kind in types.values())
        self._frame = frame
        self.rows: int = frame.height

    def encode(self, start: int, count: int, first_row: int) -> Encoded:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        table = self._table(start, count)
        return encode_table(bounded(table, 0, table.num_rows), first_row)

    def check(self, first_row: int) -> int:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return max(
            (check_table(self._table(start, ROWS), first_row + start) for start in range(0, self.rows, ROWS)), default=0
        )

    def _part(self, start: int, count: int, names: Sequence[str] | None = None) -> Any:
        """Some of the rows. A slice of a list column still holds the items of all rows, and to_arrow() would convert all for each slice."""
        frame = self._frame if names is None else self._frame.select(names)
        if not self._has_lists:
            return frame.slice(start, count)
        import numpy as np

        return frame[np.arange(start, min(start + count, self.rows))]  # a range would be a slice again

    def _table(self, start: int, count: int, names: Sequence[str] | None = None) -> Any:
        import pyarrow as pa

        part = self._part(start, count, names)
        for name in self._huge:
            if name not in part.columns:
                continue
            part = part.with_columns(part.get_column(name).cast(str))
        try:
            return part.to_arrow()
        except pa.ArrowInvalid as error:
            raise EncodeError(
                f"polars cannot hand the frame to Arrow ({error}); cast the column to text first"
            ) from error

    def columns(self, start: int, count: int, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        names = [name for name in self._frame.columns if name in keys]
        if names:
            table = self._table(start, count, names)
            yield from zip(names, map(one_chunk, table.columns), strict=True)

    def durations(self) -> dict[str, str]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        names = [name for name, dtype in self._frame.schema.items() if "Duration" in str(dtype)]
        return durations.in_fields(self._frame.select(names).head(0).to_arrow().schema) if names else {}

    def arrow(self, start: int, count: int, first_row: int = 0) -> Any | None:  # noqa: ARG002
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return None if self._huge else self._part(start, count).to_arrow()


class PandasSource:
    """A pandas DataFrame. Its index is not sent, so an index that carries data is refused.

    :param frame: the frame.
    :raises EncodeError: the index carries data, or a column's name is not text or there twice.
    """

    def __init__(self, frame: Any) -> None:
        self.rows: int = len(frame)
        if self.rows:
            _check_index(frame.index)
        self._names = list(frame.columns)
        check_names(self._names)
        self._frame = frame

    def encode(self, start: int, count: int, first_row: int) -> Encoded:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        columns = []
        part = self._frame.iloc[start : start + count]
        for position, name in enumerate(self._names):
            with _located(name, first_row):
                columns.append(_values(part.iloc[:, position]))
        rows = _bounded_rows(columns, len(part))
        encoded = []
        for name, values in zip(self._names, columns, strict=True):
            with _located(name, first_row):
                encoded.append(_encode(values, rows))
        return encode_rows(self._names, encoded, rows)

    def check(self, first_row: int) -> int:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return max((self._check(start, first_row) for start in range(0, self.rows, ROWS)), default=0)

    def _check(self, start: int, first_row: int) -> int:
        lengths = []
        part = self._frame.iloc[start : start + ROWS]
        for position, name in enumerate(self._names):
            with _located(name, first_row + start):
                values = _values(part.iloc[:, position])
                lengths.append(check_objects(values) if isinstance(values, list) else check_array(values))
        return line_length(self._names, lengths)

    def columns(self, start: int, count: int, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        part = self._frame.iloc[start : start + count]
        for position, name in enumerate(self._names):
            if name in keys:
                with _located(name, 0):
                    values = _values(part.iloc[:, position])
                yield name, values

    def durations(self) -> dict[str, str]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        found: dict[str, str] = {}
        for position, name in enumerate(self._names):
            dtype = getattr(self._frame.dtypes.iloc[position], "categories", self._frame.iloc[:0, position]).dtype
            if _holds_objects(dtype):
                values = self._frame.iloc[:, position]
                if _may_hold_durations(values) and durations.are_in(set(map(type, values.tolist()))):
                    found[name] = durations.OF_OBJECTS
            elif dtype.kind == "m" and not hasattr(dtype, "pyarrow_dtype"):
                found[name] = str(dtype)[len("timedelta64[") : -1]
            elif hasattr(dtype, "pyarrow_dtype"):
                found.update(durations.in_type(name, dtype.pyarrow_dtype))
        return found

    def arrow(self, start: int, count: int, first_row: int = 0) -> Any | None:  # noqa: ARG002
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        part = self._frame.iloc[start : start + count]
        return table_of(self._names, [_values(part.iloc[:, position]) for position in range(len(self._names))])


@contextmanager
def _located(name: str, first_row: int) -> Iterator[None]:
    try:
        yield
    except BadValueError as error:
        raise error.located(name, first_row) from None


def _bounded_rows(columns: list[Any], rows: int) -> int:
    """Fewer rows where they turn out to be much longer than those before; Python objects cannot be measured cheaply."""
    size = sum(column.nbytes for column in columns if not isinstance(column, list))
    return rows if size <= MAX_SLICE_BYTES else max(1, rows * MAX_SLICE_BYTES // size)


def _check_index(index: Any) -> None:
    names = [str(name) for name in index.names if name is not None]
    advice = "call reset_index() to send it as columns, or reset_index(drop=True) to leave it out"
    if names:
        raise EncodeError(f"the index {', '.join(names)} would be lost, since only columns are sent; {advice}")
    if index.nlevels > 1 or index.dtype.kind not in "iu":  # whole numbers are what filtering and concat leave behind
        kind = "MultiIndex" if index.nlevels > 1 else f"index of type {index.dtype}"
        raise EncodeError(f"the {kind} would be lost, since only columns are sent; {advice}")


def _values(series: Any) -> Any:
    """An Arrow array, or a list where the column holds Python objects."""
    import pyarrow as pa

    dtype = series.dtype
    if _holds_objects(dtype):
        return series.tolist()
    kind = type(dtype).__name__
    if kind == "SparseDtype":
        return _values(series.sparse.to_dense())
    if kind == "CategoricalDtype" and _holds_objects(dtype.categories.dtype):
        return series.astype(object).tolist()
    try:
        return one_chunk(pa.array(series, from_pandas=True))
    except UnicodeEncodeError:
        raise BadValueError(SURROGATE, first_surrogate(series.tolist())) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError) as error:
        raise BadValueError(
            f"the pandas type {dtype} has no JSON form ({error}); cast it first, e.g. to str"
        ) from error


def _encode(values: Any, rows: int) -> JsonColumn:
    return encode_objects(values[:rows]) if isinstance(values, list) else encode_array(values.slice(0, rows))


def _may_hold_durations(values: Any) -> bool:
    """Ask pandas first, which tells columns of one kind apart several times as fast."""
    return sys.modules["pandas"].api.types.infer_dtype(values) not in _NO_DURATIONS


_NO_DURATIONS = frozenset({"string", "bytes", "boolean", "integer", "floating", "decimal", "date", "datetime", "empty"})


def _holds_objects(dtype: Any) -> bool:
    return dtype.kind == "O" and type(dtype).__module__.startswith("numpy")  # pandas' own dtypes say "O" for text, too
