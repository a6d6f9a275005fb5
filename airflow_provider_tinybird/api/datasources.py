"""Data Sources API: look at data sources, empty them, delete rows. Putting rows in is in ``imports`` and ``events``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from airflow_provider_tinybird.api.body import form
from airflow_provider_tinybird.api.call import Call, Repeat, Reply, lenient_json
from airflow_provider_tinybird.api.encoding import Pairs, pairs, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.job import submitted_job
from airflow_provider_tinybird.api.models import (
    ColumnMeta,
    Datasource,
    Job,
    RowsDeleted,
    RowsToDelete,
    Truncated,
)

T = TypeVar("T")

WRITE = "DATASOURCES:CREATE"

# A body is answered when its rows are in: Tinybird's documents give no time, the upload alone can take minutes.
_BODY_TIMEOUT = 600.0
_SUBMIT_TIMEOUT = 60.0


def list_datasources(*, attrs: Sequence[str] | None = None) -> Call[tuple[Datasource, ...]]:
    """List the data sources that the token can read. ``GET /v0/datasources``.

    :param attrs: attributes to answer with, such as ``("name", "used_by")``; all of them by default.
    :return: the data sources. Scope: any; those that it can read are listed.
    """
    return Call(
        what="list the data sources",
        method="GET",
        path="/v0/datasources",
        params=pairs({"attrs": attrs}),
        read=lambda reply: tuple(read_datasource(item) for item in reply.json_object().get("datasources") or ()),
        repeat=Repeat.READ,
    )


def get_datasource(datasource: str) -> Call[Datasource]:
    """Get one data source with its columns and engine. ``GET /v0/datasources/{name}``.

    :param datasource: name or id. Scope: ``DATASOURCES:READ:<datasource>``.
    """
    name = resource_name("data source", datasource)
    return Call(
        what=f"get data source '{datasource}'",
        method="GET",
        path=f"/v0/datasources/{name}",
        read=lambda reply: read_datasource(reply.json_object()),
        repeat=Repeat.READ,
        scope=f"DATASOURCES:READ:{datasource}",
    )


def truncate(datasource: str) -> Call[Truncated]:
    """Delete all rows. ``POST /v0/datasources/{name}/truncate``. Materialized views that it feeds keep theirs.

    :param datasource: name or id of the data source.
    :return: the answer, whose body is usually empty. Scope: ``DATASOURCES:CREATE``.
    """
    name = resource_name("data source", datasource)
    return Call(
        what=f"truncate data source '{datasource}'",
        method="POST",
        path=f"/v0/datasources/{name}/truncate",
        read=lambda reply: Truncated(result=lenient_json(reply)),
        repeat=Repeat.IDEMPOTENT,
        scope=WRITE,
        min_timeout=_SUBMIT_TIMEOUT,
    )


def delete_rows(datasource: str, delete_condition: str) -> Call[Job]:
    """Delete the rows that match a condition. ``POST /v0/datasources/{name}/delete``. Materialized views keep theirs.

    :param datasource: name or id of the data source.
    :param delete_condition: SQL condition, never blank.
    :return: the delete's job, not yet done. Scope: ``DATASOURCES:CREATE``.
    """
    return _delete_v0(
        datasource, delete_condition, (), submitted_job, Repeat.IDEMPOTENT, f"delete rows of data source '{datasource}'"
    )


def count_rows_to_delete(datasource: str, delete_condition: str) -> Call[RowsToDelete]:
    """Count the rows that a delete would remove. ``POST /v0/datasources/{name}/delete`` with ``dry_run=true``; there is
    no job.

    :param datasource: name or id of the data source.
    :param delete_condition: SQL condition, never blank. Scope: ``DATASOURCES:CREATE``.
    """
    return _delete_v0(
        datasource,
        delete_condition,
        (("dry_run", "true"),),
        lambda reply: RowsToDelete(int(reply.json_object()["rows_to_be_deleted"])),
        Repeat.READ,
        f"count the rows of data source '{datasource}' to delete",
    )


def delete_rows_v1(datasource: str, delete_condition: str, *, partition: str | None = None) -> Call[Job]:
    """Delete the rows that match a condition by a lightweight delete (beta). ``POST
    /v1/datasources/{name}/delete?wait=false``.

    :param datasource: name or id of the data source.
    :param delete_condition: SQL condition, never blank.
    :param partition: touch this partition only.
    :return: the delete's job, not yet done. Scope: ``DATASOURCES:CREATE``.
    """
    return _delete_v1(datasource, delete_condition, partition, "false", submitted_job)


def delete_rows_v1_and_wait(
    datasource: str, delete_condition: str, *, partition: str | None = None
) -> Call[RowsDeleted]:
    """Delete as :func:`delete_rows_v1` does, and answer when it is done: with the counts, without a job. ``POST
    /v1/datasources/{name}/delete?wait=true``.

    :param datasource: name or id of the data source.
    :param delete_condition: SQL condition, never blank.
    :param partition: touch this partition only.
    :return: rows deleted. Scope: ``DATASOURCES:CREATE``.
    """
    return _delete_v1(datasource, delete_condition, partition, "true", _rows_deleted)


def _delete_v0(
    datasource: str, condition: str, more: Pairs, read: Callable[[Reply], T], repeat: Repeat, what: str
) -> Call[T]:
    name = resource_name("data source", datasource)
    return Call(
        what=what,
        method="POST",
        path=f"/v0/datasources/{name}/delete",
        # A form: Tinybird's API does not read JSON here, whatever some descriptions of it say.
        body=form((("delete_condition", _required_condition(condition)), *more)),
        read=read,
        repeat=repeat,
        scope=WRITE,
        min_timeout=_SUBMIT_TIMEOUT,
    )


def _delete_v1(
    datasource: str, condition: str, partition: str | None, wait: str, read: Callable[[Reply], T]
) -> Call[T]:
    name = resource_name("data source", datasource)
    fields = pairs({"delete_condition": _required_condition(condition), "wait": wait, "partition": partition})
    return Call(
        what=f"delete rows of data source '{datasource}'",
        method="POST",
        path=f"/v1/datasources/{name}/delete",
        body=form(fields),
        read=read,
        repeat=Repeat.IDEMPOTENT,
        scope=WRITE,
        min_timeout=_BODY_TIMEOUT,
    )


def _required_condition(condition: str) -> str:
    if not isinstance(condition, str) or not condition.strip():
        raise InvalidInputError(
            f"delete_condition is blank ({condition!r}): give a SQL condition such as \"day < '2024-01-01'\", or truncate the data "
            "source if all rows are to go."
        )
    return condition


def read_datasource(body: Mapping[str, Any]) -> Datasource:
    """Read a data source."""
    schema = body.get("schema")
    columns = (schema.get("columns") if isinstance(schema, dict) else None) or body.get("columns") or ()
    statistics = body.get("statistics") or body.get("stats") or {}
    return Datasource(
        id=str(body.get("id") or ""),
        name=str(body.get("name") or ""),
        engine=body.get("engine") or {},
        columns=tuple(ColumnMeta(str(column.get("name")), str(column.get("type"))) for column in columns),
        rows=statistics.get("row_count"),
        bytes=statistics.get("bytes"),
        raw=body,
    )


def _rows_deleted(reply: Reply) -> RowsDeleted:
    body = reply.json_object()
    # Without the count it is the answer of a delete that still runs: no zero may stand in for it.
    return RowsDeleted(rows_affected=int(body["rows_affected"]), mutation=body.get("mutation") or {})
