"""Durations: one unit for a column of a load, microseconds for Python objects."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from airflow_provider_tinybird.ndjson import EncodeError, batches, check

SECOND = dt.timedelta(seconds=1)


def values(data: object) -> list[str]:
    body = b"".join(bytes(batch.body) for batch in batches(data)).decode()
    return [line.removeprefix('{"a":').removesuffix("}") for line in body.splitlines()]


def of(unit: str) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.to_timedelta(["1s"]).as_unit(unit)})


OBJECTS = [
    SECOND,
    pd.Timedelta("1s"),
    pd.Timedelta("1s").as_unit("s"),
    pd.Timedelta("1s").as_unit("ms"),
    pd.Timedelta("1s").as_unit("ns"),
    np.timedelta64(1, "s"),
    np.timedelta64(1000, "ms"),
    np.timedelta64(10**9, "ns"),
    np.timedelta64(10**12, "ps"),
    np.timedelta64(40, "25ms"),
]
DAYS = [
    dt.timedelta(days=-1),
    pd.Timedelta("-1D"),
    np.timedelta64(-1, "D"),
    np.timedelta64(-24, "h"),
    np.timedelta64(-1440, "m"),
]


def test_objects_are_in_microseconds_whoever_made_them():
    assert values([{"a": one} for one in OBJECTS]) == ["1000000"] * len(OBJECTS)
    assert values(pd.DataFrame({"a": pd.Series(OBJECTS, dtype=object)})) == ["1000000"] * len(OBJECTS)
    assert values([{"a": one} for one in DAYS]) == ["-86400000000"] * len(DAYS)
    assert values([{"a": [SECOND, pd.NaT]}, {"a": pd.NaT}, {"a": np.timedelta64("NaT")}]) == [
        "[1000000,null]",
        "null",
        "null",
    ]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (pd.Timedelta(1, "ns"), "finer than microseconds"),
        (np.timedelta64(1500, "ns"), "finer than microseconds"),
        (np.timedelta64(1, "Y"), "no fixed length"),
        (np.timedelta64(1, "M"), "no fixed length"),
        (np.timedelta64(1), "no fixed length"),
    ],
)
def test_objects_without_whole_microseconds(value, why):
    with pytest.raises(EncodeError, match=f"column 'a', row 1: .*{why}"):
        check([{"a": SECOND}, {"a": value}])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_column_has_its_own_unit(unit):
    ticks = {"s": "1", "ms": "1000", "us": "1000000", "ns": "1000000000"}[unit]
    assert values([of(unit), of(unit), pa.table({"a": pa.array([SECOND], pa.duration(unit))})]) == [ticks] * 3


MIXED: dict[str, list[Any]] = {
    "pandas": [of("s"), of("ms")],
    "polars": [pl.DataFrame({"a": pl.Series([SECOND], dtype=pl.Duration(unit))}) for unit in ("us", "ns")],
    "Arrow": [pa.table({"a": pa.array([SECOND], pa.duration(unit))}) for unit in ("s", "ns")],
    "in lists": [pa.table({"a": pa.array([[SECOND]], pa.list_(pa.duration(unit)))}) for unit in ("s", "ns")],
    "in structs": [
        pa.table({"a": pa.array([{"b": SECOND}], pa.struct([("b", pa.duration(unit))]))}) for unit in ("s", "ns")
    ],
    "in maps": [
        pa.table({"a": pa.array([[("k", SECOND)]], pa.map_(pa.string(), pa.duration(unit)))}) for unit in ("s", "ns")
    ],
    "categories": [pd.DataFrame({"a": pd.Categorical(of(unit)["a"])}) for unit in ("s", "ns")],
    "pandas of Arrow": [
        pd.DataFrame({"a": pd.array([SECOND], pd.ArrowDtype(pa.duration(unit)))}) for unit in ("s", "ns")
    ],
    "pandas and polars": [of("ns"), pl.DataFrame({"a": [SECOND]})],
    "records, then a frame": [[{"b": 1, "a": SECOND}], of("ns")],
    "a frame, then records": [of("ns"), [{"a": SECOND}]],
    "objects, then a frame": [pd.DataFrame({"a": pd.Series([SECOND], dtype=object)}), of("s")],
}


@pytest.mark.parametrize("name", MIXED)
def test_a_second_unit_is_refused_with_row_and_units(name):
    said = r"column 'a[^']*', row 1: durations in '\w+' from this row on, and in '\w+' from row 0 on: .*timedelta64"
    for data in (MIXED[name], iter(MIXED[name])):
        with pytest.raises(EncodeError, match=said):
            list(batches(data))
    with pytest.raises(EncodeError, match=said):
        check(MIXED[name])


def test_columns_and_loads_are_told_apart():
    assert values([of("s")]) == ["1"]
    assert values([of("ns")]) == ["1000000000"]
    frame = pd.DataFrame({"a": pd.to_timedelta(["1s"]).as_unit("s"), "b": pd.to_timedelta(["1s"]).as_unit("ns")})
    assert values(frame) == ['1,"b":1000000000']
