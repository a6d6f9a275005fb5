"""What of a load the data source and its quarantine have, by the ids of the batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_tinybird.api import datasources, dependencies, query
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import BadRequestError, InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.models import Datasource
from airflow_provider_tinybird.jobs import outcome as outcomes
from airflow_provider_tinybird.jobs import watch
from airflow_provider_tinybird.loads.events.batch_ids import id_in, key_of
from airflow_provider_tinybird.policies.target_rows import keeps_every_row

log = logging.getLogger(__name__)

_MERGING = ("Replacing", "Summing", "Aggregating", "Collapsing", "Coalescing", "Graphite")
_POLL_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Count:
    """Rows with the id of one batch."""

    rows: int = 0
    quarantined: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.rows + self.quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A data source whose rows carry the ids of their batches.

    :param client: asks it.
    :param name: the data source.
    :param column: the column with the ids.
    :param key: member of a row's JSON object that the column is filled from.
    :param doubt: why rows may go without being deleted, so that their number says little; empty where they do not.
    """

    client: Client
    name: str
    column: str
    key: str
    doubt: str = ""

    @classmethod
    def opened(cls, client: Client, datasource: str, column: str, found: Datasource | None = None) -> Target:
        """Look at a data source.

        :param found: the data source, where it has been read already.
        :raises InvalidInputError: batches cannot be counted in it.
        """
        found = found or client.send(datasources.get_datasource(datasource))
        described = _column(found, column)
        kind = str(described.get("type"))
        if "String" not in kind or "Array" in kind or "Map" in kind:
            raise InvalidInputError(
                f"batch_id_column={column!r} of '{found.name}' is a {kind}; ids are text: make it a String."
            )
        _check_engine(found)
        _warn(client, found)
        return cls(
            client=client,
            name=found.name,
            column=column,
            key=key_of(column, described.get("jsonpath")),
            doubt=keeps_every_row(found),
        )

    def counts(self, prefix: str) -> dict[str, Count]:
        """Count the rows of each batch whose id begins so, of all its sendings; in quarantine those of the one with most."""
        rows: dict[str, int] = {}
        for carried, count in self._grouped(self.name, prefix).items():
            rows[id_in(carried)] = rows.get(id_in(carried), 0) + count
        quarantined: dict[str, int] = {}
        for carried, count in self._quarantined(prefix).items():
            quarantined[id_in(carried)] = max(quarantined.get(id_in(carried), 0), count)
        return {one: Count(rows.get(one, 0), quarantined.get(one, 0)) for one in rows.keys() | quarantined.keys()}

    def delete(self, batch_id: str) -> None:
        """Delete the rows of a batch and wait until they are gone. Those in quarantine stay: nothing deletes them.

        :raises TinybirdError: the delete failed.
        """
        call = datasources.delete_rows(self.name, f"startsWith({self.column}, '{batch_id}')")
        job = self.client.send(call)
        rules = watch.Rules.starting_now(poll_interval=_POLL_INTERVAL)
        outcome = watch.watch_job(self.client, watch.Watch(job.id, rules))
        if outcome is not None:
            outcomes.job_or_error(outcome)

    def _quarantined(self, prefix: str) -> dict[str, int]:
        # A batch that was sent again has its bad rows in quarantine once for each import, and they cannot be deleted.
        table = f"{self.name}_quarantine"
        try:
            return self._grouped(table, prefix, of="c__import_id")
        except BadRequestError as e:
            if "c__import_id" not in str(e):
                raise
        return self._grouped(table, prefix)

    def _grouped(self, table: str, prefix: str, of: str = "''") -> dict[str, int]:
        """Count the rows of each id: the most that one import, or whatever ``of`` is, has of it."""
        # All of it is checked before: the name by Tinybird, the column by its form, and the prefix is our own.
        rows = (
            f"SELECT `{self.column}` AS id, {of} AS part, count() AS m FROM {table} "  # noqa: S608
            f"WHERE startsWith(`{self.column}`, '{prefix}') GROUP BY id, part"
        )
        found = query.sql(f"SELECT id, max(m) AS n FROM ({rows}) GROUP BY id")  # noqa: S608
        return self.client.send(found.then(lambda answer: {str(row["id"]): int(row["n"]) for row in answer.data}))


def _column(found: Datasource, name: str) -> Mapping[str, Any]:
    schema = found.raw.get("schema")
    columns = (schema.get("columns") if isinstance(schema, Mapping) else None) or found.raw.get("columns") or ()
    for column in columns:
        if column.get("name") == name:
            one: Mapping[str, Any] = column
            return one
    have = ", ".join(str(column.get("name")) for column in columns)
    raise InvalidInputError(
        f"Data source '{found.name}' has no column {name!r} for the ids of batches (it has {have}): add `{name}` String `json:$.{name}` "
        "to its schema, or take another delivery."
    )


def _check_engine(found: Datasource) -> None:
    engine = str(found.engine.get("engine") or "")
    if any(kind in engine for kind in _MERGING):
        raise InvalidInputError(
            f"Data source '{found.name}' has the engine {engine}, which merges rows away, so that batches cannot be counted in it: "
            "take another delivery; with at_least_once its engine may well remove the doubles."
        )
    if engine == "Null":
        raise InvalidInputError(
            f"Data source '{found.name}' has the engine Null, which keeps no rows, so that batches cannot be counted in it."
        )


def _warn(client: Client, found: Datasource) -> None:
    ttl = found.engine.get("ttl") or found.raw.get("ttl")
    if ttl or "TTL" in str(found.engine.get("engine_full") or ""):
        log.warning(
            "Data source '%s' has a TTL (%s): batches whose rows it has removed look torn and are sent again. Do not run old "
            "loads again.",
            found.name,
            ttl or "see its engine",
        )
    try:
        hanging = client.send(dependencies.get_dependencies(datasource=found.name)).dependencies
    except TinybirdError as e:
        log.info("It is not known which materialized views '%s' feeds: %s", found.name, e)
        return
    names = sorted(set(hanging) - {found.name})
    if names:
        log.warning(
            "Materialized views carry the rows of '%s' on to %s. Rows of a torn batch, which is deleted and sent again, stay there.",
            found.name,
            ", ".join(names[:20]),
        )
