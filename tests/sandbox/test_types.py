"""Every type there and back: sent as events, stored in the type that docs/types.md names for it, read back by query_df, equal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from sandbox_process import SandboxProcess
from type_cases import CASES, DTYPES, NONE, sent

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

KINDS = {kind: f"type_{number}" for number, kind in enumerate(dict.fromkeys(case.clickhouse for case in CASES))}
"""A data source for each ClickHouse type."""


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
    with SandboxProcess("--project", project) as server:
        yield server


@pytest.fixture(scope="module")
def stored(server: SandboxProcess) -> dict[str, pd.DataFrame]:
    """The rows of each data source: the cases of its type were sent in one load."""
    connection = {"conn_type": "tinybird", "host": server.base_url, "password": server.token}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", json.dumps(connection))
        hook = TinybirdHook()
        return {kind: there_and_back(hook, kind, name) for kind, name in KINDS.items()}


def there_and_back(hook: TinybirdHook, kind: str, name: str) -> pd.DataFrame:
    cases = [(number, case) for number, case in enumerate(CASES) if case.clickhouse == kind]
    result = hook.send_events(name, (case.frame(case=number) for number, case in cases))
    if result.quarantined_rows:
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
