# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""Rows of a file into a data source: appended, or instead of what is there."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource
from airflow_provider_tinybird.sandbox.datafiles.sqltext import condition_of, literal
from airflow_provider_tinybird.sandbox.engine.formats import DataFile, engine_error_text
from airflow_provider_tinybird.sandbox.engine.tables import (
    Counts,
    counts_of,
    move_bad,
    move_good,
    qualified,
    staged,
    swapped_in,
)
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox


@dataclass(frozen=True)
class Plan:
    """What to do with the rows.

    :param replace: whether they take the place of what is there.
    :param condition: only the rows that it holds for are taken away, and only such are put in; None for all.
    :param truncate_when_empty: whether a full replace by no rows empties the data source; else it changes nothing.
    :param deduplicate: whether rows that equal a recent block are dropped, where the sandbox does that at all.
    """

    datasource: DataSource
    replace: bool = False
    condition: str | None = None
    truncate_when_empty: bool = False
    deduplicate: bool = True


@dataclass(frozen=True)
class Loaded:
    """What came of it."""

    counts: Counts
    size: int
    seconds: float
    block_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def blocks(self) -> list[dict[str, Any]]:
        """The blocks of an import, as the API shows them; the sandbox loads a file as one."""
        lines = {
            "lines": self.counts.good,
            "parser": "clickhouse",
            "quarantine": self.counts.quarantined,
            "bytes": self.size,
        }
        return [{"block_id": self.block_id, "process_return": [lines], "processing_time": round(self.seconds, 6)}]

    def summary(self) -> str:
        """What did not get in, in Tinybird's one sentence; empty when all did."""
        counts = ((self.counts.quarantined, "row", " in quarantine"), (self.counts.invalid, "invalid line", ""))
        found = [f"{count} {what}{'s' * (count != 1)}{where}" for count, what, where in counts if count]
        return f"There was an error with file contents: {' and '.join(found)}." if found else ""

    def problems(self) -> list[str]:
        """What did not get in, in words."""
        found = []
        if self.counts.quarantined:
            found.append(f"{self.counts.quarantined} rows do not fit the schema and are in quarantine")
        if self.counts.invalid:
            found.append(f"{self.counts.invalid} lines could not be read")
        return found


def checked_condition(box: Sandbox, datasource: DataSource, condition: str) -> str:
    """A condition that the engine can evaluate over a data source.

    :raises ApiError: 400.
    """
    condition = condition_of(condition, box.engine.table_functions, box.engine.other_databases)
    try:
        # Run, not only described: within the time limit of a query, which the statement that it goes into has not.
        box.engine.read(f"SELECT count() FROM {qualified(datasource.name)} WHERE ({condition}\n)", "Null")
    except EngineError as error:
        if error.is_timeout:
            raise
        raise ApiError(400, f"The condition cannot be used: {error.text}") from None
    return condition


def load(box: Sandbox, plan: Plan, file: DataFile, import_id: str, job: Job | None = None) -> Loaded:
    """Load a file. What was there stays as it was when this raises.

    :param job: the job that does it; it can be cancelled until the rows are known to be good.
    :raises ApiError: 400, when the file is not what its format says.
    """
    started = time.monotonic()
    engine, datasource = box.engine, plan.datasource
    try:
        with staged(engine, datasource, file, job.marker if job else None) as stage:
            counts = counts_of(engine, stage)
            if counts.invalid and not counts.good and not counts.quarantined:
                raise ApiError(400, f"No line of the file could be read as {file.format}")
            if job:
                counts = replace(counts, good=max(0, counts.good - job.course.lose))
                job.commit()
            most = counts.good if job and job.course.lose else None
            if plan.replace:
                _replace(box, plan, stage, counts, most)
            elif counts.good:
                with engine.locked(datasource.name):
                    move_good(engine, datasource, stage, datasource.name, most=most, deduplicate=plan.deduplicate)
            if counts.quarantined:
                move_bad(engine, datasource, stage, import_id, invalid_too=False)
            return Loaded(counts, file.size, time.monotonic() - started)
    except EngineError as error:
        if error.is_cancelled:
            raise
        raise ApiError(
            400, f"The file could not be loaded as {file.format}: {engine_error_text(error, file)}"
        ) from None


def _replace(box: Sandbox, plan: Plan, stage: str, counts: Counts, most: int | None) -> None:
    if plan.condition is None and counts.good == 0 and not plan.truncate_when_empty:
        return
    datasource = plan.datasource
    views = materialized.views_below(box, datasource)
    with box.engine.locked(datasource.name, *materialized.tables_to_hold(box, views)):
        with swapped_in(box.engine, datasource) as copy:
            move_good(box.engine, datasource, stage, copy, plan.condition, most=most)
            if plan.condition is not None:
                _keep_the_rest(box, datasource, copy, plan.condition)
        materialized.rebuild(box, views)


def _keep_the_rest(box: Sandbox, datasource: DataSource, copy: str, condition: str) -> None:
    """Only partitions that the new rows are in lose rows: a condition that leaves out the partition key reaches no other."""
    rows = box.engine.rows(f"SELECT DISTINCT _partition_id AS id FROM {qualified(copy)}")
    touched = _listed([row["id"] for row in rows])
    box.engine.run(
        f"INSERT INTO {qualified(copy)} SELECT * FROM {qualified(datasource.name)}"
        f" WHERE NOT ifNull(({condition}\n), 0) OR _partition_id NOT IN ({touched})"
    )


def _listed(values: Sequence[str]) -> str:
    return ", ".join(map(literal, values)) or "''"
