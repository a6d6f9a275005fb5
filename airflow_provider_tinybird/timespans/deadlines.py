"""The end of an operator's life, as a moment: what may still be asked after it, and for how long.

A deadline is a moment in seconds since the epoch, so that it means the same on a worker and on each triggerer; clients count by
``time.monotonic()``. All of these together keep the promise that a task ends within 15 s of its ``timeout``.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GRACE = 4.0
"""Seconds behind the deadline in which it is still found out how things stand: the last look at a job, the search for a lost one."""

CLOSING = 8.0
"""Seconds behind the deadline, or from now on where it is over, for what comes after a job: its cancel, or the counts of its rows."""


def monotonic(moment: float) -> float:
    """Say when a moment is by ``time.monotonic()``."""
    return time.monotonic() + (moment - time.time())


def looks_end(deadline: float) -> float:
    """Say by ``time.monotonic()`` when a look has to have ended; one that begins late gets a little time all the same."""
    return monotonic(max(deadline, time.time()) + GRACE)


def closing_ends(deadline: float = 0.0) -> float:
    """Say by ``time.monotonic()`` when what comes after a job has to have ended."""
    return monotonic(max(deadline, time.time()) + CLOSING)


@asynccontextmanager
async def within(moment: float) -> AsyncIterator[None]:
    """End what runs in an event loop at a moment of ``time.monotonic()``, whatever it waits for.

    :raises TimeoutError: the moment came.
    """
    async with asyncio.timeout(None if moment == math.inf else max(0.0, moment - time.monotonic())):
        yield
