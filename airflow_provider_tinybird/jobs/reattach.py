"""What an attempt does about the job of an earlier one, or about a submit whose answer was lost: one table.

What cannot be found, or may have written, is an unknown outcome for everything that would double data when done twice. Nothing here
knows Airflow, or sends anything.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class Known(StrEnum):
    """What is known of a job before this submit."""

    NOTHING = "nothing"
    """The first attempt, the first after a clear, or a task that is not to remember."""
    JOB = "job"
    """An earlier attempt remembered the id of its job."""
    SUBMIT = "submit"
    """An earlier attempt broke off between its submit and the answer."""
    OTHER_JOB = "other job"
    """As ``JOB``, and the request was another one: a template, or the DAG, changed in between."""
    OTHER_SUBMIT = "other submit"
    """As ``SUBMIT``, and the request was another one."""
    RETRY = "retry"
    """Nothing can be remembered (Airflow before 3.3), and this is a retry: an earlier attempt may have started a job."""
    LOST = "lost"
    """This attempt submitted, and the answer was lost."""


class Shown(StrEnum):
    """What Tinybird says: of the job that is remembered, or in its list of jobs."""

    GOING_ON = "going on"
    """Waiting, working, cancelling, or a status that this version does not know."""
    DONE = "done"
    WROTE_NOTHING = "wrote nothing"
    """It failed, and no row of it is in."""
    FAILED = "failed"
    """It failed, and a part of its rows may be in."""
    CANCELLED = "cancelled"
    """By whomever: a part of its rows may be in."""
    MISSING = "missing"
    """Tinybird does not know it: neither by several looks, nor in tinybird.jobs_log."""
    UNREAD = "unread"
    """The look, or the list, failed: nothing is known."""
    NONE = "none"
    """The list is complete, and no job in it may be the one."""
    UNSURE = "unsure"
    """A job in the list may be the one: it shows too little, there are several, or the list may not be complete."""


class Step(Enum):
    """What to do."""

    SUBMIT = "submit"
    REATTACH = "reattach"
    UNKNOWN = "unknown"


_S, _R, _U = Step.SUBMIT, Step.REATTACH, Step.UNKNOWN

OF_JOB: dict[Shown, tuple[Step, Step]] = {
    # what Tinybird says: (would double data, is idempotent)
    Shown.GOING_ON: (_R, _R),
    Shown.DONE: (_R, _R),
    Shown.WROTE_NOTHING: (_S, _S),
    Shown.FAILED: (_U, _S),
    Shown.CANCELLED: (_U, _S),
    Shown.MISSING: (_U, _S),
    Shown.UNREAD: (_R, _R),  # there is a job: the watch outlasts the trouble, or says what it is
}
"""A job whose id is remembered."""

OTHERWISE: dict[Known, dict[Shown, Step]] = {
    Known.OTHER_JOB: {
        Shown.GOING_ON: _U,
        Shown.DONE: _U,
        Shown.WROTE_NOTHING: _S,
        Shown.FAILED: _U,
        Shown.CANCELLED: _U,
        Shown.MISSING: _U,
        Shown.UNREAD: _U,
    },
    Known.SUBMIT: {
        Shown.GOING_ON: _R,
        Shown.DONE: _R,
        Shown.WROTE_NOTHING: _S,
        Shown.FAILED: _U,
        Shown.CANCELLED: _U,
        Shown.NONE: _U,
        Shown.UNSURE: _U,
        Shown.UNREAD: _U,
    },
    Known.RETRY: {
        Shown.GOING_ON: _R,
        Shown.DONE: _R,
        Shown.WROTE_NOTHING: _S,
        Shown.FAILED: _U,
        Shown.CANCELLED: _U,
        Shown.NONE: _S,
        Shown.UNSURE: _U,
        Shown.UNREAD: _U,
    },
    Known.LOST: {
        Shown.GOING_ON: _R,
        Shown.DONE: _R,
        Shown.WROTE_NOTHING: _R,  # the watch says how it ended; a retry submits
        Shown.FAILED: _R,
        Shown.CANCELLED: _R,
        Shown.NONE: _U,
        Shown.UNSURE: _U,
        Shown.UNREAD: _U,
    },
}
"""All else, for what would double data: a job of another request, or one that is looked for in the list by what it shows. What is
idempotent is submitted."""


def step(known: Known, shown: Shown | None, *, is_idempotent: bool) -> Step:
    """Read the table.

    :param shown: ``None`` where Tinybird need not be asked.
    :raises KeyError: this cannot be.
    """
    if known is Known.NOTHING:
        return Step.SUBMIT
    if known is Known.JOB:
        return OF_JOB[_given(shown)][int(is_idempotent)]
    if is_idempotent:
        return Step.SUBMIT
    return Step.UNKNOWN if known is Known.OTHER_SUBMIT else OTHERWISE[known][_given(shown)]


def needs_look(known: Known, *, is_idempotent: bool) -> bool:
    """Tell whether what to do depends on what Tinybird says."""
    if known is Known.JOB:
        return True
    return not is_idempotent and known not in (Known.NOTHING, Known.OTHER_SUBMIT)


def _given(shown: Shown | None) -> Shown:
    if shown is None:
        raise KeyError("Tinybird was not asked")
    return shown
