"""One Python value -> the text of one JSON value. Exact or an error; used where no Arrow type describes a column."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from airflow_provider_tinybird.ndjson.errors import BadValueError

# Containers were made plain before they come here, so the encoder has nothing left to decide.
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False).encode

INFINITE = "an infinite number has no JSON form; replace it, for instance by None"
BINARY = "the bytes are no UTF-8 text, and JSON carries nothing else; base64- or hex-encode the column, or send it as a Parquet file"
NO_TEXT_KEY = "a key must be text, not {}; rename it"
SURROGATE = "the text has a lone surrogate, which UTF-8 cannot carry; repair it, for instance with errors='replace'"
TOO_FINE = (
    "the duration is finer than microseconds, the unit of durations that are Python objects; round it, or send a column of dtype "
    "timedelta64[ns]"
)
TOO_DEEP = "the value is nested too deep, or contains itself; flatten it"
YEARS = "the year is outside 0001 to 9999; replace the value, for instance by None"


def json_text(value: object) -> str | float:
    """The JSON text of one value, or the number itself where it is a float: many of them are written at once.

    :param value: any of the accepted Python, numpy or pandas values, containers of them included.
    :raises BadValueError: the value cannot be sent without loss.
    """
    try:
        plain = to_plain(value)
        return plain if type(plain) is float else _dump(plain)
    except RecursionError:
        raise BadValueError(TOO_DEEP) from None


def key_text(key: object) -> str:
    """The JSON text of a column's name, quotes included.

    :param key: the name.
    :raises BadValueError: it is not text.
    """
    if not isinstance(key, str):
        raise BadValueError(NO_TEXT_KEY.format(short(key)))
    return _dump(key)


def short(value: object) -> str:
    """A value's type and the beginning of its text, for error messages.

    :param value: anything.
    """
    try:
        text = repr(value)
    except Exception:  # a broken __repr__ must not hide the real error
        text = "?"
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def to_plain(value: object) -> Any:
    """The value rebuilt from dict, list, str, int, float, bool and None only, which is what JSON has.

    :param value: any accepted value.
    :raises BadValueError: the value cannot be sent without loss.
    """
    exact = _BY_TYPE.get(type(value))
    if exact is not None:
        return exact(value)
    for kind, convert in _BY_BASE:
        if isinstance(value, kind):
            return convert(value)
    return _foreign(value)


def datetime_text(value: dt.datetime) -> str | None:
    """Naive as ``YYYY-MM-DD HH:MM:SS.ffffff``, aware as ``YYYY-MM-DDTHH:MM:SS.ffffffZ`` in UTC; pandas' nanoseconds kept.

    :param value: a datetime, a pandas Timestamp, or NaT (None then).
    :raises BadValueError: the UTC instant is outside the years 0001 to 9999.
    """
    if value != value:  # NaT is an instance of datetime
        return None
    nanos = getattr(value, "nanosecond", 0)
    tail = f"{nanos:03d}" if nanos else ""
    try:
        plain = dt.datetime(
            value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond
        )
    except ValueError:  # pandas has other years, too
        raise BadValueError(YEARS) from None
    offset = value.utcoffset()
    if offset is None:
        return plain.isoformat(sep=" ", timespec="microseconds") + tail
    try:
        return (plain - offset).isoformat(timespec="microseconds") + tail + "Z"
    except OverflowError:
        raise BadValueError(YEARS) from None


def _dump(plain: object) -> str:
    try:
        return _ENCODE(plain)
    except ValueError as error:  # an int beyond the interpreter's limit of digits
        raise BadValueError(f"{error}; send it as text") from None


def _same(value: Any) -> Any:
    return value


def _float(value: float) -> float | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise BadValueError(INFINITE)
    return float(value)


def _mapping(value: Mapping[Any, object]) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if type(key) is not str:
            if not isinstance(key, str):
                raise BadValueError(NO_TEXT_KEY.format(short(key)))
            key = str.__str__(key)
        plain[key] = item if type(item) in _NATIVE else to_plain(item)
    return plain


def _sequence(value: Iterable[object]) -> list[Any]:
    return [item if type(item) in _NATIVE else to_plain(item) for item in value]


def _decimal(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    if value.is_infinite():
        raise BadValueError(INFINITE)
    return format(value, "f")


def _time(value: dt.time) -> str:
    if value.tzinfo is not None:
        raise BadValueError("a time of day with a time zone has no fixed instant; send a datetime")
    return value.isoformat(timespec="microseconds")


def _timedelta(value: dt.timedelta) -> int | None:
    if value != value:  # NaT
        return None
    if getattr(value, "nanoseconds", 0):  # of pandas
        raise BadValueError(TOO_FINE)
    return (value.days * 86_400 + value.seconds) * 10**6 + value.microseconds


def _binary(value: bytes | bytearray | memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise BadValueError(BINARY) from None


def _foreign(value: object) -> Any:
    """Values of numpy and pandas, recognised without importing either."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return None
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return to_plain(value[()]) if value.ndim == 0 else _sequence(value)
        if isinstance(value, numpy.generic):
            return _numpy_scalar(value)
    raise BadValueError(
        f"{short(value)} has no JSON form; turn it into text, a number, a dict or a list before sending"
    )


def _numpy_scalar(value: Any) -> Any:
    kind = value.dtype.kind
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value)
    if kind == "f" and value.dtype.itemsize <= 8:
        if value.dtype.itemsize == 2:  # ClickHouse has no floats of 16 bits
            value = value.astype("float32")
        return _float(float(str(value)))  # str() is the shortest text of the value's own width
    if kind in "Mm":
        return _numpy_time(value)
    raise BadValueError(f"numpy.{type(value).__name__} has no exact JSON form; turn it into text or a float64")


def _numpy_time(value: Any) -> str | int | None:
    if value != value:  # NaT
        return None
    if value.dtype.kind == "m":
        return _numpy_timedelta(value)
    unit = str(value.dtype)[len("datetime64[") : -1]
    if unit in {"Y", "M", "W"}:
        value = value.astype("datetime64[D]")
    elif unit in {"h", "m"}:
        value = value.astype("datetime64[s]")
    text = str(value).replace("T", " ")
    if not _YEAR.match(text):
        raise BadValueError(YEARS)
    return text


def _numpy_timedelta(value: Any) -> int:
    """In microseconds, as all objects are."""
    unit = str(value.dtype).partition("[")[2].rstrip("]")
    many, name = re.fullmatch(r"(\d*)(.*)", unit).groups()  # type: ignore[union-attr] # such as 25us
    if name not in _PICOSECONDS:
        raise BadValueError(
            f"a duration in units of {name or 'nothing'!r} has no fixed length; give it in seconds or parts of them"
        )
    micros, rest = divmod(int(value.astype("int64")) * int(many or 1) * _PICOSECONDS[name], 10**6)
    if rest:
        raise BadValueError(TOO_FINE)
    return micros


_YEAR = re.compile(r"(?!0000)\d{4}(?!\d)")
_PICOSECONDS = {
    "W": 7 * 86_400 * 10**12,
    "D": 86_400 * 10**12,
    "h": 3600 * 10**12,
    "m": 60 * 10**12,
    "s": 10**12,
    "ms": 10**9,
    "us": 10**6,
    "ns": 10**3,
    "ps": 1,
}
_NATIVE = frozenset({str, int, bool, type(None)})
_BY_TYPE: dict[type, Callable[[Any], Any]] = {
    str: _same,
    int: _same,
    bool: _same,
    type(None): _same,
    float: _float,
    dict: _mapping,
    list: _sequence,
    tuple: _sequence,
    dt.datetime: datetime_text,
    dt.date: dt.date.isoformat,
    Decimal: _decimal,
    UUID: str,
}
# Order matters: a bool is an int, a datetime is a date.
_BY_BASE: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, lambda value: str.__str__(value)),
    (int, int),
    (float, _float),
    (dt.datetime, datetime_text),
    (dt.date, dt.date.isoformat),
    (dt.time, _time),
    (dt.timedelta, _timedelta),
    (Decimal, _decimal),
    (UUID, str),
    (Mapping, _mapping),
    (list, _sequence),
    (tuple, _sequence),
    (bytes, _binary),
    (bytearray, _binary),
    (memoryview, _binary),
)
