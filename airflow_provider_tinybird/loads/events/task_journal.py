"""What a task remembers of a load, so that its next attempt goes on where this one broke off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.jobs.start import Attempt, Store
from airflow_provider_tinybird.loads.events.chunks import Chunk, RowReader
from airflow_provider_tinybird.loads.events.compression import Content
from airflow_provider_tinybird.loads.events.errors import LoadInterruptedError, SourceChangedError
from airflow_provider_tinybird.loads.events.options import Delivery
from airflow_provider_tinybird.loads.events.progress import Progress, Ranges

KEY = "tinybird_load"
"""Key in the store. Renaming it would make retries that are under way send rows again."""

VERSION = 2

MOST_ENTRIES = 300
"""Batches that may be acknowledged behind one that is not: about 20 KB of the 64 that a record may have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch in the journal.

    :param through: hash over all bytes of the data up to its end.
    """

    first_row: int
    rows: int
    through: str
    quarantined: int = 0

    @property
    def end(self) -> int:
        """Position of the row after its last one."""
        return self.first_row + self.rows


@dataclass(slots=True)
class Record:
    """What is stored.

    :param rows: rows of the beginning, all of them acknowledged.
    :param batches: batches that they came in.
    :param quarantined: of these rows, those in quarantine.
    :param through: hash over their bytes.
    :param acknowledged: batches that are in, behind one that is not.
    :param in_flight: batches that were sent and have no answer yet.
    """

    rows: int = 0
    batches: int = 0
    quarantined: int = 0
    through: str = ""
    acknowledged: dict[int, Entry] = field(default_factory=dict)
    in_flight: dict[int, Entry] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is in or can be."""
        return not (self.rows or self.acknowledged or self.in_flight)

    def acknowledge(self, entry: Entry) -> None:
        """Take in a batch that is in."""
        self.in_flight.pop(entry.first_row, None)
        self.acknowledged[entry.first_row] = entry
        while (following := self.acknowledged.pop(self.rows, None)) is not None:
            self.rows, self.through = following.end, following.through
            self.batches += 1
            self.quarantined += following.quarantined

    def as_json(self) -> dict[str, Any]:
        """Make it JSON."""
        return {
            "rows": self.rows,
            "batches": self.batches,
            "quarantined": self.quarantined,
            "through": self.through,
            "acknowledged": [list(astuple(entry)) for entry in self.acknowledged.values()],
            "in_flight": [list(astuple(entry)) for entry in self.in_flight.values()],
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Record:
        """Read it."""
        lists = (
            {entry.first_row: entry for entry in (Entry(*item) for item in stored[name])}
            for name in ("acknowledged", "in_flight")
        )
        return cls(stored["rows"], stored["batches"], stored["quarantined"], stored["through"], *lists)


def recalled(store: Store | None, attempt: Attempt, datasource: str) -> Mapping[str, Any] | None:
    """Return what an earlier attempt of the same load stored, since the last clear.

    :raises LoadInterruptedError: it was written by another version of this package and rows may be in.
    """
    stored = None if store is None else store.get(KEY)
    if not isinstance(stored, Mapping) or stored.get("max_tries") != attempt.max_tries:
        return None
    if stored.get("version") == VERSION:
        return stored if stored.get("datasource") == datasource else None
    if stored.get("nothing_is_in"):
        return None
    # Version 1 sent one batch after the other and kept counts only.
    raise LoadInterruptedError(
        f"An earlier attempt broke off while it loaded '{datasource}': the first {stored.get('rows')} rows "
        f"({stored.get('batches')} batches) are in, and it is unknown whether the batch after them is. Sending all again would "
        "double them. Remove those rows or load only what is missing; clear the task to send all of it again."
    )


class TaskJournal:
    """The journal of ``at_most_once`` and ``at_least_once`` in the store of a task instance.

    :param store: where.
    :param attempt: the attempt.
    :param datasource: where the rows go.
    :param delivery: what is promised.
    :raises LoadInterruptedError: rows were sent by an earlier attempt of which it is unknown whether they are in.
    """

    needs_hashes = True
    can_go_on = True
    row_overhead = 0

    def __init__(self, store: Store, attempt: Attempt, datasource: str, delivery: Delivery) -> None:
        self._store = store
        self._head = {
            "version": VERSION,
            "max_tries": attempt.max_tries,
            "datasource": datasource,
            "delivery": str(delivery),
        }
        self._datasource = datasource
        stored = recalled(store, attempt, datasource)
        self._record = Record()
        if stored is not None:
            if stored["delivery"] == Delivery.EXACTLY_ONCE:
                raise _other_delivery(datasource, Delivery.EXACTLY_ONCE, delivery)
            self._record = Record.of(stored)
        if delivery is Delivery.AT_MOST_ONCE and self._record.in_flight:
            raise self._refused()

    @property
    def is_full(self) -> bool:
        """Whether so many batches are acknowledged behind one that is not that the record has no room for more."""
        return len(self._record.acknowledged) >= MOST_ENTRIES

    def to_send(self, reader: RowReader, progress: Progress) -> Iterator[Chunk]:
        """Yield what an earlier attempt did not get in, then all the rest.

        Before anything is handed out, all that it sent is compared: what it left out between is less than
        was in flight at once, and waits in memory for that.

        :raises SourceChangedError: the data is not what was sent then.
        """
        record = self._record
        entries = [*record.acknowledged.values(), *record.in_flight.values()]
        self._skip_beginning(reader, progress)
        waiting: list[Chunk] = []
        for entry in sorted(entries, key=lambda entry: entry.first_row):
            waiting += reader.parts(entry.first_row - reader.row)
            chunk = reader.take(entry.rows)
            if chunk is None or chunk.through() != entry.through:
                raise self._changed(entry)
            if entry.first_row in record.in_flight:
                waiting.append(chunk)
            else:
                progress.skipped(entry.first_row, entry.rows, entry.quarantined)
        while waiting:
            yield waiting.pop(0)
        yield from reader.rest()

    def _skip_beginning(self, reader: RowReader, progress: Progress) -> None:
        record = self._record
        if not record.rows:
            return
        last: Chunk | None = None
        for chunk in reader.parts(record.rows):
            last = chunk
        if last is None or last.end != record.rows or last.through() != record.through:
            raise self._changed(Entry(0, record.rows, record.through))
        progress.skipped(0, record.rows, record.quarantined, record.batches)

    def halves(self, chunk: Chunk) -> tuple[Chunk, Chunk]:
        """Cut a chunk that is too large."""
        return chunk.halves()

    def content(self, chunk: Chunk) -> Content:
        """Return the body as it is."""
        return chunk.body

    def about_to_send(self, chunk: Chunk) -> None:
        """Record that a chunk is about to be sent."""
        self._record.in_flight[chunk.first_row] = Entry(chunk.first_row, chunk.rows, chunk.through())
        self._write()

    def acknowledged(self, chunk: Chunk, result: EventsResult) -> None:
        """Record that a chunk is in."""
        entry = self._record.in_flight[chunk.first_row]
        self._record.acknowledge(Entry(entry.first_row, entry.rows, entry.through, result.quarantined_rows))
        self._write()

    def not_in(self, chunk: Chunk) -> None:
        """Record that a chunk was refused, all of it."""
        self._record.in_flight.pop(chunk.first_row, None)
        self._write()

    def settle(self, chunk: Chunk, error: TinybirdError) -> EventsResult | None:  # noqa: ARG002
        """Find out nothing: the chunk stays in flight, for the next attempt to see."""
        raise error

    def to_repair(self) -> list[Chunk]:
        """Look at nothing."""
        return []

    def _write(self) -> None:
        self._store.set(KEY, self._head | self._record.as_json())

    def _refused(self) -> LoadInterruptedError:
        record = self._record
        unknown, known = Ranges(), Ranges()
        known.add(0, record.rows, record.batches)
        for ranges, entries in ((known, record.acknowledged), (unknown, record.in_flight)):
            for entry in entries.values():
                ranges.add(entry.first_row, entry.rows)
        return LoadInterruptedError(
            f"An earlier attempt broke off while it loaded '{self._datasource}'. "
            + (f"In: {known} ({known.batches} batches). " if known else "Nothing is known to be in. ")
            + f"Unknown whether they are in: {unknown} ({unknown.batches} batches). Rows are counted from 0. Nothing was sent by this "
            "attempt. Find out which of the unknown rows are in, and load only what is missing; clear the task to send all of it again. "
            "Where rows can be doubled delivery='at_least_once' goes on by itself, and 'exactly_once' finds out by itself."
        )

    def _changed(self, entry: Entry) -> SourceChangedError:
        return SourceChangedError(
            f"The data for '{self._datasource}' changed since an earlier attempt: what it sent up to row {entry.end - 1} is not what the "
            f"data has there now. Nothing was sent by this attempt. The first {self._record.rows} rows of the data as it was are in. "
            "Remove what is in, then clear the task to send all of it."
        )


def note_exactly_once(store: Store | None, attempt: Attempt, datasource: str) -> None:
    """Record that rows carry the ids of their batches, so that no other delivery goes on with them.

    :raises LoadInterruptedError: an earlier attempt sent rows without.
    """
    if store is None:
        return
    stored = recalled(store, attempt, datasource)
    if stored is not None and stored["delivery"] != Delivery.EXACTLY_ONCE and not Record.of(stored).is_blank:
        raise _other_delivery(datasource, Delivery(stored["delivery"]), Delivery.EXACTLY_ONCE)
    head = {"version": VERSION, "max_tries": attempt.max_tries, "datasource": datasource}
    store.set(KEY, head | {"delivery": str(Delivery.EXACTLY_ONCE)})


def _other_delivery(datasource: str, before: Delivery, now: Delivery) -> LoadInterruptedError:
    return LoadInterruptedError(
        f"An earlier attempt loaded rows into '{datasource}' with delivery='{before}', and this one has '{now}', which cannot tell what of "
        f"them is in. Set it back to '{before}' for this run, or remove those rows and clear the task."
    )
