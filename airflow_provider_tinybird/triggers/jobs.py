"""The trigger that waits for a job, whatever its kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow_provider_tinybird._compat import BaseTrigger, TriggerEvent
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.hooks.rereading import OutOfSightError, rereading_client
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.jobs import outcome as outcomes
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.timespans import deadlines


class TinybirdJobTrigger(BaseTrigger):
    """Waits until a job is over and sends one :class:`~airflow_provider_tinybird.jobs.outcome.Outcome` as its event.

    Its arguments are stored by Airflow while a task is deferred, also across upgrades of this package: plain JSON, no
    secrets, and new ones have defaults.

    :param tinybird_conn_id: id of the connection.
    :param job_id: the job; empty where the newest job of a pipe is waited for.
    :param pipe: the pipe, where there is no ``job_id``.
    :param poll_interval: seconds between two looks.
    :param deadline: moment (seconds since the epoch) after which the wait is over; the task then cancels the job.
    :param started_at: moment at which the job was submitted, or the wait for somebody else's began.
    :param failures_tolerated: looks in a row that may fail, however long that takes.
    :param not_found_tolerated: looks in a row that may answer 404, however long that takes.
    :param told: status of the job that the log has already told.
    :param cancel_on_kill: cancel the job when a user fails, clears or marks the deferred task (Airflow 3.3 and later).
    :param resume: what the task left for itself: small JSON that the event brings back.
    """

    def __init__(
        self,
        *,
        tinybird_conn_id: str,
        job_id: str,
        poll_interval: float = jobs.POLL_INTERVAL,
        deadline: float,
        started_at: float,
        failures_tolerated: int = jobs.FAILURES_TOLERATED,
        not_found_tolerated: int = jobs.NOT_FOUND_TOLERATED,
        cancel_on_kill: bool = True,
        pipe: str = "",
        told: str = "",
        resume: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tinybird_conn_id = tinybird_conn_id
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.started_at = started_at
        self.failures_tolerated = failures_tolerated
        self.not_found_tolerated = not_found_tolerated
        self.cancel_on_kill = cancel_on_kill
        self.pipe = pipe
        self.told = told
        self.resume = resume

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write down what Airflow stores."""
        return (
            "airflow_provider_tinybird.triggers.jobs.TinybirdJobTrigger",
            {
                "tinybird_conn_id": self.tinybird_conn_id,
                "job_id": self.job_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "started_at": self.started_at,
                "failures_tolerated": self.failures_tolerated,
                "not_found_tolerated": self.not_found_tolerated,
                "cancel_on_kill": self.cancel_on_kill,
                "pipe": self.pipe,
                "told": self.told,
                "resume": self.resume,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the job. An exception from here would fail the task without its having a chance to say anything."""
        rules = jobs.Rules(
            poll_interval=self.poll_interval,
            deadline=self.deadline,
            started_at=self.started_at,
            failures_tolerated=self.failures_tolerated,
            not_found_tolerated=self.not_found_tolerated,
        )
        watch = jobs.Watch(self.job_id, rules, pipe=self.pipe, told=self.told)
        try:
            # The looks end by themselves; this is for all else, such as the look-up of the connection.
            async with (
                deadlines.within(deadlines.closing_ends(self.deadline)),
                rereading_client(self.tinybird_conn_id) as client,
            ):
                outcome = await jobs.watch_job_async(client, watch)
        except TimeoutError:
            outcome = watch.timed_out()
        except Exception as e:
            if isinstance(e, OutOfSightError):
                why = str(e)
            else:
                self.log.exception("Waiting for job %s broke.", self.job_id)
                why = redact(f"{type(e).__name__}: {e}")
            message = f"Job {self.job_id} could not be watched in the triggerer and may go on running: {why}"
            outcome = outcomes.Outcome(ending=outcomes.Ending.LOST, job_id=self.job_id, message=message)
        yield TriggerEvent(outcomes.event(outcome.to_payload(), self.resume))

    async def on_kill(self) -> None:
        """Cancel the job: a user failed, cleared or marked the task. Called by Airflow 3.3 and later only."""
        if not self.cancel_on_kill:
            self.log.info("Job %s goes on running: cancel_on_kill is off.", self.job_id)
            return
        try:
            async with (
                deadlines.within(deadlines.closing_ends()),
                TinybirdHook(self.tinybird_conn_id).async_client() as client,
            ):
                self.log.info("%s", await jobs.cancel_async(client, self.job_id))
        except Exception as e:  # such as a connection that is gone: the log should say what became of it
            self.log.warning("Job %s could not be cancelled and may go on running: %s", self.job_id, redact(str(e)))
