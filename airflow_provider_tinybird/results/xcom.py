"""Results of queries on their way to XCom, to a DataFrame or to a file."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import BadRequestError, InvalidInputError, NotTextError, TinybirdError
from airflow_provider_tinybird.api.exact_rows import decimals_as_text
from airflow_provider_tinybird.api.models import QueryResult, RawResult
from airflow_provider_tinybird.api.sqltext import identifier
from airflow_provider_tinybird.api.wording import rows
from airflow_provider_tinybird.files.local_or_remote import file_to_write
from airflow_provider_tinybird.results.dataframes import exact_table

log = logging.getLogger(__name__)

LARGEST_XCOM = 1_000_000
"""Bytes of JSON of a result that may go to XCom, which lives in Airflow's database."""

_BINARY = frozenset({"parquet", "arrow", "arrowstream", "native", "rowbinary"})


def query_table(client: Client, sql: str, *, pipeline: str | None = None) -> tuple[Any, dict[str, str]]:
    """Run a SELECT, and read its answer in Parquet from disk as it came in.

    :return: a pyarrow Table with exact types, and ClickHouse's type of each column.
    """
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix="tinybird-") as folder:
        place = Path(folder) / "result.parquet"
        client.download(query.sql_as_parquet(sql, pipeline=pipeline), lambda: place.open("wb"))
        table = pq.ParquetFile(place).read()  # read_table refuses two columns of one name
    types = _types(client, sql, pipeline)
    return exact_table(table, types), types


def checked_text(
    client: Client, result: QueryResult, count: Callable[[Sequence[str]], Call[dict[str, int]]]
) -> QueryResult:
    """See that no bytes of text were replaced: in JSON ClickHouse writes U+FFFD for those that are not UTF-8.

    It may be the data's own character too, so a second query counts, and only where there is one.

    :param count: makes the call that counts the rows with such bytes in some columns.
    :raises NotTextError: there are some.
    """
    if not result.replaced:
        return result
    columns = ", ".join(map(repr, result.replaced))
    try:
        found = client.send(count(result.replaced))
    except TinybirdError as e:
        log.warning("Column %s has the character U+FFFD, perhaps in place of bytes that are not UTF-8: %s", columns, e)
        return result
    if found:
        named = ", ".join(f"{name!r} (in {rows(number)})" for name, number in found.items())
        first = identifier(next(iter(found)))
        raise NotTextError(
            f"Text with bytes that are not UTF-8, which JSON cannot hold: column {named}. Select hex({first}) or "
            f"base64Encode({first}) instead, or read it by query_df or as Parquet, which give bytes."
        )
    return result


def _types(client: Client, sql: str, pipeline: str | None) -> dict[str, str]:
    try:
        columns = client.send(query.column_types(sql, pipeline=pipeline))
    except BadRequestError as e:  # such as two columns of one name, which a subquery must not have
        log.warning("The types of the columns are those of Parquet, all times in UTC: %s", e)
        return {}
    return {column.name: column.type for column in columns}


def query_xcom(result: QueryResult, what: str) -> dict[str, Any]:
    """Make a result small JSON for XCom, with Tinybird's own keys. Decimals are text there, so that they keep their digits.

    :param what: what the result is of, for the message.
    :raises InvalidInputError: it is larger than XCom should hold.
    """
    log.info("%s: %s%s.", what, rows(result.rows), _effort(result.statistics))
    value: dict[str, Any] = {
        "data": decimals_as_text(result.data),
        "meta": [{"name": column.name, "type": column.type} for column in result.meta],
        "rows": result.rows,
        "rows_before_limit_at_least": result.rows_before_limit_at_least,
        "statistics": dict(result.statistics),
    }
    return _within_limit(value, what)


def raw_xcom(result: RawResult, what: str) -> dict[str, Any]:
    """Make a result in another format small JSON for XCom: the text itself is ``data``.

    :raises InvalidInputError: it is binary or larger than XCom should hold.
    """
    try:
        text = None if result.format.lower() in _BINARY else result.content.decode("utf-8")
    except UnicodeDecodeError:
        text = None  # some other binary format, or a column of bytes: put into XCom it would not be what it was
    if text is None:
        raise InvalidInputError(
            f"{what} came as {result.format}, which is no text: give output_path to write it to a file."
        )
    empty = {"meta": None, "rows": None, "rows_before_limit_at_least": None, "statistics": None}
    return _within_limit({"data": text, **empty}, what)


def write_result(client: Client, call: Call[Any], output_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the answer to a call to a file as it streams in; the file is there only when it is whole.

    :param output_path: local path, or any URL that Airflow's ObjectStoragePath opens.
    :return: small JSON for XCom: ``output_path`` and ``size`` in bytes.
    """
    written = client.download(call, lambda: file_to_write(output_path))
    log.info("Wrote %s bytes to %s.", f"{written.size:,}", output_path)
    return {"output_path": str(output_path), "size": written.size}


def _effort(statistics: Mapping[str, Any]) -> str:
    """Say what reading took, where Tinybird tells it."""
    names = {"rows_read": "{:,} rows read", "bytes_read": "{:,} bytes read", "elapsed": "{:.3f} s"}
    told = [
        text.format(statistics[name]) for name, text in names.items() if isinstance(statistics.get(name), int | float)
    ]
    return f" ({', '.join(told)})" if told else ""


def _within_limit(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    size = len(json.dumps(value))
    if size > LARGEST_XCOM:
        raise InvalidInputError(
            f"{what} is {size:,} bytes of JSON, and XCom should hold {LARGEST_XCOM:,} at the most: give output_path to write it to a file, "
            "or aggregate or limit it."
        )
    return dict(value)
