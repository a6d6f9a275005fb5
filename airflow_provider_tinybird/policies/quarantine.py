"""What becomes of a load some of whose rows went to quarantine: it fails, warns, or is fine.

Tinybird answers such a load with success, and the rows are elsewhere. Nothing here knows Airflow.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from airflow_provider_tinybird.api import quarantine as quarantine_api
from airflow_provider_tinybird.api import wording
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.quarantine import Reason, quarantine_of
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.arguments import fraction_bound, rows_bound, share_of

log = logging.getLogger(__name__)

LONGEST_ERROR = 160
"""Characters of an error that are shown: it repeats a value of the user's data."""

REASONS = 5
"""Reasons that are shown."""

_REASONS_READ = 100

_NONE_IS_IN = (
    "No row is in, and the same rows would not fit again, so this is not retried: correct the rows or the data source, "
    "then clear the task."
)
_ALL_WAS_SENT = (
    "The other rows are in, so this is not retried: correct these and load only them, then mark the task as success."
)


class OnQuarantine(StrEnum):
    """What to do when rows went to quarantine."""

    FAIL = "fail"
    WARN = "warn"
    IGNORE = "ignore"


class Verdict(StrEnum):
    """What a policy says of a load."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class QuarantinedRowsError(TinybirdError):
    """More rows went to quarantine than the policy allows. The others are in: loading all again would double them."""

    retry_can_help = False


class QuarantineUnknownError(TinybirdError):
    """The rows were loaded, and it cannot be told how many went to quarantine."""

    retry_can_help = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What became of the rows of a load.

    :param datasource: name of the data source.
    :param rows: rows that are in; ``None`` where Tinybird does not tell.
    :param quarantined: rows that went to quarantine; ``None`` where Tinybird does not tell.
    :param invalid_lines: lines that could not be read at all, where these are not among the quarantined rows.
    :param import_ids: ids of its imports, where there are any.
    :param seconds: how long ago the load began, where there are none.
    :param stopped: where the load stopped before its end: what is in, and what the reader can do, full sentences.
    """

    datasource: str
    rows: int | None
    quarantined: int | None
    invalid_lines: int = 0
    import_ids: tuple[str, ...] = ()
    seconds: float = 0.0
    stopped: str = ""

    @property
    def bad(self) -> int:
        """Rows and lines that are not in the data source."""
        return (self.quarantined or 0) + self.invalid_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinePolicy:
    """What is done about rows in quarantine.

    :param action: what to do.
    :param max_rows: rows that ``fail`` puts up with; ``None`` for no such bound.
    :param max_fraction: part of all rows that ``fail`` puts up with, from 0 to 1; ``None`` for no such bound.
    """

    action: OnQuarantine = OnQuarantine.FAIL
    max_rows: int | None = None
    max_fraction: float | None = None

    @classmethod
    def parse(cls, on_quarantine: str, max_quarantined_rows: Any, max_quarantined_fraction: Any) -> QuarantinePolicy:
        """Read the arguments of an operator, which may have been templates.

        :raises InvalidInputError: one of them cannot be used.
        """
        try:
            action = OnQuarantine(on_quarantine)
        except ValueError:
            raise InvalidInputError(
                f"on_quarantine={on_quarantine!r} is not known: give 'fail', 'warn' or 'ignore'."
            ) from None
        return cls(
            action=action,
            max_rows=rows_bound("max_quarantined_rows", max_quarantined_rows),
            max_fraction=fraction_bound("max_quarantined_fraction", max_quarantined_fraction),
        )

    def is_broken_by(self, load: Load) -> bool:
        """Tell of a part of a load whether the whole will be too bad, whatever is still to come."""
        if self.action is not OnQuarantine.FAIL or load.bad == 0:
            return False
        return self.max_fraction is None if self.max_rows is None else load.bad > self.max_rows

    def verdict(self, load: Load) -> Verdict:
        """Judge a load whose counts are known.

        :raises QuarantineUnknownError: there is a bound on the fraction, and the rows that are in are not known.
        """
        if load.bad == 0:
            return Verdict.OK
        if self.action is not OnQuarantine.FAIL:
            return Verdict.WARN if self.action is OnQuarantine.WARN else Verdict.OK
        if self.max_rows is None and self.max_fraction is None:
            return Verdict.FAIL
        if self.max_rows is not None and load.bad > self.max_rows:
            return Verdict.FAIL
        if self.max_fraction is None:
            return Verdict.WARN
        if load.rows is None:
            raise QuarantineUnknownError(
                f"{_counted(load)} Tinybird does not tell how many rows are in, so that max_quarantined_fraction="
                f"{self.max_fraction:g} cannot be held against it. The rows are loaded: look at them, then mark the task as success, "
                "or give max_quarantined_rows instead."
            )
        return Verdict.FAIL if load.bad > share_of(self.max_fraction, load.rows + load.bad) else Verdict.WARN

    @property
    def allowed(self) -> str:
        """What ``fail`` puts up with, in a word."""
        return "none" if not self.max_rows and not self.max_fraction else "fewer"

    def __str__(self) -> str:
        bounds = {"max_quarantined_rows": self.max_rows, "max_quarantined_fraction": self.max_fraction}
        said = [f"{name}={value:g}" for name, value in bounds.items() if value is not None]
        return ", ".join([f"on_quarantine='{self.action.value}'", *said])


def judge(client: Client, policy: QuarantinePolicy, load: Load) -> Verdict:
    """Apply a policy to a load: log what is in quarantine and why, and raise where that is too much.

    :param client: looks into the quarantine.
    :raises QuarantinedRowsError: more rows are in quarantine than the policy allows.
    :raises QuarantineUnknownError: it cannot be told how many are.
    """
    if policy.action is OnQuarantine.IGNORE:
        return Verdict.OK
    try:
        load = with_count(client, load)
        verdict = policy.verdict(load)
    except QuarantineUnknownError as e:
        if policy.action is OnQuarantine.FAIL:
            raise
        log.warning("%s", e)
        return Verdict.WARN
    if verdict is Verdict.OK:
        return verdict
    told = f"{_counted(load)}\n{_why(client, load)}"
    if verdict is Verdict.WARN:
        log.warning("%s", told)
        return verdict
    raise QuarantinedRowsError(
        f"{told}\n{policy} allows {policy.allowed}. {_what_next(load)} Or allow some with max_quarantined_rows or "
        "max_quarantined_fraction, or all with on_quarantine='warn'."
    )


def _what_next(load: Load) -> str:
    if load.stopped:
        return load.stopped
    return _NONE_IS_IN if load.rows == 0 else _ALL_WAS_SENT


def with_count(client: Client, load: Load) -> Load:
    """Count the rows in quarantine, where that is not known yet.

    :raises QuarantineUnknownError: it cannot be told.
    """
    if load.quarantined is not None:
        return load
    try:
        found = client.send(quarantine_api.count_of_import(load.datasource, load.import_ids[-1]))
    except TinybirdError as e:
        raise QuarantineUnknownError(
            f"The rows are loaded into data source '{load.datasource}', and it is not known how many went to quarantine instead: "
            f"look into '{quarantine_of(load.datasource)}'{f'. {load.stopped}' if load.stopped else ', then mark the task as success.'} "
            f"on_quarantine='warn' does not ask to know. {e}"
        ) from e
    return replace(load, quarantined=found)


def _counted(load: Load) -> str:
    total = "" if load.rows is None else f" of {load.rows + load.bad}"
    where = f"did not fit into data source '{load.datasource}' and are in '{quarantine_of(load.datasource)}'"
    text = f"{load.quarantined or 0}{total} rows {where}"
    lines = f", and {load.invalid_lines} lines could not be read at all" if load.invalid_lines else ""
    return f"{text}{lines}."


def _why(client: Client, load: Load) -> str:
    try:
        call = quarantine_api.reasons(
            load.datasource, import_ids=load.import_ids, seconds=load.seconds, limit=_REASONS_READ
        )
        found = client.send(call)
    except TinybirdError as e:
        return f"Why cannot be read: {e}"
    if not found:
        return "There is nothing of it yet that says why."
    # What came in by events has no name of its own: others may have sent at the same time.
    others = not load.import_ids and sum(reason.rows for reason in found) > load.bad
    why = "Why (some may be other loads' rows)" if others else "Why"
    return f"{why}: {'; '.join(_shown(client, reason) for reason in found[:REASONS])}."


def _shown(client: Client, reason: Reason) -> str:
    columns = ", ".join(_cut(client, column) for column in reason.columns) or "whole line"
    errors = "; ".join(_cut(client, error) for error in reason.errors[:REASONS])
    return f"{columns}: {errors or 'no reason given'} ({wording.rows(reason.rows)})"


def _cut(client: Client, text: str) -> str:
    clean = " ".join(redact(text, secret=client.settings.token.value).split())
    return clean if len(clean) <= LONGEST_ERROR else f"{clean[:LONGEST_ERROR]}..."
