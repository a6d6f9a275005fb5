"""Answers in Parquet as Arrow tables and DataFrames with the types of ClickHouse.

Parquet has no time zones, no addresses, no enums and no integers beyond 64 bits: ClickHouse writes something else for them,
and which it was is known by the types that the query's columns have.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import pandas as pd

_WRAPPED = re.compile(
    r"(?:Nullable|LowCardinality|SimpleAggregateFunction)\((?:\w+(?:\([^()]*\))?,\s*)?(.*)\)", re.DOTALL
)
_MOMENT = re.compile(r"DateTime(?:64\((?P<digits>\d+)(?:,\s*'(?P<zone64>[^']+)')?\)|\('(?P<zone>[^']+)'\))?")
_ENUM_NAME = re.compile(r"'((?:[^'\\]|\\.)*)'\s*=\s*(-?\d+)")
_HUGE = re.compile(r"U?Int(128|256)")


def exact_table(table: Any, types: Mapping[str, str]) -> Any:
    """A table with what Parquet could not say: time zones and units, addresses, names of enums, digits of huge integers.

    :param table: pyarrow Table as it was read.
    :param types: ClickHouse's type of each column; a column without one stays as it is.
    """
    columns = [
        _exact(column, _inner(types.get(name, "")))
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    import pyarrow as pa

    return pa.Table.from_arrays(columns, names=table.column_names)


def data_frame(table: Any, types: Mapping[str, str]) -> pd.DataFrame:
    """A DataFrame of a table.

    Integers and booleans that can be null have pandas's nullable types, as floats would lose the last digits of large ones. Integers
    beyond 64 bits, UUIDs, lists, maps and JSON become Python objects.

    :param table: pyarrow Table, from :func:`exact_table`.
    :param types: ClickHouse's type of each column.
    """
    import pandas as pd

    names = table.column_names
    columns = [_series(column, types.get(name, "")) for name, column in zip(names, table.columns, strict=True)]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()  # not by name: two columns may have the same
    frame.columns = pd.Index(names)
    return frame


def _inner(kind: str) -> str:
    while found := _WRAPPED.fullmatch(kind.strip()):
        kind = found.group(1)
    return kind.strip()


def _exact(column: Any, kind: str) -> Any:
    import pyarrow as pa

    moment = _MOMENT.fullmatch(kind)
    if moment:
        return _moments(column, moment)
    if kind in {"Date", "Date32"} and pa.types.is_integer(column.type):
        return column.cast(pa.int32()).cast(pa.date32())
    if kind == "IPv4" and pa.types.is_integer(column.type):
        return _texts(column, lambda value: str(ipaddress.IPv4Address(value)))
    if kind == "IPv6" and pa.types.is_fixed_size_binary(column.type):
        return _texts(column, lambda value: str(ipaddress.IPv6Address(value)))
    if _HUGE.fullmatch(kind) and pa.types.is_fixed_size_binary(column.type):
        signed = kind.startswith("I")
        return _texts(column, lambda value: str(int.from_bytes(value, "little", signed=signed)))
    if kind.startswith("Enum") and pa.types.is_integer(column.type):
        names = {int(number): re.sub(r"\\(.)", r"\1", name) for name, number in _ENUM_NAME.findall(kind)}
        return _texts(column, names.__getitem__)
    if kind == "String" or kind.startswith(("FixedString", "Enum")):
        return _as_text(column)
    return column


def _moments(column: Any, moment: re.Match[str]) -> Any:
    """Tinybird's clock is UTC: a column without a zone of its own shows that."""
    import pyarrow as pa

    unit: Any = "s" if moment["digits"] is None else ("s", "ms", "us", "ns")[-(-int(moment["digits"]) // 3)]
    wanted = pa.timestamp(unit, moment["zone64"] or moment["zone"] or "UTC")
    if pa.types.is_integer(column.type):  # older versions of ClickHouse write seconds
        return column.cast(pa.int64()).cast(wanted)
    return column.cast(wanted) if pa.types.is_timestamp(column.type) else column


def _texts(column: Any, text: Callable[[Any], str]) -> Any:
    import pyarrow as pa

    return pa.chunked_array([[None if value is None else text(value) for value in column.to_pylist()]], pa.string())


def _as_text(column: Any) -> Any:
    """Text, or the bytes where one of them is no UTF-8: ClickHouse's String holds any."""
    import pyarrow as pa

    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    if not (pa.types.is_binary(column.type) or pa.types.is_string(column.type)):
        return column
    binary = pa.types.is_binary(column.type)
    try:
        texts = pa.chunked_array([chunk.view(pa.string()) if binary else chunk for chunk in column.chunks], pa.string())
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return pa.chunked_array([chunk.view(pa.binary()) for chunk in column.chunks], pa.binary())
    return texts


def _series(column: Any, kind: str) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    arrow = column.type
    can_be_null = "Nullable(" in kind or column.null_count > 0
    kind = _inner(kind)
    if _HUGE.fullmatch(kind):
        return _objects(column, int)
    if kind == "UUID":
        return _objects(column, lambda value: value if isinstance(value, UUID) else UUID(bytes=bytes(value)))
    if kind.startswith(("JSON", "Object(")):
        return _objects(column, lambda value: json.loads(value) if isinstance(value, str) else value)
    if pa.types.is_nested(arrow):
        return _objects(column, lambda value: _plain(value, arrow))
    if can_be_null and (pa.types.is_integer(arrow) or pa.types.is_boolean(arrow)):
        return pd.Series(column.to_pandas(types_mapper={arrow: _nullable(arrow)}.get))
    return pd.Series(column.to_pandas(date_as_object=False))


def _objects(column: Any, convert: Callable[[Any], Any]) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series([None if value is None else convert(value) for value in column.to_pylist()], dtype=object)


def _plain(value: Any, kind: Any) -> Any:
    """Maps as dicts, at every level; Arrow has them as lists of pairs."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: _plain(item, kind.item_type) for key, item in value}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_plain(item, kind.value_type) for item in value] if pa.types.is_nested(kind.value_type) else value
    if pa.types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type) for field in kind}
    return value


def _nullable(kind: Any) -> Any:
    import pyarrow as pa
    from pandas.api.types import pandas_dtype

    name = "boolean" if pa.types.is_boolean(kind) else str(kind).replace("uint", "UInt").replace("int", "Int")
    return pandas_dtype(name)
