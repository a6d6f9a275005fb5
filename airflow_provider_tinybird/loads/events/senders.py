"""Threads that compress and send, and do nothing else: Airflow's task state store can only be used by a task's main thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from airflow_provider_tinybird.api import events
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import UnreadableAnswerError
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.loads.events.chunks import Chunk
from airflow_provider_tinybird.loads.events.compression import Compressor, Content, gzipped


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a chunk: one of the two."""

    chunk: Chunk
    result: EventsResult | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How chunks are sent; used from several threads at once.

    :param client: sends them.
    :param datasource: where to.
    :param compressor: decides which are compressed.
    :param content: makes the body that is sent of a chunk.
    :param wait: have each acknowledged by the database.
    """

    client: Client
    datasource: str
    compressor: Compressor
    content: Callable[[Chunk], Content]
    wait: bool = True

    def send(self, chunk: Chunk) -> EventsResult:
        """Send a chunk one time and return the answer. What is sent again is for the main thread to say, which keeps the journal."""
        content = self.content(chunk)
        is_on = self.compressor.is_on
        packed = gzipped(content) if is_on else content
        call = events.send_events(self.datasource, packed, wait=self.wait, gzipped=is_on)
        measured = self.compressor.measure(call.body) if call.body and not is_on else None
        if measured:
            call = replace(call, body=measured)
        result = self.client.send_once(call)
        if measured:
            self.compressor.decide(content, measured)
        self._check(chunk, result)
        return result

    def _check(self, chunk: Chunk, result: EventsResult) -> None:
        """Have a success that counts other rows than were sent count as an answer that was lost: nobody knows which of the rows are in.

        :raises UnreadableAnswerError: the answer speaks of fewer rows or of more.
        """
        counted = result.successful_rows + result.quarantined_rows
        if counted != chunk.rows:
            ending = "the rest is missing" if counted < chunk.rows else "these are more than were sent"
            raise UnreadableAnswerError(
                f"Of {chunk.rows} rows that were sent to '{self.datasource}', Tinybird's answer says that {result.successful_rows} are in "
                f"and {result.quarantined_rows} in quarantine: {ending}."
            )


class Senders:
    """A few threads that send chunks. They end with the process, however long a request takes.

    :param sending: sends one.
    :param most: how many threads.
    """

    def __init__(self, sending: Sending, most: int) -> None:
        self._sending = sending
        self._most = most
        self._todo: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._threads = 0
        self.in_flight = 0
        self.bytes_in_flight = 0

    def submit(self, chunk: Chunk) -> None:
        """Have a chunk sent."""
        self.in_flight += 1
        self.bytes_in_flight += chunk.size
        if self._threads < min(self._most, self.in_flight):
            self._threads += 1
            threading.Thread(target=self._work, name=f"tinybird-events-{self._threads}", daemon=True).start()
        self._todo.put(chunk)

    def take(self, timeout: float | None) -> Outcome | None:
        """Wait for something to come back.

        :param timeout: seconds to wait; ``None`` for as long as it takes.
        :return: ``None`` when the time is over.
        """
        try:
            outcome = self._done.get(timeout=timeout)
        except queue.Empty:
            return None
        self.in_flight -= 1
        self.bytes_in_flight -= outcome.chunk.size
        return outcome

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in range(self._threads):
            self._todo.put(None)
        self._threads = 0

    def _work(self) -> None:
        while (chunk := self._todo.get()) is not None:
            try:
                outcome = Outcome(chunk, result=self._sending.send(chunk))
            except BaseException as e:  # belongs to the main thread
                outcome = Outcome(chunk, error=e)
            self._done.put(outcome)
            del chunk, outcome  # or the body stays in memory until the next one comes
