"""Durations are whole numbers of some unit: one unit for a column of a load, or the same second would be 1, 1,000 or 1,000,000,000."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_tinybird.ndjson.errors import EncodeError

OF_OBJECTS = "us"
"""The unit of Python objects, whatever library made them, and whatever version of it."""


class Durations:
    """The units that the columns of a load have had so far."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    def note(self, units: Mapping[str, str], first_row: int) -> None:
        """Take in the columns of some rows.

        :param units: the unit of each column that holds durations.
        :param first_row: position of the first row in all of the data.
        :raises EncodeError: a column had another unit before.
        """
        for column, unit in units.items():
            before, row = self._seen.setdefault(column, (unit, first_row))
            if before != unit:
                raise EncodeError(
                    f"durations in '{unit}' from this row on, and in '{before}' from row {row} on: a duration is sent as a whole number in "
                    "the unit of its column, and a load has one unit for a column; convert them to one, for instance with "
                    f'astype("timedelta64[{before}]")',
                    column=column,
                    row=first_row,
                )


def in_fields(fields: Iterable[Any]) -> dict[str, str]:
    """The units of Arrow columns, at every depth.

    :param fields: Arrow fields.
    """
    return {path: unit for field in fields for path, unit in in_type(field.name, field.type)}


def in_type(path: str, kind: Any) -> Iterator[tuple[str, str]]:
    """The units in an Arrow type.

    :param path: name of its column.
    :param kind: Arrow type.
    """
    import pyarrow as pa

    if pa.types.is_duration(kind):
        yield path, kind.unit
    elif pa.types.is_map(kind):
        yield from in_type(f"{path}.key", kind.key_type)
        yield from in_type(f"{path}.value", kind.item_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from in_type(f"{path}.{field.name}", field.type)
    elif hasattr(kind, "value_type"):  # lists, dictionaries, runs
        yield from in_type(path, kind.value_type)


def are_in(kinds: Iterable[type]) -> bool:
    """Whether durations are among Python values.

    :param kinds: types of the values.
    """
    numpy = sys.modules.get("numpy")
    durations = (dt.timedelta,) if numpy is None else (dt.timedelta, numpy.timedelta64)
    return any(issubclass(kind, durations) and kind.__name__ != "NaTType" for kind in kinds)
