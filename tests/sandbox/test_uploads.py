"""Files into the sandbox: sent and fetched, in every format and dialect, and what is seen of it."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator

import pytest
from bucket import SIGNATURE, Bucket, bucket_of_s3

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.datasources import TinybirdAppendFileOperator, TinybirdAppendUrlOperator

ROWS = [{"carrier": "AA", "delay": -5}, {"carrier": "UA", "delay": 2}]
SQL = "SELECT carrier, delay FROM flights ORDER BY carrier"
CSV = "day,carrier,delay\n2013-01-01,UA,2\n2013-01-01,AA,-5\n"


@pytest.fixture
def bucket(box, monkeypatch) -> Iterator[Bucket]:
    """A store whose signed addresses lead to the files of the sandbox."""
    monkeypatch.setattr(Bucket, "place", f"{box.url}/files")
    with bucket_of_s3() as files:
        yield files


def put(box, bucket: Bucket, name: str, content: bytes) -> str:
    place = box.files / "b" / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    bucket.objects[f"b/{name}"] = content
    return f"s3://conn@b/{name}"


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("by_url", [False, True])
def test_a_file_of_an_object_store(box, bucket, run, by_url, gzipped):
    content = gzip.compress(CSV.encode()) if gzipped else CSV.encode()
    path = put(box, bucket, f"x.csv{'.gz' if gzipped else ''}", content)
    value = run(TinybirdAppendFileOperator, datasource="flights", path=path, by_url=by_url)
    assert box.rows(SQL) == ROWS
    assert (value["status"], value["rows"]) == ("done", 2)
    assert len(bucket.signed) == (1 if by_url else 0)


def test_a_gzipped_file_without_the_name_of_one(box, run_here, tmp_path):
    place = tmp_path / "x.csv"
    place.write_bytes(gzip.compress(CSV.encode()))
    run_here(TinybirdAppendFileOperator, datasource="flights", path=str(place))
    assert box.rows(SQL) == ROWS


DIALECTS = {
    "delimiter": (CSV.replace(",", ";"), {"dialect_delimiter": ";"}),
    "tab": (CSV.replace(",", "\t"), {"dialect_delimiter": "\t"}),
    "new line": (CSV.replace("\n", "||"), {"dialect_new_line": "||"}),
    "carriage returns": (CSV.replace("\n", "\r\n"), {"dialect_new_line": "\r\n"}),
    "escape": (CSV.replace("UA", "U\\A"), {"dialect_escapechar": "\\"}),
}


@pytest.mark.parametrize("how", ["sent", "fetched", "by its address"])
@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(box, bucket, run_here, name, how):
    text, dialect = DIALECTS[name]
    path = put(box, bucket, "x.csv", text.encode())
    if how == "by its address":
        run_here(TinybirdAppendUrlOperator, datasource="flights", url=f"{box.url}/files/b/x.csv", **dialect)
    else:
        run_here(TinybirdAppendFileOperator, datasource="flights", path=path, by_url=how == "fetched", **dialect)
    assert box.rows(SQL) == ROWS


@pytest.mark.parametrize("truncate", [False, True])
def test_a_replace_by_a_file_without_rows(box, bucket, run_here, truncate):
    box.fill()
    path = put(box, bucket, "x.csv", b"day,carrier,delay\n")
    run_here(
        TinybirdAppendFileOperator,
        datasource="flights",
        path=path,
        by_url=True,
        mode="replace",
        replace_truncate_when_empty=truncate,
    )
    assert box.count() == (0 if truncate else 4)


def test_the_signature_is_seen_by_nobody(box, bucket, run, caplog):
    caplog.set_level(logging.DEBUG)
    path = put(box, bucket, "x.csv", CSV.encode())
    value = run(TinybirdAppendFileOperator, datasource="flights", path=path, by_url=True)
    operator = TinybirdAppendFileOperator(task_id="t", datasource="flights", path=path, by_url=True)
    fields = {name: getattr(operator, name) for name in operator.template_fields}
    assert "x.csv" in caplog.text
    assert SIGNATURE not in caplog.text + json.dumps([value, fields])
    assert SIGNATURE not in json.dumps([seen["query"] for seen in box.seen("POST", "/v0/datasources")])


def test_the_hook_takes_the_same(box, bucket):
    hook = TinybirdHook()
    lines = CSV.replace(",", ";")
    for by_url, more in ((False, ""), (True, "2013-01-03;DL;1\n")):  # the same rows again would be dropped
        path = put(box, bucket, "x.csv", f"{lines}{more}".encode())
        job = hook.append_file("flights", path, by_url=by_url, dialect_delimiter=";")
        hook.wait_for_job(job.id, poll_interval=0.05)
    put(box, bucket, "x.csv", f"{lines}2013-01-04;DL;2\n2013-01-05;DL;3\n".encode())
    job = hook.append_url("flights", f"{box.url}/files/b/x.csv", dialect_delimiter=";")
    hook.wait_for_job(job.id, poll_interval=0.05)
    assert box.count() == 2 + 3 + 4
