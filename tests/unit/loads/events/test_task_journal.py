"""A load of events that broke off: what its retry sends, what it refuses to send, and what is kept for it."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from unit.loads.small import EVENTS, ROW, accept, numbers, two_digits

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.loads import LoadInterruptedError, ResumableLoadError, SourceChangedError
from airflow_provider_tinybird.loads.events import task_journal
from airflow_provider_tinybird.loads.events.loader import Load
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

BOTH = pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
KEY = "tinybird_load"


class Store(dict[str, Any]):
    """Keeps what it is given as JSON, as Airflow's does. Only the main thread may use that."""

    def set(self, key: str, value: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        text = json.dumps(value)
        assert len(text) < 64_000
        self[key] = json.loads(text)
        assert self[key] == value, "Airflow refuses tuples"


class Killed(BaseException):
    """The worker dies: nothing of ours runs any more."""


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def execute(store, tinybird, bodies_of):
    """Run an attempt; each row is a batch."""
    bodies_of(ROW + 1)

    def run(data: Any, *, try_number: int = 1, max_tries: int = 2, **arguments: Any) -> Any:
        ti = SimpleNamespace(
            max_tries=max_tries, try_number=try_number, map_index=-1, dag_id="d", task_id="t", run_id="r"
        )
        context = {"ti": ti, "task_state_store": store}
        settings = {"pacing": False, "max_in_flight": 1, "on_quarantine": "ignore", **arguments}
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=data, retries=2, **settings)
        return operator.execute(context)

    return run


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(Load, "_pause", lambda *_: None)


def sent(tinybird: Any) -> list[int]:
    return [number for request in tinybird.requests for number in numbers(request.body)]


@pytest.fixture
def die(store, monkeypatch):
    """Die at one of the writes into the store, before it is done or after."""

    def at(write: int, *, after: bool = False) -> Any:
        patch = monkeypatch.context()
        entered = patch.__enter__()
        count = 0
        original = Store.set

        def set_or_die(key: str, value: Any) -> None:
            nonlocal count
            count += 1
            if count == write and not after:
                raise Killed
            original(store, key, value)
            if count == write:
                raise Killed

        entered.setattr(store, "set", set_or_die, raising=False)
        return patch

    return at


def killed(execute: Any, die: Any, write: int, data: Any, **arguments: Any) -> None:
    patch = die(write, after=arguments.pop("after", False))
    with pytest.raises(Killed):
        execute(data, **arguments)
    patch.__exit__(None, None, None)


class TestAtMostOnce:
    def test_a_batch_that_was_under_way_is_named_and_nothing_is_sent(self, tinybird, execute, die):
        tinybird.on(EVENTS, accept)
        killed(execute, die, 4, two_digits(3))  # the write that says that the second is in
        assert sent(tinybird) == [10, 11]
        with pytest.raises(AirflowFailException) as caught:
            execute(two_digits(3), try_number=2)
        message = str(caught.value)
        assert "In: row 0 (1 batches). Unknown whether they are in: row 1 (1 batches)" in message
        assert "'flights'" in message
        assert sent(tinybird) == [10, 11]

    def test_what_is_acknowledged_is_not_sent_again(self, tinybird, execute, die):
        tinybird.on(EVENTS, accept)
        killed(execute, die, 4, two_digits(5), after=True)
        result = execute(two_digits(5), try_number=2)
        assert sent(tinybird) == [10, 11, 12, 13, 14]
        assert result == {"successful_rows": 5, "quarantined_rows": 0, "batches": 3, "bytes": 27, "skipped_rows": 2}

    def test_a_retry_after_everything_was_in_sends_nothing(self, tinybird, execute):
        tinybird.on(EVENTS, {"successful_rows": 0, "quarantined_rows": 1})
        first = execute(two_digits(2))
        again = execute(two_digits(2), try_number=2)
        assert sent(tinybird) == [10, 11]
        assert (first["quarantined_rows"], again["quarantined_rows"], again["skipped_rows"]) == (2, 2, 2)

    def test_a_refused_batch_can_be_tried_again_from_there(self, tinybird, execute):
        tinybird.on(EVENTS, accept, accept, (429, {"error": "slow down"}), accept)
        with pytest.raises(ResumableLoadError, match=r"In: rows 0 to 1 \(2 batches\)\. Not in: row 2") as caught:
            execute(two_digits(5))
        assert caught.value.retry_can_help
        assert execute(two_digits(5), try_number=2)["skipped_rows"] == 2
        assert sent(tinybird) == [10, 11, 12, 12, 13, 14]

    def test_a_hole_is_filled(self, tinybird, execute):
        """Of four at once one is refused: the retry sends it alone, and what comes after."""
        together = threading.Barrier(4)
        again = False

        def answer(request: Any) -> Any:
            if again:
                return accept(request)
            together.wait(10)
            return (503, {"error": "overloaded"}) if numbers(request.body) == [11] else accept(request)

        tinybird.on(EVENTS, answer)
        with pytest.raises(ResumableLoadError, match="Not in: row 1 "):
            execute(two_digits(4), max_in_flight=4)
        again = True
        assert sorted(sent(tinybird)) == [10, 11, 12, 13]
        execute(two_digits(6), try_number=2)
        assert sent(tinybird)[4:] == [11, 14, 15]

    def test_a_retry_after_an_unknown_outcome_is_refused(self, tinybird, execute):
        tinybird.on(EVENTS, tinybird.cut, accept)
        with pytest.raises(AirflowFailException, match="Unknown whether they are in: row 0"):
            execute(two_digits(2))
        with pytest.raises(AirflowFailException, match="Unknown whether they are in: row 0"):
            execute(two_digits(2), try_number=2)
        assert sent(tinybird) == [10]

    def test_a_retry_after_a_failure_that_left_nothing_behind_sends_all_of_it(self, tinybird, execute):
        tinybird.on(EVENTS, (429, {"error": "slow down"}), accept)
        with pytest.raises(Exception, match="slow down"):
            execute(two_digits(2))
        assert execute(two_digits(2), try_number=2)["skipped_rows"] == 0
        assert sent(tinybird) == [10, 10, 11]

    def test_without_a_store_a_load_that_broke_is_not_tried_again(self, tinybird, execute, store):
        tinybird.on(EVENTS, accept, (429, {"error": "slow down"}))
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=two_digits(2), max_in_flight=1)
        with pytest.raises(AirflowFailException, match="In: row 0"):
            operator.execute({})

    def test_without_a_store_a_retry_sends_nothing(self, tinybird, execute, monkeypatch):
        """Nobody knows whether the attempt before died with rows in."""
        tinybird.on(EVENTS, accept)
        monkeypatch.setattr("airflow_provider_tinybird.operators.events.task_state_store", lambda _: None)
        with pytest.raises(AirflowFailException, match="Nothing was sent by this attempt"):
            execute(two_digits(2), try_number=2)
        assert sent(tinybird) == []
        execute(two_digits(2), try_number=3, max_tries=4)  # cleared
        execute(two_digits(2), try_number=2, delivery="at_least_once")
        assert sent(tinybird) == [10, 11, 10, 11]


class TestAtLeastOnce:
    def test_what_was_under_way_is_sent_again(self, tinybird, execute, die):
        tinybird.on(EVENTS, accept)
        killed(execute, die, 4, two_digits(4), delivery="at_least_once")
        result = execute(two_digits(4), try_number=2, delivery="at_least_once")
        assert sent(tinybird) == [10, 11, 11, 12, 13]
        assert result["skipped_rows"] == 1

    def test_several_that_were_under_way(self, tinybird, execute, quick):
        """The first and the third of four get no answer, however often they are sent."""
        gone = True

        def answer(request: Any) -> Any:
            return tinybird.cut if gone and numbers(request.body)[0] in (10, 12) else accept(request)

        tinybird.on(EVENTS, answer)
        with pytest.raises(ResumableLoadError, match="sends only what is not acknowledged"):
            execute(two_digits(4), delivery="at_least_once", max_in_flight=4)
        gone, before = False, len(tinybird.requests)
        execute(two_digits(4), try_number=2, delivery="at_least_once")
        assert sent(tinybird)[before:][:2] == [10, 12]
        assert set(sent(tinybird)) == {10, 11, 12, 13}


class TestChanges:
    @BOTH
    @pytest.mark.parametrize("data", [[{"n": 77}, *two_digits(5)[1:]], two_digits(1), [], two_digits(5)[1:]])
    def test_another_beginning_is_said_before_anything_is_sent(self, tinybird, execute, die, delivery, data):
        tinybird.on(EVENTS, accept)
        killed(execute, die, 4, two_digits(5), after=True, delivery=delivery)
        with pytest.raises(AirflowFailException, match="changed since an earlier attempt"):
            execute(data, try_number=2, delivery=delivery)
        assert sent(tinybird) == [10, 11]

    def test_another_row_behind_a_hole_too(self, tinybird, execute):
        together = threading.Barrier(4)

        def answer(request: Any) -> Any:
            together.wait(10)
            return (503, {"error": "overloaded"}) if numbers(request.body) == [11] else accept(request)

        tinybird.on(EVENTS, answer)
        with pytest.raises(ResumableLoadError):
            execute(two_digits(4), max_in_flight=4)
        before = len(tinybird.requests)
        changed = two_digits(6)
        changed[3] = {"n": 99}
        with pytest.raises(AirflowFailException, match="changed since an earlier attempt"):
            execute(changed, try_number=2)
        assert len(tinybird.requests) == before

    @BOTH
    def test_rows_at_the_end_may_be_new(self, tinybird, execute, delivery):
        tinybird.on(EVENTS, accept)
        execute(two_digits(2), delivery=delivery)
        assert execute(two_digits(4), try_number=2, delivery=delivery)["skipped_rows"] == 2
        assert sent(tinybird) == [10, 11, 12, 13]

    @BOTH
    def test_the_same_rows_in_other_bodies_are_the_same(self, tinybird, execute, die, delivery, bodies_of):
        tinybird.on(EVENTS, accept)
        killed(execute, die, 4, two_digits(6), after=True, delivery=delivery)
        bodies_of((ROW + 1) * 3)
        execute(two_digits(6), try_number=2, delivery=delivery)
        assert [numbers(request.body) for request in tinybird.requests] == [[10], [11], [12], [13, 14, 15]]

    def test_bodies_that_were_too_large_are_found_again(self, tinybird, execute, bodies_of):
        bodies_of((ROW + 1) * 4)
        is_down = True

        def answer(request: Any) -> Any:
            if is_down and 16 in numbers(request.body):
                return 429, {"error": "slow down"}
            return accept(request) if len(request.body) <= (ROW + 1) * 2 else (413, {"error": "too large"})

        tinybird.on(EVENTS, answer)
        with pytest.raises(ResumableLoadError):
            execute(two_digits(10))
        is_down, before = False, len(tinybird.requests)
        assert execute(two_digits(10), try_number=2)["skipped_rows"] == 6
        taken = [numbers(request.body) for request in tinybird.requests[before:] if len(request.body) <= 18]
        assert taken == [[16, 17], [18, 19]]

    def test_a_cleared_task_sends_all_of_it(self, tinybird, execute, die):
        tinybird.on(EVENTS, accept)
        killed(execute, die, 4, two_digits(3))
        assert execute(two_digits(3), try_number=2, max_tries=3)["skipped_rows"] == 0
        assert sent(tinybird) == [10, 11, 10, 11, 12]

    def test_a_slow_source_does_not_leave_answers_lying(self, tinybird, execute, store, monkeypatch):
        monkeypatch.setattr("airflow_provider_tinybird.loads.events.loader._SLOW_SOURCE", -1.0)
        seen = []

        def generate() -> Any:
            for row in two_digits(3):
                seen.append(store.get(KEY, {}).get("in_flight"))
                yield [row]

        tinybird.on(EVENTS, accept)
        execute(generate, max_in_flight=4)
        assert seen == [None, [], []] or seen == [None, None, []]


OLD = {"max_tries": 2, "rows": 7, "batches": 2, "nothing_is_in": False, "version": 1}
"""What the first version of the package stored."""


class TestOtherAttempts:
    @pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once", "exactly_once"])
    def test_a_record_of_the_first_version_is_refused(self, tinybird, execute, store, delivery):
        store[KEY] = OLD
        column = {"batch_id_column": "batch"} if delivery == "exactly_once" else {}
        tinybird.on("GET /v0/datasources/flights", {"name": "flights", "schema": {"columns": [COLUMN]}})
        tinybird.on("GET /v0/dependencies", {"dependencies": {}})
        with pytest.raises(AirflowFailException, match=r"first 7 rows \(2 batches\) are in, and it is unknown whether"):
            execute(two_digits(3), try_number=2, delivery=delivery, **column)
        assert tinybird.count(EVENTS) == 0

    @pytest.mark.parametrize("change", [{"nothing_is_in": True}, {"max_tries": 1}])
    def test_unless_nothing_was_in_or_the_task_was_cleared(self, tinybird, execute, store, change):
        store[KEY] = OLD | change
        tinybird.on(EVENTS, accept)
        assert execute(two_digits(3), try_number=2)["successful_rows"] == 3

    def test_another_data_source_is_another_load(self, tinybird, execute, store):
        tinybird.on(EVENTS, accept)
        execute(two_digits(2))
        store[KEY]["datasource"] = "elsewhere"
        execute(two_digits(2), try_number=2)
        assert sent(tinybird) == [10, 11, 10, 11]

    def test_a_record_has_room_for_many_batches_behind_a_hole(self, store):
        record = task_journal.Record(rows=10**12)
        for number in range(task_journal.MOST_ENTRIES + 20):
            first = 10**12 + 1 + number * 10**6
            record.acknowledge(task_journal.Entry(first, 10**6, "f" * 24, 10**6))
        store.set(KEY, record.as_json())
        assert task_journal.Record.of(store[KEY]) == record


COLUMN = {"name": "batch", "type": "String", "jsonpath": "$.batch"}


def test_no_more_is_sent_when_the_journal_is_full(tinybird, execute, monkeypatch, store):
    """The first batch is slow: what is in behind it is kept one by one, and there is an end to that."""
    monkeypatch.setattr(task_journal, "MOST_ENTRIES", 3)
    go_on = threading.Event()
    entries = []

    def answer(request: Any) -> Any:
        if numbers(request.body) == [10]:
            assert not go_on.wait(0.3)
        return accept(request)

    original = Store.set

    def watch(key: str, value: Any) -> None:
        entries.append(len(value["acknowledged"]))
        original(store, key, value)

    monkeypatch.setattr(store, "set", watch, raising=False)
    tinybird.on(EVENTS, answer)
    execute(two_digits(30), max_in_flight=2)
    assert sorted(sent(tinybird)) == list(range(10, 40))
    assert max(entries) == 3


def test_errors_tell_whether_a_retry_can_help():
    assert not LoadInterruptedError.retry_can_help
    assert not SourceChangedError.retry_can_help
    assert ResumableLoadError.retry_can_help
