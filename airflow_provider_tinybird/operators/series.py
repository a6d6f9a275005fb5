"""What the operators share that start several jobs, one after the other: the pace, and the deferral in between."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird.api.errors import JobQuotaError, RateLimitedError, TinybirdError
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.jobs import slots
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.jobs.outcome import Ending, Outcome, left_before
from airflow_provider_tinybird.jobs.start import Started, Submitter
from airflow_provider_tinybird.jobs.submissions import Submission
from airflow_provider_tinybird.operators.job import INLINE_SECONDS, TRIGGER_SLACK, TinybirdJobsOperator
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context

IMPORTS_PER_MINUTE = 5
"""Calls that bring data which Tinybird takes in a minute, for a whole workspace."""

_WINDOW = 60.0


class JobBeforeError(TinybirdError):
    """A job that has to end before this task sends anything did not end in time."""


class ImportPace:
    """Keeps the calls of one task within the quota.

    :param per_minute: calls in a minute.
    """

    def __init__(self, per_minute: int) -> None:
        self._times: deque[float] = deque(maxlen=max(1, per_minute))

    def wait(self, until: float) -> None:
        """Wait until another call is within the quota, and count it.

        :param until: moment (seconds since the epoch) at which the wait is over anyway.
        """
        if len(self._times) == self._times.maxlen:
            time.sleep(max(0.0, min(self._times[0] + _WINDOW - time.monotonic(), until - time.time())))
        self._times.append(time.monotonic())


class TinybirdSeriesOperator(TinybirdJobsOperator):
    """Base of the operators that start several jobs, one after the other.

    A deferral ends the process, so what comes after it starts from what ``execute_complete`` is given.

    The parameters are those of :class:`~airflow_provider_tinybird.operators.job.TinybirdJobsOperator`; ``timeout`` is for all jobs
    together.
    """

    def start_job(self, submitter: Submitter, submission: Submission, rules: jobs.Rules) -> Started:
        """Start a job, once; where the quota is used up or no slot is free, that is a wait."""
        while True:
            try:
                started = submitter.start(submission, deadline=rules.deadline)
            except (JobQuotaError, RateLimitedError) as e:
                left = rules.deadline - time.time()
                if left <= 0:
                    raise slots.no_slot(str(e), rules.deadline - rules.started_at) from e
                pause = max(slots.pause(left), min(e.answer.retry_after or 0.0, left))
                self.log.info("Tinybird takes no more such calls for now; trying again in %.0f s. %s", pause, e)
                time.sleep(pause)
                continue
            self._running_job_id = started.job.id
            self._retry_is_safe = submitter.memory.exists or self.is_idempotent()
            return started

    def resumed(
        self, context: Context, event: Any, **kept_by_airflow: Any
    ) -> tuple[dict[str, Any], jobs.Rules, Outcome]:
        """Come back from the triggerer; tells what was left for now, and what became of the job.

        :param kept_by_airflow: what Airflow kept for a task that an older version deferred; the event wins.
        :raises InvalidInputError: nothing was left.
        """
        left = left_before(event, needs="state", **kept_by_airflow)
        # on_kill runs inside a signal handler, where the connection can no longer be looked up.
        rules = self._rules(deadline=left.get("deadline"), started_at=left.get("started_at"))
        began = float(left.get("began_at") or rules.started_at)

        def go_back(told: str, bounces: int) -> None:
            job = Outcome.from_payload(event).as_job()
            self._defer(Started(job, began, rules.deadline), rules, left["state"], bounces=bounces, told=told)

        outcome = self.found(
            context,
            event,
            jobs.Rules(poll_interval=rules.poll_interval, deadline=rules.deadline, started_at=began),
            go_back,
            bounces=int(left.get("bounces") or 0),
        )
        self._settings = self.hook.settings
        self.resume_link(outcome.as_job(), outcome.waited)
        return left["state"], rules, outcome

    def let_end(self, job: Job, rules: jobs.Rules) -> None:
        """Wait until a job is over that is not this task's: it is never cancelled.

        :raises JobBeforeError: it is not known to be over.
        """
        outcome = jobs.watch_job(self.hook.client, jobs.Watch(job.id, rules))
        if outcome is not None and outcome.ending in (Ending.TIMEOUT, Ending.LOST):
            raise JobBeforeError(
                f"Nothing was sent: {job} has to end first, and is not this task's to cancel. {outcome.message} Wait for it or cancel it, "
                "then run the task again; or give it a longer timeout."
            )

    def wait_for_job(
        self, started: Started, rules: jobs.Rules, state: dict[str, Any], *, patience: float = INLINE_SECONDS
    ) -> Job:
        """Wait until a job is done, here or in the triggerer.

        :param state: small JSON that ``resumed`` returns after a deferral.
        :param patience: seconds to wait here before a deferral.
        :raises JobError: it did not end well.
        """
        watch = jobs.Watch(started.job.id, self.rules_of(started, rules), cancelled=self._cancelled_job_ids)
        outcome = jobs.watch_job(self.hook.client, watch, patience=patience if self.deferrable else None)
        if outcome is not None:
            return self._job_done(outcome)
        self._defer(started, rules, state)
        raise AssertionError("defer() returned")

    def _defer(
        self, started: Started, rules: jobs.Rules, state: dict[str, Any], *, bounces: int = 0, told: str = ""
    ) -> None:
        self.log.info("Waiting for %s in the triggerer.", started.job)
        self.defer(
            trigger=TinybirdJobTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                job_id=started.job.id,
                poll_interval=rules.poll_interval,
                deadline=rules.deadline,
                started_at=started.began_at,
                cancel_on_kill=self.cancel_on_kill,
                told=told,
                resume={
                    "state": state,
                    "deadline": rules.deadline,
                    "started_at": rules.started_at,
                    "began_at": started.began_at,
                    "bounces": bounces,
                },
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, rules.deadline - time.time())) + TRIGGER_SLACK,
        )

    def rules_of(self, started: Started, rules: jobs.Rules) -> jobs.Rules:
        """Make the rules for one job out of those for all."""
        return jobs.Rules(poll_interval=rules.poll_interval, deadline=rules.deadline, started_at=started.began_at)
