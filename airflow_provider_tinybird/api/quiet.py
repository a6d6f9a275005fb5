"""Keep our requests out of httpx's own log lines, which show whole URLs: SQL, parameters and presigned addresses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ours: ContextVar[bool] = ContextVar("tinybird_request", default=False)


class _NotOurs(logging.Filter):
    """Lets the lines of everybody else's requests through."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        return not _ours.get()


_filter = _NotOurs()


@contextmanager
def quiet_httpx() -> Iterator[None]:
    """Silence httpx's line for the request that is sent inside, in this thread or task only."""
    logging.getLogger("httpx").addFilter(_filter)  # adding it again changes nothing
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)
