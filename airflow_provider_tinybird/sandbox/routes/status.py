"""Small answers about the sandbox itself: health, workspace, auth, regions."""

from __future__ import annotations

from airflow_provider_tinybird.sandbox.http.auth import ADMIN
from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox
from airflow_provider_tinybird.sandbox.workspace.workspace import NAME, USER_EMAIL


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
            "limits": {"max_events_bytes": {"max": box.options.max_events_bytes}},
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
