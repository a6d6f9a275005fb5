"""The Tokens API: static tokens and JWTs, with scopes."""

from __future__ import annotations

import uuid
from dataclasses import replace

from airflow_provider_tinybird.sandbox.http import jwt
from airflow_provider_tinybird.sandbox.http.auth import TOKENS, Grants, Token, checked_grants, new_token_text
from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer, needed, number, parsed_json
from airflow_provider_tinybird.sandbox.workspace.loading import checked_condition
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox


def list_tokens(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/tokens``."""
    call.caller.require(TOKENS)
    return json_answer({"tokens": [token.shown() for token in box.workspace.tokens()]})


def create_token(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/tokens``: a static token, where ``scope`` may be given several times; with ``expiration_time`` a JWT, by JSON."""
    call.caller.require(TOKENS)
    params = call.params()
    if params.get("expiration_time"):
        return _create_jwt(box, call, params)
    grants = _grants(box, call)
    token = box.workspace.add_token(needed(params, "name"), grants, params.get("description", ""))
    return json_answer(token.shown())


def _create_jwt(box: Sandbox, call: Call, params: dict[str, str]) -> Answer:
    given = parsed_json(call.body.content(), "the body must be JSON with 'scopes'")
    if not isinstance(given, dict):
        raise bad_request("the body must be a JSON object with 'scopes'")
    expires = number(params["expiration_time"], "'expiration_time'")
    text = jwt.signed(needed(params, "name"), given, expires, box.workspace.id, box.workspace.signing_key)
    token = box.workspace.token(text)
    if token:
        _check_filters(box, token.filters_of("DATASOURCES:READ"))
    return json_answer({"token": text})


def _grants(box: Sandbox, call: Call) -> Grants:
    found = checked_grants(value for key, value in call.param_list() if key == "scope")
    if found.filters and box.options.forward:
        raise bad_request("In a Forward workspace static tokens have no filters: make a JWT")
    _check_filters(box, Token("", "", found.scopes, filters=found.filters).filters_of("DATASOURCES:READ"))
    return found


def _check_filters(box: Sandbox, filters: dict[str, str]) -> None:
    for name, condition in filters.items():
        checked_condition(box, box.workspace.datasource(name), condition)


def get_token(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/tokens/{id}``: by id or name."""
    call.caller.require(TOKENS)
    return json_answer(box.workspace.token_named(call.path_values["name"]).shown())


def update_token(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/tokens/{id}``: the scopes that are given take the place of all that it had."""
    call.caller.require(TOKENS)
    old, params = box.workspace.token_named(call.path_values["name"]), call.params()
    grants = (
        _grants(box, call) if any(key == "scope" for key, _ in call.param_list()) else Grants(old.scopes, old.filters)
    )
    new = replace(
        old,
        name=params.get("name") or old.name,
        description=params.get("description", old.description),
        scopes=grants.scopes,
        filters=grants.filters,
    )
    box.workspace.put_token(old, new)
    return json_answer(new.shown())


def refresh_token(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/tokens/{id}/refresh``: another text for the same token; the old one is worth nothing from now on."""
    call.caller.require(TOKENS)
    old = box.workspace.token_named(call.path_values["name"])
    new = replace(old, value=new_token_text(box.workspace.user_id, str(uuid.uuid4())))
    box.workspace.put_token(old, new)
    return json_answer(new.shown())


def delete_token(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/tokens/{id}``."""
    call.caller.require(TOKENS)
    box.workspace.put_token(box.workspace.token_named(call.path_values["name"]), None)
    return json_answer({"ok": True})
