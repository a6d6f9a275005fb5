"""Tokens, their scopes, and what a call needs."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request

ADMIN = "ADMIN"
TOKENS = "TOKENS"
CREATE = "DATASOURCES:CREATE"
PIPES_CREATE = "PIPES:CREATE"
DEPLOY = "WORKSPACE:DEPLOY"
_BARE = frozenset({ADMIN, TOKENS, CREATE, PIPES_CREATE, DEPLOY})
_WITH_RESOURCE = frozenset({"DATASOURCES:APPEND", "DATASOURCES:READ", "DATASOURCES:DROP", "PIPES:READ", "PIPES:DROP"})


_WITH_FILTER = frozenset({"DATASOURCES:READ", "PIPES:READ"})


def append_scope(datasource: str) -> str:
    """Scope to append to a data source."""
    return f"DATASOURCES:APPEND:{datasource}"


def read_scope(datasource: str) -> str:
    """Scope to read a data source."""
    return f"DATASOURCES:READ:{datasource}"


def pipe_read_scope(pipe: str) -> str:
    """Scope to call an endpoint."""
    return f"PIPES:READ:{pipe}"


def new_token_text(user_id: str, token_id: str) -> str:
    """A token with the shape of Tinybird's: it carries who it is and the region, and a signature that nobody checks here."""
    payload = json.dumps({"u": user_id, "id": token_id, "host": "local"}, separators=(",", ":"))
    return f"p.{base64.urlsafe_b64encode(payload.encode()).decode().rstrip('=')}.{secrets.token_urlsafe(32)}"


@dataclass(frozen=True)
class Grants:
    """What a token may do.

    :param scopes: ``SCOPE`` or ``SCOPE:resource``.
    :param filters: for some of these, SQL conditions on the rows.
    """

    scopes: frozenset[str]
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Token:
    """A static token, or a JWT.

    :param scopes: ``SCOPE`` or ``SCOPE:resource``.
    :param filters: for some of these, SQL conditions on the rows.
    :param fixed_params: of a JWT: parameters of pipes that its holder cannot change.
    :param expires: of a JWT: when it ends, seconds since 1970.
    :param rps: of a JWT: requests a second.
    :param from_project: whether a file of the project names it; a reset keeps it.
    """

    name: str
    value: str = field(repr=False)
    scopes: frozenset[str]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    description: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    fixed_params: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    expires: float | None = None
    rps: int | None = None
    from_project: bool = False

    @property
    def is_jwt(self) -> bool:
        """Whether it is a JWT."""
        return self.expires is not None

    def filters_of(self, kind: str) -> dict[str, str]:
        """Conditions by the name of the resource, of one kind of scope such as ``PIPES:READ``."""
        prefix = f"{kind}:"
        return {scope.removeprefix(prefix): text for scope, text in self.filters.items() if scope.startswith(prefix)}

    def allows(self, *alternatives: str) -> bool:
        """Whether it has one of some scopes; ADMIN has all."""
        return ADMIN in self.scopes or any(scope in self.scopes for scope in alternatives)

    def require(self, *alternatives: str) -> None:
        """Refuse the call unless the token has one of some scopes.

        :raises ApiError: 403, naming the scopes that would do.
        """
        if not self.allows(*alternatives):
            wanted = ", ".join(dict.fromkeys((*alternatives, ADMIN)))
            raise ApiError(403, f"The token '{self.name}' lacks a scope for this operation: it needs one of {wanted}")

    def shown(self) -> dict[str, object]:
        """The token as the Tokens API shows it."""
        scopes = []
        for scope in sorted(self.scopes):
            kind, resource, _ = _split(scope)
            shown = {"type": kind, "resource": resource, "filter": self.filters.get(scope)}
            scopes.append({key: value for key, value in shown.items() if value})
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "token": self.value,
            "scopes": scopes,
        }


def _split(scope: str) -> tuple[str, str | None, str | None]:
    """The kind of a scope, the resource that it names, and its filter."""
    parts = scope.split(":", 3)
    if parts[0] not in ("DATASOURCES", "PIPES") or len(parts) < 3:
        return scope, None, None
    return ":".join(parts[:2]), parts[2], parts[3] if len(parts) > 3 else None


def checked_grants(scopes: Iterable[str]) -> Grants:
    """Scopes that a caller gave for a token, as ``SCOPE``, ``SCOPE:resource`` or, to read, ``SCOPE:resource:filter``.

    :raises ApiError: 400, naming the one that is none.
    """
    found: set[str] = set()
    filters: dict[str, str] = {}
    for scope in dict.fromkeys(scopes):
        kind, resource, condition = _split(scope)
        plain = f"{kind}:{resource}" if resource else kind
        if not (plain in _BARE or (kind in _WITH_RESOURCE and resource)) or (condition and kind not in _WITH_FILTER):
            known = ", ".join(sorted(_BARE) + [f"{one}:<name>" for one in sorted(_WITH_RESOURCE)])
            raise bad_request(f"scope '{scope}' is not supported: use one of {known}")
        if plain in found:
            raise bad_request(f"scope '{plain}' is there twice")
        found.add(plain)
        if condition:
            filters[plain] = condition
    if not found:
        raise bad_request("a token needs at least one scope: give scope=...")
    return Grants(frozenset(found), filters)
