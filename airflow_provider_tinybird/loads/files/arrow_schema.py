"""Columns of a data source, and the Arrow table that fits them exactly, if there is one.

What goes as Parquet is read by type. So a slice of rows goes as Parquet only where each of its columns has the type of its column in
the data source, or one whose values are the same in that type; everything else goes as NDJSON, with the rules that events have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_tinybird.api.models import Datasource

_INTEGER = re.compile(r"(U?)Int(8|16|32|64)")
_DECIMAL = re.compile(r"Decimal\((\d+),\s*(\d+)\)")
_DATETIME = re.compile(r"DateTime(?:\('([^']*)'\))?")
_DATETIME64 = re.compile(r"DateTime64\((\d),?\s*(?:'([^']*)')?\)")
_WRAPPER = re.compile(r"(Nullable|LowCardinality)\((.*)\)")
_UTC = ("", "UTC", "Etc/UTC")  # a column without a zone has that of the server, which is UTC
_LAST_DATE = 65_535  # days since 1970: Date has 16 bits
_LAST_DATETIME = 2**32 - 1  # seconds since 1970: DateTime has 32 bits
_FIRST_DATETIME64, _LAST_DATETIME64 = -2_208_988_800, 9_223_372_036  # 1900, and where 64 bits of nanoseconds end


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of a data source.

    :param name: its name.
    :param type: its type without Nullable and LowCardinality.
    :param nullable: whether it takes NULL.
    :param key: key of a record that its values come from; ``None`` where that lies deeper.
    """

    name: str
    type: str
    nullable: bool
    key: str | None


def target_columns(datasource: Datasource) -> tuple[TargetColumn, ...]:
    """Read the columns of a data source."""
    schema = datasource.raw.get("schema")
    described = schema.get("columns") if isinstance(schema, Mapping) else None
    paths = {str(column.get("name")): str(column.get("jsonpath") or "") for column in described or ()}
    return tuple(_target(column.name, column.type, paths.get(column.name, "")) for column in datasource.columns)


def _target(name: str, kind: str, path: str) -> TargetColumn:
    nullable = False
    while wrapped := _WRAPPER.fullmatch(kind):
        nullable = nullable or wrapped[1] == "Nullable"
        kind = wrapped[2]
    key = path.removeprefix("$.") if path else name
    return TargetColumn(name, kind, nullable, key if re.fullmatch(r"\w+", key) else None)


def fitting(table: Any, columns: Sequence[TargetColumn]) -> Any | None:
    """The table with exactly the types of the data source; ``None`` where values could change on their way.

    :param table: Arrow table or record batch.
    :param columns: of the data source; a table that has not all of them, or more, does not fit.
    """
    import pyarrow as pa

    keys = [column.key for column in columns if column.key is not None]
    if not keys or len(keys) < len(columns) or sorted(table.schema.names) != sorted(keys):
        return None
    arrays = []
    for column in columns:
        array = _fitted(table.column(column.key), column)
        if array is None:
            return None
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=keys)


def _fitted(array: Any, column: TargetColumn) -> Any | None:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    kind = arrow_type(column)
    if kind is None or isinstance(array, pa.ChunkedArray):
        return None
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = _as_kind(array, kind, column) if array.null_count < len(array) else pa.nulls(len(array), kind)
    if array is None or (array.null_count and not column.nullable):
        return None
    return array


def arrow_type(column: TargetColumn) -> Any | None:
    """The one Arrow type that goes into a file for a column; ``None`` for those that go as NDJSON only."""
    import pyarrow as pa

    if found := _INTEGER.fullmatch(column.type):
        return getattr(pa, f"{'u' if found[1] else ''}int{found[2]}")()
    if found := _DECIMAL.fullmatch(column.type):
        return pa.decimal128(int(found[1]), int(found[2])) if int(found[1]) <= 38 else None
    if _DATETIME.fullmatch(column.type):
        return pa.timestamp("s", "UTC")
    if found := _DATETIME64.fullmatch(column.type):
        unit = next(unit for digits, unit in ((7, "ns"), (4, "us"), (1, "ms"), (0, "s")) if int(found[1]) >= digits)
        return pa.timestamp(unit, "UTC")
    plain = {
        "String": pa.string(),
        "Bool": pa.bool_(),
        "Float32": pa.float32(),
        "Float64": pa.float64(),
        "Date": pa.date32(),
        "Date32": pa.date32(),
    }
    return plain.get(column.type)


def _as_kind(array: Any, kind: Any, column: TargetColumn) -> Any | None:
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(kind):
        return _timestamps(array, kind, column)
    if types.is_floating(kind):
        return _floats(array) if array.type == kind else None
    if types.is_string(kind):
        alike = str(array.type) in {"string", "large_string", "string_view"}
    elif types.is_date(kind):
        alike = types.is_date(array.type)
    elif types.is_decimal(kind):
        alike = types.is_decimal(array.type) and array.type.scale <= kind.scale
    elif types.is_integer(kind):
        alike = types.is_integer(array.type)
    else:
        alike = array.type == kind
    if not alike:
        return None
    array = _cast(array, kind)
    if array is not None and column.type == "Date" and not _within(array.view(pa.int32()), 0, _LAST_DATE):
        return None
    return array


def _timestamps(array: Any, kind: Any, column: TargetColumn) -> Any | None:
    import pyarrow as pa

    if not pa.types.is_timestamp(array.type):
        return None
    if array.type.tz is None:
        # Without a zone it is the wall clock of the column's zone, which only ClickHouse knows for sure.
        found = _DATETIME.fullmatch(column.type)
        zone = (found[1] if found else _DATETIME64.fullmatch(column.type)[2]) or ""  # type: ignore[index]
        if zone not in _UTC:
            return None
    # The number is that of UTC in both cases.
    array = _cast(array.view(pa.timestamp(array.type.unit, "UTC")), kind)
    if array is None:
        return None
    low, high = (0, _LAST_DATETIME) if _DATETIME.fullmatch(column.type) else (_FIRST_DATETIME64, _LAST_DATETIME64)
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    return array if _within(array.view(pa.int64()), low * scale, high * scale) else None


def _floats(array: Any) -> Any | None:
    """NaN as null and no infinities, as in NDJSON."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.any(pc.is_inf(array)).as_py():
        return None
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _cast(array: Any, kind: Any) -> Any | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(array, kind, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # a value that would not be the same


def _within(numbers: Any, low: int, high: int) -> bool:
    import pyarrow.compute as pc

    bounds = pc.min_max(numbers)
    return bounds["min"].as_py() is None or (bounds["min"].as_py() >= low and bounds["max"].as_py() <= high)
