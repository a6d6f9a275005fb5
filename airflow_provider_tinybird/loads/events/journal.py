"""What a load remembers of its batches, so that nothing is sent twice: where that is kept depends on the delivery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.loads.events.chunks import Chunk, RowReader
from airflow_provider_tinybird.loads.events.compression import Content
from airflow_provider_tinybird.loads.events.progress import Progress


class Journal(Protocol):
    """Keeps account of a load. Used by the main thread only, but for ``content``."""

    @property
    def needs_hashes(self) -> bool:
        """Whether chunks are to know the hash of what comes before them."""

    @property
    def can_go_on(self) -> bool:
        """Whether another attempt knows what is in, as long as no outcome is unknown."""

    @property
    def row_overhead(self) -> int:
        """Bytes by which ``content`` makes each row longer."""

    @property
    def is_full(self) -> bool:
        """Whether an answer is to be waited for before more is sent."""

    def to_send(self, reader: RowReader, progress: Progress) -> Iterator[Chunk]:
        """Yield what is to be sent; what is in is counted as skipped."""

    def halves(self, chunk: Chunk) -> tuple[Chunk, Chunk]:
        """Cut a chunk that is too large."""

    def content(self, chunk: Chunk) -> Content:
        """Make the body that is sent of a chunk."""

    def about_to_send(self, chunk: Chunk) -> None:
        """Record that a chunk is about to be sent."""

    def acknowledged(self, chunk: Chunk, result: EventsResult) -> None:
        """Record that a chunk is in."""

    def not_in(self, chunk: Chunk) -> None:
        """Record that a chunk was refused, all of it."""

    def settle(self, chunk: Chunk, error: TinybirdError) -> EventsResult | None:
        """Find out what became of a chunk whose outcome is unknown, or that is in only in part.

        :return: the counts when it is in; ``None`` when it is not in and is to be sent again.
        :raises TinybirdError: the error itself, where there is no way to find out.
        """

    def to_repair(self) -> list[Chunk]:
        """Look at the end whether all is in once; returns what is to be sent again."""


class NoJournal:
    """Remembers nothing: for ``at_most_once`` and ``at_least_once`` without a place to keep it."""

    needs_hashes = False
    can_go_on = False
    row_overhead = 0
    is_full = False

    def to_send(self, reader: RowReader, progress: Progress) -> Iterator[Chunk]:  # noqa: ARG002
        """Yield all there is."""
        return reader.rest()

    def halves(self, chunk: Chunk) -> tuple[Chunk, Chunk]:
        """Cut a chunk that is too large."""
        return chunk.halves()

    def content(self, chunk: Chunk) -> Content:
        """Return the body as it is."""
        return chunk.body

    def about_to_send(self, chunk: Chunk) -> None:
        """Remember nothing."""

    def acknowledged(self, chunk: Chunk, result: EventsResult) -> None:
        """Remember nothing."""

    def not_in(self, chunk: Chunk) -> None:
        """Remember nothing."""

    def settle(self, chunk: Chunk, error: TinybirdError) -> EventsResult | None:  # noqa: ARG002
        """Find out nothing."""
        raise error

    def to_repair(self) -> list[Chunk]:
        """Look at nothing."""
        return []
