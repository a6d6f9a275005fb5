"""The check before sending: it refuses what encoding refuses, at the same place, and accepts what encoding accepts."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError, batches, check, tables

INF = float("inf")
GOOD = {"n": 1, "t": "é", "f": 0.5}


def far(seconds: int) -> pa.Array:
    return pa.array([0] * 4 + [seconds], pa.int64()).cast(pa.timestamp("s"))


BAD = {
    "float": pa.table({"a": [1, 2, 3, 4, 5], "v": [0.5, None, 1.0, -INF, INF]}),
    "float16": pa.table({"v": pa.array(np.array([1, np.nan, np.inf], np.float16))}),
    "float32": pa.table({"v": pa.array([1, None, INF], pa.float32())}),
    "timestamp": pa.table({"v": far(253_402_300_800)}),
    "date": pa.table({"v": pa.array([1, None, 2_932_897], pa.int32()).cast(pa.date32())}),
    "dictionary": pa.table({"v": pa.array([0.5, INF, 0.5]).dictionary_encode()}),
    "list": pa.table({"v": [[1.0], [2.0, INF]]}),
    "struct": pa.table({"v": [{"x": 1.0}, {"x": INF}]}),
    "binary": pa.table({"v": pa.array([b"x", b"\xff"])}),
    "not UTF-8": pa.table({"v": pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers())}),
    "two of a name": pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["v", "v"]),
    "chunked": pa.table({"v": pa.chunked_array([[0.5, 1.0], [2.0, INF]])}),
    "pandas float": pd.DataFrame({"n": [1, 2], "v": [0.5, -INF]}),
    "pandas object": pd.DataFrame({"v": ["a", 1, b"\xff"]}),
    "pandas surrogate": pd.DataFrame({"v": pd.Series(["a", "\ud800"], dtype=object)}),
    "pandas index": pd.DataFrame({"v": [1]}, index=["x"]),
    "pandas name": pd.DataFrame({1: [1]}),
    "polars float": pl.DataFrame({"v": [0.5, INF]}),
    "polars object": pl.DataFrame({"v": [object()]}),
    "records": [{"n": 1, "v": 1.0}, {"n": 2}, {"n": 3, "v": INF}],
    "records, text": [{"v": "a"}, {"v": None}, {"v": "\ud800"}],
    "records, decimal": [{"v": Decimal(1)}, {"v": "x"}, {"v": Decimal("Infinity")}],
    "records, nested": [{"v": []}, {"v": [{"x": {1}}]}],
    "records, digits": [{"v": 1}, {"v": 10**5000}],
    "records, key": [{"v": 1}, {2: 1}],
    "records, zone": [{"v": dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))}],
    "records, later": [*[{"v": 0.5}] * 12_000, {"v": INF}],
    "text": '{"v":1}\n\n{"v":}',
    "frames": [pd.DataFrame({"v": [1.0, 2.0]}), pl.DataFrame({"v": [3.0]}), {"v": 4}, {"v": INF}],
    "row too long": pa.table({"v": ["x", "y" * 10_000_000]}),
    "record too long": [{"v": "x"}, {"v": "y" * 10_000_000}],
    "list too long": pa.table({"v": [[1], list(range(2_000_000))]}),
}


@pytest.mark.parametrize("name", BAD)
def test_the_same_refusal_as_of_encoding(name):
    with pytest.raises(EncodeError) as encoding:
        list(batches(BAD[name]))
    with pytest.raises(EncodeError) as checking:
        check(BAD[name])
    assert str(checking.value) == str(encoding.value)


def test_what_has_no_rows():
    with pytest.raises(UnsupportedDataError, match="A JSON array is not NDJSON"):
        check("[1]")
    assert check(5) is False


TABLE = pa.table({"n": [1, 2], "f": [0.5, None], "s": ["a", "é"], "z": pa.array([None, None]), "l": [[1], []]})
IN_MEMORY = {
    "table": TABLE,
    "batch": TABLE.to_batches()[0],
    "pandas": TABLE.to_pandas(),
    "polars": pl.DataFrame({"n": [1], "s": ["x"], "f": [float("nan")]}),
    "records": TABLE.to_pylist(),
    "mapping": GOOD,
    "text": '{"a":1}',
    "bytes": b'{"a":1}\n',
    "nothing": [],
    "no rows": pa.table({"s": pa.array([], pa.string())}),
    "no rows, pandas": pd.DataFrame({"s": []}),
    "no rows, polars": pl.DataFrame({"s": []}),
    "all null": pa.table({"s": pa.array([None], pa.string()), "d": pa.array([None, None][:1], pa.date32())}),
    "unused category": pa.table({"v": pa.DictionaryArray.from_arrays([0, 0, 0], [0.5, INF])}),
    "infinite under a null": pa.table({"v": [1.0, None]}),
}


@pytest.mark.parametrize("name", IN_MEMORY)
def test_good_data_is_accepted(name):
    assert check(IN_MEMORY[name]) is True
    assert sum(batch.rows for batch in batches(IN_MEMORY[name])) >= 0


def test_what_can_be_gone_through_once_is_left_alone():
    taken = []
    records = (taken.append(n) or {"v": INF} for n in range(3))
    assert check(records) is False
    assert check([{"a": 1}, records]) is False
    assert check(TABLE.to_reader()) is False
    assert check(lambda: taken.append(1)) is False
    assert taken == []


def test_a_row_may_be_as_long_as_the_limit_with_its_overhead():
    data = pa.table({"s": ["x" * 91]})  # a line of 100 bytes
    assert check(data, max_bytes=120, row_overhead=20)
    with pytest.raises(EncodeError, match="row 0: the row alone takes 100 bytes and 20 more"):
        check(data, max_bytes=119, row_overhead=20)


def test_no_line_is_encoded_unless_one_might_be_too_long(monkeypatch):
    def encode(*_: object) -> None:
        raise AssertionError("encoded")

    monkeypatch.setattr(tables, "encode_table", encode)
    assert check(pa.table({"n": range(1000), "s": ["é\n" * 100] * 1000, "d": [dt.date(2024, 1, 1)] * 1000}))


ANY = (
    st.none()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=2)
    | st.decimals()
    | st.datetimes(timezones=st.sampled_from([None, dt.UTC]))
    | st.lists(st.floats(), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), ANY, max_size=3), max_size=6), st.booleans(), st.integers(60, 400)
)
def test_any_records_are_refused_by_both_or_by_neither(records, as_frame, limit):
    data = (
        pd.DataFrame({"v": pd.Series([record.get("a") for record in records], dtype=object)}) if as_frame else records
    )
    assert refused(lambda: list(batches(data, max_bytes=limit))) == refused(lambda: check(data, max_bytes=limit))


def refused(action) -> bool:
    try:
        action()
    except EncodeError:
        return True
    return False
