"""Every Arrow type: the exact bytes that are sent."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_tinybird.ndjson import EncodeError, batches
from airflow_provider_tinybird.ndjson.tables import bounded, size_of


def values(array: pa.Array | pa.ChunkedArray) -> list[str]:
    """The JSON texts of one column, taken from the body."""
    body = b"".join(batch.body for batch in batches(pa.table({"v": array}))).decode()
    assert body.endswith("}\n")
    return [line.removeprefix('{"v":').removesuffix("}") for line in body.removesuffix("\n").split("\n")]


NAIVE = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
ZONED = "Europe/Madrid"
BIG = Decimal("12345678901234567890123456789012345.678")
IDENTITY = uuid.UUID("b7b9dcbc-5295-4138-bad5-b03a5b9a0684")

SCALARS = {
    "int8": (pa.array([-128, None, 127], pa.int8()), ["-128", "null", "127"]),
    "int64": (
        pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
        ["-9223372036854775808", "null", "9223372036854775807"],
    ),
    "uint64": (pa.array([0, None, 2**64 - 1], pa.uint64()), ["0", "null", "18446744073709551615"]),
    "bool": (pa.array([True, None, False]), ["true", "null", "false"]),
    "float64": (
        pa.array([0.1, None, -2.5e-300, 1.0]),
        ["0.1", "null", "-2.5e-300", "1"],
    ),
    "float64 whole": (
        pa.array([1e10, 1e15, 1.7e18, -4e15, 9007199254740993.0, None]),
        ["10000000000", "1000000000000000", "1700000000000000000", "-4000000000000000", "9007199254740992", "null"],
    ),
    "float64 whole, too large": (pa.array([1e19, 1.7976931348623157e308]), ["1e+19", "1.7976931348623157e+308"]),
    "float64 nan": (pa.array([1.5, float("nan"), None]), ["1.5", "null", "null"]),
    "float32": (pa.array([0.1, None, 16777216], pa.float32()), ["0.1", "null", "16777216"]),
    "float16": (pa.array(np.array([0.1, 2, float("nan")], np.float16)), ["0.099975586", "2", "null"]),
    "decimal128": (pa.array([BIG, None, Decimal("-0.500")], pa.decimal128(38, 3)), [f'"{BIG}"', "null", '"-0.500"']),
    "decimal128 small": (pa.array([Decimal("0.00000001"), None], pa.decimal128(18, 8)), ['"0.00000001"', "null"]),
    "decimal256": (pa.array([BIG], pa.decimal256(60, 5)), [f'"{BIG}00"']),
    "string": (
        pa.array(["", None, 'a"b\\c/d', "\x00\x08\t\n\x0c\r\x1f\x7f", "é😀\u2028"]),
        ['""', "null", '"a\\"b\\\\c/d"', '"\\u0000\\b\\t\\n\\f\\r\\u001f\x7f"', '"é😀\u2028"'],
    ),
    "string plain": (pa.array(["é", "", "x"]), ['"é"', '""', '"x"']),
    "large_string": (pa.array(["a\n", None], pa.large_string()), ['"a\\n"', "null"]),
    "binary": (pa.array([b"", None, 'é"'.encode()]), ['""', "null", '"é\\""']),
    "binary, all null": (pa.array([None], pa.binary()), ["null"]),
    "large_binary": (pa.array([b"x", None], pa.large_binary()), ['"x"', "null"]),
    "fixed_size_binary": (pa.array([b"xy", None], pa.binary(2)), ['"xy"', "null"]),
    "dictionary": (pa.array(["u", None, 'q"', "u"]).dictionary_encode(), ['"u"', "null", '"q\\""', '"u"']),
    "dictionary of numbers": (pa.array([1.5, None, 1.5, 2.0]).dictionary_encode(), ["1.5", "null", "1.5", "2"]),
    "date32": (pa.array([dt.date(1, 1, 1), None, dt.date(9999, 12, 31)]), ['"0001-01-01"', "null", '"9999-12-31"']),
    "date64": (pa.array([dt.date(2024, 2, 29)], pa.date64()), ['"2024-02-29"']),
    "timestamp s": (pa.array([0, None], pa.timestamp("s")), ['"1970-01-01 00:00:00"', "null"]),
    "timestamp ms": (pa.array([1], pa.timestamp("ms")), ['"1970-01-01 00:00:00.001"']),
    "timestamp us": (pa.array([NAIVE]), ['"2024-02-29 12:30:15.123456"']),
    "timestamp ns": (pa.array([123456789], pa.timestamp("ns")), ['"1970-01-01 00:00:00.123456789"']),
    "timestamp before 1970": (pa.array([-1], pa.timestamp("ns")), ['"1969-12-31 23:59:59.999999999"']),
    "timestamp with zone": (pa.array([0, None], pa.timestamp("s", ZONED)), ['"1970-01-01T00:00:00Z"', "null"]),
    "timestamp with zone ns": (pa.array([1], pa.timestamp("ns", "UTC")), ['"1970-01-01T00:00:00.000000001Z"']),
    "time32": (pa.array([3661], pa.time32("s")), ['"01:01:01"']),
    "time64": (pa.array([1, None], pa.time64("ns")), ['"00:00:00.000000001"', "null"]),
    "duration": (pa.array([1500, None], pa.duration("ms")), ["1500", "null"]),
    "null": (pa.nulls(2), ["null", "null"]),
    "all null": (pa.array([None, None], pa.string()), ["null", "null"]),
    "run end encoded": (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", None]), ['"a"', '"a"', "null"]),
}


@pytest.mark.parametrize("name", SCALARS)
def test_scalar(name):
    array, expected = SCALARS[name]
    assert values(array) == expected


@pytest.mark.skipif(not hasattr(pa, "string_view"), reason="older pyarrow has no such type")
def test_string_view():
    assert values(pa.array(['a"', None, "a text that is too long to be inlined"], pa.string_view())) == [
        '"a\\""', "null", '"a text that is too long to be inlined"',
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="older pyarrow has no such type")
def test_views_are_measured_where_pyarrow_cannot():
    texts = ["x" * 100] * 1000
    view = pa.table({"text": pa.array(texts, pa.string_view()), "raw": pa.array([b"y"] * 1000, pa.binary_view())})
    assert 100 * 100 <= size_of(view.slice(0, 100)) < 2 * size_of(pa.table({"text": texts[:100], "raw": [b"y"] * 100}))
    nested = pa.table({"texts": pa.array([["a"], ["b"]], pa.list_(pa.string_view()))})
    assert size_of(nested) > 0
    assert bounded(view, 900, 200).num_rows == 100


def test_extension_types():
    assert values(pa.array([IDENTITY.bytes, None], pa.uuid())) == [f'"{IDENTITY}"', "null"]


@pytest.mark.skipif(not hasattr(pa, "json_"), reason="older pyarrow has no such type")
def test_json_extension_type_stays_text():
    array = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":\n1}', None]))
    assert values(array) == ['"{\\"a\\":\\n1}"', "null"]


NESTED = {
    "list": (pa.array([[1.5, None], None, [], [2.0]]), ["[1.5,null]", "null", "[]", "[2]"]),
    "large_list": (pa.array([["a"], None], pa.large_list(pa.large_string())), ['["a"]', "null"]),
    "fixed_size_list": (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)), ["[1,2]", "null", "[3,4]"]),
    "list of lists": (pa.array([[[1], []], [None]]), ["[[1],[]]", "[null]"]),
    "list of float32": (pa.array([[0.1]], pa.list_(pa.float32())), ["[0.1]"]),
    "list of nulls": (pa.array([[None], []], pa.list_(pa.null())), ["[null]", "[]"]),
    "struct": (
        pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
        ['{"a":1,"b":"x"}', "null", '{"a":null,"b":null}'],
    ),
    "struct, empty": (pa.array([{}, None], pa.struct([])), ["{}", "null"]),
    "struct of struct": (pa.array([{"a": {"b": [1]}}]), ['{"a":{"b":[1]}}']),
    "map": (
        pa.array([[("k", 1), ('"', None)], None, []], pa.map_(pa.string(), pa.int64())),
        ['{"k":1,"\\"":null}', "null", "{}"],
    ),
    "map with int keys": (pa.array([[(1, "x")]], pa.map_(pa.int8(), pa.string())), ['{"1":"x"}']),
    "map with date keys": (
        pa.array([[(dt.date(2024, 1, 1), 1)]], pa.map_(pa.date32(), pa.int8())),
        ['{"2024-01-01":1}'],
    ),
    "map with dictionary keys": (
        pa.MapArray.from_arrays([0, 1], pa.array(["k"]).dictionary_encode(), pa.array([1])),
        ['{"k":1}'],
    ),
    "map of maps": (
        pa.array([[("a", [("b", [1])])]], pa.map_(pa.string(), pa.map_(pa.string(), pa.list_(pa.int8())))),
        ['{"a":{"b":[1]}}'],
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested(name):
    array, expected = NESTED[name]
    assert values(array) == expected


@pytest.mark.parametrize("name", SCALARS | NESTED)
def test_a_slice_gives_the_values_of_the_slice(name):
    array, expected = (SCALARS | NESTED)[name]
    padded = pa.concat_arrays([array] * 9) if not pa.types.is_run_end_encoded(array.type) else array
    start = len(array) * 3 + 1 if len(padded) > len(array) else 1
    assert values(padded.slice(start, len(array) - 1) if len(array) > 1 else array) == (expected[1:] or expected)


def test_what_lies_under_a_null_is_not_looked_at():
    infinite = pa.StructArray.from_arrays([pa.array([float("inf"), 1.0])], ["a"], mask=pa.array([True, False]))
    assert values(infinite) == ["null", '{"a":1}']
    hidden = pa.ListArray.from_arrays(pa.array([0, 1, 2]), pa.array([float("inf"), 1.0]), mask=pa.array([True, False]))
    assert values(hidden) == ["null", "[1]"]


def test_chunks_with_different_dictionaries():
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", None]).dictionary_encode()]
    assert values(pa.chunked_array(chunks)) == ['"a"', '"b"', '"b"', "null"]


def test_unused_bad_entry_of_a_dictionary_is_no_error():
    array = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([1.5, float("inf")]))
    assert values(array) == ["1.5", "1.5"]


def test_text_far_into_a_large_column():
    array = pa.array(["x" * 1000] * 5000 + ["last\n"], pa.large_string())
    assert values(array.slice(5000)) == ['"last\\n"']


def test_column_names_are_escaped():
    table = pa.table({'a"b\n': [1], "é": ["x"], "": [None]})
    body = b"".join(batch.body for batch in batches(table))
    assert body == '{"a\\"b\\n":1,"é":"x","":null}\n'.encode()


ESCAPED_EVERYTHING = "".join(map(chr, range(0x300))) + "😀"


def test_all_escapes_equal_those_of_json():
    assert values(pa.array([ESCAPED_EVERYTHING, ESCAPED_EVERYTHING[::-1]])) == [
        json.dumps(ESCAPED_EVERYTHING, ensure_ascii=False),
        json.dumps(ESCAPED_EVERYTHING[::-1], ensure_ascii=False),
    ]


REFUSED = {
    "binary": (pa.array([b"x", None, b"\xff"]), 2, "the bytes are no UTF-8 text"),
    "fixed_size_binary": (pa.array([b"xy", b"\xc3x"], pa.binary(2)), 1, "base64- or hex-encode"),
    "list of binary": (pa.array([[b"x"], [b"x", b"\xff"]]), 1, "the bytes are no UTF-8 text"),
    "interval": (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), None, "month_day_nano"),
    "infinite": (pa.array([1.0, None, float("inf")]), 2, "infinite"),
    "minus infinite": (pa.array([float("nan"), float("-inf")], pa.float32()), 1, "infinite"),
    "infinite float16": (pa.array(np.array([1, np.inf], np.float16)), 1, "infinite"),
    "infinite in list": (pa.array([[1.0, 2.0], None, [], [3.0, float("inf")]]), 3, "infinite"),
    "infinite in struct": (pa.array([{"a": 1.0}, {"a": float("inf")}]), 1, "field 'a': an infinite"),
    "infinite in map": (pa.array([[("a", 1.0)], [("b", float("inf"))]], pa.map_(pa.string(), pa.float64())), 1, "infinite"),
    "infinite in dictionary": (pa.array([1.0, 1.0, float("inf")]).dictionary_encode(), 2, "infinite"),
    "year 10000": (pa.array([0, 253402300800], pa.timestamp("s")), 1, "0001 to 9999"),
    "year 0": (pa.array([-62135596800000001], pa.timestamp("us", "UTC")), 0, "0001 to 9999"),
    "date in year 10000": (pa.array([0, 2932897], pa.date32()), 1, "0001 to 9999"),
    "not UTF-8": (
        pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers()), 1, "not valid UTF-8",
    ),
    "struct with one name twice": (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), None, "one name"),
    "map with nested keys": (pa.array([[([1], 1)]], pa.map_(pa.list_(pa.int8()), pa.int8())), None, "use text keys"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    array, row, reason = REFUSED[name]
    with pytest.raises(EncodeError, match=reason) as caught:
        list(batches(pa.table({"fine": pa.nulls(len(array)), "bad": array})))
    assert (caught.value.column, caught.value.row) == ("bad", row)
    assert str(caught.value).startswith("column 'bad'")


def test_a_later_slice_names_the_row_in_all_of_the_data():
    table = pa.table({"v": [1.0] * 5000 + [float("inf")]})
    with pytest.raises(EncodeError, match="column 'v', row 5003: an infinite"):
        list(batches([[{"v": 1}] * 3, table]))


def test_duplicate_names():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(EncodeError, match="column 'a': two columns"):
        list(batches(table))


def test_unknown_extension_type():
    class Celsius(pa.ExtensionType):
        def __init__(self):
            super().__init__(pa.float64(), "test.celsius")

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type, serialized):
            return cls()

    with pytest.raises(EncodeError, match="cast it to text or to its storage type"):
        values(pa.ExtensionArray.from_storage(Celsius(), pa.array([1.5])))
