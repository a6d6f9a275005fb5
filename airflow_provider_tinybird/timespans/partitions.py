# ruff: noqa: S608 - values go into SQL through literal() and names through quoted()
"""Partitions of a data source: which of them rows fall into, and whether an interval ends where they end.

A replace by condition takes old rows away only from partitions that new rows are in. What those are is for ClickHouse to say: rows are
told apart by the columns of the partition key alone, and Tinybird computes the key for them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import ApiError
from airflow_provider_tinybird.api.models import Datasource
from airflow_provider_tinybird.api.query import sql as query
from airflow_provider_tinybird.timespans.intervals import (
    Interval,
    Kind,
    TimeColumn,
    block,
    instant,
    literal,
    quoted,
    time_type,
)

log = logging.getLogger(__name__)

MOST = 5000
"""Combinations of values of the partition key that are told apart."""

_AT_ONCE = 100  # combinations in one query: its text has an end
_PARTITION_BY = re.compile(r"PARTITION BY (.*?)(?: PRIMARY KEY| ORDER BY| SAMPLE BY| TTL| SETTINGS|$)", re.DOTALL)
_BLOCK_SECONDS = {Kind.DAY: 86_400, Kind.INSTANT: 900}


@dataclass(frozen=True, slots=True)
class PartitionKey:
    """How a data source is partitioned.

    :param expression: the key, as in the data source.
    :param plain: columns in it that hold no time, with their types.
    :param moment: the column in it that holds time.
    """

    expression: str
    plain: tuple[tuple[str, str], ...]
    moment: TimeColumn | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in it."""
        return (*(name for name, _ in self.plain), *((self.moment.name,) if self.moment else ()))

    @property
    def text(self) -> str:
        """Its value in SQL, as a text."""
        return f"toString(tuple({self.expression}))"


def partition_key(datasource: Datasource) -> PartitionKey | None:
    """Read the partition key; ``None`` where there is none, or where it is not shown or has several columns of time."""
    engine = datasource.engine
    shown = _PARTITION_BY.search(str(engine.get("engine_full") or ""))
    expression = str(engine.get("partition_key") or (shown[1] if shown else "")).strip()
    if expression in ("", "tuple()"):
        return None
    words = set(re.findall(r"\w+", re.sub(r"'[^']*'", "", expression)))
    used = [column for column in datasource.columns if column.name in words]
    moments = [found for column in used if (found := time_type(column.name, column.type))]
    names = {found.name for found in moments}
    if len(moments) > 1 or not used:
        return None
    plain = tuple((column.name, column.type) for column in used if column.name not in names)
    return PartitionKey(expression, plain, moments[0] if moments else None)


@dataclass(slots=True)
class KeyValues:
    """Combinations of values of the key's columns that rows have.

    :param key: the partition key.
    :param is_complete: whether all rows could be told.
    """

    key: PartitionKey
    is_complete: bool = True
    _blocks: dict[tuple[str, ...], set[int]] = field(default_factory=dict)
    _size: int = 0

    def add(self, values: Sequence[object], moment: object) -> None:
        """Take a row's values in.

        :param values: of the plain columns.
        :param moment: of the column of time, if there is one.
        """
        if None in values or (self.key.moment is not None and moment is None):
            self.is_complete = False  # the column's default decides, such as now(), or it is NULL
            return
        number = 0
        if self.key.moment is not None:
            found = instant(moment, self.key.moment)
            if found is None:
                return  # it goes to quarantine
            number = block(found)
        self.put(tuple(map(_text, values)), number)

    def put(self, values: tuple[str, ...], number: int) -> None:
        """Take a combination in."""
        blocks = self._blocks.setdefault(values, set())
        if number not in blocks:
            self._size += 1
            blocks.add(number)
        if len(self._blocks) > MOST or self._size > 100 * MOST:
            self.is_complete = False
            self._blocks.clear()
            self._size = 0

    def runs(self) -> list[tuple[tuple[str, ...], int, int]]:
        """Combinations, each with a run of blocks of time: its first one and the first one behind it."""
        found = []
        for values, blocks in self._blocks.items():
            ordered = sorted(blocks)
            ends = [number for number in ordered if number + 1 not in blocks]
            starts = [number for number in ordered if number - 1 not in blocks]
            found += [(values, start, end + 1) for start, end in zip(starts, ends, strict=True)]
        return found


def partitions_of(client: Client, values: KeyValues) -> list[str] | None:
    """Ask which partitions the rows are in; ``None`` where that cannot be told."""
    if not values.is_complete:
        return None
    runs, found = values.runs(), set()
    try:
        for start in range(0, len(runs), _AT_ONCE):
            found |= _ask(client, values.key, runs[start : start + _AT_ONCE])
    except ApiError as e:  # only if old rows are left over is it needed
        log.info("It cannot be told which partitions the rows are in: %s", e)
        return None
    return sorted(found)


def is_aligned(client: Client, key: PartitionKey, interval: Interval) -> bool | None:
    """Tell whether no partition is partly in an interval; ``None`` where that cannot be told."""
    if key.plain or key.moment is None or key.moment.name != interval.column.name:
        return None
    try:
        before, first, last, behind = (_one(client, key, edge) for edge in interval.edges)
    except ApiError as e:
        log.info("It cannot be told where partitions begin and end: %s", e)
        return None
    return before != first and last != behind


def _one(client: Client, key: PartitionKey, moment: datetime | date) -> set[str]:
    number = block(moment)
    return _ask(client, key, [((), number, number + 1)])


def _ask(client: Client, key: PartitionKey, runs: Iterable[tuple[tuple[str, ...], int, int]]) -> set[str]:
    rows = ", ".join(f"({', '.join([*map(literal, values), str(start), str(end)])})" for values, start, end in runs)
    count = len(key.plain)
    columns = [
        f"CAST(x.{index + 1}, {literal(kind)}) AS {quoted(name)}" for index, (name, kind) in enumerate(key.plain)
    ]
    if key.moment is not None:
        seconds = f"toDateTime64(b * {_BLOCK_SECONDS[key.moment.kind]}, 0, 'UTC')"
        columns.append(f"CAST({seconds}, {literal(key.moment.type)}) AS {key.moment.quoted}")
    blocks = f"SELECT x, arrayJoin(range(toInt64(x.{count + 1}), toInt64(x.{count + 2}))) AS b FROM (SELECT arrayJoin([{rows}]) AS x)"
    found = query(f"SELECT DISTINCT {key.text} AS p FROM (SELECT {', '.join(columns)} FROM ({blocks}))")
    return client.send(found.then(lambda answer: {str(row["p"]) for row in answer.data}))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return "" if value is None else str(value)
