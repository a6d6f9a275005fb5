"""pandas: both kinds of text, nullable types, objects, the index."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from airflow_provider_tinybird.ndjson import EncodeError, batches


def sent(frame: pd.DataFrame) -> str:
    return b"".join(batch.body for batch in batches(frame)).decode()


def values(column: object) -> list[str]:
    body = sent(pd.DataFrame({"v": column}))
    return [line.removeprefix('{"v":').removesuffix("}") for line in body.removesuffix("\n").split("\n")]


COLUMNS = {
    "int64": (pd.Series([1, -2]), ["1", "-2"]),
    "uint64": (pd.Series([2**64 - 1], dtype="uint64"), ["18446744073709551615"]),
    "float64": (pd.Series([1.5, None, 1e15]), ["1.5", "null", "1000000000000000"]),
    "float16": (pd.Series([0.1], dtype="float16"), ["0.099975586"]),
    "float32": (pd.Series([0.1, np.nan], dtype="float32"), ["0.1", "null"]),
    "bool": (pd.Series([True, False]), ["true", "false"]),
    "Int64": (pd.array([2**63 - 1, None], "Int64"), ["9223372036854775807", "null"]),
    "boolean": (pd.array([True, None], "boolean"), ["true", "null"]),
    "Float64": (pd.array([0.5, None], "Float64"), ["0.5", "null"]),
    "string python": (pd.array(['a"', None], pd.StringDtype("python")), ['"a\\""', "null"]),
    "string pyarrow": (pd.array(["é\n", None], pd.StringDtype("pyarrow")), ['"é\\n"', "null"]),
    "text by default": (pd.Series(["a", None]), ['"a"', "null"]),
    "text as objects": (pd.Series(["a", None, np.nan, pd.NA, pd.NaT], dtype=object), ['"a"'] + ["null"] * 4),
    "category": (pd.Categorical(["u", None, "w"]), ['"u"', "null", '"w"']),
    "category of mixed": (pd.Categorical([1, None, "1"]), ["1", "null", '"1"']),
    "category of ints": (pd.Categorical([3, None, 3]), ["3", "null", "3"]),
    "datetime": (pd.Series([pd.Timestamp("2024-02-29 01:02:03.000000004"), pd.NaT]), ['"2024-02-29 01:02:03.000000004"', "null"]),
    "datetime s": (pd.Series(pd.to_datetime(["2024-02-29 01:02:03"])).astype("datetime64[s]"), ['"2024-02-29 01:02:03"']),
    "datetime with zone": (
        pd.Series(pd.to_datetime(["2024-07-01 00:00", None])).dt.tz_localize("Europe/Madrid").astype("datetime64[ms, Europe/Madrid]"),
        ['"2024-06-30T22:00:00.000Z"', "null"],
    ),
    "timedelta": (pd.Series([pd.Timedelta(5, "s"), pd.NaT]).astype("timedelta64[ms]"), ["5000", "null"]),
    "sparse": (pd.arrays.SparseArray([0, 0, 7]), ["0", "0", "7"]),
    "arrow list": (pd.array([[1], None], pd.ArrowDtype(pa.list_(pa.int8()))), ["[1]", "null"]),
    "arrow decimal": (pd.array([Decimal("1.10"), None], pd.ArrowDtype(pa.decimal128(9, 2))), ['"1.10"', "null"]),
    "arrow float nan": (pd.Series(pd.arrays.ArrowExtensionArray(pa.array([float("nan"), 1.0]))), ["null", "1"]),
    "dicts keep their own keys": (pd.Series([{"a": 1}, {"b": 2.0}, None, {}]), ['{"a":1}', '{"b":2.0}', "null", "{}"]),
    "lists": (pd.Series([[1, "x"], (2,), np.array([0.5, np.nan])]), ['[1,"x"]', "[2]", "[0.5,null]"]),
    "mixed keep their own type": (pd.Series([1, "1", 1.5, True, None], dtype=object), ["1", '"1"', "1.5", "true", "null"]),
    "number among texts": (pd.Series(["a", 1.5, np.nan], dtype=object), ['"a"', "1.5", "null"]),
    "huge ints": (pd.Series([2**100, 1], dtype=object), [str(2**100), "1"]),
    "dates": (pd.Series([dt.date(2024, 2, 29), None]), ['"2024-02-29"', "null"]),
    "decimals keep their digits": (pd.Series([Decimal("1.50"), Decimal("1E-8"), None]), ['"1.50"', '"0.00000001"', "null"]),
    "uuid": (pd.Series([uuid.UUID(int=1)]), ['"00000000-0000-0000-0000-000000000001"']),
    "zones mixed": (
        pd.Series([pd.Timestamp("2024-01-01 02:00", tz="Europe/Madrid"), pd.Timestamp("2024-01-01", tz="UTC")], dtype=object),
        ['"2024-01-01T01:00:00.000000Z"', '"2024-01-01T00:00:00.000000Z"'],
    ),
    "zone and none": (
        pd.Series([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], dtype=object),
        ['"2024-01-01 00:00:00.000000"', '"2024-01-01T00:00:00.000000Z"'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_column(name):
    column, expected = COLUMNS[name]
    assert values(column) == expected


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_from_the_middle(name):
    column, expected = COLUMNS[name]
    frame = pd.concat([pd.DataFrame({"v": column})] * 3, ignore_index=True).iloc[len(expected) + 1 :]
    assert [json.loads(line)["v"] for line in sent(frame).splitlines()] == [json.loads(v) for v in (expected * 2)[1:]]


def test_nothing_of_another_type_is_sent_for_a_column_with_gaps():
    assert sent(pd.DataFrame({"id": [10**15 + 1, None]})) == '{"id":1000000000000001}\n{"id":null}\n'


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame({"a": [1]}).iloc[:0]])
def test_empty(frame):
    assert list(batches(frame)) == []


def test_rows_without_columns_are_empty_objects():
    assert sent(pd.DataFrame(index=range(2))) == "{}\n{}\n"


def test_filtered_index_is_left_out():
    frame = pd.DataFrame({"a": [1, 2, 3]})
    assert sent(frame[frame["a"] != 2]) == '{"a":1}\n{"a":3}\n'


INDEXES = {
    "named": (pd.Index([1, 2], name="id"), "the index id would be lost"),
    "named range": (pd.RangeIndex(2, name="n"), "the index n would be lost"),
    "text": (pd.Index(["x", "y"]), "the index of type"),
    "dates": (pd.date_range("2024", periods=2), "datetime64"),
    "multi": (pd.MultiIndex.from_tuples([(1, 2), (3, 4)]), "the MultiIndex"),
    "multi, named": (pd.MultiIndex.from_tuples([(1, 2), (3, 4)], names=["p", "q"]), "the index p, q"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_index_with_data_is_refused(name):
    index, reason = INDEXES[name]
    with pytest.raises(EncodeError, match=rf"{reason}.*reset_index\(\).*reset_index\(drop=True\)"):
        sent(pd.DataFrame({"a": [1, 2]}, index=index))


def test_duplicate_names():
    with pytest.raises(EncodeError, match="column 'a': two columns"):
        sent(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("name", [0, ("a", "b"), None])
def test_names_that_are_no_text(name):
    with pytest.raises(EncodeError, match=r"is (int|tuple|NoneType|float), not text; rename"):
        sent(pd.DataFrame([[1]], columns=pd.Index([name], dtype=object, tupleize_cols=False)))


REFUSED = {
    "infinite": (pd.Series([1.0, np.inf]), 1, "infinite"),
    "infinite object": (pd.Series(["a", float("inf")], dtype=object), 1, "infinite"),
    "bytes": (pd.Series(["a", b"\xff"], dtype=object), 1, "the bytes are no UTF-8 text"),
    "only bytes": (pd.Series([b"\xff"]), 0, "the bytes are no UTF-8 text"),
    "set": (pd.Series([None, {1}]), 1, r"set \{1\} has no JSON form"),
    "number as key": (pd.Series([{"a": {1: 2}}]), 0, "a key must be text, not int 1"),
    "complex": (pd.Series([1 + 2j]), None, "complex128 has no JSON form"),
    "period": (pd.Series(pd.period_range("2024", periods=1, freq="D")), None, "period"),
    "interval": (pd.Series(pd.interval_range(0, 1)), None, "interval"),
    "surrogate": (pd.Series(["a", "\ud800"], dtype=object), 1, "lone surrogate"),
    "surrogate in StringDtype": (pd.array(["a", "b\udfff"], pd.StringDtype("python")), 1, "lone surrogate"),
    "surrogate in list": (pd.Series([["\ud800"]]), 0, "lone surrogate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    column, row, reason = REFUSED[name]
    with pytest.raises(EncodeError, match=reason) as caught:
        sent(pd.DataFrame({"bad": column}))
    assert (caught.value.column, caught.value.row) == ("bad", row)
