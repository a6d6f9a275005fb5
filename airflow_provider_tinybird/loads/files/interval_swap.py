"""An interval whose rows are being swapped: what was sent, what has to be there in the end, and what must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.policies.row_counts import RowCounts
from airflow_provider_tinybird.timespans.intervals import Interval, literal
from airflow_provider_tinybird.timespans.partitions import PartitionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """How far the swap is. It is small JSON, since a deferral keeps it.

    :param datasource: name of the data source.
    :param start: first moment of the interval, for people.
    :param end: first moment behind it.
    :param condition: the interval as an SQL condition.
    :param key: the partition key as an SQL text; empty where there is none, or it cannot be told.
    :param merges: whether the engine merges rows away, or a TTL takes them out, so that their number says little.
    :param rows_before: rows of the interval that were there before.
    :param rows: rows that were sent and are in the interval; ``None`` where they were not looked at.
    :param is_exact: whether no others were sent.
    :param partitions: partitions that they are in; ``None`` where that cannot be told.
    :param is_imported: whether the import is over, or none is needed.
    :param job_id: the import.
    :param import_id: its id in the quarantine; empty where an earlier version deferred.
    :param written: rows that Tinybird says it wrote.
    :param quarantined: rows in quarantine.
    :param invalid: lines that could not be read.
    :param deleted: old rows that were deleted afterwards.
    """

    datasource: str
    start: str
    end: str
    condition: str
    key: str
    merges: bool
    rows_before: int | None = None
    rows: int | None = None
    is_exact: bool = True
    partitions: tuple[str, ...] | None = None
    is_imported: bool = False
    job_id: str = ""
    written: int | None = None
    quarantined: int | None = None
    invalid: int = 0
    deleted: int = 0
    import_id: str = ""

    @classmethod
    def of(cls, interval: Interval, key: PartitionKey | None, datasource: str, *, merges: bool) -> Replaced:
        """Begin with an interval."""
        return cls(
            datasource=datasource,
            start=interval.start.isoformat(),
            end=interval.end.isoformat(),
            condition=interval.condition,
            key=key.text if key else "",
            merges=merges,
        )

    def with_before(self, rows: int) -> Replaced:
        """Note what was there before."""
        return replace(self, rows_before=rows)

    def with_rows(self, rows: int, *, is_exact: bool, partitions: list[str] | None) -> Replaced:
        """Note what is sent."""
        return replace(self, rows=rows, is_exact=is_exact, partitions=None if partitions is None else tuple(partitions))

    def imported(self, job_id: str, counts: RowCounts, import_id: str = "") -> Replaced:
        """Note that the import is done."""
        return replace(
            self,
            is_imported=True,
            job_id=job_id,
            import_id=import_id or job_id,
            written=counts.rows,
            quarantined=counts.quarantine_rows,
            invalid=counts.invalid_lines or 0,
        )

    def emptied(self) -> Replaced:
        """Note that there is nothing to import."""
        return replace(self, is_imported=True, quarantined=0)

    def with_deleted(self, rows: int) -> Replaced:
        """Note what was deleted."""
        return replace(self, deleted=self.deleted + rows)

    @property
    def left_over(self) -> str:
        """Condition of rows that are in the interval and are not new; empty where that cannot be told."""
        if not self.key or self.partitions is None:
            return ""
        listed = ", ".join(map(literal, self.partitions)) or "''"
        return f"({self.condition}) AND {self.key} NOT IN ({listed})"

    def agrees(self, found: int) -> bool:
        """Tell whether the rows of the interval are those that were sent."""
        bad = (self.quarantined or 0) + self.invalid
        sent = self.written if self.rows is None else self.rows
        if sent is None:
            return True  # neither here nor there could be told how many there are
        if self.rows is None:
            return found <= sent if self.merges else found == sent
        least = 0 if self.merges else sent - bad
        return least <= found <= (sent if self.merges or not self.is_exact else sent - bad)

    def complaint(self, found: int) -> str:
        """Say what is wrong."""
        bad = (self.quarantined or 0) + self.invalid
        sent = self.written if self.rows is None else self.rows - bad
        text = f"The interval of '{self.datasource}' where {self.condition} has {found} rows after the replace, and {sent} were sent. "
        if sent is not None and found < sent:
            why = (
                "Rows that are outside the interval are left out by Tinybird; or something else writes into it, or deletes from it, at the "
                "same time; or Tinybird dropped a block of rows that equals a recent one."
            )
        elif self.partitions is None:
            why = (
                "Old rows stay in partitions that no new row is in, and which these are could not be told here: delete the interval's "
                "rows and run this task again; or give data or path in place of url, with a value in each column of the partition key."
            )
        else:
            why = "Something else writes into it at the same time."
        return text + why

    def as_json(self) -> dict[str, Any]:
        """Make it JSON."""
        return asdict(self) | {"partitions": None if self.partitions is None else list(self.partitions)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Replaced:
        """Read it.

        :raises InvalidInputError: it is none.
        """
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        partitions = known.get("partitions")
        try:
            return cls(**{**known, "partitions": None if partitions is None else tuple(partitions)})
        except TypeError as e:
            raise InvalidInputError(f"What was stored before the deferral cannot be read: {e}. Clear the task.") from e

    def as_xcom(self, found: int) -> dict[str, Any]:
        """Make what the task returns."""
        return {
            "rows": found,
            "rows_before": self.rows_before,
            "rows_deleted": self.deleted,
            "start": self.start,
            "end": self.end,
            "job_id": self.job_id,
            "quarantine_rows": self.quarantined or 0,
            "invalid_lines": self.invalid,
        }
