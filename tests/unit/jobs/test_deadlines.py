"""A task ends soon after its timeout, whatever the server does: real sockets that take requests and do not answer, and real time."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api import pipes
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.conditions.checks import enough_rows
from airflow_provider_tinybird.conditions.wait import Finding
from airflow_provider_tinybird.jobs import watch
from airflow_provider_tinybird.jobs.outcome import Ending, Outcome
from airflow_provider_tinybird.operators.interval import TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator, TinybirdCopyRangeOperator
from airflow_provider_tinybird.operators.series import ImportPace
from airflow_provider_tinybird.sensors.datasources import TinybirdRowsSensor
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor
from airflow_provider_tinybird.timespans import deadlines
from airflow_provider_tinybird.triggers.conditions import TinybirdConditionTrigger
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger
from airflow_provider_tinybird.triggers.ranges import TinybirdAnyJobTrigger
from airflow_provider_tinybird.triggers.slots import TinybirdSlotTrigger

LATE = 15.0
"""Seconds behind its timeout at which a task has to be over."""

TIMEOUT = 1.5


class Deaf:
    """Takes each request and answers none, but for those to the given paths."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.requests: list[tuple[float, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while line := self._line(lines):
                self.requests.append((time.time(), line))
                length = 0
                while (header := self._line(lines)).strip():
                    if header.lower().startswith("content-length:"):
                        length = int(header.partition(":")[2])
                lines.read(length)
                path = line.split()[1].partition("?")[0]
                if path not in self.answers:
                    threading.Event().wait()
                body = json.dumps(self.answers[path]).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    @staticmethod
    def _line(lines: Any) -> str:
        try:
            return str(lines.readline(), "latin-1")
        except OSError:
            return ""


@pytest.fixture
def deaf(connection: Callable[..., None]) -> Iterator[Deaf]:
    server = Deaf()
    connection(server.url, "p.x.y", timeout=30, max_retries=5)
    yield server
    server.close()


COPY = {"id": "node", "job": {"id": "j1", "kind": "copy", "status": "waiting"}}
LOOK = {"/v0/pipes/daily": {"id": "p", "name": "daily", "nodes": []}}
ANSWERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the look beforehand": LOOK,
    "the submit": {**LOOK, "/v0/pipes/daily/copy": COPY},
    "submit and looks": {
        **LOOK,
        "/v0/pipes/daily/copy": COPY,
        "/v0/jobs/j1": {"id": "j1", "kind": "copy", "status": "working"},
    },
    "all but counts": {
        **LOOK,
        "/v0/pipes/daily/copy": COPY,
        "/v0/jobs/j1": {"id": "j1", "kind": "copy", "status": "done"},
    },
}


def ended(run: Callable[[], Any]) -> float:
    """Run something to its end, whatever that is; tells how many seconds it took."""
    began = time.monotonic()
    try:
        run()
    except Exception as e:  # the time is what matters
        print(f"{type(e).__name__}: {e}")
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("answered", "mode"),
    [
        ("nothing", "append"),
        ("the look beforehand", "append"),
        ("the look beforehand", "replace"),
        ("the submit", "append"),
        ("submit and looks", "append"),
        ("all but counts", "append"),
    ],
)
def test_a_copy(deaf, answered, mode):
    deaf.answers = ANSWERS[answered]
    began = time.time()
    operator = TinybirdCopyOperator(task_id="t", pipe="daily", mode=mode, timeout=TIMEOUT, poll_interval=0.3)
    assert ended(lambda: operator.execute({})) < TIMEOUT + LATE
    submits = [moment for moment, line in deaf.requests if line.startswith("POST /v0/pipes")]
    assert bool(submits) == (answered != "nothing")
    assert max(submits, default=began) < began + TIMEOUT + 1  # nothing is started behind the deadline


@pytest.mark.parametrize("answered", ["nothing", "the look beforehand", "the submit"])
def test_a_range_of_many_windows_at_once(deaf, answered):
    """The looks at one job, and its cancel, do not use up the time of another."""
    deaf.answers = ANSWERS[answered]
    operator = TinybirdCopyRangeOperator(
        task_id="t", pipe="daily", start="2026-01-01", end="2026-01-06", concurrency=5, timeout=TIMEOUT, poll_interval=0.3
    )  # fmt: skip
    assert ended(lambda: operator.execute({})) < TIMEOUT + LATE


def test_a_kill(deaf):
    operator = TinybirdCopyOperator(task_id="t", pipe="daily")
    operator._settings, operator._running_job_id = operator.hook.settings, "j1"
    assert ended(operator.on_kill) < LATE


def test_a_kill_of_many_jobs(deaf):
    operator = TinybirdCopyRangeOperator(task_id="t", pipe="daily", start="2026-01-01", end="2026-01-06")
    operator._settings, operator._running_job_ids = operator.hook.settings, {f"j{i}" for i in range(5)}
    assert ended(operator.on_kill) < LATE
    asked = {line.split()[1] for _, line in deaf.requests}
    assert asked == {f"/v0/jobs/j{i}/cancel" for i in range(5)}  # each is asked for


@pytest.mark.parametrize("kind", ["job", "rows"])
def test_a_sensor(deaf, kind):
    made: Any = {
        "job": lambda **how: TinybirdJobSensor(job_id="j1", **how),
        "rows": lambda **how: TinybirdRowsSensor(datasource="d", **how),
    }[kind]
    sensor = made(task_id="t", timeout=TIMEOUT, poke_interval=60)
    assert ended(lambda: sensor.execute({"ti": None})) < TIMEOUT + LATE


async def _events(triggers: list[Any]) -> list[tuple[float, Any]]:
    async def run(trigger: Any) -> tuple[float, Any]:
        (payload,) = [event.payload async for event in trigger.run()]
        return time.time(), payload

    return await asyncio.gather(*map(run, triggers))


async def test_a_hundred_triggers(deaf):
    """More than there are connections: those that wait for one must not wait beyond their deadline."""
    deadline = time.time() + TIMEOUT
    common = {"tinybird_conn_id": "tinybird_default", "poll_interval": 0.5}
    life = {"deadline": deadline, "started_at": deadline - TIMEOUT}
    question = enough_rows("d").to_json()
    found = await _events(
        [TinybirdJobTrigger(job_id=f"j{i}", **common, **life) for i in range(70)]
        + [TinybirdConditionTrigger(question=question, **common, **life) for _ in range(10)]
        + [TinybirdAnyJobTrigger(job_ids=["j1", "j2"], until=deadline, **common) for _ in range(10)]
        + [TinybirdSlotTrigger(kind="copy", until=deadline, **common) for _ in range(10)]
    )
    assert max(moment for moment, _ in found) < deadline + LATE
    assert {Outcome.from_payload(payload).ending for _, payload in found[:70]} == {Ending.TIMEOUT}
    assert {Finding.from_payload(payload).ending for _, payload in found[70:80]} == {"timeout"}


@pytest.mark.parametrize("kind", [TinybirdJobTrigger, TinybirdAnyJobTrigger])
async def test_a_kill_while_deferred(deaf, kind):
    which = {"job_id": "j1"} if kind is TinybirdJobTrigger else {"job_ids": ["j1", "j2"]}
    until = "deadline" if kind is TinybirdJobTrigger else "until"
    more = {"started_at": 0.0} if kind is TinybirdJobTrigger else {}
    trigger = kind(tinybird_conn_id="tinybird_default", **which, **{until: time.time() + 60}, **more)
    began = time.monotonic()
    await trigger.on_kill()
    assert time.monotonic() - began < LATE


def test_a_task_that_comes_back_from_the_triggerer_at_its_deadline(deaf):
    now = time.time()
    outcome = Outcome(ending=Ending.TIMEOUT, job_id="j1", message="It was still working.", waited=TIMEOUT)
    operator = TinybirdCopyOperator(task_id="t", pipe="daily", timeout=TIMEOUT, deferrable=True)
    ended(lambda: operator.execute_complete({}, outcome.to_payload()))
    assert time.time() - now < LATE


def test_the_pace_of_imports_does_not_outlast_the_deadline():
    """The quota's minute is longer than a task may have left."""
    pace = ImportPace(1)
    began = time.monotonic()
    for _ in range(2):
        pace.wait(time.time() + 0.5)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("kind", ["load", "interval", "truncating load"])
def test_a_series(deaf, kind):
    """What is asked before the first submit, which nothing answers here either."""
    rows = [{"day": "2026-01-01", "v": 1}]
    made: Any = {
        "load": lambda **how: TinybirdLoadOperator(data=rows, via="files", **how),
        "truncating load": lambda **how: TinybirdLoadOperator(data=[], mode="replace", on_empty="delete", **how),
        "interval": lambda **how: TinybirdReplaceIntervalOperator(
            data=rows, column="day", start="2026-01-01", end="2026-01-02", **how
        ),
    }[kind]
    operator = made(task_id="t", datasource="d", timeout=TIMEOUT, poll_interval=0.3)
    assert ended(lambda: operator.execute({})) < TIMEOUT + LATE


def test_an_interval_reads_on_unknown(tinybird):
    operator = TinybirdReplaceIntervalOperator(
        task_id="t", datasource="d", column="day", data=[], start="2026-01-01", end="2026-01-02", on_unknown="resubmitt"
    )
    with pytest.raises(AirflowFailException, match="on_unknown='resubmitt' is not known"):
        operator.execute({})
    assert tinybird.requests == []


class TestTheViewOfAClient:
    """What an operator is handed has its deadline by itself."""

    def test_it_is_used_by_each_call(self, tinybird):
        with Client(Settings(base_url=tinybird.url, token=Token(tinybird.token), max_retries=3)) as client:
            tinybird.on("GET /v0/jobs/j1", (503, {"error": "busy"}, {"Retry-After": "30"}))
            assert "could not be" in watch.cancel(client.until(time.monotonic() + 3600), "j1")
            began = time.monotonic()
            watch.look(client.until(time.monotonic() + 1), watch.Watch("j1", watch.Rules.starting_now(timeout=1)))
            assert time.monotonic() - began < 10

    def test_it_shares_what_was_seen_of_the_server(self, tinybird):
        tinybird.job("j1", "done")
        with Client(Settings(base_url=tinybird.url, token=Token(tinybird.token))) as client:
            view = client.until(time.monotonic() + 60)
            view.send(watch.Watch("j1", watch.Rules.starting_now()).call)
            assert client.server == view.server
            assert view.server

    @pytest.mark.parametrize("left", [60.0, 0.0, -100.0])
    def test_moments(self, left):
        now, wall = time.monotonic(), time.time()
        assert deadlines.monotonic(wall + left) == pytest.approx(now + left, abs=1)
        assert deadlines.looks_end(wall + left) == pytest.approx(now + max(left, 0) + deadlines.GRACE, abs=1)
        assert deadlines.closing_ends(wall + left) == pytest.approx(now + max(left, 0) + deadlines.CLOSING, abs=1)

    def test_all_of_them_together_are_no_more_than_was_promised(self):
        assert deadlines.GRACE + deadlines.CLOSING < LATE

    def test_an_operator_never_has_another(self, tinybird):
        """Whatever a subclass sends through its hook, and whenever."""
        operator = TinybirdCopyOperator(task_id="t", pipe="daily", timeout=60)
        assert operator.hook.client._ends_at == pytest.approx(time.monotonic() + 60, abs=10)
        operator._rules(deadline=time.time() + 7)
        assert operator.hook.client._ends_at == pytest.approx(time.monotonic() + 7, abs=5)


def test_pipes_are_copied_with_a_long_call_timeout_of_their_own():
    """The deadline has to win over it; the tests above would otherwise prove nothing."""
    assert pipes.copy("daily").min_timeout > TIMEOUT + LATE
