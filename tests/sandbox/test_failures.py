"""Bad input and faults: a clear error that names what to change, nothing half done, and nothing done twice."""

from __future__ import annotations

import json
import os
import threading
import time
from functools import partial
from typing import Any

import pytest

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api.errors import JobCancelledError, JobFailedError, JobTimeoutError, TinybirdError
from airflow_provider_tinybird.api.transport import Transport
from airflow_provider_tinybird.jobs import start
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.pipes import (
    TinybirdCopyOperator,
    TinybirdEndpointOperator,
    TinybirdSinkOperator,
)
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

ROW = {"day": "2013-03-01", "carrier": "DL", "delay": 1}

URL, FILE, EVENTS = TinybirdAppendUrlOperator, TinybirdAppendFileOperator, TinybirdEventsOperator
COPY, DELETE, QUERY, ENDPOINT = (
    TinybirdCopyOperator,
    TinybirdDeleteOperator,
    TinybirdQueryOperator,
    TinybirdEndpointOperator,
)
TRUNCATE, SINK = TinybirdTruncateOperator, TinybirdSinkOperator


def given(box: Any, folder: Any) -> dict[str, str]:
    """Names that the cases below refer to."""
    (folder / "good.csv").write_text("day,carrier,delay\n2013-03-01,DL,1\n")
    (folder / "empty.csv").write_text("")
    (folder / "table.xlsx").write_text("x")
    (folder / "plain").write_text("x")
    return {"url": box.url, "files": str(folder)}


CASES = {
    "unknown data source: url": (URL, {"datasource": "nope", "url": "{url}/files/flights.csv"}, ["nope"]),
    "unknown data source: file": (FILE, {"datasource": "nope", "path": "{files}/good.csv"}, ["nope"]),
    "unknown data source: delete": (DELETE, {"datasource": "nope", "delete_condition": "delay = 1"}, ["nope"]),
    "unknown data source: truncate": (TRUNCATE, {"datasource": "nope"}, ["nope"]),
    "unknown pipe: copy": (COPY, {"pipe": "nope"}, ["nope"]),
    "unknown pipe: sink": (SINK, {"pipe": "nope"}, ["nope"]),
    "unknown pipe: endpoint": (ENDPOINT, {"pipe": "nope"}, ["nope"]),
    "unknown pipe: pipeline": (QUERY, {"sql": "SELECT * FROM _", "pipeline": "nope"}, ["nope"]),
    "no copy pipe": (COPY, {"pipe": "top"}, ["top", "copy"]),
    "bad SQL": (QUERY, {"sql": "SELECT nope FROM flights"}, ["nope"]),
    "bad SQL: syntax": (QUERY, {"sql": "SELEKT 1"}, ["SELEKT"]),
    "bad SQL: not a SELECT": (QUERY, {"sql": "DROP TABLE flights"}, ["SELECT"]),
    "bad SQL: unknown table": (QUERY, {"sql": "SELECT * FROM nowhere"}, ["nowhere"]),
    "bad parameter": (ENDPOINT, {"pipe": "top", "parameters": {"at_least": "many"}}, ["at_least"]),
    "bad parameter of a copy": (COPY, {"pipe": "copy_totals", "parameters": {"at_least": "many"}}, ["at_least"]),
    "bad condition": (DELETE, {"datasource": "flights", "delete_condition": "nope = 1"}, ["nope"]),
    "empty condition": (DELETE, {"datasource": "flights", "delete_condition": " "}, ["delete_condition", "truncate"]),
    "blank replace_condition": (
        URL,
        {"datasource": "flights", "url": "{url}/files/flights.csv", "mode": "replace", "replace_condition": " "},
        ["replace_condition"],
    ),
    "bad replace_condition": (
        FILE,
        {"datasource": "flights", "path": "{files}/good.csv", "mode": "replace", "replace_condition": "nope = 1"},
        ["nope"],
    ),
    "replace_condition without replace": (
        FILE,
        {"datasource": "flights", "path": "{files}/good.csv", "replace_condition": "delay = 1"},
        ["mode='replace'"],
    ),
    "bad mode: import": (
        URL,
        {"datasource": "flights", "url": "https://x/y", "mode": "upsert"},
        ["upsert", "'append'"],
    ),
    "bad mode: copy": (COPY, {"pipe": "copy_totals", "mode": "upsert"}, ["upsert", "'append'"]),
    "unknown format": (URL, {"datasource": "flights", "url": "https://x/y", "format": "xls"}, ["xls", "parquet"]),
    "unknown format: endpoint": (ENDPOINT, {"pipe": "top", "format": "xls"}, ["xls", "parquet"]),
    "unknown format: query": (QUERY, {"sql": "SELECT 1", "format": "Xls"}, ["Xls"]),
    "a format that its name does not tell": (FILE, {"datasource": "flights", "path": "{files}/plain"}, ["format="]),
    "file missing": (FILE, {"datasource": "flights", "path": "{files}/gone.csv"}, ["gone.csv"]),
    "a folder": (FILE, {"datasource": "flights", "path": "{files}"}, ["folder"]),
    "an empty file": (FILE, {"datasource": "flights", "path": "{files}/empty.csv"}, ["empty.csv", "empty"]),
    "an unknown ending": (FILE, {"datasource": "flights", "path": "{files}/table.xlsx"}, ["table.xlsx", "format="]),
    "no URL": (URL, {"datasource": "flights", "url": "{files}/good.csv"}, ["http"]),
    "a name that is none": (EVENTS, {"datasource": "a b/../c", "data": [ROW]}, ["a b/../c"]),
    "reserved name: parameter": (ENDPOINT, {"pipe": "top", "parameters": {"q": "SELECT 1"}}, ["'q'"]),
    "reserved name: token": (COPY, {"pipe": "copy_totals", "parameters": {"token": "x"}}, ["token"]),
    "unserialisable value": (
        EVENTS,
        {"datasource": "flights", "data": [ROW, {**ROW, "delay": object()}]},
        ["'delay'", "row 1"],
    ),
    "not a number": (EVENTS, {"datasource": "flights", "data": [{**ROW, "delay": 1j}]}, ["'delay'", "row 0"]),
    "no rows in it": (EVENTS, {"datasource": "flights", "data": 42}, ["int"]),
    "unknown compression": (EVENTS, {"datasource": "flights", "data": [ROW], "compression": "lzma"}, ["lzma", "gzip"]),
    "negative timeout": (COPY, {"pipe": "copy_totals", "timeout": -5}, ["timeout=-5"]),
    "no interval": (COPY, {"pipe": "copy_totals", "poll_interval": 0}, ["poll_interval=0"]),
    "a place that cannot be written": (
        QUERY,
        {"sql": "SELECT 1", "format": "CSV", "output_path": "{files}/plain/out.csv"},
        ["output_path", "plain/out.csv"],
    ),
    "a folder to write to": (
        ENDPOINT,
        {"pipe": "top", "format": "csv", "output_path": "{files}"},
        ["output_path", "folder"],
    ),
    "binary without a place": (QUERY, {"sql": "SELECT 1", "format": "Parquet"}, ["output_path"]),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input(box, run_here, tmp_path, case):
    box.fill()
    cls, arguments, words = CASES[case]
    names = given(box, tmp_path)
    filled = {key: value.format(**names) if isinstance(value, str) else value for key, value in arguments.items()}
    with pytest.raises(AirflowFailException) as caught:
        run_here(cls, **filled)
    message = str(caught.value)
    print(f"\n[{case}]\n  {message}")
    assert [word for word in words if word not in message] == []
    assert box.token not in message
    assert "Traceback" not in message
    assert len(message) < 1500
    assert (box.count(), box.count("totals")) == (4, 0)
    assert [job for job in box.jobs() if job["kind"] != "import" or job["status"] != "error"] == []


NARROW = {
    "events": (EVENTS, {"datasource": "flights", "data": [ROW]}, "DATASOURCES:APPEND"),
    "append": (URL, {"datasource": "flights", "url": "{url}/files/flights.csv"}, "DATASOURCES:CREATE"),
    "truncate": (TRUNCATE, {"datasource": "flights"}, "DATASOURCES:CREATE"),
    "delete": (DELETE, {"datasource": "flights", "delete_condition": "delay = 1"}, "DATASOURCES:CREATE"),
    "copy": (COPY, {"pipe": "copy_totals"}, "PIPES:READ:copy_totals"),
    "endpoint": (ENDPOINT, {"pipe": "top"}, "PIPES:READ:top"),
    "query": (QUERY, {"sql": "SELECT count() FROM flights"}, "DATASOURCES:READ"),
}


@pytest.mark.parametrize("case", NARROW, ids=str)
def test_missing_scope(box, connection, run_here, case):
    box.fill()
    cls, arguments, scope = NARROW[case]
    token = box.narrow_token("DATASOURCES:READ:totals")
    connection(box.url, token)
    filled = {key: value.format(url=box.url) if isinstance(value, str) else value for key, value in arguments.items()}
    with pytest.raises(AirflowFailException) as caught:
        run_here(cls, **filled)
    print(f"\n[missing scope: {case}]\n  {caught.value}")
    assert scope in str(caught.value)
    assert token not in str(caught.value)
    assert (box.count(), box.count("totals")) == (4, 0)


def test_events_for_an_unknown_data_source(box, connection, run_here):
    """A Classic workspace makes it for a token that may create; for one that may not, it is an error."""
    connection(box.url, box.narrow_token("DATASOURCES:APPEND:flights"))
    with pytest.raises(AirflowFailException, match="nope"):
        run_here(EVENTS, datasource="nope", data=[ROW])


def test_a_url_that_answers_404(box, run):
    box.fill()
    with pytest.raises((JobFailedError, AirflowFailException)) as caught:
        run(URL, datasource="flights", url=f"{box.url}/files/gone.csv?X-Amz-Signature=abcdef")
    print(f"\n[url 404]\n  {caught.value}")
    assert "404" in str(caught.value)
    assert "gone.csv" in str(caught.value)
    assert "abcdef" not in str(caught.value)
    assert box.count() == 4


def test_nobody_at_the_url(box, run):
    box.fill()
    with pytest.raises((JobFailedError, AirflowFailException)) as caught:
        run(URL, datasource="flights", url="http://127.0.0.1:9/x.csv")
    print(f"\n[url nobody]\n  {caught.value}")
    assert box.count() == 4


class TestConnection:
    def test_none(self, box, monkeypatch, run_here):
        monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT")
        with pytest.raises(Exception, match="tinybird_default") as caught:
            run_here(COPY, pipe="copy_totals")
        print(f"\n[no connection]\n  {caught.value}")

    def test_without_a_token(self, box, connection, run_here):
        connection(box.url, None)
        with pytest.raises(AirflowFailException, match=r"'tinybird_default'.*Password") as caught:
            run_here(COPY, pipe="copy_totals")
        print(f"\n[no token]\n  {caught.value}")

    def test_with_a_token_that_nobody_knows(self, box, connection, run_here):
        connection(box.url, "p.eyJ1IjoieCJ9.nobody")
        with pytest.raises(AirflowFailException) as caught:
            run_here(COPY, pipe="copy_totals")
        print(f"\n[unknown token]\n  {caught.value}")
        assert "nobody" not in str(caught.value)

    def test_of_another_region(self, connection, run_here, monkeypatch):
        import httpx

        token = "p.eyJ1IjoidSIsImlkIjoiaSIsImhvc3QiOiJnY3AtZXVyb3BlLXdlc3QzIn0.bm90LWEtcmVhbC1zaWduYXR1cmU"

        def refuse(_: Any, request: httpx.Request) -> httpx.Response:
            return httpx.Response(403, json={"error": "invalid authentication token"}, request=request)

        monkeypatch.setattr(Transport, "handle_request", refuse)
        connection("https://api.us-east.tinybird.co", token)
        with pytest.raises(AirflowFailException) as caught:
            run_here(COPY, pipe="copy_totals")
        print(f"\n[wrong region]\n  {caught.value}")
        assert "belongs to region gcp-europe-west3 (https://api.tinybird.co)" in str(caught.value)


class TestFaults:
    def test_429_is_waited_for(self, box, run):
        box.fill()
        box.fault("/copy$", status=429, headers={"Retry-After": "0.1"}, body={"error": "slow down"}, times=2)
        run(COPY, pipe="copy_totals")
        assert box.count("totals") == 3
        assert [one["status"] for one in box.seen("POST", "/copy")] == [429, 429, 200]

    def test_503_of_events_means_that_nothing_was_taken(self, box, run_here):
        box.fault("/v0/events", status=503, headers={"Retry-After": "0.1"}, body={"error": "overloaded"})
        assert run_here(EVENTS, datasource="flights", data=[ROW])["successful_rows"] == 1
        assert box.count() == 1

    @pytest.mark.parametrize(
        "fault", [{"cut": "after"}, {"cut": "before"}, {"status": 500, "body": "boom"}, {"status": 502}]
    )
    def test_events_are_never_sent_twice(self, box, run_here, fault):
        box.fault("/v0/events", **fault)
        with pytest.raises(AirflowFailException, match="Unknown whether they are in: row 0") as caught:
            run_here(EVENTS, datasource="flights", data=[ROW])
        print(f"\n[events {fault}]\n  {caught.value}")
        assert len(box.seen("POST", "/v0/events")) == 1
        assert box.count() == (1 if fault == {"cut": "after"} else 0)

    @pytest.mark.parametrize("fault", [{"cut": "after"}, {"status": 500, "body": "boom"}])
    @pytest.mark.parametrize("kind", ["file", "url"])
    def test_appends_are_never_sent_twice(self, box, run_here, tmp_path, monkeypatch, fault, kind):
        """The answer to the submit was lost. The rows are in once, or not at all; never twice."""
        monkeypatch.setattr(start, "_LOOKS", (0.0, 0.1))
        place = tmp_path / "x.csv"
        place.write_text("day,carrier,delay\n2013-03-01,DL,1\n")
        path = "/v1/datasources/flights/append" if kind == "file" else "/v0/datasources"
        box.fault(f"{path}$", method="POST", **fault)
        if kind == "file":
            arguments: dict[str, Any] = {"path": str(place)}
        else:
            (box.files / "one.csv").write_text(place.read_text())
            arguments = {"url": f"{box.url}/files/one.csv"}
        run = partial(run_here, FILE if kind == "file" else URL, datasource="flights", poll_interval=0.05, **arguments)
        is_found = kind == "url" and "cut" in fault  # an import's job shows its URL, but nothing of a file
        if is_found:
            assert run()["status"] == "done"
        else:
            with pytest.raises(AirflowFailException, match="It is not known whether Tinybird did this") as caught:
                run()
            print(f"\n[append {kind} {fault}]\n  {caught.value}")
        assert len(box.seen("POST", path)) == 1
        box.wait_for_jobs()
        assert box.count() == (1 if "cut" in fault else 0)

    def test_a_replace_is_sent_again(self, box, run):
        box.fill()
        box.fault("/v0/datasources$", method="POST", cut="after")
        run(URL, datasource="flights", url=f"{box.url}/files/flights.csv", mode="replace")
        assert box.count() == 4
        assert len(box.seen("POST", "/v0/datasources")) >= 2

    @pytest.mark.parametrize("fault", [{"status": 502, "body": "<html>"}, {"cut": "before"}], ids=["502", "cut"])
    def test_trouble_while_polling(self, box, connection, run, fault):
        connection(box.url, box.token, max_retries=0)  # so that each fault is one failed look
        box.fill()
        box.plan_job("copy_totals", delay=0.3)
        box.fault("/v0/jobs/", method="GET", times=4, **fault)
        run(COPY, pipe="copy_totals")
        assert box.count("totals") == 3
        assert len(box.seen("POST", "/copy")) == 1

    def test_a_query_is_read_again(self, box, run_here):
        box.fault("/v0/sql", cut="after")
        assert run_here(QUERY, sql="SELECT 1 AS n")["data"] == [{"n": 1}]

    def test_a_download_that_broke_leaves_no_file(self, box, connection, run_here, tmp_path):
        connection(box.url, box.token, max_retries=0)
        box.fault("/v0/sql", status=500, body="boom")
        with pytest.raises(TinybirdError):
            run_here(QUERY, sql="SELECT 1", format="CSV", output_path=str(tmp_path / "x.csv"))
        assert os.listdir(tmp_path) == []


class TestJobs:
    def test_a_failed_job_tells_why(self, box, run):
        box.plan_job("copy_totals", error="Memory limit exceeded", delay=0.2)
        with pytest.raises(JobFailedError, match=r"copy_totals.*failed after \d+ s: Memory limit exceeded") as caught:
            run(COPY, pipe="copy_totals")
        print(f"\n[failed job]\n  {caught.value}")

    def test_the_deadline_cancels(self, box, run):
        box.plan_job("copy_totals", hold="waiting")
        with pytest.raises(JobTimeoutError) as caught:
            run(COPY, pipe="copy_totals", timeout=0.5)
        print(f"\n[deadline]\n  {caught.value}")
        assert "was still 'waiting'" in str(caught.value)
        (job,) = box.jobs()
        assert job["status"] in ("cancelling", "cancelled")
        assert len(box.seen("POST", f"/{job['id']}/cancel")) == 1
        assert box.count("totals") == 0

    def test_a_kill_cancels_this_job_and_no_other(self, box, monkeypatch):
        box.plan_job("copy_totals", hold="waiting", times=2)
        other = COPY(task_id="other", pipe="copy_totals", wait_for_completion=False).execute({})["job_id"]
        operator = COPY(task_id="t", pipe="copy_totals", poll_interval=0.05, timeout=30)

        def kill() -> None:
            deadline = time.monotonic() + 20
            while len(box.jobs()) < 2 or not any(box.seen("GET", f"/{job['id']}") for job in box.jobs()):
                assert time.monotonic() < deadline
            operator.on_kill()

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(JobCancelledError):
            operator.execute({})
        thread.join(20)
        assert {job["id"]: job["status"] for job in box.jobs()}[other] == "waiting"
        assert len([one for job in box.jobs() for one in box.seen("POST", f"/{job['id']}/cancel")]) == 1

    def test_cancelled_by_somebody_else(self, box, run_here):
        box.plan_job("copy_totals", hold="waiting")
        from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

        job = TinybirdHook().run_copy("copy_totals")
        TinybirdHook().cancel_job(job.id)
        with pytest.raises(JobCancelledError, match="was cancelled"):
            TinybirdHook().wait_for_job(job.id, poll_interval=0.05)


def test_a_load_that_breaks_in_between_tells_what_is_in(box, run_here, monkeypatch):
    """And the rows in the table are those that it tells."""
    from airflow_provider_tinybird.loads import LoadOptions

    monkeypatch.setitem(LoadOptions.__init__.__kwdefaults__, "max_bytes", 100)  # two rows
    box.fault("/v0/events", delay=0, times=2)
    box.fault("/v0/events", cut="after")
    with pytest.raises(AirflowFailException) as caught:
        run_here(EVENTS, datasource="flights", data=[{**ROW, "delay": number} for number in range(20)], max_in_flight=1)
    print(f"\n[load interrupted]\n  {caught.value}")
    assert "In: rows 0 to 3 (2 batches). Unknown whether they are in: rows 4 to 5 (1 batch)." in str(caught.value)
    assert box.count() == 6
    json.dumps(str(caught.value))
