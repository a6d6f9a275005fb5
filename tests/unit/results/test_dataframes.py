"""Parquet and ClickHouse's types to Arrow and pandas, also of versions of ClickHouse that write other things."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from uuid import UUID

import pyarrow as pa

from airflow_provider_tinybird.results.dataframes import data_frame, exact_table


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


def test_nested_as_at_the_top():
    address = pa.list_(pa.uint32())
    huge = pa.map_(pa.string(), pa.binary(16))
    made = frame(
        {
            "a": "Array(Nullable(IPv4))",
            "m": "Map(String, Int128)",
            "t": "Tuple(e Enum8('x),y' = 1), d DateTime('Asia/Tokyo'))",
        },
        a=pa.array([[16909060, None], None, []], address),
        m=pa.array([[("k", (5).to_bytes(16, "little"))], [], None], huge),
        t=pa.array([{"e": 1, "d": 0}, None, {"e": 1, "d": 1}], pa.struct([("e", pa.int8()), ("d", pa.uint32())])),
    )
    assert made["a"].tolist() == [["1.2.3.4", None], None, []]
    assert made["m"].tolist() == [{"k": 5}, {}, None]
    assert [one and one["e"] for one in made["t"]] == ["x),y", None, "x),y"]
    assert str(made["t"][0]["d"].tzinfo) == "Asia/Tokyo"


def test_slices_of_nested_columns():
    kind = pa.list_(pa.struct([("a", pa.uint32())]))
    column = pa.array([[{"a": 1}], [{"a": 2}, None], None, [{"a": 4}]], kind).slice(1, 2)
    made = frame({"v": "Array(Tuple(a IPv4))"}, v=column)
    assert made["v"].tolist() == [[{"a": "0.0.0.2"}, None], None]


def test_bytes_deep_inside_make_all_of_their_place_bytes():
    """Also where only a later part of the column has them; other places stay text."""
    kind = pa.struct([("a", pa.list_(pa.binary())), ("b", pa.binary())])
    first, second = pa.array([{"a": [b"x"], "b": b"y"}], kind), pa.array([{"a": [b"\xff"], "b": "é".encode()}], kind)
    made = frame({"v": "Tuple(a Array(String), b String)"}, v=pa.chunked_array([first, second]))
    assert made["v"].tolist() == [{"a": [b"x"], "b": "y"}, {"a": [b"\xff"], "b": "é"}]


def test_without_types_text_that_is_no_text_is_bytes():
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    made = frame(v=bad, w=pa.ListArray.from_arrays([0, 1], bad))
    assert made["v"].tolist() == [b"\xff"]
    assert made["w"].tolist() == [[b"\xff"]]


def test_geometries():
    """As well-known binary, of either byte order, and as the tuples that they are."""
    little = b"\x01" + struct.pack("<Idd", 1, 1.5, 2.5)
    big = b"\x00" + struct.pack(">Idd", 1, 3.5, 4.5)
    pairs = pa.struct([("1", pa.float64()), ("2", pa.float64())])
    made = frame(
        {"p": "Point", "q": "Point", "r": "Array(Ring)"},
        p=pa.array([little, big, None]),
        q=pa.array([{"1": 1.5, "2": 2.5}, None, None], pairs),
        r=pa.array([[[{"1": 1.0, "2": 2.0}]], [[]], []], pa.list_(pa.list_(pairs))),
    )
    assert made["p"].tolist() == [(1.5, 2.5), (3.5, 4.5), None]
    assert made["q"].tolist() == [(1.5, 2.5), None, None]
    assert made["r"].tolist() == [[[(1.0, 2.0)]], [[]], []]
