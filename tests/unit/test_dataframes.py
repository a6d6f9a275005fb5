"""Parquet and ClickHouse's types to Arrow and pandas, also of versions of ClickHouse that write other things."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from uuid import UUID

import pyarrow as pa

from airflow_provider_tinybird.dataframes import data_frame, exact_table


def frame(types=None, **columns):
    table = pa.table(columns)
    types = types or {}
    return data_frame(exact_table(table, types), types)


def test_types():
    made = frame(
        n=pa.array([1, 2], pa.int32()),
        big=pa.array([9007199254740993, None], pa.int64()),
        small=pa.array([255, None], pa.uint8()),
        flag=pa.array([True, None]),
        text=pa.array(["ä", None]),
        money=pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
        day=pa.array([0, None], pa.date32()),
    )
    assert str(made.dtypes["n"]) == "int32"
    assert str(made.dtypes["big"]) == "Int64"
    assert made["big"][0] == 9007199254740993
    assert str(made.dtypes["small"]) == "UInt8"
    assert str(made.dtypes["flag"]) == "boolean"
    assert made["text"][0] == "ä"
    assert made["money"][0] == Decimal("1.10")
    assert made["day"][0].isoformat()[:10] == "1970-01-01"


def test_no_rows_keep_their_columns():
    made = frame(a=pa.array([], pa.int64()), b=pa.array([], pa.string()))
    assert list(made.columns) == ["a", "b"]
    assert len(made) == 0


def test_two_columns_of_one_name():
    table = pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    made = data_frame(exact_table(table, {}), {})
    assert list(made.columns) == ["a", "a"]
    assert made.iloc[0].tolist() == [1, "x"]


def test_what_older_versions_write():
    """Moments as seconds, days as numbers, enums as numbers, text and UUIDs as bytes."""
    types = {
        "d": "Date",
        "t": "DateTime('Europe/Madrid')",
        "e": "Nullable(Enum8('a' = 1, 'it\\'s' = -2))",
        "s": "LowCardinality(Nullable(String))",
        "u": "UUID",
    }
    made = frame(
        types,
        d=pa.array([19782], pa.uint16()),
        t=pa.array([1_700_000_000], pa.uint32()),
        e=pa.array([-2], pa.int8()),
        s=pa.array(["é".encode()]),
        u=pa.array([UUID(int=5).bytes], pa.binary(16)),
    )
    assert str(made.dtypes["t"]) == "datetime64[s, Europe/Madrid]"
    assert made["d"][0].date() == dt.date(2024, 2, 29)
    assert made["t"][0].isoformat() == "2023-11-14T23:13:20+01:00"
    assert made.iloc[0, 2:].tolist() == ["it's", "é", UUID(int=5)]


def test_text_that_is_no_text():
    data = pa.array([b"a", b"\xff"])
    text = pa.Array.from_buffers(pa.string(), 2, data.buffers())
    for column in (data, text):
        made = frame({"s": "String"}, s=column)
        assert made["s"].tolist() == [b"a", b"\xff"]


def test_nested():
    kind = pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.int64()))]))
    made = frame({"v": "Array(Tuple(m Map(String, Int64)))"}, v=pa.array([[{"m": [("k", 1)]}], None], kind))
    assert made["v"].tolist() == [[{"m": {"k": 1}}], None]
