"""Dependencies on the wire."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api.dependencies import get_dependencies
from airflow_provider_tinybird.api.errors import InvalidInputError, NotFoundError, UnreadableAnswerError


def test_before_a_partial_replace(wire):
    wire.answers({"dependencies": {"by_day": ["view"]}, "incompatible_datasources": {"by_hour": [{"name": "other"}]}})
    found = wire.send(get_dependencies(datasource="flights", check_for_partial_replace=True))
    assert (wire.only.method, wire.only.path) == ("GET", "/v0/dependencies")
    assert wire.only.query == [
        ("no_deps", "false"),
        ("check_for_partial_replace", "true"),
        ("recursive", "false"),
        ("datasource", "flights"),
    ]
    assert found.dependencies == {"by_day": ("view",)}
    assert found.incompatible_datasources == {"by_hour": ("other",)}


def test_an_answer_that_says_nothing_is_not_taken_for_no_dependencies(wire):
    wire.answers({})
    with pytest.raises(UnreadableAnswerError):
        wire.send(get_dependencies(datasource="flights"))


def test_of_all_with_a_pattern(wire):
    wire.answers({"dependencies": ["a"]})
    assert wire.send(get_dependencies(match="^a", pipe="p", no_deps=True, recursive=True)).dependencies == {"a": ()}
    assert wire.only.query[-2:] == [("match", "^a"), ("pipe", "p")]


def test_errors(wire):
    wire.answers((404, {"error": "no"}))
    with pytest.raises(NotFoundError, match="ask what depends on 'flights'"):
        wire.send(get_dependencies(datasource="flights"))
    with pytest.raises(InvalidInputError):
        get_dependencies(datasource=" ")
