"""What the calls that manage a workspace have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_tinybird.api.body import BytesBody
from airflow_provider_tinybird.api.call import Reply
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.resources import Named, read_named

JSON = "application/json"

MANAGE_TIMEOUT = 60.0
"""Seconds that a change to a workspace may take: each is checked against what depends on it."""


def json_body(value: Mapping[str, Any]) -> BytesBody:
    """Make a JSON body; only few calls of Tinybird read one."""
    return BytesBody(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), JSON)


def required(name: str, text: str) -> str:
    """Check that a text is there.

    :raises InvalidInputError: it is blank.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{name} is blank ({text!r}).")
    return text


def nothing(_reply: Reply) -> None:
    """Read an answer that says nothing beyond its status."""


def one_named(reply: Reply) -> Named:
    """Read an answer that is one thing with a name."""
    return read_named(reply.json_object())


def named_list(reply: Reply, *keys: str) -> tuple[Named, ...]:
    """Read an answer that lists things with names.

    :param keys: members that the list may be in; an answer that is the list itself will do too.
    """
    body = reply.json()
    if isinstance(body, list):
        return tuple(read_named(item) for item in body)
    found = next((body[key] for key in keys if key in body), None)
    if found is None:
        raise KeyError(keys[0])  # an answer without the list is not an empty list
    return tuple(read_named(item) for item in found)
