"""Send batches of rows as events, and tell exactly what is in when it breaks."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Protocol

from airflow_provider_tinybird.api import events
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    InvalidInputError,
    OutcomeUnknownError,
    PartiallyIngestedError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.ndjson import Batch, EncodeError, UnsupportedDataError, batches

log = logging.getLogger(__name__)


class Compression(StrEnum):
    """How bodies of events are compressed."""

    GZIP = "gzip"

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
            raise InvalidInputError(f"compression={value!r} is not known: leave it out, or give 'gzip'.") from None


@dataclass(slots=True)
class Progress:
    """What of a load is known to be in.

    :param batches: bodies that Tinybird acknowledged.
    :param rows: rows in them.
    :param successful_rows: of these, rows that are in the data source.
    :param quarantined_rows: of these, rows in quarantine.
    """

    batches: int = 0
    rows: int = 0
    successful_rows: int = 0
    quarantined_rows: int = 0

    def add(self, batch: Batch, result: EventsResult) -> None:
        """Count an acknowledged batch."""
        self.batches += 1
        self.rows += batch.rows
        self.successful_rows += result.successful_rows
        self.quarantined_rows += result.quarantined_rows


class LoadInterruptedError(TinybirdError):
    """A load broke after part of its rows were in. Running it again from the start would double them."""

    retry_can_help = False


class Journal(Protocol):
    """Keeps what is known of a load while it goes on, so that an attempt after a crash can tell."""

    def about_to_send(self, progress: Progress) -> None:
        """Take down that the next batch is about to be sent."""

    def nothing_is_in(self) -> None:
        """Take down that the load broke before anything was in."""


def checked_batches(data: Any) -> Iterator[Batch]:
    """Encode data, all of it once before the first body is handed out, where it can be gone through twice.

    Encoding is several times as fast as Tinybird takes rows, and a value that cannot be sent is found while nothing is in.
    What comes from an iterator or a function is encoded as it comes.
    """
    encoded = batches(data)
    if callable(data) or isinstance(data, Iterator) or type(data).__name__ == "RecordBatchReader":
        yield from encoded
        return
    start = list(islice(encoded, 2))
    if len(start) < 2:
        yield from start
        return
    del start
    for _ in encoded:
        pass
    yield from batches(data)


def send_batches(
    client: Client,
    datasource: str,
    batches: Iterable[Batch],
    *,
    wait: bool = True,
    compression: Compression | None = None,
    journal: Journal | None = None,
) -> EventsResult:
    """Send batches one after the other.

    :param client: sends them.
    :param datasource: name of the data source.
    :param batches: bodies of NDJSON.
    :param wait: have each acknowledged by the database.
    :param compression: how to compress the bodies.
    :param journal: told of each batch before it is sent.
    :return: the sums.
    :raises LoadInterruptedError: it broke after rows were in; the message tells which.
    :raises InvalidInputError: the data cannot be sent, and nothing is in.
    :raises TinybirdError: it broke before anything was in.
    """
    progress = Progress()
    try:
        for batch in batches:
            body = _compress(batch.body) if compression else batch.body
            call = events.send_events(datasource, body, wait=wait, gzipped=compression is not None)
            if journal:
                journal.about_to_send(progress)
            progress.add(batch, client.send(call))
            log.info("Sent batch %d to '%s': %d rows so far.", progress.batches, datasource, progress.rows)
    except Exception as e:
        if progress.batches == 0:
            if journal and not isinstance(e, OutcomeUnknownError | UnreadableAnswerError | PartiallyIngestedError):
                journal.nothing_is_in()
            if isinstance(e, EncodeError | UnsupportedDataError):
                raise InvalidInputError(f"Nothing was sent to '{datasource}': {e}") from e
            raise
        raise LoadInterruptedError(_interrupted(datasource, progress, e)) from e
    return EventsResult(progress.successful_rows, progress.quarantined_rows)


def _interrupted(datasource: str, progress: Progress, cause: Exception) -> str:
    match cause:
        case OutcomeUnknownError() | UnreadableAnswerError():
            state = "It is unknown whether the batch after them is in."
        case PartiallyIngestedError():
            state = "The batch after them is in only in part."
        case _:
            state = "The batch after them is not in."
    return (
        f"The load into '{datasource}' broke: the first {progress.rows} rows ({progress.batches} batches) are in. {state} Load only "
        f"what is missing: running it again from the start would double them. The cause: {cause}"
    )


# Level 1: with the rows of a load it is four times as fast as the default level and compresses nearly as well.
def _compress(body: bytes | memoryview) -> bytes:
    return gzip.compress(body, compresslevel=1, mtime=0)
