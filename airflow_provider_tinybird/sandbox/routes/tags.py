"""Tags: names on data sources and pipes, without effect."""

from __future__ import annotations

import uuid
from typing import Any

from airflow_provider_tinybird.sandbox.http.auth import ADMIN
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request, not_found
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer, needed, parsed_json
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox


def list_tags(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/tags``."""
    call.caller.require(ADMIN)
    return json_answer({"tags": list(box.tags.values())})


def create_tag(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/tags``: JSON with ``name``, and ``resources`` with ``id``, ``name`` and ``type``."""
    call.caller.require(ADMIN)
    name, resources = _given(call)
    if name in box.tags:
        raise ApiError(409, f"There is already a tag with the name '{name}'")
    return json_answer(_put(box, str(uuid.uuid4()), name, resources or []))


def update_tag(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/tags/{name}``: what is given takes the place of what was there."""
    call.caller.require(ADMIN)
    tag = _tag(box, call)
    name, resources = _given(call, tag["name"])
    if name != tag["name"] and name in box.tags:
        raise ApiError(409, f"There is already a tag with the name '{name}'")
    del box.tags[tag["name"]]
    return json_answer(_put(box, tag["id"], name, tag["resources"] if resources is None else resources))


def delete_tag(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v0/tags/{name}``."""
    call.caller.require(ADMIN)
    del box.tags[_tag(box, call)["name"]]
    return Answer(204)


def _put(box: Sandbox, tag_id: str, name: str, resources: list[Any]) -> dict[str, Any]:
    for one in resources:
        known = isinstance(one, dict) and str(one.get("id") or one.get("name") or "")
        if not known:
            raise bad_request("'resources' must be a list of objects with 'id', 'name' and 'type'")
        if one.get("type") == "pipe":
            box.workspace.pipe(known)
        else:
            box.workspace.datasource(known)
    tag = box.tags[name] = {"id": tag_id, "name": name, "resources": resources}
    return tag


def _tag(box: Sandbox, call: Call) -> dict[str, Any]:
    wanted = call.path_values["name"]
    found = next((one for one in box.tags.values() if wanted in (one["name"], one["id"])), None)
    if found is None:
        raise not_found("Tag", wanted)
    return found


def _given(call: Call, name: str = "") -> tuple[str, list[Any] | None]:
    given = parsed_json(call.body.content(), "the body must be JSON with 'name'")
    if not isinstance(given, dict) or not isinstance(given.get("resources", []), list):
        raise bad_request("the body must be a JSON object with 'name' and a list of 'resources'")
    return needed({"name": str(given.get("name") or name)}, "name"), given.get("resources")
