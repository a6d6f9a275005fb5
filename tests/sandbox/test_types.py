"""Every type there and back: sent as events, stored in the type that docs/types.md names for it, read back by query_df, equal."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_process import SandboxProcess
from type_cases import CASES, DTYPES, NONE, sent

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

KINDS = {kind: f"type_{number}" for number, kind in enumerate(dict.fromkeys(case.clickhouse for case in CASES))}
"""A data source for each ClickHouse type."""


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text('"\\\n\x00\x1fé😀', max_size=4)
MOMENT = st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2299, 12, 30))
ANY: dict[str, tuple[str, pa.DataType, Any]] = {
    "i": ("Nullable(Int64)", pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "u": ("Nullable(UInt64)", pa.uint64(), st.integers(0, 2**64 - 1)),
    "f": ("Nullable(Float64)", pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    "s": ("Nullable(String)", pa.string(), TEXT),
    "b": ("Nullable(Bool)", pa.bool_(), st.booleans()),
    "d": ("Nullable(Date32)", pa.date32(), st.dates(dt.date(1900, 1, 1), dt.date(2299, 12, 31))),
    "t": (
        "Nullable(DateTime64(6, 'UTC'))",
        pa.timestamp("us", "UTC"),
        MOMENT.map(lambda one: one.replace(tzinfo=dt.UTC)),
    ),
    "m": ("Nullable(Decimal(38, 10))", pa.decimal128(38, 10), st.decimals(-(10**27), 10**27, places=10)),
    "l": ("Array(Nullable(String))", pa.list_(pa.string()), st.lists(st.none() | TEXT, max_size=3)),
}
"""Columns of any frame: ClickHouse's type, Arrow's, and values."""
FORMS = {
    "Arrow": lambda table: table,
    "pandas": lambda table: table.to_pandas(),
    "pandas of Arrow": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_arrow,
    "records": lambda table: table.to_pylist(),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    project = tmp_path_factory.mktemp("project")
    (project / "datasources").mkdir()
    for kind, name in KINDS.items():
        path = "json:$.v[:]" if kind.startswith("Array(") else "json:$.v"
        columns = f"`case` Int32 `json:$.case`,\n    `n` Int32 `json:$.n`,\n    `v` {kind} `{path}`"
        (project / "datasources" / f"{name}.datasource").write_text(
            f"SCHEMA >\n    {columns}\n\nENGINE MergeTree\nENGINE_SORTING_KEY case, n\n"
        )
    columns = ",\n    ".join(
        f"`{name}` {kind} `json:$.{name}{'[:]' * (name == 'l')}`" for name, (kind, _, _) in ANY.items()
    )
    (project / "datasources" / "anything.datasource").write_text(
        f"SCHEMA >\n    `run` String `json:$.run`,\n    `n` Int32 `json:$.n`,\n    {columns}\n\n"
        "ENGINE MergeTree\nENGINE_SORTING_KEY run, n\n"
    )
    with SandboxProcess("--project", project) as server:
        yield server


@pytest.fixture(scope="module")
def hook(server: SandboxProcess) -> Iterator[TinybirdHook]:
    connection = {"conn_type": "tinybird", "host": server.base_url, "password": server.token}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", json.dumps(connection))
        yield TinybirdHook()


@pytest.fixture(scope="module")
def stored(hook: TinybirdHook) -> dict[str, pd.DataFrame]:
    """The rows of each data source: the cases of its type were sent in one load."""
    return {kind: there_and_back(hook, kind, name) for kind, name in KINDS.items()}


def there_and_back(hook: TinybirdHook, kind: str, name: str) -> pd.DataFrame:
    cases = [(number, case) for number, case in enumerate(CASES) if case.clickhouse == kind]
    # A load has one unit for the durations of a column, and the cases have all.
    durations = [one for one in cases if re.search("duration|timedelta", one[1].type, re.IGNORECASE)]
    loads = [[one for one in cases if one not in durations], *([one] for one in durations)]
    results = [hook.send_events(name, (case.frame(case=number) for number, case in load)) for load in loads]
    if any(result.quarantined_rows for result in results):
        bad = hook.query(f"SELECT * FROM {name}_quarantine").data
        pytest.fail(f"{kind}: {bad}")
    return hook.query_df(f"SELECT * FROM {name} ORDER BY case, n")


def is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def same(found: Any, expected: Any) -> bool:
    if expected is NONE:
        return is_missing(found)
    if isinstance(expected, float):
        return isinstance(found, float) and found == expected and math.copysign(1, found) == math.copysign(1, expected)
    if isinstance(expected, pd.Timestamp):
        return isinstance(found, pd.Timestamp) and found == expected and (found.tz is None) == (expected.tz is None)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected) and isinstance(found, bool) == isinstance(expected, bool)


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[f"{case.library}: {case.type} into {case.clickhouse}" for case in CASES]
)
def test_there_and_back(stored, number):
    case = CASES[number]
    frame = stored[case.clickhouse]
    found = frame[frame["case"] == number]["v"].tolist()
    assert len(found) == len(case.back) == len(sent(case))
    assert [pair for pair in zip(found, case.back, strict=True) if not same(*pair)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_types_of_pandas(stored, kind):
    dtype, _, inside = DTYPES[kind].partition(", ")
    column = stored[kind]["v"]
    assert str(column.dtype) in ({"str", "object", "string"} if dtype == "str" else {dtype, DTYPES[kind]})
    if inside.startswith("of "):
        assert {type(value).__name__ for value in column if not is_missing(value)} == {inside.removeprefix("of ")}


ROW = st.fixed_dictionaries(
    {name: values if name == "l" else st.none() | values for name, (_, _, values) in ANY.items()}
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROW, min_size=1, max_size=15), st.sampled_from(sorted(FORMS)))
def test_any_frame_there_and_back(hook, rows, form):
    run = uuid.uuid4().hex
    schema = pa.schema([(name, kind) for name, (_, kind, _) in ANY.items()])
    table = pa.Table.from_pylist(rows, schema)
    table = table.append_column("run", pa.array([run] * len(rows))).append_column("n", pa.array(range(len(rows))))
    data = FORMS[form](table)
    if form == "pandas":  # where it makes floats of integers with gaps, the digits are lost before they come here
        data = data.assign(**{name: table[name].to_pandas(types_mapper=pd.ArrowDtype) for name in ("i", "u")})
    assert hook.send_events("anything", data).successful_rows == len(rows)
    found = hook.query_arrow(f"SELECT * FROM anything WHERE run = '{run}' ORDER BY n")
    for name in ANY:
        assert found[name].to_pylist() == [row[name] for row in rows], name
