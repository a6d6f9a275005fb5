"""Tokens and variables."""

from __future__ import annotations

from typing import Any

from airflow_provider_tinybird.api import tokens, variables
from airflow_provider_tinybird.api.resources import Scope
from api_cases.case import Case, Send

READER = Scope("PIPES:READ", "shops")
A_TOKEN = (tokens.create_token("reader", [READER]),)
A_VARIABLE = (variables.create_variable("key", "v"),)


def names(listed: Any) -> list[str]:
    return [one.name for one in listed]


def variable_names(send: Send) -> list[str]:
    return names(send(variables.list_variables()))


CASES = (
    Case(
        tokens.list_tokens,
        (),
        "GET /v0/tokens",
        before=A_TOKEN,
        shows=lambda found, _: names(found)[-1] == "reader" and "admin token" in names(found),
    ),
    Case(
        tokens.get_token,
        ("reader",),
        "GET /v0/tokens/reader",
        before=A_TOKEN,
        shows=lambda found, _: found.scopes == (READER,),
    ),
    Case(
        tokens.create_token,
        ("new", [READER, Scope("DATASOURCES:CREATE")]),
        "POST /v0/tokens?name=new&description=d&scope=PIPES%3AREAD%3Ashops&scope=DATASOURCES%3ACREATE",
        kw={"description": "d"},
        shows=lambda found, send: found == send(tokens.get_token("new")) and found.description == "d",
    ),
    Case(
        tokens.create_jwt,
        ("j", [Scope("PIPES:READ", "shops", fixed_params={"at_least": 2})]),
        "POST /v0/tokens?name=j&expiration_time=4102444800",
        b'{"scopes":[{"type":"PIPES:READ","resource":"shops","fixed_params":{"at_least":2}}],"limits":{"rps":10}}',
        kw={"expiration_time": 4102444800, "rps": 10},
        shows=lambda found, _: found.count(".") == 2,
    ),
    Case(
        tokens.update_token,
        ("reader", [Scope("PIPES:READ", "metrics")]),
        "PUT /v0/tokens/reader?description=d&scope=PIPES%3AREAD%3Ametrics",
        kw={"description": "d"},
        before=A_TOKEN,
        shows=lambda _, send: send(tokens.get_token("reader")).scopes == (Scope("PIPES:READ", "metrics"),),
    ),
    Case(
        tokens.delete_token,
        ("reader",),
        "DELETE /v0/tokens/reader",
        before=A_TOKEN,
        shows=lambda _, send: "reader" not in names(send(tokens.list_tokens())),
    ),
    Case(
        tokens.refresh_token,
        ("reader",),
        "POST /v0/tokens/reader/refresh",
        before=A_TOKEN,
        shows=lambda found, send: found.value == send(tokens.get_token("reader")).value != "",
    ),
    Case(
        variables.list_variables,
        (),
        "GET /v0/variables",
        before=A_VARIABLE,
        shows=lambda found, _: names(found) == ["key"],
    ),
    Case(
        variables.create_variable,
        ("key", "a b"),
        "POST /v0/variables",
        b"name=key&value=a+b&type=secret",
        shows=lambda _, send: variable_names(send) == ["key"],
    ),
    Case(
        variables.get_variable,
        ("key",),
        "GET /v0/variables/key",
        before=A_VARIABLE,
        shows=lambda found, _: found.type == "secret" and "value" not in found.raw,
    ),
    Case(
        variables.update_variable,
        ("key", "new"),
        "PUT /v0/variables/key",
        b"value=new",
        before=A_VARIABLE,
        shows=lambda found, _: found.raw["updated_at"] > found.raw["created_at"],
    ),
    Case(
        variables.delete_variable,
        ("key",),
        "DELETE /v0/variables/key",
        before=A_VARIABLE,
        shows=lambda _, send: variable_names(send) == [],
    ),
)
