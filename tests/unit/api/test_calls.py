"""Every call of the API on the wire, byte by byte, by the table of :mod:`api_cases`."""

from __future__ import annotations

import pytest
from api_cases import CASES, Case

from airflow_provider_tinybird.api import definitions, nodes, organizations, pipe_definitions, tokens, variables
from airflow_provider_tinybird.api.call import Repeat
from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    OutcomeUnknownError,
)
from airflow_provider_tinybird.api.resources import Scope

NAMES = ("from", "Table", "tinybird", "")


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: definitions.create_datasource(name, "a Int64"),
        lambda name: definitions.update_datasource("known", name=name),
        lambda name: pipe_definitions.create_pipe(name, [pipe_definitions.NewNode("SELECT 1")]),
        lambda name: pipe_definitions.create_pipe("known", [pipe_definitions.NewNode("SELECT 1", name)]),
        lambda name: pipe_definitions.create_pipe_from_sql(name, "SELECT 1"),
        lambda name: pipe_definitions.create_pipe_from_pipe(name, "known"),
        lambda name: pipe_definitions.update_pipe("known", name=name),
        lambda name: nodes.create_node("known", "SELECT 1", name=name),
        lambda name: nodes.update_node("known", "node", "SELECT 1", name=name),
        lambda name: organizations.create_workspace(name),
    ],
)
def test_no_name_is_a_reserved_word(make, name) -> None:
    with pytest.raises(InvalidInputError, match="reserved word" if name else "empty"):
        make(name)


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
