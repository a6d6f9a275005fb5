"""Files to read and to write."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from airflow_provider_tinybird._compat import ObjectStoragePath
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.files.local_or_remote import file_format, file_to_send, file_to_write, holds_rows


class TestFileToSend:
    @pytest.mark.parametrize(
        ("name", "format", "gzipped"),
        [
            ("a.csv", FileFormat.CSV, False),
            ("a.CSV.GZ", FileFormat.CSV, True),
            ("a.b.ndjson", FileFormat.NDJSON, False),
            ("a.jsonl.gz", FileFormat.NDJSON, True),
            ("a.parquet", FileFormat.PARQUET, False),
        ],
    )
    def test_the_name_tells_the_format(self, tmp_path, name, format, gzipped):
        place = tmp_path / name
        content = {FileFormat.PARQUET: b"PAR1", FileFormat.NDJSON: b'{"a":1}', FileFormat.CSV: b"12345"}[format]
        content = gzip.compress(content) if gzipped else content
        place.write_bytes(content)
        file = file_to_send(str(place))
        assert (file.name, file.size, file.format, file.gzipped) == (name, len(content), format, gzipped)
        assert b"".join(file.as_body().chunks()) == content
        assert file.as_body().content_encoding == ("gzip" if gzipped else None)

    def test_a_gzipped_file_is_known_by_its_first_bytes(self, tmp_path):
        file = file_to_send(_written(tmp_path / "a.csv", gzip.compress(b"a,b", mtime=0)))
        assert file.gzipped
        assert file.as_body().content_encoding == "gzip"
        with pytest.raises(InvalidInputError, match=r"ends in \.gz, but the file is not gzipped"):
            file_to_send(_written(tmp_path / "a.csv.gz", b"a,b"))

    def test_a_path_of_object_storage(self, tmp_path):
        place = _written(tmp_path / "a.csv", b"12345")
        assert file_to_send(ObjectStoragePath(f"file://{place}")).size == 5

    def test_a_format_that_is_given_wins(self, tmp_path):
        place = tmp_path / "export.txt"
        place.write_text("a,b")
        assert file_to_send(place, "csv").format is FileFormat.CSV

    @pytest.mark.parametrize("kind", ["file://{}", "{}"])
    def test_urls_and_paths(self, tmp_path, kind):
        place = tmp_path / "a.csv"
        place.write_bytes(b"12345")
        file = file_to_send(kind.format(place))
        assert (file.name, file.size) == ("a.csv", 5)
        with file.open_file() as opened:
            assert opened.read() == b"12345"

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda p: p / "missing.csv", "no file"),
            (lambda p: f"file://{p}/missing.csv", "no file"),
            (lambda p: p, "folder"),
            (lambda p: _written(p / "empty.csv", b""), "empty"),
            (lambda p: _written(p / "table.xlsx", b"x"), "format='csv', 'ndjson' or 'parquet'"),
            (lambda p: _written(p / "csv", b"x"), "does not tell the format"),
        ],
    )
    def test_what_cannot_be_sent(self, tmp_path, make, said):
        path = make(tmp_path)
        with pytest.raises(InvalidInputError, match=said) as caught:
            file_to_send(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("path", ["", "   ", None, 7, b"a.csv"])
    def test_what_is_no_path(self, path):
        with pytest.raises(InvalidInputError, match="path is"):
            file_to_send(path)

    @pytest.mark.parametrize("format", ["excel", "CSV", "json", "tsv"])
    def test_a_format_that_tinybird_does_not_import(self, format):
        with pytest.raises(InvalidInputError, match="csv, ndjson, parquet"):
            file_format(format)


class TestFileToWrite:
    def test_it_is_there_when_it_is_whole(self, tmp_path):
        place = tmp_path / "new" / "folder" / "a.csv"
        with file_to_write(place) as file:
            file.write(b"123")
            assert not place.exists()
        assert place.read_bytes() == b"123"
        assert os.listdir(place.parent) == ["a.csv"]

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        place = _written(tmp_path / "a.csv", b"old")
        with pytest.raises(KeyError):
            _write_and_break(place)
        assert place.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a.csv"]

    def test_it_replaces_what_was_there(self, tmp_path):
        place = _written(tmp_path / "a.csv", b"older and longer")
        with file_to_write(place) as file:
            file.write(b"new")
        assert place.read_bytes() == b"new"

    def test_a_url(self, tmp_path):
        place = tmp_path / "a.csv"
        with file_to_write(f"file://{place}") as file:
            file.write(b"123")
        assert place.read_bytes() == b"123"

    def test_a_url_that_could_not_be_finished_is_removed(self, tmp_path):
        with pytest.raises(KeyError):
            _write_and_break(f"file://{tmp_path}/a.csv")
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        "make",
        [
            lambda p: p,
            lambda p: _written(p / "file", b"x") / "below.csv",
            lambda p: Path("/proc/nothing/a.csv"),
        ],
    )
    def test_a_place_that_cannot_be_written(self, tmp_path, make):
        path = make(tmp_path)
        with pytest.raises(InvalidInputError, match=r"output_path .* cannot be written") as caught, file_to_write(path):
            pass
        assert str(path) in str(caught.value)

    def test_trouble_while_writing_is_not_blamed_on_the_path(self, tmp_path):
        with pytest.raises(OSError, match="disk full"), file_to_write(tmp_path / "a.csv"):
            raise OSError(28, "disk full")
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("path", ["", "  "])
    def test_a_blank_path(self, path):
        with pytest.raises(InvalidInputError, match="output_path is"), file_to_write(path):
            pass


def _written(place: Path, content: bytes) -> Path:
    place.write_bytes(content)
    return place


def _write_and_break(path: Path | str) -> None:
    with file_to_write(path) as file:
        file.write(b"new")
        raise KeyError


@pytest.mark.parametrize(
    "name", ["what?.csv", "a?b=c.csv", "?.csv", "x#1.csv", "50%.csv", "a b*[1].csv", "é.csv", "a?.csv.gz"]
)
@pytest.mark.parametrize("kind", ["{}", "file://{}"])
def test_any_name_that_a_file_can_have(tmp_path, name, kind):
    content = gzip.compress(b"a,b\n1,2\n", mtime=0) if name.endswith(".gz") else b"a,b\n1,2\n"
    place = _written(tmp_path / name, content)
    file = file_to_send(kind.format(place))
    assert (file.name, file.size, file.format) == (name, len(content), FileFormat.CSV)
    assert b"".join(file.as_body().chunks()) == content


def test_a_version_in_a_url_does_not_belong_to_the_name():
    from airflow_provider_tinybird.files.local_or_remote import _name

    assert _name("s3://bucket/day.csv?versionId=1") == "day.csv"
    assert _name("s3://bucket/day.csv.gz?versionId=a/b.c") == "day.csv.gz"
    assert _name("s3://bucket/what?.csv") == "what?.csv"


def test_a_path_that_goes_through_a_file(tmp_path):
    _written(tmp_path / "a.csv", b"a")
    for path in (tmp_path / "a.csv" / "b.csv", tmp_path / ("x" * 300 + ".csv")):
        with pytest.raises(InvalidInputError, match=r"no file|cannot be read"):
            file_to_send(path)


ROWS = [
    ("a.csv", b"a,b\n1,2\n", True),
    ("a.csv", b"a,b\n", False),
    ("a.csv", b"a,b", False),
    ("a.csv", b"\xef\xbb\xbfa,b\r\n\r\n  \n", False),
    ("a.csv", b"a,b\r1,2\r", True),
    ("a.csv", b'"a\nb","c ""d"""\n', False),
    ("a.csv", b'"a\nb"\n"c"\n', True),
    ("a.csv", b"x," * 50_000, True),
    ("a.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0), True),
    ("a.csv.gz", gzip.compress(b"a,b\n", mtime=0), False),
    ("a.ndjson", b'{"a":1}', True),
    ("a.ndjson", b"\n \n", False),
]


@pytest.mark.parametrize(("name", "content", "expected"), ROWS)
def test_whether_a_file_holds_rows(tmp_path, name, content, expected):
    assert holds_rows(_written(tmp_path / name, content)) is expected


def test_whether_a_parquet_file_holds_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number in (0, 3):
        pq.write_table(pa.table({"a": list(range(number))}), tmp_path / "a.parquet")
        assert holds_rows(tmp_path / "a.parquet") is (number > 0)
    assert holds_rows(_written(tmp_path / "a.parquet", b"PAR1 and more")) is None
    assert holds_rows(tmp_path / "gone.csv") is None


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"a,b\r1,x\r2,y\r", True),
        (b"a,b\r1,x", True),
        (gzip.compress(b"a,b\r1,x\r2,y\r", mtime=0), True),
        (b'\xef\xbb\xbf"a\nb"\r1\r', True),
        (b"a,b\r\n1,x\r\n", False),
        (b"a,b\n1,x\n", False),
        (b'a,"b\rc"\n1,"x\ry"\n', False),
        (b'"b\rc"', False),
        (b"a,b\r", False),
        (b"a,b", False),
    ],
)
def test_lines_that_end_with_carriage_returns_alone(tmp_path, content, refused):
    file = file_to_send(_written(tmp_path / "a.csv", content))
    file.check_line_ends("\r")
    if refused:
        with pytest.raises(InvalidInputError, match=r"Nothing was sent: .*dialect_new_line='\\r'"):
            file.check_line_ends(None)
    else:
        file.check_line_ends(None)


def test_only_csv_has_a_dialect(tmp_path):
    file_to_send(_written(tmp_path / "a.ndjson", b'{"a":1}\r{"a":2}\r')).check_line_ends(None)
