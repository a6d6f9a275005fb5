"""Small answers about the sandbox itself: health, workspace, auth, regions, tokens."""

from __future__ import annotations

from airflow_provider_tinybird.sandbox.auth import ADMIN, TOKENS, checked_scopes
from airflow_provider_tinybird.sandbox.box import Sandbox
from airflow_provider_tinybird.sandbox.errors import bad_request
from airflow_provider_tinybird.sandbox.web import Answer, Call, json_answer, needed
from airflow_provider_tinybird.sandbox.workspace import NAME, USER_EMAIL


def health(_box: Sandbox, _call: Call) -> Answer:
    """``GET /v0/health``."""
    return json_answer({"status": "ok"})


def regions(_box: Sandbox, call: Call) -> Answer:
    """``GET /v0/regions``."""
    region = {"name": "local", "provider": "local", "api_host": call.base_url, "host": call.base_url}
    return json_answer({"regions": [region]})


def auth(_box: Sandbox, call: Call) -> Answer:
    """``GET /v0/auth``: whether the token is one; any token may ask."""
    return json_answer(
        {"is_valid": call.token is not None, "is_user": bool(call.token and call.token.name == "user token")}
    )


def workspace(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/workspace``."""
    return json_answer(
        {
            **_workspace(box, call),
            "is_forward": box.options.forward,
            "is_branch": False,
            "limits": [{"name": "max_events_bytes", "value": box.options.max_events_bytes}],
        }
    )


def workspace_v1(box: Sandbox, call: Call) -> Answer:
    """``GET /v1/workspace``: of Forward workspaces only, and without further members, on which the Python SDK fails."""
    found = _workspace(box, call)
    if not box.options.forward:
        raise bad_request("/v1/workspace is not available in a Classic workspace: use /v0/workspace")
    return json_answer(found)


def _workspace(box: Sandbox, call: Call) -> dict[str, str | None]:
    call.caller.require(ADMIN)
    return {
        "id": box.workspace.id,
        "name": NAME,
        "user_id": box.workspace.user_id,
        "user_email": USER_EMAIL,
        "scope": "admin",
        "main": None,
    }


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
