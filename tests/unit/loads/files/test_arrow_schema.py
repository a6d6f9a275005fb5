"""Which tables go as Parquet: only those whose values are the same in the types of the data source."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_tinybird.api.datasources import read_datasource
from airflow_provider_tinybird.loads.files.arrow_schema import fitting, target_columns

AT = dt.datetime(2024, 3, 1, 12, 30, 15)


def fitted(array: Any, kind: str, *, name: str = "c", path: str | None = None) -> Any:
    column = {"name": "c", "type": kind, "jsonpath": path}
    datasource = read_datasource({"schema": {"columns": [column]}})
    table = fitting(pa.table({name: array}), target_columns(datasource))
    return None if table is None else table.column(0)


@pytest.mark.parametrize(
    ("array", "kind", "type_"),
    [
        (pa.array([1, 255]), "UInt8", pa.uint8()),
        (pa.array([1, None]), "Nullable(Int16)", pa.int16()),
        (pa.array(["a"]), "LowCardinality(String)", pa.string()),
        (pa.array(["a", None]).dictionary_encode(), "LowCardinality(Nullable(String))", pa.string()),
        (pa.array([1.5]), "Float64", pa.float64()),
        (pa.array([True]), "Bool", pa.bool_()),
        (pa.array([dt.date(2149, 6, 6)]), "Date", pa.date32()),
        (pa.array([dt.date(1900, 1, 1)]), "Date32", pa.date32()),
        (pa.array([AT], pa.timestamp("ns")), "DateTime", pa.timestamp("s", "UTC")),
        (pa.array([AT], pa.timestamp("us", "Europe/Madrid")), "DateTime('America/New_York')", pa.timestamp("s", "UTC")),
        (pa.array([AT.replace(microsecond=1)]), "DateTime64(6)", pa.timestamp("us", "UTC")),
        (pa.array([Decimal("1.25")]), "Decimal(18, 4)", pa.decimal128(18, 4)),
        (pa.array([None], pa.null()), "Nullable(DateTime)", pa.timestamp("s", "UTC")),
    ],
)
def test_values_that_stay_as_they_are(array, kind, type_):
    found = fitted(array, kind)
    assert found.type == type_
    given = array.cast(type_) if array.type != pa.null() and not pa.types.is_dictionary(array.type) else array
    assert found.to_pylist() == given.to_pylist()


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (pa.array([256]), "UInt8"),
        (pa.array([-1]), "UInt64"),
        (pa.array([1, None]), "Int16"),
        (pa.array([1.0]), "Int16"),
        (pa.array([1.5]), "Float32"),
        (pa.array([float("inf")]), "Float64"),
        (pa.array([float("nan")]), "Float64"),
        (pa.array(["2024-01-01"]), "Date"),
        (pa.array([dt.date(2149, 6, 7)]), "Date"),
        (pa.array([AT.replace(microsecond=1)]), "DateTime"),
        (pa.array([dt.datetime(2107, 1, 1)]), "DateTime"),
        (pa.array([AT]), "DateTime('Europe/Madrid')"),
        (pa.array([Decimal("1.23456")]), "Decimal(18, 4)"),
        (pa.array([[1]]), "Array(Int64)"),
        (pa.array(["a"]), "Enum8('a' = 1)"),
    ],
)
def test_values_that_could_change_go_as_ndjson(array, kind):
    assert fitted(array, kind) is None


def test_nan_is_null():
    assert fitted(pa.array([float("nan"), 1.0]), "Nullable(Float64)").to_pylist() == [None, 1.0]


def test_columns_are_found_by_their_paths():
    assert fitted(pa.array([1]), "Int64", name="key", path="$.key").to_pylist() == [1]
    assert fitted(pa.array([1]), "Int64", name="c", path="$.key") is None
    assert fitted(pa.array([1]), "Int64", name="c", path="$.deep.c") is None
