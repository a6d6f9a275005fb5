"""What a task remembers of a load of events, so that an attempt after a crash does not send again what is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_tinybird.durable import Attempt, Store
from airflow_provider_tinybird.loads import LoadInterruptedError, Progress

KEY = "tinybird_load"
"""Key in the store. Renaming it would make retries that are under way send rows again."""


@dataclass(frozen=True, slots=True)
class LoadJournal:
    """Writes into the store of one task instance.

    :param store: where; ``None`` where Airflow has none (before 3.3): then nothing is remembered.
    :param attempt: the attempt.
    """

    store: Store | None
    attempt: Attempt

    def refuse_to_repeat(self, datasource: str) -> None:
        """Stop a retry whose earlier attempt may have sent rows.

        :raises LoadInterruptedError: it may; the message tells how far it came.
        """
        stored = None if self.store is None else self.store.get(KEY)
        if not isinstance(stored, Mapping) or stored.get("max_tries") != self.attempt.max_tries:
            return
        if stored.get("nothing_is_in"):
            return
        raise LoadInterruptedError(
            f"An earlier attempt broke off while it loaded '{datasource}': the first {stored.get('rows')} rows "
            f"({stored.get('batches')} batches) are in, and it is unknown whether the batch after them is. Sending all again would "
            "double them. Remove those rows or load only what is missing; clear the task to send all of it again."
        )

    def about_to_send(self, progress: Progress) -> None:
        """Take down that the next batch is about to be sent."""
        self._write(rows=progress.rows, batches=progress.batches, nothing_is_in=False)

    def nothing_is_in(self) -> None:
        """Take down that the load broke before anything was in, so that a retry may start afresh."""
        self._write(rows=0, batches=0, nothing_is_in=True)

    def _write(self, *, rows: int, batches: int, nothing_is_in: bool) -> None:
        if self.store is not None:
            record = {"max_tries": self.attempt.max_tries, "rows": rows, "batches": batches}
            self.store.set(KEY, record | {"nothing_is_in": nothing_is_in, "version": 1})
