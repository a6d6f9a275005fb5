"""Checks by SQL, those of common.sql, in ClickHouse's dialect."""

from __future__ import annotations

from contextlib import closing
from datetime import date, datetime
from decimal import Decimal

import pytest

from airflow_provider_tinybird._compat import AirflowException, AirflowFailException
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.hooks.sql import TinybirdSqlHook
from airflow_provider_tinybird.operators.checks import (
    TinybirdCheckOperator,
    TinybirdColumnCheckOperator,
    TinybirdIntervalCheckOperator,
    TinybirdTableCheckOperator,
    TinybirdValueCheckOperator,
)


def check(cls, context=None, **arguments):
    operator = cls(task_id="t", **arguments)
    operator.render_template_fields({"max": 30, **(context or {})})
    return operator.execute(context or {})


GREEN = {
    "check": (TinybirdCheckOperator, {"sql": "SELECT count(), max(delay) = {{ max }} FROM flights"}),
    "parameters": (
        TinybirdCheckOperator,
        {"sql": "SELECT count() = 2 FROM flights WHERE carrier = %(of)s", "parameters": {"of": "UA"}},
    ),
    "value": (TinybirdValueCheckOperator, {"sql": "SELECT count() FROM flights", "pass_value": 4}),
    "value near": (TinybirdValueCheckOperator, {"sql": "SELECT 95", "pass_value": 100, "tolerance": "0.1"}),
    "value of text": (TinybirdValueCheckOperator, {"sql": "SELECT min(carrier) FROM flights", "pass_value": "AA"}),
    "columns": (
        TinybirdColumnCheckOperator,
        {
            "table": "flights",
            "column_mapping": {
                "delay": {
                    "null_check": {"equal_to": 0},
                    "min": {"geq_to": -5, "less_than": 0},
                    "max": {"equal_to": 30},
                    "unique_check": {"equal_to": 0},
                },
                "carrier": {"distinct_check": {"equal_to": 3}, "unique_check": {"leq_to": 1}},
                "day": {"max": {"equal_to": 15737}},
            },
        },
    ),
    "columns of some rows": (
        TinybirdColumnCheckOperator,
        {
            "table": "flights",
            "column_mapping": {"delay": {"max": {"equal_to": 11}}},
            "partition_clause": "carrier = 'B6'",
        },
    ),
    "table": (
        TinybirdTableCheckOperator,
        {
            "table": "flights",
            "checks": {
                "enough": {"check_statement": "count() >= 4"},
                "each": {"check_statement": "delay > -10"},
                "one": {"check_statement": "count() = 1", "partition_clause": "carrier = 'B6'"},
            },
        },
    ),
    "interval": (
        TinybirdIntervalCheckOperator,
        {
            "table": "flights",
            "day": "{{ ds }}",
            "metrics_thresholds": {"count()": 2.5},
            "date_filter_column": "day",
            "days_back": -1,
        },
    ),
}
RED = {
    "check": (TinybirdCheckOperator, {"sql": "SELECT count(), max(delay) > {{ max }} FROM flights"}, "FROM flights"),
    "a count of zero": (TinybirdCheckOperator, {"sql": "SELECT count() FROM flights WHERE delay > 99"}, "Test failed"),
    "no row": (TinybirdCheckOperator, {"sql": "SELECT carrier FROM flights WHERE delay > 99"}, "None|zero|no row"),
    "value": (TinybirdValueCheckOperator, {"sql": "SELECT count() FROM flights", "pass_value": 5}, "5"),
    "columns": (
        TinybirdColumnCheckOperator,
        {"table": "flights", "column_mapping": {"delay": {"min": {"geq_to": 0}, "max": {"leq_to": 30}}}},
        "Column: delay\n\tCheck: min",
    ),
    "table": (
        TinybirdTableCheckOperator,
        {
            "table": "flights",
            "checks": {"enough": {"check_statement": "count() > 4"}, "ok": {"check_statement": "count() > 0"}},
        },
        "Check: enough",
    ),
    "interval": (
        TinybirdIntervalCheckOperator,
        {
            "table": "flights",
            "day": "{{ ds }}",
            "metrics_thresholds": {"count()": 1.5},
            "date_filter_column": "day",
            "days_back": -1,
        },
        "count",
    ),
}
DAY = {"ds": "2013-01-02"}
# As Airflow's own operator reads it: back, whatever the sign.
RED["interval, days without a sign"] = (TinybirdIntervalCheckOperator, {**RED["interval"][1], "days_back": 1}, "count")


@pytest.mark.parametrize("case", GREEN)
def test_green(box, case):
    box.fill()
    cls, arguments = GREEN[case]
    check(cls, DAY, **arguments)


@pytest.mark.parametrize("retries", [True, False])
@pytest.mark.parametrize("case", RED)
def test_red(box, case, retries):
    box.fill()
    cls, arguments, words = RED[case]
    with pytest.raises(AirflowException, match=words) as caught:
        check(cls, DAY, retry_on_failure=retries, **arguments)
    assert isinstance(caught.value, AirflowFailException) is not retries


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (TinybirdCheckOperator, {"sql": "SELECT nope FROM flights"}),
        (TinybirdTableCheckOperator, {"table": "flights", "checks": {"x": {"check_statement": "nope"}}}),
        (TinybirdColumnCheckOperator, {"table": "flights", "column_mapping": {"nope": {"max": {"equal_to": 1}}}}),
    ],
)
def test_what_cannot_be_asked_fails_for_good(box, cls, arguments):
    box.fill()
    with pytest.raises(AirflowFailException, match="nope"):
        check(cls, **arguments)


def test_only_one_query_for_many_checks(box):
    box.fill()
    check(GREEN["columns"][0], **GREEN["columns"][1])
    assert len(box.seen("POST", "/v0/sql")) == 1


def test_the_hook_as_a_database(box):
    box.fill()
    hook = TinybirdSqlHook(tinybird_conn_id="tinybird_default")
    sql = "SELECT carrier, sum(delay) AS d FROM flights GROUP BY carrier ORDER BY carrier"
    assert hook.get_records(sql) == [("AA", -5), ("B6", 11), ("UA", 32)]
    assert hook.get_first(sql) == ("AA", -5)
    assert hook.get_first("SELECT 1 WHERE 0") is None
    assert hook.run(["SELECT 1 AS a", "SELECT 2 AS b"], handler=lambda cursor: cursor.fetchall()) == [[(1,)], [(2,)]]
    with closing(hook.get_conn().cursor()) as cursor:
        cursor.execute(sql)
        assert [one[0] for one in cursor.description] == ["carrier", "d"]
        assert (cursor.rowcount, cursor.fetchone(), cursor.fetchmany(1)) == (3, ("AA", -5), [("B6", 11)])
        assert list(cursor) == [("UA", 32)]
        assert cursor.fetchone() is None


def test_types(box):
    hook = TinybirdSqlHook()
    sql = (
        "SELECT toUInt64(18446744073709551615) AS a, toDecimal64('1.25', 2) AS b, toDate('2024-02-29') AS c, "
        "toDateTime64('2024-02-29 12:00:00.5', 3, 'UTC') AS d, CAST(NULL AS Nullable(Int8)) AS e, true AS f, "
        "toLowCardinality('x') AS g, 0.5 AS h, [1, 2] AS i, toNullable(toInt128(7)) AS j"
    )
    assert hook.get_first(sql) == (
        18446744073709551615,
        Decimal("1.25"),
        date(2024, 2, 29),
        datetime(2024, 2, 29, 12, 0, 0, 500000),
        None,
        True,
        "x",
        0.5,
        [1, 2],
        7,
    )


NASTY = ["it's", 'say "hi"', "back\\slash", "'; DROP TABLE flights; --", "100%", "%s", "ü\n\t", ""]


@pytest.mark.parametrize("value", [*NASTY, 7, -0.5, True, False, None, date(2024, 2, 29), Decimal("1.10")])
def test_parameters_arrive_as_they_are(box, value):
    found = TinybirdSqlHook().get_first("SELECT %s AS a, '100%%' AS b", parameters=(value,))
    assert found == (value, "100%")


@pytest.mark.parametrize("parameters", [("a", "b"), {"other": 1}, (object(),)])
def test_parameters_that_do_not_fit(box, parameters):
    with pytest.raises(InvalidInputError):
        TinybirdSqlHook().get_first("SELECT %s", parameters=parameters)


def test_without_parameters_a_percent_sign_is_one(box):
    assert TinybirdSqlHook().get_first("SELECT 'a' LIKE '%a%s' AS x, 5 % 3 AS y") == (0, 2)


def test_it_only_reads(box):
    hook = TinybirdSqlHook()
    with pytest.raises(NotImplementedError, match="TinybirdEventsOperator"):
        hook.insert_rows("flights", [(1,)])
    with pytest.raises(NotImplementedError):
        hook.get_uri()
    with pytest.raises(Exception, match=r"SELECT|not allowed|only"):
        hook.run("INSERT INTO flights VALUES ('2013-01-01', 'UA', 1)")
