"""The trigger that waits until one of several jobs is over."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from airflow_provider_tinybird._compat import BaseTrigger, TriggerEvent
from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.errors import ApiError, TinybirdError
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.hooks.rereading import OutOfSightError, rereading_client
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.jobs import outcome, slots, watch
from airflow_provider_tinybird.timespans import deadlines


class TinybirdAnyJobTrigger(BaseTrigger):
    """Waits until one of several jobs is over, or the time is, and sends one event. What became of the jobs the task finds
    out by itself.

    :param tinybird_conn_id: id of the connection.
    :param job_ids: the jobs.
    :param until: moment (seconds since the epoch) at which the wait is over.
    :param poll_interval: seconds between two looks at all of them.
    :param cancel_on_kill: cancel the jobs when a user fails, clears or marks the deferred task (Airflow 3.3 and later).
    :param resume: what the task left for itself: small JSON that the event brings back.
    """

    def __init__(
        self,
        *,
        tinybird_conn_id: str,
        job_ids: list[str],
        until: float,
        poll_interval: float = watch.POLL_INTERVAL,
        cancel_on_kill: bool = True,
        resume: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tinybird_conn_id = tinybird_conn_id
        self.job_ids = list(job_ids)
        self.until = until
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.resume = resume

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write down what Airflow stores."""
        return (
            "airflow_provider_tinybird.triggers.ranges.TinybirdAnyJobTrigger",
            {
                "tinybird_conn_id": self.tinybird_conn_id,
                "job_ids": self.job_ids,
                "until": self.until,
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
                "resume": self.resume,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the jobs until one is over. A look that fails says nothing; the task looks itself when it is back."""
        try:
            message = await self._wait()
        except OutOfSightError as e:
            message = str(e)
        except Exception:
            self.log.exception("Waiting for the jobs broke; the task looks at them itself.")
            message = "waiting for the jobs broke, see the triggerer's log."
        yield TriggerEvent(outcome.event(slots.SlotEvent(message=message).to_payload(), self.resume))

    async def _wait(self) -> str:
        # Beyond the end nobody would cancel the jobs: Airflow's own timeout of the deferral comes soon after.
        ends = deadlines.looks_end(self.until)
        with suppress(TimeoutError):
            async with deadlines.within(ends), rereading_client(self.tinybird_conn_id) as client:
                asked = 0.0
                while (left := self.until - time.time()) > 0:
                    await asyncio.sleep(min(left, max(asked, self.poll_interval * random.uniform(1.0, 1.1))))  # noqa: S311
                    asked = 0.0
                    for job_id in self.job_ids:
                        try:
                            job = await client.send(jobs_api.get_job(job_id), deadline=ends)
                        except TinybirdError as e:
                            if watch.is_final(e):
                                return f"job {job_id} cannot be looked at: {redact(str(e))}"
                            if isinstance(e, ApiError) and e.answer.retry_after:
                                asked = e.answer.retry_after
                                break
                            continue
                        if job.status.is_terminal:
                            return f"{job} is {job.status_text}."
        return "the wait is over."

    async def on_kill(self) -> None:
        """Cancel the jobs: a user failed, cleared or marked the task. Called by Airflow 3.3 and later only."""
        if not self.cancel_on_kill:
            self.log.info("Jobs %s go on running: cancel_on_kill is off.", ", ".join(self.job_ids))
            return
        try:
            async with (
                deadlines.within(deadlines.closing_ends()),
                TinybirdHook(self.tinybird_conn_id).async_client() as client,
            ):
                for said in await asyncio.gather(*(watch.cancel_async(client, job_id) for job_id in self.job_ids)):
                    self.log.info("%s", said)
        except Exception as e:  # such as a connection that is gone: the log should say what became of it
            self.log.warning("The jobs could not be cancelled and may go on running: %s", redact(str(e)))
