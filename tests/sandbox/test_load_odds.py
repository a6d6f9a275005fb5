"""TinybirdLoadOperator where rows, files, disks and attempts are not as usual."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import polars as pl
import pytest
from large_loads import Store, attempt, frame

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.operators import load, load_files


@pytest.mark.parametrize("day", ["2013-01-01", dt.date(2013, 1, 1)], ids=["ndjson", "parquet"])
def test_files_that_are_equal_are_all_sent(box, day):
    """The job of the one before was taken for theirs."""
    rows = 20_000
    data = pd.DataFrame({"day": [day] * rows, "carrier": ["A"] * rows, "delay": [1] * rows})
    value = attempt(Store(), 1, data=data, via="files")
    assert value["files"] == len(set(value["job_ids"])) > 3
    assert value["rows"] == box.count() == rows


def test_files_that_are_equal_are_red_where_repetitions_are_dropped(dropping, quick_judge):
    data = pd.DataFrame({"day": ["2013-01-01"] * 20_000, "carrier": ["A"] * 20_000, "delay": [1] * 20_000})
    with pytest.raises(AirflowFailException, match="of them are not there") as caught:
        attempt(Store(), 1, data=data, via="files")
    assert "The load stopped: the first " in str(caught.value)
    assert 0 < dropping.count() < 20_000


@pytest.mark.parametrize("kind", [pl.Int128, pl.UInt64])
def test_integers_of_polars_that_arrow_lacks(box, kind):
    data = pl.DataFrame({"day": [dt.date(2013, 1, 1)] * 3, "carrier": ["A"] * 3, "delay": [1, 2, 3]})
    value = attempt(None, 1, data=data.with_columns(pl.col("delay").cast(kind)), via="files")
    assert (value["rows"], box.rows("SELECT sum(delay) AS s FROM flights")) == (3, [{"s": 6}])


def test_a_disk_that_is_full_says_what_is_in(box, tmp_path, monkeypatch):
    take = load_files.FilesRun.take
    folder = tmp_path / "spool"
    folder.mkdir()

    def taking(run, file):
        take(run, file)
        if folder.exists():
            folder.rmdir()  # where the next file was to be written

    monkeypatch.setattr(load_files.FilesRun, "take", taking)
    with pytest.raises(
        AirflowFailException, match=r"the first (\d+) rows \(1 files\) are in, the rest is not.*spool_folder"
    ):
        attempt(None, 1, data=frame(), via="files", spool_folder=str(folder))
    assert box.count() > 0


def test_a_bad_value_while_an_import_may_be_under_way(box, monkeypatch):
    store = Store()
    with monkeypatch.context() as patch:
        hand_over = load_files.FilesRun._hand_over

        def dying(run, file):
            hand_over(run, file)
            raise KeyboardInterrupt

        patch.setattr(load_files.FilesRun, "_hand_over", dying)
        with pytest.raises(KeyboardInterrupt):
            attempt(store, 1, data=frame(), via="files")
    rows = frame().to_dict("records")
    rows[0]["delay"] = float("inf")
    with pytest.raises(AirflowFailException, match=r"the first 0 rows .*the import of one more may be under way"):
        attempt(store, 2, data=iter(rows), via="files")


def test_more_rows_after_an_attempt_with_events_are_noticed(box, monkeypatch):
    """They went as files then, and doubled what was in."""
    store = Store()
    monkeypatch.setattr(load, "EVENTS_BYTES", 300_000)
    box.fault("/v0/events", method="POST", cut="after")
    with pytest.raises(AirflowFailException):
        attempt(store, 1, data=frame())
    assert box.count() == len(frame())
    with pytest.raises(AirflowFailException, match="Unknown whether they are in: rows 0 to"):
        attempt(store, 2, data=pd.concat([frame()] * 3, ignore_index=True))
    assert box.count() == len(frame())
