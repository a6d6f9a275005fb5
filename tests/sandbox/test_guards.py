"""The dangerous thing is tried, and the rows are still there; a retry of what was allowed is not refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import attempt
import pytest

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator

WORKSPACE = "Tinybird_Local_Testing"
UA = "carrier = 'UA'"  # two of the four flights
DELETE = "airflow_provider_tinybird.operators.datasources.TinybirdDeleteOperator"


@pytest.fixture
def full(box):
    """Four flights, one row in the quarantine, and three totals."""
    box.fill()
    bad = [{"day": "x", "carrier": "UA", "delay": 1}]
    TinybirdEventsOperator(task_id="t", datasource="flights", data=bad, on_quarantine="ignore").execute({})
    TinybirdCopyOperator(task_id="t", pipe="copy_totals", poll_interval=0.05).execute({})
    assert counts(box) == (4, 1, 3)
    return box


def counts(box: Any) -> tuple[int, int, int]:
    return box.count(), box.count("flights_quarantine"), box.count("totals")


class TestDelete:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"max_rows": 1}, r"2 of 4 rows .*max_rows=1"),
            ({"min_rows": 3}, "min_rows=3"),
            ({"max_fraction": 0.4}, r"max_fraction=0\.4 allows 1"),
            ({"max_fraction": "{{ 0.4 }}", "lightweight": True}, r"max_fraction=0\.4"),
            ({"delete_condition": "delay < 1000"}, r"4 of 4 rows .* all rows"),
            ({"delete_condition": "1 = 1"}, "true for every row"),
            ({"delete_condition": "carrier = 'UA' OR 1"}, "true for every row"),
            ({"delete_condition": "{{ '' }}"}, "blank"),
            ({"delete_condition": "delay < 1000", "allow_all": True, "max_rows": 3}, "max_rows=3"),
            ({"quarantine": True, "max_rows": 1}, "max_rows=1"),
            ({"expected_workspace": "production"}, f"belongs to workspace '{WORKSPACE}'"),
        ],
    )
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_refused(self, full, run_here, arguments, said, deferrable):
        given = {"datasource": "flights", "delete_condition": UA, "deferrable": deferrable, **arguments}
        with pytest.raises(AirflowFailException, match=said):
            run_here(TinybirdDeleteOperator, **given)
        assert counts(full) == (4, 1, 3)

    def test_allowed(self, full, run):
        value = run(
            TinybirdDeleteOperator,
            datasource="flights",
            delete_condition=UA,
            min_rows=2,
            max_rows=2,
            max_fraction=0.5,
            expected_workspace=WORKSPACE,
        )
        assert (value["rows_before"], value["rows_after"], value["rows_affected"]) == (4, 2, 2)
        assert counts(full) == (2, 1, 3)

    @pytest.mark.parametrize("condition", ["delay < 1000", "1 = 1", " "])
    def test_all_rows_where_that_is_meant(self, full, run, condition):
        value = run(TinybirdDeleteOperator, datasource="flights", delete_condition=condition, allow_all=True)
        assert (value["rows_before"], value["rows_after"]) == (4, 0)

    @pytest.mark.parametrize("lightweight", [False, True])
    def test_its_quarantine_too(self, full, run, lightweight):
        run(
            TinybirdDeleteOperator,
            datasource="flights",
            delete_condition=UA,
            quarantine=True,
            lightweight=lightweight,
        )
        assert counts(full) == (2, 0, 3)

    def test_a_condition_that_the_quarantine_cannot_take_deletes_nothing(self, full, run_here):
        with pytest.raises(AirflowFailException, match="nope"):
            run_here(
                TinybirdDeleteOperator,
                datasource="flights",
                delete_condition=UA,
                quarantine=True,
                quarantine_condition="nope = 1",
            )
        assert counts(full) == (4, 1, 3)

    def test_a_quarantine_by_its_name(self, full, run):
        run(TinybirdDeleteOperator, datasource="flights_quarantine", delete_condition=UA, allow_all=True)
        assert counts(full) == (4, 0, 3)

    def test_a_token_that_may_not_see_its_workspace(self, full, run_here, connection):
        narrow = full.narrow_token("DATASOURCES:CREATE", "DATASOURCES:READ:flights")
        connection(full.url, narrow, workspace=WORKSPACE)
        with pytest.raises(AirflowFailException, match="may not see which workspace"):
            run_here(TinybirdDeleteOperator, datasource="flights", delete_condition=UA)
        assert counts(full) == (4, 1, 3)
        connection(full.url, narrow)
        run_here(TinybirdDeleteOperator, datasource="flights", delete_condition=UA, max_fraction=0.5)
        assert counts(full) == (2, 1, 3)


class TestTruncate:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"max_rows": 3}, r"has 4 rows.*max_rows=3"),
            ({"expected_workspace": "production"}, "'production' is expected"),
            ({"expected_workspace": ""}, "blank"),
        ],
    )
    def test_refused(self, full, run_here, arguments, said):
        with pytest.raises(AirflowFailException, match=said):
            run_here(TinybirdTruncateOperator, datasource="flights", quarantine=True, **arguments)
        assert counts(full) == (4, 1, 3)

    def test_its_quarantine_too(self, full, run_here):
        value = run_here(TinybirdTruncateOperator, datasource="flights", quarantine=True, max_rows=4)
        assert (value["rows_before"], value["rows_after"]) == (4, 0)
        assert counts(full) == (0, 0, 3)

    def test_a_quarantine_by_its_name(self, full, run_here):
        assert run_here(TinybirdTruncateOperator, datasource="flights_quarantine")["rows_before"] == 1
        assert counts(full) == (4, 0, 3)


class TestReplace:
    HEADER = "day,carrier,delay\n"

    @pytest.mark.parametrize("condition", [None, "toYYYYMM(day) = 201301"])
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_in_another_workspace(self, full, run_here, tmp_path, condition, deferrable):
        (tmp_path / "x.csv").write_text(f"{self.HEADER}2013-01-01,DL,1\n")
        (full.files / "x.csv").write_text(f"{self.HEADER}2013-01-01,DL,1\n")
        given = {"datasource": "flights", "mode": "replace", "replace_condition": condition, "deferrable": deferrable}
        given |= {"expected_workspace": "production"}
        for cls, source in (
            (TinybirdAppendFileOperator, {"path": str(tmp_path / "x.csv")}),
            (TinybirdAppendUrlOperator, {"url": f"{full.url}/files/x.csv"}),
        ):
            with pytest.raises(AirflowFailException, match="'production' is expected"):
                run_here(cls, **given, **source)
        assert counts(full) == (4, 1, 3)

    def test_rows_before_and_after(self, full, run, tmp_path):
        (tmp_path / "x.csv").write_text(f"{self.HEADER}2013-01-01,DL,1\n")
        given = {"datasource": "flights", "path": str(tmp_path / "x.csv"), "mode": "replace"}
        value = run(TinybirdAppendFileOperator, **given, replace_condition="toYYYYMM(day) = 201301", min_rows=1)
        assert (value["rows_before"], value["rows_after"], value["rows"]) == (4, 2, 1)
        value = run(TinybirdAppendFileOperator, **given)
        assert (value["rows_before"], value["rows_after"]) == (2, 1)

    def test_by_no_rows_is_red_where_some_were_expected(self, full, run, tmp_path):
        (tmp_path / "x.csv").write_text(self.HEADER)
        given = {"datasource": "flights", "path": str(tmp_path / "x.csv"), "mode": "replace"}
        with pytest.raises(AirflowFailException, match=r"0 rows were written to 'flights', and min_rows=1"):
            run(TinybirdAppendFileOperator, **given, min_rows=1)

    def test_by_rows_none_of_which_fits(self, full, run, tmp_path):
        (tmp_path / "x.csv").write_text(f"{self.HEADER}2013-01-01,DL,many\n")
        with pytest.raises(AirflowFailException, match="1 of 1 rows did not fit"):
            run(TinybirdAppendFileOperator, datasource="flights", path=str(tmp_path / "x.csv"), mode="replace")


class TestCopy:
    def test_in_another_workspace(self, full, run_here):
        with pytest.raises(AirflowFailException, match="'production' is expected"):
            run_here(TinybirdCopyOperator, pipe="copy_totals", mode="replace", expected_workspace="production")
        assert counts(full) == (4, 1, 3)
        assert [job["kind"] for job in full.jobs()] == ["copy"]

    @pytest.mark.parametrize("mode", [None, "replace"])
    def test_that_finds_too_few_rows_is_red(self, full, run, mode):
        found = {"pipe": "copy_totals", "mode": mode, "parameters": {"at_least": 10}}
        assert run(TinybirdCopyOperator, **found, min_rows=2)["rows"] == 2
        with pytest.raises(AirflowFailException, match=r"2 rows were written .* min_rows=3"):
            run(TinybirdCopyOperator, **found, min_rows=3)


class TestKilled:
    """The process of the first attempt is killed; the next one knows what Airflow keeps."""

    GUARDED: ClassVar[dict[str, Any]] = {
        "datasource": "flights",
        "delete_condition": UA,
        "min_rows": 2,
        "max_fraction": 0.5,
    }

    def start(self, try_number: int, store: str) -> subprocess.Popen[str]:
        command = [sys.executable, attempt.__file__, DELETE, json.dumps(self.GUARDED), str(try_number), store]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})

    def kill_when(self, process: subprocess.Popen[str], happened: Any) -> None:
        deadline = time.monotonic() + 120
        try:
            while not happened():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL

    def retry(self, store: str) -> dict[str, Any]:
        result: dict[str, Any] = attempt.run(DELETE, self.GUARDED, 2, store)
        return result

    def test_while_its_job_runs(self, full, tmp_path):
        full.plan_job("flights", hold="working")
        store = str(tmp_path / "store.json")
        first = self.start(1, store)
        self.kill_when(first, lambda: any(job["status"] == "working" for job in full.jobs()) and Path(store).exists())
        full.release()
        full.wait_for_jobs()
        assert full.count() == 2
        result = self.retry(store)
        assert (result["rows_before"], result["rows_after"], result["rows_affected"]) == (4, 2, 2)
        assert [job["kind"] for job in full.jobs()].count("delete_data") == 1

    @pytest.mark.parametrize("has_store", [True, False])
    def test_while_it_waits_for_the_answer_to_its_submit(self, full, tmp_path, has_store):
        store = str(tmp_path / "store.json") if has_store else "-"
        full.fault("/delete$", delay=0)  # the count
        full.fault("/delete$", cut="after")  # it is started, and nobody is told; nor is what is sent again answered
        full.fault("/delete$", cut="before", times=9)
        self.kill_when(self.start(1, store), lambda: full.count() == 2)
        full.clear_faults()
        result = self.retry(store)
        assert (result["rows_before"], result["rows_after"]) == (4 if has_store else 2, 2)
