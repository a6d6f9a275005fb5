"""What a query answers, on every way that it can take: to XCom, to a file, to the hook."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from airflow_provider_tinybird._compat import AirflowException, AirflowFailException
from airflow_provider_tinybird.api.errors import NotTextError, QueryBrokeError
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


MONEY = (
    b'{"meta": [{"name": "m", "type": "Decimal(38, 2)"}, {"name": "a", "type": "Array(Decimal(38, 2))"}],'
    b'"data": [{"m": 12345678901234567890.12, "a": [9999999999999999.99]}], "rows": 1, "statistics": {}}'
)


@pytest.mark.parametrize("operator", [sql, endpoint])
def test_decimals_are_text_in_xcom(tinybird, operator):
    tinybird.on("POST /v0/sql", (200, MONEY))
    tinybird.on("GET /v0/pipes/p.json", (200, MONEY))
    value = operator("JSON" if operator is sql else "json").execute({})
    assert json.loads(json.dumps(value))["data"] == [{"m": "12345678901234567890.12", "a": ["9999999999999999.99"]}]


def test_decimals_in_what_a_sensor_saw(tinybird):
    from airflow_provider_tinybird.conditions.checks import FirstCellCheck, SqlCheck

    tinybird.on("POST /v0/sql", (200, MONEY))
    answer = TinybirdHook().query("SELECT 1")
    for question in (FirstCellCheck(sql="SELECT 1"), SqlCheck(sql="SELECT 1", what="x")):
        verdict = question.judge(answer)
        assert "12345678901234567890.12" in json.dumps(verdict.facts)
        assert "12345678901234567890.12" in verdict.says
        assert "Decimal" not in verdict.says


@pytest.mark.parametrize(
    ("found", "kind", "expected", "tolerance", "green"),
    [
        ("9999999999999999.99", "Decimal(38, 2)", Decimal("10000000000000000.00"), None, False),
        ("9999999999999999.99", "Decimal(38, 2)", Decimal("9999999999999999.99"), None, True),
        ("9999999999999999.99", "Decimal(38, 2)", "9999999999999999.99", None, True),
        ("1.10", "Decimal(38, 2)", 1.1, None, True),
        ("9007199254740993", "UInt64", 9007199254740992, None, False),
        ("95", "UInt64", 100, 0.05, True),
        ("94.99", "Decimal(38, 2)", 100, 0.05, False),
        ("0.1", "Float64", 0.1, None, True),
        ("0.1", "Float64", "0.1", None, True),
        ('"0.10"', "String", 0.1, None, True),
        ("5", "UInt8", "inf", None, False),
    ],
)
def test_a_check_of_a_value_compares_all_digits(tinybird, found, kind, expected, tolerance, green):
    from airflow_provider_tinybird.operators.checks import TinybirdValueCheckOperator

    body = f'{{"meta": [{{"name": "v", "type": "{kind}"}}], "data": [{{"v": {found}}}], "rows": 1}}'
    tinybird.on("POST /v0/sql", (200, body.encode()))
    check = TinybirdValueCheckOperator(task_id="c", sql="SELECT 1", pass_value=expected, tolerance=tolerance)
    if green:
        check.execute({})
    else:
        with pytest.raises(AirflowException, match="Test failed"):
            check.execute({})


@pytest.mark.parametrize("formula", ["max_over_min", "relative_diff"])
def test_an_interval_check_of_decimals(tinybird, formula):
    from airflow_provider_tinybird.operators.checks import TinybirdIntervalCheckOperator

    def answer(value: str):
        meta = '{"name": "v", "type": "Decimal(38, 2)"}'
        return 200, f'{{"meta": [{meta}], "data": [{{"v": {value}}}], "rows": 1}}'.encode()

    arguments = {"table": "d", "day": "2024-01-08", "ratio_formula": formula}
    tinybird.on("POST /v0/sql", answer("100.10"), answer("150.15"))
    TinybirdIntervalCheckOperator(task_id="c", metrics_thresholds={"sum(v)": 1.51}, **arguments).execute({})
    tinybird.on("POST /v0/sql", answer("100.10"), answer("150.15"))
    with pytest.raises(AirflowException):
        TinybirdIntervalCheckOperator(task_id="c", metrics_thresholds={"sum(v)": 0.5}, **arguments).execute({})


BAD = '{"meta": [{"name": "s t", "type": "String"}], "data": [{"s t": "�x"}], "rows": 1}'.encode()


def counted(rows: int) -> bytes:
    return f'{{"meta": [{{"name": "c0", "type": "UInt64"}}], "data": [{{"c0": {rows}}}], "rows": 1}}'.encode()


@pytest.mark.parametrize("way", ["query", "endpoint", "hook", "get_first"])
def test_bytes_that_are_no_text(tinybird, way):
    """JSON cannot hold them, and ClickHouse writes U+FFFD for them; the same character can be the data's own."""
    from airflow_provider_tinybird.hooks.sql import TinybirdSqlHook

    ask = {
        "query": lambda: sql("JSON").execute({})["data"][0]["s t"],
        "endpoint": lambda: endpoint("json").execute({})["data"][0]["s t"],
        "hook": lambda: TinybirdHook().query("SELECT 1 AS x").data[0]["s t"],
        "get_first": lambda: TinybirdSqlHook().get_first("SELECT 1 AS x")[0],
    }[way]
    for route in ("POST /v0/sql", "GET /v0/pipes/p.json"):
        tinybird.on(route, (200, BAD), (200, counted(1)))
    with pytest.raises((NotTextError, AirflowFailException), match=r"column 's t' \(in 1 row\).*hex\(`s t`\)"):
        ask()
    for route in ("POST /v0/sql", "GET /v0/pipes/p.json"):
        tinybird.on(route, (200, BAD), (200, counted(0)))
    assert ask() == "\ufffdx"
    for route in ("POST /v0/sql", "GET /v0/pipes/p.json"):
        tinybird.on(route, (200, BAD), (400, {"error": "no"}))
    assert ask() == "\ufffdx"
