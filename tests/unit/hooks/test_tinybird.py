"""The hook: what each of its methods sends and returns, sync and async, and the test of a connection."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_tinybird.api import datasources, jobs, query
from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    BadRequestError,
    InvalidInputError,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
)
from airflow_provider_tinybird.api.models import EventsResult, Job, JobStatus
from airflow_provider_tinybird.api.transport import Transport
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

ROWS = {"meta": [{"name": "n", "type": "UInt64"}], "data": [{"n": 1}], "rows": 1, "statistics": {}}


@pytest.fixture
def hook(tinybird) -> TinybirdHook:
    return TinybirdHook()


class TestByHand:
    @pytest.mark.parametrize("data", [[{"a": 1}], {"a": 1}, '{"a":1}', pd.DataFrame({"a": [1]}), lambda: [{"a": 1}]])
    def test_send_events(self, hook, tinybird, data):
        tinybird.on("POST /v0/events", {"successful_rows": 1, "quarantined_rows": 0})
        result = hook.send_events("flights", data)
        assert isinstance(result, EventsResult)
        assert (result.successful_rows, result.quarantined_rows) == (1, 0)
        assert (result.batches, result.bytes) == (1, len(tinybird.only.body))
        assert tinybird.only.query == {"name": "flights", "wait": "true"}
        assert tinybird.only.body == b'{"a":1}\n'

    def test_append_url(self, hook, tinybird):
        tinybird.on("POST /v0/datasources", {"id": "j1", "import_id": "i1", "status": "waiting"})
        job = hook.append_url("flights", "https://host/x.csv")
        assert isinstance(job, Job)
        assert (job.id, job.status) == ("j1", JobStatus.WAITING)
        assert tinybird.only.query == {"mode": "append", "name": "flights", "format": "csv"}

    def test_append_file(self, hook, tinybird, tmp_path):
        place = tmp_path / "x.ndjson"
        place.write_bytes(b'{"a":1}\n')
        tinybird.on("POST /v1/datasources/flights/append", {"id": "j1"})
        assert hook.append_file("flights", place).id == "j1"
        assert (tinybird.only.query, tinybird.only.body) == ({"format": "ndjson"}, b'{"a":1}\n')

    def test_truncate(self, hook, tinybird):
        tinybird.on("POST /v0/datasources/flights/truncate", (200, b""))
        assert hook.truncate("flights").result is None

    def test_delete_rows(self, hook, tinybird):
        tinybird.on("POST /v0/datasources/flights/delete", {"job_id": "j1", "job": {"id": "j1", "status": "waiting"}})
        assert hook.delete_rows("flights", "a = 1").id == "j1"
        assert tinybird.only.form == {"delete_condition": "a = 1"}

    def test_run_copy(self, hook, tinybird):
        tinybird.on("POST /v0/pipes/daily/copy", {"id": "node", "job": {"job_id": "j1", "status": "waiting"}})
        assert hook.run_copy("daily", {"day": "2013-01-01"}, "append").id == "j1"
        assert tinybird.only.query == {"day": "2013-01-01", "_mode": "append"}

    def test_run_sink(self, hook, tinybird):
        tinybird.on("POST /v0/pipes/out/sink", {"id": "node", "job": {"job_id": "j1", "status": "waiting"}})
        assert hook.run_sink("out").id == "j1"

    def test_query(self, hook, tinybird):
        tinybird.on("POST /v0/sql", ROWS)
        assert hook.query("SELECT 1 AS n").data == ({"n": 1},)

    def test_query_df(self, hook, tinybird):
        out = io.BytesIO()
        pq.write_table(pa.table({"n": pa.array([1, None], pa.int64())}), out)
        types = {"meta": [{"name": "n", "type": "Nullable(Int64)"}], "data": [], "rows": 0}
        tinybird.on("POST /v0/sql", (200, out.getvalue()), types)
        frame = hook.query_df("SELECT n FROM t FORMAT Parquet;")
        assert (list(frame.columns), str(frame.dtypes["n"])) == (["n"], "Int64")
        assert [" ".join(request.form["q"].split()) for request in tinybird.requests] == [
            "SELECT n FROM t FORMAT Parquet",
            "SELECT * FROM ( SELECT n FROM t ) LIMIT 0 FORMAT JSON",
        ]

    def test_query_df_without_the_types(self, hook, tinybird, caplog):
        out = io.BytesIO()
        pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"]), out)
        refused = (400, {"error": "Column n is ambiguous"})
        tinybird.on("POST /v0/sql", (200, out.getvalue()), refused)
        frame = hook.query_df("SELECT 1 AS n, 2 AS n")
        assert frame.to_numpy().tolist() == [[1, 2]]
        assert "types of the columns are those of Parquet" in caplog.text

    def test_query_to_file(self, hook, tinybird, tmp_path):
        tinybird.on("POST /v0/sql", (200, b"PAR1"))
        assert hook.query_to_file("SELECT 1", tmp_path / "x.parquet") == 4
        assert (tmp_path / "x.parquet").read_bytes() == b"PAR1"
        assert tinybird.only.form["output_format_parquet_string_as_string"] == "1"

    def test_call_endpoint(self, hook, tinybird):
        tinybird.on("GET /v0/pipes/top.json", ROWS)
        assert hook.call_endpoint("top", {"carrier": "UA"}).rows == 1
        assert tinybird.only.query == {"carrier": "UA"}

    def test_get_job(self, hook, tinybird):
        tinybird.job("j1", "working")
        assert hook.get_job("j1").status is JobStatus.WORKING

    def test_cancel_job(self, hook, tinybird):
        tinybird.on("POST /v0/jobs/j1/cancel", {"id": "j1", "status": "cancelling"}, (400, {"error": "too late"}))
        assert hook.cancel_job("j1").status is JobStatus.CANCELLING
        with pytest.raises(BadRequestError, match="too late"):
            hook.cancel_job("j1")

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            (lambda hook: hook.run_copy("daily", mode="upsert"), "upsert"),
            (lambda hook: hook.append_url("flights", "https://x/y.csv", mode="create"), "create"),
            (lambda hook: hook.append_url("flights", "https://x/y.csv", replace_condition="a"), "mode='replace'"),
            (lambda hook: hook.append_file("flights", "/nowhere/x.csv"), "no file '/nowhere/x.csv'"),
            (lambda hook: hook.delete_rows("flights", " "), "delete_condition is blank"),
            (lambda hook: hook.send_events("flights", [{"a": object()}]), "column 'a'"),
            (lambda hook: hook.send_events("flights", [{"a": 1}], compression="zstd"), "'gzip'"),
            (lambda hook: hook.query(""), "blank"),
            (lambda hook: hook.query("SELECT 1 FORMAT CSV"), "FORMAT CSV"),
            (lambda hook: hook.get_job(""), "job"),
        ],
    )
    def test_bad_input_sends_nothing(self, hook, tinybird, call, said):
        with pytest.raises(InvalidInputError, match=said):
            call(hook)
        assert tinybird.requests == []


class TestWaiting:
    def test_done(self, hook, tinybird, clock):
        tinybird.job("j1", "waiting", "working", "done")
        assert hook.wait_for_job("j1").status is JobStatus.DONE

    @pytest.mark.parametrize(("status", "error"), [("error", JobFailedError), ("cancelled", JobCancelledError)])
    def test_not_well(self, hook, tinybird, clock, status, error):
        tinybird.job("j1", "working", status, error="no memory")
        with pytest.raises(error, match="no memory") as caught:
            hook.wait_for_job("j1")
        assert caught.value.job.id == "j1"

    def test_time_runs_out(self, hook, tinybird, clock):
        tinybird.job("j1", "working")
        with pytest.raises(JobTimeoutError, match="after 30 s"):
            hook.wait_for_job("j1", timeout=30)
        assert {request.method for request in tinybird.requests} == {"GET"}


class TestClients:
    def test_any_call(self, hook, tinybird):
        tinybird.on("GET /v0/datasources", {"datasources": [{"id": "t_1", "name": "flights"}]})
        assert hook.send(datasources.list_datasources())[0].name == "flights"
        assert hook.client is hook.get_conn()

    async def test_async(self, tinybird):
        tinybird.job("j1", "done")
        tinybird.on("POST /v0/sql", ROWS)
        hook = TinybirdHook()
        async with hook.async_client() as client:
            job, rows = await asyncio.gather(client.send(jobs.get_job("j1")), client.send(query.sql("SELECT 1")))
        assert (job.id, rows.rows) == ("j1", 1)
        assert {request.headers["authorization"] for request in tinybird.requests} == {f"Bearer {tinybird.token}"}

    async def test_many_at_once_share_what_is_dear(self, tinybird):
        tinybird.job("j1", "done")

        async def one() -> str:
            async with TinybirdHook().async_client() as client:
                return (await client.send(jobs.get_job("j1"))).id

        assert await asyncio.gather(*(one() for _ in range(30))) == ["j1"] * 30
        async with TinybirdHook().async_client() as client:  # and after the last one has closed it
            assert (await client.send(jobs.get_job("j1"))).id == "j1"

    def test_a_new_loop_gets_a_new_client(self, tinybird):
        tinybird.job("j1", "done")

        async def one() -> str:
            async with TinybirdHook().async_client() as client:
                return (await client.send(jobs.get_job("j1"))).id

        assert [asyncio.run(one()) for _ in range(3)] == ["j1"] * 3

    def test_another_connection(self, tinybird, connection):
        tinybird.job("j1", "done")
        connection(tinybird.url, "other-token", conn_id="other")
        TinybirdHook("other").get_job("j1")
        assert tinybird.only.headers["authorization"] == "Bearer other-token"

    def test_making_one_looks_nothing_up(self, monkeypatch):
        monkeypatch.delenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", raising=False)
        assert "settings" not in vars(TinybirdHook())


class TestConnection:
    @pytest.mark.parametrize(("is_forward", "said"), [(True, " (Forward)"), (False, " (Classic)"), (None, "")])
    def test_admin_token(self, hook, tinybird, is_forward, said):
        tinybird.on("GET /v0/workspace", {"id": "w", "name": "flights_ws", "is_forward": is_forward})
        assert hook.test_connection() == (True, f"Connected to workspace 'flights_ws'{said} at {tinybird.url}.")
        assert tinybird.lines() == ["GET /v0/workspace"]  # the v1 route fails on Classic workspaces

    def test_narrow_token(self, hook, tinybird):
        tinybird.on("GET /v0/workspace", (403, {"error": "no"}))
        tinybird.on("GET /v0/auth", {"is_valid": True, "is_user": False})
        worked, said = hook.test_connection()
        assert worked
        assert "valid but narrow" in said

    def test_bad_token(self, hook, tinybird):
        tinybird.on("GET /v0/workspace", (403, {"error": "invalid authentication token"}))
        tinybird.on("GET /v0/auth", {"is_valid": False, "is_user": False})
        worked, said = hook.test_connection()
        assert not worked
        assert "does not know the token" in said
        assert "Password and Host" in said

    def test_auth_refuses_too(self, hook, tinybird):
        tinybird.on("GET /v0/workspace", (403, {"error": "invalid authentication token"}))
        tinybird.on("GET /v0/auth", (403, {"error": "no"}))
        assert hook.test_connection()[0] is False

    def test_another_workspace_than_expected(self, tinybird, connection):
        connection(tinybird.url, tinybird.token, workspace="production")
        tinybird.on("GET /v0/workspace", {"id": "w", "name": "staging"})
        assert TinybirdHook().test_connection() == (
            False,
            "The token belongs to workspace 'staging', the connection expects 'production'.",
        )

    def test_wrong_region(self, tinybird, connection, monkeypatch):
        def answer(_: Any, request: httpx.Request) -> httpx.Response:
            return httpx.Response(403, json={"error": "invalid authentication token"}, request=request)

        monkeypatch.setattr(Transport, "handle_request", answer)
        connection("https://api.us-east.tinybird.co", tinybird.token)
        worked, said = TinybirdHook().test_connection()
        assert not worked
        assert "the token belongs to region gcp-europe-west3 (https://api.tinybird.co)" in said
        assert "https://api.us-east.tinybird.co" in said
        connection("https://api.us-east.tinybird.co", tinybird.token)
        with pytest.raises(AccessDeniedError, match="the token belongs to region gcp-europe-west3"):
            TinybirdHook().query("SELECT 1")

    def test_nobody_listening_is_told_at_once(self, connection, monkeypatch):
        naps: list[float] = []
        monkeypatch.setattr("tenacity.nap.sleep", naps.append)
        connection("http://127.0.0.1:9", "t")
        worked, said = TinybirdHook().test_connection()
        assert (worked, "no connection to http://127.0.0.1:9" in said) == (False, True)
        assert sum(naps) < 5

    def test_a_proxy_that_is_not_there(self, tinybird, connection, monkeypatch):
        monkeypatch.setattr("tenacity.nap.sleep", lambda _: None)
        connection(tinybird.url, "t", proxy="http://127.0.0.1:9")
        worked, said = TinybirdHook().test_connection()
        assert not worked
        assert f"no connection to {tinybird.url} through the proxy" in said
        assert "Check Host of connection 'tinybird_default', the network and the proxy." in said

    def test_a_host_that_is_none_of_tinybirds(self, hook, tinybird):
        tinybird.on("GET .*", (200, b"<html>hello</html>"))
        worked, said = hook.test_connection()
        assert not worked
        assert "something else answering" in said

    @pytest.mark.parametrize("host", ["ftp://x", "http://api.tinybird.co", "https://"])
    def test_a_host_that_cannot_be(self, connection, host):
        connection(host, "t")
        worked, said = TinybirdHook().test_connection()
        assert not worked
        assert "Host" in said

    def test_no_token(self, connection):
        connection("https://api.tinybird.co", None)
        worked, said = TinybirdHook().test_connection()
        assert not worked
        assert said.startswith("Password is empty. ")  # without the id: forms make one up for what they test

    def test_no_connection(self):
        worked, said = TinybirdHook("nowhere").test_connection()
        assert not worked
        assert "nowhere" in said

    def test_certificates_that_are_not_there(self, connection):
        connection("https://api.tinybird.co", "p.secret-token-of-ours", verify="/nowhere/ca.pem")
        worked, said = TinybirdHook().test_connection()
        assert not worked
        assert "p.secret" not in said

    @pytest.mark.parametrize("status", [401, 403, 404, 500, 302])
    def test_no_message_holds_the_token(self, hook, tinybird, logs, status):
        tinybird.on("GET .*", (status, {"error": f"no {tinybird.token}"}, {"Location": "https://x/y"}))
        worked, said = hook.test_connection()
        assert not worked
        assert tinybird.token not in said + logs.text + json.dumps(tinybird.lines())
