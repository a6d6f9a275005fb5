"""The wait for a free slot, when Tinybird already runs as many jobs of a kind as the plan allows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.client import AsyncClient
from airflow_provider_tinybird.api.errors import JobSlotTimeoutError, TinybirdError
from airflow_provider_tinybird.api.models import JobStatus
from airflow_provider_tinybird.timespans import deadlines

LONGEST_WAIT = 60.0
"""Seconds after which it is tried again, whether or not a slot was seen to become free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEvent:
    """What the trigger sends that waits for a slot.

    :param message: what it saw, for people.
    :param version: version of this structure, which outlives an upgrade in Airflow's database.
    """

    message: str
    version: int = 1

    def to_payload(self) -> dict[str, Any]:
        """Write it as JSON."""
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: object) -> SlotEvent:
        """Read what a trigger sent; whatever it is, the next thing to do is to try again."""
        message = payload.get("message") if isinstance(payload, Mapping) else None
        return cls(message=str(message or "the wait is over."))


def no_slot(why: str, allowed: float) -> JobSlotTimeoutError:
    """Make the error for a job that found no free slot before its deadline.

    :param why: why it was not started, at last.
    :param allowed: seconds that it may take.
    """
    return JobSlotTimeoutError(
        f"Tinybird had no free slot for the job during the {allowed:.0f} s that it may take (timeout); nothing was started. Run fewer "
        f"such jobs at once (an Airflow pool as large as the plan's limit) or raise the limit. {why}"
    )


def pause(left: float) -> float:
    """Seconds to wait before the next try, with jitter, so that those who wait do not all try at once.

    :param left: seconds until the deadline.
    """
    return max(0.0, min(LONGEST_WAIT * random.uniform(0.5, 1.0), left))  # noqa: S311 - spreads load, keeps no secret


async def wait_for_slot(client: AsyncClient, kind: str, *, until: float, poll_interval: float) -> SlotEvent:
    """Watch the number of jobs of a kind that run or wait, until there are fewer or the time is over.

    :param kind: kind of the jobs; empty where Tinybird does not document it: then only time passes.
    :param until: moment (seconds since the epoch) at which the wait is over.
    :param poll_interval: seconds between two looks.
    """
    ends = deadlines.looks_end(until)
    with suppress(TimeoutError):
        async with deadlines.within(ends):
            first = await _active(client, kind, ends)
            while (left := until - time.time()) > 0:
                await asyncio.sleep(min(left, poll_interval * random.uniform(1.0, 1.2)))  # noqa: S311
                now = await _active(client, kind, ends)
                if first is not None and now is not None and now < first:
                    return SlotEvent(message=f"{now} {kind} jobs are running or waiting, {first} were.")
    return SlotEvent(message="the wait is over.")


async def _active(client: AsyncClient, kind: str, ends: float) -> int | None:
    if not kind:
        return None
    try:
        count = 0
        for status in (JobStatus.WAITING, JobStatus.WORKING):
            active = await client.send(jobs_api.list_jobs(kind=kind, status=status), deadline=ends)
            count += len(active)
    except TinybirdError:
        return None  # the next try to start the job will say what is wrong
    return count
