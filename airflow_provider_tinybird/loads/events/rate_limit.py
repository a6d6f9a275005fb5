"""Keep below the rate that Tinybird documents for a data source."""

from __future__ import annotations

import time
from collections.abc import Callable

BYTES_PER_SECOND = 19_000_000
"""Tinybird documents 20 MB/s for a data source. It does not say of which bytes, so they count uncompressed."""

REQUESTS_PER_SECOND = 95
"""Tinybird documents 100 requests a second for a data source."""

_SLACK = 0.25


class Pace:
    """A token bucket over bytes and requests that lends one request: each may go as soon as those before it are paid for.

    So no second holds more than the rate and one body. A sender that falls behind may catch up a quarter of a second, no more.

    :param clock: tells seconds.
    """

    def __init__(
        self,
        bytes_per_second: float = BYTES_PER_SECOND,
        requests_per_second: float = REQUESTS_PER_SECOND,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds_a_byte = 1 / bytes_per_second
        self._seconds_a_request = 1 / requests_per_second
        self._clock = clock
        self._free_at = clock()

    def delay(self) -> float:
        """Seconds until the next request may go; 0 when it may go now."""
        return max(0.0, self._free_at - self._clock())

    def went(self, size: int) -> None:
        """Record that a request of so many bytes goes now."""
        cost = max(size * self._seconds_a_byte, self._seconds_a_request)
        self._free_at = max(self._free_at, self._clock() - _SLACK) + cost


class NoPace(Pace):
    """No limit."""

    def delay(self) -> float:
        """No wait, ever."""
        return 0.0
