"""How a load is sent: the arguments of hook and operators, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.loads.narrowing import OnNarrowing

MAX_BYTES = 10_000_000
"""Bytes of a body at the most: what each plan of Tinybird takes."""

MOST_IN_FLIGHT = 20
"""Requests at once at the most: so many connections the client keeps."""

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Compression(StrEnum):
    """How bodies of events are compressed."""

    GZIP = "gzip"
    AUTO = "auto"

    @classmethod
    def parse(cls, value: str | None) -> Compression | None:
        """Read an argument.

        :raises InvalidInputError: Tinybird documents no such compression.
        """
        if value is None or value == "none":
            return None
        try:
            return cls(value)
        except ValueError:
            raise InvalidInputError(
                f"compression={value!r} is not known: leave it out, or give 'gzip' or 'auto'."
            ) from None


class Delivery(StrEnum):
    """What a load promises when an answer is lost or its worker dies."""

    AT_MOST_ONCE = "at_most_once"
    """Never send again what may have arrived: stop, and say so."""
    AT_LEAST_ONCE = "at_least_once"
    """Send again what may have arrived: rows can be doubled, never lost."""
    EXACTLY_ONCE = "exactly_once"
    """Look into the data source, and send only what is missing there."""

    @classmethod
    def parse(cls, value: str) -> Delivery:
        """Read an argument.

        :raises InvalidInputError: there is no such promise.
        """
        try:
            return cls(value)
        except ValueError:
            known = ", ".join(repr(str(one)) for one in cls)
            raise InvalidInputError(f"delivery={value!r} is not known: give one of {known}.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to send.

    :param wait: have each body acknowledged by the database.
    :param compression: how to compress the bodies.
    :param delivery: what is promised when an answer is lost.
    :param batch_id_column: with ``exactly_once``: column of the data source that takes the id of each row's batch.
    :param max_in_flight: requests under way at once.
    :param pacing: keep below the rate that Tinybird documents for a data source.
    :param max_bytes: the most bytes of a body, uncompressed.
    :param on_narrowing: what to do about a value that its column would change without a word.
    """

    wait: bool = True
    compression: Compression | None = None
    delivery: Delivery = Delivery.AT_MOST_ONCE
    batch_id_column: str | None = None
    max_in_flight: int = 4
    pacing: bool = True
    max_bytes: int = MAX_BYTES
    on_narrowing: OnNarrowing = OnNarrowing.FAIL

    def __post_init__(self) -> None:
        self._check_flight()
        if self.delivery is Delivery.EXACTLY_ONCE:
            self._check_exactly_once()
        elif self.batch_id_column is not None:
            raise InvalidInputError(
                f"batch_id_column={self.batch_id_column!r} is only for delivery='exactly_once', and this is '{self.delivery}': give "
                "both or neither."
            )

    def _check_flight(self) -> None:
        many = self.max_in_flight
        if not isinstance(many, int) or isinstance(many, bool) or not 1 <= many <= MOST_IN_FLIGHT:
            raise InvalidInputError(f"max_in_flight={many!r} must be a whole number from 1 to {MOST_IN_FLIGHT}.")

    def _check_exactly_once(self) -> None:
        if not self.batch_id_column:
            raise InvalidInputError(
                "delivery='exactly_once' needs batch_id_column: a String column of the data source that takes the id of each row's batch."
            )
        if not _COLUMN.fullmatch(self.batch_id_column):
            raise InvalidInputError(f"batch_id_column={self.batch_id_column!r} cannot be the name of a column.")
        if not self.wait:
            raise InvalidInputError(
                "delivery='exactly_once' counts rows that are in the database, so it needs wait=True: without it rows are merely "
                "accepted and can still be lost."
            )
