"""Fewer rows than a load must have: found before the first one is sent, as far as memory allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from airflow_provider_tinybird.api import wording
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.ndjson import Batch

HELD_BYTES = 32_000_000
"""Bytes of encoded rows that are held back at the most, until it is known that there are enough."""


class NotEnoughRowsError(TinybirdError):
    """The data has fewer rows than ``min_rows``.

    :param rows: rows that it has.
    :param least: rows that it must have.
    :param datasource: where they were to go.
    :param nothing_sent: whether none of them was sent.
    """

    def __init__(self, rows: int, least: int, datasource: str, *, nothing_sent: bool) -> None:
        self.rows = rows
        said = " Nothing was sent." if nothing_sent else ""
        super().__init__(
            f"The data for '{datasource}' has {wording.rows(rows)}, and min_rows={least} asks for more.{said}\n"
            "See what is missing where the rows come from, then run the task again; or lower min_rows."
        )


def enough(batches: Iterable[Batch], least: int, datasource: str) -> Iterator[Batch]:
    """Pass batches on, the first only when there are rows enough, or more bytes than are held back.

    :param batches: the data.
    :param least: rows that it must have.
    :param datasource: where it goes, for the message.
    :raises NotEnoughRowsError: it has fewer. Nothing was passed on then, unless these were more bytes than are held back.
    """
    held: deque[Batch] = deque()
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows += batch.rows
        size += len(batch.body)
        if rows >= least or size > HELD_BYTES:
            while held:
                yield held.popleft()
    if rows < least:
        raise NotEnoughRowsError(rows, least, datasource, nothing_sent=size <= HELD_BYTES)
