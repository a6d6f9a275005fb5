"""Decimals of an answer in JSON keep their digits; floats stay floats."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from airflow_provider_tinybird.api import pipes, query
from airflow_provider_tinybird.api.exact_rows import decimals_as_text

D, DIGITS = Decimal("12345678901234567890.12"), "12345678901234567890.12"
DECIMAL = "Decimal(38, 2)"
CASES = [
    (DECIMAL, DIGITS, D),
    (DECIMAL, f'"{DIGITS}"', D),
    (DECIMAL, "5", Decimal(5)),
    ("Nullable(Decimal(38, 2))", "null", None),
    ("LowCardinality(Nullable(Decimal(38, 2)))", DIGITS, D),
    ("SimpleAggregateFunction(sum, Decimal(38, 2))", DIGITS, D),
    ("Array(Nullable(Decimal(38, 2)))", f"[{DIGITS}, null, 1]", [D, None, Decimal(1)]),
    ("Array(Array(Decimal(38, 2)))", f"[[{DIGITS}], []]", [[D], []]),
    ("Map(String, Decimal(38, 2))", f'{{"a,b": {DIGITS}}}', {"a,b": D}),
    ("Map(String, Array(Float64))", '{"a": [0.1]}', {"a": [0.1]}),
    ("Tuple(Decimal(38, 2), Float64)", f"[{DIGITS}, 0.1]", [D, 0.1]),
    ("Tuple(`a b` Decimal(38, 2), f Float64)", f'{{"a b": {DIGITS}, "f": 0.1}}', {"a b": D, "f": 0.1}),
    ("Nested(a Decimal(38, 2), f Float32)", f'[{{"a": {DIGITS}, "f": 0.5}}]', [{"a": D, "f": 0.5}]),
    ("Tuple(Enum8('Decimal(1, 1)' = 1), Float64)", '["Decimal(1, 1)", 0.1]', ["Decimal(1, 1)", 0.1]),
    ("Variant(Decimal(38, 2), String)", DIGITS, D),
    ("Float64", "0.1", 0.1),
    ("Float64", "1e300", 1e300),
    ("Float64", '"inf"', "inf"),
    ("Float64", "null", None),
    ("BFloat16", "0.5", 0.5),
    ("Point", "[0.1, 2]", [0.1, 2]),
    ("JSON", '{"a": [0.1, {"b": 1.5}]}', {"a": [0.1, {"b": 1.5}]}),
    ("Dynamic", "0.1", 0.1),
    ("UInt64", "18446744073709551615", 2**64 - 1),
    ("Int256", '"5"', "5"),
    ("String", '"0.1"', "0.1"),
]


def answer(kind: str, text: str) -> str:
    meta = json.dumps([{"name": "v", "type": kind}, {"name": "d", "type": DECIMAL}, {"name": "f", "type": "Float64"}])
    return f'{{"meta": {meta}, "data": [{{"v": {text}, "d": {DIGITS}, "f": 0.1}}], "rows": 1, "statistics": {{"elapsed": 0.5}}}}'


@pytest.mark.parametrize("call", [query.sql("SELECT 1"), pipes.endpoint("p")], ids=["sql", "endpoint"])
@pytest.mark.parametrize(("kind", "text", "expected"), CASES)
def test_values(wire, call, kind, text, expected):
    wire.answers((200, answer(kind, text).encode()))
    result = wire.send(call)
    assert result.data == ({"v": expected, "d": D, "f": 0.1},)
    assert type(result.data[0]["v"]) is type(expected)
    assert type(result.data[0]["f"]) is float
    assert type(result.statistics["elapsed"]) is float


def test_text_for_json():
    value = {"a": [D, (Decimal("1E-10"),)], "b": {"c": Decimal("1E+5")}, "d": 0.1, "e": None}
    assert decimals_as_text(value) == {"a": [DIGITS, ["0.0000000001"]], "b": {"c": "100000"}, "d": 0.1, "e": None}
