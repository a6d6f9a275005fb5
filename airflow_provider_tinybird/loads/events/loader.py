"""The load itself: the main thread reads, cuts and keeps the journal, and a few threads send."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    ApiError,
    InvalidInputError,
    OutcomeUnknownError,
    PartiallyIngestedError,
    PayloadTooLargeError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.api.retry import backoff, nothing_was_taken
from airflow_provider_tinybird.loads.events.breaks import broken
from airflow_provider_tinybird.loads.events.chunks import Chunk, RowReader
from airflow_provider_tinybird.loads.events.compression import Compressor
from airflow_provider_tinybird.loads.events.errors import ResumableLoadError
from airflow_provider_tinybird.loads.events.journal import Journal, NoJournal
from airflow_provider_tinybird.loads.events.options import Delivery, LoadOptions
from airflow_provider_tinybird.loads.events.progress import LoadResult, Progress
from airflow_provider_tinybird.loads.events.rate_limit import NoPace, Pace
from airflow_provider_tinybird.loads.events.senders import Outcome, Senders, Sending
from airflow_provider_tinybird.ndjson import Batch

log = logging.getLogger(__name__)

BYTES_IN_FLIGHT = 64_000_000
"""Bytes of the bodies under way at the most, whatever their number."""

_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each of the times that ``at_least_once`` sends a body again whose answer was lost."""

_SLOW_SOURCE = 1.0
_REPAIRS = 3
_UNKNOWN = (OutcomeUnknownError, UnreadableAnswerError, PartiallyIngestedError)


def send_batches(
    client: Client,
    datasource: str,
    batches: Iterable[Batch],
    *,
    options: LoadOptions | None = None,
    journal: Journal | None = None,
    total: int | None = None,
) -> LoadResult:
    """Send batches, several at a time.

    :param client: sends them.
    :param datasource: name of the data source.
    :param batches: bodies of NDJSON.
    :param options: how to send.
    :param journal: what is remembered of them.
    :param total: rows of all of them, where that is known, for the log.
    :return: the sums.
    :raises LoadInterruptedError: it broke after rows were in, or may be; the message tells which.
    :raises InvalidInputError: the data cannot be sent, and nothing is in.
    :raises TinybirdError: it broke before anything was in.
    """
    options = options or LoadOptions()
    progress = Progress(datasource, total)
    load = Load(client, options, journal or NoJournal(), progress)
    result = load.run(batches)
    log.info(progress.summary())
    return result


@dataclass(slots=True)
class _Refusals:
    """How often a batch was refused for the moment, and since when."""

    since: float
    times: int = 0


class Load:
    """One load on its way in.

    :param client: sends the batches.
    :param options: how to send them.
    :param journal: what is remembered of them.
    :param progress: counts them.
    :param pace: says when the next request may go.
    :param clock: tells seconds.
    """

    def __init__(
        self,
        client: Client,
        options: LoadOptions,
        journal: Journal,
        progress: Progress,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._journal = journal
        self._progress = progress
        self._clock = clock
        self._pace = pace or (Pace() if options.pacing else NoPace())
        self._limit = options.max_bytes
        self._todo: deque[Chunk] = deque()
        self._failure: BaseException | None = None
        self._is_repairing = False
        sending = Sending(
            client=client,
            datasource=progress.datasource,
            compressor=Compressor(options.compression, paced=options.pacing),
            content=journal.content,
            wait=options.wait,
        )
        self._policy = client.policy
        self._not_before = -math.inf
        self._refused: dict[int, _Refusals] = {}
        self._lost: dict[int, int] = {}
        self._senders = Senders(sending, options.max_in_flight)

    def run(self, batches: Iterable[Batch]) -> LoadResult:
        """Send all of it.

        :raises TinybirdError: it broke; see :func:`send_batches`.
        """
        try:
            for chunk in self._chunks(RowReader(batches, hashing=self._journal.needs_hashes)):
                self._todo.append(chunk)
                self._send_what_may_go()
            self._finish()
        except Exception as e:  # what ends the task at once, such as a kill, does not wait for answers
            self._wait_for_answers()
            error = broken(e, self._progress, self._options.delivery, can_go_on=self._journal.can_go_on)
            if error is e:  # an error that is its own cause would send readers of the chain round and round
                raise
            raise error from e
        finally:
            self._senders.close()
        return self._progress.result()

    def _chunks(self, reader: RowReader) -> Iterator[Chunk]:
        chunks = self._journal.to_send(reader, self._progress)
        while True:
            began = self._clock()
            chunk = next(chunks, None)
            if chunk is None:
                return
            is_slow = self._clock() - began > _SLOW_SOURCE
            yield chunk
            if is_slow:  # answers that come in while the next rows are waited for would be recorded late
                self._wait_until_sent()

    def _send_what_may_go(self) -> None:
        """Send what is to be sent next, waiting until it may go."""
        while self._todo:
            if self._failure:
                raise self._failure
            chunk = self._todo[0]
            if chunk.rows > 1 and self._size(chunk) > self._limit:
                self._todo.popleft()
                self._todo.extendleft(reversed(self._journal.halves(chunk)))
            elif (wait := self._wait(chunk)) > 0:
                self._take(wait)
            else:
                self._todo.popleft()
                self._pace.went(self._size(chunk))
                self._journal.about_to_send(chunk)
                self._senders.submit(chunk)

    def _wait(self, chunk: Chunk) -> float:
        """Seconds to wait with a chunk: without end when it waits for an answer to another."""
        flying = self._senders.in_flight
        if flying >= self._options.max_in_flight or (flying and self._journal.is_full):
            return math.inf
        if flying and self._senders.bytes_in_flight + chunk.size > BYTES_IN_FLIGHT:
            return math.inf
        return max(self._pace.delay(), self._not_before - self._clock())

    def _wait_until_sent(self) -> None:
        while self._todo or self._senders.in_flight or self._failure:
            self._send_what_may_go()
            if self._failure:
                raise self._failure
            if self._senders.in_flight:
                self._take(math.inf)

    def _finish(self) -> None:
        self._wait_until_sent()
        for _ in range(_REPAIRS):
            self._todo.extend(self._journal.to_repair())
            if not self._todo:
                return
            self._is_repairing = True
            self._wait_until_sent()
        if self._journal.to_repair():
            raise ResumableLoadError(
                f"Batches of '{self._progress.datasource}' were sent {_REPAIRS} times more and are still not in once. Trying it again "
                "checks them again."
            )

    def _take(self, wait: float) -> None:
        """Wait for an answer, and say now and then how far it is."""
        outcome = self._senders.take(min(wait, self._progress.time_to_tell() + 0.01))
        self._progress.tell()
        if outcome is not None:
            self._came_back(outcome, is_broken=False)

    def _wait_for_answers(self) -> None:
        """Wait for the answers to what is under way, so that it is known what is in."""
        while self._senders.in_flight:
            outcome = self._senders.take(None)
            if outcome is not None:
                self._came_back(outcome, is_broken=True)

    def _came_back(self, outcome: Outcome, *, is_broken: bool) -> None:
        chunk, error = outcome.chunk, outcome.error
        if outcome.result is not None:
            self._is_in(chunk, outcome.result)
        elif isinstance(error, PayloadTooLargeError) and chunk.rows > 1:
            self._too_large(chunk)
        elif isinstance(error, _UNKNOWN):
            self._unknown(chunk, error, is_broken=is_broken)
        elif error and not is_broken and (wait := self._wait_after(chunk, error)) is not None:
            log.warning("%s Nothing of it was taken: it is sent in %.1f s.", error, wait)
            self._journal.not_in(chunk)
            self._todo.appendleft(chunk)
            self._pause(wait)
        elif isinstance(error, TinybirdError):
            self._journal.not_in(chunk)
            self._progress.not_in.add(chunk.first_row, chunk.rows)
            self._fail(_named(error, chunk, self._progress.datasource))
        else:  # nobody knows how far it came
            self._progress.unknown.add(chunk.first_row, chunk.rows)
            self._fail(error or AssertionError("neither an answer nor an error"))

    def _is_in(self, chunk: Chunk, result: EventsResult) -> None:
        self._journal.acknowledged(chunk, result)
        if not self._is_repairing:
            self._progress.acknowledged(chunk, result)

    def _too_large(self, chunk: Chunk) -> None:
        self._journal.not_in(chunk)
        halves = self._journal.halves(chunk)
        self._limit = min(self._limit, max(map(self._size, halves)))
        log.info(
            "Tinybird refused a request of %s bytes as too large: from here on they have %s at the most.",
            f"{self._size(chunk):,}",
            f"{self._limit:,}",
        )
        self._todo.extendleft(reversed(halves))

    def _wait_after(self, chunk: Chunk, error: BaseException) -> float | None:
        """Seconds until a batch may be sent that was not taken; ``None`` where that is not said of it, or was too often.

        This is the client's own policy. But the batch goes through the journal again, as below them nothing is ever sent twice.
        """
        if not nothing_was_taken(error):
            return None
        refusals = self._refused.setdefault(chunk.first_row, _Refusals(self._clock()))
        refusals.times += 1
        asked = error.answer.retry_after if isinstance(error, ApiError) else None
        wait = asked or backoff(self._policy, refusals.times)
        is_last = refusals.times > self._policy.max_retries
        return None if is_last or self._clock() + wait > refusals.since + self._policy.total else wait

    def _pause(self, wait: float) -> None:
        self._not_before = max(self._not_before, self._clock() + wait)

    def _unknown(self, chunk: Chunk, error: TinybirdError, *, is_broken: bool) -> None:
        lost = self._lost.get(chunk.first_row, 0)
        may_be_doubled = self._options.delivery is Delivery.AT_LEAST_ONCE and not isinstance(
            error, PartiallyIngestedError
        )
        if may_be_doubled and not is_broken and lost < len(_WAITS):
            log.warning("%s It is sent again in %.0f s, as delivery='at_least_once' asks for.", error, _WAITS[lost])
            self._lost[chunk.first_row] = lost + 1
            self._again(chunk, error)
            self._pause(_WAITS[lost])
            return
        try:
            if is_broken:
                raise error
            found = self._journal.settle(chunk, error)
        except TinybirdError as e:
            in_part = isinstance(error, PartiallyIngestedError)
            (self._progress.torn if in_part else self._progress.unknown).add(chunk.first_row, chunk.rows)
            self._fail(e)
            return
        if found is None:
            self._again(chunk, error)
        else:
            self._is_in(chunk, found)

    def _again(self, chunk: Chunk, error: TinybirdError) -> None:
        """Send again what may have arrived, or did not: in halves where something in front of Tinybird called it too large."""
        answer = error.answer if isinstance(error, OutcomeUnknownError) else None
        if answer and answer.status == 413 and chunk.rows > 1:
            self._too_large(chunk)
        else:
            self._todo.appendleft(chunk)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _size(self, chunk: Chunk) -> int:
        return chunk.size + chunk.rows * self._journal.row_overhead


def _named(error: TinybirdError, chunk: Chunk, datasource: str) -> TinybirdError:
    if not isinstance(error, PayloadTooLargeError):
        return error
    return InvalidInputError(
        f"Row {chunk.first_row} alone is too large for '{datasource}': Tinybird refused its {chunk.size:,} bytes. Shorten it, or send "
        f"the data as a file. {error}"
    )
