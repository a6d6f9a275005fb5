"""A worker whose token is refused reads its connection again, and goes on when it holds another token."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from airflow_provider_tinybird.api.errors import AccessDeniedError
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

REFUSED = (403, {"error": "invalid authentication token"})


@pytest.fixture
def rotated(tinybird, connection):
    """A server that knows the new token only; the connection still holds the old one."""

    def only_new(answer: Any) -> Any:
        return lambda request: answer if request.headers["authorization"] == "Bearer new" else REFUSED

    def rotate() -> None:
        connection(tinybird.url, "new", max_retries=0)

    tinybird.only_new, tinybird.rotate = only_new, rotate
    return tinybird


def test_it_goes_on_with_the_new_token(rotated):
    rotated.on("GET /v0/jobs/j1", rotated.only_new({"id": "j1", "status": "working"}))
    rotated.on("POST /v0/pipes/c/copy", rotated.only_new({"job": {"id": "j1", "status": "waiting"}}))
    hook = TinybirdHook()
    assert hook.client
    rotated.rotate()
    assert hook.get_job("j1").id == "j1"
    assert hook.run_copy("c").id == "j1"  # a call that is sent once: refused, it did nothing
    assert rotated.lines() == ["GET /v0/jobs/j1", "GET /v0/jobs/j1", "POST /v0/pipes/c/copy"]
    assert hook.settings.token.value == "new"


def test_a_submit_that_was_refused_is_sent_with_the_new_token(rotated):
    rotated.on("POST /v0/pipes/c/copy", rotated.only_new({"job": {"id": "j1", "status": "waiting"}}))
    hook = TinybirdHook()
    assert hook.client
    rotated.rotate()
    assert hook.run_copy("c").id == "j1"
    assert rotated.count("POST /v0/pipes/c/copy") == 2


@pytest.mark.parametrize("status", [401, 403])
def test_the_same_token_is_not_sent_again(tinybird, status):
    tinybird.on("GET /v0/jobs/j1", (status, {"error": "no"}))
    with pytest.raises(AccessDeniedError, match="no"):
        TinybirdHook().get_job("j1")
    assert tinybird.count("GET /v0/jobs/j1") == 1


def test_a_page_of_a_gateway_says_nothing_of_the_token(rotated):
    rotated.on("GET /v0/jobs/j1", (403, "<html>blocked</html>"))
    hook = TinybirdHook()
    assert hook.client
    rotated.rotate()
    with pytest.raises(AccessDeniedError):
        hook.get_job("j1")
    assert rotated.count("GET /v0/jobs/j1") == 1


def test_a_connection_that_is_gone_leaves_the_refusal_as_it_is(tinybird, monkeypatch):
    tinybird.on("GET /v0/jobs/j1", REFUSED)
    hook = TinybirdHook()
    assert hook.client
    monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT")
    with pytest.raises(AccessDeniedError, match="invalid authentication token"):
        hook.get_job("j1")


def test_all_views_of_the_client_go_on(rotated):
    rotated.on("GET /v0/jobs/j1", rotated.only_new({"id": "j1", "status": "done"}))
    hook = TinybirdHook()
    first, second = hook.client, hook.client.until(None)
    rotated.rotate()
    from airflow_provider_tinybird.api.jobs import get_job

    assert first.send(get_job("j1")).id == "j1"
    assert second.send(get_job("j1")).id == "j1"
    assert first.settings.token.value == second.settings.token.value == "new"


def test_another_thread_reads_no_connection(rotated):
    """Airflow answers a task by one channel, in which two threads would mix up their answers."""
    rotated.on("GET /v0/jobs/j1", rotated.only_new({"id": "j1", "status": "done"}))
    hook = TinybirdHook()
    assert hook.client
    rotated.rotate()
    found: list[BaseException] = []

    def look() -> None:
        try:
            hook.get_job("j1")
        except AccessDeniedError as e:
            found.append(e)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert len(found) == 1
    assert hook.get_job("j1").id == "j1"
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert len(found) == 1  # it goes on with what the task's own thread has read
