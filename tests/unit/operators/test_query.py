"""What a query answers, on every way that it can take: to XCom, to a file, to the hook."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api.errors import QueryBrokeError
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.pipes import TinybirdEndpointOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

BROKE = b"Code: 241. DB::Exception: Memory limit exceeded (MEMORY_LIMIT_EXCEEDED)\n"
LINES = {
    "CSV": b"1\n2\n",
    "TSV": b"1\n2\n",
    "JSONEachRow": b'{"a":1}\n',
    "Values": b"(1)\n",
    "JSON": b'{"data":[\n',
    "Parquet": b"PAR1",
}


def sql(format: str, path: str | None = None):
    return TinybirdQueryOperator(task_id="q", sql="SELECT 1", format=format, output_path=path)


def endpoint(format: str, path: str | None = None):
    return TinybirdEndpointOperator(task_id="e", pipe="p", format=format, output_path=path)


@pytest.mark.parametrize("format", LINES)
def test_an_exception_at_the_end_of_a_query(tinybird, tmp_path, format):
    tinybird.on("POST /v0/sql", (200, LINES[format] + BROKE))
    place = tmp_path / "out"
    ways = [
        lambda: sql(format).execute({}),
        lambda: sql(format, str(place)).execute({}),
        lambda: TinybirdHook().query_to_file("SELECT 1", place, format=format),
    ]
    for way in ways:
        with pytest.raises(QueryBrokeError, match="MEMORY_LIMIT_EXCEEDED"):
            way()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "lines"), [("csv", b"a\n1\n"), ("ndjson", b'{"a":1}\n'), ("parquet", b"PAR1"), ("json", b"")]
)
def test_an_exception_at_the_end_of_an_endpoint(tinybird, tmp_path, format, lines):
    tinybird.on(f"GET /v0/pipes/p.{format}", (200, lines + BROKE))
    for operator in (endpoint(format), endpoint(format, str(tmp_path / "out"))):
        with pytest.raises(QueryBrokeError, match="MEMORY_LIMIT_EXCEEDED"):
            operator.execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["query", "query_df", "query_arrow", "get_first"])
def test_an_exception_at_the_end_of_what_the_hook_asks(tinybird, way):
    from airflow_provider_tinybird.hooks.sql import TinybirdSqlHook

    tinybird.on("POST /v0/sql", (200, b"PAR1" + BROKE))
    hook = TinybirdSqlHook() if way == "get_first" else TinybirdHook()
    with pytest.raises(QueryBrokeError, match="MEMORY_LIMIT_EXCEEDED"):
        getattr(hook, way)("SELECT 1")


def test_an_old_file_stays_where_the_new_answer_breaks(tinybird, tmp_path):
    place = tmp_path / "out.csv"
    place.write_text("old")
    tinybird.on("POST /v0/sql", (200, b"1\n" + BROKE))
    with pytest.raises(QueryBrokeError):
        sql("CSV", str(place)).execute({})
    assert place.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]
