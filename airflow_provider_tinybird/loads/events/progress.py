"""What of a load is in, what is not, and what is unknown: for the log, for errors and for the result."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

from airflow_provider_tinybird.api import wording
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.loads.events.chunks import Chunk

log = logging.getLogger(__name__)

_EVERY = 5.0
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class LoadResult(EventsResult):
    """What became of a load.

    :param batches: requests that were acknowledged.
    :param bytes: bytes in them, uncompressed.
    :param skipped_rows: of the rows, those that an earlier attempt had sent.
    """

    batches: int = 0
    bytes: int = 0
    skipped_rows: int = 0

    def as_xcom(self) -> dict[str, int]:
        """Make it JSON."""
        names = ("successful_rows", "quarantined_rows", "batches", "bytes", "skipped_rows")
        return {name: getattr(self, name) for name in names}


class Ranges:
    """Rows by their positions, shown as ``rows 0 to 3999 and 6000 to 6999``."""

    def __init__(self) -> None:
        self.batches = 0
        self.rows = 0
        self._ends: dict[int, int] = {}  # first row -> row after the last one
        self._starts: dict[int, int] = {}

    def add(self, first_row: int, rows: int, batches: int = 1) -> None:
        """Take in rows that are not among them yet."""
        if not rows:
            return
        self.batches += batches
        self.rows += rows
        start, end = first_row, first_row + rows
        if start in self._starts:  # what ends where this begins
            start = self._starts.pop(start)
        if end in self._ends:  # what begins where this ends
            end = self._ends.pop(end)
        self._ends[start], self._starts[end] = end, start

    def __bool__(self) -> bool:
        return self.rows > 0

    def __str__(self) -> str:
        pairs = sorted(self._ends.items())
        shown = [f"{start} to {end - 1}" if end - start > 1 else f"{start}" for start, end in pairs[:_SHOWN]]
        if len(pairs) > _SHOWN:
            shown.append(f"{len(pairs) - _SHOWN} more ranges up to {pairs[-1][1] - 1}")
        text = " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
        return f"rows {text}" if self.rows > 1 else f"row {text}"


class Progress:
    """Counts a load, and tells in the log every few seconds how far it is.

    :param datasource: where the rows go.
    :param total: rows of all the data, where that is known.
    :param clock: tells seconds.
    """

    def __init__(
        self, datasource: str, total: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.datasource = datasource
        self.is_in, self.not_in, self.unknown, self.torn = Ranges(), Ranges(), Ranges(), Ranges()
        self._total = total
        self._clock = clock
        self._began = self._told_at = clock()
        self._sent_before_told = 0
        self._successful = self._quarantined = self._skipped = self._batches = self._bytes = 0

    def acknowledged(self, chunk: Chunk, result: EventsResult) -> None:
        """Count a batch that is in."""
        self.is_in.add(chunk.first_row, chunk.rows)
        self._successful += result.successful_rows
        self._quarantined += result.quarantined_rows
        self._batches += 1
        self._bytes += chunk.size

    def skipped(self, first_row: int, rows: int, quarantined: int, batches: int = 1) -> None:
        """Count rows that an earlier attempt sent."""
        self.is_in.add(first_row, rows, batches)
        self._successful += rows - quarantined
        self._quarantined += quarantined
        self._skipped += rows

    def result(self) -> LoadResult:
        """All counts."""
        return LoadResult(self._successful, self._quarantined, self._batches, self._bytes, self._skipped)

    def time_to_tell(self) -> float:
        """Seconds until the log is to say how far it is."""
        return max(0.0, self._told_at + _EVERY - self._clock())

    def tell(self) -> None:
        """Say how far it is, when it is time."""
        if self.time_to_tell() > 0:
            return
        now = self._clock()
        speed = (self._bytes - self._sent_before_told) / (now - self._told_at) / 1e6
        share = f", {self.is_in.rows / self._total:.0%} of all" if self._total else ""
        log.info(
            "'%s': %s rows are in (%.1f MB sent, now %.1f MB/s), %s in quarantine%s.",
            self.datasource,
            f"{self.is_in.rows:,}",
            self._bytes / 1e6,
            speed,
            f"{self._quarantined:,}",
            share,
        )
        self._told_at, self._sent_before_told = now, self._bytes

    def summary(self) -> str:
        """Say what was done."""
        seconds = max(self._clock() - self._began, 1e-9)
        skipped = f", {self._skipped:,} of the rows were in from an earlier attempt" if self._skipped else ""
        size, speed = f"{self._bytes:,} bytes", ""
        if self._bytes >= 1e6:
            size, speed = f"{self._bytes / 1e6:.1f} MB", f" ({self._bytes / seconds / 1e6:.1f} MB/s)"
        are = "is" if self._successful == 1 else "are"
        requests = f"{self._batches:,} request{'' if self._batches == 1 else 's'}"
        return (
            f"{wording.rows(self._successful)} {are} in data source '{self.datasource}', {self._quarantined:,} in its quarantine: "
            f"{requests}, {size} in {wording.duration(seconds)}{speed}{skipped}."
        )

    def state(self) -> str:
        """Say which rows are in, which are not, and which are unknown."""
        said = []
        if self.is_in:
            said.append(f"In: {self.is_in} ({_batches(self.is_in.batches)}).")
        else:
            said.append("Nothing is known to be in.")
        for what, ranges in (
            ("Unknown whether they are in", self.unknown),
            ("In only in part", self.torn),
            ("Not in", self.not_in),
        ):
            if ranges:
                said.append(f"{what}: {ranges} ({_batches(ranges.batches)}).")
        return f"{' '.join(said)} Later rows were not sent. Rows are counted from 0."


def rows_of(data: Any) -> int | None:
    """Tell how many rows data has, where it can without going through it."""
    if callable(data):
        return None
    rows = getattr(data, "num_rows", None)  # Arrow
    if isinstance(rows, int):
        return rows
    if isinstance(data, list | tuple) and data and not isinstance(data[0], dict):
        parts = [rows_of(item) for item in data]
        return sum(part for part in parts if part is not None) if None not in parts else None
    is_frame = type(data).__module__.partition(".")[0] in ("pandas", "polars")
    return len(data) if isinstance(data, Sized) and (is_frame or isinstance(data, list | tuple)) else None


def _batches(count: int) -> str:
    return "1 batch" if count == 1 else f"{count} batches"
