"""One policy for sending a call again: what may be, after how long, and for how long. tenacity does the looping."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import tenacity

from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.errors import ApiError, ConnectionFailedError, RateLimitedError, ServerError

log = logging.getLogger(__name__)

_PASSING = frozenset({421, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524, 598, 599})
"""Passing trouble: the rate limit, and what gateways answer (598 and 599 are time-outs that Tinybird's own clients
know).
"""
_PASSING_OF_OTHERS = frozenset({408, 500})
"""Passing trouble where something in front of Tinybird says it; of Tinybird's own words, the query's trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often to try.

    :param max_retries: times to send again after the first.
    :param total: seconds for all of it, waits included, where the caller sets no deadline; a wait that would end later fails at once.
    :param first_wait: seconds of the first wait where the answer does not say; doubled from there, with jitter.
    :param longest_wait: seconds of the longest wait that is not asked for by an answer.
    """

    max_retries: int = 5
    total: float = 300.0
    first_wait: float = 0.5
    longest_wait: float = 30.0


def may_send_again(call: Call[Any], error: BaseException) -> bool:
    """Tell whether a call may be sent again after this failure.

    Any call may where the failure proves that nothing was taken. Calls that can be repeated also may after passing
    trouble.
    """
    if call.repeat is Repeat.ONCE or (isinstance(error, ConnectionFailedError) and not error.sent):
        return nothing_was_taken(error)
    if isinstance(error, ConnectionFailedError):
        return call.repeat_timeouts or not error.timed_out
    if isinstance(error, ApiError):
        return error.status in _PASSING or (error.status in _PASSING_OF_OTHERS and not error.answer.from_tinybird)
    return False


def nothing_was_taken(error: BaseException) -> bool:
    """Tell of a call that must go once whether nothing of it was taken, and that it may go later.

    This is no list of statuses that prove something: an answer that leaves doubt is an
    :class:`~airflow_provider_tinybird.api.errors.OutcomeUnknownError` before it gets here (``answers.from_status``).
    """
    if isinstance(error, ConnectionFailedError):
        return not error.sent and error.retry_can_help
    return isinstance(error, RateLimitedError | ServerError)


def rules(
    policy: RetryPolicy, call: Call[Any], *, deadline: float | None = None, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Make the arguments of ``tenacity.Retrying`` and ``tenacity.AsyncRetrying`` for one call.

    :param deadline: moment of ``clock`` after which nothing is sent any more. A wait that an answer asks for may last until then; all
        others end with the policy's total.
    """
    total = clock() + policy.total
    end = total if deadline is None else deadline
    planned: dict[int, float] = {}
    arrived: deque[BaseException] = deque(maxlen=1)

    def asked_for(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome else None
        return error.answer.retry_after if isinstance(error, ApiError) else None

    # Asked for by stop, wait and announce, in an order that differs between versions of tenacity; jitter makes it random.
    def wait(state: tenacity.RetryCallState) -> float:
        attempt = state.attempt_number
        if attempt not in planned:
            # "0 seconds" would use up all tries at once
            planned[attempt] = asked_for(state) or backoff(policy, attempt)
        return planned[attempt]

    def stop(state: tenacity.RetryCallState) -> bool:
        last = end if asked_for(state) else min(end, total)
        return state.attempt_number > policy.max_retries or clock() + wait(state) > last

    def announce(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error and _may_have_arrived(error):
            arrived.append(error)
        log.warning(
            "%s Sending it again in %.1f s (%d of %d).", error, wait(state), state.attempt_number, policy.max_retries
        )

    def give_up(state: tenacity.RetryCallState) -> NoReturn:
        error = state.outcome.exception() if state.outcome else None
        if error is None:
            raise AssertionError("gave up without an error")
        # A last try that was not sent, such as one that came too late, must not hide that one before it was.
        raise arrived[0] if arrived and not _may_have_arrived(error) else error

    return {
        "retry": tenacity.retry_if_exception(lambda error: may_send_again(call, error)),
        "wait": wait,
        "stop": stop,
        "before_sleep": announce,
        "retry_error_callback": give_up,
    }


def _may_have_arrived(error: BaseException) -> bool:
    return isinstance(error, ApiError) or (isinstance(error, ConnectionFailedError) and error.sent)


def backoff(policy: RetryPolicy, attempt: int) -> float:
    """Seconds to wait after a failed attempt where the answer does not say; the first is 1."""
    jitter = random.uniform(0, policy.first_wait)  # noqa: S311 - spreads load, keeps no secret
    return min(policy.longest_wait, policy.first_wait * 2.0 ** min(attempt - 1, 30) + jitter)
