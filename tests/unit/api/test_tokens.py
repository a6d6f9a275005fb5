"""Tokens and variables on the wire."""

from __future__ import annotations

import json

import pytest

from airflow_provider_tinybird.api import tokens, variables
from airflow_provider_tinybird.api.errors import InvalidInputError, OutcomeUnknownError
from airflow_provider_tinybird.api.resources import Scope

READ = Scope("PIPES:READ", "top")
APPEND = Scope("DATASOURCES:APPEND", "flights")
TOKEN = {"id": "1", "name": "ours", "token": "p.secret", "scopes": [{"type": "PIPES:READ", "resource": "top"}]}
JWT = '{"scopes":[{"type":"PIPES:READ","resource":"top","fixed_params":{"shop":"Lyon"}}],"limits":{"rps":5}}'


@pytest.mark.parametrize(
    ("call", "answer", "method", "path", "query"),
    [
        (tokens.list_tokens(), {"tokens": [TOKEN]}, "GET", "/v0/tokens", []),
        (tokens.get_token("our token"), TOKEN, "GET", "/v0/tokens/our%20token", []),
        (
            tokens.create_token("ours", [READ, APPEND], description="d"),
            TOKEN,
            "POST",
            "/v0/tokens",
            [
                ("name", "ours"),
                ("description", "d"),
                ("scope", "PIPES:READ:top"),
                ("scope", "DATASOURCES:APPEND:flights"),
            ],
        ),
        (
            tokens.update_token("ours", [APPEND]),
            TOKEN,
            "PUT",
            "/v0/tokens/ours",
            [("scope", "DATASOURCES:APPEND:flights")],
        ),
        (tokens.refresh_token("ours"), TOKEN, "POST", "/v0/tokens/ours/refresh", []),
        (tokens.delete_token("ours"), {"ok": True}, "DELETE", "/v0/tokens/ours", []),
    ],
)
def test_tokens(wire, call, answer, method, path, query):
    wire.answers(answer)
    found = wire.send(call)
    assert (wire.only.method, wire.only.path, wire.only.query, wire.only.body) == (method, path, query, b"")
    if answer == TOKEN:
        assert (found.name, found.value, found.scopes) == ("ours", "p.secret", (READ,))
    assert "p.secret" not in repr(found)


def test_a_jwt_is_asked_for_with_json(wire):
    wire.answers({"token": "ey.x.y"})
    scope = Scope("PIPES:READ", "top", fixed_params={"shop": "Lyon"})
    assert wire.send(tokens.create_jwt("guest", [scope], expiration_time=1_800_000_000, rps=5)) == "ey.x.y"
    assert wire.only.query == [("name", "guest"), ("expiration_time", "1800000000")]
    assert json.loads(wire.only.body) == json.loads(JWT)


def test_a_token_whose_answer_is_lost_is_not_made_twice(wire):
    wire.answers((504, {"error": "late"}))
    with pytest.raises(OutcomeUnknownError, match="Look at the tokens"):
        wire.send(tokens.create_token("ours", [READ]))
    assert wire.only.method == "POST"


@pytest.mark.parametrize(
    "make",
    [
        lambda: tokens.get_token("p.eyJ1IjoiMSJ9.signature"),
        lambda: tokens.get_token("eyJhbGciOi.eyJ1IjoiMSJ9.signature"),
        lambda: tokens.get_token(" "),
        lambda: tokens.create_token("ours", []),
        lambda: tokens.create_token("", [READ]),
        lambda: tokens.create_jwt("guest", [APPEND], expiration_time=1),
        lambda: tokens.create_jwt("guest", [], expiration_time=1),
        lambda: variables.create_variable("key", " "),
        lambda: variables.get_variable(""),
    ],
)
def test_refused_before_anything_is_sent(make):
    with pytest.raises(InvalidInputError) as refusal:
        make()
    assert "signature" not in str(refusal.value)


@pytest.mark.parametrize(
    ("call", "method", "path", "form"),
    [
        (
            variables.create_variable("key", "a&b"),
            "POST",
            "/v0/variables",
            [("name", "key"), ("value", "a&b"), ("type", "secret")],
        ),
        (variables.update_variable("key", "c"), "PUT", "/v0/variables/key", [("value", "c")]),
    ],
)
def test_variables(wire, call, method, path, form):
    wire.answers({"name": "key", "type": "secret", "value": "s3cret"})
    found = wire.send(call)
    assert (wire.only.method, wire.only.path, wire.only.form) == (method, path, form)
    assert found.name == "key"
    assert "s3cret" not in str(found.raw)
    assert "a&b" not in repr(call)


def test_variables_are_listed_and_deleted(wire):
    wire.answers({"variables": [{"name": "a"}, {"name": "b"}]}, {"ok": True})
    assert [one.name for one in wire.send(variables.list_variables())] == ["a", "b"]
    assert wire.send(variables.delete_variable("a")) is None


def test_a_variable_is_looked_at(wire):
    wire.answers({"name": "key"})
    assert wire.send(variables.get_variable("key")).type == "secret"
    assert (wire.only.method, wire.only.path, wire.only.body) == ("GET", "/v0/variables/key", b"")
