"""Answers in Parquet as Arrow tables and DataFrames with the types of ClickHouse.

Parquet has no time zones, no addresses, no enums and no integers beyond 64 bits: ClickHouse writes something else for them,
and which it was is known by the types that the query's columns have.
"""

from __future__ import annotations

import ipaddress
import json
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_tinybird.api.clickhouse_types import Type, parse, unquoted

if TYPE_CHECKING:
    import pandas as pd

_ANY = Type("")
"""A type that is not known."""

_HUGE = frozenset({"Int128", "Int256", "UInt128", "UInt256"})
_XY = Type("Tuple", (Type("Float64"), Type("Float64")), ("x", "y"))
_LISTS_OF = {
    "Ring": "Point",
    "LineString": "Point",
    "MultiLineString": "LineString",
    "Polygon": "Ring",
    "MultiPolygon": "Polygon",
}
"""Geometries that are lists, and of what."""

_Path = tuple[int, ...]
"""Where a value stands within a column's type: which argument, at each level."""


def exact_table(table: Any, types: Mapping[str, str]) -> Any:
    """A table with what Parquet could not say: time zones and units, addresses, names of enums, digits of huge integers.

    What stands in arrays, maps and tuples, at any depth, is converted as it is at the top.

    :param table: pyarrow Table as it was read.
    :param types: ClickHouse's type of each column; a column without one stays as it is.
    """
    import pyarrow as pa

    columns = [
        _Column(parse(types.get(name, ""))).converted(column)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, names=table.column_names)


def data_frame(table: Any, types: Mapping[str, str]) -> pd.DataFrame:
    """A DataFrame of a table.

    Integers and booleans that can be null have pandas's nullable types, as floats would lose the last digits of large ones. Integers
    beyond 64 bits, UUIDs, lists, maps, points and JSON become Python objects.

    :param table: pyarrow Table, from :func:`exact_table`.
    :param types: ClickHouse's type of each column.
    """
    import pandas as pd

    names = table.column_names
    columns = [_series(column, parse(types.get(name, ""))) for name, column in zip(names, table.columns, strict=True)]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()  # not by name: two columns may have the same
    frame.columns = pd.Index(names)
    return frame


class _NotTextError(Exception):
    """Text at this place has bytes that are not UTF-8."""

    def __init__(self, path: _Path) -> None:
        super().__init__(path)
        self.path = path


class _Column:
    """Converts a column. ClickHouse's String holds any bytes: where some of them are not UTF-8, all of that column are bytes.

    :param type: ClickHouse's.
    """

    def __init__(self, type: Type) -> None:
        self._type = type
        self._bytes: set[_Path] = set()

    def converted(self, column: Any) -> Any:
        import pyarrow as pa

        while True:
            try:
                chunks = [self._array(chunk, self._type, ()) for chunk in column.chunks]
            except _NotTextError as e:
                self._bytes.add(e.path)
                continue
            return pa.chunked_array(chunks) if chunks else self._empty(column)

    def _empty(self, column: Any) -> Any:
        import pyarrow as pa

        return pa.chunked_array([self._array(pa.array([], column.type), self._type, ())])

    def _array(self, array: Any, kind: Type, path: _Path) -> Any:
        import pyarrow as pa

        kind = kind.inner
        types = pa.types
        if kind.name in _LISTS_OF or kind.name == "Point":
            array, kind = _geometry(array, kind)
        if types.is_list(array.type) or types.is_large_list(array.type):
            return self._list(array, _argument(kind, 0) if kind.name == "Array" else _nested(kind), path)
        if types.is_map(array.type):
            return self._map(array, kind, path)
        if types.is_struct(array.type):
            return self._struct(array, kind, path)
        return self._leaf(array, kind, path)

    def _list(self, array: Any, inside: Type, path: _Path) -> Any:
        import pyarrow as pa

        values = self._array(array.values, inside, (*path, 0))
        make = pa.ListArray if pa.types.is_list(array.type) else pa.LargeListArray
        return make.from_arrays(_offsets(array), values)

    def _map(self, array: Any, kind: Type, path: _Path) -> Any:
        import pyarrow as pa

        keys = self._array(array.keys, _argument(kind, 0), (*path, 0))
        items = self._array(array.items, _argument(kind, 1), (*path, 1))
        return pa.MapArray.from_arrays(_offsets(array), keys, items)

    def _struct(self, array: Any, kind: Type, path: _Path) -> Any:
        import pyarrow as pa

        number = array.type.num_fields
        args = kind.args if len(kind.args) == number else (_ANY,) * number
        values = [self._array(one, args[i], (*path, i)) for i, one in enumerate(array.flatten())]
        names = kind.labels if kind is _XY else [array.type.field(i).name for i in range(number)]
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(values, names=list(names), mask=mask)

    def _leaf(self, array: Any, kind: Type, path: _Path) -> Any:
        import pyarrow as pa

        types = pa.types
        if kind.name in ("DateTime", "DateTime64"):
            return _moments(array, kind)
        if kind.name in ("Date", "Date32") and types.is_integer(array.type):
            return array.cast(pa.int32()).cast(pa.date32())
        if kind.name == "IPv4" and types.is_integer(array.type):
            return _texts(array, lambda value: str(ipaddress.IPv4Address(value)))
        if kind.name == "IPv6" and types.is_fixed_size_binary(array.type):
            return _texts(array, lambda value: str(ipaddress.IPv6Address(value)))
        if kind.name in _HUGE and types.is_fixed_size_binary(array.type):
            signed = kind.name.startswith("I")
            return _texts(array, lambda value: str(int.from_bytes(value, "little", signed=signed)))
        if kind.name in ("Enum8", "Enum16") and types.is_integer(array.type):
            return _texts(array, kind.elements.__getitem__)
        if kind.name in ("String", "FixedString", "Enum8", "Enum16") or (kind == _ANY and types.is_string(array.type)):
            return self._text(array, path)
        return array

    def _text(self, array: Any, path: _Path) -> Any:
        import pyarrow as pa

        if pa.types.is_fixed_size_binary(array.type):
            array = array.cast(pa.binary())
        if not (pa.types.is_binary(array.type) or pa.types.is_string(array.type)):
            return array
        if path in self._bytes:
            return array.view(pa.binary())
        text = array.view(pa.string())
        try:
            text.validate(full=True)
        except pa.ArrowInvalid:
            raise _NotTextError(path) from None
        return text


def _argument(kind: Type, number: int) -> Type:
    return kind.args[number] if number < len(kind.args) else _ANY


def _nested(kind: Type) -> Type:
    """What a list of a ``Nested`` holds, or of a type that is not known."""
    return Type("Tuple", kind.args, kind.labels) if kind.name == "Nested" else _ANY


def _offsets(array: Any) -> Any:
    """Where each list begins; null where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not array.null_count:
        return array.offsets
    missing = pa.concat_arrays([array.is_null(), pa.array([False])])
    return pc.if_else(missing, pa.scalar(None, array.offsets.type), array.offsets)


def _geometry(array: Any, kind: Type) -> tuple[Any, Type]:
    """A geometry as what it is by definition, tuples of two numbers in lists; at the top Parquet has the form WKB for it."""
    import pyarrow as pa

    whole = kind
    kind = _plain_geometry(kind.name)
    if not (pa.types.is_string(array.type) or pa.types.is_binary(array.type)):
        return array, kind
    arrow: Any = pa.struct([("x", pa.float64()), ("y", pa.float64())])
    for _ in range(_depth(whole.name)):
        arrow = pa.list_(arrow)
    values = array.view(pa.binary()).to_pylist()
    return pa.array([None if value is None else _Wkb(value).read() for value in values], arrow), kind


def _plain_geometry(name: str) -> Type:
    return Type("Array", (_plain_geometry(_LISTS_OF[name]),), ("",)) if name in _LISTS_OF else _XY


def _depth(name: str) -> int:
    return 1 + _depth(_LISTS_OF[name]) if name in _LISTS_OF else 0


class _Wkb:
    """Well-known binary, of which ClickHouse writes points, lines and polygons, and several of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self) -> Any:
        """The next geometry."""
        order = "<" if self._data[self._at] else ">"
        self._at += 1
        kind = self._take(f"{order}I")
        if kind == 1:
            return self._point(order)
        count = self._take(f"{order}I")
        if kind == 2:
            return [self._point(order) for _ in range(count)]
        if kind == 3:
            return [[self._point(order) for _ in range(self._take(f"{order}I"))] for _ in range(count)]
        return [self.read() for _ in range(count)]

    def _point(self, order: str) -> dict[str, float]:
        return {"x": self._take(f"{order}d"), "y": self._take(f"{order}d")}

    def _take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value


def _moments(array: Any, kind: Type) -> Any:
    """Tinybird's clock is UTC: a column without a zone of its own shows that."""
    import pyarrow as pa

    digits, zones = (0, kind.args) if kind.name == "DateTime" else (int(_argument(kind, 0).name or 3), kind.args[1:])
    unit: Any = ("s", "ms", "us", "ns")[-(-digits // 3)]
    wanted = pa.timestamp(unit, unquoted(zones[0].name) if zones else "UTC")
    if pa.types.is_integer(array.type):  # older versions of ClickHouse write seconds
        return array.cast(pa.int64()).cast(wanted)
    return array.cast(wanted) if pa.types.is_timestamp(array.type) else array


def _texts(array: Any, text: Callable[[Any], str]) -> Any:
    import pyarrow as pa

    return pa.array([None if value is None else text(value) for value in array.to_pylist()], pa.string())


def _series(column: Any, kind: Type) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    arrow = column.type
    convert = _object(arrow, kind)
    if convert is not None:
        values = [None if value is None else convert(value) for value in column.to_pylist()]
        return pd.Series(values, dtype=object)
    can_be_null = kind.is_nullable or column.null_count > 0
    if can_be_null and (pa.types.is_integer(arrow) or pa.types.is_boolean(arrow)):
        return pd.Series(column.to_pandas(types_mapper={arrow: _nullable(arrow)}.get))
    return pd.Series(column.to_pandas(date_as_object=False))


def _object(arrow: Any, kind: Type) -> Callable[[Any], Any] | None:
    """What makes a Python object of one value that Arrow gives; ``None`` where pandas has a type of its own."""
    import pyarrow as pa

    kind = kind.inner
    if kind.name in _HUGE:
        return int
    if kind.name == "UUID":
        return lambda value: value if isinstance(value, UUID) else UUID(bytes=bytes(value))
    if kind.name in ("JSON", "Object"):
        return lambda value: json.loads(value) if isinstance(value, str) else value
    if kind.name == "Point":
        return lambda value: (value["x"], value["y"])
    if kind.name in _LISTS_OF:
        kind = Type("Array", (Type(_LISTS_OF[kind.name]),), ("",))
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        item = _item(arrow.value_type, _argument(kind, 0) if kind.name == "Array" else _nested(kind))
        return lambda value: list(map(item, value))
    if pa.types.is_map(arrow):  # Arrow has it as a list of pairs
        key, item = _item(arrow.key_type, _argument(kind, 0)), _item(arrow.item_type, _argument(kind, 1))
        return lambda value: {key(name): item(one) for name, one in value}
    if pa.types.is_struct(arrow):
        args = kind.args if len(kind.args) == arrow.num_fields else (_ANY,) * arrow.num_fields
        items = {arrow.field(i).name: _item(arrow.field(i).type, arg) for i, arg in enumerate(args)}
        return lambda value: {name: item(value[name]) for name, item in items.items()}
    return None


def _item(arrow: Any, kind: Type) -> Callable[[Any], Any]:
    convert = _object(arrow, kind)
    return (lambda value: value) if convert is None else (lambda value: None if value is None else convert(value))


def _nullable(kind: Any) -> Any:
    import pyarrow as pa
    from pandas.api.types import pandas_dtype

    name = "boolean" if pa.types.is_boolean(kind) else str(kind).replace("uint", "UInt").replace("int", "Int")
    return pandas_dtype(name)
