"""Tokens and variables."""

from __future__ import annotations

from airflow_provider_tinybird.api import tokens, variables
from airflow_provider_tinybird.api.errors import BadRequestError
from airflow_provider_tinybird.api.resources import Scope
from api_cases.case import A_TOKEN, A_VARIABLE, READER, Case

CASES = (
    Case(tokens.list_tokens, (), "GET /v0/tokens"),
    Case(tokens.get_token, ("reader",), "GET /v0/tokens/reader", before=A_TOKEN),
    Case(
        tokens.create_token,
        ("new", [READER, Scope("DATASOURCES:CREATE")]),
        "POST /v0/tokens?name=new&description=d&scope=PIPES%3AREAD%3Ashops&scope=DATASOURCES%3ACREATE",
        kw={"description": "d"},
    ),
    Case(
        tokens.create_jwt,
        ("j", [Scope("PIPES:READ", "shops", fixed_params={"at_least": 2})]),
        "POST /v0/tokens?name=j&expiration_time=4102444800",
        b'{"scopes":[{"type":"PIPES:READ","resource":"shops","fixed_params":{"at_least":2}}],"limits":{"rps":10}}',
        kw={"expiration_time": 4102444800, "rps": 10},
        refused=BadRequestError,
    ),
    Case(
        tokens.update_token,
        ("reader", [READER]),
        "PUT /v0/tokens/reader?description=d&scope=PIPES%3AREAD%3Ashops",
        kw={"description": "d"},
        before=A_TOKEN,
    ),
    Case(tokens.delete_token, ("reader",), "DELETE /v0/tokens/reader", before=A_TOKEN),
    Case(tokens.refresh_token, ("reader",), "POST /v0/tokens/reader/refresh", before=A_TOKEN),
    Case(variables.list_variables, (), "GET /v0/variables"),
    Case(variables.create_variable, ("key", "a b"), "POST /v0/variables", b"name=key&value=a+b&type=secret"),
    Case(variables.get_variable, ("key",), "GET /v0/variables/key", before=A_VARIABLE),
    Case(variables.update_variable, ("key", "new"), "PUT /v0/variables/key", b"value=new", before=A_VARIABLE),
    Case(variables.delete_variable, ("key",), "DELETE /v0/variables/key", before=A_VARIABLE),
)
