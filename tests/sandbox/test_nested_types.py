"""A value in an array, a tuple or a map comes back as it does on its own: for each type, by the real engine."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

import pandas as pd
import pytest
from sandbox_process import SandboxProcess

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

ID = "12345678-9abc-def0-1234-56789abcdef0"
RING = [(1.0, 2.0), (3.0, 4.5)]
VALUES = {
    "toInt8(-5)": -5,
    "toUInt64(18446744073709551615)": 2**64 - 1,
    "toInt128('-170141183460469231731687303715884105728')": -(2**127),
    "toUInt128(5)": 5,
    "toInt256(-5)": -5,
    "toUInt256('115792089237316195423570985008687907853269984665640564039457584007913129639935')": 2**256 - 1,
    "toFloat32(0.5)": 0.5,
    "toFloat64(0.1)": 0.1,
    "true": True,
    "'é'": "é",
    "unhex('ff')": b"\xff",
    "toFixedString('ab', 2)": "ab",
    "toFixedString(unhex('fe'), 1)": b"\xfe",
    "toLowCardinality('x')": "x",
    "toLowCardinality(unhex('ff'))": b"\xff",
    "CAST('b', 'Enum8(\\'a\\' = -1, \\'b\\' = 2)')": "b",
    "CAST('x),y', 'Enum16(\\'x),y\\' = 1, \\'it\\\\\\'s\\' = 2)')": "x),y",
    "toIPv4('1.2.3.4')": "1.2.3.4",
    "toIPv6('2001:db8::1')": "2001:db8::1",
    f"toUUID('{ID}')": UUID(ID),
    "toDate('2024-02-29')": dt.date(2024, 2, 29),
    "toDate32('1900-01-01')": dt.date(1900, 1, 1),
    "toDateTime('2024-07-01 12:00:00', 'Europe/Madrid')": pd.Timestamp("2024-07-01 12:00:00", tz="Europe/Madrid"),
    "toDateTime64('2024-07-01 12:00:00.123456', 6, 'UTC')": pd.Timestamp("2024-07-01 12:00:00.123456", tz="UTC"),
    "toDateTime64('2024-07-01 12:00:00.123456789', 9, 'UTC')": pd.Timestamp("2024-07-01 12:00:00.123456789", tz="UTC"),
    "toDecimal32('1.50', 2)": Decimal("1.50"),
    "toDecimal128('12345678901234567890.12', 2)": Decimal("12345678901234567890.12"),
    "toDecimal256('1.5', 20)": Decimal("1.5"),
    "CAST('{\"a\":{\"b\":[1]}}', 'JSON')": {"a": {"b": [1]}},
    "CAST((1.5, 2.5), 'Point')": (1.5, 2.5),
    f"CAST({RING}, 'Ring')": RING,
    f"CAST({RING}, 'LineString')": RING,
    f"CAST([{RING}], 'MultiLineString')": [RING],
    f"CAST([{RING}, {RING}], 'Polygon')": [RING, RING],
    f"CAST([[{RING}], [{RING}]], 'MultiPolygon')": [[RING], [RING]],
}
NULLABLE = [
    "Int8", "UInt64", "Int128", "UInt256", "Float64", "Bool", "String", "FixedString(2)", "Enum8(\\'x),y\\' = 1)", "IPv4", "IPv6",
    "UUID", "Date32", "DateTime64(6, \\'UTC\\')", "Decimal(38, 2)",
]  # fmt: skip


@pytest.fixture(scope="module")
def hook() -> Iterator[TinybirdHook]:
    with SandboxProcess() as server, pytest.MonkeyPatch.context() as environment:
        connection = {"conn_type": "tinybird", "host": server.base_url, "password": server.token}
        environment.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", json.dumps(connection))
        yield TinybirdHook()


def first(frame: pd.DataFrame, column: str) -> object:
    value = frame[column].tolist()[0]
    return value.date() if column == "v" and isinstance(value, dt.datetime) and value.tzinfo is None else value


@pytest.mark.parametrize("sql", VALUES)
def test_as_on_its_own(hook, sql):
    expected = VALUES[sql]
    frame = hook.query_df(
        f"SELECT {sql} AS v, [v] AS a, [[v], []] AS aa, tuple(v) AS t, [tuple(v, [v])] AS deep, map('k', v) AS m, "
        "map('k', [tuple(v)]) AS md, groupArray(v) OVER () AS g, CAST((1, 'x'), 'Tuple(n Int8, s String)') AS named"
    )
    found = {name: first(frame, name) for name in frame.columns}
    assert found["v"] == expected
    assert type(found["v"]) is type(expected)
    assert found == {
        "v": expected,
        "a": [expected],
        "aa": [[expected], []],
        "t": {"1": expected},
        "deep": [{"1": expected, "2": [expected]}],
        "m": {"k": expected},
        "md": {"k": [{"1": expected}]},
        "g": [expected],
        "named": {"n": 1, "s": "x"},
    }
    inside = found["a"][0]
    assert getattr(inside, "tzinfo", None) is None or str(inside.tzinfo) == str(expected.tzinfo)


@pytest.mark.parametrize("kind", NULLABLE)
def test_nulls(hook, kind):
    frame = hook.query_df(f"SELECT CAST(NULL, 'Nullable({kind})') AS v, [v] AS a, tuple(v) AS t, map('k', v) AS m")
    assert pd.isna(frame["v"][0])
    assert (frame["a"][0], frame["t"][0], frame["m"][0]) == ([None], {"1": None}, {"k": None})


def test_no_rows(hook):
    columns = ", ".join(f"{sql} AS c{number}, [c{number}] AS a{number}" for number, sql in enumerate(VALUES))
    frame = hook.query_df(f"SELECT {columns} WHERE 0")
    assert frame.shape == (0, 2 * len(VALUES))


def test_many_rows_with_one_bad_byte_at_the_end(hook):
    table = hook.query_arrow("SELECT [if(number = 199999, unhex('ff'), 'x')] AS a, 'y' AS b FROM numbers(200000)")
    assert table["a"][0].as_py() == [b"x"]
    assert table["a"][199999].as_py() == [b"\xff"]
    assert table["b"][0].as_py() == "y"
