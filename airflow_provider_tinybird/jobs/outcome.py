"""How the wait for a job ended: what a trigger tells its task, and what a task tells its user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_tinybird.api.errors import (
    InvalidInputError,
    JobCancelledError,
    JobFailedError,
    JobLostError,
    JobOutOfSightError,
    JobTimeoutError,
)
from airflow_provider_tinybird.api.job import parse_job
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.api.redact import redact


class Ending(StrEnum):
    """How the wait for a job ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended; also what a trigger sends to its task.

    :param ending: kind of ending.
    :param job_id: the job.
    :param message: what happened and what to do, for people; empty when it is done.
    :param waited: seconds since it was submitted, or since the wait began.
    :param job: the job as JSON, small and without secrets, as last seen; empty when it was never seen.
    :param is_missing: whether Tinybird says that it does not know the job (any more).
    :param version: version of this structure, which outlives an upgrade in Airflow's database.
    """

    ending: Ending
    job_id: str
    message: str = ""
    waited: float = 0.0
    job: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    is_missing: bool = False

    def to_payload(self) -> dict[str, Any]:
        """Write it as JSON."""
        return asdict(self) | {"ending": self.ending.value, "job": dict(self.job)}

    @classmethod
    def from_payload(cls, payload: object) -> Outcome:
        """Read what a trigger sent.

        :raises JobLostError: it is nothing that this version understands. The job may well run or be done, so that
            trying again by itself would be wrong.
        """
        if not isinstance(payload, Mapping) or "ending" not in payload or "job_id" not in payload:
            raise _no_outcome(payload)
        job_id = redact(str(payload["job_id"]))
        version, ending = payload.get("version", 1), payload["ending"]
        if version != 1 or ending not in list(Ending):
            what = (
                f"the unknown ending {ending!r}" if version == 1 else f"its ending in the unknown version {version!r}"
            )
            raise JobLostError(
                f"The trigger of job {job_id} sent {redact(what)}: are worker and triggerer on the same version of this "
                "provider? The job's state is unknown: look it up in Tinybird before running this task again."
            )
        try:
            return cls(
                ending=Ending(ending),
                job_id=job_id,
                message=str(payload.get("message") or ""),
                waited=float(payload.get("waited") or 0.0),
                job=dict(payload.get("job") or {}),
                is_missing=payload.get("is_missing") is True,
            )
        except (TypeError, ValueError):
            raise _no_outcome(payload) from None

    def as_job(self) -> Job:
        """Read the job in it."""
        return parse_job({"job_id": self.job_id, **self.job})


def _no_outcome(payload: object) -> JobLostError:
    return JobLostError(
        f"The trigger sent {redact(repr(payload))[:200]}, which is no ending of a job. The job's state is unknown: look it up "
        "in Tinybird before running this task again."
    )


RESUME = "resume"
"""Key of what a task left for itself before a deferral: an argument of the triggers, which they send back in their event.

Airflow keeps arguments for the method that resumes a task, too, but not everywhere: ``dag.test()`` drops them.
"""


def left_before(payload: object, *, needs: str = "", **kept_by_airflow: Any) -> dict[str, Any]:
    """Return what a task left for itself before its deferral.

    :param payload: the event.
    :param needs: name of what the task cannot go on without.
    :param kept_by_airflow: what tasks that an older version deferred left with Airflow; the event wins.
    :raises InvalidInputError: what it needs is not there.
    """
    found = payload.get(RESUME) if isinstance(payload, Mapping) else None
    kept = {name: value for name, value in kept_by_airflow.items() if value is not None}
    left = {**kept, **(found if isinstance(found, Mapping) else {})}
    if needs and needs not in left:
        raise InvalidInputError(
            f"The event of the trigger does not say how far this task was ({needs}), so that it cannot go on. Its job may go on running. "
            "Look at the rows, then clear the task; or set deferrable=False."
        )
    return left


def event(payload: dict[str, Any], resume: Mapping[str, Any] | None) -> dict[str, Any]:
    """Make the event of a trigger.

    :param resume: what the task left for itself.
    """
    return payload if resume is None else {**payload, RESUME: dict(resume)}


def job_or_error(outcome: Outcome, *, note: str = "", retry_is_safe: bool = False) -> Job:
    """Return the job if it is done, and raise the right error if it is not.

    :param note: sentence for the end of the message, such as what became of the cancel.
    :param retry_is_safe: whether a retry of the task finds this very job again, or does no harm.
    """
    message = f"{outcome.message} {note}".strip()
    if outcome.ending is Ending.DONE:
        return outcome.as_job()
    if outcome.ending is Ending.LOST:
        raise (JobOutOfSightError if retry_is_safe and not outcome.is_missing else JobLostError)(message)
    kinds = {
        Ending.FAILED: JobFailedError,
        Ending.CANCELLED: JobCancelledError,
        Ending.TIMEOUT: JobTimeoutError,
    }
    raise kinds[outcome.ending](message, outcome.as_job())


def small_json(value: Any) -> Any:
    """Copy JSON for XCom and events: long texts are cut, addresses lose their query strings, which may be
    credentials.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): small_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [small_json(item) for item in value[:100]]
    return value
