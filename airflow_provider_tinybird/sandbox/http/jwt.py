"""JSON Web Tokens: read-only tokens that end by themselves. Anyone with the workspace's admin token can sign them, the sandbox too."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from typing import Any

from airflow_provider_tinybird.sandbox.http.auth import Grants, Token, checked_grants
from airflow_provider_tinybird.sandbox.http.clock import now
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request

_KINDS = ("PIPES:READ", "DATASOURCES:READ")
_PARTS = 3


def signed(name: str, given: Mapping[str, Any], expires: float, workspace_id: str, key: str) -> str:
    """Make a JWT.

    :param given: ``scopes``, and ``limits`` with ``rps``.
    :param expires: seconds since 1970.
    :raises ApiError: 400, for scopes that a JWT cannot have, and for a moment that is over.
    """
    if expires <= now().timestamp():
        raise bad_request("'expiration_time' is over already: give seconds since 1970 in the future")
    payload = {"workspace_id": workspace_id, "name": name, "exp": expires, "scopes": given.get("scopes")}
    if given.get("limits"):
        payload["limits"] = given["limits"]
    _token(payload, "")
    parts = [
        _encoded(json.dumps(one, separators=(",", ":")).encode()) for one in ({"alg": "HS256", "typ": "JWT"}, payload)
    ]
    return ".".join([*parts, _encoded(_signature(".".join(parts), key))])


def token_of(text: str, workspace_id: str, key: str) -> Token | None:
    """The token that a JWT is; None for any other text, a wrong signature, and one of another workspace."""
    parts = text.split(".")
    if len(parts) != _PARTS or not text.startswith("ey"):
        return None
    try:
        header, payload = (json.loads(_decoded(part)) for part in parts[:2])
        same = hmac.compare_digest(_decoded(parts[2]), _signature(".".join(parts[:2]), key))
        if not same or header.get("alg") != "HS256" or payload.get("workspace_id") != workspace_id:
            return None
        return _token(payload, text)
    except (ValueError, AttributeError, ApiError):
        return None


def _token(payload: Mapping[str, Any], text: str) -> Token:
    scopes, fixed = _scopes(payload.get("scopes"))
    limits = payload.get("limits") or {}
    rps = limits.get("rps") if isinstance(limits, Mapping) else None
    if rps is not None and (not isinstance(rps, int) or rps < 1):
        raise bad_request(f"'limits' must have 'rps', a number from 1 on, not {rps!r}")
    expires = payload.get("exp")
    if not isinstance(expires, int | float) or not math.isfinite(expires):
        raise bad_request("'exp' must be seconds since 1970")
    return Token(
        name=str(payload.get("name") or ""),
        value=text,
        scopes=scopes.scopes,
        id=hashlib.sha256(text.encode()).hexdigest()[:32],
        filters=scopes.filters,
        fixed_params=fixed,
        expires=float(expires),
        rps=rps,
    )


def _scopes(given: Any) -> tuple[Grants, dict[str, dict[str, str]]]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise bad_request("'scopes' must be a list of objects with 'type' and 'resource'")
    texts, fixed = [], {}
    for one in given:
        kind, resource = str(one.get("type")), str(one.get("resource") or "")
        if kind not in _KINDS or not resource:
            raise bad_request(f"a JWT can have the scopes {' and '.join(_KINDS)}, each with a resource, not '{kind}'")
        texts.append(":".join([kind, resource, *([str(one["filter"])] if one.get("filter") else [])]))
        if one.get("fixed_params"):
            if kind != "PIPES:READ" or not isinstance(one["fixed_params"], dict):
                raise bad_request("'fixed_params' must be an object, of a scope PIPES:READ")
            fixed[resource] = {str(key): _text(value) for key, value in one["fixed_params"].items()}
    return checked_grants(texts), fixed


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _signature(text: str, key: str) -> bytes:
    return hmac.digest(key.encode(), text.encode(), "sha256")


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
