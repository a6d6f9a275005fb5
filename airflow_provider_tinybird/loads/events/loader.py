"""The load itself: the main thread reads, cuts and keeps the books, and a few threads send."""

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
from airflow_provider_tinybird.loads.events.chunks import Piece, RowReader
from airflow_provider_tinybird.loads.events.compression import Compressor
from airflow_provider_tinybird.loads.events.errors import ResumableLoadError
from airflow_provider_tinybird.loads.events.journal import Books, NoBooks
from airflow_provider_tinybird.loads.events.options import Delivery, LoadOptions
from airflow_provider_tinybird.loads.events.progress import LoadResult, Tally
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
    books: Books | None = None,
    total: int | None = None,
) -> LoadResult:
    """Send batches, several at a time.

    :param client: sends them.
    :param datasource: name of the data source.
    :param batches: bodies of NDJSON.
    :param options: how to send.
    :param books: what is remembered of them.
    :param total: rows of all of them, where that is known, for the log.
    :return: the sums.
    :raises LoadInterruptedError: it broke after rows were in, or may be; the message tells which.
    :raises InvalidInputError: the data cannot be sent, and nothing is in.
    :raises TinybirdError: it broke before anything was in.
    """
    options = options or LoadOptions()
    tally = Tally(datasource, total)
    load = Load(client, options, books or NoBooks(), tally)
    result = load.run(batches)
    log.info(tally.summary())
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
    :param books: what is remembered of them.
    :param tally: counts them.
    :param pace: says when the next request may go.
    :param clock: tells seconds.
    """

    def __init__(
        self,
        client: Client,
        options: LoadOptions,
        books: Books,
        tally: Tally,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._books = books
        self._tally = tally
        self._clock = clock
        self._pace = pace or (Pace() if options.pacing else NoPace())
        self._limit = options.max_bytes
        self._todo: deque[Piece] = deque()
        self._failure: BaseException | None = None
        self._is_repairing = False
        sending = Sending(
            client=client,
            datasource=tally.datasource,
            compressor=Compressor(options.compression, paced=options.pacing),
            content=books.content,
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
            for piece in self._pieces(RowReader(batches, hashing=self._books.needs_hashes)):
                self._todo.append(piece)
                self._send_what_may_go()
            self._finish()
        except Exception as e:  # what ends the task at once, such as a kill, does not wait for answers
            self._wait_for_answers()
            error = broken(e, self._tally, self._options.delivery, can_go_on=self._books.can_go_on)
            if error is e:  # an error that is its own cause would send whoever follows the chain round and round
                raise
            raise error from e
        finally:
            self._senders.close()
        return self._tally.result()

    def _pieces(self, reader: RowReader) -> Iterator[Piece]:
        pieces = self._books.to_send(reader, self._tally)
        while True:
            began = self._clock()
            piece = next(pieces, None)
            if piece is None:
                return
            is_slow = self._clock() - began > _SLOW_SOURCE
            yield piece
            if is_slow:  # answers that come in while the next rows are waited for would be taken down late
                self._wait_until_sent()

    def _send_what_may_go(self) -> None:
        """Send what is to be sent next, waiting until it may go."""
        while self._todo:
            if self._failure:
                raise self._failure
            piece = self._todo[0]
            if piece.rows > 1 and self._size(piece) > self._limit:
                self._todo.popleft()
                self._todo.extendleft(reversed(self._books.halves(piece)))
            elif (wait := self._wait(piece)) > 0:
                self._take(wait)
            else:
                self._todo.popleft()
                self._pace.went(self._size(piece))
                self._books.about_to_send(piece)
                self._senders.submit(piece)

    def _wait(self, piece: Piece) -> float:
        """Seconds to wait with a piece: without end when it waits for an answer to another."""
        flying = self._senders.in_flight
        if flying >= self._options.max_in_flight or (flying and self._books.is_full):
            return math.inf
        if flying and self._senders.bytes_in_flight + piece.size > BYTES_IN_FLIGHT:
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
            self._todo.extend(self._books.to_repair())
            if not self._todo:
                return
            self._is_repairing = True
            self._wait_until_sent()
        if self._books.to_repair():
            raise ResumableLoadError(
                f"Batches of '{self._tally.datasource}' were sent {_REPAIRS} times more and are still not in once. Trying it again "
                "looks at them anew."
            )

    def _take(self, wait: float) -> None:
        """Wait for an answer, and say now and then how far it is."""
        outcome = self._senders.take(min(wait, self._tally.time_to_tell() + 0.01))
        self._tally.tell()
        if outcome is not None:
            self._came_back(outcome, is_broken=False)

    def _wait_for_answers(self) -> None:
        """Wait for the answers to what is under way, so that it is known what is in."""
        while self._senders.in_flight:
            outcome = self._senders.take(None)
            if outcome is not None:
                self._came_back(outcome, is_broken=True)

    def _came_back(self, outcome: Outcome, *, is_broken: bool) -> None:
        piece, error = outcome.piece, outcome.error
        if outcome.result is not None:
            self._is_in(piece, outcome.result)
        elif isinstance(error, PayloadTooLargeError) and piece.rows > 1:
            self._too_large(piece)
        elif isinstance(error, _UNKNOWN):
            self._unknown(piece, error, is_broken=is_broken)
        elif error and not is_broken and (wait := self._wait_after(piece, error)) is not None:
            log.warning("%s Nothing of it was taken: it is sent in %.1f s.", error, wait)
            self._books.not_in(piece)
            self._todo.appendleft(piece)
            self._pause(wait)
        elif isinstance(error, TinybirdError):
            self._books.not_in(piece)
            self._tally.not_in.add(piece.first_row, piece.rows)
            self._fail(_named(error, piece, self._tally.datasource))
        else:  # nobody knows how far it came
            self._tally.unknown.add(piece.first_row, piece.rows)
            self._fail(error or AssertionError("neither an answer nor an error"))

    def _is_in(self, piece: Piece, result: EventsResult) -> None:
        self._books.acknowledged(piece, result)
        if not self._is_repairing:
            self._tally.acknowledged(piece, result)

    def _too_large(self, piece: Piece) -> None:
        self._books.not_in(piece)
        halves = self._books.halves(piece)
        self._limit = min(self._limit, max(map(self._size, halves)))
        log.info(
            "Tinybird refused a request of %s bytes as too large: from here on they have %s at the most.",
            f"{self._size(piece):,}",
            f"{self._limit:,}",
        )
        self._todo.extendleft(reversed(halves))

    def _wait_after(self, piece: Piece, error: BaseException) -> float | None:
        """Seconds until a batch may be sent that was not taken; ``None`` where that is not said of it, or was too often.

        This is the client's own policy. But the batch goes through the books anew, as below them nothing is ever sent twice.
        """
        if not nothing_was_taken(error):
            return None
        refusals = self._refused.setdefault(piece.first_row, _Refusals(self._clock()))
        refusals.times += 1
        asked = error.answer.retry_after if isinstance(error, ApiError) else None
        wait = asked or backoff(self._policy, refusals.times)
        is_last = refusals.times > self._policy.max_retries
        return None if is_last or self._clock() + wait > refusals.since + self._policy.total else wait

    def _pause(self, wait: float) -> None:
        self._not_before = max(self._not_before, self._clock() + wait)

    def _unknown(self, piece: Piece, error: TinybirdError, *, is_broken: bool) -> None:
        lost = self._lost.get(piece.first_row, 0)
        may_be_doubled = self._options.delivery is Delivery.AT_LEAST_ONCE and not isinstance(
            error, PartiallyIngestedError
        )
        if may_be_doubled and not is_broken and lost < len(_WAITS):
            log.warning("%s It is sent again in %.0f s, as delivery='at_least_once' asks for.", error, _WAITS[lost])
            self._lost[piece.first_row] = lost + 1
            self._again(piece, error)
            self._pause(_WAITS[lost])
            return
        try:
            if is_broken:
                raise error
            found = self._books.settle(piece, error)
        except TinybirdError as e:
            in_part = isinstance(error, PartiallyIngestedError)
            (self._tally.torn if in_part else self._tally.unknown).add(piece.first_row, piece.rows)
            self._fail(e)
            return
        if found is None:
            self._again(piece, error)
        else:
            self._is_in(piece, found)

    def _again(self, piece: Piece, error: TinybirdError) -> None:
        """Send again what may have arrived, or did not: in halves where something in front of Tinybird called it too large."""
        answer = error.answer if isinstance(error, OutcomeUnknownError) else None
        if answer and answer.status == 413 and piece.rows > 1:
            self._too_large(piece)
        else:
            self._todo.appendleft(piece)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _size(self, piece: Piece) -> int:
        return piece.size + piece.rows * self._books.row_overhead


def _named(error: TinybirdError, piece: Piece, datasource: str) -> TinybirdError:
    if not isinstance(error, PayloadTooLargeError):
        return error
    return InvalidInputError(
        f"Row {piece.first_row} alone is too large for '{datasource}': Tinybird refused its {piece.size:,} bytes. Shorten it, or send "
        f"the data as a file. {error}"
    )
