"""Tokens, their scopes, and what a call needs."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_tinybird.sandbox.errors import ApiError, bad_request

ADMIN = "ADMIN"
TOKENS = "TOKENS"
CREATE = "DATASOURCES:CREATE"
PIPES_CREATE = "PIPES:CREATE"
_BARE = frozenset({ADMIN, TOKENS, CREATE, PIPES_CREATE})
_WITH_RESOURCE = frozenset({"DATASOURCES:APPEND", "DATASOURCES:READ", "DATASOURCES:DROP", "PIPES:READ", "PIPES:DROP"})


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
class Token:
    """A static token.

    :param scopes: ``SCOPE`` or ``SCOPE:resource``.
    """

    name: str
    value: str = field(repr=False)
    scopes: frozenset[str]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    description: str = ""

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
            kind, resource = split_scope(scope)
            scopes.append({"type": kind, **({"resource": resource} if resource else {})})
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "token": self.value,
            "scopes": scopes,
        }


def split_scope(scope: str) -> tuple[str, str | None]:
    """The kind of a scope, and the resource that it names."""
    parts = scope.split(":")
    if parts[0] in ("DATASOURCES", "PIPES") and len(parts) > 2:
        return ":".join(parts[:2]), ":".join(parts[2:])
    return scope, None


def checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Scopes that a caller gave for a new token.

    :raises ApiError: 400, naming the one that is none.
    """
    found = frozenset(scopes)
    if not found:
        raise bad_request("a token needs at least one scope: give scope=...")
    for scope in found:
        kind, resource = split_scope(scope)
        if not (scope in _BARE or (kind in _WITH_RESOURCE and resource)):
            known = ", ".join(sorted(_BARE) + [f"{one}:<name>" for one in sorted(_WITH_RESOURCE)])
            raise bad_request(f"scope '{scope}' is not supported: use one of {known}")
    return found
