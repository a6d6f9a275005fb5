"""Files before they are sent: their size, and addresses for others to fetch them."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from bucket import SIGNATURE, Bucket, attach, bucket_of_s3
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_tinybird._compat import ObjectStoragePath
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.import_options import ImportOptions
from airflow_provider_tinybird.api.job import parse_job
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.files import presign
from airflow_provider_tinybird.jobs import submissions
from airflow_provider_tinybird.jobs.submissions import Agreement
from airflow_provider_tinybird.loads.files.upload import upload

CSV = b"day,carrier,delay\n2013-01-01,UA,2\n"


@pytest.fixture(autouse=True)
def bucket() -> Iterator[Bucket]:
    with bucket_of_s3() as files:
        attach("memory", fs=MemoryFileSystem())
        names = ("x.csv", "forbidden.csv", "odd.csv")
        files.objects.update({f"b/{name}": CSV for name in names})
        files.objects.update({f"b/zipped.csv{end}": gzip.compress(CSV) for end in ("", ".gz")})
        MemoryFileSystem().pipe_file("/b/x.csv", CSV)
        yield files


def written(place: Path, content: bytes) -> Path:
    place.write_bytes(content)
    return place


def sparse(place: Path, size: int, beginning: bytes = b"") -> Path:
    with place.open("wb") as file:
        file.write(beginning)
        file.truncate(size)
    return place


class TestSize:
    @pytest.mark.parametrize(
        ("name", "size", "limit"),
        [
            ("x.csv", 500 * 2**20 + 1, "500 MB for a csv file that is sent"),
            ("x.ndjson", 600 * 2**20, "500 MB for a ndjson file"),
            ("x.parquet", 51 * 2**20, "50 MB for a parquet file"),
        ],
    )
    def test_too_large(self, tmp_path, name, size, limit):
        beginning = {"x.csv": b"a", "x.ndjson": b"{", "x.parquet": b"PAR1"}[name]
        place = sparse(tmp_path / name, size, beginning)
        with pytest.raises(InvalidInputError, match=limit) as caught:
            upload("flights", place)
        for way_out in ("by_url=True", "split it", "TinybirdLoadOperator", "give max_size", f"{size:,} bytes"):
            assert way_out in str(caught.value)
        assert upload("flights", place, max_size=size).request["size"] == size

    def test_as_large_as_it_may_be(self, tmp_path):
        assert upload("flights", sparse(tmp_path / "x.parquet", 50 * 2**20, b"PAR1")).request["size"] == 50 * 2**20

    def test_a_limit_of_the_users_own(self, tmp_path):
        with pytest.raises(InvalidInputError, match=r"500 MB .*, and max_size=10"):
            upload("flights", written(tmp_path / "x.csv", CSV), max_size=10)

    def test_the_limit_of_what_is_fetched(self, bucket, monkeypatch):
        monkeypatch.setattr(Bucket, "info", lambda self, path, **_: {"name": path, "size": 33 * 2**30, "type": "file"})
        with pytest.raises(InvalidInputError, match=r"32 GB for a csv file that Tinybird fetches.*split it") as caught:
            upload("flights", "s3://b/x.csv", by_url=True)
        assert "by_url" not in str(caught.value)
        assert bucket.signed == []


def form(submission: submissions.Submission) -> dict[str, str]:
    return dict(parse_qsl(b"".join(submission.call.body.chunks()).decode()))


class TestByUrl:
    @pytest.mark.parametrize("path", ["s3://b/x.csv", "s3://conn@b/x.csv"])
    @pytest.mark.parametrize("kind", [str, ObjectStoragePath])
    def test_the_storage_signs(self, bucket, path, kind):
        submission = upload("flights", kind(path), by_url=True)
        assert form(submission)["url"] == f"https://store.example/b/x.csv?n=1&X-Amz-Signature={SIGNATURE}"
        assert bucket.signed == [("b/x.csv", presign.VALID_FOR)]
        assert SIGNATURE not in str(submission.call.params)

    def test_the_signature_is_nowhere_but_in_the_body(self, caplog):
        caplog.set_level(logging.DEBUG)
        submission = upload("flights", "s3://b/x.csv", by_url=True)
        assert SIGNATURE not in f"{caplog.text}{submission!r}{submission.request}{submission.shows}"
        assert "Tinybird fetches x.csv: 34 bytes of csv." in caplog.text

    def test_it_is_masked_in_logs(self, monkeypatch):
        masked: list[str] = []
        monkeypatch.setattr(presign, "mask_secret", masked.append)
        upload("flights", "s3://b/x.csv", by_url=True)
        assert masked == [f"n=1&X-Amz-Signature={SIGNATURE}"]

    def test_a_new_signature_is_the_same_request(self):
        first, second = (upload("flights", "s3://b/x.csv", by_url=True) for _ in range(2))
        assert form(first)["url"] != form(second)["url"]
        assert first.fingerprint == second.fingerprint
        assert first.agrees(job(form(second)["url"])) is Agreement.YES
        assert first.agrees(job("https://store.example/b/other.csv?n=1")) is Agreement.NO
        assert first.identifies

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("memory://b/x.csv", "cannot sign an address"),
            ("s3://b/forbidden.csv", r"cannot sign an address \(no key for https://x/y\?\*\*\*\)"),
            ("s3://b/odd.csv", "signs no address"),
            ("s3://b/zipped.csv", "let it end in .gz"),
        ],
    )
    def test_what_cannot_be_fetched(self, path, said):
        with pytest.raises(InvalidInputError, match=said) as caught:
            upload("flights", path, by_url=True)
        assert "by_url out" in str(caught.value)
        assert SIGNATURE not in str(caught.value)

    def test_a_gzipped_file(self):
        assert form(upload("flights", "s3://b/zipped.csv.gz", by_url=True))["url"].startswith("https://")

    def test_a_file_of_this_worker(self, tmp_path):
        place = written(tmp_path / "x.csv", CSV)
        for path in (place, str(place), f"file://{place}"):
            with pytest.raises(InvalidInputError, match="is on this worker"):
                upload("flights", path, by_url=True)


def job(url: str) -> Job:
    raw = {"kind": "import", "mode": "append", "url": url, "datasource": {"name": "flights"}}
    return parse_job({"id": "j", "status": "done", **raw})


class TestOptions:
    def test_the_dialect_goes_with_both(self, tmp_path):
        options = ImportOptions(dialect_delimiter=";", dialect_new_line="\r\n", dialect_escapechar="\\")
        sent = upload("flights", written(tmp_path / "x.csv", CSV), options=options)
        fetched = upload("flights", "s3://b/x.csv", by_url=True, options=options)
        expected = {"dialect_delimiter": ";", "dialect_new_line": "\r\n", "dialect_escapechar": "\\"}
        for submission in (sent, fetched):
            assert expected.items() <= dict(submission.call.params).items()
            assert expected.items() <= submission.request.items()

    def test_another_dialect_is_another_request(self):
        one, other = (upload("flights", "s3://b/x.csv", options=ImportOptions(dialect_delimiter=mark)) for mark in ",;")
        assert one.fingerprint != other.fingerprint
