"""What the operators share: the hook, clear failures, and the life of a job."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird import jobs
from airflow_provider_tinybird._compat import AirflowFailException, BaseOperator, conf
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.job import Job
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings, SettingsError
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context

INLINE_SECONDS = 5.0
"""How long a deferrable task watches its job itself before it defers: what is over by then costs no trigger, and a
trigger that fires within seconds of the deferral can make some Airflow versions fail the task."""

TRIGGER_SLACK = timedelta(minutes=2)
"""How much later than our own deadline Airflow's own timeout of the deferral comes: it fails the task without
cancelling.
"""

_CANCEL_SETTINGS = RetryPolicy(max_retries=1, total=10.0)


def seconds(value: float | timedelta, name: str) -> float:
    """Read a length of time.

    :param value: seconds, or a timedelta.
    :param name: the argument's name, for the message.
    :raises InvalidInputError: it is not positive.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not number > 0:
        raise InvalidInputError(f"{name}={value!r} is no length of time: give seconds above 0, or a timedelta.")
    return number


@contextmanager
def clear_failure() -> Iterator[None]:
    """Let Airflow retry only what trying again can help; the rest fails at once, whatever ``retries`` says."""
    try:
        yield
    except SettingsError as e:
        raise AirflowFailException(str(e)) from e
    except TinybirdError as e:
        if e.retry_can_help:
            raise
        raise AirflowFailException(str(e)) from e


class TinybirdOperator(BaseOperator):
    """Base of the operators.

    :param tinybird_conn_id: id of a connection of type ``tinybird`` (templated).
    """

    template_fields: Sequence[str] = ("tinybird_conn_id",)
    ui_color = "#27f795"
    ui_fgcolor = "#25283d"

    def __init__(self, *, tinybird_conn_id: str = TinybirdHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tinybird_conn_id = tinybird_conn_id

    @cached_property
    def hook(self) -> TinybirdHook:
        """The hook for the connection."""
        return TinybirdHook(self.tinybird_conn_id)


class TinybirdJobOperator(TinybirdOperator):
    """Base of the operators that start a job and are green only when it is done.

    :param wait_for_completion: wait until the job is over. Without it the task is green when the job is queued, and
        returns its id for :class:`~airflow_provider_tinybird.sensors.jobs.TinybirdJobSensor`.
    :param deferrable: wait in the triggerer, without holding a worker slot.
    :param poll_interval: seconds (or a timedelta) between two looks at the job.
    :param timeout: seconds (or a timedelta) that the job may take, its wait in Tinybird's queue included; then it is
        cancelled and the task fails.
    :param cancel_on_kill: cancel the job when the task is killed or its timeout is over. While deferred this needs
        Airflow 3.3 or later.
    """

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = jobs.POLL_INTERVAL,
        timeout: float | timedelta = jobs.TIMEOUT,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self._settings: Settings | None = None
        self._running_job_id: str | None = None

    @abstractmethod
    def start_job(self) -> Job:
        """Start the job and return it as Tinybird described it."""

    @abstractmethod
    def job_result(self, job: Job) -> dict[str, Any]:
        """Make what the task returns: small JSON with Tinybird's own keys."""

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Start the job and wait until it is over, here or in the triggerer."""
        with clear_failure():
            rules = self._rules()
            # on_kill runs inside a signal handler, where the connection can no longer be looked up.
            self._settings = self.hook.settings
            job = self.start_job()
            self._running_job_id = job.id
            self.log.info("Tinybird accepted %s: it is %s.", job, job.status_text or "queued")
            if not self.wait_for_completion:
                self._running_job_id = None
                return self.job_result(job)
            patience = min(INLINE_SECONDS, rules.poll_interval) if self.deferrable else None
            outcome = jobs.watch_job(self.hook.client, jobs.Watch(job.id, rules), patience=patience)
            if outcome is not None:
                return self._finish(outcome)
            self._defer(job, rules)
            raise AssertionError("defer() returned")

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """Take up what the trigger found."""
        with clear_failure():
            return self._finish(jobs.Outcome.from_payload(event))

    def on_kill(self) -> None:
        """Cancel this task's job, and no other."""
        job_id, settings = self._running_job_id, self._settings
        if job_id is None or settings is None:
            return
        if not self.cancel_on_kill:
            self.log.info("Job %s goes on running: cancel_on_kill is off.", job_id)
            return
        # A client of its own: the signal may have interrupted the other one while it held a lock.
        with Client(settings, policy=_CANCEL_SETTINGS) as client:
            self.log.info("%s", jobs.cancel(client, job_id))

    def _rules(self) -> jobs.Rules:
        timeout = seconds(self.timeout, "timeout")
        # Airflow does not enforce execution_timeout while a task is deferred, so it counts here as well.
        if self.deferrable and self.execution_timeout is not None:
            timeout = min(timeout, self.execution_timeout.total_seconds())
        return jobs.Rules.starting_now(timeout=timeout, poll_interval=seconds(self.poll_interval, "poll_interval"))

    def _defer(self, job: Job, rules: jobs.Rules) -> None:
        self.log.info("Waiting for %s in the triggerer.", job)
        self.defer(
            trigger=TinybirdJobTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                job_id=job.id,
                poll_interval=rules.poll_interval,
                deadline=rules.deadline,
                started_at=rules.started_at,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=rules.deadline - rules.started_at) + TRIGGER_SLACK,
        )

    def _finish(self, outcome: jobs.Outcome) -> dict[str, Any]:
        note = ""
        if outcome.ending is jobs.Ending.TIMEOUT and self.cancel_on_kill:
            note = jobs.cancel(self.hook.client, outcome.job_id)
        self._running_job_id = None
        job = jobs.job_or_error(outcome, note=note)
        self.log.info("Done: %s, after %.1f s.", job, outcome.waited)
        if job.quarantine_rows or job.invalid_lines:
            self.log.warning(
                "%s rows of %s went to quarantine and %s lines could not be read: see data source '%s_quarantine'.",
                job.quarantine_rows or 0,
                job,
                job.invalid_lines or 0,
                job.datasource,
            )
        return self.job_result(job)


def job_xcom(job: Job) -> dict[str, Any]:
    """Make what every job puts into XCom."""
    return {"job_id": job.id, "status": job.status_text, "job": jobs.small_json(job.raw)}


def import_xcom(job: Job, base_url: str) -> dict[str, Any]:
    """Make what an import puts into XCom.

    The address is built here: the one in Tinybird's answers names a host inside the container on Tinybird Local.
    """
    return {
        "id": job.id,
        "import_id": str(job.raw.get("import_id") or job.id),
        **job_xcom(job),
        "job_url": f"{base_url}/v0/jobs/{job.id}",
        "datasource": jobs.small_json(job.raw.get("datasource")),
    }
