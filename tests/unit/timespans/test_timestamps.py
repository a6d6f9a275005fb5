"""Moments as users write them, and as SQL."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.timespans.timestamps import moment, sql_value

TOKYO = timezone(timedelta(hours=9))
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        MIDNIGHT,
        datetime(2026, 3, 1),
        datetime(2026, 3, 1, 9, tzinfo=TOKYO),
        date(2026, 3, 1),
        "2026-03-01",
        "20260301",
        "2026-03-01T00:00:00Z",
        " 2026-03-01 09:00:00+09:00 ",
    ],
)
def test_the_same_moment(value):
    assert moment(value, "start") == MIDNIGHT


@pytest.mark.parametrize("value", ["", "soon", None, 5, "2026-02-30", "{{ ds }}", object()])
def test_no_moment(value):
    with pytest.raises(InvalidInputError, match="start="):
        moment(value, "start")


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        (5, "5"),
        ("5", "5"),
        (-2.5, "-2.5"),
        (1e-7, "0.0000001"),
        (Decimal("1e3"), "1000"),
        (2**63, "9223372036854775808"),
        ("2026-03-01T00:00:00.5Z", "toDateTime64('2026-03-01 00:00:00.500000', 6, 'UTC')"),
        (datetime(2026, 3, 1, 9, tzinfo=TOKYO), "toDateTime64('2026-03-01 00:00:00.000000', 6, 'UTC')"),
    ],
)
def test_as_sql(value, sql):
    assert sql_value(value, "at_least") == sql


@pytest.mark.parametrize("value", ["nan", float("inf"), True, "1); DROP TABLE x; --", None])
def test_not_as_sql(value):
    with pytest.raises(InvalidInputError, match="at_least="):
        sql_value(value, "at_least")
