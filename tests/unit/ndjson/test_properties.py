"""Arbitrary tables and records: what a JSON parser reads back equals what went in."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_tinybird.ndjson import batches

QUIET = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text('"\\\n\t\x00\x1fé😀', max_size=6)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_infinity=False)
NAIVE = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
AWARE = NAIVE.flatmap(
    lambda moment: st.integers(-14 * 60, 14 * 60).map(
        lambda minutes: moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=minutes)))
    )
)
SCALAR = st.none() | st.booleans() | st.integers() | FLOAT | TEXT | st.dates() | NAIVE | AWARE | st.uuids()
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


def expected(value: Any) -> Any:
    """What a JSON parser has to give, written down independently of the encoder."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return value.isoformat(" ", "microseconds")
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat("T", "microseconds") + "Z"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: expected(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [expected(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def read(data: object, max_bytes: int = 10_000_000) -> list[Any]:
    rows: list[Any] = []
    for batch in batches(data, max_bytes=max_bytes):
        assert batch.first_row == len(rows)
        assert len(batch.body) <= max_bytes
        lines = bytes(batch.body).decode().split("\n")
        assert lines.pop() == ""
        assert len(lines) == batch.rows
        rows += [json.loads(line) for line in lines]
    return rows


@QUIET
@given(st.lists(st.dictionaries(TEXT, VALUE, max_size=4), max_size=8))
def test_records(records):
    assert read(records) == [expected(record) for record in records]


@QUIET
@given(st.data(), st.lists(TEXT, min_size=1, max_size=4, unique=True), st.integers(1, 12))
def test_records_with_the_same_keys(data, names, rows):
    columns = [
        st.sampled_from([SCALAR, st.none() | TEXT, st.none() | INT64, FLOAT, AWARE, NAIVE, st.dates()]) for _ in names
    ]
    kinds = [data.draw(column) for column in columns]
    records = [{name: data.draw(kind) for name, kind in zip(names, kinds, strict=True)} for _ in range(rows)]
    assert read(records) == [expected(record) for record in records]
    assert read(iter(records), max_bytes=4000) == [expected(record) for record in records]


@QUIET
@given(st.lists(st.fixed_dictionaries({"o": VALUE, "s": st.none() | TEXT, "i": INT64}), max_size=10))
def test_pandas_objects(records):
    frame = pd.DataFrame({name: pd.Series([row[name] for row in records], dtype=object) for name in ("o", "s", "i")})
    assert read(frame) == [expected(record) for record in records]


ARROW = st.sampled_from(
    [
        (pa.string(), TEXT),
        (pa.large_string(), TEXT),
        (pa.int64(), INT64),
        (pa.uint64(), st.integers(0, 2**64 - 1)),
        (pa.float64(), FLOAT),
        (pa.bool_(), st.booleans()),
        (pa.date32(), st.dates()),
        (pa.timestamp("us"), NAIVE),
        (pa.timestamp("us", "UTC"), NAIVE.map(lambda moment: moment.replace(tzinfo=dt.UTC))),
        (pa.decimal128(20, 9), st.decimals(-(10**9), 10**9, places=9)),
    ]
)


def nested(kind: tuple[pa.DataType, Any]) -> Any:
    arrow, values = kind
    values = st.none() | values
    return st.sampled_from(
        [
            (arrow, values),
            (pa.list_(arrow), st.none() | st.lists(values, max_size=3)),
            (
                pa.struct([("a", arrow), ("é", pa.int8())]),
                st.none() | st.fixed_dictionaries({"a": values, "é": st.none()}),
            ),
            (
                pa.list_(pa.struct([("a", arrow)])),
                st.none() | st.lists(st.fixed_dictionaries({"a": values}), max_size=2),
            ),
            (pa.map_(pa.string(), arrow), st.none() | st.dictionaries(TEXT, values, max_size=3)),
        ]
    )


@settings(QUIET, max_examples=300)
@given(st.data(), ARROW.flatmap(nested), st.integers(0, 3))
def test_arrow_columns(data, kind, skipped):
    arrow, values = kind
    column = data.draw(st.lists(values, max_size=8))
    plain = [list(value.items()) if pa.types.is_map(arrow) and value is not None else value for value in column]
    table = pa.table({"v": pa.array(plain, arrow), "n": list(range(len(column)))}).slice(skipped)
    want = [{"v": expected_decimal(value), "n": n} for n, value in enumerate(column)][skipped:]
    assert read(table) == want
    assert read(table, max_bytes=2000) == want


def expected_decimal(value: Any) -> Any:
    """Arrow's decimals have the digits of their type, and come as text."""
    if isinstance(value, Decimal):
        return format(value, ".9f")
    if isinstance(value, dict):
        return {key: expected_decimal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expected_decimal(item) for item in value]
    return expected(value)


@QUIET
@given(st.lists(TEXT, min_size=1, max_size=30), st.integers(90, 200))
def test_any_limit_keeps_rows_whole(texts, limit):
    assert read(pa.table({"s": texts}), limit) == [{"s": text} for text in texts]


MIXED = st.fixed_dictionaries(
    {"m": SCALAR, "f": FLOAT | st.integers(), "v": VALUE, "t": AWARE | st.none()}, optional={"o": SCALAR, "p": TEXT}
)


@settings(QUIET, max_examples=200)
@given(st.lists(MIXED, min_size=1, max_size=12), st.data())
def test_a_line_does_not_depend_on_the_rows_around_it(records, data):
    records = [dict(data.draw(st.permutations(list(record.items())))) for record in records]
    alone = b"".join(bytes(batch.body) for record in records for batch in batches(record))
    assert b"".join(batch.body for batch in batches(records)) == alone
    frame = pd.DataFrame({"m": pd.Series([record["m"] for record in records], dtype=object)})
    rows = b"".join(bytes(b.body) for row in range(len(frame)) for b in batches(frame.iloc[row : row + 1]))
    assert b"".join(batch.body for batch in batches(frame)) == rows
