"""The life of a job after it was submitted: watch it until it is over, cancel it, say how it ended.

One engine for the operators, the sensor and the trigger, sync and async. Nothing here knows Airflow.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.errors import (
    ApiError,
    ConnectionFailedError,
    NotFoundError,
    RateLimitedError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.models import Job, JobStatus
from airflow_provider_tinybird.api.wording import duration
from airflow_provider_tinybird.jobs.outcome import Ending, Outcome, small_json
from airflow_provider_tinybird.timespans import deadlines

log = logging.getLogger(__name__)

POLL_INTERVAL = 5.0
"""Seconds between two looks at a job."""

SHORTEST_PAUSE = 0.25
"""Seconds between the first looks at a job; they double until they reach the interval."""

TIMEOUT = 24 * 3600.0
"""Seconds that a job may take, its wait in Tinybird's queue included. Tinybird itself forgets jobs after 48 hours."""

FAILURES_TOLERATED = 10
"""Looks in a row that may fail, however long that takes, before a job counts as lost."""

OUTAGE_TOLERATED = 3600.0
"""Seconds for which looks may fail before a job counts as lost: an outage says nothing of the job, and may last longer than ten looks."""

NOT_FOUND_TOLERATED = 3
"""Looks in a row that may answer 404, however long that takes."""

NOT_FOUND_SECONDS = 10.0
"""Seconds for which looks may answer 404: the first looks follow each other within a second, and a new job need not be known everywhere."""

FIND_PAUSES = (0.0, 2.0, 5.0)
"""Seconds before each look for a job that Tinybird says it does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How to wait for a job.

    :param poll_interval: seconds between two looks; a jitter of a tenth is put on top, so that many tasks do not look
        at once.
    :param deadline: moment (seconds since the epoch) after which the wait is over. Wall-clock, so that it means the
        same on a worker and on each triggerer.
    :param started_at: moment at which the job was submitted, or the wait for somebody else's began; for telling how
        long it took.
    :param failures_tolerated: looks in a row that may fail. A job is lost when there were more, and for longer than
        ``outage_tolerated``.
    :param not_found_tolerated: looks in a row that may answer 404: a job that was just created need not be known
        everywhere yet. A job is lost when there were more, and for longer than ``not_found_seconds``.
    :param outage_tolerated: seconds for which looks may fail.
    :param not_found_seconds: seconds for which looks may answer 404.
    """

    poll_interval: float = POLL_INTERVAL
    deadline: float
    started_at: float
    failures_tolerated: int = FAILURES_TOLERATED
    not_found_tolerated: int = NOT_FOUND_TOLERATED
    outage_tolerated: float = OUTAGE_TOLERATED
    not_found_seconds: float = NOT_FOUND_SECONDS

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
    :param cancelled: ids of jobs whose cancel this very task asked for; may grow meanwhile.
    :param clock: tells the seconds since the epoch.
    """

    def __init__(
        self,
        job_id: str,
        rules: Rules,
        *,
        pipe: str = "",
        told: str = "",
        cancelled: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.job_id = job_id
        self.pipe = pipe
        self._cancelled = cancelled
        self.rules = rules
        self._clock = clock
        self._failures = _Row()
        self._not_found = _Row()
        self._trouble = ""
        self._ask_again_at = 0.0
        self._last: Job | None = None
        self.told = told

    def saw(self, job: Job | None) -> Outcome | None:
        """Take in what a look found; returns the outcome once there is one.

        :param job: the job; ``None`` when the pipe that is watched has none yet.
        """
        self._failures, self._not_found, self._trouble = _Row(), _Row(), ""
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
            by = ", by this task, which was killed" if job.id in self._cancelled else ", not by this task"
            why = f": {job.error}" if job.error else by
            return self._outcome(Ending.CANCELLED, f"was cancelled after {self._waited():.0f} s{why}")
        return self.expired()

    def failed(self, error: TinybirdError) -> Outcome | None:
        """Take in that a look failed; returns the outcome when that was one too many.

        A failure to look is no failure of the job, so the message says that the job may go on. Only what Tinybird itself says ends the
        watch at once; a page of a gateway, a broken connection and an answer that cannot be read are an outage, which is outlasted.
        """
        now, rules = self._clock(), self.rules
        so_far = f"after {self._waited():.0f} s"
        self._trouble = str(error)
        if isinstance(error, ApiError) and error.answer.retry_after:
            self._ask_again_at = now + error.answer.retry_after
        if isinstance(error, RateLimitedError):
            log.warning("Job %s is looked at again in %.0f s, as asked. %s", self.job_id, self.pause(), error)
            return self.expired()
        if is_not_found(error):
            self._not_found = self._not_found.and_now(now)
            one_too_many = self._not_found.exceeds(rules.not_found_tolerated, rules.not_found_seconds, now)
            what = (
                f"is not known to Tinybird (any more) {so_far}: it keeps jobs for 48 hours, and there is nothing of it "
                f"that this token can read in tinybird.jobs_log. The look: {error}"
            )
        else:
            self._failures = self._failures.and_now(now)
            # A certificate that is not trusted any more is the network's trouble, and the job runs on.
            final = is_final(error) and not isinstance(error, ConnectionFailedError)
            one_too_many = final or self._failures.exceeds(rules.failures_tolerated, rules.outage_tolerated, now)
            times = "" if final else f" {self._failures.count} times in a row, the last time"
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

    @property
    def is_missing(self) -> bool:
        """Whether Tinybird said at the last look that it does not know the job, which is not yet believed."""
        return self._not_found.count > 0

    @property
    def must_wait(self) -> bool:
        """Whether Tinybird asked for a wait that is not over."""
        return self._clock() < self._ask_again_at

    def expired(self) -> Outcome | None:
        """Return the outcome if the deadline is over."""
        return None if self._clock() < self.rules.deadline else self.timed_out()

    def timed_out(self) -> Outcome:
        """Return the outcome for time that ran out."""
        allowed = self.rules.deadline - self.rules.started_at
        state = f"was still '{self._last.status_text}'" if self._last else "was never seen"
        trouble = f". The last look failed: {self._trouble}" if self._trouble else ""
        what = f"{state} after {self._waited():.0f} s; timeout gives it {allowed:g} s{trouble}"
        return self._outcome(Ending.TIMEOUT, what)

    def pause(self, at_most: float = math.inf) -> float:
        """Seconds to wait before the next look, never past the deadline.

        :param at_most: no longer than this, unless Tinybird asked for more.
        """
        now = self._clock()
        jittered = self.rules.poll_interval * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, keeps no secret
        wanted = max(min(jittered, at_most), self._ask_again_at - now)
        return max(0.0, min(wanted, self.rules.deadline - now))

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
            is_missing=ending is Ending.LOST and self.is_missing,
        )

    def _waited(self) -> float:
        return max(0.0, self._clock() - self.rules.started_at)


@dataclass(frozen=True, slots=True)
class _Row:
    """Looks in a row that went wrong.

    :param count: how many.
    :param since: moment of the first.
    """

    count: int = 0
    since: float = 0.0

    def and_now(self, now: float) -> _Row:
        return _Row(self.count + 1, self.since if self.count else now)

    def exceeds(self, count: int, seconds: float, now: float) -> bool:
        return self.count > count and now - self.since >= seconds


def is_final(error: TinybirdError) -> bool:
    """Tell whether a look that failed with this would fail the next time too.

    An answer is only final in Tinybird's own words. What cannot be read, or came from something in front of Tinybird, says nothing.
    """
    if isinstance(error, ApiError):
        return error.is_final
    return not (error.retry_can_help or isinstance(error, UnreadableAnswerError))


def is_not_found(error: TinybirdError) -> bool:
    """Tell whether Tinybird itself says that it does not know a job."""
    return isinstance(error, NotFoundError) and error.is_final


def look(client: Client, watch: Watch, *, ends_at: float | None = None) -> Outcome | None:
    """Look at a job once; returns the outcome once there is one.

    :param ends_at: moment of ``time.monotonic()`` at which the look has to be over; by default soon after the deadline of the watch.
    """
    ends = deadlines.looks_end(watch.rules.deadline) if ends_at is None else ends_at
    try:
        return watch.saw(client.send(watch.call, deadline=ends))
    except TinybirdError as e:
        outcome = watch.failed(e)
        if outcome and is_not_found(e) and watch.job_id:
            logged = _in_log(watch.job_id, lambda call: client.send(call, deadline=ends))
            return watch.saw(logged) if logged else outcome
        return outcome


async def look_async(client: AsyncClient, watch: Watch) -> Outcome | None:
    """Look at a job once, from an event loop; returns the outcome once there is one."""
    ends = deadlines.looks_end(watch.rules.deadline)
    try:
        async with deadlines.within(ends):
            return watch.saw(await client.send(watch.call, deadline=ends))
    except TimeoutError:
        return watch.failed(ConnectionFailedError("The look had not ended by the deadline.", sent=True, timed_out=True))
    except TinybirdError as e:
        outcome = watch.failed(e)
        if outcome and is_not_found(e) and watch.job_id:
            with suppress(TinybirdError, TimeoutError):
                async with deadlines.within(ends):
                    logged = await client.send(jobs_api.get_job_from_log(watch.job_id), deadline=ends)
                if logged and logged.id == watch.job_id:
                    return watch.saw(logged)
        return outcome


def find(client: Client, job_id: str, *, deadline: float, sleep: Callable[[float], None] = time.sleep) -> Job | None:
    """Look for a job of which all that matters is whether there is one: again and again, and in ``tinybird.jobs_log``.

    :param deadline: moment (seconds since the epoch) at which the search is over.
    :return: the job; ``None`` when Tinybird says that it does not know it.
    :raises TinybirdError: it could not be looked at.
    """
    ends = deadlines.looks_end(deadline)
    for pause in FIND_PAUSES:
        sleep(min(pause, max(0.0, ends - time.monotonic())))
        try:
            return client.send(jobs_api.get_job(job_id), deadline=ends)
        except NotFoundError as e:
            if not is_not_found(e):
                raise
    return _in_log(job_id, lambda call: client.send(call, deadline=ends))


def _in_log(job_id: str, send: Callable[[Call[Job | None]], Job | None]) -> Job | None:
    with suppress(TinybirdError):  # few tokens may read it
        logged = send(jobs_api.get_job_from_log(job_id))
        return logged if logged and logged.id == job_id else None
    return None


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
        pause = watch.pause(max(SHORTEST_PAUSE, watched))
        if patience is not None:
            if watched >= patience or (watch.must_wait and pause > patience - watched):
                return None
            pause = min(pause, patience - watched)
        time.sleep(pause)


async def watch_job_async(client: AsyncClient, watch: Watch) -> Outcome:
    """Look at a job until it is over, from an event loop. It pauses first: the caller has just polled."""
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


def cancel(client: Client, job_id: str, *, ends_at: float | None = None) -> str:
    """Ask Tinybird to cancel a job; never raises, since a refusal is an expected answer, and never takes long.

    :param ends_at: moment of ``time.monotonic()`` at which it has to be over; by default in some seconds.
    :return: what became of it, one sentence.
    """
    answer: Job | TinybirdError
    try:
        ends = deadlines.closing_ends() if ends_at is None else ends_at
        answer = client.send(jobs_api.cancel_job(job_id), deadline=ends)
    except TinybirdError as e:
        answer = e
    return describe_cancel(answer, job_id)


def cancel_all(client: Client, job_ids: Sequence[str]) -> list[str]:
    """Ask Tinybird to cancel several jobs, one after the other, in the time for one; see :func:`cancel`.

    Each gets its share of the time that is left: a server that does not answer must not use up all of it for the first job.
    """
    ends, said = deadlines.closing_ends(), []
    for index, job_id in enumerate(job_ids):
        share = (ends - time.monotonic()) / (len(job_ids) - index)
        said.append(cancel(client, job_id, ends_at=time.monotonic() + max(0.0, share)))
    return said


async def cancel_async(client: AsyncClient, job_id: str) -> str:
    """Ask Tinybird to cancel a job, from an event loop; see :func:`cancel`."""
    answer: Job | TinybirdError
    ends = deadlines.closing_ends()
    try:
        async with deadlines.within(ends):
            answer = await client.send(jobs_api.cancel_job(job_id), deadline=ends)
    except TimeoutError:
        answer = ConnectionFailedError("There was no answer in time.", sent=True, timed_out=True)
    except TinybirdError as e:
        answer = e
    return describe_cancel(answer, job_id)


def _about(job: Job) -> str:
    if job.pipe:
        return f"pipe '{job.pipe}'"
    return f"data source '{job.datasource}'" if job.datasource else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "]")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
