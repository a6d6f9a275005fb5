"""Query API: one SELECT over data sources and endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlencode

from airflow_provider_tinybird.api.body import form
from airflow_provider_tinybird.api.call import Call, Repeat, Reply, error_text
from airflow_provider_tinybird.api.encoding import LONGEST_QUERY_STRING, Pairs, pairs, pipe_parameters, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError, UnreadableAnswerError
from airflow_provider_tinybird.api.exact_rows import exact_rows
from airflow_provider_tinybird.api.models import ColumnMeta, QueryResult, RawResult
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.api.sqltext import FormattedSql, identifier, select_from, with_format, without_rows

T = TypeVar("T")

# Queries stop after 10 s by default, 30 s and more on larger plans; the answer's way comes on top.
QUERY_TIMEOUT = 120.0

MOST_IN_MEMORY = 512_000_000
"""Bytes of a result that are taken into memory: several times what Tinybird documents for a result."""

_TEXT_IN_PARQUET = {"output_format_parquet_string_as_string": 1}  # by default Tinybird writes text as binary


def sql(q: str, *, pipeline: str | None = None, parameters: Mapping[str, object] | None = None) -> Call[QueryResult]:
    """Run a SELECT and get its rows. ``POST /v0/sql`` with ``FORMAT JSON``.

    :param q: the SQL; a FORMAT clause other than JSON is an error here: use :func:`sql_as`.
    :param pipeline: name of a pipe that the SQL can read as ``_``.
    :param parameters: values for the SQL's template, where it starts with ``%``.
    :return: rows, columns and statistics. Scope: read on each data source and pipe it reads.
    """
    formatted = with_format(_text(q), "JSON")
    if formatted.format.upper() != "JSON":
        raise InvalidInputError(
            f"The SQL asks for FORMAT {formatted.format}, rows need FORMAT JSON: leave the clause out."
        )
    return _sql(formatted, pipeline, parameters, read_query_result)


def sql_by_get(q: str, *, pipeline: str | None = None) -> Call[QueryResult]:
    """Run a short SELECT by an address alone, as a browser would. ``GET /v0/sql?q=``. The SQL ends up in access logs: prefer :func:`sql`.

    :param q: the SQL, as in :func:`sql`.
    :param pipeline: name of a pipe that the SQL can read as ``_``.
    :return: rows, columns and statistics. Scope: read on each data source and pipe it reads.
    :raises InvalidInputError: the address would be too long, from about 4,000 characters on.
    """
    by_post = sql(q, pipeline=pipeline)
    params = pairs({"q": with_format(_text(q), "JSON").text, "pipeline": pipeline})
    if len(urlencode(params)) > LONGEST_QUERY_STRING:
        raise InvalidInputError("The SQL is too long for an address: send it by query.sql.")
    return replace(by_post, method="GET", params=params, body=None)


def sql_as(
    q: str,
    format: str,
    *,
    pipeline: str | None = None,
    parameters: Mapping[str, object] | None = None,
) -> Call[RawResult]:
    """Run a SELECT and get its answer in any format, as bytes. ``POST /v0/sql``.

    :param q: the SQL.
    :param format: ``CSV``, ``CSVWithNames``, ``TSV``, ``TSVWithNames``, ``JSONEachRow``, ``Parquet``,
        ``PrettyCompact``, ``Prometheus``, ``JSON``, ...; a FORMAT clause in the SQL wins.
    :param pipeline: as in :func:`sql`.
    :param parameters: as in :func:`sql`.
    :return: the bytes and the format that they are in. Scope: read on each data source and pipe it reads.
    """
    if not format.isalnum():
        raise InvalidInputError(f"{format!r} is no name of a format: give one such as CSVWithNames or Parquet.")
    formatted = with_format(_text(q), format)
    if formatted.format.lower() == "parquet":
        parameters = {**_TEXT_IN_PARQUET, **(parameters or {})}
    return _sql(formatted, pipeline, parameters, lambda reply: RawResult(reply.content, formatted.format))


def sql_as_parquet(q: str, *, pipeline: str | None = None) -> Call[RawResult]:
    """Run a SELECT and get its answer as Parquet, with text as text: by default Tinybird writes it as binary. ``POST
    /v0/sql``.

    :param q: the SQL.
    :param pipeline: as in :func:`sql`.
    :return: the bytes. Scope: read on each data source and pipe it reads.
    """
    formatted = with_format(_text(q), "Parquet")
    if formatted.format.lower() != "parquet":
        raise InvalidInputError(f"The SQL asks for FORMAT {formatted.format}, Parquet is needed: leave the clause out.")
    return _sql(formatted, pipeline, _TEXT_IN_PARQUET, lambda reply: RawResult(reply.content, formatted.format))


def column_types(q: str, *, pipeline: str | None = None) -> Call[tuple[ColumnMeta, ...]]:
    """Ask which columns a SELECT has, without running it for its rows. ``POST /v0/sql`` with ``LIMIT 0``.

    :param q: the SQL, as in :func:`sql`.
    :param pipeline: name of a pipe that the SQL can read as ``_``.
    :return: names and ClickHouse types. Scope: read on each data source and pipe it reads.
    """
    formatted = with_format(without_rows(_text(q)), "JSON")
    return _sql(formatted, pipeline, None, lambda reply: read_query_result(reply).meta)


def format_of(q: str, default: str) -> str:
    """Tell the format that a query's answer will have."""
    return with_format(_text(q), default).format


def read_query_result(reply: Reply) -> QueryResult:
    """Read an answer in FORMAT JSON.

    :raises UnreadableAnswerError: it has no rows, which happens when a query breaks after its answer began.
    """
    body = reply.json_object()
    data = body.get("data")
    # ClickHouse writes what stopped a query into the answer that it has begun; the rows before it are not all of them.
    trouble = body.get("exception") or error_text(body)
    if trouble:
        raise UnreadableAnswerError(f"Could not {reply.what}: it broke while it was answered: {redact(str(trouble))}")
    if not isinstance(data, list):
        raise UnreadableAnswerError(f"Could not {reply.what}: the answer has no rows but {redact(reply.text)[:500]}")
    meta = tuple(ColumnMeta(str(item.get("name")), str(item.get("type"))) for item in body.get("meta") or ())
    return QueryResult(
        data=tuple(exact_rows(reply.content, meta, data)),
        meta=meta,
        rows=int(body.get("rows", len(data))),
        rows_before_limit_at_least=body.get("rows_before_limit_at_least"),
        statistics=body.get("statistics") or {},
        replaced=_replaced(reply.content, data),
    )


def count_bad_text(q: str, columns: Sequence[str], *, pipeline: str | None = None) -> Call[dict[str, int]]:
    """Count the rows of a SELECT in which the text of a column has bytes that are not UTF-8. ``POST /v0/sql``.

    :param q: the SQL, as in :func:`sql`.
    :param columns: names of the columns.
    :param pipeline: as in :func:`sql`.
    :return: rows by column, those above 0. Scope: read on each data source and pipe it reads.
    """
    formatted = with_format(select_from(bad_text(columns), _text(q)), "JSON")
    return _sql(formatted, pipeline, None, lambda reply: read_bad_text(reply, columns))


def bad_text(columns: Sequence[str]) -> str:
    """The columns of a SELECT that counts such rows, one for each column of another."""
    return ", ".join(
        f"countIf(NOT isValidUTF8(toString({identifier(name)}))) AS c{n}" for n, name in enumerate(columns)
    )


def read_bad_text(reply: Reply, columns: Sequence[str]) -> dict[str, int]:
    """Read what such a SELECT counted."""
    row = read_query_result(reply).data[0]
    counts = {name: int(row[f"c{n}"]) for n, name in enumerate(columns)}
    return {name: rows for name, rows in counts.items() if rows}


def _replaced(content: bytes, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    if "\ufffd".encode() not in content and b"\\ufffd" not in content.lower():
        return ()
    return tuple({name: None for row in rows for name, value in row.items() if "\ufffd" in str(value)})


# By POST: a GET puts the SQL into access logs and meets a limit of about 8 kB on the request line.
def _sql(
    q: FormattedSql, pipeline: str | None, parameters: Mapping[str, object] | None, read: Callable[[Reply], T]
) -> Call[T]:
    fields: Pairs = (("q", q.text),)
    if pipeline is not None:
        resource_name("pipe", pipeline)
        fields += (("pipeline", pipeline),)
    return Call(
        what="run the SQL query",
        method="POST",
        path="/v0/sql",
        # Among the fields, a parameter with a name such as "q" or "token" would change the request.
        body=form(fields + pipe_parameters(parameters)),
        read=read,
        repeat=Repeat.READ,
        scope="DATASOURCES:READ or PIPES:READ on what the query reads",
        min_timeout=QUERY_TIMEOUT,
        max_answer=MOST_IN_MEMORY,
        repeat_timeouts=False,
        format=q.format,
    )


def _text(q: str) -> str:
    if not isinstance(q, str) or not q.strip():
        raise InvalidInputError(f"The SQL is blank ({q!r}).")
    return q
