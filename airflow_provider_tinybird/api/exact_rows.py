"""Rows of JSON with decimals that keep their digits: JSON has one kind of number, and Python makes a float of one with a fraction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from airflow_provider_tinybird.api.clickhouse_types import Type, parse
from airflow_provider_tinybird.api.models import ColumnMeta

Reader = Callable[[Any], Any]

# What stands inside of these cannot be a number with a fraction that JSON shows as one.
_NO_FRACTIONS = (
    "Int",
    "UInt",
    "String",
    "FixedString",
    "Date",
    "Time",
    "Enum",
    "UUID",
    "IPv",
    "Bool",
    "Interval",
    "AggregateFunction",
)


def exact_rows(content: bytes, meta: Sequence[ColumnMeta], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in which the values of ``Decimal`` columns are :class:`decimal.Decimal`, also in arrays, maps and tuples.

    :param content: the answer as it came, in FORMAT JSON.
    :param meta: its columns.
    :param rows: its rows as ``json.loads`` read them; they are taken as they are where no column is a decimal.
    """
    kinds = {column.name: parse(column.type) for column in meta}
    if not any(_is_decimal(part) for kind in kinds.values() for part in kind.walk()):
        return rows
    readers = {name: reader for name, kind in kinds.items() if (reader := _reader(kind)) is not None}
    exact: list[dict[str, Any]] = json.loads(content, parse_float=Decimal)["data"]
    for row in exact:
        for name, read in readers.items():
            if row.get(name) is not None:
                row[name] = read(row[name])
    return exact


def decimals_as_text(value: Any) -> Any:
    """The same value for JSON: each decimal is text with all of its digits and never an exponent."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return {name: decimals_as_text(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [decimals_as_text(item) for item in value]
    return value


def _is_decimal(kind: Type) -> bool:
    return kind.name.startswith("Decimal")


def _reader(kind: Type) -> Reader | None:
    """What reads a value of a type in which each number with a fraction is a decimal; ``None`` where none can be."""
    kind = kind.inner
    if _is_decimal(kind):
        return _decimal
    if kind.name.startswith(_NO_FRACTIONS):
        return None
    if kind.name == "Array" and kind.args:
        return _each(_reader(kind.args[0]))
    if kind.name == "Map" and len(kind.args) == 2:
        return _each(_reader(kind.args[1]))
    if kind.name in ("Tuple", "Nested"):
        return _fields([_reader(arg) for arg in kind.args], kind.labels)
    if kind.name == "Variant" and any(map(_is_decimal, kind.args)):
        return _decimals_in  # which of its types a number has is not said
    return _floats_in


def _decimal(value: Any) -> Any:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _each(read: Reader | None) -> Reader | None:
    if read is None:
        return None

    def items(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: None if item is None else read(item) for name, item in value.items()}
        return [None if item is None else read(item) for item in value] if isinstance(value, list) else value

    return items


def _fields(readers: Sequence[Reader | None], labels: Sequence[str]) -> Reader:
    """Tuples are objects or arrays, by a setting of ClickHouse; columns of ``Nested`` are arrays of such."""
    named = dict(zip(labels, readers, strict=False))

    def fields(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: _applied(named.get(name), item) for name, item in value.items()}
        if isinstance(value, list) and len(value) == len(readers) and not any(isinstance(item, dict) for item in value):
            return [_applied(read, item) for read, item in zip(readers, value, strict=True)]
        return [fields(item) for item in value] if isinstance(value, list) else value

    return fields


def _applied(read: Reader | None, value: Any) -> Any:
    return value if read is None or value is None else read(value)


def _floats_in(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return _inside(_floats_in, value)


def _decimals_in(value: Any) -> Any:
    return _inside(_decimals_in, value)


def _inside(read: Reader, value: Any) -> Any:
    if isinstance(value, list):
        return [read(item) for item in value]
    return {name: read(item) for name, item in value.items()} if isinstance(value, dict) else value
