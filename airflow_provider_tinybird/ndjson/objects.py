"""Columns of Python objects: by Arrow where all values are of one plain type, else value by value.

Arrow's own inference is never trusted with objects: it unions the keys of dicts, pads decimals and refuses mixed types.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from airflow_provider_tinybird.ndjson.column_checks import longest
from airflow_provider_tinybird.ndjson.columns import encode_array
from airflow_provider_tinybird.ndjson.errors import BadValueError
from airflow_provider_tinybird.ndjson.rows import JsonColumn, finished, first_surrogate, nullable
from airflow_provider_tinybird.ndjson.values import INFINITE, SURROGATE, json_text


def encode_objects(values: Sequence[object]) -> JsonColumn:
    """The JSON texts of Python values.

    :param values: the values of one column; None, NaN, NaT and pandas.NA are null.
    :raises BadValueError: a value cannot be sent without loss.
    """
    array = as_array(values)
    return _one_by_one(values) if array is None else encode_array(array)


def as_array(values: Sequence[object]) -> Any | None:
    """Python values as an Arrow array; None where no type of Arrow holds all of them exactly.

    :param values: the values of one column; None, NaN, NaT and pandas.NA are null.
    :raises BadValueError: a text cannot be sent.
    """
    import pyarrow as pa

    kind = _arrow_type(values)
    if kind is None:
        return None
    try:
        return pa.array(values, kind, from_pandas=True)
    except UnicodeEncodeError:
        raise BadValueError(SURROGATE, first_surrogate(values)) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None  # a number among the texts, an integer beyond 64 bits


def table_of(names: Sequence[str], columns: Sequence[Any]) -> Any | None:
    """An Arrow table; None where a column has no type of Arrow.

    :param names: column names.
    :param columns: Arrow arrays, or Python values.
    """
    import pyarrow as pa

    if not all(isinstance(name, str) and name.isprintable() for name in names):
        return None  # the other way tells what is wrong with it
    arrays = []
    for column in columns:
        if isinstance(column, pa.Array):
            arrays.append(column)
            continue
        array = pa.nulls(len(column)) if all(value is None for value in column) else as_array(column)
        if array is None:
            return None
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=list(names))


def _arrow_type(values: Sequence[object]) -> Any:
    """The Arrow type that holds all values exactly, or None."""
    import pyarrow as pa

    kinds = {kind for kind in set(map(type, values)) if kind.__name__ not in {"NoneType", "NAType", "NaTType"}}
    if kinds == {str, float} or kinds == {str}:  # pandas puts a NaN where a text is missing; other floats are refused
        return pa.string()
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    if kind is dt.datetime or (kind.__name__ == "Timestamp" and issubclass(kind, dt.datetime)):
        return _datetime_type([value for value in values if isinstance(value, kind)])
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), dt.date: pa.date32()}.get(kind)


def _datetime_type(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    if any(getattr(value, "nanosecond", 0) or not 1 <= value.year <= 9999 for value in values):
        return None  # pandas has nanoseconds and more years, and Arrow would read other numbers
    zones = {value.tzinfo for value in values}
    if zones == {None}:
        return pa.timestamp("us")
    return None if None in zones else pa.timestamp("us", "UTC")


def check_objects(values: Sequence[object]) -> int:
    """Look at Python values: kinds that cannot fail are passed over, and those without a quick look are encoded.

    :param values: the values of one column.
    :return: how many bytes the longest of the JSON texts has at the most.
    :raises BadValueError: a value cannot be sent without loss.
    """
    looked_at = _HARMLESS.union(_LOOKS)
    kinds = set(map(type, values))
    lengths = [_LONGEST_HARMLESS, *(_LOOKS[kind](values) for kind in kinds & _LOOKS.keys())]
    if not kinds <= looked_at:
        lengths.append(_encode_some(values, lambda value: type(value) not in looked_at))
    return max(lengths)


def _encode_some(values: Sequence[object], wanted: Callable[[object], bool]) -> int:
    places = [position for position, value in enumerate(values) if wanted(value)]
    try:
        column = encode_objects([values[position] for position in places])
    except BadValueError as error:
        raise BadValueError(error.reason, None if error.row is None else places[error.row]) from None
    return longest(finished(column, len(places)))


def _look_at_texts(values: Sequence[object]) -> int:
    texts = [value for value in values if type(value) is str]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise BadValueError(SURROGATE, first_surrogate(values)) from None
    return 6 * max(map(len, texts)) + 2  # six for an escape; of the others the longest has four bytes


def _look_at_floats(values: Sequence[object]) -> int:
    floats = [value for value in values if type(value) is float]
    if math.inf in floats or -math.inf in floats:
        first = next(row for row, value in enumerate(values) if type(value) is float and math.isinf(value))
        raise BadValueError(INFINITE, first)
    return _LONGEST_HARMLESS


def _look_at_integers(values: Sequence[object]) -> int:
    integers = [value for value in values if type(value) is int]
    if max(integers) < 2**256 and min(integers) > -(2**256):
        return _LONGEST_HARMLESS
    return _encode_some(values, lambda value: type(value) is int)


def _look_at_moments(values: Sequence[object]) -> int:
    if all(1 < value.year < 9999 for value in values if type(value) is dt.datetime):
        return _LONGEST_HARMLESS
    return _encode_some(values, lambda value: type(value) is dt.datetime)


_HARMLESS = frozenset({type(None), bool, dt.date, UUID})
_LONGEST_HARMLESS = 100
_LOOKS: dict[type, Callable[[Sequence[object]], int]] = {
    str: _look_at_texts,
    float: _look_at_floats,
    int: _look_at_integers,
    dt.datetime: _look_at_moments,
}


def _one_by_one(values: Sequence[object]) -> JsonColumn:
    import pyarrow as pa

    texts = json_texts(values)
    try:
        return nullable(pa.array(texts, pa.string()))
    except UnicodeEncodeError:
        raise BadValueError(SURROGATE, first_surrogate(texts)) from None


def json_texts(values: Iterable[object]) -> list[str]:
    """The JSON texts of any values. A float has the text that it has in a column of floats.

    :param values: any accepted values.
    :raises BadValueError: one of them cannot be sent without loss; the row is its position.
    """
    import pyarrow as pa

    texts: list[str] = []
    floats: dict[int, float] = {}
    for position, value in enumerate(values):
        try:
            text = json_text(value)
        except BadValueError as error:
            raise BadValueError(error.reason, position) from None
        if isinstance(text, float):
            floats[position] = text
            text = ""
        texts.append(text)
    if floats:
        written = encode_array(pa.array(floats.values(), pa.float64())).texts
        for position, text in zip(floats, written.to_pylist(), strict=True):
            texts[position] = text
    return texts
