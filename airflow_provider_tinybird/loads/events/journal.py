"""What a load remembers of its batches, so that nothing is sent twice: where that is kept depends on the delivery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.loads.events.chunks import Piece, RowReader
from airflow_provider_tinybird.loads.events.compression import Content
from airflow_provider_tinybird.loads.events.progress import Tally


class Books(Protocol):
    """Keeps account of a load. Used by the main thread only, but for ``content``."""

    @property
    def needs_hashes(self) -> bool:
        """Whether pieces are to know the hash of what comes before them."""

    @property
    def can_go_on(self) -> bool:
        """Whether another attempt knows what is in, as long as no outcome is unknown."""

    @property
    def row_overhead(self) -> int:
        """Bytes by which ``content`` makes each row longer."""

    @property
    def is_full(self) -> bool:
        """Whether an answer is to be waited for before more is sent."""

    def to_send(self, reader: RowReader, tally: Tally) -> Iterator[Piece]:
        """Yield what is to be sent; what is in is counted as skipped."""

    def halves(self, piece: Piece) -> tuple[Piece, Piece]:
        """Cut a piece that is too large."""

    def content(self, piece: Piece) -> Content:
        """Make the body that is sent of a piece."""

    def about_to_send(self, piece: Piece) -> None:
        """Take down that a piece is about to be sent."""

    def acknowledged(self, piece: Piece, result: EventsResult) -> None:
        """Take down that a piece is in."""

    def not_in(self, piece: Piece) -> None:
        """Take down that a piece was refused, all of it."""

    def settle(self, piece: Piece, error: TinybirdError) -> EventsResult | None:
        """Find out what became of a piece whose outcome is unknown, or that is in only in part.

        :return: the counts when it is in; ``None`` when it is not in and is to be sent again.
        :raises TinybirdError: the error itself, where there is no way to find out.
        """

    def to_repair(self) -> list[Piece]:
        """Look at the end whether all is in once; returns what is to be sent again."""


class NoBooks:
    """Remembers nothing: for ``at_most_once`` and ``at_least_once`` without a place to keep it."""

    needs_hashes = False
    can_go_on = False
    row_overhead = 0
    is_full = False

    def to_send(self, reader: RowReader, tally: Tally) -> Iterator[Piece]:  # noqa: ARG002
        """Yield all there is."""
        return reader.rest()

    def halves(self, piece: Piece) -> tuple[Piece, Piece]:
        """Cut a piece that is too large."""
        return piece.halves()

    def content(self, piece: Piece) -> Content:
        """Return the body as it is."""
        return piece.body

    def about_to_send(self, piece: Piece) -> None:
        """Remember nothing."""

    def acknowledged(self, piece: Piece, result: EventsResult) -> None:
        """Remember nothing."""

    def not_in(self, piece: Piece) -> None:
        """Remember nothing."""

    def settle(self, piece: Piece, error: TinybirdError) -> EventsResult | None:  # noqa: ARG002
        """Find out nothing."""
        raise error

    def to_repair(self) -> list[Piece]:
        """Look at nothing."""
        return []
