"""Any values of any type into any column: equal, quarantined, or refused; never changed.

Many small frames go as one load, each with rows of its own and one column of a wide table, so that one answer of the engine judges all of
them. What is expected is written down here from Python's own types, and knows nothing of the encoder or of its gate.

``TINYBIRD_EXAMPLES`` is the number of frames: 2,000 unless set.
"""

from __future__ import annotations

import datetime as dt
import io
import ipaddress
import json
import math
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sandbox_process import SandboxProcess

from airflow_provider_tinybird.api import datasources
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.files.local_or_remote import FileToSend
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.loads.files.parquet import check_file
from airflow_provider_tinybird.loads.narrowing import OnNarrowing, gate_of
from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError, check
from airflow_provider_tinybird.ndjson.gate import UNSEEN

EXAMPLES = int(os.environ.get("TINYBIRD_EXAMPLES", "2000"))
FRAMES = 250
"""In one load."""

# The columns

MADRID = ZoneInfo("Europe/Madrid")
_DEFAULTS = {
    "Nullable": None,
    "Array": "[]",
    "Map": "map()",
    "String": "''",
    "Enum8": "'a'",
    "Bool": "false",
    "Date": "'1970-01-02'",
    "Date32": "'1970-01-02'",
    "UUID": "'00000000-0000-0000-0000-000000000000'",
    "IPv4": "'0.0.0.0'",
    "IPv6": "'::'",
    "FixedString": "''",
    "LowCardinality": "''",
}
TYPES = [
    *(f"Nullable({kind})" for kind in ("Int8", "UInt8", "Int32", "Int64", "UInt64", "Int128", "UInt256")),
    "Int16",
    "UInt32",
    "Nullable(Float32)",
    "Float32",
    "Nullable(Float64)",
    "Nullable(Bool)",
    "Nullable(Decimal(9, 2))",
    "Decimal(18, 4)",
    "Nullable(Decimal(38, 10))",
    "Nullable(Decimal(76, 16))",
    "Nullable(Decimal(5, 0))",
    "Nullable(Date)",
    "Date",
    "Nullable(Date32)",
    "DateTime",
    "Nullable(DateTime)",
    "Nullable(DateTime('Europe/Madrid'))",
    "Nullable(DateTime64(0))",
    "DateTime64(3)",
    "Nullable(DateTime64(2, 'Europe/Madrid'))",
    "Nullable(DateTime64(6, 'Europe/Madrid'))",
    "Nullable(DateTime64(9, 'UTC'))",
    "String",
    "LowCardinality(String)",
    "Nullable(FixedString(3))",
    "Enum8('a' = 1, 'b' = 2)",
    "Nullable(UUID)",
    "Nullable(IPv4)",
    "Nullable(IPv6)",
    "Array(Int8)",
    "Array(Nullable(Int64))",
    "Array(Float32)",
    "Array(DateTime)",
    "Array(Nullable(DateTime64(3)))",
    "Array(Decimal(9, 2))",
    "Array(String)",
    "Array(Date)",
    "Array(Array(Int32))",
    "Array(Array(DateTime64(6, 'UTC')))",
    "Array(Tuple(x Int16, y Nullable(String)))",
    "Tuple(x Int16, y Nullable(String))",
    "Tuple(x DateTime, y Decimal(9, 2))",
    "Tuple(x Float64, y Date)",
    "Tuple(x Bool, y UInt64)",
    "Tuple(x Array(Int64), y Nullable(Int8))",
    "Map(String, Int64)",
    "Map(String, Nullable(Float32))",
    "Map(String, DateTime64(3))",
    "Map(LowCardinality(String), Array(UInt8))",
    "Map(String, String)",
]
COLUMNS = {f"c{number}": kind for number, kind in enumerate(TYPES)}


def default_of(kind: str) -> str | None:
    if kind.startswith("Tuple"):
        return {
            "Tuple(x Int16, y Nullable(String))": "(0, NULL)",
            "Tuple(x DateTime, y Decimal(9, 2))": "(toDateTime(0), toDecimal32(0, 2))",
            "Tuple(x Float64, y Date)": "(0., toDate('1970-01-02'))",
            "Tuple(x Bool, y UInt64)": "(false, toUInt64(0))",
            "Tuple(x Array(Int64), y Nullable(Int8))": "([], NULL)",
        }[kind]
    return _DEFAULTS.get(kind.partition("(")[0], "0")


# What comes


NUMBERS = [
    *(0, 1, -1, 2, 5, 99, 127, 128, -129, 255, 256, 300, 32767, 32768, 65535, 65536, 99999, 2**24, 2**24 + 1, 10**7),
    *(10_000_101, 20240101, 99_999_999, 10**8, 123456789, 10**9, 1704067200, 2**31, 2**32 - 1, 2**32, 9_999_999_999),
    *(2**53, 2**53 + 1, -(2**53) - 1, 1704067200123, 1704067200123456, 1704067200123456789, 2**63 - 1, -(2**63)),
]
INTEGERS = st.sampled_from(NUMBERS) | st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)
FLOATS = (
    st.sampled_from(
        [
            0.0,
            1.0,
            0.1,
            0.12,
            0.129,
            0.29,
            1.15,
            24739.01,
            1.5,
            2.0**24 + 1,
            1e39,
            1e-46,
            3.4028235e38,
            3.4028236e38,
            1e22,
            1e300,
        ]
    )
    | st.sampled_from(
        [5e-324, 1704067200.0, 1704067200.5, 1704067200.123, 2.0**53, 99999999.99, float("nan"), -0.5, 123456.789]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-1000, 1000).map(lambda value: round(value, 2))
)
DAYS = (
    st.sampled_from(
        [
            dt.date(*day)
            for day in (
                (1, 1, 1),
                (1899, 12, 31),
                (1900, 1, 1),
                (1960, 1, 1),
                (1969, 12, 31),
                (1970, 1, 1),
                (2024, 2, 29),
                (2024, 3, 31),
            )
        ]
        + [
            dt.date(*day)
            for day in (
                (2106, 2, 7),
                (2149, 6, 6),
                (2149, 6, 7),
                (2262, 4, 12),
                (2299, 12, 31),
                (2300, 1, 1),
                (9999, 12, 31),
            )
        ]
    )
    | st.dates()
)
CLOCKS = st.sampled_from(
    [
        *(dt.time(), dt.time(2, 30), dt.time(0, 30), dt.time(6, 28, 15), dt.time(6, 28, 16), dt.time(23, 59, 59)),
        *(dt.time(23, 59, 59, 999999), dt.time(1, 2, 3, 123000), dt.time(1, 2, 3, 123456), dt.time(1, 2, 3, 120000)),
        dt.time(1, 0, 0, 1),
    ]
)
TIMES = st.builds(dt.datetime.combine, DAYS, CLOCKS) | st.sampled_from(
    [
        dt.datetime(2024, 3, 31, 2, 30),
        dt.datetime(2024, 3, 31, 2),
        dt.datetime(2024, 10, 27, 2, 30),
        dt.datetime(1970, 1, 1, 0, 30),
    ]
)
NOW = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1))
DECIMALS = st.sampled_from(
    [
        Decimal(text)
        for text in (
            "0",
            "0.1",
            "0.12",
            "0.129",
            "-0.001",
            "1.10",
            "99999999.99",
            "9999999.99",
            "1704067200.5",
            "123456789012345678.1234567891",
        )
    ]
) | st.decimals(-(10**6), 10**6, places=3)
TEXTS = (
    st.sampled_from(
        [
            "",
            "a",
            "b",
            "abc",
            "abcd",
            "é",
            "null",
            "true",
            "false",
            "x",
            "7",
            "300",
            "-1",
            "1.5",
            "0.129",
            "1e3",
            "1e39",
            "16777217",
            "9007199254740993",
        ]
    )
    | st.sampled_from(
        [
            "12345678-9abc-def0-1234-56789abcdef0",
            "1.2.3.4",
            "::1",
            "2001:db8::1",
            "12345678901234567890.12",
            "0.10",
            "99999999.99",
        ]
    )
    | st.sampled_from(
        [
            "2024-01-01",
            "2024-02-30",
            "9999-12-31",
            "1960-01-01",
            "0000-01-01",
            "2024-01-01 10:00:00",
            "2024-01-01T10:00:00.123456Z",
        ]
    )
    | st.sampled_from(
        [
            "2024-03-31 02:30:00",
            "2024-01-01 25:00:00",
            "1969-12-31T23:30:00-01:00",
            "2106-02-07T06:28:16Z",
            "2024-01-01T00:00:00",
            "2150-01-01T00:00:00+05:30",
        ]
    )
    | DAYS.map(str)
    | TIMES.map(str)
    | st.text(st.characters(codec="utf-8", exclude_characters="-/:.0123456789"), max_size=5).filter(
        lambda text: text.lower() not in ("inf", "nan")
    )
)
# fmt: off
SCALARS: dict[str, tuple[pa.DataType, Any]] = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), INTEGERS),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1) | st.sampled_from([one for one in NUMBERS if one >= 0])),
    "double": (pa.float64(), FLOATS),
    "float": (pa.float32(), st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.5, 1.0])),
    "bool": (pa.bool_(), st.booleans()),
    "text": (pa.string(), TEXTS),
    "bytes": (pa.binary(), TEXTS.map(str.encode)),
    "category": (pa.dictionary(pa.int32(), pa.string()), TEXTS),
    "date": (pa.date32(), DAYS),
    "time s": (pa.timestamp("s"), TIMES.map(lambda one: one.replace(microsecond=0))),
    "time ms": (pa.timestamp("ms"), TIMES.map(lambda one: one.replace(microsecond=one.microsecond // 1000 * 1000))),
    "time us": (pa.timestamp("us"), TIMES | NOW),
    "time ns": (pa.timestamp("ns"), TIMES.filter(lambda one: 1678 < one.year < 2262).map(pd.Timestamp)
                | st.integers(0, 2**62).map(pd.Timestamp)),
    "time us UTC": (pa.timestamp("us", "UTC"), (TIMES | NOW).map(lambda one: one.replace(tzinfo=dt.UTC))),
    "time us Madrid": (pa.timestamp("us", "Europe/Madrid"), NOW.map(lambda one: one.replace(tzinfo=dt.UTC))),
    "decimal(38, 10)": (pa.decimal128(38, 10), DECIMALS),
    "decimal(12, 3)": (pa.decimal128(12, 3), st.decimals(-(10**6), 10**6, places=3)),
    "time of day": (pa.time64("us"), CLOCKS),
    "duration": (pa.duration("us"), st.timedeltas(dt.timedelta(-(10**5)), dt.timedelta(10**5))),
}
# fmt: on
STRINGLESS = [name for name in SCALARS if name not in ("bytes", "category", "time of day", "duration", "float")]


def lists(kind: tuple[pa.DataType, Any]) -> tuple[pa.DataType, Any]:
    return pa.list_(kind[0]), st.lists(st.none() | kind[1], max_size=3) | st.lists(kind[1], min_size=1, max_size=3)


def structs(
    one: tuple[pa.DataType, Any], other: tuple[pa.DataType, Any], names: tuple[str, ...]
) -> tuple[pa.DataType, Any]:
    kinds = dict(zip(names, (one, other, one), strict=False))
    fields = st.fixed_dictionaries(
        {name: kind[1] | (st.none() if name != "x" else kind[1]) for name, kind in kinds.items()}
    )
    return pa.struct([(name, kind[0]) for name, kind in kinds.items()]), fields


def maps(kind: tuple[pa.DataType, Any]) -> tuple[pa.DataType, Any]:
    return pa.map_(pa.string(), kind[0]), st.dictionaries(st.sampled_from(["k", "q", ""]), kind[1], max_size=2).map(
        lambda one: list(one.items())
    )


@st.composite
def kinds(draw: Any, like: str) -> tuple[str, pa.DataType, Any]:
    """A type of Arrow and values of it, often of the shape that the column has."""
    name = draw(st.sampled_from(sorted(SCALARS)))
    scalar = SCALARS[name]
    if name not in STRINGLESS:
        return name, *scalar
    shape = like.partition("(")[0] if draw(st.integers(0, 9)) else draw(st.sampled_from(["Array", "Tuple", "Map", ""]))
    if shape == "Array":
        if "Array(Tuple" in like:
            return name, *lists(structs(scalar, SCALARS[draw(st.sampled_from(STRINGLESS))], ("x", "y")))
        return name, *(lists(lists(scalar)) if "Array(Array" in like else lists(scalar))
    if shape == "Tuple":
        names = draw(st.sampled_from([("x", "y"), ("x", "y"), ("x", "y"), ("x", "y", "z"), ("x",), ("y", "x")]))
        other = SCALARS[draw(st.sampled_from(STRINGLESS))]
        return name, *structs(lists(scalar) if "Array" in like else scalar, other, names)
    if shape == "Map":
        return name, *maps(lists(scalar) if "Array" in like else scalar)
    return name, *scalar


@dataclass
class Frame:
    """A few values on their way into a column."""

    column: str
    form: str
    kind: str
    type: pa.DataType
    values: list[Any]

    @property
    def target(self) -> str:
        return COLUMNS[self.column]

    def table(self, number: int) -> pa.Table:
        rows = len(self.values)
        column = pa.array(self.values, self.type)
        return pa.table(
            {"ex": pa.array([number] * rows, pa.int64()), "n": pa.array(range(rows), pa.int64()), self.column: column}
        )

    def data(self, number: int) -> tuple[Any, list[Any]]:
        """What is sent, and the values in it."""
        table = self.table(number)
        plain = [as_plain(value, self.type) for value in table[self.column].to_pylist()]
        if self.form == "records":
            return [{**row, self.column: value} for row, value in zip(table.to_pylist(), plain, strict=True)], plain
        if self.form == "objects":
            frame = table.select(["ex", "n"]).to_pandas()
            frame[self.column] = pd.Series(plain, dtype=object)
            return frame, plain
        if self.form == "pandas":
            frame = table.to_pandas()
            # What pandas made of it: integers beside a null are floats there, and their digits were lost before.
            return frame, [as_seen(one) for one in frame[self.column].tolist()]
        if self.form == "pandas of Arrow":
            return table.to_pandas(types_mapper=pd.ArrowDtype), plain
        if self.form == "polars":
            return pl.from_arrow(table), plain
        return table, plain


def as_seen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [as_seen(one) for one in value]
    if isinstance(value, dict):
        return {key: as_seen(one) for key, one in value.items()}
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        return as_seen(value.item())
    return None if is_missing(value) else pd.Timestamp(value) if isinstance(value, np.datetime64) else value


FORMS = ["Arrow", "pandas", "pandas of Arrow", "polars", "records", "objects"]


def as_plain(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: as_plain(item, kind.item_type) for key, item in value}
    if pa.types.is_list(kind):
        return [as_plain(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: as_plain(value[field.name], field.type) for field in kind}
    return value


@st.composite
def frames(draw: Any, forms: list[str] = FORMS) -> Frame:
    column = draw(st.sampled_from(sorted(COLUMNS)))
    name, kind, values = draw(kinds(COLUMNS[column]))
    found = draw(st.lists(values, min_size=1, max_size=4) | st.lists(st.none() | values, min_size=1, max_size=3))
    form = draw(st.sampled_from(forms))
    if form == "pandas" and pa.types.is_nested(kind) and "tz=" in str(kind):
        form = "Arrow"  # the zones of times in lists are lost in pandas
    if form in ("polars", "pandas", "pandas of Arrow") and "map<" in str(kind):
        form = "Arrow"  # they make lists of pairs of it
    if form == "polars" and any(isinstance(one, dt.date) and one.year < 2 for one in found):
        form = "Arrow"
    return Frame(column, form, name, kind, found)


# What is expected


def is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def split(text: str) -> list[str]:
    """The arguments of a type."""
    parts, depth = [""], 0
    for one in text[text.index("(") + 1 : -1]:
        depth += (one == "(") - (one == ")")
        if one == "," and not depth:
            parts.append("")
        else:
            parts[-1] += one
    return [part.strip() for part in parts]


def numbers_of(value: Any, kind: str) -> list[Decimal]:
    """The numbers that a value may be taken for: a float is one exactly, and its shortest text says another."""
    found = [number_of(value, kind)]
    if isinstance(value, float | np.floating) and not math.isnan(value):
        found += [Decimal(float(value)), Decimal(repr(float(value)))]
        if kind.endswith("float"):
            found.append(Decimal(str(np.float32(value))))
    return [one for one in found if one is not None]


def number_of(value: Any, kind: str) -> Decimal | None:
    """The number that a value is, exactly: of a float the one that its shortest text says."""
    if isinstance(value, bool | np.bool_):
        return Decimal(int(value))
    if isinstance(value, int | np.integer):
        return Decimal(int(value))
    if isinstance(value, dt.timedelta):
        return Decimal((value.days * 86400 + value.seconds) * 10**6 + value.microseconds)
    if isinstance(value, float | np.floating):
        if abs(value) < 2.0**63 and float(value).is_integer():
            return Decimal(int(value))
        return Decimal(str(np.float32(value)) if kind.endswith("float") else repr(float(value)))
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        try:
            return Decimal(value)
        except InvalidOperation:
            return {"true": Decimal(1), "false": Decimal(0)}.get(value)
    return None


def same(value: Any, target: str, stored: Any, kind: str, *, top: bool = False) -> bool:
    """Whether what is stored is the value."""
    base = target
    nullable = False
    while base.startswith(("Nullable(", "LowCardinality(")):
        nullable = nullable or base.startswith("Nullable(")
        base = split(base)[0]
    if is_missing(value):
        return stored is None if nullable else top  # at the top the column's default, as documented
    if stored is None:
        return False
    name = base.partition("(")[0]
    if name == "Array":
        items = split(base)[0]
        if isinstance(value, str | bytes):
            return json.loads(value) == stored
        return (
            isinstance(stored, list)
            and len(stored) == len(value)
            and all(same(*pair, kind) for pair in zip(value, [items] * len(value), stored, strict=True))
        )
    if name == "Map":
        inner = split(base)[1]
        return set(value) == set(stored) and all(same(value[key], inner, stored[key], kind) for key in value)
    if name == "Tuple":
        fields = dict(field.split(" ", 1) for field in split(base))
        if isinstance(value, list):
            value = dict(zip(fields, value, strict=False)) if len(value) == len(fields) else {"": None}
        return not set(value) - set(fields) and all(
            same(value.get(key), inner, stored[key], kind) for key, inner in fields.items()
        )
    return SAME[name](value, base, stored, kind)


def is_same(value: Any, frame: Frame, stored: Any) -> bool:
    try:
        return same(value, frame.target, stored, frame.kind, top=True)
    except (InvalidOperation, ValueError, AttributeError):  # no number, no address
        return False


def same_number(value: Any, base: str, stored: Any, kind: str) -> bool:
    return Decimal(stored) in numbers_of(value, kind)


def same_bool(value: Any, base: str, stored: Any, kind: str) -> bool:
    number = number_of(value, kind)
    return number in (0, 1) and bool(number) is stored


def same_float(value: Any, base: str, stored: Any, kind: str) -> bool:
    number = number_of(value, kind)
    if number is None:
        return False
    found = float(stored)
    if base == "Float64":
        nearest = float(value) if isinstance(value, float | np.floating) else float(number)
        exact = isinstance(value, int | Decimal | np.integer) and not isinstance(value, bool)
        if kind.endswith("float") and found == float(number):
            return True  # in the other width the shortest text of its own, as documented
        return found == nearest and (not exact or Decimal(repr(found)) == number or Decimal(found) == number)
    nearest = np.float32(float(number))
    if isinstance(value, int | np.integer) and Decimal(float(nearest)) != number:
        return False
    if isinstance(value, float | np.floating):
        number = Decimal(float(value))
    close = number == 0 or abs(Decimal(float(nearest)) - number) <= abs(number) * Decimal(2) ** -23
    return bool(np.isfinite(nearest)) and bool(np.float32(found) == nearest) and close


def same_text(value: Any, base: str, stored: Any, kind: str) -> bool:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        return stored == value
    if isinstance(value, bool | np.bool_):
        return stored == ("true" if value else "false")
    if isinstance(value, dt.datetime):
        found = pd.Timestamp(stored)
        if value.tzinfo is not None:
            # In UTC: Python takes no time of an hour that comes twice for equal to one of another zone.
            value = value.astimezone(dt.UTC)
            return found.tz_localize("UTC") == value if found.tzinfo is None else found == value
        return found == pd.Timestamp(value)
    if isinstance(value, dt.date):
        return stored == value.isoformat()
    if isinstance(value, dt.time):
        return dt.time.fromisoformat(stored) == value
    if isinstance(value, dict | list):
        return True  # as its JSON: what is in it has no types
    return Decimal(stored) in numbers_of(value, kind)


def same_fixed(value: Any, base: str, stored: Any, kind: str) -> bool:
    return same_text(value, base, stored.rstrip("\0"), kind) or same_text(value, base, stored, kind)


def moment_of(value: Any, kind: str) -> tuple[dt.datetime | None, int]:
    """A time, and its nanoseconds; the year of a text may be none."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and not value.isdigit():
        value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.datetime):
        plain = value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
        return plain, plain.microsecond * 1000 + getattr(value, "nanosecond", 0)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day), 0
    number = number_of(value, kind)
    if number is None:
        return None, 0
    digits = len(str(int(number)))
    number = number.scaleb({13: -3, 16: -6, 19: -9}.get(digits, 0))
    seconds = math.floor(number)
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds), int((number - seconds) * 10**9)


def same_moment(value: Any, base: str, stored: Any, kind: str) -> bool:
    """Stored is in UTC where it is at the top, which is what the query asks for; inside it has no zone but UTC."""
    try:
        expected, nanos = moment_of(value, kind)
    except ValueError:
        return False
    if expected is None:
        return False
    text, _, digits = stored.partition(".")
    found = dt.datetime.fromisoformat(text)
    if int((digits or "0").ljust(9, "0")) != nanos:
        return False
    expected = expected.replace(microsecond=0)
    if expected.tzinfo is not None:
        return expected.astimezone(dt.UTC).replace(tzinfo=None) == found
    if "Madrid" not in base or (kind.startswith("file") and isinstance(value, dt.datetime)):
        # In a file a naive time is UTC, as documented; a text is not.
        return expected == found
    # Naive: the wall clock of the column. An hour that there is twice is either of both.
    return found.replace(tzinfo=dt.UTC).astimezone(MADRID).replace(tzinfo=None) == expected


def same_day(value: Any, base: str, stored: Any, kind: str) -> bool:
    number = None if isinstance(value, dt.date | str | bytes) else number_of(value, kind)
    if number is not None and kind.startswith("file"):  # days, as documented
        return str(dt.date(1970, 1, 1) + dt.timedelta(days=int(number))) == stored
    if number is not None:
        return stored.replace("-", "") == str(number)
    try:
        expected, nanos = moment_of(value, kind)
    except ValueError:
        return False
    return expected is not None and expected.time() == dt.time() and not nanos and str(expected.date()) == stored


SAME: dict[str, Any] = {
    **dict.fromkeys([f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256)], same_number),
    "Decimal": same_number,
    "Bool": same_bool,
    "Float32": same_float,
    "Float64": same_float,
    "String": same_text,
    "FixedString": same_fixed,
    "Enum8": same_text,
    "UUID": lambda value, base, stored, kind: (
        uuid.UUID(value if isinstance(value, str) else value.decode()) == uuid.UUID(stored)
    ),
    "IPv4": lambda value, base, stored, kind: (value if isinstance(value, str) else value.decode()) == stored,
    "IPv6": lambda value, base, stored, kind: (
        ipaddress.ip_address(stored) in addresses(value if isinstance(value, str) else value.decode())
    ),
    "DateTime": same_moment,
    "DateTime64": same_moment,
    "Date": same_day,
    "Date32": same_day,
}


def addresses(text: str) -> list[Any]:
    found = ipaddress.ip_address(text)
    return [found, ipaddress.ip_address(f"::ffff:{text}")] if found.version == 4 else [found]


# The engine


def in_utc(name: str, kind: str) -> str:
    is_moment = "DateTime" in kind and not kind.startswith(("Array", "Tuple", "Map"))
    return f"toTimeZone({name}, 'UTC')" if is_moment else name


class Table:
    """The wide table: what is in it, row by row."""

    def __init__(self, server: SandboxProcess, hook: TinybirdHook) -> None:
        self.hook = hook
        self.http = httpx.Client(base_url=server.base_url, headers=server.headers, timeout=60)
        self.found = hook.send(datasources.get_datasource("t"))
        self.gate = gate_of(hook.client, "t", OnNarrowing.FAIL, self.found)
        self.typed = gate_of(hook.client, "t", OnNarrowing.FAIL, self.found, typed=True)
        self.number = 0
        self.outcomes: Counter[str] = Counter()
        self.changed: list[str] = []

    def stored(self, numbers: list[int], columns: set[str]) -> dict[tuple[int, int], dict[str, Any]]:
        shown = [f"toJSONString({in_utc(name, COLUMNS[name])}) AS {name}_text" for name in sorted(columns)]
        where = f"ex IN ({', '.join(map(str, numbers))})"
        answer = self.http.post(
            "/v0/sql", content=f"SELECT ex, n, {', '.join(shown)} FROM t WHERE {where} FORMAT JSONEachRow"
        )
        assert answer.status_code == 200, answer.text
        rows: dict[tuple[int, int], dict[str, Any]] = {}
        for row in map(json.loads, answer.content.splitlines()):
            place = int(row["ex"]), int(row["n"])
            assert place not in rows, "a row is there twice"
            rows[place] = {name: json.loads(row[f"{name}_text"] or "null", parse_float=Decimal) for name in columns}
        return rows

    def refused(self, how: str, error: Exception, frame: Frame) -> None:
        if UNSEEN in str(error):
            self.changed.append(f"{error}: {frame}")
        self.outcomes[how] += len(frame.values)

    def judge(self, sent: list[tuple[int, Frame, list[Any]]], quarantined: int) -> None:
        if not sent:
            return
        rows = self.stored([number for number, _, _ in sent], {frame.column for _, frame, _ in sent})
        missing = 0
        for number, frame, values in sent:
            for n, value in enumerate(values):
                row = rows.get((number, n))
                if row is None:
                    missing += 1
                    continue
                stored = row[frame.column]
                if is_same(value, frame, stored):
                    self.outcomes["equal"] += 1
                else:
                    self.changed.append(f"{value!r} ({frame.form}, {frame.type}) into {frame.target} is {stored!r}")
        self.outcomes["quarantined"] += missing
        if missing != quarantined:
            self.changed.append(f"{missing} rows are not there, {quarantined} are in quarantine")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    project = tmp_path_factory.mktemp("project")
    (project / "datasources").mkdir()
    lines = ["`ex` Int64 `json:$.ex`", "`n` Int64 `json:$.n`"]
    for name, kind in COLUMNS.items():
        default = default_of(kind)
        path = f"json:$.{name}" + ("[:]" if kind.startswith("Array") else "")
        lines.append(f"`{name}` {kind} `{path}`" + (f" DEFAULT {default}" if default is not None else ""))
    (project / "datasources" / "t.datasource").write_text(
        "SCHEMA >\n    " + ",\n    ".join(lines) + "\n\nENGINE MergeTree\nENGINE_SORTING_KEY ex, n\n"
    )
    with SandboxProcess("--project", project) as server:
        connection = {"conn_type": "tinybird", "host": server.base_url, "password": server.token}
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", json.dumps(connection))
            table = Table(server, TinybirdHook())
            yield table


# The usual run draws the same frames each time; a longer one looks for new ones.
QUIET = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.generate],
    derandomize="TINYBIRD_EXAMPLES" not in os.environ,
)


class Loads:
    """Collects frames, and sends many of them as one load."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.frames: list[tuple[int, Frame, Any, list[Any]]] = []
        self.seen = 0

    def add(self, frame: Frame) -> None:
        self.seen += 1
        made = self._made(frame)
        try:
            check(made[2], gate=self.table.gate)
        except (EncodeError, UnsupportedDataError) as error:
            self.table.refused("refused", error, frame)
            return
        self.frames.append(made)
        if len(self.frames) == FRAMES:
            self.send()

    def send(self) -> None:
        frames, self.frames = self.frames, []
        self._send(frames)

    def _made(self, frame: Frame) -> tuple[int, Frame, Any, list[Any]]:
        self.table.number += 1
        return (self.table.number, frame, *frame.data(self.table.number))

    def _send(self, frames: list[tuple[int, Frame, Any, list[Any]]]) -> None:
        """Where the engine refuses a load as a whole, it is sent again in halves."""
        if not frames:
            return
        try:
            result = self.table.hook.send_events("t", [data for _, _, data, _ in frames], pacing=False)
        except TinybirdError:
            if len(frames) == 1:
                self.table.outcomes["refused by the engine"] += len(frames[0][3])
                return
            for half in (frames[: len(frames) // 2], frames[len(frames) // 2 :]):
                self._send([self._made(frame) for _, frame, _, _ in half])
            return
        self.table.judge([(number, frame, values) for number, frame, _, values in frames], result.quarantined_rows)


def test_any_value_into_any_column_is_equal_quarantined_or_refused(table: Table) -> None:
    drawn: list[Frame] = []

    @settings(QUIET, max_examples=EXAMPLES)
    @given(frames())
    def draw(frame: Frame) -> None:
        drawn.append(frame)

    draw()
    loads = Loads(table)
    for frame in drawn:
        loads.add(frame)
    loads.send()
    print(loads.seen, "frames:", dict(table.outcomes))
    print(*table.changed[:100], sep="\n")
    assert not table.changed
    assert loads.seen >= EXAMPLES
    assert table.outcomes["equal"] > table.outcomes["quarantined"] / 4, "a test in which little arrives shows little"


def test_any_parquet_file_into_any_column_is_equal_quarantined_or_refused(table: Table) -> None:
    @settings(QUIET, max_examples=max(1, EXAMPLES // 40))
    @given(frames(["Arrow"]))
    def draw(frame: Frame) -> None:
        drawn.append(frame)

    drawn: list[Frame] = []
    table.changed.clear()
    draw()
    for frame in drawn:
        send_file(table, frame)
    print(dict(table.outcomes))
    print(*table.changed[:100], sep="\n")
    assert not table.changed


def send_file(table: Table, frame: Frame) -> None:
    table.number += 1
    buffer = io.BytesIO()
    pq.write_table(frame.table(table.number), buffer)
    body = buffer.getvalue()
    file = FileToSend("f.parquet", len(body), FileFormat.PARQUET, False, lambda: io.BytesIO(body))
    _, values = frame.data(table.number)
    try:
        check_file(file, table.typed, "t")
    except InvalidInputError as error:
        table.refused("files: refused", error, frame)
        return
    answer = table.http.post("/v0/datasources?name=t&mode=append&format=parquet", content=body)
    if answer.status_code != 200:
        table.outcomes["files: refused by the engine"] += len(values)
        return
    frame.kind = f"file {frame.kind}"
    table.judge([(table.number, frame, values)], answer.json()["quarantine_rows"])
