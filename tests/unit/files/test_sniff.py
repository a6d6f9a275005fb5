"""First bytes of files against their names and formats."""

from __future__ import annotations

import gzip

import pytest

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.files.sniff import is_gzipped

CSV, NDJSON, PARQUET = FileFormat.CSV, FileFormat.NDJSON, FileFormat.PARQUET
ZIPPED = gzip.compress(b"x", mtime=0)  # it is in the names of tests, which must be the same in each process


@pytest.mark.parametrize(
    ("beginning", "path", "format", "gzipped"),
    [
        (b"a,b\n1,2", "x.csv", CSV, False),
        (b"", "x.csv", CSV, False),
        (b"\xef\xbb\xbfa,b", "x.csv", CSV, False),
        (b"\xe9,b", "latin.csv", CSV, False),
        (b"BZhou,ORC\n", "x.csv", CSV, False),
        (b"ORCHID,b\n", "x.csv", CSV, False),
        (ZIPPED, "x.csv.gz", CSV, True),
        (ZIPPED, "x.csv", CSV, True),
        (ZIPPED, "x.parquet.gz", PARQUET, True),
        (b'{"a":1}', "x.ndjson", NDJSON, False),
        (b'\xef\xbb\xbf\n  {"a":1}', "x.ndjson", NDJSON, False),
        (b"PAR1\x15", "x.parquet", PARQUET, False),
    ],
)
def test_files_that_are_what_they_say(beginning, path, format, gzipped):
    assert is_gzipped(beginning, path, format) is gzipped


@pytest.mark.parametrize(
    ("beginning", "path", "format", "said"),
    [
        (b"a,b\n1,2", "x.csv.gz", CSV, r"'x.csv.gz' ends in .gz, but the file is not gzipped: it begins with b'a,b"),
        (b"PAR1\x15", "x.csv", CSV, "sent as 'csv', but is Parquet"),
        (b"PAR1\x15", "x.ndjson", NDJSON, "sent as 'ndjson', but is Parquet"),
        (b"a,b\n", "x.parquet", PARQUET, "is no Parquet: it begins with b'a,b"),
        (b"PK\x03\x04..", "x.csv", CSV, "zip archive"),
        (b"PK\x03\x04..", "x.parquet", PARQUET, "is no Parquet"),
        (b"\x28\xb5\x2f\xfd..", "x.csv", CSV, "zstd: Tinybird takes gzip"),
        (b"\xfd7zXZ\x00", "x.csv", CSV, "xz: Tinybird takes gzip"),
        (b"BZh91AY&SY\x00", "x.csv", CSV, "bzip2: Tinybird takes gzip"),
        ("a,b".encode("utf-16"), "x.csv", CSV, "UTF-16: write it in UTF-8"),
        (b"[{", "x.ndjson", NDJSON, "one object on each line"),
        (b"a,b\n", "x.ndjson", NDJSON, "not with a JSON object. Give its real format"),
    ],
)
def test_contradictions(beginning, path, format, said):
    with pytest.raises(InvalidInputError, match=said):
        is_gzipped(beginning, path, format)
