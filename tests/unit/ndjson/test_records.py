"""Records: Python values, keys, and the same bytes whichever way they are encoded."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import json
import types
import uuid
import zoneinfo
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from airflow_provider_tinybird.ndjson import EncodeError, batches


def sent(records: object) -> str:
    return b"".join(batch.body for batch in batches(records)).decode()


class Colour(str, enum.Enum):  # noqa: UP042  (what many code bases have)
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Plain(enum.Enum):
    ONE = 1


MADRID = zoneinfo.ZoneInfo("Europe/Madrid")
VALUES = {
    "none": (None, "null"),
    "true": (True, "true"),
    "int": (-5, "-5"),
    "int64": (-(2**63), "-9223372036854775808"),
    "uint64": (2**64 - 1, "18446744073709551615"),
    "int256": (2**255, str(2**255)),
    "float": (0.1, "0.1"),
    "whole float": (3.0, "3"),
    "large whole float": (1.7e15, "1700000000000000"),
    "negative zero": (-0.0, "-0"),
    "nan": (float("nan"), "null"),
    "text": ('é"\\\n\x00😀\u2028', '"é\\"\\\\\\n\\u0000😀\u2028"'),
    "str enum": (Colour.RED, '"red"'),
    "int enum": (Level.HIGH, "3"),
    "naive": (dt.datetime(2024, 1, 2, 3, 4, 5), '"2024-01-02 03:04:05.000000"'),
    "aware": (dt.datetime(2024, 7, 1, tzinfo=MADRID), '"2024-06-30T22:00:00.000000Z"'),
    "aware, first of the hour twice": (
        dt.datetime(2023, 10, 29, 2, 30, tzinfo=MADRID),
        '"2023-10-29T00:30:00.000000Z"',
    ),
    "aware, second": (dt.datetime(2023, 10, 29, 2, 30, tzinfo=MADRID, fold=1), '"2023-10-29T01:30:00.000000Z"'),
    "year 1": (dt.datetime(1, 1, 1), '"0001-01-01 00:00:00.000000"'),
    "date": (dt.date(2024, 2, 29), '"2024-02-29"'),
    "time": (dt.time(1, 2, 3), '"01:02:03.000000"'),
    "timedelta": (dt.timedelta(seconds=1, microseconds=5), "1000005"),
    "decimal": (Decimal("123456789012345678901234567890.10"), '"123456789012345678901234567890.10"'),
    "decimal nan": (Decimal("NaN"), "null"),
    "bytes": ("é".encode(), '"é"'),
    "bytearray": (bytearray(b'x"'), '"x\\""'),
    "memoryview": (memoryview(b"x"), '"x"'),
    "uuid": (uuid.UUID(int=255), '"00000000-0000-0000-0000-0000000000ff"'),
    "list": ([1, "x", None, [2.5]], '[1,"x",null,[2.5]]'),
    "tuple": ((1, 2), "[1,2]"),
    "dict": ({"a": {"b": float("nan"), "c": dt.date(2024, 1, 1)}}, '{"a":{"b":null,"c":"2024-01-01"}}'),
    "mapping": (types.MappingProxyType({"a": Decimal("1.0")}), '{"a":"1.0"}'),
    "empty containers": ([{}, []], "[{},[]]"),
    "numpy int": (np.int64(7), "7"),
    "numpy uint": (np.uint64(2**64 - 1), "18446744073709551615"),
    "numpy bool": (np.bool_(True), "true"),
    "numpy float64": (np.float64(0.1), "0.1"),
    "numpy float32": (np.float32(0.1), "0.1"),
    "numpy float16": (np.float16(0.1), "0.099975586"),
    "numpy nan": (np.float32("nan"), "null"),
    "numpy text": (np.str_("x"), '"x"'),
    "numpy array": (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
    "numpy array, no dimension": (np.array(5), "5"),
    "numpy datetime": (np.datetime64("2024-01-02T03:04:05.000000006"), '"2024-01-02 03:04:05.000000006"'),
    "numpy datetime, minutes": (np.datetime64("2024-01-02T03:04"), '"2024-01-02 03:04:00"'),
    "numpy date": (np.datetime64("2024-01-02"), '"2024-01-02"'),
    "numpy month": (np.datetime64("2024-01"), '"2024-01-01"'),
    "numpy NaT": (np.datetime64("NaT"), "null"),
    "numpy timedelta": (np.timedelta64(5, "s"), "5000000"),
    "pandas timestamp": (pd.Timestamp("2024-01-02 03:04:05.123456789"), '"2024-01-02 03:04:05.123456789"'),
    "pandas timestamp, aware": (pd.Timestamp("2024-07-01", tz="Europe/Madrid"), '"2024-06-30T22:00:00.000000Z"'),
    "pandas timedelta": (pd.Timedelta(5000, "ns"), "5"),
    "pandas NaT": (pd.NaT, "null"),
    "pandas NA": (pd.NA, "null"),
}


@pytest.mark.parametrize("name", VALUES)
def test_value(name):
    value, expected = VALUES[name]
    assert sent([{"v": value}]) == f'{{"v":{expected}}}\n'


@pytest.mark.parametrize("name", VALUES)
def test_value_in_a_column_of_its_kind_and_in_a_mixed_one(name):
    value, expected = VALUES[name]
    assert sent([{"v": None}, {"v": value}, {"v": value}]) == f'{{"v":null}}\n{{"v":{expected}}}\n{{"v":{expected}}}\n'
    assert sent([{"v": "x"}, {"v": value}, {"v": 1}]) == f'{{"v":"x"}}\n{{"v":{expected}}}\n{{"v":1}}\n'


@pytest.mark.parametrize("name", VALUES)
def test_value_among_records_with_keys_of_their_own(name):
    value, expected = VALUES[name]
    others = [{f"k{n}": n} for n in range(9)]
    assert sent([{"v": value}, *others]).split("\n")[0] == f'{{"v":{expected}}}'


REFUSED = {
    "infinite": (float("inf"), "infinite"),
    "minus infinite, inside": ({"a": [float("-inf")]}, "infinite"),
    "decimal infinite": (Decimal("Infinity"), "infinite"),
    "numpy infinite": (np.float32("inf"), "infinite"),
    "bytes": (b"\xff", "base64- or hex-encode"),
    "bytearray": (bytearray(b"x\x80"), "the bytes are no UTF-8 text"),
    "numpy bytes": (np.bytes_(b"\xff"), "the bytes are no UTF-8 text"),
    "set": ({1}, r"set \{1\} has no JSON form"),
    "object": (object(), "object <object object"),
    "complex": (1j, "complex 1j"),
    "enum": (Plain.ONE, "Plain"),
    "function": (len, "builtin"),
    "time with zone": (dt.time(1, tzinfo=dt.UTC), "send a datetime"),
    "key": ({1: 2}, "a key must be text, not int 1"),
    "surrogate": ("\ud83d", "lone surrogate"),
    "surrogate, inside": (["\ud83d"], "lone surrogate"),
    "surrogate, inside key": ({"\ud83d": 1}, "lone surrogate"),
    "int with too many digits": (10**5000, "send it as text"),
    "out of the calendar": (dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), "0001 to 9999"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    "others", [[], [{"v": "x"}], [{f"k{n}": n} for n in range(9)]], ids=["alone", "mixed", "sparse"]
)
def test_refused(name, others):
    value, reason = REFUSED[name]
    with pytest.raises(EncodeError, match=reason) as caught:
        sent([*others, {"v": value}])
    assert (caught.value.column, caught.value.row) == ("v", len(others))


def test_a_value_that_contains_itself():
    value: list[object] = []
    value.append(value)
    with pytest.raises(EncodeError, match=r"column 'v', row 0: .*contains itself"):
        sent([{"v": value}])


def test_an_error_shows_only_the_beginning_of_a_value():
    with pytest.raises(EncodeError) as caught:
        sent([{"v": {"x" * 1000}}])
    assert len(str(caught.value)) < 250


def test_each_record_keeps_the_order_of_its_keys():
    assert sent([{"b": 1, "a": 2}, {"a": 3, "b": 4}]) == '{"b":1,"a":2}\n{"a":3,"b":4}\n'
    assert sent([{"a": 1, "b": 2}, {"a": 3}, {"b": 4, "c": 5}, {"c": 6, "a": 7}]) == (
        '{"a":1,"b":2}\n{"a":3}\n{"b":4,"c":5}\n{"c":6,"a":7}\n'
    )


def test_an_absent_key_stays_absent_and_none_stays_null():
    records = [{"a": 1, "b": "x"}, {"a": None}, {"b": None}, {}, {"a": 2.5, "b": "y", "c": []}]
    assert sent(records) == '{"a":1,"b":"x"}\n{"a":null}\n{"b":null}\n{}\n{"a":2.5,"b":"y","c":[]}\n'


def test_records_with_nothing_in_common():
    records = [{f"k{n}": n} for n in range(30)]
    assert sent(records) == "".join(f'{{"k{n}":{n}}}\n' for n in range(30))


def test_empty_records():
    assert sent([{}, {}]) == "{}\n{}\n"


def test_one_mapping_is_one_row():
    assert sent({"a": 1, 'b"': "x"}) == '{"a":1,"b\\"":"x"}\n'


def test_a_defaultdict_does_not_grow():
    first, second = {"a": 1}, collections.defaultdict(int, b=2)
    assert sent([first, second]) == '{"a":1}\n{"b":2}\n'
    assert dict(second) == {"b": 2}


def test_other_mappings():
    assert sent([collections.OrderedDict(a=1), types.MappingProxyType({"a": 2}), collections.ChainMap({"a": 3})]) == (
        '{"a":1}\n{"a":2}\n{"a":3}\n'
    )


@pytest.mark.parametrize("record", [{1: 2}, {None: 1}, {("a",): 1}])
def test_keys_that_are_no_text(record):
    for others in ([], [{"a": 1}] * 2, [{f"k{n}": n} for n in range(2)]):
        with pytest.raises(EncodeError, match="a key must be text") as caught:
            sent([*others, record])
        assert caught.value.row == len(others)


def test_key_with_a_surrogate():
    with pytest.raises(EncodeError, match=r"row 1: the key '.ud800'"):
        sent([{"a": 1}, {"\ud800": 1}])


def test_lone_bool_among_ints_stays_a_bool():
    assert sent([{"v": 1}, {"v": True}, {"v": 0}]) == '{"v":1}\n{"v":true}\n{"v":0}\n'


def test_mixed_kinds_of_one_column_keep_their_own():
    moment, day = dt.datetime(2024, 1, 2, 3), dt.date(2024, 1, 2)
    texts = {moment: '"2024-01-02 03:00:00.000000"', day: '"2024-01-02"', 2**53 + 1: "9007199254740993", 0.5: "0.5"}
    for first in texts:
        for second in texts:
            assert sent([{"v": first}, {"v": second}]) == f'{{"v":{texts[first]}}}\n{{"v":{texts[second]}}}\n'


def test_round_trip_through_dict_of_pandas():
    frame = pd.DataFrame({"a": [1, 2], "s": ["x", None], "t": pd.to_datetime(["2024-01-01", None], utc=True)})
    lines = [json.loads(line) for line in sent(frame.to_dict("records")).splitlines()]
    assert lines == [{"a": 1, "s": "x", "t": "2024-01-01T00:00:00.000000Z"}, {"a": 2, "s": None, "t": None}]
