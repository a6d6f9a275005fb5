"""What sensors wait for in the data: one question, asked again and again until its answer is the one waited for.

One engine for all modes, sync and async. Nothing here knows Airflow.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.errors import ApiError, ConnectionFailedError, TinybirdError, UnreadableAnswerError
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.conditions.checks import Check, Verdict
from airflow_provider_tinybird.jobs.outcome import small_json
from airflow_provider_tinybird.jobs.watch import is_final
from airflow_provider_tinybird.timespans import deadlines

log = logging.getLogger(__name__)


class Ending(StrEnum):
    """How the wait ended."""

    MET = "met"
    BROKEN = "broken"
    """It can no longer become what is waited for."""
    REFUSED = "refused"
    """The question itself is wrong, or may not be asked: asking again cannot help."""
    TIMEOUT = "timeout"
    LOST = "lost"
    """The wait broke off for a reason that says nothing of the data."""


class ConditionBrokenError(TinybirdError):
    """What was waited for can no longer come."""

    retry_can_help = False


class CheckRefusedError(TinybirdError):
    """Tinybird refused what was asked: no such column or data source, or the token may not read it."""

    retry_can_help = False


class WaitLostError(TinybirdError):
    """The wait broke off, and nothing is known of what was waited for."""


class WaitTimeoutError(TinybirdError):
    """It did not become true in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How the wait ended; also what a trigger sends to its task.

    :param ending: kind of ending.
    :param message: what happened and what to do, for people.
    :param facts: what was seen at last, small JSON.
    :param version: version of this structure, which outlives an upgrade in Airflow's database.
    """

    ending: Ending
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    def to_payload(self) -> dict[str, Any]:
        """Write it as JSON."""
        return asdict(self) | {"ending": self.ending.value, "facts": dict(self.facts)}

    @classmethod
    def from_payload(cls, payload: object) -> Finding:
        """Read what a trigger sent.

        :raises WaitLostError: it is nothing that this version understands; waiting again does no harm.
        """
        if not isinstance(payload, Mapping) or payload.get("ending") not in list(Ending) or payload.get("version") != 1:
            raise WaitLostError(
                f"The trigger sent {redact(repr(payload))[:200]}, which is no ending of a wait: are worker and triggerer on the same "
                "version of this provider?"
            )
        facts = payload.get("facts")
        return cls(
            ending=Ending(payload["ending"]),
            message=str(payload.get("message") or ""),
            facts=dict(facts) if isinstance(facts, Mapping) else {},
        )

    def facts_or_error(self) -> dict[str, Any]:
        """Return what was seen if it is what was waited for, and raise the right error if it is not."""
        if self.ending is Ending.MET:
            return dict(self.facts)
        kinds = {
            Ending.BROKEN: ConditionBrokenError,
            Ending.REFUSED: CheckRefusedError,
            Ending.TIMEOUT: WaitTimeoutError,
            Ending.LOST: WaitLostError,
        }
        raise kinds[self.ending](self.message)


class Wait:
    """Decides, look by look, whether the wait is over. It does no input or output itself.

    :param question: what is asked.
    :param poll_interval: seconds between two looks.
    :param deadline: moment (seconds since the epoch) after which the wait is over.
    :param started_at: moment at which it began.
    :param outlasts_refusals: go on waiting when the question is refused.
    :param clock: tells the seconds since the epoch.
    """

    def __init__(
        self,
        question: Check,
        *,
        poll_interval: float,
        deadline: float,
        started_at: float,
        outlasts_refusals: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.question = question
        self._poll_interval = poll_interval
        self._deadline = deadline
        self._started_at = started_at
        self._outlasts_refusals = outlasts_refusals
        self._clock = clock
        self._last = "nothing was seen"
        self._ask_again_at = 0.0

    def saw(self, verdict: Verdict) -> Finding | None:
        """Take in what a look found; returns the finding once there is one."""
        self._last = verdict.says
        facts = small_json(verdict.facts)
        if verdict.broken:
            return Finding(ending=Ending.BROKEN, message=verdict.broken, facts=facts)
        if verdict.is_met:
            log.info("It is so: %s.", verdict.says)
            return Finding(ending=Ending.MET, facts=facts)
        log.info("Not yet: %s.", verdict.says)
        return self.expired()

    def failed(self, error: TinybirdError) -> Finding | None:
        """Take in that a look failed: all but what Tinybird itself refuses is outlasted until time runs out."""
        if is_final(error) and not self._outlasts_refusals:
            return Finding(ending=Ending.REFUSED, message=str(error))
        if isinstance(error, ApiError) and error.answer.retry_after:
            self._ask_again_at = self._clock() + error.answer.retry_after
        self._last = f"the last look failed: {error}"
        log.warning("Looking failed; it is looked again. %s", error)
        return self.expired()

    def expired(self) -> Finding | None:
        """Return the finding if the deadline is over."""
        return None if self._clock() < self._deadline else self.timed_out()

    def timed_out(self) -> Finding:
        """Return the finding for time that ran out."""
        now = self._clock()
        waited = max(0.0, now - self._started_at)
        allowed = max(0.0, self._deadline - self._started_at)
        message = f"Waited {waited:.0f} s (timeout={allowed:g}) for {self.question.what}, in vain: {self._last}."
        return Finding(ending=Ending.TIMEOUT, message=message)

    def pause(self) -> float:
        """Seconds to wait before the next look, never past the deadline."""
        now = self._clock()
        jittered = self._poll_interval * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, keeps no secret
        return max(0.0, min(max(jittered, self._ask_again_at - now), self._deadline - now))

    @property
    def must_wait(self) -> bool:
        """Whether Tinybird asked for a wait that is not over."""
        return self._clock() < self._ask_again_at

    @property
    def look_ends(self) -> float:
        """Moment of ``time.monotonic()`` at which a look that begins now has to be over."""
        return deadlines.looks_end(self._deadline)

    def judged(self, answer: Any) -> Finding | None:
        """Take in an answer.

        :raises UnreadableAnswerError: it is not what was asked for.
        """
        try:
            verdict = self.question.judge(answer)
        except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as e:
            raise UnreadableAnswerError(
                f"The answer to the wait for {self.question.what} cannot be read ({type(e).__name__}: {redact(str(e))[:200]})."
            ) from e
        return self.saw(verdict)


def look(client: Client, wait: Wait, *, ends_at: float | None = None) -> Finding | None:
    """Look once; returns the finding once there is one.

    :param ends_at: moment of ``time.monotonic()`` at which the look has to be over; by default soon after the deadline of the wait.
    """
    try:
        ends = wait.look_ends if ends_at is None else ends_at
        return wait.judged(client.send(wait.question.call, deadline=ends))
    except TinybirdError as e:
        return wait.failed(e)


async def look_async(client: AsyncClient, wait: Wait) -> Finding | None:
    """Look once, from an event loop; returns the finding once there is one."""
    ends = wait.look_ends
    try:
        async with deadlines.within(ends):
            return wait.judged(await client.send(wait.question.call, deadline=ends))
    except TimeoutError:
        return wait.failed(ConnectionFailedError("it had not ended by the deadline", sent=True, timed_out=True))
    except TinybirdError as e:
        return wait.failed(e)


async def wait_async(client: AsyncClient, wait: Wait) -> Finding:
    """Look until the wait is over, from an event loop. It pauses first: the caller has just polled."""
    while True:
        await asyncio.sleep(wait.pause())
        finding = await look_async(client, wait)
        if finding:
            return finding
