"""Options of imports on the wire, and those that do not go together."""

from __future__ import annotations

import io

import pytest

from airflow_provider_tinybird.api import imports
from airflow_provider_tinybird.api.body import FileBody
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.import_options import ImportOptions
from airflow_provider_tinybird.api.models import FileFormat, ImportMode

CSV, NDJSON = FileFormat.CSV, FileFormat.NDJSON
JOB = {"id": "j-1", "job_id": "j-1", "status": "waiting"}
URL = "https://host/x.csv"
OPTIONS = ImportOptions(
    dialect_delimiter="|",
    dialect_new_line="\r\n",
    dialect_escapechar="\\",
    replace_truncate_when_empty=True,
    skip_incompatible_partition_key=True,
)
SENT = {
    ("dialect_delimiter", "|"),
    ("dialect_new_line", "\r\n"),
    ("dialect_escapechar", "\\"),
    ("replace_truncate_when_empty", "true"),
    ("skip_incompatible_partition_key", "true"),
}


def a_file() -> FileBody:
    return FileBody(lambda: io.BytesIO(b"a"), 1, "text/csv")


@pytest.mark.parametrize("kind", ["url", "file"])
def test_on_the_wire(wire, kind):
    wire.answers(JOB)
    if kind == "url":
        wire.send(imports.replace_url("flights", URL, format=CSV, options=OPTIONS))
    else:
        wire.send(imports.replace_file_v1("flights", a_file(), format=CSV, options=OPTIONS))
    assert set(wire.only.query) >= SENT


def test_what_is_left_out_is_not_sent(wire):
    wire.answers(JOB)
    wire.send(imports.append_url("flights", URL, format=CSV, options=ImportOptions(dialect_delimiter=";")))
    assert wire.only.query == [
        ("mode", "append"),
        ("name", "flights"),
        ("format", "csv"),
        ("dialect_delimiter", ";"),
    ]


@pytest.mark.parametrize(
    ("options", "mode", "format", "condition", "said"),
    [
        ({"dialect_delimiter": ";;"}, "append", CSV, None, "dialect_delimiter=';;' must have 1 character"),
        ({"dialect_delimiter": ""}, "append", CSV, None, "must have 1 character"),
        ({"dialect_new_line": "\r\n\n"}, "append", CSV, None, "must have 1 or 2 characters"),
        ({"dialect_escapechar": "\\\\"}, "append", CSV, None, "dialect_escapechar"),
        ({"dialect_delimiter": ";"}, "append", NDJSON, None, "format 'ndjson' has no dialect"),
        ({"replace_truncate_when_empty": True}, "append", CSV, None, "goes with mode='replace'"),
        ({"skip_incompatible_partition_key": True}, "append", CSV, None, "goes with mode='replace'"),
        ({"replace_truncate_when_empty": True}, "replace", CSV, "a = 1", "does not go with replace_condition"),
    ],
)
def test_what_does_not_go_together(options, mode, format, condition, said):
    with pytest.raises(InvalidInputError, match=said):
        ImportOptions(**options).parameters(ImportMode(mode), format, condition)
