"""What is above the data: one organization, one workspace by any number of names, and branches, which are names too."""

from __future__ import annotations

import uuid
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import name_problem
from airflow_provider_tinybird.sandbox.datafiles.resources import now, stamp
from airflow_provider_tinybird.sandbox.http.auth import ADMIN, Grants
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request, not_found
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer, needed
from airflow_provider_tinybird.sandbox.routes.local import described, id_of, workspace_names
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.sandbox import Branch, Sandbox
from airflow_provider_tinybird.sandbox.workspace.workspace import NAME, USER_EMAIL

_ORGANIZATION = "Tinybird_Local"
_BRANCH_DATA = ("last_partition", "all_partitions")


def list_organizations(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/organizations``."""
    call.caller.require(ADMIN)
    return json_answer({"organizations": [{"id": _organization_id(box), "name": _ORGANIZATION}]})


def list_members(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/organizations/{id}/members``: the one user."""
    _check_organization(box, call)
    return json_answer({"members": [{"id": box.workspace.user_id, "email": USER_EMAIL, "role": "admin"}]})


def list_workspaces(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/organizations/{id}/workspaces``: without their tokens."""
    _check_organization(box, call)
    shown = [described(box, name) for name in workspace_names(box)]
    return json_answer({"workspaces": [{key: one[key] for key in ("id", "name", "plan", "owner")} for one in shown]})


def delete_workspace(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v1/workspaces/{id}``: one of the further names; with ``hard_delete_confirmation=yes``."""
    call.caller.require(ADMIN)
    wanted = call.path_values["id"]
    name = next((name for name in workspace_names(box) if wanted in (name, id_of(box, name))), None)
    if name is None:
        raise not_found("Workspace", wanted)
    if call.params().get("hard_delete_confirmation") != "yes":
        raise bad_request("Nothing was deleted: give hard_delete_confirmation=yes")
    if name == NAME:
        raise ApiError(403, "The sandbox cannot be without its own workspace: start another sandbox instead")
    box.workspace_names.discard(name)
    return json_answer({"id": wanted, "name": name})


def list_branches(box: Sandbox, call: Call) -> Answer:
    """``GET /v1/environments``, in Classic also ``/v0/environments``."""
    call.caller.require(ADMIN)
    return json_answer({"environments": [_shown(box, one) for one in box.branches.values()]})


def create_branch(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/environments``, in Classic also ``/v0/environments``: a job, which is over soon: there is nothing to copy."""
    call.caller.require(ADMIN)
    params = call.params()
    name, data = needed(params, "name"), params.get("data")
    if data and data not in _BRANCH_DATA:
        raise bad_request(f"data '{data}' is none: use one of {', '.join(_BRANCH_DATA)}")
    problem = name_problem("branch", name)
    if problem:
        raise bad_request(problem)
    if name in box.branches:
        raise ApiError(409, f"There is already a branch with the name '{name}'")
    token = box.workspace.add_token(f"branch {name}", Grants(frozenset({ADMIN})), "")
    branch = box.branches[name] = Branch(str(uuid.uuid4()), name, token, now())
    job = Job("branch", {"branch_id": branch.id, "branch_name": name}, call.caller.id)
    shown = job.shown(call.base_url)
    box.jobs.submit(job, lambda _job: None)
    return json_answer({"job": shown})


def get_branch(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/environments/{name}``: by name or id; with its token on ``with_token=true``."""
    call.caller.require(ADMIN)
    branch = _branch(box, call)
    token = {"token": branch.token.value} if flag(call.params(), "with_token") else {}
    return json_answer({**_shown(box, branch), **token})


def delete_branch(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/environments/{id}``: its token is worth nothing from now on."""
    call.caller.require(ADMIN)
    branch = _branch(box, call)
    del box.branches[branch.name]
    box.workspace.put_token(branch.token, None)
    return Answer(204)


def _branch(box: Sandbox, call: Call) -> Branch:
    wanted = call.path_values["name"]
    found = next((one for one in box.branches.values() if wanted in (one.id, one.name)), None)
    if found is None:
        raise not_found("Branch", wanted)
    return found


def _shown(box: Sandbox, branch: Branch) -> dict[str, Any]:
    return {
        "id": branch.id,
        "name": branch.name,
        "created_at": stamp(branch.created_at),
        "main": box.workspace.id,
        "is_branch": True,
    }


def _organization_id(box: Sandbox) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{box.workspace.id}/organization"))


def _check_organization(box: Sandbox, call: Call) -> None:
    call.caller.require(ADMIN)
    if call.path_values["id"] != _organization_id(box):
        raise not_found("Organization", call.path_values["id"])
