"""The life of a job after it was submitted: states, deadline, failed looks, cancel, and what is stored of it."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    Answer,
    ApiError,
    BadRequestError,
    ConnectionFailedError,
    JobCancelledError,
    JobFailedError,
    JobLostError,
    JobTimeoutError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.job import parse_job
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.jobs import outcome as outcomes
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.jobs.watch import Ending, Outcome, Rules, Watch

START = 1_800_000_000.0


def rules(**changes: Any) -> Rules:
    return Rules(**{"poll_interval": 5.0, "deadline": START + 60, "started_at": START, **changes})


def job(status: str, **fields: Any) -> Job:
    return parse_job({"id": "j1", "kind": "copy", "status": status, **fields})


def status_error(kind: type[Any], status: int) -> TinybirdError:
    return kind("get job j1", "GET http://h/v0/jobs/j1", Answer(status, "no luck", from_tinybird=True))


@pytest.fixture
def client(tinybird):
    with Client(Settings(base_url=tinybird.url, token=Token(tinybird.token), max_retries=0)) as client:
        yield client


class TestStates:
    @pytest.mark.parametrize("status", ["waiting", "working", "cancelling", "queued", "brand new", "", "DONE"])
    def test_what_is_not_over_is_watched_on(self, clock, status):
        watch = Watch("j1", rules())
        assert watch.saw(job(status)) is None

    @pytest.mark.parametrize(
        ("status", "ending"), [("done", Ending.DONE), ("error", Ending.FAILED), ("cancelled", Ending.CANCELLED)]
    )
    def test_what_is_over(self, clock, status, ending):
        outcome = Watch("j1", rules()).saw(job(status))
        assert outcome is not None
        assert (outcome.ending, outcome.job_id) == (ending, "j1")

    def test_done_has_no_message(self, clock):
        assert Watch("j1", rules()).saw(job("done")).message == ""

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"error": "no memory"}, "no memory"),
            ({"error": True, "errors": ["row 7", "row 9"]}, "row 7; row 9"),
            ({"error": True}, "says only that it failed"),
            ({}, "does not say why"),
        ],
    )
    def test_a_failure_tells_what_tinybird_said(self, clock, fields, said):
        clock.now += 12
        outcome = Watch("j1", rules()).saw(job("error", pipe_name="daily", **fields))
        assert outcome.message.startswith("Copy job j1 (pipe 'daily') failed after 12 s:")
        assert said in outcome.message

    def test_a_change_of_status_is_logged_once(self, clock, caplog):
        caplog.set_level(logging.INFO)
        watch = Watch("j1", rules())
        for status in ["waiting", "waiting", "working", "working", "working", "cancelling", "cancelled"]:
            watch.saw(job(status))
            clock.now += 3
        said = [record.getMessage() for record in caplog.records]
        assert said == [
            "Copy job j1 is waiting, after 0.0 s.",
            "Copy job j1 is working, after 6.0 s.",
            "Copy job j1 is cancelling, after 15.0 s.",
            "Copy job j1 is cancelled, after 18.0 s.",
        ]

    def test_a_status_that_was_told_is_not_told_again(self, clock, caplog):
        caplog.set_level(logging.INFO)
        watch = Watch("j1", rules(), told="waiting")
        watch.saw(job("waiting"))
        clock.now += 100
        watch.saw(job("done"))
        assert [record.getMessage() for record in caplog.records] == ["Copy job j1 is done, after 1 min 40 s."]


class TestDeadline:
    def test_it_is_absolute(self, clock):
        watch = Watch("j1", rules())
        clock.now = START + 59.9
        assert watch.saw(job("working")) is None
        clock.now = START + 60
        outcome = watch.saw(job("working"))
        assert outcome.ending is Ending.TIMEOUT
        assert "'working'" in outcome.message
        assert "60 s" in outcome.message

    def test_a_job_that_is_done_after_the_deadline_is_done(self, clock):
        clock.now = START + 600
        assert Watch("j1", rules()).saw(job("done")).ending is Ending.DONE

    def test_a_failed_look_after_the_deadline_ends_it(self, clock):
        clock.now = START + 60
        outcome = Watch("j1", rules()).failed(status_error(ServerError, 502))
        assert outcome.ending is Ending.TIMEOUT
        assert "never seen" in outcome.message

    def test_no_pause_goes_beyond_it(self, clock):
        watch = Watch("j1", rules())
        assert watch.pause() == 5.0
        clock.now = START + 58
        assert watch.pause() == 2.0
        clock.now = START + 61
        assert watch.pause() == 0.0

    def test_pauses_are_spread(self, monkeypatch):
        watch = Watch("j1", rules(), clock=lambda: START)
        pauses = {watch.pause() for _ in range(50)}
        assert len(pauses) > 10
        assert 5.0 <= min(pauses) <= max(pauses) <= 5.5

    def test_a_look_is_not_repeated_beyond_it(self, clock, client, tinybird):
        """The client sends a look again for minutes by itself; Airflow would end the deferral in the meantime."""
        tinybird.on("GET /v0/jobs/j1", (503, {"error": "busy"}, {"Retry-After": "30"}))
        patient = Client(client.settings, policy=jobs_policy())
        with patient:
            jobs.look(patient, Watch("j1", rules(deadline=START + 10)))
        assert tinybird.count("GET /v0/jobs/j1") == 1

    def test_a_wait_without_end(self, clock):
        watch = Watch("j1", rules(deadline=math.inf))
        clock.now += 1e9
        assert watch.saw(job("working")) is None
        assert watch.pause() == 5.0


def jobs_policy():
    from airflow_provider_tinybird.api.retry import RetryPolicy

    return RetryPolicy(max_retries=3, total=300)


class TestFailedLooks:
    @pytest.mark.parametrize(
        "error",
        [
            status_error(ServerError, 502),
            ConnectionFailedError("no route", sent=False),
            ConnectionFailedError("cut", sent=True),
            UnreadableAnswerError("html"),
        ],
    )
    def test_passing_trouble_is_tolerated_so_often(self, clock, error):
        watch = Watch("j1", rules(failures_tolerated=2, outage_tolerated=0))
        assert watch.failed(error) is None
        assert watch.failed(error) is None
        outcome = watch.failed(error)
        assert outcome.ending is Ending.LOST
        assert "3 times in a row" in outcome.message
        assert "may go on running" in outcome.message

    @pytest.mark.parametrize("minutes", [1, 59])
    def test_an_outage_is_outlasted_however_many_looks_fail(self, clock, minutes):
        watch = Watch("j1", rules(deadline=START + 6 * 3600))
        for _ in range(minutes * 12):
            assert watch.failed(status_error(ServerError, 502)) is None
            clock.now += 5
        assert watch.saw(job("done")).ending is Ending.DONE

    def test_an_outage_of_an_hour_is_too_long(self, clock):
        watch = Watch("j1", rules(deadline=START + 6 * 3600))
        assert all(watch.failed(ConnectionFailedError("cut", sent=True)) is None for _ in range(20))
        clock.now += 3600
        assert watch.failed(ConnectionFailedError("cut", sent=True)).ending is Ending.LOST

    @pytest.mark.parametrize(
        "error",
        [
            ApiError("look", "GET", Answer(status, "<html>"))
            for status in (301, 302, 400, 401, 403, 404, 408, 411, 413, 418, 421, 425, 451, 500, 503)
        ]
        + [
            AccessDeniedError("look", "GET", Answer(403, "<html>WAF</html>")),
            NotFoundError("look", "GET", Answer(404, "<html>no such backend</html>")),
            BadRequestError("look", "GET", Answer(408, "slow", from_tinybird=True)),
            BadRequestError("look", "GET", Answer(425, "early", from_tinybird=True)),
            UnreadableAnswerError("the answer describes another job"),
        ],
        ids=str,
    )
    def test_what_tinybird_did_not_say_is_tolerated(self, clock, error):
        watch = Watch("j1", rules())
        for _ in range(10):
            assert watch.failed(error) is None
        assert watch.saw(job("done")).ending is Ending.DONE

    def test_a_404_is_not_believed_within_seconds(self, clock):
        """The first looks follow each other within a second, and a replica may lag."""
        watch = Watch("j1", rules())
        for _ in range(8):
            assert watch.failed(status_error(NotFoundError, 404)) is None
            clock.now += 1
        clock.now += 3
        assert watch.failed(status_error(NotFoundError, 404)).ending is Ending.LOST

    def test_a_wait_that_is_asked_for_is_no_failure(self, clock):
        watch = Watch("j1", rules(deadline=START + 600, failures_tolerated=0, outage_tolerated=0))
        slow = RateLimitedError("look", "GET", Answer(429, "slow down", retry_after=301))
        for _ in range(20):
            assert watch.failed(slow) is None
        assert watch.pause() == 301
        assert watch.pause(0.25) == 301
        clock.now = START + 500
        assert watch.failed(slow) is None
        assert watch.pause() == 100  # never past the deadline
        clock.now = START + 600
        outcome = watch.failed(slow)
        assert outcome.ending is Ending.TIMEOUT
        assert "slow down" in outcome.message

    def test_a_good_look_starts_the_count_anew(self, clock):
        watch = Watch("j1", rules(failures_tolerated=1, outage_tolerated=0))
        for _ in range(5):
            assert watch.failed(status_error(ServerError, 502)) is None
            assert watch.saw(job("working")) is None

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refusal_is_final(self, clock, status):
        outcome = Watch("j1", rules()).failed(status_error(AccessDeniedError, status))
        assert outcome.ending is Ending.LOST
        assert "no luck" in outcome.message
        assert "may go on running" in outcome.message

    def test_404_has_a_count_of_its_own(self, clock):
        watch = Watch("j1", rules(not_found_tolerated=2, not_found_seconds=0))
        for _ in range(5):
            assert watch.failed(status_error(ServerError, 502)) is None
        assert watch.failed(status_error(NotFoundError, 404)) is None
        assert watch.failed(status_error(NotFoundError, 404)) is None
        outcome = watch.failed(status_error(NotFoundError, 404))
        assert outcome.ending is Ending.LOST
        assert "48 hours" in outcome.message
        assert "tinybird.jobs_log" in outcome.message

    def test_what_was_last_seen_is_kept(self, clock):
        watch = Watch("j1", rules(failures_tolerated=0, outage_tolerated=0))
        watch.saw(job("working", pipe_name="daily"))
        outcome = watch.failed(status_error(ServerError, 500))
        assert outcome.job["status"] == "working"
        assert "pipe 'daily'" in outcome.message


class TestWatchJob:
    def test_until_it_is_done(self, clock, client, tinybird):
        tinybird.job("j1", "waiting", "working", "cancelling", "paused", "done")
        outcome = jobs.watch_job(client, Watch("j1", rules()))
        assert outcome.ending is Ending.DONE
        assert tinybird.lines() == ["GET /v0/jobs/j1"] * 5
        assert clock.naps == [0.25, 0.25, 0.5, 1.0]
        assert outcome.waited == 2.0

    def test_looks_often_at_first_and_at_the_interval_later(self, clock, client, tinybird):
        tinybird.job("j1", *["working"] * 9, "done")
        jobs.watch_job(client, Watch("j1", rules()))
        assert clock.naps == [0.25, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]

    def test_the_last_look_is_at_the_deadline(self, clock, client, tinybird):
        tinybird.job("j1", "working")
        outcome = jobs.watch_job(client, Watch("j1", rules(deadline=START + 12)))
        assert outcome.ending is Ending.TIMEOUT
        assert clock.naps == [0.25, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0]

    def test_trouble_in_between(self, clock, client, tinybird):
        tinybird.job("j1", (502, "bad gateway"), (404, {"error": "not yet"}), "working", (503, {}), "done")
        assert jobs.watch_job(client, Watch("j1", rules())).ending is Ending.DONE

    def test_a_wait_that_is_asked_for_lasts_to_the_deadline(self, clock, client, tinybird):
        tinybird.job("j1", "working", (429, b"", {"Retry-After": "301"}))
        outcome = jobs.watch_job(client, Watch("j1", rules(deadline=START + 1000)))
        assert outcome.ending is Ending.TIMEOUT
        assert clock.naps == [0.25, 301.0, 301.0, 301.0, 96.75]

    def test_a_wait_longer_than_the_patience_is_for_the_trigger(self, clock, client, tinybird):
        tinybird.job("j1", (429, b"", {"Retry-After": "301"}))
        assert jobs.watch_job(client, Watch("j1", rules(deadline=START + 1000)), patience=5.0) is None
        assert (clock.naps, tinybird.count("GET /v0/jobs/j1")) == ([], 1)

    @pytest.mark.parametrize("logged", ["j1", "j2"])
    def test_a_job_in_the_log_only(self, clock, client, tinybird, logged):
        tinybird.job("j1", (404, {"error": "unknown"}))
        row = {"job_id": logged, "kind": "copy", "status": "done"}
        tinybird.on("POST /v0/sql", {"data": [row], "meta": [], "rows": 1})
        outcome = jobs.watch_job(client, Watch("j1", rules()))
        assert outcome.ending is (Ending.DONE if logged == "j1" else Ending.LOST)

    def test_patience_ends_without_an_outcome(self, clock, client, tinybird):
        tinybird.job("j1", "working")
        assert jobs.watch_job(client, Watch("j1", rules()), patience=3.0) is None
        assert sum(clock.naps) == 3.0
        assert max(clock.naps) == 1.0

    def test_a_short_job_is_over_within_the_patience(self, clock, client, tinybird):
        tinybird.job("j1", "waiting", "done")
        assert jobs.watch_job(client, Watch("j1", rules()), patience=3.0).ending is Ending.DONE
        assert clock.naps == [0.25]

    def test_a_token_shows_nowhere(self, clock, client, tinybird, caplog):
        caplog.set_level(logging.DEBUG)
        tinybird.job("j1", (502, f"token {tinybird.token}"), "error", error=f"said {tinybird.token}")
        outcome = jobs.watch_job(client, Watch("j1", rules()))
        assert outcome.ending is Ending.FAILED
        assert tinybird.token not in caplog.text
        assert tinybird.token not in json.dumps(outcome.to_payload())


class TestOutcome:
    @pytest.mark.parametrize("ending", list(Ending))
    def test_it_survives_json(self, ending):
        outcome = Outcome(ending=ending, job_id="j1", message="m", waited=1.5, job={"id": "j1", "status": "done"})
        assert Outcome.from_payload(json.loads(json.dumps(outcome.to_payload()))) == outcome

    @pytest.mark.parametrize(
        "payload",
        [None, "done", [], {}, {"ending": "done"}, {"job_id": "j1"}, {"status": "success"}, 7],
    )
    def test_what_is_no_outcome(self, payload):
        with pytest.raises(JobLostError, match=r"no ending of a job.*look it up"):
            Outcome.from_payload(payload)

    def test_an_ending_of_another_version(self):
        with pytest.raises(JobLostError, match=r"job j1 .*unknown ending 'exploded'.*same version"):
            Outcome.from_payload({"ending": "exploded", "job_id": "j1"})

    @pytest.mark.parametrize("version", [2, 99, "new"])
    def test_a_payload_of_another_version(self, version):
        with pytest.raises(JobLostError, match=r"job j1 .*version.*same version"):
            Outcome.from_payload({"ending": "done", "job_id": "j1", "version": version})

    def test_a_payload_with_nonsense_in_it(self):
        with pytest.raises(JobLostError, match="no ending of a job"):
            Outcome.from_payload({"ending": "done", "job_id": "j1", "waited": "long", "job": "gone"})

    def test_a_secret_in_it_does_not_show(self, tinybird):
        with pytest.raises(JobLostError) as caught:
            Outcome.from_payload({"text": tinybird.token})
        assert tinybird.token not in str(caught.value)

    @pytest.mark.parametrize(
        ("ending", "error"),
        [
            (Ending.FAILED, JobFailedError),
            (Ending.CANCELLED, JobCancelledError),
            (Ending.TIMEOUT, JobTimeoutError),
            (Ending.LOST, JobLostError),
        ],
    )
    def test_each_ending_has_its_error(self, ending, error):
        with pytest.raises(error, match=r"It broke\. And a note\."):
            outcomes.job_or_error(Outcome(ending=ending, job_id="j1", message="It broke."), note="And a note.")

    def test_a_done_job_is_returned(self):
        outcome = Outcome(ending=Ending.DONE, job_id="j1", job={"id": "j1", "status": "done", "rows_affected": 7})
        assert outcomes.job_or_error(outcome).rows_affected == 7


class TestCancel:
    def test_it_says_what_became_of_it(self, client, tinybird):
        tinybird.on("POST /v0/jobs/j1/cancel", {"id": "j1", "status": "cancelling"})
        assert jobs.cancel(client, "j1") == "Tinybird was asked to cancel job j1: it is cancelling."
        assert tinybird.only.body == b""

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            ((400, {"error": "Job j1 is not cancellable."}), "refused to cancel job j1: Job j1 is not cancellable"),
            ((404, {"error": "gone"}), "may go on running"),
            ((403, {"error": "no scope"}), "may go on running"),
            ((500, "boom"), "may go on running"),
            ((200, b"no json"), "may go on running"),
        ],
    )
    def test_it_never_raises(self, client, tinybird, answer, said):
        tinybird.on("POST /v0/jobs/j1/cancel", answer)
        sentence = jobs.cancel(client, "j1")
        assert said in sentence
        assert "\n" not in sentence

    def test_nobody_there(self):
        with Client(Settings(base_url="http://127.0.0.1:9", token=Token("t"), max_retries=0)) as client:
            assert "may go on running" in jobs.cancel(client, "j1")


class TestSmallJson:
    def test_it_is_small_and_without_secrets(self, tinybird):
        big = {
            "url": "https://bucket/key.csv?X-Amz-Signature=abc",
            "rows": list(range(1000)),
            "text": "x" * 10_000,
            "deep": {"token": tinybird.token, "pair": (1, None, True)},
        }
        small = outcomes.small_json(big)
        assert small["url"] == "https://bucket/key.csv?***"
        assert len(small["rows"]) == 100
        assert len(small["text"]) < 2100
        assert small["deep"] == {"token": "***", "pair": [1, None, True]}
        json.dumps(small)
