"""Paths given as data that cannot be read: said clearly, before anything is sent, and never tried again."""

from __future__ import annotations

import bz2
import lzma
from pathlib import Path

import pytest

from airflow_provider_tinybird._compat import AirflowFailException, ObjectStoragePath
from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError, batches
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

LINE = '{"a": 1}\n'
KINDS = {
    "bzip2": bz2.compress(LINE.encode()),
    "xz": lzma.compress(LINE.encode()),
    "zip": b"PK\x03\x04" + bytes(30),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(30),
    "UTF-16": LINE.encode("utf-16"),
    "ORC": b"ORC" + bytes(30),
    "Avro": b"Obj\x01" + bytes(30),
}
PLACES = {
    "missing": (lambda folder: folder / "nope.ndjson", "there is no file"),
    "missing folder": (lambda folder: folder / "nope" / "a.ndjson", "there is no file"),
    "missing URL": (lambda folder: ObjectStoragePath(f"file://{folder}/nope.ndjson"), "there is no file"),
    "folder": (lambda folder: folder, "is a folder"),
    "below a file": (lambda folder: folder / "a.ndjson" / "b.ndjson", "no file that can be read"),
    "dangling link": (lambda folder: folder / "link", "there is no file"),
}
WRAPPED = [lambda path: path, lambda path: [path], lambda path: lambda: path, lambda path: lambda: iter([path])]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "a.ndjson").write_text(LINE)
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    return tmp_path


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file(tinybird, folder, place, wrapped):
    make, said = PLACES[place]
    operator = TinybirdEventsOperator(task_id="t", datasource="d", data=wrapped(make(folder)))
    with pytest.raises(AirflowFailException, match=f"Nothing was sent to 'd': .*{said}"):
        operator.execute({})
    assert [line for line in tinybird.lines() if "events" in line] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opened", [False, True])
def test_files_of_other_kinds(tmp_path, kind, opened):
    place = tmp_path / "a.ndjson"
    place.write_bytes(KINDS[kind])
    with place.open("rb") as file, pytest.raises(UnsupportedDataError, match=rf"The file is .*{kind}"):
        list(batches(file if opened else place))


class Locked(type(Path())):  # type: ignore[misc]
    """A file that may not be read; root, who runs some tests, may read any."""

    def open(self, *_, **__):
        raise PermissionError(13, "Permission denied")


def test_a_file_that_may_not_be_read(folder):
    with pytest.raises(EncodeError, match=r"no file that can be read \(Permission denied\)"):
        list(batches(Locked(folder / "a.ndjson")))


def test_any_name_that_a_file_can_have(tmp_path):
    for name in ("what?.ndjson", "a b#%[1].ndjson", "é"):
        (tmp_path / name).write_text(LINE)
        assert [batch.rows for batch in batches(tmp_path / name)] == [1]
