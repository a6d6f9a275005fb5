"""Every call of the API on the wire, byte by byte, by the table of :mod:`api_cases`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from api_cases import CASES, Case

from airflow_provider_tinybird.api import definitions, nodes, organizations, pipe_definitions, tokens, variables
from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    OutcomeUnknownError,
)
from airflow_provider_tinybird.api.resources import Scope

# What the table calls its data sources, pipes and nodes.
NAMES = (
    *("sales", "other", "twin", "made", "renamed", "totals", "by_hand", "events"),
    *("shops", "metrics", "mine", "yours", "copy_totals", "copy_slow", "sink_shops", "sales_view"),
    *("first", "second", "view", "summed", "filtered"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bytes(case: Case, wire) -> None:
    wire.answers((403, {"error": "no"}))
    with pytest.raises(AccessDeniedError) as refused:
        wire.send(case.call())
    sent = wire.only
    assert f"{sent.method} {sent.target}" == case.sent
    if sent.headers.get("content-type", "").startswith("multipart/form-data"):
        assert case.body in sent.body
    else:
        assert sent.body == case.body
    assert case.call().what in str(refused.value)


def with_another_name(name: str) -> Iterator[tuple[str, Callable[[], Call[Any]]]]:
    """Each call of the table with each name of a data source, pipe or node in it put for another, and how it is told from others."""
    for case in CASES:
        for index, value in enumerate(case.arguments):
            if isinstance(value, str) and value in NAMES:
                arguments = (*case.arguments[:index], name, *case.arguments[index + 1 :])
                yield f"{case.id} {value}", partial(case.function, *arguments, **case.kw)
        for key, value in case.kw.items():
            if isinstance(value, str) and value in NAMES and key in ("name", "datasource", "node", "target_datasource"):
                yield f"{case.id} {key}", partial(case.function, *case.arguments, **{**case.kw, key: name})


@pytest.mark.parametrize("name", ["from", "Table", "tinybird", "", " ", "a b", "a/b", ".."])
def test_no_name_is_a_reserved_word(name) -> None:
    tried = 0
    for what, make in with_another_name(name):
        with pytest.raises(InvalidInputError, match=r"reserved word|is empty|cannot be the name"):
            pytest.fail(f"{what} took {name!r}: {make()}")
        tried += 1
    assert tried > 80


@pytest.mark.parametrize(
    "make",
    [
        lambda name: pipe_definitions.create_pipe("known", [pipe_definitions.NewNode("SELECT 1", name)]),
        lambda name: nodes.create_materialized_node("known", "SELECT 1", name),
        lambda name: organizations.create_workspace(name),
        lambda name: organizations.create_branch(name),
    ],
)
def test_no_new_name_is_a_reserved_word(make) -> None:
    with pytest.raises(InvalidInputError, match="reserved word"):
        make("from")


def test_what_must_not_happen_twice_is_never_sent_again(wire) -> None:
    """An exchange undoes itself; a created thing would answer 409 for its own self."""
    wire.answers((500, {"error": "x"}))
    with pytest.raises(OutcomeUnknownError, match="second exchange undoes the first"):
        wire.send(definitions.exchange_datasources("a", "b"))
    wire.answers((500, {"error": "x"}))
    with pytest.raises(OutcomeUnknownError, match="GET /v0/tokens"):
        wire.send(tokens.refresh_token("reader"))
    creates = [case for case in CASES if case.function.__name__.startswith("create_") and "jwt" not in case.name]
    assert creates
    assert {case.call().repeat for case in creates} == {Repeat.ONCE}


def test_a_taken_name_is_a_conflict(wire) -> None:
    wire.answers((409, {"error": "There is already one"}))
    with pytest.raises(ConflictError, match="already one"):
        wire.send(pipe_definitions.create_pipe_from_sql("a", "SELECT 1"))


SECRET = "p.eyJ1IjoiYSJ9.very-secret"


def test_tokens_and_values_are_not_shown(wire) -> None:
    wire.answers(
        {"id": "1", "name": "n", "token": SECRET}, {"name": "k", "value": SECRET}, {"name": "b", "token": SECRET}
    )
    found = wire.send(tokens.get_token("n"))
    assert found.value == SECRET
    variable = wire.send(variables.create_variable("k", SECRET))
    branch = wire.send(organizations.get_branch("b", with_token=True))
    assert branch.token == SECRET
    call = variables.create_variable("k", SECRET)
    assert SECRET not in repr((found, variable, variable.raw, branch, branch.raw, call, call.body))


@pytest.mark.parametrize("text", [SECRET, "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln"])
def test_the_text_of_a_token_never_stands_in_a_path(text) -> None:
    with pytest.raises(InvalidInputError) as refused:
        tokens.delete_token(text)
    assert text not in str(refused.value)


def test_wrong_arguments() -> None:
    for make in (
        lambda: tokens.create_token("n", []),
        lambda: tokens.create_jwt("n", [], expiration_time=1),
        lambda: tokens.create_jwt("n", [Scope("ADMIN")], expiration_time=1),
        lambda: nodes.create_node("p", " "),
        lambda: nodes.create_materialized_node("p", "SELECT 1", "d", populate_subset=0.5),
        lambda: definitions.alter_datasource("d"),
        lambda: definitions.update_datasource("d"),
        lambda: definitions.create_datasource("d", ""),
        lambda: pipe_definitions.update_pipe("p"),
        lambda: pipe_definitions.create_pipe("p", []),
    ):
        with pytest.raises(InvalidInputError):
            make()
