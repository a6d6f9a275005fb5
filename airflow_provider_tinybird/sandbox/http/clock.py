"""The sandbox's clock, which a test can put forward and stop: so that 48 hours, or the window of a rate limit, pass at once."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class _Hands:
    """How the clock differs from that of the machine.

    :param ahead: seconds.
    :param stopped_at: what the clock of the rate windows stands at; None while it runs.
    """

    ahead: float = 0.0
    stopped_at: float | None = None


# There is one clock, as there is one engine, in a process.
_lock = threading.Lock()
_hands = _Hands()


def now() -> datetime:
    """The present, in UTC. It goes on also while the clock is stopped: jobs are listed in the order of their times."""
    return datetime.now(UTC) + timedelta(seconds=_hands.ahead)


def seconds() -> float:
    """Seconds since some moment, for the windows of rate limits."""
    hands = _hands
    return _running(hands) if hands.stopped_at is None else hands.stopped_at


def advance(by: float) -> None:
    """Put it forward.

    :param by: seconds.
    """
    global _hands
    with _lock:
        stopped_at = None if _hands.stopped_at is None else _hands.stopped_at + by
        _hands = _Hands(_hands.ahead + by, stopped_at)


def stop() -> None:
    """Stop the windows of rate limits: from now on they only end by ``advance``."""
    global _hands
    with _lock:
        if _hands.stopped_at is None:
            _hands = _Hands(_hands.ahead, _running(_hands))


def reset() -> None:
    """Let it run, and show the time of the machine."""
    global _hands
    with _lock:
        _hands = _Hands()


def shown() -> dict[str, Any]:
    """How it stands."""
    hands = asdict(_hands)
    return {"now": now().isoformat(), "ahead": hands["ahead"], "stopped": hands["stopped_at"] is not None}


def _running(hands: _Hands) -> float:
    return time.monotonic() + hands.ahead
