"""What each operator sends, byte by byte, and what it puts into XCom."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime
from typing import Any

import pandas as pd
import pytest

from airflow_provider_tinybird._compat import AirflowFailException
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
    TinybirdPopulateOperator,
    TinybirdSinkOperator,
)
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

pytestmark = pytest.mark.usefixtures("clock")
ROWS = {
    "meta": [{"name": "n", "type": "UInt64"}],
    "data": [{"n": 1}],
    "rows": 1,
    "rows_before_limit_at_least": 7,
    "statistics": {"elapsed": 0.001, "rows_read": 1, "bytes_read": 8},
}
DELETE_KEYS = {"id", "job_id", "delete_id", "job_url", "status", "job", "rows_affected", "rows_before", "rows_after"}
RESULT_KEYS = {"data", "meta", "rows", "rows_before_limit_at_least", "statistics"}


def run(cls: type[Any], **arguments: Any) -> Any:
    value = cls(task_id="t", **arguments).execute({})
    assert json.loads(json.dumps(value)) == value
    return value


class TestImports:
    KEYS = (
        "id",
        "import_id",
        "job_id",
        "job_url",
        "status",
        "job",
        "datasource",
        "rows",
        "quarantine_rows",
        "invalid_lines",
    )

    @pytest.fixture(autouse=True)
    def _accept(self, tinybird):
        job = tinybird.job(
            "j1", "done", kind="import", datasource={"id": "t_1", "name": "flights"}, quarantine_rows=0, invalid_lines=0
        )
        answer = {
            "id": "j1",
            "job_id": "j1",
            "import_id": "i1",
            "job": job,
            "job_url": "http://localhost:8001/v0/jobs/j1",
        }
        tinybird.on("POST /v0/datasources", {**answer, "status": "waiting"})
        tinybird.on("POST /v1/datasources/flights/(append|replace)", {**answer, "status": "waiting"})
        tinybird.on("POST /v0/sql", {"data": [{"c": 3}]})

    def sent(self, tinybird):
        """The one request that is no question."""
        [sent] = [one for one in tinybird.requests if one.method == "POST" and one.path != "/v0/sql"]
        return sent

    def test_append_url(self, tinybird):
        value = run(TinybirdAppendUrlOperator, datasource="flights", url="https://host/a%20b.csv?sig=x%2F&y=1")
        sent = tinybird.requests[0]
        assert sent.line == "POST /v0/datasources"
        assert sent.query == {"mode": "append", "name": "flights", "format": "csv"}
        assert sent.form == {"url": "https://host/a%20b.csv?sig=x%2F&y=1"}
        assert set(value) == set(self.KEYS)
        assert value["job_url"] == f"{tinybird.url}/v0/jobs/j1"  # not the host inside the container
        assert value["datasource"] == {"id": "t_1", "name": "flights"}
        assert (value["job_id"], value["status"]) == ("j1", "done")

    def test_replace_url(self, tinybird):
        run(
            TinybirdAppendUrlOperator,
            datasource="flights",
            url="https://host/x.ndjson",
            format="ndjson",
            mode="replace",
            replace_condition="day = '2013-01-01'",
        )
        assert self.sent(tinybird).query == {
            "mode": "replace",
            "name": "flights",
            "format": "ndjson",
            "replace_condition": "day = '2013-01-01'",
        }

    @pytest.mark.parametrize("mode", ["append", "replace"])
    def test_file(self, tinybird, tmp_path, mode):
        place = tmp_path / "x.csv.gz"
        place.write_bytes(gzip.compress(b"a,b\n1,2\n"))
        value = run(TinybirdAppendFileOperator, datasource="flights", path=str(place), mode=mode)
        sent = self.sent(tinybird)
        assert sent.line == f"POST /v1/datasources/flights/{mode}"
        assert sent.query == {"format": "csv"}
        assert sent.body == place.read_bytes()
        assert (sent.headers["content-type"], sent.headers["content-encoding"]) == ("text/csv", "gzip")
        assert sent.headers["content-length"] == str(len(sent.body))
        assert set(value) == {*self.KEYS, *(("rows_before", "rows_after") if mode == "replace" else ())}

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"format": "excel"}, "csv, ndjson, parquet"),
            ({"mode": "upsert"}, "give 'append' or 'replace'"),
            ({"replace_condition": "a = 1"}, "replace_condition goes with mode='replace'"),
            ({"mode": "replace", "replace_condition": "  "}, "replace_condition is blank"),
            ({"datasource": ""}, "data source"),
            ({"datasource": "../x"}, "data source"),
            ({"url": "/local/file.csv"}, "http"),
            ({"url": "file:///etc/passwd"}, "http"),
            ({"url": ""}, "http"),
            ({"timeout": -1}, "timeout=-1"),
        ],
    )
    def test_bad_input_sends_nothing(self, tinybird, changes, said):
        arguments = {"datasource": "flights", "url": "https://host/x.csv", **changes}
        with pytest.raises(AirflowFailException, match=said):
            run(TinybirdAppendUrlOperator, **arguments)
        assert tinybird.requests == []

    def test_a_presigned_url_shows_nowhere(self, tinybird, logs):
        url = "https://bucket.s3.amazonaws.com/x.csv?X-Amz-Signature=abcdef012345"
        tinybird.job("j1", "error", kind="import", url=url, error=f"could not fetch {url}")
        with pytest.raises(Exception, match="could not fetch") as caught:
            run(TinybirdAppendUrlOperator, datasource="flights", url=url)
        assert "abcdef012345" not in str(caught.value) + logs.text
        assert "abcdef012345" not in tinybird.requests[0].target


class TestTruncate:
    @pytest.mark.parametrize("body", [b"", b"{}", b"ok"])
    def test_it(self, tinybird, body):
        tinybird.on("POST /v0/sql", {"data": [{"c": 3}]}, {"data": [{"c": 0}]})
        tinybird.on("POST /v0/datasources/flights/truncate", (200, body))
        value = run(TinybirdTruncateOperator, datasource="flights")
        assert set(value) == {"truncated", "result", "rows_before", "rows_after"}
        assert value["truncated"] is True
        assert [one.body for one in tinybird.requests if one.path.endswith("truncate")] == [b""]


class TestDelete:
    @pytest.fixture(autouse=True)
    def _counts(self, tinybird):
        tinybird.on("POST /v0/sql", {"data": [{"c": 100}]})

    def test_it(self, tinybird):
        job = tinybird.job("j1", "working", "done", kind="delete_data", delete_id="d1", rows_affected=12)
        started = {"id": "j1", "job_id": "j1", "delete_id": "d1", "job": job}
        tinybird.on("POST /v0/datasources/flights/delete", {"rows_to_be_deleted": 12}, started)
        value = run(TinybirdDeleteOperator, datasource="flights", delete_condition="day < '2013-01-02' AND x = 'a&b'")
        sent = [one.form for one in tinybird.requests if one.path.endswith("delete")]
        assert sent[1] == {"delete_condition": "day < '2013-01-02' AND x = 'a&b'"}
        assert set(value) == DELETE_KEYS
        assert (value["rows_affected"], value["delete_id"]) == (12, "d1")

    def test_dry_run(self, tinybird):
        tinybird.on("POST /v0/datasources/flights/delete", {"rows_to_be_deleted": 12})
        value = run(TinybirdDeleteOperator, datasource="flights", delete_condition="a = 1", dry_run=True)
        assert value == {"rows_to_be_deleted": 12}
        assert tinybird.only.form == {"delete_condition": "a = 1", "dry_run": "true"}

    def test_lightweight(self, tinybird):
        job = tinybird.job("j1", "done", rows_affected=1)
        tinybird.on("POST /v0/datasources/flights/delete", {"rows_to_be_deleted": 1})
        tinybird.on("POST /v1/datasources/flights/delete", {"id": "j1", "job_id": "j1", "job": job})
        run(TinybirdDeleteOperator, datasource="flights", delete_condition="a = 1", lightweight=True)
        [sent] = [one.form for one in tinybird.requests if one.path.startswith("/v1/")]
        assert sent == {"delete_condition": "a = 1", "wait": "false"}

    @pytest.mark.parametrize("condition", ["", "   ", "\n"])
    @pytest.mark.parametrize("more", [{}, {"dry_run": True}, {"lightweight": True}])
    def test_without_a_condition_nothing_is_sent(self, tinybird, condition, more):
        with pytest.raises(AirflowFailException, match=r"delete_condition is blank.*truncate"):
            run(TinybirdDeleteOperator, datasource="flights", delete_condition=condition, **more)
        assert tinybird.requests == []


class TestEvents:
    @pytest.mark.parametrize(
        "data",
        [
            [{"a": 1, "b": "ä"}],
            {"a": 1, "b": "ä"},
            '{"a":1,"b":"ä"}',
            pd.DataFrame({"a": [1], "b": ["ä"]}),
            lambda: [{"a": 1, "b": "ä"}],
            lambda: iter([{"a": 1, "b": "ä"}]),
        ],
    )
    def test_any_kind_of_data(self, tinybird, data):
        tinybird.on("POST /v0/events", {"successful_rows": 1, "quarantined_rows": 0})
        value = run(TinybirdEventsOperator, datasource="flights", data=data)
        size = len(tinybird.only.body)
        assert value == {"successful_rows": 1, "quarantined_rows": 0, "batches": 1, "bytes": size, "skipped_rows": 0}
        assert json.loads(tinybird.only.body) == {"a": 1, "b": "ä"}
        assert tinybird.only.query == {"name": "flights", "wait": "true"}

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"data": [{"a": object()}]}, r"column 'a', row 0"),
            ({"data": 12}, "Cannot make rows out of int"),
            ({"compression": "brotli"}, "'gzip'"),
            ({"datasource": "a/b"}, "data source"),
        ],
    )
    def test_bad_input_fails_for_good_and_sends_nothing(self, tinybird, arguments, said):
        with pytest.raises(AirflowFailException, match=said):
            run(TinybirdEventsOperator, **{"datasource": "flights", "data": [{"a": 1}], **arguments})
        assert tinybird.requests == []


class TestPipes:
    @pytest.fixture(autouse=True)
    def _accept(self, tinybird):
        job = tinybird.job("j1", "done")
        answer = {"id": "t_node", "name": "node", "job": {"job_id": "j1", **job}}
        tinybird.on("POST /v0/pipes/daily/(copy|sink)", answer)
        tinybird.on("POST /v0/pipes/daily/nodes/mv/population", answer)

    def test_copy(self, tinybird):
        parameters = {
            "day": date(2013, 1, 2),
            "at": datetime(2013, 1, 2, 3, 4, 5),
            "all": True,
            "ids": [1, 2],
            "s": "a&b",
        }
        value = run(TinybirdCopyOperator, pipe="daily", parameters=parameters, mode="replace", on_demand_compute=True)
        assert tinybird.requests[0].query == {
            "day": "2013-01-02",
            "at": "2013-01-02 03:04:05",
            "all": "true",
            "ids": "1,2",
            "s": "a&b",
            "_mode": "replace",
            "on_demand_compute": "true",
        }
        assert set(value) == {"job_id", "status", "job", "rows"}
        assert value["job_id"] == "j1"  # and not the node's id

    def test_copy_as_the_pipe_is_configured(self, tinybird):
        run(TinybirdCopyOperator, pipe="daily")
        assert tinybird.requests[0].query == {}

    def test_sink(self, tinybird):
        value = run(TinybirdSinkOperator, pipe="daily", parameters={"format": "csv"})
        assert (tinybird.requests[0].line, tinybird.requests[0].query) == (
            "POST /v0/pipes/daily/sink",
            {"format": "csv"},
        )
        assert set(value) == {"job_id", "status", "job"}

    def test_populate(self, tinybird):
        value = run(
            TinybirdPopulateOperator,
            pipe="daily",
            node="mv",
            truncate=True,
            populate_subset="0.1",
            populate_condition="a = 1",
        )
        assert tinybird.requests[0].line == "POST /v0/pipes/daily/nodes/mv/population"
        assert tinybird.requests[0].query == {
            "truncate": "true",
            "populate_subset": "0.1",
            "populate_condition": "a = 1",
        }
        assert set(value) == {"job_id", "status", "job"}

    @pytest.mark.parametrize("subset", [0, 2, -1, "many"])
    def test_a_share_that_is_none(self, tinybird, subset):
        with pytest.raises(AirflowFailException, match="populate_subset"):
            run(TinybirdPopulateOperator, pipe="daily", node="mv", populate_subset=subset)
        assert tinybird.requests == []


class TestReads:
    def test_endpoint(self, tinybird):
        tinybird.on("GET /v0/pipes/top.json", ROWS)
        value = run(TinybirdEndpointOperator, pipe="top", parameters={"carrier": "UA"}, q="SELECT * FROM _")
        assert tinybird.only.query == {"carrier": "UA", "q": "SELECT * FROM _"}
        assert value == ROWS
        assert set(value) == RESULT_KEYS

    def test_endpoint_with_long_parameters(self, tinybird):
        tinybird.on("POST /v0/pipes/top.json", ROWS)
        run(TinybirdEndpointOperator, pipe="top", parameters={"ids": list(range(5000))})
        assert tinybird.only.form["ids"].startswith("0,1,2,3")

    @pytest.mark.parametrize(("format", "text"), [("csv", "text"), ("ndjson", '{"a":1}'), ("prometheus", "text")])
    def test_endpoint_as_text(self, tinybird, format, text):
        tinybird.on(f"GET /v0/pipes/top.{format}", (200, text.encode()))
        value = run(TinybirdEndpointOperator, pipe="top", format=format)
        assert value["data"] == text
        assert set(value) == RESULT_KEYS

    def test_endpoint_to_a_file(self, tinybird, tmp_path):
        tinybird.on("GET /v0/pipes/top.parquet", (200, b"PAR1"))
        place = str(tmp_path / "top.parquet")
        value = run(TinybirdEndpointOperator, pipe="top", format="parquet", output_path=place)
        assert value == {"output_path": place, "size": 4}

    def test_endpoint_in_a_format_that_is_none(self, tinybird):
        with pytest.raises(AirflowFailException, match="json, csv, ndjson, parquet, prometheus"):
            run(TinybirdEndpointOperator, pipe="top", format="xml")
        assert tinybird.requests == []

    def test_query(self, tinybird):
        tinybird.on("POST /v0/sql", ROWS)
        value = run(TinybirdQueryOperator, sql="SELECT count() AS n FROM flights; ", pipeline="top")
        assert tinybird.only.form["pipeline"] == "top"
        assert " ".join(tinybird.only.form["q"].split()) == "SELECT count() AS n FROM flights FORMAT JSON"
        assert tinybird.only.target == "/v0/sql"
        assert value == ROWS

    def test_query_in_the_format_of_its_clause(self, tinybird):
        tinybird.on("POST /v0/sql", (200, b"1\n"))
        assert run(TinybirdQueryOperator, sql="SELECT 1 FORMAT TSV")["data"] == "1\n"
        assert tinybird.only.form["q"].count("FORMAT") == 1

    def test_query_to_a_file(self, tinybird, tmp_path):
        tinybird.on("POST /v0/sql", (200, b"n\n1\n"))
        place = tmp_path / "deep" / "n.csv"
        value = run(TinybirdQueryOperator, sql="SELECT 1 AS n", format="CSVWithNames", output_path=str(place))
        assert value == {"output_path": str(place), "size": 4}
        assert place.read_bytes() == b"n\n1\n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"sql": "  "}, "The SQL is blank"),
            ({"sql": "SELECT 1", "format": "CSV; DROP"}, "no name of a format"),
            ({"sql": "SELECT 1", "format": ""}, "no name of a format"),
            ({"sql": "SELECT 1", "output_path": "  "}, "output_path is '  '"),
        ],
    )
    def test_bad_input(self, tinybird, arguments, said):
        tinybird.on("POST /v0/sql", ROWS)
        with pytest.raises(AirflowFailException, match=said):
            run(TinybirdQueryOperator, **arguments)

    def test_a_result_that_is_too_large_for_xcom(self, tinybird):
        tinybird.on("POST /v0/sql", {**ROWS, "data": [{"n": "x" * 1000}] * 1100})
        with pytest.raises(AirflowFailException, match="give output_path"):
            run(TinybirdQueryOperator, sql="SELECT 1")

    def test_bad_sql_fails_for_good(self, tinybird):
        tinybird.on("POST /v0/sql", (400, {"error": "[Error] Syntax error near 'FORM'"}))
        with pytest.raises(AirflowFailException, match="Syntax error near 'FORM'"):
            run(TinybirdQueryOperator, sql="SELECT 1 FORM x")
