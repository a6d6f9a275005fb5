"""Loads that lose answers, are torn, refused and sent again: what is in the data source afterwards."""

from __future__ import annotations

import json
import logging
import re
import socket
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import misbehaving as wrong
import pytest
from misbehaving import misbehaving

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.loads import LoadOptions, ResumableLoadError
from airflow_provider_tinybird.loads.events import batch_counts, datasource_journal
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

ROWS = [{"n": number} for number in range(10, 40)]
SIZE = len('{"n":10}\n')
EVENTS = "/v0/events"


@pytest.fixture(params=["keeping", "dropping"])
def box(request):
    """Where rows that are sent twice are there twice, and where they are dropped."""
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Bodies of five rows, with room for an id in each or without, and no time between looks."""
    monkeypatch.setattr(datasource_journal, "_LOOKS", (0.0, 0.05))
    monkeypatch.setattr(datasource_journal, "_LAST_LOOK", 0.0)
    monkeypatch.setattr("airflow_provider_tinybird.loads.events.loader._WAITS", (0.01,) * 4)
    monkeypatch.setattr(datasource_journal, "_LAST_LOOKS", (0.0, 0.05))
    monkeypatch.setattr(batch_counts, "_POLL_INTERVAL", 0.05)


@pytest.fixture
def bodies(monkeypatch):
    """Limit bodies to so many rows."""

    def limit(count: int, *, with_ids: bool = True) -> None:
        overhead = len(',"batch":""') + 62 if with_ids else 0
        monkeypatch.setitem(LoadOptions.__init__.__kwdefaults__, "max_bytes", (SIZE + overhead) * count)

    limit(5)
    return limit


def load(data: Any = ROWS, *, run: str = "r", store: Any = None, try_number: int = 1, **arguments: Any) -> Any:
    settings = {"batch_id_column": "batch", "delivery": "exactly_once", "pacing": False, **arguments}
    operator = TinybirdEventsOperator(
        task_id="t", datasource=settings.pop("datasource", "clicks"), data=data, **settings
    )
    ti = SimpleNamespace(max_tries=2, try_number=try_number, map_index=-1, dag_id="d", task_id="t", run_id=run)
    return operator.execute({"ti": ti, "task_state_store": store})


def drops(box: Any) -> bool:
    """Whether the same rows again are dropped."""
    for _ in range(2):
        box.append("flights", [{"day": "2013-01-01", "carrier": "A", "delay": 1}])
    return bool(box.count() == 1)


def in_it(box: Any) -> list[int]:
    return [row["n"] for row in box.rows("SELECT n FROM clicks ORDER BY n")]


def batches(box: Any) -> dict[str, int]:
    return {row["batch"]: int(row["m"]) for row in box.rows("SELECT batch, count() AS m FROM clicks GROUP BY batch")}


ALL = [row["n"] for row in ROWS]


def gateway(box: Any, lost: int, status: int) -> wrong.Behaviour:
    """A gateway in front of the sandbox: the first answers to events are lost behind it, and it says what gateways say."""
    left = [lost]
    host = urlsplit(box.url)

    def behave(peer: wrong.Peer) -> None:
        peer.read_head()
        peer.read_body()
        head = re.sub(rb"(?im)^connection:.*\r\n", b"", peer.head)
        with socket.create_connection((host.hostname, host.port)) as behind:
            behind.sendall(head + b"\r\nConnection: close\r\n\r\n" + peer.body)
            answer = b"".join(iter(lambda: behind.recv(65536), b""))
        if left[0] and head.startswith(b"POST /v0/events"):
            left[0] -= 1
            text = b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
            answer = f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text
        peer.connection.sendall(answer)

    return behave


class TestExactlyOnce:
    @pytest.mark.parametrize("status", [413, 429, 502, 503])
    def test_pages_of_a_gateway_double_nothing(self, box, bodies, connection, status):
        with misbehaving(gateway(box, 2, status)) as server:
            connection(server.url, box.token)
            result = load()
        assert in_it(box) == ALL
        assert result["successful_rows"] == 30

    def test_each_row_carries_the_id_of_its_batch(self, box, bodies):
        result = load()
        assert in_it(box) == ALL
        found = batches(box)
        assert sorted(found.values()) == [5] * 6
        assert sorted(int(one.split(".")[1]) for one in found) == [0, 5, 10, 15, 20, 25]
        assert {tuple(map(len, one.split(".")[::2])) for one in found} == {(16, 24)}
        assert (result["batches"], result["skipped_rows"]) == (6, 0)

    def test_the_same_load_again_sends_nothing(self, box, bodies):
        load()
        before = len(box.seen("POST", EVENTS))
        again = load(try_number=2)
        assert len(box.seen("POST", EVENTS)) == before
        assert (again["skipped_rows"], again["successful_rows"]) == (30, 30)
        assert in_it(box) == ALL

    def test_another_run_is_another_load(self, box, bodies):
        load()
        load(run="another")
        assert in_it(box) == sorted(ALL * 2)

    @pytest.mark.parametrize(
        "fault", [{"cut": "after"}, {"cut": "before"}, {"status": 500, "body": "boom"}, {"status": 504}]
    )
    def test_answers_that_are_lost(self, box, bodies, fault):
        box.fault(EVENTS, times=3, **fault)
        load()
        assert in_it(box) == ALL
        assert set(batches(box).values()) == {5}

    @pytest.mark.parametrize("status", [429, 503])
    def test_refusals_that_pass(self, box, bodies, status):
        box.fault(EVENTS, status=status, headers={"Retry-After": "0.05"}, body={"error": "later"}, times=3)
        load()
        assert in_it(box) == ALL

    def test_a_torn_batch_is_removed_and_sent_again(self, box, bodies, caplog):
        load()
        box.delete("clicks", "n IN (17, 18, 31)")
        assert len(in_it(box)) == 27
        with caplog.at_level(logging.WARNING):
            result = load(try_number=2)
        assert in_it(box) == ALL
        assert set(batches(box).values()) == {5}
        assert result["skipped_rows"] == 20
        assert "those in the data source are deleted" in caplog.text

    def test_a_batch_that_is_gone_is_sent(self, box, bodies):
        load()
        box.delete("clicks", "n >= 20 AND n < 25")
        assert load()["skipped_rows"] == 25
        assert in_it(box) == ALL

    def test_a_doubled_batch_is_put_right(self, box, bodies):
        load()
        box.insert("clicks", box.rows("SELECT * FROM clicks WHERE n >= 20 AND n < 25"))
        assert len(in_it(box)) == 35
        load()
        assert in_it(box) == ALL

    def test_a_request_that_was_lost_and_arrives_late(self, box, bodies, monkeypatch):
        """It looks lost, is sent again, and then the first of the two gets in as well."""
        box.fault(EVENTS, cut="before")
        sent = []
        settle = datasource_journal.ExactlyOnce.settle

        def late(self: Any, piece: Any, error: Any) -> Any:
            found = settle(self, piece, error)
            assert found is None
            sent.append(piece)
            return found

        def arrive(self: Any) -> Any:
            while sent:
                rows = self.content(sent.pop()).splitlines()
                box.insert("clicks", [json.loads(row) for row in rows])
                assert len(in_it(box)) == 35
            return repair(self)

        repair = datasource_journal.ExactlyOnce.to_repair
        monkeypatch.setattr(datasource_journal.ExactlyOnce, "settle", late)
        monkeypatch.setattr(datasource_journal.ExactlyOnce, "to_repair", arrive)
        load()
        assert in_it(box) == ALL

    def test_rows_in_quarantine_count(self, box, bodies):
        rows = [*ROWS[:12], {"n": "ab"}, *ROWS[13:]]
        first = load(rows, on_quarantine="ignore")
        assert (first["successful_rows"], first["quarantined_rows"]) == (29, 1)
        again = load(rows, try_number=2, on_quarantine="ignore")
        assert (again["skipped_rows"], again["successful_rows"], again["quarantined_rows"]) == (30, 29, 1)
        assert box.count("clicks_quarantine") == 1

    def test_a_torn_batch_with_rows_in_quarantine(self, box, bodies):
        rows = [*ROWS[:12], {"n": "ab"}, *ROWS[13:]]
        load(rows, on_quarantine="ignore")
        before = len(box.seen("POST", EVENTS))
        box.delete("clicks", "n = 20")
        for attempt in (2, 3):
            load(rows, try_number=attempt, on_quarantine="ignore")
            assert in_it(box) == [number for number in ALL if number != 22]
        assert box.count("clicks_quarantine") == 2  # nothing deletes from there
        assert len(box.seen("POST", EVENTS)) == before + 1

    def test_rows_without_members(self, box, bodies):
        load('{}\n{ }\n{"n":12}\n{"n": 13 }\n')
        assert in_it(box) == [0, 0, 12, 13]
        assert set(batches(box).values()) == {4}

    def test_too_large_bodies_have_ids_of_their_own_and_are_found_again(self, box, bodies):
        bodies(30)
        box.fault(EVENTS, status=413, body={"error": "too large"}, times=3)
        load(max_in_flight=1)
        assert in_it(box) == ALL
        assert len(batches(box)) > 3
        box.delete("clicks", "n = 25")
        before = len(box.seen("POST", EVENTS))
        assert load(try_number=2)["skipped_rows"] > 15
        assert len(box.seen("POST", EVENTS)) == before + 1
        assert in_it(box) == ALL

    @pytest.mark.parametrize("changed", [[{"n": 99}, *ROWS[1:]], ROWS[5:], ROWS[::-1]])
    def test_a_source_that_changed(self, box, bodies, changed):
        load()
        with pytest.raises(AirflowFailException, match="changed since an earlier attempt"):
            load(changed, try_number=2)
        assert in_it(box) == ALL

    def test_a_source_that_became_shorter(self, box, bodies):
        load()
        with pytest.raises(AirflowFailException, match="the data ends before it"):
            load(ROWS[:15], try_number=2)

    def test_it_gives_up_after_some_time_and_a_retry_ends_it(self, box, bodies):
        box.fault(EVENTS, cut="before", times=100)
        with pytest.raises(ResumableLoadError, match="sends only what is missing"):
            load(max_in_flight=1)
        box.clear_faults()
        load(try_number=2)
        assert in_it(box) == ALL

    def test_partly_ingested(self, box, bodies):
        """A view failed: the batch is looked for, and sent again when it is not whole."""
        box.fault(EVENTS, status=422, body={"error": "a view failed"})
        load()
        assert in_it(box) == ALL

    def test_by_hook(self, box, bodies):
        hook = TinybirdHook()
        for _ in range(2):
            hook.send_events("clicks", ROWS, delivery="exactly_once", batch_id_column="batch", load_id="mine")
        assert in_it(box) == ALL
        with pytest.raises(ValueError, match="load_id"):
            hook.send_events("clicks", ROWS, delivery="exactly_once", batch_id_column="batch")


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"datasource": "newest_clicks"}, "ReplacingMergeTree"),
            ({"batch_id_column": "id"}, "has no column 'id' for the ids of batches"),
            ({"batch_id_column": "n"}, "is a Int64"),
            ({"batch_id_column": None}, "needs batch_id_column"),
            ({"batch_id_column": "a b"}, "cannot be the name of a column"),
            ({"delivery": "at_most_once"}, "only for delivery='exactly_once'"),
            ({"delivery": "twice"}, "is not known"),
            ({"wait": False}, "needs wait=True"),
            ({"data": [{"n": 1}, {"n": 2, "batch": "mine"}]}, "Row 1 has a 'batch' of its own"),
        ],
    )
    def test_before_anything_is_sent(self, box, bodies, arguments, says):
        arguments = dict(arguments)
        data = arguments.pop("data", ROWS)
        with pytest.raises(AirflowFailException, match=says):
            load(data, **arguments)
        assert box.seen("POST", EVENTS) == []

    def test_a_member_of_that_name_further_in_is_none(self, box, bodies):
        load([{"n": 1, "more": {"batch": 1}}, {"n": 2, "text": "batch"}])
        assert in_it(box) == [1, 2]


class Store(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


class TestOtherDeliveries:
    """What is lost is lost or doubled as promised."""

    def by(self, delivery: str, **arguments: Any) -> Any:
        return load(delivery=delivery, batch_id_column=None, max_in_flight=1, **arguments)

    def test_at_most_once(self, box, bodies):
        bodies(5, with_ids=False)
        box.fault(EVENTS, delay=0, times=2)
        box.fault(EVENTS, cut="after")
        store = Store()
        with pytest.raises(AirflowFailException, match="Unknown whether they are in: rows 10 to 14"):
            self.by("at_most_once", store=store)
        with pytest.raises(AirflowFailException, match="Unknown whether they are in: rows 10 to 14"):
            self.by("at_most_once", store=store, try_number=2)
        assert in_it(box) == ALL[:15]

    def test_at_least_once(self, box, bodies):
        bodies(5, with_ids=False)
        box.fault(EVENTS, delay=0, times=2)
        box.fault(EVENTS, cut="after")
        self.by("at_least_once")
        assert len(box.seen("POST", EVENTS)) == 7
        assert in_it(box) == sorted([*ALL, *([] if drops(box) else ALL[10:15])])

    @pytest.mark.parametrize(("before", "after"), [("at_most_once", "exactly_once"), ("exactly_once", "at_least_once")])
    def test_another_delivery_in_the_retry_is_refused(self, box, bodies, before, after):
        store = Store()
        column = {"at_most_once": None, "at_least_once": None, "exactly_once": "batch"}
        load(delivery=before, batch_id_column=column[before], store=store)
        with pytest.raises(AirflowFailException, match=f"delivery='{before}', and this one has '{after}'"):
            load(delivery=after, batch_id_column=column[after], store=store, try_number=2)
        assert in_it(box) == ALL


def test_views_and_a_ttl_are_warned_of(box, bodies, caplog):
    from airflow_provider_tinybird.api.client import Client
    from airflow_provider_tinybird.api.models import Datasource

    hook = TinybirdHook()
    with caplog.at_level(logging.WARNING):
        batch_counts._warn(hook.client, hook.send(_datasource("flights")))
    assert "Materialized views carry the rows of 'flights' on to by_carrier" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = Datasource(
            name="clicks", id="", engine={"engine": "MergeTree", "ttl": "day + 3"}, columns=(), rows=0, bytes=0
        )
        batch_counts._warn(hook.client, found)
    assert "has a TTL (day + 3)" in caplog.text
    assert "Materialized" not in caplog.text
    assert isinstance(hook.client, Client)


def _datasource(name: str) -> Any:
    from airflow_provider_tinybird.api import datasources

    return datasources.get_datasource(name)
