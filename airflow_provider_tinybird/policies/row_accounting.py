"""Whether the rows of a file that was imported are there: as many as were sent, less those in quarantine.

A job that is done may have written fewer, and does not call that an error. Nothing here knows Airflow.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.api.quarantine import quarantine_of
from airflow_provider_tinybird.api.wording import rows
from airflow_provider_tinybird.policies.deletes import TooFewRowsError
from airflow_provider_tinybird.policies.quarantine import (
    Load,
    OnQuarantine,
    QuarantinePolicy,
    QuarantineUnknownError,
    with_count,
)
from airflow_provider_tinybird.policies.row_counts import RowCounts, import_id

log = logging.getLogger(__name__)


class RowsMissingError(TooFewRowsError):
    """An import is done, and rows of its file are neither in the data source nor in its quarantine. A retry would double the others."""


class ReplacedRowsMissingError(RowsMissingError):
    """The same of a replace: trying it again begins with the replace, which doubles nothing."""

    retry_can_help = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """What became of the rows of a file.

    :param datasource: name of the data source.
    :param job: the import, which is done.
    :param sent: rows of the file.
    :param counts: what Tinybird says of them.
    """

    datasource: str
    job: Job
    sent: int
    counts: RowCounts

    @property
    def unaccounted(self) -> int | None:
        """Rows that Tinybird says nothing of; ``None`` where it does not say how many are in."""
        if self.counts.rows is None:
            return None
        bad = (self.counts.quarantine_rows or 0) + (self.counts.invalid_lines or 0)
        # Whether the lines of a block include those in quarantine is documented nowhere. If they do, there seem to be more than were sent.
        return max(0, self.sent - self.counts.rows - bad)

    def with_quarantine(self, client: Client, policy: QuarantinePolicy, stopped: str = "") -> FileRows:
        """Ask for the rows in quarantine, where the job does not tell and somebody has to know.

        :param stopped: where there are more files: what is in, and what the reader can do.
        :raises QuarantineUnknownError: it cannot be told, and the policy wants to know.
        """
        if self.counts.quarantine_rows is not None or (policy.action is OnQuarantine.IGNORE and not self.unaccounted):
            return self
        load = Load(
            datasource=self.datasource,
            rows=self.counts.rows,
            quarantined=None,
            import_ids=(import_id(self.job),),
            stopped=stopped,
        )
        try:
            found = with_count(client, load).quarantined
        except QuarantineUnknownError as e:
            if policy.action is OnQuarantine.FAIL:
                raise
            log.warning("%s", e)
            return self
        return replace(self, counts=replace(self.counts, quarantine_rows=found))

    def check(self, replaces: bool, way_out: str) -> None:
        """See that no row is missing.

        :param replaces: whether it was part of a replace, which may be tried again.
        :param way_out: what the reader can do, full sentences.
        :raises RowsMissingError: one is.
        """
        missing = self.unaccounted
        if missing is None:
            log.warning(
                "How many rows %s wrote is unknown: Tinybird does not say, so that nobody has checked whether all %d are there.",
                self.job,
                self.sent,
            )
            return
        if missing and self.counts.quarantine_rows is None:
            log.warning(
                "%s of the file of %s are in quarantine, or missing: Tinybird does not say.", rows(missing), self.job
            )
            return
        if missing:
            raise (ReplacedRowsMissingError if replaces else RowsMissingError)(f"{self} {way_out}")
        if (self.counts.rows or 0) > self.sent:
            log.warning("%s", self)

    def __str__(self) -> str:
        invalid = self.counts.invalid_lines or 0
        lines = f", {invalid} lines could not be read" if invalid else ""
        missing = self.unaccounted
        text = (
            f"Of the {rows(self.sent)} that {self.job} was to bring into data source '{self.datasource}', Tinybird says, "
            f"{self.counts.rows:,} came in and {self.counts.quarantine_rows or 0:,} went to '{quarantine_of(self.datasource)}'{lines}"
        )
        return f"{text}: {rows(missing)} {'is' if missing == 1 else 'are'} missing." if missing else f"{text}."
