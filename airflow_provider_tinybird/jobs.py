"""The life of a job after it was submitted: watch it until it is over, cancel it, say how it ended.

One engine for the operators, the sensor and the trigger, sync and async. Nothing here knows Airflow.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.errors import (
    ApiError,
    NotFoundError,
    TinybirdError,
)
from airflow_provider_tinybird.api.job import Job, JobStatus
from airflow_provider_tinybird.outcomes import Ending, Outcome, small_json
from airflow_provider_tinybird.wording import duration

log = logging.getLogger(__name__)

POLL_INTERVAL = 5.0
"""Seconds between two looks at a job."""

SHORTEST_PAUSE = 0.25
"""Seconds between the first looks at a job; they double until they reach the interval."""

TIMEOUT = 24 * 3600.0
"""Seconds that a job may take, its wait in Tinybird's queue included. Tinybird itself forgets jobs after 48 hours."""

FAILURES_TOLERATED = 10
"""Looks in a row that may fail before a job counts as lost: a blip of the network says nothing of the job."""

NOT_FOUND_TOLERATED = 3
"""Looks in a row that may answer 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How to wait for a job.

    :param poll_interval: seconds between two looks; a jitter of a tenth is put on top, so that many tasks do not look
        at once.
    :param deadline: moment (seconds since the epoch) after which the wait is over. Wall-clock, so that it means the
        same on a worker and on each triggerer.
    :param started_at: moment at which the job was submitted, or the wait for somebody else's began; for telling how
        long it took.
    :param failures_tolerated: looks in a row that may fail.
    :param not_found_tolerated: looks in a row that may answer 404: a job that was just created need not be known
        everywhere yet.
    """

    poll_interval: float = POLL_INTERVAL
    deadline: float
    started_at: float
    failures_tolerated: int = FAILURES_TOLERATED
    not_found_tolerated: int = NOT_FOUND_TOLERATED

    @classmethod
    def starting_now(cls, *, timeout: float = TIMEOUT, poll_interval: float = POLL_INTERVAL) -> Rules:
        """Make the rules for a job that is submitted now."""
        now = time.time()
        return cls(poll_interval=poll_interval, deadline=now + timeout, started_at=now)


class Watch:
    """Decides, look by look, whether the wait for a job is over. It does no input or output itself.

    :param job_id: the job; empty when the newest job of a pipe is watched.
    :param rules: how to wait.
    :param pipe: pipe whose newest job is watched, where there is no id.
    :param told: status of the job that the log has already told.
    :param clock: tells the seconds since the epoch.
    """

    def __init__(
        self,
        job_id: str,
        rules: Rules,
        *,
        pipe: str = "",
        told: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.job_id = job_id
        self.pipe = pipe
        self.rules = rules
        self._clock = clock
        self._failures = 0
        self._not_found = 0
        self._last: Job | None = None
        self.told = told

    def saw(self, job: Job | None) -> Outcome | None:
        """Take in what a look found; returns the outcome once there is one.

        :param job: the job; ``None`` when the pipe that is watched has none yet.
        """
        self._failures = self._not_found = 0
        if job is None:
            return self.expired()
        if job.status_text != self.told:
            log.info("%s is %s, after %s.", _capital(str(job)), job.status_text, duration(self._waited()))
        self._last, self.told = job, job.status_text
        if job.status is JobStatus.DONE:
            return self._outcome(Ending.DONE)
        if job.status is JobStatus.ERROR:
            why = job.error or "Tinybird does not say why"
            return self._outcome(Ending.FAILED, f"failed after {self._waited():.0f} s: {why}")
        if job.status is JobStatus.CANCELLED:
            why = f": {job.error}" if job.error else ", not by this task"
            return self._outcome(Ending.CANCELLED, f"was cancelled after {self._waited():.0f} s{why}")
        return self.expired()

    def failed(self, error: TinybirdError) -> Outcome | None:
        """Take in that a look failed; returns the outcome when that was one too many.

        A failure to look is no failure of the job, so the message says that the job may go on.
        """
        so_far = f"after {self._waited():.0f} s"
        if isinstance(error, NotFoundError):
            self._not_found += 1
            one_too_many = self._not_found > self.rules.not_found_tolerated
            what = (
                f"is not known to Tinybird (any more) {so_far}: it keeps jobs for 48 hours, and there is nothing of it "
                f"that this token can read in tinybird.jobs_log. The look: {error}"
            )
        else:
            self._failures += 1
            is_final = isinstance(error, ApiError) and not error.retry_can_help
            one_too_many = is_final or self._failures > self.rules.failures_tolerated
            times = "" if is_final else f" {self._failures} times in a row, the last time"
            what = f"could not be looked at{times} {so_far}, and may go on running. The look: {error}"
        if one_too_many:
            return self._outcome(Ending.LOST, what)
        log.warning("Looking at job %s failed; it is looked at again. %s", self.job_id, error)
        return self.expired()

    @property
    def call(self) -> Call[Job | None]:
        """The look."""
        if self.job_id:
            return cast("Call[Job | None]", jobs_api.get_job(self.job_id))
        return jobs_api.newest_job(self.pipe)

    def wants_log(self, error: TinybirdError) -> bool:
        """Tell whether a look that failed should be followed by one into the log of old jobs."""
        return (
            bool(self.job_id) and isinstance(error, NotFoundError) and self._not_found >= self.rules.not_found_tolerated
        )

    def expired(self) -> Outcome | None:
        """Return the outcome if the deadline is over."""
        if self._clock() < self.rules.deadline:
            return None
        allowed = self.rules.deadline - self.rules.started_at
        state = f"was still '{self._last.status_text}'" if self._last else "was never seen"
        return self._outcome(Ending.TIMEOUT, f"{state} after {self._waited():.0f} s; timeout gives it {allowed:g} s")

    def pause(self) -> float:
        """Seconds to wait before the next look, never past the deadline."""
        jittered = self.rules.poll_interval * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, keeps no secret
        return max(0.0, min(jittered, self.rules.deadline - self._clock()))

    def time_left(self) -> float:
        """Seconds until the deadline, infinite where there is none."""
        return max(0.0, self.rules.deadline - self._clock())

    def _outcome(self, ending: Ending, what: str = "") -> Outcome:
        job = self._last
        name = (
            _capital(str(job))
            if job
            else (f"Job {self.job_id}" if self.job_id else f"The newest job of pipe '{self.pipe}'")
        )
        about = f" ({_about(job)})" if job and _about(job) else ""
        return Outcome(
            ending=ending,
            job_id=job.id if job else self.job_id,
            message=f"{name}{about} {_sentence(what)}" if what else "",
            waited=round(self._waited(), 3),
            job=small_json(job.raw) if job else {},
        )

    def _waited(self) -> float:
        return max(0.0, self._clock() - self.rules.started_at)


def look(client: Client, watch: Watch) -> Outcome | None:
    """Look at a job once; returns the outcome once there is one."""
    try:
        return watch.saw(client.send(watch.call, deadline=_end_of_looking(watch)))
    except TinybirdError as e:
        if watch.wants_log(e):
            with suppress(TinybirdError):
                logged = client.send(jobs_api.get_job_from_log(watch.job_id))
                if logged:
                    return watch.saw(logged)
        return watch.failed(e)


async def look_async(client: AsyncClient, watch: Watch) -> Outcome | None:
    """Look at a job once, from an event loop; returns the outcome once there is one."""
    try:
        return watch.saw(await client.send(watch.call, deadline=_end_of_looking(watch)))
    except TinybirdError as e:
        if watch.wants_log(e):
            with suppress(TinybirdError):
                logged = await client.send(jobs_api.get_job_from_log(watch.job_id))
                if logged:
                    return watch.saw(logged)
        return watch.failed(e)


def watch_job(client: Client, watch: Watch, *, patience: float | None = None) -> Outcome | None:
    """Look at a job until it is over.

    :param client: sends the looks.
    :param watch: decides.
    :param patience: give up after this many seconds and return ``None``, so that the caller can defer; by default
        never.
    :return: how it ended.
    """
    began = time.monotonic()
    while True:
        outcome = look(client, watch)
        if outcome:
            return outcome
        watched = time.monotonic() - began
        # Most jobs are over within seconds, so look more often at first: a short job should not take a whole interval.
        pause = min(watch.pause(), max(SHORTEST_PAUSE, watched))
        if patience is not None:
            if watched >= patience:
                return None
            pause = min(pause, patience - watched)
        time.sleep(pause)


async def watch_job_async(client: AsyncClient, watch: Watch) -> Outcome:
    """Look at a job until it is over, from an event loop. It pauses first: whoever started the wait has just looked."""
    while True:
        await asyncio.sleep(watch.pause())
        outcome = await look_async(client, watch)
        if outcome:
            return outcome


def describe_cancel(answer: Job | TinybirdError, job_id: str) -> str:
    """Say in one sentence what became of a request to cancel."""
    if isinstance(answer, Job):
        return f"Tinybird was asked to cancel job {job_id}: it is {answer.status_text}."
    if isinstance(answer, ApiError) and answer.status == 400:
        return f"Tinybird refused to cancel job {job_id}: {answer.answer.text.rstrip('.')}. What it has written stays."
    return f"Job {job_id} could not be cancelled and may go on running: {answer}"


def cancel(client: Client, job_id: str) -> str:
    """Ask Tinybird to cancel a job; never raises, since a refusal is an expected answer.

    :return: what became of it, one sentence.
    """
    answer: Job | TinybirdError
    try:
        answer = client.send(jobs_api.cancel_job(job_id))
    except TinybirdError as e:
        answer = e
    return describe_cancel(answer, job_id)


async def cancel_async(client: AsyncClient, job_id: str) -> str:
    """Ask Tinybird to cancel a job, from an event loop; see :func:`cancel`."""
    answer: Job | TinybirdError
    try:
        answer = await client.send(jobs_api.cancel_job(job_id))
    except TinybirdError as e:
        answer = e
    return describe_cancel(answer, job_id)


# The client may send a look again for minutes. Beyond the deadline nobody would cancel the job: while a task is deferred,
# Airflow's own timeout ends it soon after ours.
def _end_of_looking(watch: Watch) -> float:
    return time.monotonic() + watch.time_left()


def _about(job: Job) -> str:
    if job.pipe:
        return f"pipe '{job.pipe}'"
    return f"data source '{job.datasource}'" if job.datasource else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "]")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
