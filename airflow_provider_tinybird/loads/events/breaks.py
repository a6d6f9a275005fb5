"""From what broke a load to the error that its task ends with: what is in, what is not, and what to do."""

from __future__ import annotations

import logging

from airflow_provider_tinybird.api.errors import (
    InvalidInputError,
    OutcomeUnknownError,
    PartiallyIngestedError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.loads.events.errors import LoadInterruptedError, ResumableLoadError
from airflow_provider_tinybird.loads.events.options import Delivery
from airflow_provider_tinybird.loads.events.progress import Progress
from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError

log = logging.getLogger(__name__)

_BAD_DATA = (EncodeError, UnsupportedDataError)


def broken(cause: Exception, progress: Progress, delivery: Delivery, *, can_go_on: bool) -> Exception:
    """Return the error to raise.

    :param cause: what went wrong.
    :param progress: what of the load is in.
    :param delivery: what was promised.
    :param can_go_on: whether another attempt knows what is in.
    """
    if isinstance(cause, LoadInterruptedError):  # says all of it already
        return cause
    is_unknown = bool(progress.unknown) or bool(progress.torn)
    if not progress.is_in and not is_unknown:
        if isinstance(cause, _BAD_DATA):
            return InvalidInputError(f"Nothing was sent to '{progress.datasource}': {cause}")
        # It stays what it is, also to Airflow, which skips or fails for some; the log and the traceback say what it left behind.
        if not isinstance(cause, TinybirdError):
            note_nothing_sent(cause, progress.datasource)
        return cause
    start = f"The load into '{progress.datasource}' broke. {progress.state()}"
    kind, way_out = _way_out(delivery, is_unknown=is_unknown, helps=_can_help(cause, delivery), can_go_on=can_go_on)
    return kind(f"{start} {way_out} The cause: {cause}")


def note_nothing_sent(cause: Exception, datasource: str) -> None:
    """Say of an error of the user's own that nothing was sent before it, in the log and below its traceback."""
    said = f"Nothing was sent to '{datasource}'."
    if said not in getattr(cause, "__notes__", ()):
        cause.add_note(said)
        log.info("%s", said)


def _can_help(cause: Exception, delivery: Delivery) -> bool:
    """Whether trying again can help."""
    if isinstance(cause, (*_BAD_DATA, PartiallyIngestedError)):
        return False
    if isinstance(cause, OutcomeUnknownError | UnreadableAnswerError):
        return delivery is not Delivery.AT_MOST_ONCE
    return cause.retry_can_help if isinstance(cause, TinybirdError) else True


def _way_out(
    delivery: Delivery, *, is_unknown: bool, helps: bool, can_go_on: bool
) -> tuple[type[LoadInterruptedError], str]:
    if delivery is Delivery.EXACTLY_ONCE:
        return (ResumableLoadError if helps else LoadInterruptedError), (
            "Running the task again, by a retry or by clearing it, sends only what is missing."
        )
    if delivery is Delivery.AT_LEAST_ONCE:
        way_out = "A retry sends only what is not acknowledged." if can_go_on else "A retry sends all of it again."
        return (ResumableLoadError if helps else LoadInterruptedError), way_out
    if is_unknown:
        return LoadInterruptedError, (
            "Find out which of the unknown rows are in, and load only what is missing: running it again from the start would double "
            "what is in."
        )
    if can_go_on and helps:
        return ResumableLoadError, "A retry sends only what is missing; clearing the task sends all of it."
    return LoadInterruptedError, ("Load only what is missing: running it again from the start would double what is in.")
