"""Answers in JSON, by the real engine: decimals with all digits, and text whose bytes JSON cannot hold."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from airflow_provider_tinybird.api.errors import NotTextError
from airflow_provider_tinybird.hooks.sql import TinybirdSqlHook
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.pipes import TinybirdEndpointOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

DIGITS = "12345678901234567890.12"
DECIMALS = (
    f"toDecimal128('{DIGITS}', 2) AS d, toDecimal256('-0.0000000001', 10) AS small, [d, 1] AS a, map('k', d) AS m, tuple(d, 0.1) AS t, "
    "CAST((d, 0.1), 'Tuple(d Decimal(38, 2), f Float64)') AS named, 0.1 AS f, 18446744073709551615 AS u, "
    "CAST(NULL, 'Nullable(Decimal(9, 2))') AS n"
)
BAD = [
    "unhex('ff')",
    "[unhex('ff')]",
    "map('k', unhex('ff'))",
    "tuple(1, unhex('ff'))",
    "toFixedString(unhex('ff'), 1)",
    "toNullable(unhex('ff'))",
]


def test_decimals(box):
    row = TinybirdHook().query(f"SELECT {DECIMALS}").data[0]
    d = Decimal(DIGITS)
    tuples = [list(row[name].values()) if isinstance(row[name], dict) else row[name] for name in ("t", "named")]
    assert tuples == [[d, 0.1], [d, 0.1]]
    assert {name: row[name] for name in ("d", "small", "a", "m", "f", "u", "n")} == {
        "d": d, "small": Decimal("-1E-10"), "a": [d, Decimal(1)], "m": {"k": d}, "f": 0.1, "u": 2**64 - 1, "n": None,
    }  # fmt: skip
    assert type(row["f"]) is float


def test_decimals_in_xcom(box):
    box.fill()
    asked = TinybirdQueryOperator(task_id="q", sql=f"SELECT {DECIMALS}").execute({})
    called = TinybirdEndpointOperator(task_id="e", pipe="top", q=f"SELECT {DECIMALS} FROM _ LIMIT 1").execute({})
    for value in (asked, called):
        row = json.loads(json.dumps(value))["data"][0]
        assert (row["d"], row["small"], row["a"][0], row["m"]) == (DIGITS, "-0.0000000001", DIGITS, {"k": DIGITS})
    assert TinybirdSqlHook().get_first(f"SELECT {DECIMALS}")[0] == Decimal(DIGITS)


@pytest.mark.parametrize("bad", BAD)
def test_bytes_that_are_no_text(box, bad):
    box.fill()
    ways = [
        lambda sql: TinybirdHook().query(sql),
        lambda sql: TinybirdSqlHook().get_first(sql),
        lambda sql: TinybirdHook().call_endpoint("top", q=f"{sql} FROM _ LIMIT 1"),
    ]
    for way in ways:
        with pytest.raises(NotTextError, match=r"'s `t' \(in 1 row\)"):
            way(f"SELECT {bad} AS `s \\`t`, 'ok' AS x")
        assert way("SELECT '\ufffd' AS s") is not None
    assert TinybirdHook().query("SELECT '\ufffd' AS s, '%' AS p").data == ({"s": "\ufffd", "p": "%"},)


def test_what_it_names_as_the_way_out_works(box):
    assert TinybirdHook().query("SELECT hex(unhex('ff')) AS s").data == ({"s": "FF"},)
    assert TinybirdHook().query_df("SELECT unhex('ff') AS s")["s"].tolist() == [b"\xff"]
