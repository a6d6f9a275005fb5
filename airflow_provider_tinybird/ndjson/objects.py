"""Columns of Python objects, and records: by Arrow where all values are of one plain type, else value by value.

Arrow's own inference is never trusted with objects: it unions the keys of dicts, pads decimals and refuses mixed types.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from airflow_provider_tinybird.ndjson.columns import encode_array
from airflow_provider_tinybird.ndjson.errors import BadValueError, EncodeError
from airflow_provider_tinybird.ndjson.rows import (
    Encoded,
    JsonColumn,
    encode_lines,
    encode_rows,
    first_surrogate,
    nullable,
)
from airflow_provider_tinybird.ndjson.values import SURROGATE, json_text, key_text


def encode_objects(values: Sequence[object]) -> JsonColumn:
    """The JSON texts of Python values.

    :param values: the values of one column; None, NaN, NaT and pandas.NA are null.
    :raises BadValueError: a value cannot be sent without loss.
    """
    import pyarrow as pa

    kind = _arrow_type(values)
    if kind is not None:
        try:
            array = pa.array(values, kind, from_pandas=True)
        except UnicodeEncodeError:
            raise BadValueError(SURROGATE, first_surrogate(values)) from None
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass  # a number among the texts, an integer beyond 64 bits: value by value
        else:
            return encode_array(array)
    return _one_by_one(values)


def _arrow_type(values: Sequence[object]) -> Any:
    """The Arrow type that holds all values exactly, or None."""
    import pyarrow as pa

    kinds = set(map(type, values))
    kinds.discard(type(None))
    if kinds == {str, float} or kinds == {str}:  # pandas puts a NaN where a text is missing; other floats are refused
        return pa.string()
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    if kind is dt.datetime:
        return _datetime_type(values)
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), dt.date: pa.date32()}.get(kind)


def _datetime_type(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    aware = {value.tzinfo is not None for value in values if value is not None}
    if aware == {False}:
        return pa.timestamp("us")
    zones = {value.tzinfo for value in values if value is not None}
    return pa.timestamp("us", "UTC") if zones == {dt.UTC} else None


def _one_by_one(values: Sequence[object]) -> JsonColumn:
    import pyarrow as pa

    texts = []
    for row, value in enumerate(values):
        try:
            texts.append(json_text(value))
        except BadValueError as error:
            raise BadValueError(error.reason, row) from None
    try:
        return nullable(pa.array(texts, pa.string()))
    except UnicodeEncodeError:
        raise BadValueError(SURROGATE, first_surrogate(texts)) from None


def encode_records(records: Sequence[Mapping[str, object]], first_row: int) -> Encoded:
    """The lines of some records: by columns where all have the same keys, else one by one.

    :param records: at least one mapping.
    :param first_row: position of the first of them in all of the data, for errors.
    :raises EncodeError: a key is not text, or a value cannot be sent.
    """
    rows = [record if type(record) is dict else dict(record) for record in records]
    names = list(rows[0])
    columns = _columns(rows, names)
    if columns is None:
        return encode_lines([_line(record, first_row + row) for row, record in enumerate(rows)], first_row)
    _check_keys(names, first_row)
    encoded = []
    for name, values in zip(names, columns, strict=True):
        try:
            encoded.append(encode_objects(values))
        except BadValueError as error:
            raise error.located(name, first_row) from None
    return encode_rows(names, encoded, len(rows))


def _columns(rows: list[dict[Any, object]], names: list[Any]) -> list[Sequence[object]] | None:
    width = len(names)
    if not width or any(len(row) != width for row in rows):
        return None
    pick = itemgetter(*names)
    try:
        picked = [pick(row) for row in rows]
    except KeyError:
        return None
    return [picked] if width == 1 else list(zip(*picked, strict=True))


def _check_keys(names: list[Any], row: int) -> None:
    for name in names:
        try:
            key_text(name).encode()
        except BadValueError as error:
            raise EncodeError(error.reason, row=row) from None
        except UnicodeEncodeError:
            raise EncodeError(SURROGATE, column=name, row=row) from None


def _line(record: Mapping[Any, object], row: int) -> str:
    members = []
    for name, value in record.items():
        try:
            key = key_text(name)
        except BadValueError as error:
            raise EncodeError(error.reason, row=row) from None
        try:
            text = json_text(value)
            text.encode()
        except BadValueError as error:
            raise error.located(name, row - (error.row or 0)) from None
        except UnicodeEncodeError:
            raise EncodeError(SURROGATE, column=name, row=row) from None
        members.append(f"{key}:{text}")
    return f"{{{','.join(members)}}}"
