"""What can go wrong with a call to Tinybird: one class for each kind of failure.

Every message names the thing, what Tinybird said of it, and the way out. None holds a token: texts from outside pass
through
:mod:`airflow_provider_tinybird.api.redact` before they get here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_tinybird.api.models import Job


class TinybirdError(Exception):
    """Base of all errors of this package.

    ``retry_can_help`` says whether the very same call may succeed later without anyone changing anything. Airflow's own
    retries are left on where it is true and switched off where it is false. It is the class that says so, but for errors that know better
    of the one call that they are about.
    """

    retry_can_help: bool = True


class InvalidInputError(TinybirdError, ValueError):
    """An argument that cannot be sent: found before anything left this machine."""

    retry_can_help = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered instead of a success.

    :param status: HTTP status code.
    :param text: the words of the answer, redacted and cut.
    :param documentation: link that came with the error, if any.
    :param retry_after: seconds to wait that the answer asks for, from ``Retry-After`` or ``X-RateLimit-Reset``.
    :param from_tinybird: whether the body is Tinybird's own JSON error. Only then does the status say what Tinybird did or did not do:
        whatever else comes, a gateway, a balancer or a proxy may have written, before or after Tinybird took the request.
    """

    status: int
    text: str
    documentation: str | None = None
    retry_after: float | None = None
    from_tinybird: bool = False


_PASSING = frozenset({408, 421, 425, 429})
"""Refusals of the moment, not of the request."""


class ApiError(TinybirdError):
    """An error status was answered, by Tinybird or by something in front of it (``answer.from_tinybird`` tells).

    :param what: what was being done, such as ``truncate data source 'flights'``.
    :param where: method, host and path, without the query string.
    :param answer: what Tinybird answered.
    :param way_out: what the reader can do, a full sentence.
    """

    retry_can_help = False

    def __init__(self, what: str, where: str, answer: Answer, way_out: str = "") -> None:
        self.what = what
        self.where = where
        self.answer = answer
        if not answer.from_tinybird:
            self.retry_can_help = True  # a page of something else says nothing about Tinybird
        parts = [f"Could not {what}: {answered(answer)}"]
        if way_out:
            parts.append(way_out)
        if answer.documentation:
            parts.append(f"See {answer.documentation}.")
        super().__init__(" ".join(parts) + f" [{where}]")

    @property
    def status(self) -> int:
        """HTTP status code of the answer."""
        return self.answer.status

    @property
    def is_final(self) -> bool:
        """Whether Tinybird itself refused, and would refuse the same call later as well."""
        refused = 400 <= self.status < 500 and self.status not in _PASSING
        return self.answer.from_tinybird and refused and not self.retry_can_help


class BadRequestError(ApiError):
    """The request itself is wrong (400 and other 4xx): bad SQL, bad parameter, wrong kind of pipe."""


class AccessDeniedError(ApiError):
    """The token may not do this (401, 403): wrong token, missing scope, another workspace's resource, or a job
    limit.
    """


class JobQuotaError(ApiError):
    """Tinybird runs as many jobs of this kind as the plan allows: nothing was started, and a slot will be free
    later.
    """

    retry_can_help = True


class NotFoundError(ApiError):
    """No such data source, pipe or job (404), or the host is not the region of the workspace."""


class ConflictError(ApiError):
    """The state of the target stands in the way (409)."""


class PayloadTooLargeError(ApiError):
    """The body is larger than the plan allows (413)."""


class PartiallyIngestedError(ApiError):
    """Events were partly written: a materialized view failed (422). Sending them again would double what is in."""


class QueryTimeoutError(ApiError):
    """The query ran longer than Tinybird allows (408)."""


class RateLimitedError(ApiError):
    """Too many requests (429), still after all the waiting that the retry policy allows."""

    retry_can_help = True


class ServerError(ApiError):
    """Tinybird or something in front of it failed (5xx)."""

    retry_can_help = True


class ConnectionFailedError(TinybirdError):
    """The connection to Tinybird could not be used, or broke.

    :param sent: whether the request, or part of it, may have reached Tinybird.
    :param timed_out: whether the time for an answer ran out.
    :param is_final: whether the next connection would fail as well: a certificate that is not trusted, a proxy that wants a password.
    """

    def __init__(self, message: str, *, sent: bool, timed_out: bool = False, is_final: bool = False) -> None:
        self.sent = sent
        self.timed_out = timed_out
        if is_final:
            self.retry_can_help = False
        super().__init__(message)


class OutcomeUnknownError(TinybirdError):
    """The answer to a call that must not be repeated was lost: Tinybird may or may not have done it.

    :param what: what was being done.
    :param where: method, host and path.
    :param cause: how the answer was lost.
    :param find_out: how to find out whether it was done.
    :param answer: what was answered, where something was.
    """

    retry_can_help = False

    def __init__(self, what: str, where: str, cause: str, find_out: str, answer: Answer | None = None) -> None:
        self.what = what
        self.where = where
        self.cause = cause
        self.answer = answer
        super().__init__(
            f"It is not known whether Tinybird did this: {what}. {_sentence(cause)} It was not sent again, because that could "
            f"double the data. {find_out} [{where}]"
        )


class UnreadableAnswerError(TinybirdError):
    """The answer was a success, but not what the API promises.

    :param passing: whether it may be another one next time, and the call can be repeated: a page of something else under HTTP 200.
    """

    retry_can_help = False

    def __init__(self, message: str, *, passing: bool = False) -> None:
        if passing:
            self.retry_can_help = True
        super().__init__(message)


class QueryBrokeError(UnreadableAnswerError):
    """A query broke after its answer had begun, under HTTP 200: what came is not all of it, and none of it is kept.

    It only read, so that trying it again is safe; what it ran out of, memory or time, may be there then.
    """

    retry_can_help = True


class NotTextError(TinybirdError):
    """A column of an answer has bytes that are not UTF-8, which JSON cannot hold."""

    retry_can_help = False


class UnreadableOutcomeError(OutcomeUnknownError, UnreadableAnswerError):
    """Tinybird, or something else, answered a call that must not be repeated with success, and what it says cannot be read."""


class ImportRejectedError(TinybirdError):
    """A body upload was answered with HTTP 200 and an error inside; part of its rows may be in.

    Sending the file again would double the good rows, so this is never repeated.
    """

    retry_can_help = False


class JobError(TinybirdError):
    """A job did not end well.

    :param job: the job as last seen.
    :param message: what happened and what to do.
    """

    def __init__(self, message: str, job: Job) -> None:
        self.job = job
        super().__init__(message)


class JobFailedError(JobError):
    """The job ended in ``error``."""

    retry_can_help = True


class JobCancelledError(JobError):
    """The job was cancelled by somebody or something else."""


class JobTimeoutError(JobError):
    """The job was not over by the deadline; it has been cancelled if Tinybird allowed that."""


class JobSlotTimeoutError(TinybirdError):
    """As many jobs as the plan allows were running until the deadline, so that none was started."""


class JobLostError(TinybirdError):
    """Tinybird no longer knows the job (it keeps jobs for 48 hours), or polling it failed for too long."""

    retry_can_help = False


class JobOutOfSightError(JobLostError):
    """A job cannot be looked at for now, and a retry of the task looks for this very job, or does no harm."""

    retry_can_help = True


def answered(answer: Answer) -> str:
    """Say in a sentence or two who answered what."""
    if answer.from_tinybird:
        return f"Tinybird answered HTTP {answer.status}: {_sentence(answer.text)}"
    return (
        f"HTTP {answer.status} was answered: {_sentence(answer.text)} These are not Tinybird's own words: a gateway, a balancer or a "
        "proxy may have written them."
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
