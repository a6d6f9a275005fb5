"""A span of time cut into windows: half-open, in UTC, along the calendar where a unit of the calendar is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.timespans.timestamps import shown

MOST = 10_000
"""Windows of one task."""

_STEP = re.compile(r"(?:(\d+)\s*)?(minute|hour|day|week|month|quarter|year)s?", re.IGNORECASE)
_LENGTHS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
# A middle is put on the coarsest of these that lies inside, so that halves begin where days and hours do.
_GRAINS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """From a moment, which is in it, to another, which is not; both in UTC."""

    start: datetime
    end: datetime

    @property
    def key(self) -> str:
        """Short text that tells it from others, for use in a key."""
        return "-".join(edge.strftime("%Y%m%dT%H%M%S.%f").removesuffix(".000000") for edge in (self.start, self.end))

    def to_json(self) -> list[str]:
        """Write it as plain JSON."""
        return [self.start.isoformat(), self.end.isoformat()]

    @classmethod
    def from_json(cls, value: list[str]) -> Window:
        """Read what :meth:`to_json` wrote."""
        return cls(datetime.fromisoformat(value[0]), datetime.fromisoformat(value[1]))

    def __str__(self) -> str:
        return f"{shown(self.start).removesuffix(' UTC')} to {shown(self.end)}"


def cut(start: datetime, end: datetime, step: object) -> tuple[Window, ...]:
    """Cut a span into windows, without a gap and without an overlap.

    :param start: begin, in UTC.
    :param end: end, in UTC, which is not in it.
    :param step: ``day``, ``6 hours``, ``month``, ...: windows begin where these do in the calendar, so that the first and the
        last may be shorter. Or a timedelta, or a relativedelta, which are counted from the start.
    :raises InvalidInputError: the span is empty, the step is none, or there would be too many windows.
    """
    if end <= start:
        raise InvalidInputError(f"The range from start={shown(start)} to end={shown(end)} is empty.")
    edge_at = _edges(start, step)
    edges, count = [start], 1
    while edges[-1] < end:
        try:
            edge = edge_at(count)
        except (OverflowError, ValueError):  # beyond the year 9999
            edge = end
        if edge <= edges[-1]:
            raise InvalidInputError(f"window={step!r} does not lead forward from {shown(edges[-1])}.")
        edges.append(min(edge, end))
        count += 1
        if len(edges) > MOST + 1:
            raise InvalidInputError(
                f"window={step!r} cuts the range into more than {MOST:,} windows: take larger ones, or several tasks."
            )
    return tuple(Window(*pair) for pair in pairwise(edges))


def halves(
    window: Window, *, shortest: timedelta, can_be: Callable[[datetime], bool] = lambda _: True
) -> tuple[Window, Window] | None:
    """Halve a window, as near to its middle as a full day, hour, minute or second allows.

    :param shortest: no half may be shorter.
    :param can_be: whether a moment can be an edge.
    :return: the halves; ``None`` where it cannot be halved.
    """
    middle = window.start + (window.end - window.start) / 2
    for grain in _GRAINS:
        edge = middle - (middle - _MONDAY) % grain
        if window.start < edge < window.end and can_be(edge):
            # The first that fits is taken whatever the shortest is, so that the halves are the same in each attempt.
            if min(edge - window.start, window.end - edge) < shortest:
                return None
            return Window(window.start, edge), Window(edge, window.end)
    return None


def length(value: object, name: str) -> timedelta:
    """Read a length of time: a timedelta, seconds, or text such as ``6 hours``.

    :param name: the argument's name, for the message.
    :raises InvalidInputError: it is none of these, or not positive.
    """
    found: timedelta | None = value if isinstance(value, timedelta) else None
    if isinstance(value, str) and (step := _STEP.fullmatch(value.strip())) and step[2].lower() in _LENGTHS:
        found = _LENGTHS[step[2].lower()] * int(step[1] or 1)
    elif found is None and not isinstance(value, bool):
        try:
            found = timedelta(seconds=float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            found = None
    if found is None or found <= timedelta(0):
        raise InvalidInputError(
            f"{name}={value!r} is no length of time: give a timedelta, seconds, or text such as '6 hours'."
        )
    return found


def _edges(start: datetime, step: object) -> Callable[[int], datetime]:
    """Return a function from a number to the edge with that number."""
    if isinstance(step, str):
        return _calendar_edges(start, step)
    if isinstance(step, timedelta) and step > timedelta(0):
        return lambda number: start + step * number
    if hasattr(step, "months") and hasattr(step, "years"):  # a relativedelta, of a package that is not needed here
        # From the start each time: by steps, 31 January would become 28 March by way of February.
        delta: Any = step
        return lambda number: _plain(start + delta * number)
    raise _no_step(step)


def _calendar_edges(start: datetime, step: str) -> Callable[[int], datetime]:
    found = _STEP.fullmatch(step.strip())
    unit, number = (found[2].lower(), int(found[1] or 1)) if found else ("", 0)
    if number == 0:
        raise _no_step(step)
    if unit in _LENGTHS:
        span = _LENGTHS[unit] * number
        # Six hours begin at 0, 6, 12 and 18 o'clock; ten days have no beginning of their own in the calendar.
        grain = span if timedelta(days=1) % span == timedelta(0) else _LENGTHS[unit]
        origin = start - (start - _MONDAY) % grain
        return lambda count: origin + span * count
    months = _MONTHS[unit]
    first = (start.year * 12 + start.month - 1) // months * months
    return lambda count: _month(first + months * number * count)


def _month(number: int) -> datetime:
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _plain(value: datetime) -> datetime:
    return datetime.combine(value.date(), value.time(), UTC)


def _no_step(step: object) -> InvalidInputError:
    return InvalidInputError(
        f"window={step!r} is no window: give 'hour', '6 hours', 'day', 'week', 'month', 'quarter', 'year', a timedelta or a relativedelta."
    )
