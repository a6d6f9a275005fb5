"""Environment Variables API: secrets that pipes read by ``tb_secret``. 100 a workspace, 8 kB each, 5 calls a second; ``ADMIN``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from airflow_provider_tinybird.api.body import form
from airflow_provider_tinybird.api.call import Call, JsonObject, Repeat, Reply
from airflow_provider_tinybird.api.encoding import Pairs, resource_name
from airflow_provider_tinybird.api.resources import Variable
from airflow_provider_tinybird.api.sending import manage, nothing, required

T = TypeVar("T")


def list_variables() -> Call[tuple[Variable, ...]]:
    """List the variables, without values. ``GET /v0/variables``. Scope: ``ADMIN``."""
    return _call("list the variables", "GET", "", (), _variables, Repeat.READ)


def create_variable(name: str, value: str) -> Call[Variable]:
    """Create a secret. ``POST /v0/variables`` with a form. Scope: ``ADMIN``.

    :param name: its name.
    :param value: its value, at most 8 kB.
    :raises ConflictError: the name is taken.
    """
    fields = (("name", required("name", name)), ("value", required("value", value)), ("type", "secret"))
    return _call(f"create variable '{name}'", "POST", "", fields, _variable, Repeat.ONCE)


def get_variable(name: str) -> Call[Variable]:
    """Get a variable, without its value. ``GET /v0/variables/{name}``. Scope: ``ADMIN``.

    :param name: name of the variable.
    """
    return _call(f"get variable '{name}'", "GET", f"/{_path(name)}", (), _variable, Repeat.READ)


def update_variable(name: str, value: str) -> Call[Variable]:
    """Give a variable another value. ``PUT /v0/variables/{name}`` with a form. Scope: ``ADMIN``.

    :param name: name of the variable.
    :param value: its new value, at most 8 kB.
    """
    fields = (("value", required("value", value)),)
    return _call(f"update variable '{name}'", "PUT", f"/{_path(name)}", fields, _variable, Repeat.IDEMPOTENT)


def delete_variable(name: str) -> Call[None]:
    """Delete a variable. ``DELETE /v0/variables/{name}``. Scope: ``ADMIN``.

    :param name: name of the variable.
    """
    return _call(f"delete variable '{name}'", "DELETE", f"/{_path(name)}", (), nothing, Repeat.IDEMPOTENT)


def _path(name: str) -> str:
    return resource_name("variable", name)


def _call(what: str, method: str, path: str, fields: Pairs, read: Callable[[Reply], T], repeat: Repeat) -> Call[T]:
    body = form(fields) if fields else None
    find_out = "Look at the variables (GET /v0/variables)."
    return manage(what, method, f"/v0/variables{path}", read, repeat, scope="ADMIN", find_out=find_out, body=body)


def _variables(reply: Reply) -> tuple[Variable, ...]:
    return tuple(_read(item) for item in reply.json_object()["variables"])


def _variable(reply: Reply) -> Variable:
    return _read(reply.json_object())


def _read(body: JsonObject) -> Variable:
    # No document has the value in an answer; should one have it, it goes no further.
    raw = {key: item for key, item in body.items() if key != "value"}
    return Variable(name=str(body["name"]), type=str(body.get("type") or "secret"), raw=raw)
