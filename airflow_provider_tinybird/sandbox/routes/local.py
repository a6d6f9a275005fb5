"""How clients find a workspace on Tinybird Local: its tokens for anybody, its workspaces by name."""

from __future__ import annotations

import uuid
from typing import Any

from airflow_provider_tinybird.sandbox.http.auth import ADMIN
from airflow_provider_tinybird.sandbox.http.errors import not_found
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer, needed
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox
from airflow_provider_tinybird.sandbox.workspace.workspace import NAME, USER_EMAIL

ADMIN_TOKEN = "workspace admin token"  # noqa: S105 - the name of a token


def tokens(box: Sandbox, _call: Call) -> Answer:
    """``GET /tokens``: without a token, for this machine only."""
    fixed = box.workspace.fixed_token
    return json_answer(
        {
            "user_token": fixed("user token"),
            "admin_token": fixed("admin token"),
            "workspace_admin_token": fixed(ADMIN_TOKEN),
        }
    )


def list_workspaces(box: Sandbox, call: Call) -> Answer:
    """``GET /v1/user/workspaces``, in Classic ``/v0/user/workspaces``: the one workspace, by each name that it has been given."""
    call.caller.require(ADMIN)
    found: dict[str, Any] = {
        "id": box.workspace.user_id,
        "email": USER_EMAIL,
        "workspaces": [described(box, name) for name in workspace_names(box)],
    }
    if flag(call.params(), "with_organization"):
        found |= {"organization_id": None, "organization_name": None}
    return json_answer(found)


def get_workspace(box: Sandbox, call: Call) -> Answer:
    """``GET /v1/workspaces/{id}``, in Classic ``/v0/workspaces/{id}``: by id or name; with its token on ``with_token=true``."""
    call.caller.require(ADMIN)
    wanted = call.path_values["id"]
    name = next((name for name in workspace_names(box) if wanted in (name, id_of(box, name))), None)
    if name is None:
        raise not_found("Workspace", wanted)
    found = described(box, name)
    if not flag(call.params(), "with_token"):
        del found["token"]
    return json_answer(found)


def create_workspace(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/workspaces``: another name of the one workspace.

    The command line makes a workspace for each folder that it runs in. One that is really another would not hold the project that the
    sandbox was started with, and start another sandbox for another one.
    """
    call.caller.require(ADMIN)
    name = needed(call.params(), "name")
    if name != NAME:
        box.workspace_names.add(name)
    return json_answer(described(box, name))


def workspace_names(box: Sandbox) -> tuple[str, ...]:
    """The names of the one workspace."""
    return NAME, *sorted(box.workspace_names)


def id_of(box: Sandbox, name: str) -> str:
    """The id that goes with a name of the workspace."""
    return box.workspace.id if name == NAME else str(uuid.uuid5(uuid.NAMESPACE_OID, f"{box.workspace.id}/{name}"))


def described(box: Sandbox, name: str) -> dict[str, Any]:
    """The workspace by one of its names, as clients see it."""
    return {
        "id": id_of(box, name),
        "name": name,
        "token": box.workspace.fixed_token(ADMIN_TOKEN),
        "plan": "local",
        "role": "admin",
        "owner": box.workspace.user_id,
        "user_email": USER_EMAIL,
        "main": None,
        "is_branch": False,
        "members": [
            {"id": box.workspace.user_id, "email": USER_EMAIL, "name": USER_EMAIL, "role": "admin", "active": True}
        ],
    }
