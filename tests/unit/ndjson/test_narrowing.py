"""The gate: values that a column would change without a word are refused with column, row and value; all others pass."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from airflow_provider_tinybird.ndjson import EncodeError, Gate, GatedColumn, Reader, batches, check
from airflow_provider_tinybird.ndjson.check import check_values
from airflow_provider_tinybird.ndjson.narrowing import _gaps

AT = dt.datetime(2024, 1, 1, 10, 20, 30)
FAR, OLD = dt.datetime(9999, 12, 31), dt.datetime(1960, 1, 1)
MADRID = ZoneInfo("Europe/Madrid")


def gate(kind: str, path: str = "", *, typed: bool = False, wide: bool = False, name: str = "v") -> Gate:
    column = GatedColumn.of(name, kind, path, typed=typed)
    return Gate([column] if column else [], Reader(typed=typed, is_wide=lambda: wide))


def refusal(data: Any, kind: str, path: str = "", **how: Any) -> str:
    with pytest.raises(EncodeError) as caught:
        check(data, gate=gate(kind, path, **how))
    with pytest.raises(EncodeError, match="on_narrowing='allow'"):  # what comes from an iterator passes the same gate
        list(batches(iter([data]), gate=gate(kind, path, **how)))
    return str(caught.value)


def passes(data: Any, kind: str, path: str = "", **how: Any) -> None:
    assert check(data, gate=gate(kind, path, **how))
    assert list(batches(iter([data]), gate=gate(kind, path, **how)))


CHANGED: list[tuple[str, Any]] = [
    ("DateTime", FAR),
    ("DateTime", OLD),
    ("DateTime", FAR.replace(tzinfo=dt.UTC)),
    ("DateTime", dt.datetime(2106, 2, 7, 6, 28, 16)),
    ("DateTime", AT.replace(microsecond=1)),
    ("DateTime", dt.date(9999, 12, 31)),
    ("DateTime", "9999-12-31 00:00:00"),
    ("DateTime", "9999/12/31"),
    ("DateTime", "2106-02-07T06:28:16Z"),
    ("DateTime", "1970-01-01T00:30:00+01:00"),
    ("DateTime", "2024-01-01 25:00:00"),
    ("DateTime", "2024-01-01 10:00:00.5"),
    ("DateTime", "0000-01-01"),
    ("DateTime", "99991231"),
    ("DateTime", "10:20:30"),
    ("DateTime", 5),
    ("DateTime", 5_000_000_000),
    ("DateTime", 1704067200123),
    ("DateTime", 1704067200.5),
    ("DateTime", b"9999-12-31"),
    ("DateTime", dt.time(1, 2, 3)),
    ("LowCardinality(Nullable(DateTime))", FAR),
    ("SimpleAggregateFunction(max, DateTime)", FAR),
    ("DateTime('Europe/Madrid')", dt.datetime(2024, 3, 31, 2, 30)),
    ("DateTime('Europe/Madrid')", "2024-03-31 02:30:00"),
    ("DateTime('Europe/Madrid')", dt.datetime(1970, 1, 1, 0, 30)),
    ("DateTime64(3, 'Pacific/Apia')", dt.datetime(2011, 12, 30, 12)),
    ("DateTime64(0)", AT.replace(microsecond=500_000)),
    ("DateTime64(2)", AT.replace(microsecond=123_000)),
    ("DateTime64(3)", AT.replace(microsecond=123_456)),
    ("DateTime64(3)", pd.Timestamp("2024-01-01 00:00:00.000000001")),
    ("DateTime64(3)", np.datetime64("2024-01-01T00:00:00.000000001")),
    ("DateTime64(3)", "2024-01-01 00:00:00.1234"),
    ("DateTime64(3)", dt.datetime(1899, 12, 31)),
    ("DateTime64(6)", FAR),
    ("DateTime64(9)", dt.datetime(2262, 4, 12)),
    ("Date", dt.date(9999, 12, 31)),
    ("Date", dt.date(1, 1, 1)),
    ("Date", dt.date(2149, 6, 7)),
    ("Date", AT),
    ("Date", "2024-02-30"),
    ("Date", "2200-01-01"),
    ("Date", 22000101),
    ("Date32", dt.date(2300, 1, 1)),
    ("Date32", AT),
    ("Decimal(9, 2)", Decimal("0.129")),
    ("Decimal(9, 2)", Decimal("-0.001")),
    ("Decimal(9, 2)", 0.129),
    ("Decimal(9, 2)", np.float32(0.125)),
    ("Decimal(9, 2)", "0.129"),
    ("Decimal(9, 2)", "1e-3"),
    ("Decimal(9, 2)", "1.2.3"),
    ("Decimal64(4)", Decimal("0.00001")),
    ("Decimal(76, 10)", Decimal("1E-11")),
    ("Float32", 1e39),
    ("Float32", 1e-60),
    ("Float32", 2**24 + 1),
    ("Float32", Decimal("16777217.5")),
    ("Float32", "1e39"),
    ("Float64", 2**53 + 1),
    ("Float64", 2**70 + 1),
    ("Float64", Decimal("12345678901234567890.12")),
    ("Float64", "12345678901234567890.12"),
    ("Time64(3)", dt.time(1, 2, 3, 123_456)),
    ("Array(DateTime)", [AT, FAR]),
    ("Array(Nullable(Int64))", [1, "x"]),
    ("Array(Array(Int8))", [[1], [300]]),
    ("Array(Array(Int8))", [[1], [None]]),
    ("Array(Tuple(a Int64))", [{"a": 1.5}]),
    ("Array(Tuple(a Int64))", [{"a": 1}, None]),
    ("Tuple(x Int8, y String)", {"x": 300, "y": ""}),
    ("Tuple(x Int8, y String)", {"x": 1}),
    ("Tuple(x Int8, y String)", {"x": 1, "y": None}),
    ("Tuple(x Int8, y String)", {"x": 1, "y": "", "z": 1}),
    ("Tuple(x Int8, y String)", [1]),
    ("Tuple(x UUID)", {"x": "no"}),
    ("Tuple(x Bool)", {"x": "true"}),
    ("Tuple(x Float64)", {"x": " 7"}),
    ("Tuple(x Decimal(9, 2))", {"x": "1e9"}),
    ("Tuple(x FixedString(3))", {"x": "éé"}),
    ("Tuple(x Enum8('a' = 1))", {"x": "b"}),
    ("Tuple(x Date)", {"x": dt.datetime(2024, 1, 1)}),
    ("Map(String, DateTime64(3))", {"k": FAR}),
    ("Map(String, Int64)", {"k": None}),
    ("Map(String, Array(UInt8))", {"k": [256]}),
]
KEPT: list[tuple[str, Any]] = [
    ("DateTime", AT),
    ("DateTime", dt.datetime(1970, 1, 1)),
    ("DateTime", dt.datetime(2106, 2, 7, 6, 28, 15)),
    ("DateTime", dt.date(2024, 1, 1)),
    ("DateTime", "2024-01-01T10:00:00.000Z"),
    ("DateTime", "2024-01-01 10:00:00+02:00"),
    ("DateTime", "20240101"),
    ("DateTime", "Mon, 01 Jan 2024 10:00:00 GMT"),
    ("DateTime", 1704067200),
    ("DateTime", 1704067200.0),
    ("DateTime", 1704067200000),
    ("Nullable(DateTime)", None),
    ("Nullable(DateTime)", float("nan")),
    ("DateTime('Europe/Madrid')", dt.datetime(2024, 10, 27, 2, 30)),
    ("DateTime('Europe/Madrid')", dt.datetime(2024, 3, 31, 2, 30, tzinfo=dt.UTC)),
    ("DateTime('Europe/Madrid')", dt.datetime(2024, 10, 27, 2, 30, tzinfo=MADRID)),
    ("DateTime('No/Where')", AT),
    ("DateTime64(3)", AT.replace(microsecond=123_000)),
    ("DateTime64(3)", 1704067200123),
    ("DateTime64(6)", dt.datetime(1900, 1, 1)),
    ("DateTime64(6)", dt.datetime(2299, 12, 31, 23, 59, 59, 999_999)),
    ("Date", dt.date(2149, 6, 6)),
    ("Date", dt.datetime(2024, 1, 1)),
    ("Date", 20240101),
    ("Date32", dt.date(1900, 1, 1)),
    ("Decimal(9, 2)", Decimal("0.1200")),
    ("Decimal(9, 2)", 0.29),
    ("Decimal(9, 2)", 24739.01),
    ("Decimal(9, 2)", "0.120"),
    ("Decimal(9, 2)", Decimal("99999999.99")),  # to quarantine
    ("Decimal(76, 10)", Decimal("9" * 60)),
    ("Float32", 0.1),
    ("Float32", 3.4028234e38),
    ("Float32", 2**24),
    ("Float32", 2**100),
    ("Float64", 2**53),
    ("Float64", Decimal("0.1")),
    ("Float64", 0.30000000000000004),
    ("Int8", 300),  # to quarantine
    ("Int8", 1.5),
    ("UUID", "no"),
    ("String", FAR),
    ("JSON", {"a": FAR}),
    ("Unheard(Of)", FAR),
    ("Array(Int8)", [300]),  # to quarantine
    ("Array(Nullable(Int64))", [1, None, 2.0]),
    ("Tuple(x Int8, y Nullable(String))", {"x": 1}),
    ("Tuple(x Int8, y Nullable(String))", [1, None]),
    ("Tuple(Int8, String)", [1, "a"]),
    ("Map(String, Int64)", {"k": 1}),
    ("Map(String, String)", {}),
]


@pytest.mark.parametrize(("kind", "value"), CHANGED, ids=[f"{value!r} into {kind}" for kind, value in CHANGED])
def test_changed_values_are_refused_as_records_and_as_objects_in_a_frame(kind, value):
    good = next((one for other, one in KEPT if other == kind and one is not None), None)
    said = refusal([{"v": good}, {"v": value}] if not kind.startswith("Tuple") else [{}, {"v": value}], kind)
    assert said.startswith("column 'v', row 1: ")
    said = refusal(pd.DataFrame({"v": pd.Series([None, None, value], dtype=object)}), kind)
    assert said.startswith("column 'v', row 2: ")


@pytest.mark.parametrize(("kind", "value"), KEPT, ids=[f"{value!r} into {kind}" for kind, value in KEPT])
def test_other_values_pass(kind, value):
    passes([{"v": value}, {}], kind)
    passes(pd.DataFrame({"v": pd.Series([value, None], dtype=object)}), kind)


FRAMES: list[tuple[str, Any]] = [
    ("DateTime", pd.DataFrame({"v": [AT, FAR]})),
    ("DateTime", pd.DataFrame({"v": pd.Series([AT, OLD]).astype("datetime64[ns]")})),
    ("DateTime", pd.DataFrame({"v": pd.Series([AT, OLD]).dt.tz_localize("Asia/Kathmandu")})),
    ("DateTime", pl.DataFrame({"v": [AT, FAR]})),
    ("DateTime", pa.table({"v": pa.chunked_array([[AT], [FAR]])})),
    ("DateTime", pa.table({"v": ["2024-01-01", "9999-12-31"]})),
    ("DateTime", pa.table({"v": pa.array(["2024-01-01", "9999-12-31"]).dictionary_encode()})),
    ("DateTime", pa.table({"v": pa.array(["2024-01-01", "9999-12-31"], pa.string_view())})),
    ("DateTime", pd.DataFrame({"v": pd.Categorical(["2024-01-01", "9999-12-31"])})),
    ("Date", pa.table({"v": pa.array([dt.date(2024, 1, 1), dt.date(9999, 1, 1)], pa.date64())})),
    ("Decimal(9, 2)", pa.table({"v": [Decimal("0.120"), Decimal("0.129")]})),
    ("Decimal(9, 2)", pd.DataFrame({"v": [0.5, 0.129]})),
    ("Decimal(9, 2)", pd.DataFrame({"v": pd.array([0.5, 0.129], "Float64")})),
    ("Decimal(9, 2)", pl.DataFrame({"v": [Decimal("0.120"), Decimal("0.129")]})),
    ("Float32", pd.DataFrame({"v": [0.1, 1e39]})),
    ("Float32", pd.DataFrame({"v": [1, 2**24 + 1]})),
    ("Float64", pa.table({"v": pa.array([1, 2**64 - 1], pa.uint64())})),
    ("Float64", pl.DataFrame({"v": pl.Series([1, 2**70 + 1], dtype=pl.Int128)})),
    ("Array(DateTime)", pa.table({"v": [[AT], [AT, FAR]]})),
    ("Array(DateTime)", pl.DataFrame({"v": [[AT], [AT, FAR]]})),
    ("Array(Nullable(UInt8))", pa.table({"v": [[1, None], [256]]})),
    ("Tuple(x Int8)", pa.table({"v": [{"x": 1}, {"x": 300}]})),
    ("Tuple(x Array(DateTime))", pa.table({"v": [{"x": [AT]}, {"x": [AT, OLD]}]})),
    ("Map(String, Int8)", pa.table({"v": pa.array([[("a", 1)], [("a", 300)]], pa.map_(pa.string(), pa.int64()))})),
]


@pytest.mark.parametrize(("kind", "frame"), FRAMES)
def test_changed_values_of_frames(kind, frame):
    assert refusal(frame, kind).startswith("column 'v', row 1: ")


def test_the_message_says_what_where_why_and_the_way_out():
    assert refusal(pa.table({"v": [AT, FAR]}), "DateTime") == (
        "column 'v', row 1: 9999-12-31 00:00:00.000000 is outside of DateTime, which holds 1970-01-01 00:00:00 to 2106-02-07 06:28:15 UTC. "
        "ClickHouse would change it without a word: correct the value, change the column's type, or give on_narrowing='allow' to have it "
        "changed"
    )


@pytest.mark.parametrize(
    ("path", "record", "kind"),
    [
        ("$.a.b", {"a": {"b": FAR}}, "DateTime"),
        ("$.a.b.c", {"a": {"b": {"c": FAR}}}, "DateTime"),
        ("$['a b']", {"a b": FAR}, "DateTime"),
        ("$.a[:]", {"a": [AT, FAR]}, "Array(DateTime)"),
        ("$.a[:].b", {"a": [{"b": AT}, {"b": FAR}]}, "Array(DateTime)"),
        ("$.a.b[:]", {"a": {"b": [FAR]}}, "Array(DateTime)"),
        ("$.a[:].b", {"a": [{"b": 1}, {"b": 300}]}, "Array(Nullable(Int8))"),
    ],
)
def test_values_are_found_where_the_path_of_the_column_says(path, record, kind):
    assert refusal([{"x": 1}, record], kind, path).startswith("column 'v', row 1: ")
    assert refusal(pa.Table.from_pylist([record]), kind, path).startswith("column 'v', row 0: ")
    passes([{"v": FAR}], kind, path)  # a key of the column's own name is not what it reads


def test_rows_are_counted_over_all_of_the_data():
    frames = [pd.DataFrame({"v": [AT] * 300}), pl.DataFrame({"v": [AT] * 300}), [{"v": AT}] * 10, [{"v": FAR}]]
    assert refusal(frames, "DateTime").startswith("column 'v', row 610: ")
    with pytest.raises(EncodeError, match="row 610: "):
        check_values(frames, gate("DateTime"))


def test_what_is_not_in_memory_is_looked_at_as_it_comes():
    rows = ({"v": AT if row < 5000 else FAR} for row in range(6000))
    sent: list[int] = []
    with pytest.raises(EncodeError, match="row 5000: "):
        sent.extend(batch.rows for batch in batches(rows, max_bytes=2000, gate=gate("DateTime")))
    assert sum(sent) > 4000
    assert not check_values(iter([]), gate("DateTime"))


def test_an_engine_that_has_more_years_takes_them():
    for kind in ("DateTime64(3)", "Nullable(DateTime64(6, 'UTC'))", "Date32"):
        passes([{"v": FAR.date() if kind == "Date32" else FAR}], kind, wide=True)
    refusal([{"v": FAR}], "DateTime64(9)", wide=True)
    refusal([{"v": FAR}], "DateTime", wide=True)


def test_the_engine_is_asked_only_for_such_years():
    def ask() -> bool:
        raise AssertionError("asked")

    column = GatedColumn.of("v", "DateTime64(3)", "")
    assert column is not None
    assert check([{"v": AT}, {"v": dt.datetime(2299, 12, 31)}], gate=Gate([column], Reader(is_wide=ask)))


TYPED: list[tuple[str, pa.Array]] = [
    ("Date", pa.array([dt.date(9999, 12, 31)])),
    ("Decimal(18, 4)", pa.array([24739.01])),
    ("DateTime64(3)", pa.array([1704067200123])),
    ("DateTime", pa.array([AT.replace(microsecond=5)])),
    ("Int32", pa.array([Decimal("1.5")])),
    ("Int32", pa.array([AT])),
    ("Bool", pa.array([2])),
    ("String", pa.array([dt.time(1, 2, 3)])),
    ("Float32", pa.array([AT])),
    ("Array(UInt8)", pa.array([[300]])),
    ("Map(String, UInt8)", pa.array([[("a", 300)]], pa.map_(pa.string(), pa.int64()))),
]


@pytest.mark.parametrize(("kind", "array"), TYPED)
def test_a_file_that_is_read_by_type_changes_more(kind, array):
    with pytest.raises(EncodeError, match="column 'v', row 0: "):
        gate(kind, typed=True).look([("v", array)], 0)


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        ("Int32", pa.array([Decimal("1.0"), Decimal("5.0")])),
        ("Int8", pa.array([300])),  # to quarantine
        ("DateTime", pa.array([1704067200])),
        ("DateTime('Europe/Madrid')", pa.array([dt.datetime(2024, 3, 31, 2, 30)])),  # UTC in a file
        ("Date", pa.array([19723])),
        ("Decimal(18, 4)", pa.array([0.5])),
        ("String", pa.array([AT])),
    ],
)
def test_what_a_file_may_have(kind, array):
    gate(kind, typed=True).look([("v", array)], 0)


def test_the_gaps_of_zones():
    def in_2024(zone: str, year: int = 54) -> list[tuple[str, int]]:
        return [
            (str(dt.datetime(1970, 1, 1) + dt.timedelta(seconds=a)), b - a) for a, b in _gaps(zone, year, year) or ()
        ]

    assert in_2024("Europe/Madrid") == [("2024-03-31 02:00:00", 3600)]
    assert in_2024("Australia/Lord_Howe") == [("2024-10-06 02:00:00", 1800)]
    assert ("2011-12-30 00:00:00", 86_400) in in_2024("Pacific/Apia", 42)
    assert in_2024("Asia/Kathmandu") == []
    assert _gaps("No/Where", 54, 54) is None
