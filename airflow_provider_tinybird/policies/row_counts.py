"""How many rows a job wrote. It is told in another place for each kind of job, and sometimes nowhere."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.models import Job

log = logging.getLogger(__name__)

LOOKS = (0.0, 1.0, 3.0)
"""Seconds before each look into the log of operations, which is written a little after the fact."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of one job; ``None`` where Tinybird does not tell.

    :param rows: rows written.
    :param quarantine_rows: rows that went to quarantine.
    :param invalid_lines: lines that could not be read at all.
    :param bytes: bytes of the file that were read; not part of what a task returns.
    """

    rows: int | None = None
    quarantine_rows: int | None = None
    invalid_lines: int | None = None
    bytes: int | None = field(default=None, compare=False)

    def as_xcom(self) -> dict[str, Any]:
        """Make it JSON: ``rows``, and what else is known."""
        more = {"quarantine_rows": self.quarantine_rows, "invalid_lines": self.invalid_lines}
        return {"rows": self.rows} | {key: value for key, value in more.items() if value is not None}


def import_id(job: Job) -> str:
    """Return the id under which the quarantine has the rows of an import."""
    return str(job.raw.get("import_id") or job.id)


def of_import(client: Client, job: Job) -> RowCounts:
    """Count the rows of an import: by its blocks, since the job's ``statistics`` are those of the whole data source."""
    blocks = None
    try:
        blocks = client.send(jobs_api.get_job(job.id, blocks=True)).blocks
    except TinybirdError as e:
        log.warning("The rows of %s are not known: %s", job, e)
    if blocks is not None and not blocks.parts:
        blocks = None  # an empty list says nothing of the rows, which is not the same as none
    told = [job.quarantine_rows, blocks.quarantined if blocks else None]
    quarantined = max((number for number in told if number is not None), default=None)
    return RowCounts(blocks.lines if blocks else None, quarantined, job.invalid_lines, blocks.bytes if blocks else None)


def of_copy(client: Client, job: Job) -> RowCounts:
    """Count the rows of a copy by Tinybird's log of operations, which is written a little later and needs a wide token."""
    for pause in LOOKS:
        time.sleep(pause)
        try:
            written = client.send(jobs_api.count_written_rows(job.id))
        except TinybirdError as e:
            log.debug("The rows of %s are not known: %s", job, e)
            return RowCounts()
        if written is not None:
            return RowCounts(rows=written)
    return RowCounts()
