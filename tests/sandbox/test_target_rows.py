"""Writers are judged by what is in their data source afterwards: what makes them red, and what must not."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from operator_cases import operators

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.loads import LoadOptions
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.interval import TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.job import TinybirdJobOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator, TinybirdCopyRangeOperator
from airflow_provider_tinybird.operators.writers import TinybirdWriterOperator
from airflow_provider_tinybird.policies import target_rows

ROWS = [{"day": "2013-01-01", "carrier": "A", "delay": delay} for delay in range(10)]
DOUBT = "Whether rows are missing cannot be told"


@pytest.fixture
def box(dropping):
    return dropping


@pytest.fixture(autouse=True)
def quick(quick_judge, monkeypatch):
    monkeypatch.setattr("airflow_provider_tinybird.loads.events.loader._WAITS", (0.01,) * 4)


class Store(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def send(data: Any = ROWS, *, store: Any = None, try_number: int = 1, **arguments: Any) -> Any:
    settings = {"datasource": "flights", "pacing": False, **arguments}
    operator = TinybirdEventsOperator(task_id="t", retries=2, data=data, **settings)
    ti = SimpleNamespace(max_tries=2, try_number=try_number, map_index=-1, dag_id="d", task_id="t", run_id="r")
    return operator.execute({"ti": ti, "task_state_store": Store() if store is None else store})


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Do something between the count before a load and the load itself."""
    look = target_rows.look_before

    def look_and_act(client: Any, datasource: str, **_: Any) -> Any:
        found = look(client, datasource)
        act()
        return found

    monkeypatch.setattr(target_rows, "look_before", look_and_act)


def test_the_same_rows_again_are_red_and_the_message_says_what_to_do(box):
    send()
    with pytest.raises(AirflowFailException) as caught:
        send()
    what, why, way_out = str(caught.value).splitlines()
    assert what.startswith(
        "The load of events wrote 10 rows, Tinybird says, and 10 of them are not there: data source 'flights' had 10 rows"
    )
    assert "equal rows that were inserted before" in why
    assert "not retried" in way_out
    assert "TinybirdReplaceIntervalOperator" in way_out
    assert box.count() == 10


def test_equal_requests_of_one_load_are_red(box, monkeypatch):
    monkeypatch.setitem(LoadOptions.__init__.__kwdefaults__, "max_bytes", 100)
    with pytest.raises(AirflowFailException, match="18 of them are not there"):
        send([ROWS[0]] * 20)
    assert box.count() == 2


def test_others_that_write_meanwhile_make_nothing_red(box, monkeypatch):
    meanwhile(monkeypatch, lambda: box.insert("flights", [{**ROWS[0], "delay": 99}] * 5))
    assert send()["successful_rows"] == 10
    assert box.count() == 15


@pytest.mark.parametrize("removal", ["delete", "truncate"])
def test_others_that_take_rows_out_meanwhile_make_nothing_red(box, monkeypatch, caplog, removal):
    box.insert("flights", [{**ROWS[0], "delay": 99}] * 5)
    act = {"delete": lambda: box.delete("flights", "delay = 99"), "truncate": box.truncate}[removal]
    meanwhile(monkeypatch, act)
    with caplog.at_level(logging.WARNING):
        send()
    assert f"{DOUBT}: an operation '{removal}' took place meanwhile" in caplog.text
    assert box.count() == 10


def test_what_was_taken_out_just_before_does_not_count(box):
    """In the same second, as its log has it."""
    send()
    box.delete("flights", "delay >= 0")
    with pytest.raises(AirflowFailException, match="10 of them are not there"):
        send()


def test_a_delete_that_is_still_under_way(box, monkeypatch, caplog):
    send()
    box.plan_job("flights", hold="working")
    meanwhile(monkeypatch, lambda: box.post("/v0/datasources/flights/delete?delete_condition=delay%3D1"))
    with caplog.at_level(logging.WARNING):
        send()
    assert "is under way" in caplog.text
    box.release()
    box.wait_for_jobs()


def test_a_list_of_jobs_that_does_not_come_makes_nothing_red(box, caplog):
    send()
    box.fault("/v0/jobs", method="GET", status=403, body="<html>Forbidden</html>", times=20)
    with caplog.at_level(logging.WARNING):
        send()
    box.clear_faults()
    assert "the jobs cannot be listed, and one that runs may be taking rows out" in caplog.text


@pytest.mark.parametrize(
    ("scopes", "says"),
    [
        (("DATASOURCES:APPEND:flights", "DATASOURCES:READ:flights"), "may not read tinybird.datasources_ops_log"),
        (("DATASOURCES:APPEND:flights",), "Nobody has checked whether the rows are there: they cannot be counted"),
    ],
)
def test_a_token_that_may_not_look(box, connection, caplog, scopes, says):
    send()
    connection(box.url, box.narrow_token(*scopes))
    with caplog.at_level(logging.INFO):
        send()
    assert says in caplog.text


def test_a_narrow_token_that_may_read_the_log_is_enough(box, connection):
    send()
    scopes = ("DATASOURCES:APPEND:flights", "DATASOURCES:READ:flights", "DATASOURCES:READ:tinybird.datasources_ops_log")
    connection(box.url, box.narrow_token(*scopes))
    with pytest.raises(AirflowFailException, match="10 of them are not there"):
        send()


def test_an_engine_that_merges_rows_away_makes_nothing_red(box, caplog):
    rows = [{"n": 1, "batch": "b"}] * 3
    with caplog.at_level(logging.INFO):
        send(rows, datasource="newest_clicks")
        send(rows, datasource="newest_clicks")
    assert "its engine ReplacingMergeTree merges rows away" in caplog.text


def test_accepted_is_not_in(box, caplog):
    with caplog.at_level(logging.INFO):
        send(wait=False)
    assert "with wait=False they are merely accepted" in caplog.text


@pytest.mark.parametrize("rows_of_first", [10, 20])
def test_a_retry_counts_what_the_first_attempt_sent(box, monkeypatch, rows_of_first):
    """It sends again what may have arrived; where that is dropped, the rows are in once all the same."""
    monkeypatch.setitem(LoadOptions.__init__.__kwdefaults__, "max_bytes", 500)
    store, data = Store(), [{**ROWS[0], "delay": delay} for delay in range(20)]
    box.fault("/v0/events", cut="after", times=5)
    with pytest.raises(Exception, match="broke"):
        send(data[:rows_of_first], store=store, delivery="at_least_once", max_in_flight=1)
    box.clear_faults()
    assert box.count() > 0
    assert send(data, store=store, try_number=2, delivery="at_least_once")["successful_rows"] == 20
    assert box.count() == 20


def test_a_retry_where_nothing_is_remembered_is_not_red(box, caplog):
    send()
    operator = TinybirdEventsOperator(task_id="t", retries=2, datasource="flights", data=ROWS, delivery="at_least_once")
    ti = SimpleNamespace(max_tries=2, try_number=2, map_index=-1, dag_id="d", task_id="t", run_id="r")
    with caplog.at_level(logging.WARNING):
        operator.execute({"ti": ti})
    assert f"{DOUBT}: an earlier attempt may have sent some of them" in caplog.text


def test_a_copy_that_is_short_after_a_deferral(box, run):
    box.fill()
    arguments = {"pipe": "copy_totals", "mode": "append"}
    run(TinybirdCopyOperator, **arguments)
    rows = box.count("totals")
    box.delete("totals", "1")
    with pytest.raises(AirflowFailException, match=f"{rows} of them are not there"):
        run(TinybirdCopyOperator, **arguments)
    assert run(TinybirdCopyOperator, **{**arguments, "mode": "replace"})["rows"] == box.count("totals") == rows


def test_a_copy_of_whose_target_nothing_was_seen_before(box, run_here, monkeypatch, caplog):
    box.fill()
    monkeypatch.setattr(TinybirdCopyOperator, "target_before", lambda self: None)
    with caplog.at_level(logging.INFO):
        run_here(TinybirdCopyOperator, pipe="copy_totals")
    assert "Nobody has checked whether the rows are there: the rows were not counted before it" in caplog.text


def test_every_operator_that_writes_passes_the_gate():
    """Each job operator says whether it writes rows; who writes has a target to be judged by."""
    others = {"TinybirdSinkOperator", "TinybirdDeleteOperator"}
    jobs = {name: cls for name, cls in operators().items() if issubclass(cls, TinybirdJobOperator)}
    assert {name for name, cls in jobs.items() if not cls._writes} == others
    for name, cls in jobs.items():
        assert (cls.target_before is not TinybirdJobOperator.target_before) == (name not in others), name
    for cls in (TinybirdEventsOperator, TinybirdCopyRangeOperator, TinybirdReplaceIntervalOperator):
        assert issubclass(cls, TinybirdWriterOperator)
