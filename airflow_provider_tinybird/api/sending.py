"""What the calls that manage a workspace have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airflow_provider_tinybird.api.body import Body, BytesBody
from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.encoding import Pairs
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.resources import Named, read_named

T = TypeVar("T")
JSON = "application/json"

MANAGE_TIMEOUT = 60.0
"""Seconds that a change to a workspace may take: each is checked against what depends on it."""


def json_body(value: Mapping[str, Any]) -> BytesBody:
    """Make a JSON body; only few calls of Tinybird read one."""
    return BytesBody(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), JSON)


def manage(
    what: str,
    method: str,
    path: str,
    read: Callable[[Reply], T],
    repeat: Repeat,
    *,
    scope: str,
    find_out: str,
    params: Pairs = (),
    body: Body | None = None,
) -> Call[T]:
    """Describe a call that makes, changes, shows or drops a part of a workspace.

    :param what: what it does, to complete "Could not ...".
    :param find_out: how a person finds out whether it was done, when the answer is lost.
    """
    return Call(
        what=what,
        method=method,
        path=path,
        params=params,
        body=body,
        read=read,
        repeat=repeat,
        scope=scope,
        min_timeout=MANAGE_TIMEOUT,
        find_out=find_out,
    )


def manage_pipe(
    what: str,
    method: str,
    path: str,
    read: Callable[[Reply], T],
    repeat: Repeat = Repeat.ONCE,
    params: Pairs = (),
    body: Body | None = None,
    scope: str = "PIPES:CREATE",
) -> Call[T]:
    """Describe a call about a pipe or one of its nodes."""
    find_out = "Look at the pipe and its nodes (GET /v0/pipes)."
    return manage(what, method, path, read, repeat, scope=scope, find_out=find_out, params=params, body=body)


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
