"""What the calls that manage a workspace have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_tinybird.api.body import BytesBody
from airflow_provider_tinybird.api.call import Reply
from airflow_provider_tinybird.api.errors import InvalidInputError

JSON = "application/json"


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
