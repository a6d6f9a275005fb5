"""Each operator, in the worker and deferred through the real trigger: rows in the engine and what is in XCom."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
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
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

IMPORT_KEYS = {"id", "import_id", "job_id", "job_url", "status", "job", "datasource"}
IMPORT_COUNTS = {"rows", "quarantine_rows", "invalid_lines"}
JOB_KEYS = {"job_id", "status", "job"}
RESULT_KEYS = {"data", "meta", "rows", "rows_before_limit_at_least", "statistics"}
EXTRA = "2013-03-01,DL,1\n"
TOTALS = [{"carrier": "AA", "flights": 1}, {"carrier": "B6", "flights": 1}, {"carrier": "UA", "flights": 2}]


class TestAppendUrl:
    def test_append(self, box, run):
        box.fill()
        value = run(TinybirdAppendUrlOperator, datasource="flights", url=f"{box.url}/files/flights.csv")
        assert box.count() == 8
        assert set(value) == IMPORT_KEYS | IMPORT_COUNTS
        assert (value["status"], value["rows"], value["quarantine_rows"]) == ("done", 4, 0)
        assert value["job_url"] == f"{box.url}/v0/jobs/{value['job_id']}"
        assert value["datasource"]["name"] == "flights"

    def test_replace(self, box, run):
        box.fill()
        (box.files / "extra.csv").write_text(f"day,carrier,delay\n{EXTRA}")
        run(TinybirdAppendUrlOperator, datasource="flights", url=f"{box.url}/files/extra.csv", mode="replace")
        assert box.rows("SELECT carrier FROM flights") == [{"carrier": "DL"}]

    def test_replace_a_part(self, box, run):
        box.fill()
        (box.files / "february.csv").write_text("day,carrier,delay\n2013-02-03,DL,1\n2013-02-04,DL,2\n")
        run(
            TinybirdAppendUrlOperator,
            datasource="flights",
            url=f"{box.url}/files/february.csv",
            mode="replace",
            replace_condition="toYYYYMM(day) = 201302",
        )
        assert box.rows("SELECT carrier, count() AS n FROM flights GROUP BY carrier ORDER BY carrier") == [
            {"carrier": "AA", "n": 1},
            {"carrier": "DL", "n": 2},
            {"carrier": "UA", "n": 2},
        ]


class TestAppendFile:
    def files(self, folder: Path) -> dict[str, Path]:
        frame = pd.DataFrame({"day": ["2013-03-01"], "carrier": ["DL"], "delay": [1]})
        places = {name: folder / f"x.{name}" for name in ("csv", "csv.gz", "ndjson", "parquet")}
        frame.to_csv(places["csv"], index=False)
        places["csv.gz"].write_bytes(gzip.compress(places["csv"].read_bytes()))
        frame.to_json(places["ndjson"], orient="records", lines=True)
        table = pa.table(
            {"day": pa.array(["2013-03-01"]).cast(pa.date32()), "carrier": ["DL"], "delay": pa.array([1], pa.int32())}
        )
        pq.write_table(table, places["parquet"])
        return places

    @pytest.mark.parametrize("name", ["csv", "csv.gz", "ndjson", "parquet"])
    def test_append(self, box, run, tmp_path, name):
        box.fill()
        value = run(TinybirdAppendFileOperator, datasource="flights", path=str(self.files(tmp_path)[name]))
        assert box.count() == 5
        assert box.rows("SELECT * FROM flights WHERE carrier = 'DL'") == [
            {"day": "2013-03-01", "carrier": "DL", "delay": 1}
        ]
        assert set(value) == IMPORT_KEYS | IMPORT_COUNTS

    def test_replace(self, box, run, tmp_path):
        box.fill()
        run(TinybirdAppendFileOperator, datasource="flights", path=str(self.files(tmp_path)["csv"]), mode="replace")
        assert box.count() == 1

    def test_a_url_of_object_storage(self, box, run_here, tmp_path):
        run_here(TinybirdAppendFileOperator, datasource="flights", path=f"file://{self.files(tmp_path)['csv']}")
        assert box.count() == 1

    def test_rows_that_do_not_fit_are_told(self, box, run, tmp_path):
        place = tmp_path / "x.csv"
        place.write_text("day,carrier,delay\n2013-03-01,DL,1\n2013-03-01,DL,many\n")
        value = run(TinybirdAppendFileOperator, datasource="flights", path=str(place), on_quarantine="warn")
        assert (box.count(), box.count("flights_quarantine")) == (1, 1)
        assert (value["rows"], value["quarantine_rows"]) == (1, 1)


class TestDelete:
    def test_delete(self, box, run):
        box.fill()
        value = run(TinybirdDeleteOperator, datasource="flights", delete_condition="carrier = 'UA'")
        assert box.count() == 2
        assert set(value) == JOB_KEYS | {"id", "delete_id", "job_url", "rows_affected", "rows_before", "rows_after"}
        assert (value["rows_affected"], value["rows_before"], value["rows_after"]) == (2, 4, 2)

    def test_lightweight(self, box, run):
        box.fill()
        run(TinybirdDeleteOperator, datasource="flights", delete_condition="carrier = 'UA'", lightweight=True)
        assert box.count() == 2

    def test_dry_run(self, box, run_here):
        box.fill()
        value = run_here(TinybirdDeleteOperator, datasource="flights", delete_condition="carrier = 'UA'", dry_run=True)
        assert value == {"rows_to_be_deleted": 2}
        assert box.count() == 4


def test_truncate(box, run_here):
    box.fill()
    value = run_here(TinybirdTruncateOperator, datasource="flights")
    assert value == {"truncated": True, "result": None, "rows_before": 4, "rows_after": 0}
    assert box.count() == 0


ROW = {"day": "2013-03-01", "carrier": "DL", "delay": 1}


@pytest.mark.parametrize(
    "data",
    [
        [ROW, ROW],
        "".join('{"day":"2013-03-01","carrier":"DL","delay":1}\n' for _ in range(2)),
        pd.DataFrame([ROW, ROW]),
        pl.DataFrame([ROW, ROW]),
        pa.Table.from_pylist([ROW, ROW]),
        lambda: [ROW, ROW],
        lambda: ({**ROW} for _ in range(2)),
    ],
    ids=["records", "text", "pandas", "polars", "arrow", "callable", "generator"],
)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_events(box, run_here, data, compression):
    value = run_here(TinybirdEventsOperator, datasource="flights", data=data, compression=compression)
    assert (value["successful_rows"], value["quarantined_rows"]) == (2, 0)
    assert box.rows("SELECT * FROM flights") == [ROW, ROW]


def test_events_that_do_not_fit(box, run_here):
    bad = {**ROW, "delay": "many"}
    value = run_here(TinybirdEventsOperator, datasource="flights", data=[ROW, bad], on_quarantine="warn")
    assert (value["successful_rows"], value["quarantined_rows"]) == (1, 1)
    assert (box.count(), box.count("flights_quarantine")) == (1, 1)


class TestPipes:
    def test_copy(self, box, run):
        box.fill()
        value = run(TinybirdCopyOperator, pipe="copy_totals")
        assert box.rows("SELECT carrier, flights FROM totals ORDER BY carrier") == TOTALS
        assert set(value) == JOB_KEYS | {"rows"}
        assert (value["status"], value["job"]["kind"]) == ("done", "copy")
        assert value["rows"] in (3, None)  # None where Tinybird does not tell

    def test_copy_with_parameters(self, box, run):
        box.fill()
        run(TinybirdCopyOperator, pipe="copy_totals", parameters={"at_least": 10})
        assert box.rows("SELECT carrier FROM totals ORDER BY carrier") == [{"carrier": "B6"}, {"carrier": "UA"}]

    @pytest.mark.parametrize(("mode", "rows"), [("append", 5), ("replace", 3), (None, 5)])
    def test_copy_twice(self, box, run, mode, rows):
        box.fill()
        for least in (10, -1000):  # two rows, then three: the same ones again would be dropped
            run(TinybirdCopyOperator, pipe="copy_totals", mode=mode, parameters={"at_least": least})
        assert box.count("totals") == rows

    def test_sink(self, box, run):
        box.fill()
        value = run(TinybirdSinkOperator, pipe="out")
        assert set(value) == JOB_KEYS
        assert value["status"] == "done"

    def test_populate(self, box, run):
        box.fill()
        value = run(TinybirdPopulateOperator, pipe="by_carrier_view", node="by_carrier_node", truncate=True)
        sums = "SELECT carrier, sum(flights) AS flights FROM by_carrier GROUP BY carrier ORDER BY carrier"
        assert box.rows(sums) == TOTALS
        assert set(value) == JOB_KEYS


class TestReads:
    def test_endpoint(self, box, run_here):
        box.fill()
        value = run_here(TinybirdEndpointOperator, pipe="top", parameters={"at_least": 10})
        assert set(value) == RESULT_KEYS
        assert value["data"] == [{"carrier": "B6", "flights": 1}, {"carrier": "UA", "flights": 1}]
        assert value["rows"] == 2

    def test_endpoint_with_sql_over_it(self, box, run_here):
        box.fill()
        value = run_here(TinybirdEndpointOperator, pipe="top", q="SELECT sum(flights) AS n FROM _")
        assert value["data"] == [{"n": 4}]

    @pytest.mark.parametrize("format", ["csv", "ndjson"])
    def test_endpoint_as_text(self, box, run_here, format):
        box.fill()
        assert '"UA"' in run_here(TinybirdEndpointOperator, pipe="top", format=format)["data"]

    def test_endpoint_to_a_file(self, box, run_here, tmp_path):
        box.fill()
        place = tmp_path / "top.parquet"
        value = run_here(TinybirdEndpointOperator, pipe="top", format="parquet", output_path=str(place))
        assert value == {"output_path": str(place), "size": place.stat().st_size}
        assert pq.read_table(place).num_rows == 3

    def test_query(self, box, run_here):
        box.fill()
        value = run_here(TinybirdQueryOperator, sql="SELECT count() AS n FROM flights WHERE carrier = 'UA'")
        assert set(value) == RESULT_KEYS
        assert (value["data"], value["rows"]) == ([{"n": 2}], 1)

    def test_query_over_a_pipe(self, box, run_here):
        box.fill()
        assert run_here(TinybirdQueryOperator, sql="SELECT count() AS n FROM _", pipeline="top")["data"] == [{"n": 3}]

    def test_query_to_a_file(self, box, run_here, tmp_path):
        box.fill()
        place = tmp_path / "n.csv"
        run_here(
            TinybirdQueryOperator, sql="SELECT number FROM numbers(200000)", format="CSV", output_path=f"file://{place}"
        )
        assert place.read_text().count("\n") == 200_000


class TestSensor:
    def start(self) -> str:
        return TinybirdHook().run_copy("copy_totals").id

    def test_it_waits(self, box, run):
        box.fill()
        value = run(TinybirdJobSensor, job_id=self.start(), poke_interval=0.05)
        assert set(value) == JOB_KEYS
        assert box.count("totals") == 3

    def test_a_failed_job(self, box, run):
        box.plan_job("copy_totals", error="no memory", delay=0.2)
        with pytest.raises(Exception, match="no memory"):
            run(TinybirdJobSensor, job_id=self.start(), poke_interval=0.05)


class TestHook:
    def test_by_hand(self, box, tmp_path):
        hook = TinybirdHook()
        assert hook.send_events("flights", [ROW | {"delay": 2}]).successful_rows == 1
        hook.wait_for_job(hook.append_url("flights", f"{box.url}/files/flights.csv").id, poll_interval=0.05)
        place = tmp_path / "x.csv"
        place.write_text(f"day,carrier,delay\n{EXTRA}")
        hook.wait_for_job(hook.append_file("flights", place).id, poll_interval=0.05)
        assert hook.query("SELECT count() AS n FROM flights").data[0]["n"] == 6
        assert hook.count_rows_to_delete("flights", "carrier = 'DL'").rows_to_be_deleted == 2
        deleted = hook.wait_for_job(hook.delete_rows("flights", "carrier = 'DL'").id, poll_interval=0.05)
        assert deleted.rows_affected == 2
        hook.wait_for_job(hook.run_copy("copy_totals").id, poll_interval=0.05)
        assert box.count("totals") == 3
        hook.wait_for_job(hook.run_sink("out").id, poll_interval=0.05)
        frame = hook.query_df("SELECT carrier, delay FROM flights ORDER BY delay")
        assert frame["carrier"].tolist() == ["AA", "UA", "B6", "UA"]
        assert str(frame.dtypes["delay"]) == "int32"
        assert hook.call_endpoint("top").rows == 3
        hook.truncate("flights")
        assert box.count() == 0

    def test_of_a_connection(self, box, connection):
        worked, said = TinybirdHook().test_connection()
        assert worked
        assert "Connected to workspace" in said
        connection(box.url, box.narrow_token("DATASOURCES:APPEND:flights"))
        worked, said = TinybirdHook().test_connection()
        assert (worked, "narrow" in said or "workspace" in said) == (True, True)
        connection(box.url, "p.nobody")
        assert TinybirdHook().test_connection()[0] is False
