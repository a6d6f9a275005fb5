"""Conditions that hold for every row by their text, and those that do not."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api.always_true import is_always_true


@pytest.mark.parametrize(
    "condition",
    [
        "1",
        "true",
        " TRUE ",
        "1=1",
        "1 = 1",
        "1==1",
        "(1 = 1)",
        "((1) = (1))",
        "'a' = 'a'",
        "day = day",
        "day >= day",
        "carrier = 'UA' OR 1 = 1",
        "1=1 or carrier = 'UA'",
        "(carrier = 'UA') OR (delay > 3 OR true)",
        "1 = 1 AND true",
        "NOT false",
        "not (0)",
        "1 = 1 -- all of them",
        "/* all */ true",
        "\n1\n=\n1\n",
        "42",
    ],
)
def test_always_true(condition):
    assert is_always_true(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "0",
        "false",
        "1 = 0",
        "carrier = 'UA'",
        "carrier = 'x OR 1 = 1'",
        "carrier = 'UA' AND 1 = 1",
        "carrier = 'UA' -- OR 1 = 1",
        "f(carrier OR 1 = 1) = 2",
        "delay BETWEEN 0 AND 1",
        "NOT true",
        "orders = 1",
        "(a = 1) AND (b = 1)",
        "(a) = (b)",
        "'a' = 'A'",
        "a = 'x' OR b = '1'",
        "`or` = 1",
    ],
)
def test_not_always_true(condition):
    assert not is_always_true(condition)
