# ruff: noqa: S608 - names go into SQL through identifier() and values through literal()
"""What is in the quarantine of a data source, as calls of the Query API.

Tinybird documents that each data source has ``<name>_quarantine``, and not all of its columns: ``c__error_column``,
``c__error`` and ``c__import_id`` were seen there, and ``insertion_date``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.call import Call, Reply
from airflow_provider_tinybird.api.encoding import resource_name
from airflow_provider_tinybird.api.errors import UnreadableAnswerError
from airflow_provider_tinybird.api.sqltext import identifier, literal

T = TypeVar("T")

_SLACK = 1000  # milliseconds

SUFFIX = "_quarantine"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why rows are in quarantine.

    :param columns: columns that they did not fit in; empty for lines that could not be read at all.
    :param errors: what Tinybird says of one of them.
    :param rows: how many there are.
    """

    columns: tuple[str, ...]
    errors: tuple[str, ...]
    rows: int


def quarantine_of(datasource: str) -> str:
    """Name the quarantine of a data source."""
    return f"{datasource}{SUFFIX}"


def count_of_import(datasource: str, import_id: str) -> Call[int]:
    """Count the rows that an import put into quarantine. ``POST /v0/sql``.

    :param datasource: name or id of the data source.
    :param import_id: id of the import. Scope: ``DATASOURCES:READ:<datasource>``.
    """
    sql = f"SELECT count() AS c__rows FROM {_table(datasource)} WHERE {_of_imports([import_id])}"
    return _call(sql, datasource, "count the rows", lambda reply: _rows(query.read_query_result(reply).data[0]))


def reasons(
    datasource: str,
    *,
    import_id: str = "",
    import_ids: Sequence[str] = (),
    seconds: float = 0.0,
    limit: int = 5,
) -> Call[tuple[Reason, ...]]:
    """Tell why rows are in quarantine, the most frequent reason first. ``POST /v0/sql``.

    :param datasource: name or id of the data source.
    :param import_id: look only at the rows of this import.
    :param import_ids: the same of several.
    :param seconds: where there are none, look only at what came in during so many seconds until now, by the server's clock, and a second
        before: the first row may have come in sooner than this request takes.
    :param limit: most reasons to tell. Scope: ``DATASOURCES:READ:<datasource>``.
    """
    imports = [import_id] if import_id else list(import_ids)
    # Whole seconds are stored. Of the one in which the load began, everything counts, and nothing of the one before.
    past = math.ceil(max(0.0, seconds) * 1000) + _SLACK
    since = f"insertion_date >= toDateTime(intDiv(toUnixTimestamp64Milli(now64(3)) - {past}, 1000))"
    sql = (
        f"SELECT c__error_column, any(c__error) AS c__errors, count() AS c__rows FROM {_table(datasource)}"
        f" WHERE {_of_imports(imports) if imports else since}"
        f" GROUP BY c__error_column ORDER BY c__rows DESC, c__error_column LIMIT {int(limit)}"
    )
    return _call(sql, datasource, "read the reasons", _reasons)


def _table(datasource: str) -> str:
    resource_name("data source", datasource)
    return identifier(quarantine_of(datasource))


def _of_imports(import_ids: Sequence[str]) -> str:
    if len(import_ids) == 1:
        return f"c__import_id = {literal(import_ids[0])}"
    return f"c__import_id IN ({', '.join(map(literal, import_ids))})"


def _call(sql: str, datasource: str, what: str, read: Callable[[Reply], T]) -> Call[T]:
    rows = query.sql(sql)
    return Call(
        what=f"{what} of quarantine '{quarantine_of(datasource)}'",
        method=rows.method,
        path=rows.path,
        body=rows.body,
        read=read,
        repeat=rows.repeat,
        scope=f"DATASOURCES:READ:{datasource}",
    )


def _reasons(reply: Reply) -> tuple[Reason, ...]:
    rows = query.read_query_result(reply).data
    return tuple(Reason(_texts(row.get("c__error_column")), _texts(row.get("c__errors")), _rows(row)) for row in rows)


def _rows(row: Any) -> int:
    try:
        return int(row["c__rows"])
    except (KeyError, TypeError, ValueError):
        raise UnreadableAnswerError("The answer on a quarantine has no number of rows.") from None


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(str(one) for one in value)
    return (str(value),) if value else ()
