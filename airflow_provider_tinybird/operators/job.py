"""What the operators share that start a job: submit it once, wait, cancel, say how it ended."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_tinybird import deadlines, jobs, outcomes, slots
from airflow_provider_tinybird._compat import conf
from airflow_provider_tinybird.api.answers import is_quota_text
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import JobQuotaError
from airflow_provider_tinybird.api.job import Job
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.counts import RowCounts
from airflow_provider_tinybird.durable import OnUnknown, Started, Starter
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.base import TinybirdOperator, clear_failure, memory_of, seconds
from airflow_provider_tinybird.submissions import Submission
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger
from airflow_provider_tinybird.triggers.slots import TinybirdSlotTrigger
from airflow_provider_tinybird.wording import duration, rows

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context

INLINE_SECONDS = 5.0
"""How long a deferrable task watches its job itself before it defers: what is over by then costs no trigger, and a
trigger that fires within seconds of the deferral can make some Airflow versions fail the task."""

TRIGGER_SLACK = timedelta(minutes=2)
"""How much later than our own deadline Airflow's own timeout of the deferral comes: it fails the task without
cancelling."""

CANCEL_POLICY = RetryPolicy(max_retries=1, total=10.0)


class TinybirdJobsOperator(TinybirdOperator):
    """Base of the operators that start jobs, one at a time: its life from the start to the end.

    :param deferrable: wait in the triggerer, without holding a worker slot.
    :param poll_interval: seconds (or a timedelta) between two looks at the job.
    :param timeout: seconds (or a timedelta) that the job may take, its wait in Tinybird's queue included; then it is
        cancelled and the task fails.
    :param cancel_on_kill: cancel the job when the task is killed or its timeout is over. While deferred this needs
        Airflow 3.3 or later.
    :param durable: a retry takes up the job that an earlier attempt started instead of starting another. A cleared task
        always runs afresh. On Airflow 3.3 and later the task remembers its job; below, Tinybird's list of jobs is
        searched.
    :param on_unknown: what to do when it cannot be told whether a job was started, and another could double data:
        ``fail`` (and not be retried by Airflow), or ``resubmit``.
    """

    _starts_job = True

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = jobs.POLL_INTERVAL,
        timeout: float | timedelta = jobs.TIMEOUT,
        cancel_on_kill: bool = True,
        durable: bool = True,
        on_unknown: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self.durable = durable
        self.on_unknown = on_unknown
        self._settings: Settings | None = None
        self._running_job_id: str | None = None
        self._deadline = 0.0

    @abstractmethod
    def execute(self, context: Context) -> dict[str, Any]:
        """Start the job, or the jobs, and wait until they are over."""

    def on_kill(self) -> None:
        """Cancel this task's job, and no other."""
        job_id, settings = self._running_job_id, self._settings
        if job_id is None or settings is None:
            return
        if not self.cancel_on_kill:
            self.log.info("Job %s goes on running: cancel_on_kill is off.", job_id)
            return
        # A client of its own: the signal may have interrupted the other one while it held a lock.
        with Client(settings, policy=CANCEL_POLICY) as client:
            self.log.info("%s", jobs.cancel(client, job_id))

    @cached_property
    def hook(self) -> TinybirdHook:
        """The hook for the connection. None of its calls outlives the task, whoever sends it."""
        hook = super().hook
        hook.until(time.time() + self._timeout())
        return hook

    def _closes(self) -> None:
        """Let what comes after a job, such as counts, end soon after the deadline; where that is over, in some seconds."""
        self.hook.until(max(self._deadline, time.time()) + deadlines.CLOSING)

    def _starter(self, context: Context) -> Starter:
        memory = memory_of(context, int(self.retries or 0), durable=self.durable)
        return Starter(client=self.hook.client, memory=memory, on_unknown=OnUnknown.parse(self.on_unknown))

    def _found_no_slot(self, outcome: outcomes.Outcome) -> bool:
        """Tell whether the job failed only because as many of its kind were running as the plan allows."""
        return outcome.ending is outcomes.Ending.FAILED and is_quota_text(outcome.message)

    def _timeout(self) -> float:
        timeout = seconds(self.timeout, "timeout")
        # Airflow does not enforce execution_timeout while a task is deferred, so it counts here as well.
        if self.deferrable and self.execution_timeout is not None:
            timeout = min(timeout, self.execution_timeout.total_seconds())
        return timeout

    def _rules(self, *, deadline: float | None = None, started_at: float | None = None) -> jobs.Rules:
        now = time.time() if started_at is None else started_at
        rules = jobs.Rules(
            poll_interval=seconds(self.poll_interval, "poll_interval"),
            deadline=now + self._timeout() if deadline is None else deadline,
            started_at=now,
        )
        self._deadline = rules.deadline
        self.hook.until(rules.deadline)
        return rules

    def _job_done(self, outcome: outcomes.Outcome) -> Job:
        """Return the job if it is done; raise the right error, having cancelled it on its timeout, if it is not."""
        note = ""
        if outcome.ending is outcomes.Ending.TIMEOUT and self.cancel_on_kill:
            note = jobs.cancel(self.hook.client, outcome.job_id)
        self._running_job_id = None
        self._closes()
        return outcomes.job_or_error(outcome, note=note)


class TinybirdJobOperator(TinybirdJobsOperator):
    """Base of the operators that start a job and are green only when it is done.

    :param wait_for_completion: wait until the job is over. Without it the task is green when the job is queued, and
        returns its id for :class:`~airflow_provider_tinybird.sensors.jobs.TinybirdJobSensor`.

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.job.TinybirdJobsOperator`.
    """

    def __init__(self, *, wait_for_completion: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion

    @abstractmethod
    def submission(self) -> Submission:
        """Describe what is to be started."""

    @abstractmethod
    def job_result(self, job: Job) -> dict[str, Any]:
        """Make what the task returns: small JSON with Tinybird's own keys."""

    def row_counts(self, job: Job) -> RowCounts | None:  # noqa: ARG002
        """Count the rows that the job wrote, where that can be told."""
        return None

    def before_submit(self, earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:  # noqa: ARG002
        """Look before the job is submitted: raise where it must not be, else return small JSON to remember.

        Not asked where a job of an earlier attempt is taken up.

        :param earlier: ``None`` on a first attempt; else what it returned in the attempt before, which may have done its work.
        """
        return {}

    def facts_after(self, job: Job, facts: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Make what the task returns beside the job's result: what was found before it, and what is found after.

        :param facts: what ``before_submit`` returned.
        """
        return {}

    def check_rows(self, job: Job, counts: RowCounts) -> None:
        """Look at the rows that a job wrote which is done; raises where they are not as they should be."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the job, once, and wait until it is over, here or in the triggerer."""
        with clear_failure():
            return self._run(context, self._rules())

    def execute_again(
        self, context: Context, event: Any = None, *, deadline: float, started_at: float
    ) -> dict[str, Any]:
        """Try again to start the job after the wait for a free slot; only workers submit."""
        with clear_failure():
            self.log.info("Trying again to start the job: %s", slots.SlotEvent.from_payload(event).message)
            return self._run(context, self._rules(deadline=deadline, started_at=started_at))

    def execute_complete(
        self, context: Context, event: Any = None, facts: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Take up what the trigger found."""
        with clear_failure():
            outcome = outcomes.Outcome.from_payload(event)
            self.resume_link(outcome.as_job(), outcome.waited)
            if self._found_no_slot(outcome):
                now = time.time()
                rules = self._rules(deadline=now - outcome.waited + self._timeout(), started_at=now - outcome.waited)
                self._wait_for_slot(outcome.message, self.submission(), rules)
                return self._run(context, rules)
            # By what the event says; the time until this task was resumed is not in it.
            self._deadline = time.time() - outcome.waited + self._timeout()
            return self._finish(outcome, facts or {})

    def _run(self, context: Context, rules: jobs.Rules) -> dict[str, Any]:
        submission = self.submission()
        # on_kill runs inside a signal handler, where the connection can no longer be looked up.
        self._settings = self.hook.settings
        self.tell(submission.call.what, **submission.request)
        while True:
            try:
                starter = replace(self._starter(context), before_submit=self.before_submit)
                started = starter.start(submission, deadline=rules.deadline)
            except JobQuotaError as e:
                self._wait_for_slot(str(e), submission, rules, cause=e)
                continue
            self.leave_link(context, started.job)
            outcome = self._watch(started, rules)
            if outcome is None:
                self._running_job_id = None
                return self.job_result(started.job) | dict(started.facts)
            if not self._found_no_slot(outcome):
                return self._finish(outcome, started.facts)
            self._wait_for_slot(outcome.message, submission, rules)

    def _watch(self, started: Started, rules: jobs.Rules) -> outcomes.Outcome | None:
        """Wait for the job; ``None`` when nobody wants to wait."""
        job = started.job
        self._running_job_id = job.id
        self.log.info("Tinybird accepted %s: it is %s.", job, job.status_text or "queued")
        if not self.wait_for_completion:
            return None
        self._deadline = started.deadline
        rules = jobs.Rules(
            poll_interval=rules.poll_interval,
            deadline=started.deadline,
            started_at=min(started.began_at, rules.started_at),
        )
        patience = min(INLINE_SECONDS, rules.poll_interval) if self.deferrable else None
        watch = jobs.Watch(job.id, rules, told=job.status_text)
        outcome = jobs.watch_job(self.hook.client, watch, patience=patience)
        if outcome is None:
            self._defer(job, rules, told=watch.told, facts=started.facts)
        return outcome

    def _wait_for_slot(
        self, why: str, submission: Submission, rules: jobs.Rules, *, cause: Exception | None = None
    ) -> None:
        """Wait a while before the next try to start the job, without holding a worker slot where the task is
        deferrable.
        """
        self._running_job_id = None
        left = rules.deadline - time.time()
        if left <= 0:
            raise slots.no_slot(why, rules.deadline - rules.started_at) from cause
        if not self.deferrable:
            pause = slots.pause(left)
            self.log.info("No free slot for the job; trying again in %.0f s. %s", pause, why)
            time.sleep(pause)
            return
        self.log.info("No free slot for the job; waiting for one in the triggerer. %s", why)
        self.defer(
            trigger=TinybirdSlotTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                kind=submission.kind,
                until=time.time() + slots.pause(left),
                poll_interval=rules.poll_interval,
            ),
            method_name="execute_again",
            kwargs={"deadline": rules.deadline, "started_at": rules.started_at},
            timeout=timedelta(seconds=left) + TRIGGER_SLACK,
        )

    def _defer(self, job: Job, rules: jobs.Rules, *, told: str, facts: Mapping[str, Any]) -> NoReturn:
        self.log.info("Waiting for %s in the triggerer.", job)
        left = max(0.0, rules.deadline - time.time())
        self.defer(
            trigger=TinybirdJobTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                job_id=job.id,
                poll_interval=rules.poll_interval,
                deadline=rules.deadline,
                started_at=rules.started_at,
                told=told,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name="execute_complete",
            kwargs={"facts": dict(facts)} if facts else None,
            timeout=timedelta(seconds=left) + TRIGGER_SLACK,
        )
        raise AssertionError("defer() returned")

    def _finish(self, outcome: outcomes.Outcome, facts: Mapping[str, Any]) -> dict[str, Any]:
        job = self._job_done(outcome)
        counts = self.row_counts(job)
        wrote = f" It wrote {rows(counts.rows)}." if counts and counts.rows is not None else ""
        self.log.info("Done: %s, after %s.%s", job, duration(outcome.waited), wrote)
        result = self.job_result(job) | self.facts_after(job, facts)
        if counts is None:
            return result
        self.check_rows(job, counts)
        return result | counts.as_xcom()


def job_xcom(job: Job) -> dict[str, Any]:
    """Make what every job puts into XCom."""
    return {"job_id": job.id, "status": job.status_text, "job": outcomes.small_json(job.raw)}


def import_xcom(job: Job, base_url: str) -> dict[str, Any]:
    """Make what an import puts into XCom.

    The address is built here: the one in Tinybird's answers names a host inside the container on Tinybird Local.
    """
    return {
        "id": job.id,
        "import_id": str(job.raw.get("import_id") or job.id),
        **job_xcom(job),
        "job_url": f"{base_url}/v0/jobs/{job.id}",
        "datasource": outcomes.small_json(job.raw.get("datasource")),
    }
