"""An interval of time as a condition on a column of a data source, and which rows are in it.

The condition is half-open and means the same instants whatever time zone the column has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import Datasource
from airflow_provider_tinybird.timespans.timestamps import NO_LENGTH, shown

_TYPE = re.compile(r"(Date32|DateTime64|DateTime|Date)(?:\((.*)\))?")
_WRAPPER = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")
_ZONE = re.compile(r"'([^']+)'")

BLOCK = timedelta(minutes=15)
"""Instants within the same quarter of an hour are in the same partition: the offset of each time zone is a multiple of it."""


class Kind(StrEnum):
    """What a column of time holds."""

    DAY = "day"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column that says when something was.

    :param name: its name.
    :param type: its ClickHouse type.
    :param kind: days, or instants.
    :param zone: time zone of its wall clock.
    """

    name: str
    type: str
    kind: Kind
    zone: tzinfo

    @property
    def quoted(self) -> str:
        """Its name in SQL."""
        return quoted(self.name)


def quoted(name: str) -> str:
    """Write a name in SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """Write a text in SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def time_type(name: str, kind: str) -> TimeColumn | None:
    """Read a column's type; ``None`` where it holds no time."""
    plain = kind
    while wrapped := _WRAPPER.fullmatch(plain):
        plain = wrapped[1]
    found = _TYPE.fullmatch(plain)
    if not found:
        return None
    if found[1] in ("Date", "Date32"):
        return TimeColumn(name, plain, Kind.DAY, UTC)
    zone = _ZONE.search(found[2] or "")
    try:
        return TimeColumn(name, plain, Kind.INSTANT, ZoneInfo(zone[1]) if zone else UTC)
    except (ZoneInfoNotFoundError, ValueError) as e:
        raise InvalidInputError(
            f"Column '{name}' has the time zone {zone and zone[1]!r}, which is not known: {e}"
        ) from e


def time_column(datasource: Datasource, name: str) -> TimeColumn:
    """Find a column of time.

    :raises InvalidInputError: there is no such column, or it holds no time.
    """
    types = {column.name: column.type for column in datasource.columns}
    if name not in types:
        raise InvalidInputError(
            f"Data source '{datasource.name}' has no column '{name}'. Its columns: {', '.join(types) or 'not shown'}."
        )
    found = time_type(name, types[name])
    if found is None:
        raise InvalidInputError(
            f"Column '{name}' of data source '{datasource.name}' is {types[name]}: an interval needs Date, Date32, DateTime or DateTime64."
        )
    return found


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of time on a column, its start included and its end not.

    :param column: the column.
    :param start: first instant, UTC; for days the first day.
    :param end: first instant behind it, UTC; for days the first day behind it.
    """

    column: TimeColumn
    start: datetime | date
    end: datetime | date

    @classmethod
    def of(cls, column: TimeColumn, start: datetime, end: datetime, *, zone: tzinfo = UTC) -> Interval:
        """Make the interval of a column.

        :param start: in UTC.
        :param end: in UTC.
        :param zone: whose days a column of days counts.
        :raises InvalidInputError: it is empty, or not of whole days where the column has days.
        """
        if not start < end:
            raise InvalidInputError(
                f"The interval from {shown(start)} to {shown(end)} is empty. {NO_LENGTH if start == end else 'It ends before it begins.'}"
            )
        if column.kind is Kind.INSTANT:
            return cls(column, start, end)
        days = [moment.astimezone(zone) for moment in (start, end)]
        if any(day.time() != time() for day in days):
            raise InvalidInputError(
                f"Column '{column.name}' has days, and the interval from {days[0].isoformat()} to {days[1].isoformat()} is not of whole "
                "ones. Give start and end at midnight, or the time zone whose days the column counts (timezone)."
            )
        return cls(column, days[0].date(), days[1].date())

    @property
    def condition(self) -> str:
        """The SQL condition, for a replace, a delete or a query."""
        return f"{self.column.quoted} >= {_sql(self.start)} AND {self.column.quoted} < {_sql(self.end)}"

    @property
    def edges(self) -> tuple[datetime | date, ...]:
        """The last moment before it and its first one, its last one and the first one behind it."""
        step = timedelta(days=1) if self.column.kind is Kind.DAY else timedelta(seconds=1)
        return self.start - step, self.start, self.end - step, self.end

    def holds(self, value: object) -> bool | None:
        """Tell whether a value of a row is in it; ``None`` where it cannot be read."""
        found = instant(value, self.column)
        return None if found is None else self.start <= found < self.end

    def __str__(self) -> str:
        texts = [shown(one) if isinstance(one, datetime) else one.isoformat() for one in (self.start, self.end)]
        return f"{texts[0]} to {texts[1]}"


def instant(value: object, column: TimeColumn) -> datetime | date | None:
    """Read a value of a column of time, as it is in a frame or a file; ``None`` where it cannot be read.

    A day for a column of days, else an instant in UTC. A wall clock without a zone is that of the column; a number is seconds since 1970.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            value = datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    if isinstance(value, datetime):
        if value != value:  # NaT
            return None
        if column.kind is Kind.DAY:
            return value.date()
        return value.replace(tzinfo=column.zone).astimezone(UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        if column.kind is Kind.DAY:
            return value
        return datetime.combine(value, time(), column.zone).astimezone(UTC)
    return None


def block(value: datetime | date) -> int:
    """Number of the piece of time that a value is in: of a day, or of a quarter of an hour."""
    if isinstance(value, datetime):
        return int((value - datetime(1970, 1, 1, tzinfo=UTC)) // BLOCK)
    return (value - date(1970, 1, 1)).days


def _sql(value: datetime | date) -> str:
    if not isinstance(value, datetime):
        return f"toDate32('{value.isoformat()}')" if not 1970 <= value.year < 2149 else f"toDate('{value.isoformat()}')"
    text = value.astimezone(UTC).replace(tzinfo=None)
    if text.microsecond or not 1970 <= text.year < 2106:
        return f"toDateTime64('{text.isoformat(sep=' ', timespec='microseconds')}', 6, 'UTC')"
    return f"toDateTime('{text.isoformat(sep=' ')}', 'UTC')"
