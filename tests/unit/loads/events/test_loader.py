"""Batches of rows on their way in, and what is said when a load breaks."""

from __future__ import annotations

import gc
import gzip
import json
import sys
import threading
from typing import Any

import pytest
from unit.loads.small import EVENTS, ROW, accept, numbers, rows, two_digits

from airflow_provider_tinybird.api import events
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    BadRequestError,
    InvalidInputError,
    PayloadTooLargeError,
    RateLimitedError,
    ServerError,
)
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.loads import (
    Compression,
    Delivery,
    LoadInterruptedError,
    LoadOptions,
    ResumableLoadError,
    load_data,
)
from airflow_provider_tinybird.loads import send_batches as send
from airflow_provider_tinybird.loads.events.journal import NoJournal
from airflow_provider_tinybird.loads.events.loader import Load
from airflow_provider_tinybird.ndjson import batches

IN = {"successful_rows": 2, "quarantined_rows": 0}


def send_batches(client: Client, data: Any, **options: Any) -> Any:
    return send(
        client, "flights", data, options=LoadOptions(max_in_flight=1) if not options else LoadOptions(**options)
    )


def two_by_two(count: int) -> Any:
    return batches(rows(count), max_bytes=ROW * 2)


def pairs(count: int) -> Any:
    return batches(two_digits(count), max_bytes=(ROW + 1) * 2)


@pytest.fixture
def naps(monkeypatch):
    """Seconds that were to be waited between two tries; nothing waits really."""
    naps: list[float] = []
    monkeypatch.setattr(Load, "_pause", lambda _, wait: naps.append(wait))
    return naps


def first_rows(tinybird: Any) -> list[int]:
    return sorted(numbers(request.body)[0] for request in tinybird.requests)


class TestRequests:
    def test_each_batch_is_one_request(self, client, tinybird):
        tinybird.on(EVENTS, IN, {"successful_rows": 1, "quarantined_rows": 1}, IN)
        result = send_batches(client, two_by_two(6))
        assert (result.successful_rows, result.quarantined_rows) == (5, 1)
        assert (result.batches, result.bytes, result.skipped_rows) == (3, 48, 0)
        assert [request.body for request in tinybird.requests] == [
            b'{"n":0}\n{"n":1}\n',
            b'{"n":2}\n{"n":3}\n',
            b'{"n":4}\n{"n":5}\n',
        ]
        first = tinybird.requests[0]
        assert first.query == {"name": "flights", "wait": "true"}
        assert first.headers["content-type"] == "application/x-ndjson"
        assert first.headers["content-length"] == "16"

    def test_without_acknowledgement(self, client, tinybird):
        tinybird.on(EVENTS, (202, IN))
        send_batches(client, two_by_two(2), wait=False)
        assert tinybird.only.query["wait"] == "false"

    def test_compressed(self, client, tinybird):
        tinybird.on(EVENTS, IN)
        send_batches(client, two_by_two(2), compression=Compression.GZIP)
        assert tinybird.only.headers["content-encoding"] == "gzip"
        assert gzip.decompress(tinybird.only.body) == b'{"n":0}\n{"n":1}\n'

    def test_no_rows_send_nothing(self, client, tinybird):
        result = send_batches(client, batches([]))
        assert (result.successful_rows, result.quarantined_rows, tinybird.requests) == (0, 0, [])

    def test_a_429_is_waited_for(self, tinybird, naps):
        tinybird.on(EVENTS, (429, {"error": "slow down"}, {"Retry-After": "3"}), IN)
        with Client(Settings(base_url=tinybird.url, token=Token("t"))) as client:
            assert send_batches(client, two_by_two(2)).successful_rows == 2
        assert naps == [3.0]


class Crowd:
    """Answers when so many requests are under way at once."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, request: Any) -> dict[str, int]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.barrier.wait(10)
        with self._lock:
            self.now -= 1
        return accept(request)


class TestInFlight:
    @pytest.mark.parametrize("many", [1, 3, 4])
    def test_so_many_are_under_way_at_once_and_no_more(self, client, tinybird, many):
        crowd = Crowd(many)
        tinybird.on(EVENTS, crowd)
        assert send_batches(client, pairs(24), max_in_flight=many, pacing=False).successful_rows == 24
        assert crowd.most == many
        assert first_rows(tinybird) == list(range(10, 34, 2))

    def test_connections_are_kept_alive(self, client, tinybird):
        tinybird.on(EVENTS, accept)
        opened = []
        connect = client._http._transport._pool.create_connection
        client._http._transport._pool.create_connection = lambda origin: opened.append(origin) or connect(origin)
        send_batches(client, pairs(40), max_in_flight=2, pacing=False)
        assert len(tinybird.requests) == 20
        assert len(opened) <= 2

    def test_bytes_under_way_are_bounded_too(self, client, tinybird, monkeypatch):
        monkeypatch.setattr("airflow_provider_tinybird.loads.events.loader.BYTES_IN_FLIGHT", (ROW + 1) * 4)
        crowd = Crowd(2)
        tinybird.on(EVENTS, crowd)
        send_batches(client, pairs(24), max_in_flight=8, pacing=False)
        assert crowd.most == 2

    @pytest.mark.parametrize("many", [0, 21, -1, True, 2.5, "4"])
    def test_a_number_that_cannot_be(self, many):
        with pytest.raises(InvalidInputError, match="max_in_flight"):
            LoadOptions(max_in_flight=many)

    def test_an_iterator_is_read_only_as_far_as_what_is_under_way(self, client, tinybird):
        read: list[int] = []
        ahead: list[int] = []

        def generate() -> Any:
            for row in two_digits(30):
                read.append(row["n"])
                yield [row]

        def answer(request: Any) -> Any:
            ahead.append(len(read) - len(tinybird.requests))
            return accept(request)

        tinybird.on(EVENTS, answer)
        send_batches(client, batches(generate(), max_bytes=ROW + 1), max_in_flight=1, pacing=False)
        assert len(tinybird.requests) == 30
        assert max(ahead) <= 3


class TestBreaks:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [((403, {"error": "no scope"}), AccessDeniedError), ((400, {"error": "bad"}), BadRequestError)],
    )
    def test_a_first_batch_that_is_refused_raises_its_own_error(self, client, tinybird, answer, error):
        tinybird.on(EVENTS, answer)
        with pytest.raises(error) as refused:
            send_batches(client, two_by_two(6))
        assert len(tinybird.requests) == 1
        assert refused.value.__cause__ is None  # least of all itself: whoever follows the chain would not come back

    @pytest.mark.parametrize(
        ("answer", "state"),
        [
            ((500, "boom"), "Unknown whether they are in: rows 0 to 1 (1 batch)."),
            ((422, {"error": "view failed"}), "In only in part: rows 0 to 1 (1 batch)."),
            ((200, {"hello": "there"}), "Unknown whether they are in: rows 0 to 1 (1 batch)."),
        ],
    )
    def test_a_first_batch_that_may_be_in_is_named(self, client, tinybird, answer, state):
        tinybird.on(EVENTS, answer)
        with pytest.raises(LoadInterruptedError) as caught:
            send_batches(client, two_by_two(6))
        assert f"Nothing is known to be in. {state}" in str(caught.value)
        assert not caught.value.retry_can_help
        assert len(tinybird.requests) == 1

    @pytest.mark.parametrize(
        ("answer", "state"),
        [
            ((400, {"error": "bad"}), "Not in: rows 4 to 5 (1 batch)."),
            ((403, {"error": "no scope"}), "Not in: rows 4 to 5 (1 batch)."),
            ((422, {"error": "view failed"}), "In only in part: rows 4 to 5 (1 batch)."),
            ((500, "boom"), "Unknown whether they are in: rows 4 to 5 (1 batch)."),
            ((200, {"hello": "there"}), "Unknown whether they are in: rows 4 to 5 (1 batch)."),
        ],
    )
    def test_a_later_one_tells_what_is_in(self, client, tinybird, answer, state):
        tinybird.on(EVENTS, IN, IN, answer)
        with pytest.raises(LoadInterruptedError) as caught:
            send_batches(client, two_by_two(8))
        assert f"In: rows 0 to 3 (2 batches). {state} Later rows were not sent." in str(caught.value)
        assert "'flights'" in str(caught.value)
        assert not caught.value.retry_can_help
        assert len(tinybird.requests) == 3

    def test_the_answers_to_what_is_under_way_are_waited_for(self, client, tinybird):
        """Four go at once: the first is lost, the second refused, the others get in."""
        together = threading.Barrier(4)
        answers = {10: tinybird.cut, 12: (400, {"error": "bad"})}

        def answer(request: Any) -> Any:
            together.wait(10)
            return answers.get(numbers(request.body)[0], IN)

        tinybird.on(EVENTS, answer)
        with pytest.raises(LoadInterruptedError) as caught:
            send_batches(client, pairs(8), max_in_flight=4, pacing=False)
        message = str(caught.value)
        assert "In: rows 4 to 7 (2 batches)." in message
        assert "Unknown whether they are in: rows 0 to 1 (1 batch). Not in: rows 2 to 3 (1 batch)." in message
        assert len(tinybird.requests) == 4

    def test_data_that_breaks_in_between(self, client, tinybird):
        def broken() -> Any:
            yield rows(2)
            raise ConnectionError("the source went away")

        tinybird.on(EVENTS, IN)
        with pytest.raises(LoadInterruptedError, match=r"In: rows 0 to 1 .*the source went away"):
            send_batches(client, batches(broken, max_bytes=16))

    def test_a_source_that_breaks_before_anything_is_in_can_be_tried_again(self, client, tinybird):
        def broken() -> Any:
            raise ConnectionError("the source is down")
            yield

        with pytest.raises(ConnectionError):
            send_batches(client, batches(broken))
        assert tinybird.requests == []

    def test_no_thread_is_left_behind(self, client, tinybird):
        tinybird.on(EVENTS, IN, (400, {"error": "bad"}))
        with pytest.raises(LoadInterruptedError):
            send_batches(client, two_by_two(8), max_in_flight=3, pacing=False)
        for thread in threading.enumerate():
            if thread.name.startswith("tinybird-events"):
                assert thread.daemon
                thread.join(5)
                assert not thread.is_alive()

    def test_the_message_holds_no_token(self, client, tinybird):
        tinybird.on(EVENTS, IN, (400, {"error": f"bad token {tinybird.token}"}))
        with pytest.raises(LoadInterruptedError) as caught:
            send_batches(client, two_by_two(4))
        assert tinybird.token not in str(caught.value)
        json.dumps(str(caught.value))


class TestBadData:
    @pytest.mark.parametrize(
        "data", [[{"a": object()}], [{"a": float("nan"), "b": {1, 2}}], 7, object(), {"a": b"\xff"}]
    )
    def test_data_that_cannot_be_sent(self, client, tinybird, data):
        with pytest.raises(InvalidInputError, match="Nothing was sent to 'flights'"):
            load_data(client, "flights", data, LoadOptions())
        assert tinybird.requests == []

    def test_a_bad_value_names_its_place(self, client, tinybird):
        with pytest.raises(InvalidInputError, match=r"column 'b', row 1"):
            load_data(client, "flights", [{"a": 1, "b": 2}, {"a": 1, "b": object()}], LoadOptions())

    def test_a_late_bad_value_is_found_before_anything_is_sent(self, client, tinybird):
        with pytest.raises(InvalidInputError, match="row 3"):
            load_data(client, "flights", [*rows(3), {"n": object()}], LoadOptions(max_bytes=ROW))
        assert tinybird.requests == []

    def test_in_an_iterator_it_is_found_when_it_comes(self, client, tinybird):
        tinybird.on(EVENTS, accept)
        with pytest.raises(LoadInterruptedError, match=r"In: rows 0 to 2 .*row 3") as caught:
            load_data(client, "flights", iter([rows(3), [{"n": object()}]]), LoadOptions(max_bytes=ROW))
        assert not caught.value.retry_can_help


def too_large(most: int, row: int = ROW) -> Any:
    """Refuse what is larger than so many rows."""

    def answer(request: Any) -> Any:
        return accept(request) if len(request.body) <= most * row else (413, {"error": "too large"})

    return answer


class TestTooLarge:
    def test_it_is_cut_between_rows_and_so_is_all_that_follows(self, client, tinybird):
        tinybird.on(EVENTS, too_large(3))
        result = send_batches(client, batches(rows(10), max_bytes=ROW * 5))
        assert result.successful_rows == 10
        sent = [numbers(request.body) for request in tinybird.requests]
        assert sent == [[0, 1, 2, 3, 4], [0, 1, 2], [3, 4], [5, 6, 7], [8, 9]]

    def test_several_at_once(self, client, tinybird):
        tinybird.on(EVENTS, too_large(2, ROW + 1))
        data = batches(two_digits(80), max_bytes=(ROW + 1) * 8)
        assert send_batches(client, data, max_in_flight=4, pacing=False).successful_rows == 80
        taken = [numbers(request.body) for request in tinybird.requests if len(request.body) <= 2 * (ROW + 1)]
        assert sorted(number for some in taken for number in some) == list(range(10, 90))

    def test_one_row_that_is_refused_is_named(self, client, tinybird):
        tinybird.on(EVENTS, too_large(1))
        data = [*rows(5), {"n": 10_000_000}]
        with pytest.raises(LoadInterruptedError, match="Row 5 alone is too large for 'flights'") as caught:
            send_batches(client, batches(data, max_bytes=1000))
        assert "In: rows 0 to 4" in str(caught.value)
        assert "Not in: row 5 (1 batch)" in str(caught.value)

    def test_the_first_row_that_is_refused(self, client, tinybird):
        tinybird.on(EVENTS, (413, {"error": "too large"}))
        with pytest.raises(InvalidInputError, match="Row 0 alone is too large") as caught:
            send_batches(client, batches(rows(2)))
        assert not isinstance(caught.value, PayloadTooLargeError)
        assert [numbers(request.body) for request in tinybird.requests] == [[0, 1], [0]]


PAGES = [302, 400, 401, 403, 404, 408, 413, 421, 422, 425, 429, 499, 500, 502, 503, 504, 520, 524]


class Stores:
    """Takes the rows, and answers the first requests with the page of a gateway that lost sight of it."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.rows: list[int] = []

    def __call__(self, request: Any) -> Any:
        self.rows += numbers(request.body)
        return self.answers.pop(0) if self.answers else accept(request)


class TestGateways:
    """A page of something in between says nothing of what became of the rows, whatever its status."""

    @pytest.mark.parametrize("status", PAGES)
    @pytest.mark.parametrize(
        "page", ["<html>nginx</html>", b"", {"message": "upstream"}], ids=["html", "empty", "json"]
    )
    def test_at_most_once_stops(self, client, tinybird, naps, status, page):
        stores = Stores((status, page))
        tinybird.on(EVENTS, stores)
        client.policy = RetryPolicy(max_retries=5)
        with pytest.raises(
            LoadInterruptedError, match=rf"Unknown whether they are in: rows 0 to 1 .*HTTP {status} was answered"
        ) as caught:
            send_batches(client, two_by_two(4))
        assert stores.rows == [0, 1]
        assert not caught.value.retry_can_help
        assert naps == []

    @pytest.mark.parametrize("status", PAGES)
    def test_at_least_once_goes_on(self, client, tinybird, naps, status):
        stores = Stores((status, "page"))
        tinybird.on(EVENTS, stores)
        result = send_batches(client, two_by_two(4), delivery=Delivery.AT_LEAST_ONCE, max_in_flight=1)
        assert (sorted(set(stores.rows)), result.successful_rows) == ([0, 1, 2, 3], 4)

    @pytest.mark.parametrize("status", [429, 503])
    def test_words_of_tinybirds_own_say_that_nothing_was_taken(self, client, tinybird, naps, status):
        client.policy = RetryPolicy(max_retries=3)
        tinybird.on(EVENTS, (status, {"error": "busy"}, {"Retry-After": "7"}), (status, {"error": "busy"}), accept)
        assert send_batches(client, two_by_two(4)).successful_rows == 4
        assert first_rows(tinybird) == [0, 0, 0, 2]
        assert naps[0] == 7.0
        assert 1.0 <= naps[1] <= 1.5

    def test_they_are_waited_for_no_more_often_than_the_connection_says(self, client, tinybird, naps):
        client.policy = RetryPolicy(max_retries=2)
        tinybird.on(EVENTS, (503, {"error": "busy"}))
        with pytest.raises(ServerError, match="busy"):
            send_batches(client, two_by_two(4))
        assert len(tinybird.requests) == 3

    def test_a_wait_beyond_the_policy_fails_at_once(self, client, tinybird, naps):
        client.policy = RetryPolicy(max_retries=5)
        tinybird.on(EVENTS, (429, {"error": "busy"}, {"Retry-After": "301"}))
        with pytest.raises(RateLimitedError, match="busy"):
            send_batches(client, two_by_two(4))
        assert (len(tinybird.requests), naps) == (1, [])

    def test_each_sending_is_an_entry_of_the_journal(self, client, tinybird, naps):
        """Nothing below the journal sends anything a second time."""

        class Journal(NoJournal):
            def __init__(self) -> None:
                self.entries: list[str] = []

            def about_to_send(self, chunk: Any) -> None:
                self.entries.append(f"{chunk.first_row} goes, {len(tinybird.requests)} went")

            def not_in(self, chunk: Any) -> None:
                self.entries.append(f"{chunk.first_row} was refused")

        client.policy = RetryPolicy(max_retries=3)
        tinybird.on(EVENTS, (429, {"error": "busy"}), (503, {"error": "busy"}), accept)
        journal = Journal()
        send(client, "flights", two_by_two(2), options=LoadOptions(max_in_flight=1), journal=journal)
        assert journal.entries == [
            "0 goes, 0 went",
            "0 was refused",
            "0 goes, 1 went",
            "0 was refused",
            "0 goes, 2 went",
        ]

    def test_a_413_of_another_is_cut_where_rows_may_be_doubled(self, client, tinybird, naps):
        tinybird.on(EVENTS, lambda request: accept(request) if len(request.body) <= ROW * 2 else (413, "<html>"))
        with pytest.raises(LoadInterruptedError, match="HTTP 413 was answered"):
            send_batches(client, batches(rows(8)))
        assert len(tinybird.requests) == 1
        result = send_batches(client, batches(rows(8)), delivery=Delivery.AT_LEAST_ONCE, max_in_flight=1)
        assert result.successful_rows == 8

    @pytest.mark.parametrize("counted", [3, 99_999_999])
    def test_more_rows_than_were_sent_are_no_count(self, client, tinybird, counted):
        tinybird.on(EVENTS, {"successful_rows": counted, "quarantined_rows": 0})
        with pytest.raises(
            LoadInterruptedError, match=f"{counted} are in and 0 in quarantine: these are more than were sent"
        ):
            send_batches(client, two_by_two(2))


class TestAtLeastOnce:
    @pytest.mark.parametrize("lost", [(500, "boom"), (200, {"hello": "there"}), (504, "gateway")])
    def test_a_lost_answer_is_sent_again(self, client, tinybird, naps, lost):
        tinybird.on(EVENTS, IN, lost, lost, IN)
        result = send_batches(client, two_by_two(6), delivery=Delivery.AT_LEAST_ONCE, max_in_flight=1)
        assert result.successful_rows == 6
        sent = [numbers(request.body) for request in tinybird.requests]
        assert sent == [[0, 1], [2, 3], [2, 3], [2, 3], [4, 5]]
        assert naps == [1.0, 2.0]

    def test_one_that_is_lost_again_and_again_can_be_tried_again(self, client, tinybird, naps):
        tinybird.on(EVENTS, IN, tinybird.cut)
        with pytest.raises(ResumableLoadError, match="Unknown whether they are in: rows 2 to 3"):
            send_batches(client, two_by_two(4), delivery=Delivery.AT_LEAST_ONCE, max_in_flight=1)
        assert len(tinybird.requests) == 6

    def test_one_that_is_in_only_in_part_is_not_sent_again(self, client, tinybird, naps):
        tinybird.on(EVENTS, IN, (422, {"error": "view failed"}))
        with pytest.raises(LoadInterruptedError, match="In only in part: rows 2 to 3") as caught:
            send_batches(client, two_by_two(4), delivery=Delivery.AT_LEAST_ONCE, max_in_flight=1)
        assert not caught.value.retry_can_help
        assert len(tinybird.requests) == 2

    def test_one_that_lacks_rows_by_its_answer_is_sent_again(self, client, tinybird, naps):
        tinybird.on(EVENTS, IN, {"successful_rows": 1, "quarantined_rows": 0}, IN)
        result = send_batches(client, two_by_two(4), delivery=Delivery.AT_LEAST_ONCE, max_in_flight=1)
        assert [numbers(request.body) for request in tinybird.requests] == [[0, 1], [2, 3], [2, 3]]
        assert result.successful_rows == 4


class TestRowsThatTheAnswerLacks:
    """A success that speaks of fewer rows than were sent is none."""

    def test_the_load_is_red_and_not_repeated(self, client, tinybird):
        tinybird.on(EVENTS, IN, {"successful_rows": 1, "quarantined_rows": 0})
        with pytest.raises(
            LoadInterruptedError, match=r"In: rows 0 to 1 .*Unknown whether they are in: rows 2 to 3"
        ) as caught:
            send_batches(client, two_by_two(6))
        assert "Of 2 rows that were sent to 'flights', Tinybird's answer says that 1 are in and 0 in quarantine" in str(
            caught.value
        )
        assert not caught.value.retry_can_help
        assert len(tinybird.requests) == 2

    def test_rows_in_quarantine_are_not_missing(self, client, tinybird):
        tinybird.on(EVENTS, IN, {"successful_rows": 1, "quarantined_rows": 1})
        result = send_batches(client, two_by_two(4))
        assert (result.successful_rows, result.quarantined_rows) == (3, 1)


class TestLog:
    def test_a_line_every_few_seconds_and_a_summary(self, client, tinybird, monkeypatch, caplog):
        clock = iter(range(0, 10_000, 2))
        fields = list(progress_defaults())
        monkeypatch.setitem(fields[0], "clock", lambda: float(next(clock)))
        caplog.set_level("INFO")
        tinybird.on(EVENTS, {"successful_rows": 1, "quarantined_rows": 1})
        load_data(client, "flights", rows(8), LoadOptions(max_in_flight=1, max_bytes=ROW * 2))
        lines = [record.getMessage() for record in caplog.records if "flights" in record.getMessage()]
        assert any("of all" in line and "MB/s" in line and "in quarantine" in line for line in lines[:-1])
        assert "4 rows are in data source 'flights', 4 in its quarantine: 4 requests" in lines[-1]


def progress_defaults() -> Any:
    from airflow_provider_tinybird.loads.events.progress import Progress

    yield Progress.__init__.__kwdefaults__


def test_a_rate_limit_that_stays(client, tinybird):
    tinybird.on(EVENTS, (429, {"error": "slow down"}))
    with pytest.raises(RateLimitedError) as caught:
        send_batches(client, two_by_two(6))
    assert caught.value.retry_can_help


def test_what_the_source_raises_before_anything_is_in_comes_through_as_it_is(client, tinybird):
    """Such as Airflow's own way to skip a task."""
    from airflow_provider_tinybird._compat import AirflowSkipException

    skip = AirflowSkipException("no rows today")

    def nothing() -> Any:
        raise skip
        yield

    with pytest.raises(AirflowSkipException) as caught:
        load_data(client, "flights", nothing, LoadOptions())
    assert caught.value is skip
    assert caught.value.__cause__ is None


def test_a_body_is_let_go_once_it_is_in(client, tinybird):
    """Without the garbage collector, which seldom comes by where objects are few and large."""
    tinybird.on(EVENTS, accept)
    body = b'{"n":1}\n' * 1000
    gc.disable()
    try:
        before = sys.getrefcount(body)
        client.send(events.send_events("flights", body))
        assert sys.getrefcount(body) == before
    finally:
        gc.enable()
    assert len(tinybird.requests) == 1
