"""Whether all values of an Arrow array can be sent, and how long their JSON texts may be: by looking, not by encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_tinybird.ndjson.columns import (
    as_text,
    check_date,
    check_finite,
    check_timestamp,
    check_type,
    encode_array,
    is_binary,
    is_text,
)
from airflow_provider_tinybird.ndjson.errors import BadValueError
from airflow_provider_tinybird.ndjson.rows import finished
from airflow_provider_tinybird.ndjson.strings import check_utf8

ROWS = 100_000
"""Rows that are looked at together: what a check needs of memory is a few bytes for each."""

_LONGEST_PLAIN = 200  # of numbers, decimals of 76 digits, dates, times and UUIDs, quotes included
_LONGEST_ESCAPE = len("\\u0000")


def check_array(array: Any) -> int:
    """Look at an array.

    :param array: Arrow array of any type, not chunked, not empty.
    :return: how many bytes the longest of the JSON texts has at the most.
    :raises BadValueError: the type, or one of the values, cannot be sent without loss.
    """
    check_type(array.type)
    if array.null_count == len(array):
        return _LONGEST_PLAIN
    for test, look in _checks():
        if test(array.type):
            return look(array)
    return _encoded(array)


def _checks() -> list[tuple[Callable[[Any], bool], Callable[[Any], int]]]:
    from pyarrow import types

    return [
        (types.is_integer, _plain),
        (types.is_boolean, _plain),
        (types.is_floating, _float),
        (is_text, _text),
        (is_binary, _bytes),
        (types.is_timestamp, _timestamp),
        (types.is_date, _date),
        (types.is_time, _plain),
        (types.is_duration, _plain),
        (types.is_decimal, _decimal),
        (types.is_dictionary, _dictionary),
    ]


def _plain(_: Any) -> int:
    return _LONGEST_PLAIN


def _float(array: Any) -> int:
    check_finite(array)
    return _LONGEST_PLAIN


def _text(array: Any) -> int:
    import pyarrow.compute as pc

    check_utf8(array)
    lengths = pc.binary_length(array) if "view" not in str(array.type) else pc.binary_length(array.cast("large_string"))
    return _LONGEST_ESCAPE * (pc.max(lengths).as_py() or 0) + 2


def _bytes(array: Any) -> int:
    return _text(as_text(array))


def _timestamp(array: Any) -> int:
    check_timestamp(array)
    return _LONGEST_PLAIN


def _date(array: Any) -> int:
    check_date(array)
    return _LONGEST_PLAIN


def _decimal(array: Any) -> int:
    return _LONGEST_PLAIN + abs(int(array.type.scale))


def _dictionary(array: Any) -> int:
    if len(array.dictionary) <= len(array):
        try:
            return check_array(array.dictionary) if len(array.dictionary) else _LONGEST_PLAIN
        except BadValueError:
            pass  # perhaps of a category that no row uses; the rows decide, and know which of them is to blame
    return check_array(array.dictionary_decode())


def _encoded(array: Any) -> int:
    return longest(finished(encode_array(array), len(array)))


def longest(texts: Any) -> int:
    """The length of the longest text, in bytes.

    :param texts: Arrow string array without nulls.
    """
    import pyarrow.compute as pc

    return pc.max(pc.binary_length(texts)).as_py() or 0
