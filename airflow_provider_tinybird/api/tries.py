"""The time that one try of a call has, which the network below keeps to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SLOWEST = 10_000
"""Bytes a second that a line carries at least: each try has its timeout and, on top, the time that its bytes take at this rate."""


class Try:
    """The time that one try has, and what has become of it.

    The clock is read before each read and write. Sending and receiving have ``seconds`` each, which grow with the bytes that moved: a
    large body on a slow line takes its time, and one that drips does not.

    :param seconds: time for an answer.
    :param deadline: moment of ``clock`` at which it is over, whatever moved.
    :param clock: tells seconds.
    """

    def __init__(
        self, seconds: float, deadline: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._deadline = math.inf if deadline is None else deadline
        self._end = math.inf
        self._direction = ""
        self.sent = False
        """Whether a byte of the request was handed to the network."""
        self.is_cut = False
        """Whether the connection broke before all of the request was handed to it, so that it never arrived whole."""

    def until_deadline(self) -> float:
        """Seconds until the deadline, infinite where there is none."""
        return self._deadline - self._clock()

    def left(self, direction: str) -> float:
        """Seconds that are left to send or to receive."""
        now = self._clock()
        if direction != self._direction:
            self._direction, self._end = direction, now + self._seconds
        return min(self._end, self._deadline) - now

    def moved(self, size: int) -> None:
        """Count bytes that were sent or received."""
        self._end += size / SLOWEST


current: ContextVar[Try | None] = ContextVar("tinybird_try", default=None)
"""The try that is under way in this thread or task."""


@contextmanager
def within(one: Try) -> Iterator[None]:
    """Have the network of this thread or task keep to the clock of a try."""
    token = current.set(one)
    try:
        yield
    finally:
        current.reset(token)
