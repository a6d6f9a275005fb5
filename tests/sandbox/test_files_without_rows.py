"""A file that has rows and brings none is red: nobody would see that it is not there."""

from __future__ import annotations

import gzip

import pytest

from airflow_provider_tinybird._compat import AirflowFailException
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.datasources import TinybirdAppendFileOperator, TinybirdAppendUrlOperator

CR = b"day,carrier,delay\r2013-01-01,UA,1\r2013-01-02,AA,2\r"


def send(run, place, **arguments):
    return run(TinybirdAppendFileOperator, datasource="flights", path=str(place), **arguments)


@pytest.mark.parametrize("content", [CR, gzip.compress(CR, mtime=0)])
def test_line_ends_that_would_be_guessed_wrong(box, run_here, tmp_path, content):
    place = tmp_path / "cr.csv"
    place.write_bytes(content)
    with pytest.raises(AirflowFailException, match=r"Nothing was sent: .*dialect_new_line='\\r'"):
        send(run_here, place)
    with pytest.raises(InvalidInputError, match="Nothing was sent"):
        TinybirdHook().append_file("flights", place)
    assert box.count() == 0
    assert box.jobs() == []
    assert send(run_here, place, dialect_new_line="\r")["rows"] == 2
    assert box.count() == 2


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_file_with_rows_that_brings_none(box, run, tmp_path, mode):
    """The wrong line end is given, so that it cannot be seen before."""
    place = tmp_path / "cr.csv"
    place.write_bytes(CR)
    with pytest.raises(
        AirflowFailException, match=r"The file has rows, and 0 rows came into data source 'flights'.*min_rows=0"
    ):
        send(run, place, dialect_new_line="\n", mode=mode)
    assert send(run, place, dialect_new_line="\n", mode=mode, min_rows=0)["rows"] == 0


def test_a_header_alone_is_an_empty_file(box, run, tmp_path):
    place = tmp_path / "header.csv"
    place.write_text("day,carrier,delay\n")
    assert send(run, place)["rows"] == 0


def test_by_url_as_far_as_it_can_be_told(box, run_here, capsys, caplog):
    """A long file is no header; a short one may be."""
    arguments = {"datasource": "flights", "dialect_new_line": "\n"}
    (box.files / "long.csv").write_bytes(CR * 2000)
    (box.files / "short.csv").write_bytes(CR)
    with pytest.raises(AirflowFailException, match="The file has rows"):
        run_here(TinybirdAppendUrlOperator, url=f"{box.url}/files/long.csv", **arguments)
    assert run_here(TinybirdAppendUrlOperator, url=f"{box.url}/files/short.csv", **arguments)["rows"] == 0
    shown = capsys.readouterr()
    assert "Whether the file has rows is not known" in shown.out + shown.err + caplog.text


def test_a_condition_may_leave_out_all_rows(box, run_here, tmp_path):
    box.fill()
    place = tmp_path / "day.csv"
    place.write_text("day,carrier,delay\n2013-02-02,AA,2\n")
    value = send(run_here, place, mode="replace", replace_condition="day < '2000-01-01'")
    assert value["rows"] in (0, 1)
