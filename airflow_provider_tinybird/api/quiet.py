"""Keep our requests out of the log lines of the HTTP libraries, which show whole URLs (SQL, parameters, presigned addresses) and the
headers of answers, whatever is in them.
"""

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

# A filter is asked for the lines of its own logger only, not for those of the loggers below.
_LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))


@contextmanager
def quiet_httpx() -> Iterator[None]:
    """Silence the libraries' lines for the request that is sent inside, in this thread or task only."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)  # adding it again changes nothing
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)
