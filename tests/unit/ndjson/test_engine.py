"""Rows in the engine: ClickHouse stores what was in the data. The engine runs in a process of its own."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

from airflow_provider_tinybird.ndjson import batches

ENGINE = """
import json, sys
from chdb import session
engine = session.Session()
engine.query("CREATE DATABASE d")
stored = []
for number, (kind, body) in enumerate(json.load(sys.stdin)):
    engine.query(f"CREATE TABLE d.t{number} (v {kind}) ENGINE = Memory")
    engine.query(f"INSERT INTO d.t{number} SETTINGS date_time_input_format='best_effort' FORMAT JSONEachRow " + body)
    stored.append(str(engine.query(f"SELECT toString(v) AS v FROM d.t{number}", "JSONEachRow")))
engine.close()
print(json.dumps(stored))
"""
MOMENT = dt.datetime(2024, 7, 1, 12, 30, 15, 123456)

COLUMNS = [
    ("Int64", pa.array([-(2**63), 2**63 - 1]), ["-9223372036854775808", "9223372036854775807"]),
    ("UInt64", pa.array([0, 2**64 - 1], pa.uint64()), ["0", "18446744073709551615"]),
    ("Int64", pa.array([1.0, 1e10, 1.7e18]), ["1", "10000000000", "1700000000000000000"]),
    ("Int64", pa.array([1.0, 2.0**40], pa.float32()), ["1", "1099511627776"]),
    ("Int128", [2**100, -(2**126)], [str(2**100), str(-(2**126))]),
    ("UInt256", [2**255, 1], [str(2**255), "1"]),
    ("Float64", pa.array([0.1, 5e-324]), ["0.1", "5e-324"]),
    ("Float32", pa.array([0.1, 1e-10], pa.float32()), ["0.1", "1e-10"]),
    ("Nullable(Float64)", pa.array([float("nan"), 2.5]), [None, "2.5"]),
    ("Bool", pa.array([True, False]), ["true", "false"]),
    ("String", pa.array(['a"\\\n\x00é😀\u2028', ""]), ['a"\\\n\x00é😀\u2028', ""]),
    ("LowCardinality(String)", pa.array(["u", "w"]).dictionary_encode(), ["u", "w"]),
    ("Enum8('a' = 1, 'b' = 2)", pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
    (
        "Decimal(38, 8)",
        pa.array([Decimal("0.00000001"), Decimal("9" * 30)], pa.decimal128(38, 8)),
        ["0.00000001", "9" * 30],
    ),
    ("Decimal(18, 8)", [Decimal("1E-8"), Decimal("1E+3")], ["0.00000001", "1000"]),
    ("Date", pa.array([dt.date(2024, 2, 29)]), ["2024-02-29"]),
    ("Date32", [dt.date(1900, 1, 1)], ["1900-01-01"]),
    ("DateTime('UTC')", pa.array([MOMENT]), ["2024-07-01 12:30:15"]),
    ("DateTime64(6, 'UTC')", [MOMENT], ["2024-07-01 12:30:15.123456"]),
    ("DateTime64(9, 'UTC')", pa.array([1], pa.timestamp("ns", "Europe/Madrid")), ["1970-01-01 00:00:00.000000001"]),
    (
        "DateTime64(6, 'UTC')",
        [MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))],
        ["2024-07-01 10:30:15.123456"],
    ),
    ("Time64(6)", pa.array([3_600_000_001], pa.time64("us")), ["01:00:00.000001"]),
    ("Int64", pa.array([5], pa.duration("ms")), ["5"]),
    ("UUID", [uuid.UUID(int=5)], ["00000000-0000-0000-0000-000000000005"]),
    ("Array(Nullable(String))", pa.array([["a", None], []]), ["['a',NULL]", "[]"]),
    ("Map(String, Int64)", pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), ["{'a':1}", "{}"]),
    ("Map(UInt8, String)", pa.array([[(1, "x")]], pa.map_(pa.uint8(), pa.string())), ["{1:'x'}"]),
    ("Tuple(a Int64, b String)", pa.array([{"a": 1, "b": "x"}]), ["(1,'x')"]),
    ("JSON", [{"a": [1, 2], "b": "x"}], ['{"a":[1,2],"b":"x"}']),
]


@pytest.fixture(scope="module")
def stored() -> list[list[object]]:
    """The values of all tables, as the engine prints them."""
    bodies = []
    for kind, values, _ in COLUMNS:
        data = pa.table({"v": values}) if isinstance(values, pa.Array) else [{"v": value} for value in values]
        bodies.append((kind, b"".join(batch.body for batch in batches(data)).decode()))
    done = subprocess.run(
        [sys.executable, "-c", ENGINE], input=json.dumps(bodies), capture_output=True, text=True, timeout=120
    )
    assert done.stdout, done.stderr
    return [[json.loads(line)["v"] for line in rows.split("\n") if line] for rows in json.loads(done.stdout)]


@pytest.mark.parametrize("number", range(len(COLUMNS)), ids=[kind for kind, _, _ in COLUMNS])
def test_stored(stored, number):
    assert stored[number] == COLUMNS[number][2]
