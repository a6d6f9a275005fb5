"""The trigger that asks a question again and again, until its answer is the one that a sensor waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow_provider_tinybird._compat import BaseTrigger, TriggerEvent
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.conditions import checks
from airflow_provider_tinybird.conditions import wait as conditions
from airflow_provider_tinybird.hooks.rereading import OutOfSightError, rereading_client
from airflow_provider_tinybird.jobs import outcome
from airflow_provider_tinybird.timespans import deadlines


class TinybirdConditionTrigger(BaseTrigger):
    """Asks a question once a poll and sends one :class:`~airflow_provider_tinybird.conditions.wait.Finding` as its event.

    Its arguments are stored by Airflow while a task is deferred, also across upgrades of this package: plain JSON, no
    secrets, and new ones have defaults.

    :param tinybird_conn_id: id of the connection.
    :param question: what is asked, as :mod:`airflow_provider_tinybird.conditions.checks` writes it.
    :param poll_interval: seconds between two looks.
    :param deadline: moment (seconds since the epoch) after which the wait is over.
    :param started_at: moment at which it began.
    :param outlasts_refusals: go on waiting when the question is refused.
    :param resume: what the task left for itself: small JSON that the event brings back.
    """

    def __init__(
        self,
        *,
        tinybird_conn_id: str,
        question: dict[str, Any],
        poll_interval: float,
        deadline: float,
        started_at: float,
        outlasts_refusals: bool = False,
        resume: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tinybird_conn_id = tinybird_conn_id
        self.question = question
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.started_at = started_at
        self.outlasts_refusals = outlasts_refusals
        self.resume = resume

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write down what Airflow stores."""
        return (
            "airflow_provider_tinybird.triggers.conditions.TinybirdConditionTrigger",
            {
                "tinybird_conn_id": self.tinybird_conn_id,
                "question": self.question,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "started_at": self.started_at,
                "outlasts_refusals": self.outlasts_refusals,
                "resume": self.resume,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask. An exception from here would fail the task without its having a chance to say anything."""
        try:
            finding = await self._wait()
        except OutOfSightError as e:
            finding = conditions.Finding(ending=conditions.Ending.LOST, message=str(e))
        except Exception as e:
            self.log.exception("Waiting broke.")
            message = f"The wait broke off in the triggerer: {redact(f'{type(e).__name__}: {e}')}"
            finding = conditions.Finding(ending=conditions.Ending.LOST, message=message)
        yield TriggerEvent(outcome.event(finding.to_payload(), self.resume))

    async def _wait(self) -> conditions.Finding:
        wait = conditions.Wait(
            checks.from_json(self.question),
            poll_interval=self.poll_interval,
            deadline=self.deadline,
            started_at=self.started_at,
            outlasts_refusals=self.outlasts_refusals,
        )
        try:
            # The looks end by themselves; this is for all else, such as the look-up of the connection.
            async with (
                deadlines.within(deadlines.closing_ends(self.deadline)),
                rereading_client(self.tinybird_conn_id) as client,
            ):
                return await conditions.wait_async(client, wait)
        except TimeoutError:
            return wait.timed_out()
