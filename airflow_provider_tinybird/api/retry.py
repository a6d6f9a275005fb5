"""One policy for sending a call again: what may be, after how long, and for how long. tenacity does the looping."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tenacity

from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.errors import ApiError, ConnectionFailedError

log = logging.getLogger(__name__)

_REPEATABLE_STATUSES = frozenset({429, 502, 503, 504, 598, 599})
"""Passing trouble: the rate limit, and what gateways answer (598 and 599 are time-outs that Tinybird's own clients
know).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often to try.

    :param max_retries: times to send again after the first.
    :param total: seconds for all of it, waits included; a wait that would end later fails at once.
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
    if isinstance(error, ConnectionFailedError):
        if not error.sent:
            return True
        if call.repeat is Repeat.ONCE:
            return False
        return call.repeat_timeouts or not error.timed_out
    if isinstance(error, ApiError):
        if error.status in call.not_taken:
            return True
        return call.repeat is not Repeat.ONCE and error.status in _REPEATABLE_STATUSES
    return False


def rules(
    policy: RetryPolicy, call: Call[Any], *, deadline: float | None = None, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Make the arguments of ``tenacity.Retrying`` and ``tenacity.AsyncRetrying`` for one call.

    :param deadline: moment of ``clock`` after which nothing is sent any more; the policy's total counts where it ends
        earlier.
    """
    end = clock() + policy.total
    if deadline is not None:
        end = min(end, deadline)
    planned: dict[int, float] = {}

    # Asked for by stop, wait and announce, in an order that differs between versions of tenacity; jitter makes it random.
    def wait(state: tenacity.RetryCallState) -> float:
        attempt = state.attempt_number
        if attempt not in planned:
            error = state.outcome.exception() if state.outcome else None
            asked = error.answer.retry_after if isinstance(error, ApiError) else None
            planned[attempt] = asked or _backoff(policy, attempt)  # "0 seconds" would use up all tries at once
        return planned[attempt]

    def stop(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number > policy.max_retries or clock() + wait(state) > end

    def announce(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "%s Sending it again in %.1f s (%d of %d).", error, wait(state), state.attempt_number, policy.max_retries
        )

    return {
        "retry": tenacity.retry_if_exception(lambda error: may_send_again(call, error)),
        "wait": wait,
        "stop": stop,
        "before_sleep": announce,
        "reraise": True,
    }


def _backoff(policy: RetryPolicy, attempt: int) -> float:
    jitter = random.uniform(0, policy.first_wait)  # noqa: S311 - spreads load, keeps no secret
    return min(policy.longest_wait, policy.first_wait * 2.0 ** min(attempt - 1, 30) + jitter)
