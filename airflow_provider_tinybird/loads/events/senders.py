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
from airflow_provider_tinybird.loads.events.chunks import Piece
from airflow_provider_tinybird.loads.events.compression import Compressor, Content, gzipped


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a piece: one of the two."""

    piece: Piece
    result: EventsResult | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How pieces are sent; used from several threads at once.

    :param client: sends them.
    :param datasource: where to.
    :param compressor: decides which are compressed.
    :param content: makes the body that is sent of a piece.
    :param wait: have each acknowledged by the database.
    """

    client: Client
    datasource: str
    compressor: Compressor
    content: Callable[[Piece], Content]
    wait: bool = True

    def send(self, piece: Piece) -> EventsResult:
        """Send a piece one time and return the answer. What is sent again is for the main thread to say, which keeps the books."""
        content = self.content(piece)
        is_on = self.compressor.is_on
        packed = gzipped(content) if is_on else content
        call = events.send_events(self.datasource, packed, wait=self.wait, gzipped=is_on)
        measured = self.compressor.measure(call.body) if call.body and not is_on else None
        if measured:
            call = replace(call, body=measured)
        result = self.client.send_once(call)
        if measured:
            self.compressor.decide(content, measured)
        self._check(piece, result)
        return result

    def _check(self, piece: Piece, result: EventsResult) -> None:
        """Have a success that counts other rows than were sent count as an answer that was lost: nobody knows which of the rows are in.

        :raises UnreadableAnswerError: the answer speaks of fewer rows or of more.
        """
        counted = result.successful_rows + result.quarantined_rows
        if counted != piece.rows:
            ending = "the rest is missing" if counted < piece.rows else "these are more than were sent"
            raise UnreadableAnswerError(
                f"Of {piece.rows} rows that were sent to '{self.datasource}', Tinybird's answer says that {result.successful_rows} are in "
                f"and {result.quarantined_rows} in quarantine: {ending}."
            )


class Senders:
    """A few threads that send pieces. They end with the process, however long a request takes.

    :param sending: sends one.
    :param most: how many threads.
    """

    def __init__(self, sending: Sending, most: int) -> None:
        self._sending = sending
        self._most = most
        self._todo: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._threads = 0
        self.in_flight = 0
        self.bytes_in_flight = 0

    def submit(self, piece: Piece) -> None:
        """Have a piece sent."""
        self.in_flight += 1
        self.bytes_in_flight += piece.size
        if self._threads < min(self._most, self.in_flight):
            self._threads += 1
            threading.Thread(target=self._work, name=f"tinybird-events-{self._threads}", daemon=True).start()
        self._todo.put(piece)

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
        self.bytes_in_flight -= outcome.piece.size
        return outcome

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in range(self._threads):
            self._todo.put(None)
        self._threads = 0

    def _work(self) -> None:
        while (piece := self._todo.get()) is not None:
            try:
                outcome = Outcome(piece, result=self._sending.send(piece))
            except BaseException as e:  # belongs to the main thread
                outcome = Outcome(piece, error=e)
            self._done.put(outcome)
            del piece, outcome  # or the body stays in memory until the next one comes
