"""Numbers that bound how many rows something may concern, as operators take them: they may have been templates."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from airflow_provider_tinybird.api.errors import InvalidInputError


def rows_bound(name: str, value: Any) -> int | None:
    """Read a number of rows.

    :raises InvalidInputError: it is none.
    """
    if value is None:
        return None
    try:
        number = -1 if isinstance(value, bool | float) else int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise InvalidInputError(
            f"{name}={value!r} is no number of rows: give a whole number from 0 on, or leave it out."
        )
    return number


def fraction_bound(name: str, value: Any) -> float | None:
    """Read a part of a whole.

    :raises InvalidInputError: it is none.
    """
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise InvalidInputError(f"{name}={value!r} is no part of a whole: give a number from 0 to 1, such as 0.01.")
    return number


def share_of(fraction: float, total: int) -> Fraction:
    """Take a part of a number of rows as it is written: 0.29 of 100 are 29, and a little less by floating point."""
    return Fraction(str(fraction)) * total


def flag_of(name: str, value: Any) -> bool:
    """Read true or false, which may have been a template.

    :raises InvalidInputError: it is neither.
    """
    texts = {"true": True, "false": False}
    found = value if isinstance(value, bool) else texts.get(str(value).strip().lower())
    if found is None:
        raise InvalidInputError(f"{name}={value!r} is neither true nor false.")
    return found
