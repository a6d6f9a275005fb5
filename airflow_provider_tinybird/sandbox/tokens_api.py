"""The Tokens API: static tokens with scopes."""

from __future__ import annotations

import uuid
from dataclasses import replace

from airflow_provider_tinybird.sandbox.auth import TOKENS, checked_scopes, new_token_text
from airflow_provider_tinybird.sandbox.box import Sandbox
from airflow_provider_tinybird.sandbox.web import Answer, Call, json_answer, needed


def list_tokens(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/tokens``."""
    call.caller.require(TOKENS)
    return json_answer({"tokens": [token.shown() for token in box.workspace.tokens()]})


def create_token(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/tokens``: a static token; ``scope`` may be given several times."""
    call.caller.require(TOKENS)
    params = call.params()
    scopes = checked_scopes(value for key, value in call.param_list() if key == "scope")
    token = box.workspace.add_token(needed(params, "name"), scopes, params.get("description", ""))
    return json_answer(token.shown())


def get_token(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/tokens/{id}``: by id or name."""
    call.caller.require(TOKENS)
    return json_answer(box.workspace.token_named(call.path_values["name"]).shown())


def update_token(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/tokens/{id}``: the scopes that are given take the place of all that it had."""
    call.caller.require(TOKENS)
    old, params = box.workspace.token_named(call.path_values["name"]), call.params()
    given = [value for key, value in call.param_list() if key == "scope"]
    new = replace(
        old,
        name=params.get("name") or old.name,
        description=params.get("description", old.description),
        scopes=checked_scopes(given) if given else old.scopes,
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
