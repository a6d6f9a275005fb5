"""The journal of ``exactly_once``: the data source itself, whose rows carry the ids of their batches."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace

from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.loads.events.batch_counts import Count, Target
from airflow_provider_tinybird.loads.events.batch_ids import FoundId, Stamp, load_hash
from airflow_provider_tinybird.loads.events.chunks import Chunk, RowReader
from airflow_provider_tinybird.loads.events.compression import Content
from airflow_provider_tinybird.loads.events.errors import ResumableLoadError, SourceChangedError
from airflow_provider_tinybird.loads.events.progress import Progress

log = logging.getLogger(__name__)

_LOOKS = (0.5, 2.0, 5.0)
"""Seconds before each look for a batch whose answer was lost: Tinybird may still be at work with it."""

_LAST_LOOKS = (0.0, 1.0, 3.0)
"""Seconds before each count at the end: a replica may lag behind what it has acknowledged."""

_LAST_LOOK = 5.0
"""Seconds before the look at the end, when answers were lost: a request that was lost may arrive late."""

_MOST_UNCERTAIN = 64_000_000
_TRIES = 4


class ExactlyOnce:
    """Sends what is missing in the data source.

    :param target: the data source.
    :param load_id: names the load, the same in each attempt.
    :param is_retry: whether an earlier attempt may have a request under way still.
    :param sleep: waits.
    """

    needs_hashes = False
    can_go_on = True
    is_full = False

    def __init__(
        self, target: Target, load_id: str, *, is_retry: bool = False, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._target = target
        self._sleep = sleep
        self._stamp = Stamp(load_hash(load_id, target.name), target.key)
        self._found = target.counts(self._stamp.prefix)
        self._is_to_check = is_retry or bool(self._found) or not target.doubt
        if not self._is_to_check:
            log.info(
                "The rows of '%s' are not counted in the end unless an answer is lost: %s.", target.name, target.doubt
            )
        self._first_rows = sorted(FoundId.of(one).first_row for one in self._found)
        self._seen: set[str] = set()
        self._expected: dict[str, int] = {}
        self._uncertain: dict[str, Chunk] = {}
        self._tries: dict[str, int] = {}

    @property
    def row_overhead(self) -> int:
        """Bytes by which a row grows."""
        return self._stamp.row_overhead

    def to_send(self, reader: RowReader, progress: Progress) -> Iterator[Chunk]:
        """Yield what is not whole in the data source.

        :raises SourceChangedError: the data is not what an earlier attempt sent.
        """
        for chunk in reader.rest():
            self._stamp.check(chunk)
            yield from self._missing(chunk, progress)
        if left := self._found.keys() - self._seen:
            raise self._changed(min(FoundId.of(one).first_row for one in left), at_end=True)

    def _missing(self, chunk: Chunk, progress: Progress) -> Iterator[Chunk]:
        """Yield of a chunk what is not whole, cut as an earlier attempt may have cut it."""
        if not self._has_any(chunk):
            yield self._with_id(chunk)
            return
        known = self._with_id(chunk)
        count = self._found.get(known.batch_id)
        if count is None:
            if chunk.rows == 1:
                raise self._changed(chunk.first_row)
            for half in chunk.halves():
                yield from self._missing(half, progress)
            return
        self._seen.add(known.batch_id)
        if count.total == known.rows:
            self._expected[known.batch_id] = known.rows
            progress.skipped(known.first_row, known.rows, count.quarantined)
            return
        self._remove(known, count)
        yield known

    def _has_any(self, chunk: Chunk) -> bool:
        """Whether a batch begins within it that an earlier attempt sent."""
        place = bisect_left(self._first_rows, chunk.first_row)
        return place < len(self._first_rows) and self._first_rows[place] < chunk.end

    def halves(self, chunk: Chunk) -> tuple[Chunk, Chunk]:
        """Cut a chunk that is too large: its halves have ids of their own."""
        left, right = chunk.halves()
        return self._with_id(left), self._with_id(right)

    def content(self, chunk: Chunk) -> Content:
        """Write the id into each row."""
        return self._stamp.stamped(chunk)

    def about_to_send(self, chunk: Chunk) -> None:
        """Record what has to be there at the end."""
        self._expected[chunk.batch_id] = chunk.rows

    def acknowledged(self, chunk: Chunk, result: EventsResult) -> None:
        """Nothing to do: it is in the data source."""

    def not_in(self, chunk: Chunk) -> None:
        """Record that a chunk was refused, all of it."""
        self._expected.pop(chunk.batch_id, None)

    def settle(self, chunk: Chunk, error: TinybirdError) -> EventsResult | None:
        """Look into the data source for a batch whose answer was lost; a torn one is removed."""
        log.warning("%s Looking into '%s' whether it is there.", error, self._target.name)
        self._uncertain[chunk.batch_id] = chunk
        self._tries[chunk.batch_id] = tries = self._tries.get(chunk.batch_id, 0) + 1
        count = Count()
        for wait in _LOOKS:
            self._sleep(wait)
            count = self._count(chunk)
            if count.total == chunk.rows:
                return EventsResult(count.rows, count.quarantined)
        if tries >= _TRIES or sum(one.size for one in self._uncertain.values()) > _MOST_UNCERTAIN:
            raise error
        self._remove(chunk, count)
        return None

    def to_repair(self) -> list[Chunk]:
        """Count in the end what is there: a request may have arrived late, or not at all. What is not there once is removed and sent again.

        :raises SourceChangedError: there are batches that this data does not have.
        :raises ResumableLoadError: a batch is not whole any more, and its rows are not in memory any more either.
        """
        if not self._uncertain and not self._is_to_check:
            return []
        if self._uncertain:
            self._sleep(_LAST_LOOK)
        counts: dict[str, Count] = {}
        wrong: list[str] = []
        for pause in _LAST_LOOKS:
            self._sleep(pause)
            counts = self._target.counts(self._stamp.prefix)
            wrong = [one for one, rows in self._expected.items() if counts.get(one, Count()).total != rows]
            if not wrong:
                return []
        gone = [one for one in wrong if one not in self._uncertain]
        for batch_id in wrong:
            if batch_id in counts:
                self._remove_id(batch_id, counts[batch_id], self._expected[batch_id])
        if gone:
            raise ResumableLoadError(
                f"{len(gone)} batches of '{self._target.name}' are not there once: a request of an earlier attempt arrived late, rows "
                "were removed, or Tinybird did not keep them. What was left of them is removed; trying it again sends them."
            )
        return [self._uncertain[one] for one in wrong]

    def _count(self, chunk: Chunk) -> Count:
        return self._target.counts(chunk.batch_id).get(chunk.batch_id, Count())

    def _with_id(self, chunk: Chunk) -> Chunk:
        return replace(chunk, batch_id=self._stamp.id_of(chunk))

    def _remove(self, chunk: Chunk, count: Count) -> None:
        self._remove_id(chunk.batch_id, count, chunk.rows)

    def _remove_id(self, batch_id: str, count: Count, rows: int) -> None:
        if not count.rows:
            return
        log.warning(
            "Batch %s has %d rows, %d are in '%s' and %d in its quarantine: those in the data source are deleted.",
            batch_id,
            rows,
            count.rows,
            self._target.name,
            count.quarantined,
        )
        self._target.delete(batch_id)

    def _changed(self, row: int, *, at_end: bool = False) -> SourceChangedError:
        what = "the data ends before it" if at_end else "the data has other rows there now"
        return SourceChangedError(
            f"The data for '{self._target.name}' changed since an earlier attempt: a batch from row {row} on is in, and {what}. Delete "
            f"what that attempt sent, all rows whose {self._target.column} begins with '{self._stamp.prefix}', then clear the "
            "task. Data that is read again must come in the same order: sort it."
        )
