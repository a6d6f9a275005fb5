"""What is sent again, how often, and after how long: counted in requests on the wire."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import tenacity

from airflow_provider_tinybird.api import datasources, events, imports, jobs, pipes, query, retry
from airflow_provider_tinybird.api.errors import (
    BadRequestError,
    ConnectionFailedError,
    OutcomeUnknownError,
    PartiallyIngestedError,
    QueryTimeoutError,
    RateLimitedError,
    ServerError,
)
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.pipes import CopyMode
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings

URL = "https://example.com/f.csv"
JOB = {"id": "j", "job_id": "j", "status": "waiting", "job": {"id": "j", "status": "waiting"}}

READ = {
    "get_job": (jobs.get_job("j"), JOB),
    "list_jobs": (jobs.list_jobs(), {"jobs": []}),
    "list_datasources": (datasources.list_datasources(), {"datasources": []}),
    "dry_run": (datasources.count_rows_to_delete("d", "1"), {"rows_to_be_deleted": 1}),
    "sql": (query.sql("SELECT 1"), {"data": []}),
    "endpoint": (pipes.endpoint("p"), {"data": []}),
}
IDEMPOTENT = {
    "truncate": (datasources.truncate("d"), {}),
    "delete": (datasources.delete_rows("d", "1"), JOB),
    "delete_v1": (datasources.delete_rows_v1("d", "1"), JOB),
    "replace_url": (imports.replace_url("d", URL, format=FileFormat.CSV), JOB),
    "replace_url_v1": (imports.replace_url_v1("d", URL, format=FileFormat.CSV), JOB),
    "replace_body": (imports.replace_body("d", b"1", format=FileFormat.CSV), {"import_id": "i"}),
    "copy_replace": (pipes.copy("p", mode=CopyMode.REPLACE), JOB),
    "populate_truncating": (pipes.populate("p", "n", truncate=True), JOB),
    "cancel_job": (jobs.cancel_job("j"), JOB),
    "pause": (pipes.pause_copy("p"), {}),
}
ONCE = {
    "events": (events.send_events("d", b"{}"), {"successful_rows": 1}),
    "events_no_wait": (events.send_events("d", b"{}", wait=False), {"successful_rows": 1}),
    "append_url": (imports.append_url("d", URL, format=FileFormat.CSV), JOB),
    "append_url_v1": (imports.append_url_v1("d", URL, format=FileFormat.CSV), JOB),
    "append_body": (imports.append_body("d", b"1", format=FileFormat.CSV), {"import_id": "i"}),
    "copy": (pipes.copy("p"), JOB),
    "copy_append": (pipes.copy("p", mode=CopyMode.APPEND), JOB),
    "sink": (pipes.sink("p"), JOB),
    "populate": (pipes.populate("p", "n"), JOB),
    "retry_job": (jobs.retry_job("j"), JOB),
}


def each(*groups):
    calls = {name: value for group in groups for name, value in group.items()}
    return pytest.mark.parametrize(("call", "good"), calls.values(), ids=calls)


PASSING = [429, 502, 503, 504, 598, 599]
NOT_SENT = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("slow"),
    httpx.PoolTimeout("busy"),
    httpx.ProxyError("no"),
]
LOST = [
    httpx.ReadTimeout("slow"),
    httpx.WriteTimeout("slow"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
]
TIMEOUTS = (httpx.ReadTimeout, httpx.WriteTimeout)


@each(READ, IDEMPOTENT)
@pytest.mark.parametrize("status", PASSING)
def test_passing_trouble_repeats_what_can_be_repeated(wire, call, good, status):
    wire.answers((status, {"error": "later"}), (status, {"error": "later"}), good)
    wire.send(call)
    assert len(wire.sent) == 3
    assert len(wire.waits) == 2
    assert wire.sent[0].body == wire.sent[2].body
    assert wire.sent[0].target == wire.sent[2].target


@each(READ, IDEMPOTENT)
@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequestError), (405, BadRequestError), (408, QueryTimeoutError), (500, ServerError)]
)
def test_other_statuses_are_not_repeated(wire, call, good, status, kind):
    wire.answers((status, {"error": "no"}))
    with pytest.raises(kind):
        wire.send(call)
    assert len(wire.sent) == 1


@each(ONCE)
@pytest.mark.parametrize("status", [408, 500, 502, 504, 598, 599])
def test_an_append_is_never_sent_again_when_it_may_have_been_done(wire, call, good, status):
    """Trap: repeating a write after a 5xx or a timeout doubles data; there are no idempotency keys."""
    wire.answers((status, {"error": "trouble"}))
    with pytest.raises(OutcomeUnknownError) as caught:
        wire.send(call)
    assert len(wire.sent) == 1
    assert f"HTTP {status}" in str(caught.value)
    assert "trouble" in str(caught.value)
    assert call.find_out
    assert call.find_out in str(caught.value)
    assert caught.value.retry_can_help is False


@each(ONCE)
@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_an_append_whose_answer_is_lost_is_never_sent_again(wire, call, good, error):
    wire.answers(error)
    with pytest.raises(OutcomeUnknownError):
        wire.send(call)
    assert len(wire.sent) == 1


@each(READ, IDEMPOTENT, ONCE)
def test_rate_limits_are_waited_for_by_all(wire, call, good):
    """A 429 proves that nothing was taken."""
    wire.answers((429, {"error": "slow down"}, {"Retry-After": "2"}), good)
    wire.send(call)
    assert len(wire.sent) == 2
    assert wire.waits == [2.0]


@each(READ, IDEMPOTENT, ONCE)
@pytest.mark.parametrize("error", NOT_SENT, ids=lambda error: type(error).__name__)
def test_what_never_left_is_sent_again_by_all(wire, call, good, error):
    wire.answers(error, error, good)
    wire.send(call)
    assert len(wire.sent) == 3


@each(READ, IDEMPOTENT)
@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_lost_answers_are_asked_for_again_except_for_queries_out_of_time(wire, call, good, error):
    """A query that ran out of time is not sent again: that would double the load that made it slow."""
    wire.answers(error, good)
    if isinstance(error, TIMEOUTS) and not call.repeat_timeouts:
        with pytest.raises(ConnectionFailedError, match="time for an answer ran out"):
            wire.send(call)
        assert len(wire.sent) == 1
    else:
        wire.send(call)
        assert len(wire.sent) == 2


def test_only_queries_are_spared_after_a_timeout():
    spared = {name for group in (READ, IDEMPOTENT) for name, (call, _) in group.items() if not call.repeat_timeouts}
    assert spared == {"sql", "endpoint"}


def test_503_of_events_is_repeated(wire):
    """Overload or an unavailable table: nothing was inserted."""
    wire.answers((503, {"error": "busy"}), (503, {"error": "busy"}), {"successful_rows": 1})
    assert wire.send(events.send_events("d", b"{}")).successful_rows == 1
    assert len(wire.sent) == 3


@pytest.mark.parametrize("name", [name for name in ONCE if not name.startswith("events")])
def test_503_of_other_appends_is_not(wire, name):
    wire.answers((503, {"error": "busy"}))
    with pytest.raises(OutcomeUnknownError):
        wire.send(ONCE[name][0])
    assert len(wire.sent) == 1


def test_events_that_stay_refused_with_503_are_a_server_error_not_an_unknown_outcome(wire):
    wire.answers(*[(503, {"error": "busy"})] * 6)
    with pytest.raises(ServerError):
        wire.send(events.send_events("d", b"{}"))
    assert len(wire.sent) == 6


def test_422_of_events_is_not_repeated_and_says_that_rows_are_in(wire):
    """Trap: 422 means partly ingested, since a materialized view failed; repeating doubles rows."""
    wire.answers((422, {"error": "There was an error in the materialized view"}))
    with pytest.raises(PartiallyIngestedError, match="Part of the rows are in") as caught:
        wire.send(events.send_events("d", b"{}"))
    assert len(wire.sent) == 1
    assert caught.value.retry_can_help is False


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_number_of_tries(wire, retries):
    wire.settings = Settings(base_url="https://api.tinybird.co", token=wire.settings.token, max_retries=retries)
    wire.answers(*[(429, {"error": "slow down"})] * (retries + 1))
    with pytest.raises(RateLimitedError):
        wire.send(jobs.get_job("j"))
    assert len(wire.sent) == retries + 1


def test_waits_grow_and_are_jittered_and_bounded(wire):
    policy = RetryPolicy(max_retries=8, first_wait=1.0, longest_wait=10.0, total=1000)
    wire.answers(*[(502, "bad gateway")] * 9)
    with pytest.raises(ServerError):
        wire.send(jobs.get_job("j"), policy=policy)
    bounds = [(1, 2), (2, 3), (4, 5), (8, 9), (10, 10), (10, 10), (10, 10), (10, 10)]
    assert len(wire.waits) == len(bounds)
    for wait, (low, high) in zip(wire.waits, bounds, strict=True):
        assert low <= wait <= high
    assert any(wait % 1 for wait in wire.waits)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "7", "X-RateLimit-Reset": "3"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"X-RateLimit-Reset": "3"}, 3.0),
        ({"X-Ratelimit-Reset": "3", "Retry-After": "soon"}, 3.0),
        ({"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4"}, 4.0),
    ],
)
def test_the_wait_that_the_answer_asks_for(wire, headers, wait):
    """Trap: X-RateLimit-Reset is seconds from now, not an epoch."""
    wire.answers((429, {"error": "slow down"}, headers), JOB)
    wire.send(jobs.get_job("j"))
    assert wire.waits == [wait]


@pytest.mark.parametrize("zone", ["GMT", "+0200", "-0000"])
def test_retry_after_as_a_date(wire, zone):
    moment = datetime.now(UTC) + timedelta(seconds=60)
    text = format_datetime(moment, usegmt=True)
    if zone == "+0200":
        text = format_datetime(moment + timedelta(hours=2)).replace("+0000", zone)
    wire.answers((429, {"error": "slow down"}, {"Retry-After": text.replace("GMT", zone)}), JOB)
    wire.send(jobs.get_job("j"))
    assert 55 < wire.waits[0] <= 60


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0"},
        {"Retry-After": "-5"},
        {"Retry-After": "nan"},
        {"Retry-After": "soon"},
        {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"},
        {"Retry-After": "Wed, 99 Foo 2020 00:00:00 GMT"},
        {"X-RateLimit-Reset": "0"},
        {"X-RateLimit-Reset": "x"},
        {},
    ],
)
def test_no_usable_wait_means_backing_off(wire, headers):
    """Sending again at once would use up all tries in a moment."""
    wire.answers((429, {"error": "slow down"}, headers), JOB)
    wire.send(jobs.get_job("j"))
    assert 0.5 <= wire.waits[0] <= 1.0


def test_the_rate_limit_window_says_nothing_of_a_bad_gateway(wire):
    """Every answer may carry X-RateLimit-Reset, but only of a 429 it is the wait."""
    wire.answers((502, "bad gateway", {"X-RateLimit-Reset": "100"}), JOB)
    wire.send(jobs.get_job("j"))
    assert wire.waits[0] <= 1.0


@pytest.mark.parametrize("wait", ["301", "inf", str(int(time.time()) + 60)], ids=["seconds", "for ever", "epoch"])
def test_a_wait_beyond_the_total_fails_at_once(wire, wait):
    """An epoch in the header must not put a task to sleep for fifty years either."""
    wire.answers((429, {"error": "slow down"}, {"Retry-After": wait}))
    with pytest.raises(RateLimitedError, match="slow down"):
        wire.send(jobs.get_job("j"))
    assert len(wire.sent) == 1
    assert wire.waits == []


def test_the_callers_deadline_counts_where_it_is_earlier(wire):
    wire.answers((429, {"error": "slow down"}, {"Retry-After": "20"}))
    with pytest.raises(RateLimitedError):
        wire.send(jobs.get_job("j"), deadline=time.monotonic() + 10)
    assert len(wire.sent) == 1


@each(READ, IDEMPOTENT, ONCE)
def test_nothing_is_sent_after_the_deadline(wire, call, good):
    wire.answers()
    with pytest.raises(
        ConnectionFailedError, match=r"deadline was over before it was sent\. Nothing was sent"
    ) as caught:
        wire.send(call, deadline=time.monotonic() - 1)
    assert (caught.value.sent, caught.value.timed_out) == (False, True)
    assert wire.sent == []


def test_all_tries_and_waits_share_one_total():
    """The clock of this test moves with the waits: 4 s each, so that a fourth wait would end after the total of 15 s."""
    now = [1000.0]
    tries = []
    rules = retry.rules(
        RetryPolicy(max_retries=50, total=15, first_wait=4, longest_wait=4), jobs.get_job("j"), clock=lambda: now[0]
    )

    def fail() -> None:
        tries.append(now[0])
        raise ConnectionFailedError("refused", sent=False)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(ConnectionFailedError):
        tenacity.Retrying(sleep=sleep, **rules)(fail)
    assert tries == [1000.0, 1004.0, 1008.0, 1012.0]


def test_each_wait_is_announced_with_its_reason(wire, caplog):
    wire.answers((429, {"error": "slow down"}, {"Retry-After": "2"}), JOB)
    with caplog.at_level("WARNING"):
        wire.send(jobs.get_job("j"))
    assert "slow down" in caplog.text
    assert "Sending it again in 2.0 s (1 of 5)" in caplog.text


def test_huge_numbers_of_retries_do_not_overflow(wire):
    policy = RetryPolicy(max_retries=1100, first_wait=0.001, longest_wait=0.002, total=10_000)
    wire.answers(*[(502, "bad gateway")] * 1100, JOB)
    wire.send(jobs.get_job("j"), policy=policy)
    assert len(wire.sent) == 1101


@pytest.mark.parametrize("timed_out", [True, False])
def test_what_may_have_been_taken_is_refused_a_second_time_by_the_policy_itself(timed_out):
    """A lost answer to an append becomes another error before it gets here; should it ever not, the policy still holds."""
    call, _ = ONCE["events"]
    assert retry.may_send_again(call, ConnectionFailedError("x", sent=True, timed_out=timed_out)) is False
    assert retry.may_send_again(call, ConnectionFailedError("x", sent=False)) is True
    assert retry.may_send_again(call, OutcomeUnknownError("a", "b", "c", "d")) is False
    assert retry.may_send_again(call, ValueError("x")) is False
