"""The trigger that waits for a free slot for a job. It never starts the job itself: only workers submit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow_provider_tinybird._compat import BaseTrigger, TriggerEvent
from airflow_provider_tinybird.hooks.rereading import OutOfSightError, rereading_client
from airflow_provider_tinybird.jobs import outcome, slots, watch
from airflow_provider_tinybird.timespans import deadlines


class TinybirdSlotTrigger(BaseTrigger):
    """Waits until fewer jobs of a kind are running, or the time is over, and sends one event.

    :param tinybird_conn_id: id of the connection.
    :param kind: kind of the jobs; empty where Tinybird does not document it: then only time passes.
    :param until: moment (seconds since the epoch) at which the wait is over.
    :param poll_interval: seconds between two looks.
    :param resume: what the task left for itself: small JSON that the event brings back.
    """

    def __init__(
        self,
        *,
        tinybird_conn_id: str,
        kind: str,
        until: float,
        poll_interval: float = watch.POLL_INTERVAL,
        resume: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tinybird_conn_id = tinybird_conn_id
        self.kind = kind
        self.until = until
        self.poll_interval = poll_interval
        self.resume = resume

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write down what Airflow stores."""
        return (
            "airflow_provider_tinybird.triggers.slots.TinybirdSlotTrigger",
            {
                "tinybird_conn_id": self.tinybird_conn_id,
                "kind": self.kind,
                "until": self.until,
                "poll_interval": self.poll_interval,
                "resume": self.resume,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait."""
        try:
            async with (
                deadlines.within(deadlines.closing_ends(self.until)),
                rereading_client(self.tinybird_conn_id) as client,
            ):
                event = await slots.wait_for_slot(client, self.kind, until=self.until, poll_interval=self.poll_interval)
        except OutOfSightError as e:
            event = slots.SlotEvent(message=str(e))
        except Exception:
            self.log.exception("Waiting for a free slot broke; the task tries again to start its job.")
            event = slots.SlotEvent(message="waiting for a free slot broke, see the triggerer's log.")
        yield TriggerEvent(outcome.event(event.to_payload(), self.resume))
