"""A small face of the Query API in the form of Python's database API (PEP 249), read-only: for tools that know no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.clickhouse_types import parse
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import QueryResult
from airflow_provider_tinybird.api.sqltext import literal
from airflow_provider_tinybird.results.xcom import checked_text
from airflow_provider_tinybird.timespans.timestamps import sql_moment

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any] | None

_PLACE = re.compile(r"(?<!%)(?:%%)*%s")


class TinybirdCursor:
    """Runs SELECTs and hands out their rows, all of which are in memory.

    :param client: sends the queries.
    """

    arraysize = 1

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rows: list[Row] = []
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1

    def execute(self, sql: str, parameters: Parameters = None) -> None:
        """Run one SELECT.

        :param parameters: values for ``%s`` or ``%(name)s``.
        :raises TinybirdError: it is refused.
        """
        text = with_parameters(sql, parameters)
        result = checked_text(self._client, self._client.send(query.sql(text)), partial(query.count_bad_text, text))
        self.description = [(column.name, column.type, None, None, None, None, None) for column in result.meta]
        self._rows = _rows(result)
        self.rowcount = len(self._rows)

    def fetchone(self) -> Row | None:
        """Return the next row, or ``None``."""
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Return the next rows."""
        size = self.arraysize if size is None else size
        found, self._rows = self._rows[:size], self._rows[size:]
        return found

    def fetchall(self) -> list[Row]:
        """Return the rows that are left."""
        return self.fetchmany(len(self._rows))

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Forget the rows."""
        self._rows = []


class TinybirdDbConnection:
    """A connection of the database API. There are no transactions: queries only read.

    :param client: sends the queries; it is not closed with the connection.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def cursor(self) -> TinybirdCursor:
        """Return a cursor."""
        return TinybirdCursor(self._client)

    def commit(self) -> None:
        """Do nothing: there is nothing to commit."""

    def rollback(self) -> None:
        """Do nothing: there is nothing to take back."""

    def close(self) -> None:
        """Do nothing: the client goes on living."""


def with_parameters(sql: str, parameters: Parameters) -> str:
    """Put values into SQL, quoted. Without any the SQL stays as it is, with each ``%`` in it.

    :raises InvalidInputError: the values do not fit the places for them, or one has no form in SQL.
    """
    if not parameters:
        return sql
    try:
        if isinstance(parameters, Mapping):
            if _PLACE.search(sql):
                raise TypeError("%s has no name")
            return sql % {name: _literal(value) for name, value in parameters.items()}
        return sql % tuple(_literal(value) for value in parameters)
    except (TypeError, KeyError, ValueError) as e:
        raise InvalidInputError(
            f"The parameters do not fit the SQL ({e}): each needs a %s or %(name)s, and any other % is written %%."
        ) from None


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal) and value.is_finite():
        # A bare 1.10 would be a float.
        return f"toDecimal128('{value:f}', {max(0, -int(value.as_tuple().exponent))})"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return sql_moment(value)
    if isinstance(value, date):
        return f"toDate('{value.isoformat()}')"
    if isinstance(value, str):
        return literal(value)
    raise InvalidInputError(f"A {type(value).__name__} has no form in SQL: give text, a number, a date, or None.")


def _rows(result: QueryResult) -> list[Row]:
    readers = [(column.name, _reader(column.type)) for column in result.meta]
    return [tuple(None if row[name] is None else read(row[name]) for name, read in readers) for row in result.data]


def _reader(kind: str) -> Callable[[Any], Any]:
    """Return what makes a Python value of one as JSON has it: 64 bit integers and decimals may come as text."""
    kind = parse(kind).inner.name
    if kind.startswith(("UInt", "Int")):
        return int
    if kind.startswith("Float"):
        return float
    if kind.startswith("Decimal"):
        return lambda value: Decimal(str(value))
    if kind in ("Date", "Date32"):
        return lambda value: date.fromisoformat(value)
    if kind.startswith("DateTime"):
        return lambda value: datetime.fromisoformat(value)
    return lambda value: value
