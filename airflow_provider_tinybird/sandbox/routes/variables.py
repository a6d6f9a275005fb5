"""Variables: secrets that pipes read by ``tb_secret``, and that nobody reads back over HTTP."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.resources import Variable, stamp
from airflow_provider_tinybird.sandbox.http.auth import ADMIN
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer, needed
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox
from airflow_provider_tinybird.sandbox.workspace.workspace import USER_EMAIL

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MOST = 100
_MOST_BYTES = 8 * 1024


def list_variables(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/variables``: without their values."""
    call.caller.require(ADMIN)
    return json_answer({"variables": [_shown(one) for one in box.workspace.variables()]})


def get_variable(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/variables/{name}``: without its value."""
    call.caller.require(ADMIN)
    return json_answer(_shown(_variable(box, call)))


def create_variable(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/variables``: ``name``, ``value`` and ``type`` in a form."""
    call.caller.require(ADMIN)
    params = call.params()
    name, kind = needed(params, "name"), params.get("type", "secret")
    if not _NAME.fullmatch(name):
        raise bad_request(f"'{name}' cannot be the name of a variable: use letters, digits and '_'")
    if kind != "secret":
        raise bad_request(f"type '{kind}' of a variable is none: use secret")
    known = {one.name for one in box.workspace.variables()}
    if name in known:
        raise ApiError(409, f"Variable '{name}' already exists: PUT /v0/variables/{name} gives it another value")
    if len(known) >= _MOST:
        raise bad_request(f"the workspace has {_MOST} variables, and cannot have more")
    variable = Variable(name, _value(params))
    box.workspace.put_variable(variable)
    return json_answer(_shown(variable))


def update_variable(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/variables/{name}``: ``value`` in a form."""
    call.caller.require(ADMIN)
    known = _variable(box, call)
    variable = Variable(known.name, _value(call.params()), known.created_at)
    box.workspace.put_variable(variable)
    return json_answer(_shown(variable))


def delete_variable(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/variables/{name}``."""
    call.caller.require(ADMIN)
    box.workspace.drop_variable(_variable(box, call))
    return json_answer({"ok": True})


def _variable(box: Sandbox, call: Call) -> Variable:
    name = call.path_values["name"]
    found = next((one for one in box.workspace.variables() if one.name == name), None)
    if found is None:
        raise ApiError(404, "Variable not found")
    return found


def _value(params: dict[str, str]) -> str:
    value = params.get("value")
    if not value:
        raise bad_request("the parameter 'value' is required")
    if len(value.encode()) > _MOST_BYTES:
        raise bad_request(f"the value is too long: {len(value.encode())} bytes, the limit is {_MOST_BYTES}")
    return value


def _shown(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "secret",
        "created_at": stamp(variable.created_at),
        "updated_at": stamp(variable.updated_at),
        "edited_by": USER_EMAIL,
    }
