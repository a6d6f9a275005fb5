# ruff: noqa: S608 - names go into SQL through table() and values through sql_value(); conditions are the user's own SQL
"""The questions that sensors and checks ask, and how their answers are judged. They go to a triggerer as plain JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.encoding import is_id, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.exact_rows import decimals_as_text
from airflow_provider_tinybird.api.models import Job, JobStatus, QueryResult
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.timespans.timestamps import NO_LENGTH, Moment, moment, shown, sql_moment, sql_value

_DAY_OR_NUMBER = re.compile(r"\d{8}")
_TABLE = re.compile(r"\w+(\.\w+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer says.

    :param is_met: whether it is what is waited for.
    :param says: what was seen, for people: the end of a sentence.
    :param broken: why it can no longer come, a full sentence; empty while it can.
    :param facts: what was seen, as JSON.
    """

    is_met: bool
    says: str
    broken: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Check(Protocol):
    """Something to ask Tinybird by one call."""

    @property
    def what(self) -> str:
        """What is waited for, for people."""

    @property
    def call(self) -> Call[Any]:
        """The call."""

    def judge(self, answer: Any) -> Verdict:
        """Judge its answer."""

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlCheck:
    """A SELECT that is answered by one row: ``is_met``, and what was seen.

    :param sql: the SELECT.
    :param what: what is waited for, for people.
    """

    sql: str
    what: str

    @property
    def call(self) -> Call[QueryResult]:
        """The query."""
        return query.sql(self.sql)

    def judge(self, answer: QueryResult) -> Verdict:
        """Read the row."""
        row = dict(answer.data[0]) if answer.data else {}
        is_met = bool(row.pop("is_met", 0))
        # 64 bit integers may come as text.
        numbers = {column.name for column in answer.meta if column.type.startswith(("UInt", "Int"))}
        facts = {name: int(value) if name in numbers else decimals_as_text(value) for name, value in row.items()}
        says = ", ".join(f"{name} is {value}" for name, value in facts.items()) or "there is no row"
        return Verdict(is_met=is_met, says=says, facts=facts)

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON."""
        return {"kind": "sql", **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCellCheck:
    """A SELECT whose first cell decides, as in Airflow's SqlSensor.

    :param sql: the SELECT.
    """

    sql: str

    @property
    def what(self) -> str:
        """What is waited for, for people."""
        return "the first cell of the query to be true"

    @property
    def call(self) -> Call[QueryResult]:
        """The query."""
        return query.sql(self.sql)

    def judge(self, answer: QueryResult) -> Verdict:
        """Take the first cell for true unless it is empty, null, zero or false."""
        if not answer.data:
            return Verdict(is_met=False, says="the query has no row")
        name, value = next(iter(answer.data[0].items()), ("", None))
        is_met = value not in (None, "", 0, "0", "false", False, [], {})
        value = decimals_as_text(value)
        return Verdict(is_met=is_met, says=f"{name or 'the first cell'} is {value!r}", facts={"value": value})

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON."""
        return {"kind": "first_cell", **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCheck:
    """Whether a copy of a pipe that was started since a moment is done.

    :param pipe: name or id of the pipe.
    :param since: the moment, ISO 8601 in UTC.
    :param fails_with_copy: whether a newest copy that failed or was cancelled ends the wait.
    """

    pipe: str
    since: str
    fails_with_copy: bool = False

    @property
    def what(self) -> str:
        """What is waited for, for people."""
        return f"a copy of pipe '{self.pipe}' since {shown(self._since)}"

    @property
    def _since(self) -> datetime:
        return moment(self.since, "since")

    @property
    def call(self) -> Call[tuple[Job, ...]]:
        """The list of the pipe's jobs."""
        key = "pipe_id" if is_id(self.pipe) else "pipe_name"
        resource_name("pipe", self.pipe)
        return jobs_api.list_jobs(kind="copy", **{key: self.pipe})

    def judge(self, answer: tuple[Job, ...]) -> Verdict:
        """Look at the copies since then, newest first; one that goes on decides nothing."""
        copies = [job for job in answer if job.created_at is not None and job.created_at >= self._since]
        copies.sort(key=lambda job: job.created_at or self._since, reverse=True)
        ended = next((job for job in copies if job.status.is_terminal), None)
        if ended is None:
            going_on = f"{copies[0]} is {copies[0].status_text}" if copies else "there is none"
            return Verdict(is_met=False, says=f"of the copies since {shown(self._since)} none is over; {going_on}")
        facts = {"job_id": ended.id, "status": ended.status_text}
        if ended.status is JobStatus.DONE:
            return Verdict(is_met=True, says=f"{ended} is done", facts=facts)
        why = f"{ended} of pipe '{self.pipe}' is {ended.status_text}" + (f": {ended.error}" if ended.error else "")
        broken = f"The newest copy did not succeed: {why}" if self.fails_with_copy else ""
        return Verdict(is_met=False, says=why, broken=broken, facts=facts)

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON."""
        return {"kind": "copy", **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineCheck:
    """Whether the quarantine of a data source stays clean over a window of time, to its end.

    :param datasource: name of the data source.
    :param start: begin of the window, ISO 8601 in UTC.
    :param end: its end, which is not in it; ``None`` for now.
    :param max_rows: rows that may be in quarantine.
    :param condition: SQL condition; only rows that match count.
    """

    datasource: str
    start: str
    end: str | None = None
    max_rows: int = 0
    condition: str | None = None

    @property
    def what(self) -> str:
        """What is waited for, for people."""
        return f"the end of a window with at most {self.max_rows} rows in quarantine of '{self.datasource}'"

    @property
    def window(self) -> str:
        """The window, for people."""
        until = f" until {shown(moment(self.end, 'end'))}" if self.end else ""
        return f"since {shown(moment(self.start, 'start'))}{until}"

    @property
    def call(self) -> Call[QueryResult]:
        """The query. Error columns are lists: one row can be wrong in several columns."""
        is_over = f"now() >= {sql_moment(moment(self.end, 'end'))}" if self.end else "1"
        found = query.sql(
            f"SELECT {is_over} AS is_over, count() AS rows, topK(3)(reason_found) AS reasons FROM ("
            "SELECT concat(arrayStringConcat(c__error_column, ', '), ': ', arrayStringConcat(c__error, ', ')) AS reason_found "
            f"FROM {table(self.datasource)}_quarantine WHERE {window_of('insertion_date', self.start, self.end)}{_and(self.condition)})"
        )
        return found.then(_one_row_of_quarantine)

    def judge(self, answer: QueryResult) -> Verdict:
        """Count, and say why."""
        row = answer.data[0]
        rows, is_over = int(row["rows"]), bool(row["is_over"])
        reasons = [redact(str(reason))[:200] for reason in row["reasons"]]
        says = f"{rows} rows came into {self.datasource}_quarantine {self.window}"
        facts = {"rows": rows, "reasons": reasons}
        if rows <= self.max_rows:
            return Verdict(is_met=is_over, says=says, facts=facts)
        broken = (
            f"{says}, and max_rows allows {self.max_rows}. Reasons: {'; '.join(reasons)}. Look at them: SELECT * FROM "
            f"{self.datasource}_quarantine. Mend what sends them, and send the good ones again."
        )
        return Verdict(is_met=False, says=says, broken=broken, facts=facts)

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON."""
        return {"kind": "quarantine", **asdict(self)}


def _one_row_of_quarantine(result: QueryResult) -> QueryResult:
    row = result.data[0]
    int(row["rows"]), row["is_over"], [*row["reasons"]]  # what is judged later must be there
    return result


_KINDS: dict[str, type[Any]] = {
    "sql": SqlCheck,
    "first_cell": FirstCellCheck,
    "copy": CopyCheck,
    "quarantine": QuarantineCheck,
}


def from_json(value: Mapping[str, Any]) -> Check:
    """Read a question that was written as JSON.

    :raises InvalidInputError: this version does not know it.
    """
    kind = _KINDS.get(str(value.get("kind")))
    names = kind.__dataclass_fields__ if kind else {}
    try:
        if kind is None:
            raise TypeError
        question: Check = kind(**{name: item for name, item in value.items() if name in names})
    except TypeError:
        raise InvalidInputError(
            f"A question of the kind {value.get('kind')!r} with {', '.join(sorted(value))} is not known to this version: are worker and "
            "triggerer on the same version of this provider?"
        ) from None
    return question


def freshness(
    datasource: str, column: str, *, at_least: object = None, max_age: float | None = None, condition: str | None = None
) -> SqlCheck:
    """Ask whether the newest value of a column is new enough.

    :param column: the column, or an SQL expression.
    :param at_least: number or moment that it must reach.
    :param max_age: seconds that it may be old, by Tinybird's clock, instead.
    :param condition: only rows that match count.
    """
    if (at_least in (None, "")) == (max_age is None):
        raise InvalidInputError(f"Give either at_least or max_age: at_least is {at_least!r}, max_age is {max_age!r}.")
    if not column.strip():
        raise InvalidInputError("column is empty: name the column whose newest value is looked at.")
    if max_age is None:
        is_new, shown_limit = _reaches(at_least), f"at least {at_least}"
    else:
        is_new = f"newest_found >= now64(3) - toIntervalMillisecond({round(max_age * 1000)})"
        shown_limit = f"at most {max_age:g} s old"
    # Aliases that no column is likely to have: one of the same name would take its place in the condition.
    sql = (
        # max() of no rows is a value too: the oldest there is.
        f"SELECT rows_found > 0 AND {is_new} AS is_met, rows_found AS rows, newest_found AS newest "
        f"FROM (SELECT count() AS rows_found, max({column}) AS newest_found FROM {table(datasource)}{_where(condition)})"
    )
    return SqlCheck(sql=sql, what=f"{column} of data source '{datasource}' to be {shown_limit}")


def _reaches(at_least: object) -> str:
    """Write the SQL condition that the newest value is at least so much."""
    limit = sql_value(at_least, "at_least")
    if not (isinstance(at_least, str) and _DAY_OR_NUMBER.fullmatch(at_least.strip())):
        return f"newest_found >= {limit}"
    try:
        day = sql_moment(moment(at_least, "at_least"))
    except InvalidInputError:
        return f"newest_found >= {limit}"
    # Text such as {{ ds_nodash }}, which the type of the column decides: as a number of seconds each time would have reached it.
    newest = "accurateCastOrNull(newest_found, 'DateTime64(6, \\'UTC\\')')"
    number = "accurateCastOrNull(newest_found, 'Float64')"
    return f"if(toTypeName(newest_found) LIKE '%Date%', {newest} >= {day}, {number} >= {limit})"


def enough_rows(datasource: str, *, min_rows: int = 1, condition: str | None = None) -> SqlCheck:
    """Ask whether a data source has enough rows.

    :param condition: only rows that match count.
    """
    sql = (
        f"SELECT rows_found >= {row_count(min_rows, 'min_rows')} AS is_met, rows_found AS rows "
        f"FROM (SELECT count() AS rows_found FROM {table(datasource)}{_where(condition)})"
    )
    which = f" that match {condition}" if condition else ""
    return SqlCheck(sql=sql, what=f"{min_rows} rows of data source '{datasource}'{which}")


def clean_quarantine(
    datasource: str, *, start: Moment, end: Moment | None = None, max_rows: object = 0, condition: str | None = None
) -> QuarantineCheck:
    """Ask whether no more rows than allowed came into the quarantine of a data source over a window of time.

    :param end: empty for now.
    :param condition: only rows of the quarantine that match count.
    """
    if not datasource:
        raise InvalidInputError("datasource is empty: name the data source whose quarantine is looked at.")
    return QuarantineCheck(
        datasource=datasource,
        start=moment(start, "start").isoformat(),
        end=moment(end, "end").isoformat() if end else None,
        max_rows=row_count(max_rows, "max_rows"),
        condition=condition,
    )


def window_of(column: str, start: Moment, end: Moment | None) -> str:
    """Write the SQL condition for rows of a window of time.

    :param column: column with the time, or an SQL expression.
    :raises InvalidInputError: the window is empty.
    """
    begin = moment(start, "start")
    if end is None:
        return f"{column} >= {sql_moment(begin)}"
    until = moment(end, "end")
    if until <= begin:
        why = NO_LENGTH if until == begin else "It ends before it begins."
        raise InvalidInputError(f"The window from start={shown(begin)} to end={shown(until)} is empty. {why}")
    return f"{column} >= {sql_moment(begin)} AND {column} < {sql_moment(until)}"


def table(datasource: str) -> str:
    """Check the name of a data source before it goes into SQL.

    :raises InvalidInputError: it cannot be one.
    """
    resource_name("data source", datasource)
    if not _TABLE.fullmatch(datasource):
        raise InvalidInputError(f"{datasource!r} cannot be the name of a data source in SQL.")
    return datasource


def _where(condition: str | None) -> str:
    return f" WHERE ({condition}\n)" if condition and condition.strip() else ""


def _and(condition: str | None) -> str:
    return f" AND ({condition}\n)" if condition and condition.strip() else ""


def row_count(value: object, name: str) -> int:
    """Read a number of rows that may have been a template."""
    try:
        count = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    except ValueError:
        count = -1
    if count < 0:
        raise InvalidInputError(f"{name}={value!r} is no number of rows.")
    return count
