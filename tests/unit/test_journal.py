"""A load of events that broke off is not sent again by a retry, and a cleared task sends all of it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_tinybird import loads
from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.loads import checked_batches
from airflow_provider_tinybird.ndjson import EncodeError
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

EVENTS = "POST /v0/events"
IN = {"successful_rows": 1, "quarantined_rows": 0}


class Store(dict[str, Any]):
    """Keeps what it is given as JSON, as Airflow's does."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


class Killed(BaseException):
    """The worker dies: nothing of ours runs any more."""


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def execute(store, monkeypatch):
    """Run an attempt; each row is a batch."""
    original = loads.batches
    monkeypatch.setattr(loads, "batches", lambda data: original(data, max_bytes=8))

    def run(data: Any, *, try_number: int = 1, max_tries: int = 2) -> Any:
        ti = SimpleNamespace(max_tries=max_tries, try_number=try_number, map_index=-1)
        context = {"ti": ti, "task_state_store": store}
        return TinybirdEventsOperator(task_id="t", datasource="flights", data=data, retries=2).execute(context)

    return run


def rows(count: int) -> list[dict[str, int]]:
    return [{"n": number} for number in range(count)]


@pytest.fixture
def killed(tinybird, execute, store, monkeypatch):
    """An attempt that is killed after its second request."""
    tinybird.on(EVENTS, IN)
    writes = []

    def set_or_die(key: str, value: Any) -> None:
        writes.append(value)
        if len(writes) == 3:
            raise Killed
        store[key] = value

    with monkeypatch.context() as patch:
        patch.setattr(store, "set", set_or_die)
        with pytest.raises(Killed):
            execute(rows(3))
    assert tinybird.count(EVENTS) == 2
    return tinybird


def test_a_retry_after_a_kill_is_refused_and_tells_how_far_it_came(killed, execute):
    told = r"first 1 rows \(1 batches\) are in, and it is unknown whether the batch"
    with pytest.raises(AirflowFailException, match=told):
        execute(rows(3), try_number=2)
    assert killed.count(EVENTS) == 2


def test_a_cleared_task_sends_all_of_it(killed, execute):
    assert execute(rows(3), try_number=2, max_tries=3)["successful_rows"] == 3


def test_a_retry_after_a_failure_that_left_nothing_behind_sends_all_of_it(tinybird, execute):
    tinybird.on(EVENTS, (429, {"error": "slow down"}), IN)
    with pytest.raises(Exception, match="slow down"):
        execute(rows(2))
    assert execute(rows(2), try_number=2) == {"successful_rows": 2, "quarantined_rows": 0}


def test_a_retry_after_an_unknown_outcome_is_refused(tinybird, execute):
    tinybird.on(EVENTS, tinybird.cut, IN)
    with pytest.raises(AirflowFailException, match="not known whether"):
        execute(rows(2))
    with pytest.raises(AirflowFailException, match=r"first 0 rows .* unknown"):
        execute(rows(2), try_number=2)
    assert tinybird.count(EVENTS) == 1


def test_the_journal_holds_counts_only(tinybird, execute, store):
    tinybird.on(EVENTS, IN)
    execute(rows(2))
    assert store == {"tinybird_load": {"max_tries": 2, "rows": 1, "batches": 1, "nothing_is_in": False, "version": 1}}


class TestCheckedBatches:
    def test_nothing_is_handed_out_when_a_late_row_cannot_be_sent(self):
        bad = [{"n": "x" * 6_000_000}, {"n": "x" * 6_000_000}, {"n": b"bytes"}]
        with pytest.raises(EncodeError):
            next(checked_batches(bad))

    def test_what_comes_from_an_iterator_is_taken_as_it_comes(self):
        taken = []

        def generate() -> Any:
            for number in range(100):
                taken.append(number)
                yield [{"n": "x" * 100_000}] * 50

        assert next(checked_batches(generate())).rows >= 50
        assert len(taken) < 100

    def test_all_of_it_is_handed_out_once(self):
        data = [{"n": number, "x": "y" * 3_000_000} for number in range(10)]
        bodies = b"".join(bytes(batch.body) for batch in checked_batches(data))
        assert [json.loads(line)["n"] for line in bodies.splitlines()] == list(range(10))
