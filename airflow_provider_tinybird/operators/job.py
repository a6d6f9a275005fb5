"""What the operators share that start a job: submit it once, wait, cancel, say how it ended."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from airflow_provider_tinybird._compat import conf, task_state_store
from airflow_provider_tinybird.api.answers import is_quota_text
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import JobLostError, JobOutOfSightError, JobQuotaError, TinybirdError
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.api.wording import duration, rows
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.jobs import outcome as outcomes
from airflow_provider_tinybird.jobs import slots
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.jobs.start import OnUnknown, Started, Submitter
from airflow_provider_tinybird.jobs.submissions import Submission
from airflow_provider_tinybird.operators.base import clear_failure, memory_of, seconds
from airflow_provider_tinybird.operators.writers import TinybirdWriterOperator
from airflow_provider_tinybird.policies.row_counts import RowCounts
from airflow_provider_tinybird.policies.target_rows import Before, Written
from airflow_provider_tinybird.timespans import deadlines
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger
from airflow_provider_tinybird.triggers.slots import TinybirdSlotTrigger

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context

INLINE_SECONDS = 5.0
"""How long a deferrable task watches its job itself before it defers: what is over by then costs no trigger, and a
trigger that fires within seconds of the deferral can make some Airflow versions fail the task."""

TRIGGER_SLACK = timedelta(minutes=2)
"""How much later than our own deadline Airflow's own timeout of the deferral comes: it fails the task without
cancelling."""

BOUNCES = 3
"""How often a task whose trigger could not look goes back to the triggerer, having looked itself. Then it waits in the worker."""

CANCEL_POLICY = RetryPolicy(max_retries=1, total=10.0)


_BEFORE = "target"
"""Name of what was found in the target, among the facts that a deferral and a retry keep."""


class TinybirdJobsOperator(TinybirdWriterOperator):
    """Base of the operators that start jobs, one at a time: its life from the start to the end.

    :param deferrable: wait in the triggerer, without holding a worker slot.
    :param poll_interval: seconds (or a timedelta) between two looks at the job.
    :param timeout: seconds (or a timedelta) that the job may take, its wait in Tinybird's queue included; then it is
        cancelled and the task fails.
    :param cancel_on_kill: cancel the job when the task is killed or its timeout is over. While deferred this needs
        Airflow 3.3 or later.
    :param durable: a retry takes up the job that an earlier attempt started instead of starting another. A cleared task
        runs afresh. On Airflow 3.3 and later the task remembers its job; below, Tinybird's list of jobs is
        searched, and a task that is cleared while it runs counts as retried.
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
        self._cancelled_job_ids: set[str] = set()
        self._retry_is_safe = False
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
        self._cancelled_job_ids.add(job_id)
        # A client of its own: the signal may have interrupted the other one while it held a lock.
        with Client(self.hook.settings, policy=CANCEL_POLICY) as client:
            self.log.info("%s", jobs.cancel(client, job_id))

    @cached_property
    def hook(self) -> TinybirdHook:
        """The hook for the connection. None of its calls outlives the task."""
        hook = super().hook
        hook.until(time.time() + self._timeout())
        return hook

    def _closes(self) -> None:
        """Let what comes after a job, such as counts, end soon after the deadline; where that is over, in some seconds."""
        self.hook.until(max(self._deadline, time.time()) + deadlines.CLOSING)

    def _submitter(self, context: Context) -> Submitter:
        memory = memory_of(context, int(self.retries or 0), durable=self.durable)
        return Submitter(client=self.hook.client, memory=memory, on_unknown=OnUnknown.parse(self.on_unknown))

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
        return outcomes.job_or_error(outcome, note=note, retry_is_safe=self._retry_is_safe)

    def is_idempotent(self) -> bool:
        """Tell whether a retry that does all of it again leaves what doing it once leaves."""
        return False

    def found(
        self, context: Context, event: Any, rules: jobs.Rules, go_back: GoBack, *, bounces: int
    ) -> outcomes.Outcome:
        """Read what the trigger found; where it lost sight of the job, look from here.

        A triggerer may lack what a worker has: a connection, a secrets backend, a way through the network.

        :param go_back: defers again.
        :param bounces: how often that was done.
        """
        # on_kill runs inside a signal handler, where the connection can no longer be looked up.
        outcome = outcomes.Outcome.from_payload(event)
        if outcome.ending is not outcomes.Ending.LOST or not outcome.job_id:
            return outcome
        self._retry_is_safe = (self.durable and task_state_store(context) is not None) or self.is_idempotent()
        self.log.warning(
            "%s Looking from the worker, with connection '%s' read again. If only workers can read or use it, set deferrable=False.",
            *(outcome.message, self.tinybird_conn_id),
        )
        try:
            self._settings = self.hook.settings
        except Exception as e:
            raise self._out_of_sight(outcome, e) from e
        self._running_job_id = outcome.job_id
        watch = jobs.Watch(outcome.job_id, rules, cancelled=self._cancelled_job_ids)
        patience = min(INLINE_SECONDS, rules.poll_interval) if self.deferrable and bounces < BOUNCES else None
        seen = jobs.watch_job(self.hook.client, watch, patience=patience)
        if seen is None:
            go_back(watch.told, bounces + 1)
            raise AssertionError("defer() returned")
        return seen

    def _out_of_sight(self, outcome: outcomes.Outcome, cause: Exception) -> TinybirdError:
        message = f"{outcome.message} Nor can the worker look: {redact(f'{type(cause).__name__}: {cause}')}"
        return (JobOutOfSightError if self._retry_is_safe else JobLostError)(message)


class GoBack(Protocol):
    """Defers a task once more."""

    def __call__(self, told: str, bounces: int) -> None:
        """Defer.

        :param told: status of the job that the log has already told.
        :param bounces: how often this was done.
        """


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

    _writes = False
    """Whether the job writes rows to a data source, so that its target is judged, also where nobody looked before it."""

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

    def target_before(self) -> Before | None:
        """Count the rows of the data source that the job is about to write to; ``None`` where it writes rows to none."""
        return None

    def written(self, job: Job, counts: RowCounts | None) -> Written:
        """Say what a job wrote which is done, for the judgement of its target.

        :param counts: what ``row_counts`` returned.
        """
        return Written(what=str(job), rows=counts.rows if counts else None, job_ids=frozenset({job.id}))

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the job, once, and wait until it is over, here or in the triggerer."""
        with clear_failure():
            return self._run(context, self._rules())

    def is_idempotent(self) -> bool:
        """Ask the submission."""
        return self.submission().is_idempotent

    def execute_again(
        self, context: Context, event: Any = None, *, deadline: float | None = None, started_at: float | None = None
    ) -> dict[str, Any]:
        """Try again to start the job after the wait for a free slot; only workers submit.

        :param deadline: kept by Airflow for tasks that an older version deferred, as are all arguments behind the event.
        """
        with clear_failure():
            left = outcomes.left_before(event, deadline=deadline, started_at=started_at)
            self.log.info("Trying again to start the job: %s", slots.SlotEvent.from_payload(event).message)
            return self._run(context, self._rules(deadline=left.get("deadline"), started_at=left.get("started_at")))

    def execute_complete(
        self, context: Context, event: Any = None, facts: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Take up what the trigger found.

        :param facts: kept by Airflow for tasks that an older version deferred.
        """
        with clear_failure():
            left = outcomes.left_before(event, facts=facts)
            rules = self._rules_after(event, left)
            facts = left.get("facts") or {}

            def go_back(told: str, bounces: int) -> None:
                job = outcomes.Outcome.from_payload(event).as_job()
                self._defer(job, rules, told=told, facts=facts, bounces=bounces)

            outcome = self.found(context, event, rules, go_back, bounces=int(left.get("bounces") or 0))
            self.resume_link(outcome.as_job(), outcome.waited)
            if self._found_no_slot(outcome):
                self._wait_for_slot(outcome.message, self.submission(), rules)
                return self._run(context, rules)
            return self._finish(outcome, facts)

    def _rules_after(self, event: Any, left: Mapping[str, Any]) -> jobs.Rules:
        """Make the rules again; where an older version left no deadline, by what its event says of the time."""
        if left.get("deadline") is not None:
            return self._rules(deadline=left["deadline"], started_at=left.get("started_at"))
        began = time.time() - outcomes.Outcome.from_payload(event).waited
        return self._rules(deadline=began + self._timeout(), started_at=began)

    def _run(self, context: Context, rules: jobs.Rules) -> dict[str, Any]:
        submission = self.submission()
        # on_kill runs inside a signal handler, where the connection can no longer be looked up.
        self._settings = self.hook.settings
        self.tell(submission.call.what, **submission.request)
        while True:
            try:
                submitter = replace(self._submitter(context), before_submit=self._look_before)
                self._retry_is_safe = submitter.memory.exists or submission.is_idempotent
                started = submitter.start(submission, deadline=rules.deadline)
            except JobQuotaError as e:
                self._wait_for_slot(str(e), submission, rules, cause=e)
                continue
            self.leave_link(context, started.job)
            outcome = self._watch(started, rules)
            if outcome is None:
                self._running_job_id = None
                return self.job_result(started.job) | _shown(started.facts)
            if not self._found_no_slot(outcome):
                return self._finish(outcome, started.facts)
            self._wait_for_slot(outcome.message, submission, rules)

    def _look_before(self, earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Ask the subclass, and count what is in the target: what is written is judged by that, where somebody waits for it."""
        facts = self.before_submit(earlier)
        before = self.target_before() if self.wait_for_completion else None
        return facts if before is None else {**facts, _BEFORE: before.as_json()}

    def _watch(self, started: Started, rules: jobs.Rules) -> outcomes.Outcome | None:
        """Wait for the job; ``None`` when nobody wants to wait."""
        job = started.job
        self._running_job_id = job.id
        if not started.is_reattached:  # else that was said
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
        watch = jobs.Watch(job.id, rules, told=job.status_text, cancelled=self._cancelled_job_ids)
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
                resume={"deadline": rules.deadline, "started_at": rules.started_at},
            ),
            method_name="execute_again",
            timeout=timedelta(seconds=left) + TRIGGER_SLACK,
        )

    def _defer(self, job: Job, rules: jobs.Rules, *, told: str, facts: Mapping[str, Any], bounces: int = 0) -> NoReturn:
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
                resume={
                    "deadline": rules.deadline,
                    "started_at": rules.started_at,
                    "facts": dict(facts),
                    "bounces": bounces,
                },
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=left) + TRIGGER_SLACK,
        )
        raise AssertionError("defer() returned")

    def _finish(self, outcome: outcomes.Outcome, facts: Mapping[str, Any]) -> dict[str, Any]:
        job = self._job_done(outcome)
        counts = self.row_counts(job)
        wrote = f" It wrote {rows(counts.rows)}." if counts and counts.rows is not None else ""
        self.log.info("Done: %s, after %s.%s", job, duration(outcome.waited), wrote)
        result = self.job_result(job) | self.facts_after(job, facts)
        if counts is not None:
            self.check_rows(job, counts)
            result |= counts.as_xcom()
        if _BEFORE in facts or self._writes:
            self.judge_target(Before.from_json(facts.get(_BEFORE)), self.written(job, counts))
        return result


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != _BEFORE}


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
