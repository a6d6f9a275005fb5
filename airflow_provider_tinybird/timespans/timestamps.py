"""Moments of time that users write, on their way into SQL and parameters. What has no zone is UTC, as in Tinybird."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from airflow_provider_tinybird.api.errors import InvalidInputError

Moment = datetime | date | str
"""A moment as users give it: a rendered template is text."""

NO_LENGTH = (
    "Runs that were triggered by hand, and all runs of a CronTriggerTimetable, have an interval without length: give start and end (they "
    "are templates), or schedule the DAG by data intervals, as with CronDataIntervalTimetable."
)
"""What to do about an interval that has no length, as the one of a run may."""


def moment(value: object, name: str) -> datetime:
    """Read a moment.

    :param value: datetime, date, or ISO 8601 text of either.
    :param name: the argument's name, for the message.
    :return: the moment in UTC.
    :raises InvalidInputError: it is none of these.
    """
    found: object = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            found = None
    if isinstance(found, datetime):
        # The standard library's own class: Airflow's dates may be of a subclass that reckons differently.
        plain = datetime.combine(found.date(), found.time(), found.tzinfo)
        return plain.replace(tzinfo=UTC) if plain.tzinfo is None else plain.astimezone(UTC)
    if isinstance(found, date):
        return datetime(found.year, found.month, found.day, tzinfo=UTC)
    raise InvalidInputError(
        f"{name}={value!r} is no moment: give a datetime, or text such as 2026-01-31T00:00:00+00:00."
    )


def shown(value: datetime) -> str:
    """Write a moment for people, without a fraction where there is none."""
    return value.isoformat(sep=" ").replace("+00:00", " UTC")


def sql_moment(value: datetime) -> str:
    """Write a moment as an SQL expression that means the same whatever the time zone of the column it is compared with."""
    return f"toDateTime64('{value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ', timespec='microseconds')}', 6, 'UTC')"


def sql_value(value: object, name: str) -> str:
    """Write what a column is compared with as an SQL expression: a number, or a moment.

    :param name: the argument's name, for the message.
    :raises InvalidInputError: it is neither.
    """
    if isinstance(value, str):
        try:
            value = Decimal(value.strip())
        except ArithmeticError:
            return sql_moment(moment(value, name))
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return sql_moment(moment(value, name))
    number = Decimal(str(value))
    if not number.is_finite():
        raise InvalidInputError(f"{name}={value!r} is no number that a column can be compared with.")
    return f"{number:f}"
