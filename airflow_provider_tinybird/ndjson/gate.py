"""What all rows pass before they are encoded: a look at the columns whose data source would change values without a word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_tinybird.api.clickhouse_types import parse
from airflow_provider_tinybird.ndjson.errors import BadValueError, EncodeError
from airflow_provider_tinybird.ndjson.narrowing import Cells, Reader, Target, items_of, look, member_of, target_of

_STEP = re.compile(r"\.?\[(?:\"([^\"]+)\"|'([^']+)')\]|\.([^.\[\]]+)|(\[(?:\*|:)\])")
UNSEEN = "whether the column holds the values cannot be told"
_WAY_OUT = "Convert them to the type of the column, or give on_narrowing='allow'"
_EACH = None
"""The step of a path that goes into each item of an array."""


@dataclass(frozen=True, slots=True)
class GatedColumn:
    """A column of a data source whose values are looked at.

    :param name: its name.
    :param key: of a record, which its values come from.
    :param steps: from there to the values: keys, and ``None`` for each item of an array.
    :param target: its type.
    """

    name: str
    key: str
    steps: tuple[str | None, ...]
    target: Target

    @classmethod
    def of(cls, name: str, kind: str, path: str, *, typed: bool = False) -> GatedColumn | None:
        """Read a column; ``None`` where its values cannot be changed, or nothing is known of it.

        :param name: its name.
        :param kind: its type.
        :param path: its JSONPath; empty for the key of its own name.
        :param typed: whether every misfit counts, as in a file that is read by type.
        """
        target = target_of(parse(kind))
        steps = _steps(path) if path else (name,)
        if target is None or not steps or steps[0] is None or not (target.needs_look or typed):
            return None
        key, *rest = steps
        if rest and rest[-1] is _EACH:  # the array itself is the value
            rest.pop()
        return cls(name, str(key), tuple(rest), target)

    def look(self, values: Any, reader: Reader) -> None:
        """Look at what records have under its key.

        :param values: Arrow array, or Python values.
        :param reader: how they are read.
        :raises BadValueError: one would be changed.
        """
        cells: Cells | None = Cells(values)
        is_inside = False
        for step in self.steps:
            if cells is None or not len(cells.values):
                return
            if step is _EACH:
                cells, is_inside = items_of(cells), True
            else:
                cells = member_of(cells, step)
        if cells is not None:
            target = getattr(self.target, "item", self.target) if is_inside else self.target
            strict = is_inside and target is not None and target.nullable
            look(target, cells, reader, strict=strict)


class Gate:
    """The columns of a data source whose values are looked at.

    :param columns: these.
    :param reader: how the values are going to be read.
    """

    def __init__(self, columns: Sequence[GatedColumn], reader: Reader) -> None:
        self._columns: dict[str, list[GatedColumn]] = {}
        for column in columns:
            self._columns.setdefault(column.key, []).append(column)
        self._reader = reader
        self.keys = frozenset(self._columns)
        """Keys of records that are looked at."""

    def look(self, values: Iterable[tuple[str, Any]], first_row: int) -> None:
        """Look at some rows.

        :param values: by key: Arrow array, or Python values.
        :param first_row: position of the first row in all of the data, for errors.
        :raises EncodeError: a value would be changed.
        """
        for key, column in values:
            for one in self._columns.get(key, ()):
                try:
                    one.look(column, self._reader)
                except BadValueError as error:
                    raise error.located(one.name, first_row) from None
                except Exception as error:  # what nobody thought of must not send a value unseen, nor hide the way out
                    raise EncodeError(
                        f"{UNSEEN} ({type(error).__name__}: {error}). {_WAY_OUT}", column=one.name
                    ) from error


def _steps(path: str) -> tuple[str | None, ...] | None:
    rest, steps = path.removeprefix("$"), []
    while rest:
        found = _STEP.match(rest)
        if found is None:
            return None
        steps.append(found[1] or found[2] or found[3])
        rest = rest[found.end() :]
    return tuple(steps)
