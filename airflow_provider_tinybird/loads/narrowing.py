"""What a data source does to values that do not fit its columns: its columns as the gate that all rows pass."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from airflow_provider_tinybird.api import datasources, query
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import AccessDeniedError, InvalidInputError, NotFoundError, TinybirdError
from airflow_provider_tinybird.api.models import Datasource
from airflow_provider_tinybird.ndjson import Gate, GatedColumn, Reader

log = logging.getLogger(__name__)


class OnNarrowing(StrEnum):
    """What to do about a value that its column would change without a word."""

    FAIL = "fail"
    """Refuse it before anything is sent."""
    ALLOW = "allow"
    """Let ClickHouse change it."""

    @classmethod
    def parse(cls, value: str) -> OnNarrowing:
        """Read an argument.

        :raises InvalidInputError: there is no such policy.
        """
        try:
            return cls(value)
        except ValueError:
            raise InvalidInputError(f"on_narrowing={value!r} is not known: give 'fail' or 'allow'.") from None


# ClickHouse ends Date32 and DateTime64 in 1900 and 2299 up to version 25, and in the years 0001 and 9999 from 26 on.
_IS_WIDE = (
    "SELECT toString(toDate32('9999-12-31')) = '9999-12-31' AND toString(toDate32('0001-01-02')) = '0001-01-02' "
    "AND toString(toDateTime64('9999-12-31 23:59:59', 3, 'UTC')) = '9999-12-31 23:59:59.000' AS is_wide"
)


def gate_of(
    client: Client, datasource: str, policy: OnNarrowing, found: Datasource | None, *, typed: bool = False
) -> Gate | None:
    """Make the gate of a load.

    :param client: asks the engine what it holds, in the rare case that values are beyond what every version does.
    :param datasource: name of the data source, for the log.
    :param policy: what to do about values that would be changed.
    :param found: the data source; ``None`` where it cannot be read, which the log says.
    :param typed: whether the values are in a file that is read by type.
    :return: ``None`` where nothing is refused.
    """
    if policy is OnNarrowing.ALLOW:
        return None
    if found is None:
        log.info(
            "Values that do not fit the columns of '%s' are not looked for, as its columns cannot be read here. ClickHouse changes some of "
            "them without a word, such as times out of range: a token with DATASOURCES:READ:%s has them refused.",
            datasource,
            datasource,
        )
        return None
    schema = found.raw.get("schema")
    described = (schema.get("columns") if isinstance(schema, Mapping) else None) or found.raw.get("columns") or ()
    paths = {str(column.get("name")): str(column.get("jsonpath") or "") for column in described}
    columns = (
        GatedColumn.of(column.name, column.type, paths.get(column.name, ""), typed=typed) for column in found.columns
    )
    return Gate([column for column in columns if column], Reader(typed=typed, is_wide=cache(lambda: _is_wide(client))))


def file_gate(client: Client, datasource: str, policy: OnNarrowing) -> Gate | None:
    """Make the gate of a Parquet file, with one call that reads the data source.

    :param client: asks.
    :param datasource: name of the data source.
    :param policy: what to do about values that would be changed.
    :return: ``None`` where nothing is refused, or nothing is known.
    """
    if policy is OnNarrowing.ALLOW:
        return None
    try:
        found = client.send(datasources.get_datasource(datasource))
    except (AccessDeniedError, NotFoundError) as e:
        if not e.is_final:  # a page of something in front of Tinybird says nothing of the data source
            raise
        log.info("The columns of '%s' cannot be read: %s", datasource, e)
        found = None
    return gate_of(client, datasource, policy, found, typed=True)


def _is_wide(client: Client) -> bool:
    try:
        return bool(client.send(query.sql(_IS_WIDE)).data[0]["is_wide"])
    except (TinybirdError, LookupError, TypeError) as e:
        log.info("How far Date32 and DateTime64 reach is not known, so 1900 to 2299 it is: %s", e)
        return False
