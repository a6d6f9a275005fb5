"""Tokens API: static tokens and JWTs. Scope for all of it: ``TOKENS`` or ``ADMIN``. What it answers holds credentials: keep it out of
logs and XCom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from airflow_provider_tinybird.api.body import Body
from airflow_provider_tinybird.api.call import Call, JsonObject, Repeat, Reply
from airflow_provider_tinybird.api.encoding import Pairs, pairs
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.resources import Scope, TokenInfo
from airflow_provider_tinybird.api.sending import json_body, manage, nothing, required

T = TypeVar("T")


def list_tokens() -> Call[tuple[TokenInfo, ...]]:
    """List the static tokens. ``GET /v0/tokens``."""
    return _call("list the tokens", "GET", "", _tokens, Repeat.READ)


def get_token(name: str) -> Call[TokenInfo]:
    """Get a token by id or name: never by its text, which would stand in the path. ``GET /v0/tokens/{id}``.

    :param name: id or name.
    """
    return _call("get a token", "GET", f"/{_path(name)}", _token, Repeat.READ)


def create_token(name: str, scopes: Sequence[Scope], *, description: str | None = None) -> Call[TokenInfo]:
    """Create a static token. ``POST /v0/tokens``.

    :param name: its name.
    :param scopes: what it may do, at least one.
    :param description: text about it.
    :raises ConflictError: the name is taken.
    """
    params = pairs({"name": required("name", name), "description": description}) + _scopes(scopes)
    return _call(f"create token '{name}'", "POST", "", _token, Repeat.ONCE, params)


def create_jwt(name: str, scopes: Sequence[Scope], *, expiration_time: int, rps: int | None = None) -> Call[str]:
    """Create a JWT, which reads and ends by itself. ``POST /v0/tokens`` with JSON.

    :param name: name of the token, for logs.
    :param scopes: ``PIPES:READ`` and ``DATASOURCES:READ`` only, with ``fixed_params`` or a ``filter``.
    :param expiration_time: when it ends, seconds since 1970.
    :param rps: requests a second that it may make; beyond, 429.
    :return: the token.
    """
    for scope in scopes:
        if scope.type not in ("PIPES:READ", "DATASOURCES:READ") or not scope.resource:
            raise InvalidInputError(f"A JWT only reads pipes and data sources by name; {scope.type!r} is none of it.")
    if not scopes:
        raise InvalidInputError("A JWT needs at least one scope.")
    content: dict[str, Any] = {"scopes": [_jwt_scope(scope) for scope in scopes]}
    if rps is not None:
        content["limits"] = {"rps": rps}
    params = pairs({"name": required("name", name), "expiration_time": expiration_time})
    # A second one is as good as the first, and neither is stored.
    return _call(f"create JWT '{name}'", "POST", "", _jwt, Repeat.IDEMPOTENT, params, json_body(content))


def update_token(
    name: str, scopes: Sequence[Scope], *, new_name: str | None = None, description: str | None = None
) -> Call[TokenInfo]:
    """Give a static token other scopes: they take the place of all that it has. ``PUT /v0/tokens/{id}``.

    :param name: id or name.
    :param scopes: what it may do from then on, at least one.
    :param new_name: its new name.
    :param description: new text about it.
    """
    params = pairs({"name": new_name, "description": description}) + _scopes(scopes)
    repeat = Repeat.ONCE if new_name else Repeat.IDEMPOTENT
    return _call("update a token", "PUT", f"/{_path(name)}", _token, repeat, params)


def delete_token(name: str) -> Call[None]:
    """Delete a static token: who uses it is refused at once. ``DELETE /v0/tokens/{id}``.

    :param name: id or name.
    """
    return _call("delete a token", "DELETE", f"/{_path(name)}", nothing, Repeat.IDEMPOTENT)


def refresh_token(name: str) -> Call[TokenInfo]:
    """Give a static token another text; the old one is worth nothing from then on. ``POST /v0/tokens/{id}/refresh``.

    A second refresh makes the text of the first one worthless, whoever holds it, so it is never sent again.

    :param name: id or name.
    :return: the token with its new text.
    :raises OutcomeUnknownError: the answer was lost: :func:`get_token` has the text that counts.
    """
    return _call("refresh a token", "POST", f"/{_path(name)}/refresh", _token, Repeat.ONCE)


def _path(name: str) -> str:
    if isinstance(name, str) and (name.startswith("p.") or (name.count(".") == 2 and name.startswith("ey"))):
        raise InvalidInputError("That is the text of a token, and paths end up in logs: give its id or name.")
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError("The name of the token is blank.")
    return quote(name.strip(), safe="")  # names may have blanks, unlike those of other things


def _call(
    what: str,
    method: str,
    path: str,
    read: Callable[[Reply], T],
    repeat: Repeat,
    params: Pairs = (),
    body: Body | None = None,
) -> Call[T]:
    find_out = "Look at the tokens (GET /v0/tokens)."
    return manage(
        what, method, f"/v0/tokens{path}", read, repeat, scope="TOKENS", find_out=find_out, params=params, body=body
    )


def _scopes(scopes: Sequence[Scope]) -> Pairs:
    if not scopes:
        raise InvalidInputError("A token needs at least one scope.")
    return tuple(
        ("scope", ":".join(part for part in (one.type, one.resource, one.filter) if part is not None)) for one in scopes
    )


def _jwt_scope(scope: Scope) -> dict[str, Any]:
    parts = {
        "type": scope.type,
        "resource": scope.resource,
        "fixed_params": dict(scope.fixed_params) if scope.fixed_params is not None else None,
        "filter": scope.filter,
    }
    return {key: value for key, value in parts.items() if value is not None}


def _tokens(reply: Reply) -> tuple[TokenInfo, ...]:
    return tuple(_read(item) for item in reply.json_object()["tokens"])


def _token(reply: Reply) -> TokenInfo:
    return _read(reply.json_object())


def _jwt(reply: Reply) -> str:
    return str(reply.json_object()["token"])


def _read(body: JsonObject) -> TokenInfo:
    return TokenInfo(
        id=str(body.get("id") or ""),
        name=str(body["name"]),
        description=str(body.get("description") or ""),
        scopes=tuple(
            Scope(str(one.get("type")), one.get("resource"), one.get("filter")) for one in body.get("scopes") or ()
        ),
        value=str(body.get("token") or ""),
    )
