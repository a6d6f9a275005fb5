"""Every type of pandas, Arrow, polars and Python: a column of it, the ClickHouse type that takes it, and what is read back.

The tables of docs/types.md are made from this list: run this file to write them anew.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

DOCS = Path(__file__).parents[1] / "docs" / "types.md"
NONE = object()
"""Equal to any kind of missing value."""


@dataclass(frozen=True, kw_only=True)
class TypeCase:
    """A column on its way there and back.

    :param library: where the type is at home.
    :param type: its name, as documented.
    :param values: a column of it: Series, Array or list.
    :param clickhouse: type that takes it without loss.
    :param back: what ``query_df`` reads back; all that was sent, in the types of pandas.
    """

    library: str
    type: str
    values: Any
    clickhouse: str
    back: list[Any]

    def frame(self, **columns: Any) -> Any:
        """A frame of the library with the column ``v`` and others, which repeat one value."""
        size = len(self.values)
        rest = {name: [value] * size for name, value in columns.items()} | {"n": list(range(size))}
        if self.library == "pandas":
            return pd.DataFrame({**rest, "v": self.values})
        if self.library == "Arrow":
            return pa.table({**rest, "v": self.values})
        if self.library == "polars":
            return pl.DataFrame({**rest, "v": self.values})
        names = [*rest, "v"]
        return [dict(zip(names, row, strict=True)) for row in zip(*rest.values(), self.values, strict=True)]


MADRID = ZoneInfo("Europe/Madrid")
KATHMANDU = ZoneInfo("Asia/Kathmandu")
I64, U64 = [-(2**63), 2**63 - 1], [0, 2**64 - 1]
TEXTS = ["", "é😀\u2028", 'a"b\\c/d', "\x00\x01\t\n\r\x1f\x7f", "null", "\ufeff", "e\u0301"]
FLOATS = [0.1, 1e-7, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, 1 / 3, 123456789012.5, 1e22]
D38, D76 = Decimal("9" * 28 + "." + "9" * 10), Decimal("-" + "9" * 60 + "." + "1" * 16)
DAY, OLD, FUTURE = dt.date(2024, 2, 29), dt.date(1900, 1, 1), dt.date(2299, 12, 31)
MOMENT = dt.datetime(2024, 7, 1, 12, 30, 15, 123456)
FIRST_TWICE = dt.datetime(2023, 10, 29, 2, 30, tzinfo=MADRID)
ID = uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")


def utc(*moments: dt.datetime | str) -> list[Any]:
    stamps = [pd.Timestamp(moment) for moment in moments]
    return [one.tz_localize("UTC") if one.tzinfo is None else one for one in stamps]


def objects(*values: Any) -> pd.Series[Any]:
    return pd.Series(list(values), dtype=object)


def _pandas() -> Iterator[tuple[str, Any, str, list[Any]]]:
    for size in (8, 16, 32, 64):
        low, high = -(2 ** (size - 1)), 2 ** (size - 1) - 1
        yield f"int{size}", pd.Series([low, high], dtype=f"int{size}"), f"Int{size}", [low, high]
        yield f"uint{size}", pd.Series([0, 2**size - 1], dtype=f"uint{size}"), f"UInt{size}", [0, 2**size - 1]
    yield "Int64", pd.Series([I64[0], None, I64[1]], dtype="Int64"), "Nullable(Int64)", [I64[0], NONE, I64[1]]
    yield "UInt64", pd.Series([U64[1], None], dtype="UInt64"), "Nullable(UInt64)", [U64[1], NONE]
    yield "float64", pd.Series(FLOATS), "Float64", FLOATS
    yield "float64", pd.Series([1.0, None, 1e15]), "Nullable(Int64)", [1, NONE, 10**15]
    yield "float64", pd.Series([0.5, float("nan")]), "Nullable(Float64)", [0.5, NONE]
    yield (
        "float32",
        pd.Series([0.1, 3e38], dtype="float32"),
        "Float32",
        [float(np.float32(0.1)), float(np.float32(3e38))],
    )
    yield "Float64", pd.Series([0.1, None], dtype="Float64"), "Nullable(Float64)", [0.1, NONE]
    yield "bool", pd.Series([True, False]), "Bool", [True, False]
    yield "boolean", pd.Series([True, None], dtype="boolean"), "Nullable(Bool)", [True, NONE]
    yield "str", pd.Series(TEXTS, dtype="str"), "String", TEXTS
    yield "string", pd.Series(["a", None], dtype="string"), "Nullable(String)", ["a", NONE]
    yield "object with texts", objects(*TEXTS), "String", TEXTS
    yield "object of several kinds", objects(1, "1", None, 0.5), "Nullable(String)", ["1", "1", NONE, "0.5"]
    yield "category", pd.Series(["u", "w", "u"], dtype="category"), "LowCardinality(String)", ["u", "w", "u"]
    yield "category", pd.Series(["b", "a"], dtype="category"), "Enum8('a' = 1, 'b' = 2)", ["b", "a"]
    for unit, digits in (("s", 0), ("ms", 3), ("us", 6), ("ns", 9)):
        kind = f"DateTime64({digits}, 'UTC')"
        exact = pd.Timestamp("2024-07-01 12:30:15.123456789").as_unit(unit)
        yield f"datetime64[{unit}]", pd.Series([exact], dtype=f"datetime64[{unit}]"), kind, utc(exact)
    zoned = pd.Series([FIRST_TWICE, FIRST_TWICE.replace(fold=1)]).astype("datetime64[us, Europe/Madrid]")
    yield "datetime64[us, zone]", zoned, "DateTime64(6, 'Europe/Madrid')", list(zoned)
    yield "datetime64[us, zone]", zoned, "DateTime('Asia/Kathmandu')", list(zoned)
    yield (
        "datetime64[ns, zone]",
        pd.Series(utc("2024-01-01 00:00:00.000000001")),
        "DateTime64(9, 'UTC')",
        utc("2024-01-01 00:00:00.000000001"),
    )
    yield "timedelta64[ns]", pd.Series(pd.to_timedelta([5, -(10**18)], unit="ns")), "Int64", [5, -(10**18)]
    yield "object with Decimal", objects(D38, Decimal("1E-10")), "Decimal(38, 10)", [D38, Decimal("0.0000000001")]
    yield "object with date", objects(DAY, OLD), "Date32", [pd.Timestamp(DAY), pd.Timestamp(OLD)]
    yield "object with UUID", objects(ID, None), "Nullable(UUID)", [ID, NONE]
    yield "object with bytes", objects(b"a\x00", "é".encode()), "String", ["a\x00", "é"]
    yield "object with lists", objects([1, 2], [], [3]), "Array(Int64)", [[1, 2], [], [3]]
    yield "object with dicts", objects({"a": [1], "b": "x"}, {"c": 0.5}), "JSON", [{"a": [1], "b": "x"}, {"c": 0.5}]
    yield "Sparse[int64]", pd.Series(pd.arrays.SparseArray([0, 0, 7])), "Int64", [0, 0, 7]
    arrow = pd.Series(pa.array([Decimal("1.50")]), dtype=pd.ArrowDtype(pa.decimal128(9, 2)))
    yield "ArrowDtype", arrow, "Decimal(9, 2)", [Decimal("1.50")]


def _arrow() -> Iterator[tuple[str, Any, str, list[Any]]]:
    for size in (8, 16, 32, 64):
        low, high = -(2 ** (size - 1)), 2 ** (size - 1) - 1
        yield f"int{size}", pa.array([low, high], f"int{size}"), f"Int{size}", [low, high]
        yield f"uint{size}", pa.array([0, 2**size - 1], f"uint{size}"), f"UInt{size}", [0, 2**size - 1]
    yield "int64", pa.array([1, None]), "Nullable(Int64)", [1, NONE]
    yield "null", pa.nulls(2), "Nullable(Int8)", [NONE, NONE]
    yield "halffloat", pa.array(np.array([0.1, 65504], np.float16)), "Float32", [float(np.float16(0.1)), 65504.0]
    yield "float", pa.array([0.1, None], pa.float32()), "Nullable(Float32)", [float(np.float32(0.1)), NONE]
    yield "double", pa.array(FLOATS), "Float64", FLOATS
    yield "bool", pa.array([True, None]), "Nullable(Bool)", [True, NONE]
    yield "string", pa.array(TEXTS), "String", TEXTS
    yield "large_string", pa.array(["é", None], pa.large_string()), "Nullable(String)", ["é", NONE]
    yield "string_view", pa.array(["é" * 20, "x"], pa.string_view()), "String", ["é" * 20, "x"]
    yield "binary", pa.array([b"", "é\x00".encode()]), "String", ["", "é\x00"]
    yield "large_binary", pa.array([b"a", None], pa.large_binary()), "Nullable(String)", ["a", NONE]
    yield "binary_view", pa.array([b"a"], pa.binary_view()), "String", ["a"]
    yield "fixed_size_binary", pa.array([b"EUR", b"USD"], pa.binary(3)), "FixedString(3)", ["EUR", "USD"]
    yield (
        "dictionary",
        pa.array(["u", None, "w"]).dictionary_encode(),
        "LowCardinality(Nullable(String))",
        ["u", NONE, "w"],
    )
    yield "run_end_encoded", pa.RunEndEncodedArray.from_arrays([2, 3], [7, 8]), "Int64", [7, 7, 8]
    yield "decimal32", pa.array([Decimal("1.50")], pa.decimal32(9, 2)), "Decimal(9, 2)", [Decimal("1.50")]
    yield "decimal64", pa.array([Decimal("-1.50")], pa.decimal64(18, 2)), "Decimal(18, 2)", [Decimal("-1.50")]
    yield "decimal128", pa.array([D38, None], pa.decimal128(38, 10)), "Nullable(Decimal(38, 10))", [D38, NONE]
    yield (
        "decimal256",
        pa.array([D76, Decimal("1E-16")], pa.decimal256(76, 16)),
        "Decimal(76, 16)",
        [D76, Decimal("1E-16")],
    )
    yield "date32", pa.array([DAY, OLD, FUTURE]), "Date32", [pd.Timestamp(day) for day in (DAY, OLD, FUTURE)]
    yield "date64", pa.array([DAY], pa.date64()), "Date", [pd.Timestamp(DAY)]
    for unit, digits in (("s", 0), ("ms", 3), ("us", 6), ("ns", 9)):
        exact = pd.Timestamp("2024-07-01 12:30:15.123456789").as_unit(unit)
        stored = pa.array([exact.value], pa.int64()).cast(pa.timestamp("ns")).cast(pa.timestamp(unit), safe=False)
        yield f"timestamp[{unit}]", stored, f"DateTime64({digits}, 'UTC')", utc(exact)
        zoned = stored.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit, "Asia/Kathmandu"))
        yield f"timestamp[{unit}, zone]", zoned, f"DateTime64({digits}, 'Asia/Kathmandu')", utc(exact)
    beyond = [dt.datetime(1900, 1, 1), dt.datetime(2299, 12, 31, 23, 59, 59, 999999)]
    yield "timestamp[us]", pa.array(beyond), "DateTime64(6, 'UTC')", utc(*beyond)
    yield "timestamp[s]", pa.array([dt.datetime(2105, 12, 31)], pa.timestamp("s")), "DateTime('UTC')", utc("2105-12-31")
    yield "time32", pa.array([3_600_001], pa.time32("ms")), "String", ["01:00:00.001"]
    yield "time64", pa.array([3_600_000_001], pa.time64("us")), "String", ["01:00:00.000001"]
    for unit in ("s", "ms", "us", "ns"):
        yield f"duration[{unit}]", pa.array([-5, 2**62], pa.duration(unit)), "Int64", [-5, 2**62]
    yield "list", pa.array([[1, 2], []]), "Array(Int64)", [[1, 2], []]
    yield "list", pa.array([["a", None], []]), "Array(Nullable(String))", [["a", None], []]
    yield "list of lists", pa.array([[[1], []], []]), "Array(Array(Int64))", [[[1], []], []]
    yield "large_list", pa.array([["é"]], pa.large_list(pa.string())), "Array(String)", [["é"]]
    yield "fixed_size_list", pa.array([[1.5, 2.5]], pa.list_(pa.float64(), 2)), "Array(Float64)", [[1.5, 2.5]]
    yield "list_view", pa.array([[1], [2, 3]], pa.list_view(pa.int64())), "Array(Int64)", [[1], [2, 3]]
    struct = {"a": 1, "b": None}
    yield "struct", pa.array([struct]), "Tuple(a Int64, b Nullable(String))", [struct]
    yield "struct", pa.array([{"a": {"b": [1]}}]), "JSON", [{"a": {"b": [1]}}]
    pairs = pa.map_(pa.string(), pa.int64())
    yield "map", pa.array([[("k", 1), ('q"', 2)], []], pairs), "Map(String, Int64)", [{"k": 1, 'q"': 2}, {}]
    yield "map", pa.array([[(1, "x")]], pa.map_(pa.int64(), pa.string())), "Map(String, String)", [{"1": "x"}]
    yield "uuid", pa.array([ID.bytes], pa.uuid()), "UUID", [ID]
    yield "bool8", pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())), "Bool", [True, False]
    yield "json", pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}'])), "String", ['{"a":1}']


def _polars() -> Iterator[tuple[str, Any, str, list[Any]]]:
    for size in (8, 16, 32, 64):
        low, high = -(2 ** (size - 1)), 2 ** (size - 1) - 1
        yield f"Int{size}", pl.Series([low, high], dtype=getattr(pl, f"Int{size}")), f"Int{size}", [low, high]
        yield (
            f"UInt{size}",
            pl.Series([0, 2**size - 1], dtype=getattr(pl, f"UInt{size}")),
            f"UInt{size}",
            [0, 2**size - 1],
        )
    yield "Int128", pl.Series([-(2**127), 2**127 - 1], dtype=pl.Int128), "Int128", [-(2**127), 2**127 - 1]
    yield "UInt128", pl.Series([0, 2**128 - 1], dtype=pl.UInt128), "UInt128", [0, 2**128 - 1]
    yield "Float16", pl.Series([0.5, None], dtype=pl.Float16), "Nullable(Float32)", [0.5, NONE]
    yield "Float32", pl.Series([0.1], dtype=pl.Float32), "Float32", [float(np.float32(0.1))]
    yield "Float64", pl.Series(FLOATS), "Float64", FLOATS
    yield "Float64", pl.Series([float("nan"), None, 1.5]), "Nullable(Float64)", [NONE, NONE, 1.5]
    yield "Boolean", pl.Series([True, None]), "Nullable(Bool)", [True, NONE]
    yield "String", pl.Series(TEXTS), "String", TEXTS
    yield "Binary", pl.Series([b"a\x00", "é".encode()]), "String", ["a\x00", "é"]
    yield "Categorical", pl.Series(["u", "w"], dtype=pl.Categorical), "LowCardinality(String)", ["u", "w"]
    yield "Enum", pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), "Enum8('a' = 1, 'b' = 2)", ["a", "b"]
    yield "Decimal", pl.Series([D38], dtype=pl.Decimal(38, 10)), "Decimal(38, 10)", [D38]
    yield "Date", pl.Series([DAY, OLD]), "Date32", [pd.Timestamp(DAY), pd.Timestamp(OLD)]
    for unit, digits in (("ms", 3), ("us", 6), ("ns", 9)):
        exact = pd.Timestamp("2024-07-01 12:30:15.123456789").as_unit(unit)
        column = pl.Series([exact.value], dtype=pl.Int64).cast(pl.Datetime("ns")).cast(pl.Datetime(unit))
        yield f"Datetime({unit})", column, f"DateTime64({digits}, 'UTC')", utc(exact)
    zoned = pl.Series([dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)]).dt.convert_time_zone("Europe/Madrid")
    yield "Datetime(us, zone)", zoned, "DateTime64(6, 'Europe/Madrid')", utc("2024-07-01 12:00:00")
    yield "Time", pl.Series([dt.time(1, 2, 3)]), "String", ["01:02:03.000000000"]
    yield "Duration(us)", pl.Series([dt.timedelta(milliseconds=1)]), "Int64", [1000]
    yield "List", pl.Series([[1, None], []]), "Array(Nullable(Int64))", [[1, None], []]
    yield "Array", pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)), "Array(Int64)", [[1, 2]]
    yield "Struct", pl.Series([{"a": 1, "b": "x"}]), "Tuple(a Int64, b String)", [{"a": 1, "b": "x"}]
    yield "Map", pl.Series([{"k": 1}, {}], dtype=pl.Map(pl.String, pl.Int64)), "Map(String, Int64)", [{"k": 1}, {}]
    yield "Null", pl.Series([None, None]), "Nullable(Int8)", [NONE, NONE]


def _python() -> Iterator[tuple[str, Any, str, list[Any]]]:
    yield "int", [2**255 - 1, -(2**255)], "Int256", [2**255 - 1, -(2**255)]
    yield "int", [2**256 - 1, 0], "UInt256", [2**256 - 1, 0]
    yield "float", [0.1, float("nan"), None], "Nullable(Float64)", [0.1, NONE, NONE]
    yield "bool", [True, False], "UInt8", [1, 0]
    yield "str", TEXTS, "String", TEXTS
    yield "str", ["1.2.3.4"], "IPv4", ["1.2.3.4"]
    yield "str", ["2001:db8::1"], "IPv6", ["2001:db8::1"]
    yield (
        "bytes, bytearray, memoryview",
        [b"a", bytearray("é".encode()), memoryview(b"\x00")],
        "String",
        ["a", "é", "\x00"],
    )
    yield "date", [DAY], "Date", [pd.Timestamp(DAY)]
    yield "naive datetime", [MOMENT], "DateTime64(6, 'UTC')", utc(MOMENT)
    yield "naive datetime", [MOMENT], "DateTime64(6, 'Europe/Madrid')", [pd.Timestamp(MOMENT, tz=MADRID)]
    yield (
        "aware datetime",
        [FIRST_TWICE, FIRST_TWICE.replace(fold=1)],
        "DateTime('UTC')",
        utc(FIRST_TWICE, FIRST_TWICE.replace(fold=1)),
    )
    yield "time", [dt.time(1, 2, 3, 4)], "String", ["01:02:03.000004"]
    yield "timedelta", [dt.timedelta(days=-1, microseconds=1)], "Int64", [-86_399_999_999]
    yield "Decimal", [D76, Decimal("1E-16")], "Decimal(76, 16)", [D76, Decimal("1E-16")]
    yield "UUID", [ID], "UUID", [ID]
    yield "list, tuple", [[1, 2], (3,)], "Array(Int64)", [[1, 2], [3]]
    yield "dict", [{"k": 1}, {}], "Map(String, Int64)", [{"k": 1}, {}]
    yield "dict", [{"a": {"b": [True, False]}}], "JSON", [{"a": {"b": [True, False]}}]
    yield "list of dicts", [[{"a": 1}, {"a": 2}]], "Array(Tuple(a Int64))", [[{"a": 1}, {"a": 2}]]
    yield "numpy scalars", [np.int64(1), np.uint8(2), np.int8(-3)], "Int64", [1, 2, -3]
    yield "numpy array", [np.array([1, 2])], "Array(Int64)", [[1, 2]]
    yield (
        "numpy datetime64",
        [np.datetime64("2024-01-02T03:04:05.000000006")],
        "DateTime64(9, 'UTC')",
        utc("2024-01-02 03:04:05.000000006"),
    )
    yield (
        "pandas Timestamp",
        [pd.Timestamp("2024-01-01", tz=KATHMANDU)],
        "DateTime('UTC')",
        utc(pd.Timestamp("2024-01-01", tz=KATHMANDU)),
    )


SOURCES = {"pandas": _pandas, "Arrow": _arrow, "polars": _polars, "Python": _python}
CASES = [
    TypeCase(library=library, type=name, values=values, clickhouse=kind, back=back)
    for library, make in SOURCES.items()
    for name, values, kind, back in make()
]

DTYPES = {
    **{f"{sign}Int{size}": f"{sign.lower()}int{size}" for sign in ("", "U") for size in (8, 16, 32, 64)},
    "Nullable(Int8)": "Int8",
    **{f"Nullable({sign}Int64)": f"{sign}Int64" for sign in ("", "U")},
    "DateTime64(6, 'Europe/Madrid')": "datetime64[us, Europe/Madrid]",
    **dict.fromkeys(("Int128", "UInt128", "Int256", "UInt256"), "object, of int"),
    "Float32": "float32",
    "Float64": "float64",
    "Nullable(Float32)": "float32, null as NaN",
    "Nullable(Float64)": "float64, null as NaN",
    "Bool": "bool",
    "Nullable(Bool)": "boolean",
    **dict.fromkeys(
        ("String", "Nullable(String)", "LowCardinality(String)", "LowCardinality(Nullable(String))"), "str"
    ),
    **dict.fromkeys(("FixedString(3)", "Enum8('a' = 1, 'b' = 2)", "IPv4", "IPv6"), "str"),
    "Date": "datetime64[ms]",
    "Date32": "datetime64[ms]",
    **{f"DateTime('{zone}')": f"datetime64[s, {zone}]" for zone in ("UTC", "Asia/Kathmandu")},
    **{
        f"DateTime64({digits}, '{zone}')": f"datetime64[{unit}, {zone}]"
        for zone in ("UTC", "Asia/Kathmandu")
        for digits, unit in ((0, "s"), (3, "ms"), (6, "us"), (9, "ns"))
    },
    **{f"Decimal({digits})": "object, of Decimal" for digits in ("9, 2", "18, 2", "38, 10", "76, 16")},
    "Nullable(Decimal(38, 10))": "object, of Decimal",
    "UUID": "object, of UUID",
    "Nullable(UUID)": "object, of UUID",
    **dict.fromkeys(("Array(Int64)", "Array(Float64)", "Array(String)", "Array(Array(Int64))"), "object, of list"),
    **dict.fromkeys(("Array(Nullable(String))", "Array(Nullable(Int64))", "Array(Tuple(a Int64))"), "object, of list"),
    **dict.fromkeys(("Map(String, Int64)", "Map(String, String)", "JSON"), "object, of dict"),
    **dict.fromkeys(("Tuple(a Int64, b Nullable(String))", "Tuple(a Int64, b String)"), "object, of dict"),
}
"""What ``query_df`` makes of each ClickHouse type."""


def sent(case: TypeCase) -> list[str]:
    """The JSON texts of a case's values."""
    from airflow_provider_tinybird.ndjson import batches

    lines = b"".join(bytes(batch.body) for batch in batches(case.frame())).decode().split("\n")[:-1]
    return [line.partition('"v":')[2].removesuffix("}") for line in lines]


def table_of_types() -> str:
    """The first table of the page."""
    rows = ["| from | type | for example, sent as | into ClickHouse |", "| --- | --- | --- | --- |"]
    for case in CASES:
        example = json.dumps(json.loads(sent(case)[-1])) if case.type in {"str", "string"} else sent(case)[0]
        example = example if len(example) <= 60 else f"{example[:57]}..."
        rows.append(f"| {case.library} | {case.type} | `{example}` | `{case.clickhouse}` |".replace("``", "` `"))
    return "\n".join(rows)


def table_of_dtypes() -> str:
    """The second table of the page."""
    rows = ["| ClickHouse | pandas |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| `{kind}` | {dtype} |" for kind, dtype in DTYPES.items())])


TABLES = {"types": table_of_types, "dtypes": table_of_dtypes}


def with_tables(page: str) -> str:
    """The page with its tables made anew, between comments that name them."""
    for name, make in TABLES.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{make()}\n\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    DOCS.write_text(with_tables(DOCS.read_text()))
