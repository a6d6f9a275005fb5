"""What is asked before rows are destroyed: is this the workspace that was meant, and are these as many rows as were meant.

Nothing here knows Airflow.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_tinybird.api import datasources, query, wording, workspaces
from airflow_provider_tinybird.api.always_true import is_always_true
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import AccessDeniedError, InvalidInputError, NotFoundError, TinybirdError
from airflow_provider_tinybird.api.models import QueryResult
from airflow_provider_tinybird.api.sqltext import identifier
from airflow_provider_tinybird.arguments import flag_of, fraction_bound, rows_bound, share_of

log = logging.getLogger(__name__)

ALL_ROWS = "1 = 1"
"""A condition that holds for every row."""


class GuardError(TinybirdError):
    """A guard refused before anything was changed."""

    retry_can_help = False


class WrongWorkspaceError(GuardError):
    """The token belongs to another workspace than was expected, or may not see to which."""


class RowsOutOfBoundsError(GuardError):
    """As many rows would be destroyed, or as few, as was not meant."""


class EmptyLoadError(TinybirdError):
    """There are no rows to load, and nothing was sent. Trying again helps where there are some by then."""


class TooFewRowsError(TinybirdError):
    """A job is done and wrote fewer rows than was expected."""

    retry_can_help = False


def check_workspace(client: Client, expected: str) -> None:
    """See that the token belongs to the workspace that was meant.

    :param expected: name of the workspace, or its id.
    :raises WrongWorkspaceError: it does not, or may not see it.
    """
    if not isinstance(expected, str) or not expected.strip():
        raise InvalidInputError(
            f"expected_workspace={expected!r} is blank: name the workspace, or leave it out to take the connection's."
        )
    try:
        found = client.send(workspaces.get_workspace())
    except (AccessDeniedError, NotFoundError) as e:
        if not e.is_final:  # a page of something in front of Tinybird says nothing of the token
            raise
        raise WrongWorkspaceError(
            f"Nothing was changed: workspace '{expected}' is expected, and this token may not see which workspace it belongs to. Use "
            "a token that may (scope ADMIN or WORKSPACE:READ_ALL), or take expected_workspace off the task and 'workspace' off the "
            f"connection. {e}"
        ) from e
    if expected not in (found.name, found.id):
        raise WrongWorkspaceError(
            f"Nothing was changed: the token belongs to workspace '{found.name}' at {client.settings.base_url}, and '{expected}' is "
            "expected. Check which connection the task uses."
        )
    log.info("The token belongs to workspace '%s', as expected.", found.name)


def count_matching(client: Client, datasource: str, condition: str) -> int | None:
    """Count the rows that a condition holds for; ``None`` where the token may not know."""
    try:
        rows = query.sql(f"SELECT count() AS c FROM {identifier(datasource)} WHERE ({condition}\n)")  # noqa: S608 - the user's own condition
        return client.send(rows.then(_count))
    except TinybirdError as e:
        log.info("How many rows of data source '%s' match the condition is not known: %s", datasource, e)
        return None


def count_rows(client: Client, datasource: str) -> int | None:
    """Count the rows of a data source; ``None`` where the token may not know.

    Tinybird's own count in the description of a data source may be a little old, so it is taken only where the token may
    not run a query.
    """
    try:
        return client.send(query.sql(f"SELECT count() AS c FROM {identifier(datasource)}").then(_count))  # noqa: S608 - quoted
    except TinybirdError as e:
        log.debug("Counting the rows of '%s' by a query failed: %s", datasource, e)
    try:
        return client.send(datasources.get_datasource(datasource)).rows
    except TinybirdError as e:
        log.info("How many rows data source '%s' has is not known: %s", datasource, e)
        return None


def _count(result: QueryResult) -> int:
    return int(result.data[0]["c"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteBounds:
    """How many rows a delete may take.

    :param min_rows: at least so many; ``None`` for no such bound.
    :param max_rows: at most so many; ``None`` for no such bound.
    :param max_fraction: at most this part of the data source's rows, from 0 to 1; ``None`` for no such bound.
    :param allow_all: whether all rows may go.
    """

    min_rows: int | None = None
    max_rows: int | None = None
    max_fraction: float | None = None
    allow_all: bool = False

    @classmethod
    def parse(cls, *, min_rows: Any, max_rows: Any, max_fraction: Any, allow_all: Any) -> DeleteBounds:
        """Read the arguments of an operator, which may have been templates.

        :raises InvalidInputError: one of them cannot be used.
        """
        return cls(
            min_rows=rows_bound("min_rows", min_rows),
            max_rows=rows_bound("max_rows", max_rows),
            max_fraction=fraction_bound("max_fraction", max_fraction),
            allow_all=flag_of("allow_all", allow_all),
        )

    @property
    def needs_count(self) -> bool:
        """Whether the rows have to be counted first."""
        return not self.allow_all or (self.min_rows, self.max_rows, self.max_fraction) != (None, None, None)

    def condition(self, condition: str) -> str:
        """Read the condition; a blank one means all rows, where these may go.

        :raises InvalidInputError: it is always true, or blank, and not all rows may go.
        """
        blank = isinstance(condition, str) and not condition.strip()
        if not self.allow_all and isinstance(condition, str) and (blank or is_always_true(condition)):
            what = "blank" if blank else "true for every row"
            raise InvalidInputError(
                f"delete_condition is {what} ({condition!r}): give a SQL condition such as \"day < '2024-01-01'\". If all rows are to "
                "go, truncate the data source, or set allow_all=True."
            )
        return ALL_ROWS if blank else condition

    def check(self, matching: int, total: int | None, datasource: str, *, may_be_gone: bool = False) -> None:
        """Hold the bounds against what a dry run counted.

        :param matching: rows that would be deleted.
        :param total: rows of the data source; ``None`` where that is not known.
        :param may_be_gone: whether an earlier attempt may have deleted them, so that there may be too few.
        :raises RowsOutOfBoundsError: it would delete too many rows, or too few.
        """
        what = f"it would delete {matching}{'' if total is None else f' of {total}'} rows of data source '{datasource}'"
        if self.min_rows is not None and matching < self.min_rows:
            if not may_be_gone:
                raise _refused(what, f"min_rows={self.min_rows} asks for more", "Check the condition.")
            log.info("%s%s; an earlier attempt may have deleted the others.", what[:1].upper(), what[1:])
        if self.max_rows is not None and matching > self.max_rows:
            raise _refused(what, f"max_rows={self.max_rows} allows fewer", "Check the condition, or raise max_rows.")
        if matching == 0:
            return
        if total is None:
            self._unknown_total(what)
            return
        if self.max_fraction is not None and matching > share_of(self.max_fraction, total):
            allowed = f"max_fraction={self.max_fraction:g} allows {math.floor(share_of(self.max_fraction, total))}"
            raise _refused(what, allowed, "Check the condition, or raise max_fraction.")
        if not self.allow_all and matching >= total:
            raise _refused(what, "these are all rows", "Check the condition; if all are to go, set allow_all=True.")

    def _unknown_total(self, what: str) -> None:
        if self.max_fraction is None and self.allow_all:
            return
        raise _refused(
            what,
            "how many there are is not known",
            "Give the token read on the data source, or set allow_all=True and max_rows instead of max_fraction.",
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found before something was destroyed; kept until the task is over, across its attempts.

    :param rows_before: rows that there were; ``None`` where that is not known.
    """

    rows_before: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {"rows_before": self.rows_before}

    @classmethod
    def of_attempt(cls, earlier: Mapping[str, Any] | None, now: int | None) -> Facts:
        """Take what an earlier attempt found, which may have destroyed the rows since, or what is found now."""
        known = (earlier or {}).get("rows_before")
        return cls(rows_before=known if isinstance(known, int) else now)


def check_truncate(rows: int | None, max_rows: int | None, datasource: str) -> None:
    """Hold a bound against the rows that a truncate would delete.

    :param rows: rows that there are; ``None`` where that is not known.
    :param max_rows: rows that may go at most; ``None`` for no such bound.
    :raises RowsOutOfBoundsError: there are more, or it is not known.
    """
    if max_rows is None:
        return
    what = f"data source '{datasource}' has {'an unknown number of' if rows is None else rows} rows"
    if rows is None:
        raise _refused(what, f"max_rows={max_rows} asks", "Give the token read on it.")
    if rows > max_rows:
        raise _refused(what, f"max_rows={max_rows} allows fewer", "Check its name, or raise max_rows.")


def check_rows_written(rows: int | None, min_rows: int | None, target: str, *, replaces: bool) -> None:
    """See that a job that is done wrote as many rows as was expected.

    :param rows: rows that it wrote; ``None`` where Tinybird does not tell.
    :param min_rows: rows that were expected at least; ``None`` for no such bound.
    :param target: what it wrote to, for the message.
    :param replaces: whether these took the place of others.
    :raises TooFewRowsError: it wrote fewer, or it is not known how many.
    """
    gone = " What was there before may be gone." if replaces else ""
    if min_rows is None:
        if rows == 0 and replaces:
            log.warning("No rows were written to '%s'.%s min_rows=1 makes that a failure.", target, gone)
        return
    if rows is None:
        raise TooFewRowsError(
            f"How many rows were written to '{target}' is not known, and min_rows={min_rows} asks: look at it, then mark the task as "
            "success."
        )
    if rows < min_rows:
        is_in = "" if replaces else "They are in, so this is not retried. "
        raise TooFewRowsError(
            f"{wording.rows(rows)} were written to '{target}', and min_rows={min_rows} asks for more.{gone}\n"
            f"{is_in}See what is missing where the rows come from before you run this task again."
        )


def _refused(what: str, why: str, way_out: str) -> RowsOutOfBoundsError:
    return RowsOutOfBoundsError(f"Nothing was deleted: {what}, and {why}. {way_out}")
