"""How many calls a second, or a minute, may make, and the headers that say so."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.http import clock
from airflow_provider_tinybird.sandbox.http.errors import ApiError

EVENTS_PER_SECOND = 100
IMPORTS_PER_MINUTE = 5
"""The documented limits: of a data source, and of a workspace."""


@dataclass
class _Count:
    number: int = 0
    calls: int = 0


class RateLimit:
    """A limit of calls in windows of a fixed length, counted for each key apart.

    :param calls: how many a window has; None does not limit, and ``headers`` then tell of ``usual`` calls.
    :param window: seconds.
    :param what: what is limited, for the error.
    """

    def __init__(self, calls: int | None, window: int, what: str, usual: int) -> None:
        self._calls = calls
        self._window = window
        self._what = what
        self._usual = usual
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> dict[str, str]:
        """Count a call.

        :param key: such as the name of a data source.
        :return: the headers for its answer.
        :raises ApiError: 429, when the window has no call left; its headers say when the next one starts.
        """
        if self._calls is None:
            return _headers(self._usual, self._usual - 1, self._window)
        number, since = divmod(clock.seconds(), self._window)
        reset = max(1, math.ceil(self._window - since))
        with self._lock:
            count = self._counts.setdefault(key, _Count())
            if count.number != int(number):
                count.number, count.calls = int(number), 0
            count.calls += 1
            left = self._calls - count.calls
        if left < 0:
            per = "second" if self._window == 1 else f"{self._window} seconds"
            raise ApiError(
                429,
                f"Too many {self._what}: {self._calls} per {per} are allowed; try again in {reset} s",
                headers={**_headers(self._calls, 0, reset), "Retry-After": str(reset)},
            )
        return _headers(self._calls, left, reset)

    def clear(self) -> None:
        """Start over."""
        with self._lock:
            self._counts.clear()


def _headers(limit: int, remaining: int, reset: int) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(reset),
    }
