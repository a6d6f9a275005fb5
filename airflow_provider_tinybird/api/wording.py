"""How things are said in a task's log: lengths of time, numbers of rows, and what a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_tinybird.api.redact import redact

LONGEST_VALUE = 500
"""Characters of one value in a line of the log."""


def duration(seconds: float) -> str:
    """Say a length of time: ``2.5 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def rows(number: int) -> str:
    """Say a number of rows: ``1 row``, ``27,004 rows``."""
    return f"{number:,} row{'' if number == 1 else 's'}"


def details(request: Mapping[str, Any]) -> str:
    """Say what a request asks for, in parentheses and after a blank, without what it leaves at its default.

    Long values are cut, addresses lose their query strings, which may be credentials.
    """
    told = [f"{name}={value(item)}" for name, item in request.items() if not _is_nothing(item)]
    return f" ({', '.join(told)})" if told else ""


def _is_nothing(item: object) -> bool:
    return item is None or item is False or (isinstance(item, str | Mapping) and not item)


def value(item: object) -> str:
    """Say a value on one line."""
    text = redact(item if isinstance(item, str) else repr(item))
    text = " ".join(text.split())
    if len(text) > LONGEST_VALUE:
        text = f"{text[:LONGEST_VALUE]}... ({len(text) - LONGEST_VALUE:,} characters more)"
    return f"'{text}'" if isinstance(item, str) else text
