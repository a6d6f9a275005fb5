"""Files of rows: bounded, one at a time, in bounded memory, and nothing left of them."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from airflow_provider_tinybird.api.datasources import read_datasource
from airflow_provider_tinybird.loads.files import Limits, NoRoomError, Rows, row_files, target_columns
from airflow_provider_tinybird.loads.files.writer import RowFile
from airflow_provider_tinybird.ndjson import EncodeError

COLUMNS = target_columns(
    read_datasource({"schema": {"columns": [{"name": "n", "type": "Int64"}, {"name": "text", "type": "String"}]}})
)


def frames(count: int, rows: int) -> Iterator[pd.DataFrame]:
    """Frames with texts that hardly compress."""
    for number in range(count):
        source = random.Random(number)
        texts = [f"{source.getrandbits(400):x}" for _ in range(rows)]
        yield pd.DataFrame({"n": range(number * rows, (number + 1) * rows), "text": texts})


def files_of(data: Any, limits: Limits, columns: Any = COLUMNS) -> Iterator[RowFile]:
    return row_files(Rows(data, max_bytes=limits.slice_bytes).slices(columns), limits)


def numbers(file: RowFile) -> list[int]:
    with file.open() as opened:
        if file.format == "parquet":
            found: list[int] = pq.read_table(opened).column("n").to_pylist()
            return found
        return [json.loads(line)["n"] for line in gzip.GzipFile(fileobj=opened)]


@pytest.mark.parametrize("columns", [COLUMNS, ()], ids=["parquet", "ndjson"])
def test_every_row_once_and_no_file_above_its_bound(tmp_path: Path, columns: Any) -> None:
    limits = Limits(max_file_bytes=100_000, folder=str(tmp_path))
    found, sizes, lasts = [], [], []
    for file in files_of(frames(20, 250), limits, columns):
        found += numbers(file)
        sizes.append(file.size)
        lasts.append(file.is_last)
        assert os.listdir(tmp_path) == []  # a file without a name
    assert found == list(range(5000))
    assert len(sizes) > 3
    assert max(sizes) <= 100_000
    assert min(sizes[:-1]) > 50_000
    assert lasts == [False] * (len(lasts) - 1) + [True]


def test_the_same_rows_have_the_same_digests() -> None:
    limits = Limits(max_file_bytes=100_000)
    first, again = ([file.digest for file in files_of(frames(10, 250), limits)] for _ in range(2))
    other = [file.digest for file in files_of((frame.assign(n=0) for frame in frames(10, 250)), limits)]
    assert first == again
    assert not set(first) & set(other)


def test_rows_that_stop_fitting_go_on_as_ndjson() -> None:
    def data() -> Iterator[Any]:
        yield pd.DataFrame({"n": [1, 2], "text": ["a", "b"]})
        yield [{"n": 3, "text": "c"}, {"n": "four", "text": "d"}]
        yield pd.DataFrame({"n": [5], "text": ["e"]})

    found = [(file.format.value, file.rows, file.is_last) for file in files_of(data(), Limits())]
    assert found == [("parquet", 2, False), ("ndjson", 3, True)]


def test_memory_does_not_grow_with_the_rows() -> None:
    """Of four times as many bytes as fit into a file; and Arrow's memory as well as Python's."""
    import pyarrow as pa

    limits = Limits(max_file_bytes=4_000_000)
    peaks, size, before = [], 0, pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        for file in files_of(frames(80, 4000), limits):
            size += file.size
            peaks.append(tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before)
    finally:
        tracemalloc.stop()
    assert size > 4 * limits.max_file_bytes
    assert max(peaks) < limits.max_file_bytes


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process may be larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("columns", [COLUMNS, ()], ids=["parquet", "ndjson"])
@pytest.mark.parametrize("rows", [50, 5000], ids=["at the end", "in the middle"])
def test_a_full_disk_has_a_way_out(columns: Any, rows: int) -> None:
    """Some bytes reach the disk only when a file is ended, and then once more when it is closed."""
    descriptors = len(os.listdir("/proc/self/fd"))
    with disk_of(3_000), pytest.raises(NoRoomError, match="give a folder with as much room"):
        list(files_of(frames(1, rows), Limits(max_file_bytes=400_000), columns))
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_folder_that_is_not_there_has_a_way_out(tmp_path: Path) -> None:
    limits = Limits(folder=str(tmp_path / "none"))
    with pytest.raises(NoRoomError, match=r"none: No such file or directory.*spool_folder"):
        list(files_of(frames(1, 5), limits))


def test_nothing_is_kept_of_a_file_that_is_gone() -> None:
    """A compressor takes a quarter of a megabyte, which tracemalloc does not see."""
    limits = Limits(max_file_bytes=2_000)
    files: list[weakref.ref[Any]] = []
    for file in files_of(frames(1, 500), limits, ()):
        assert sum(reference() is not None for reference in files) <= 1
        files.append(weakref.ref(file._file))
        del file
    assert len(files) > 20


def test_a_bad_value_is_told_by_its_row_in_all_of_the_data() -> None:
    frame = pd.DataFrame({"n": [1.0] * 10})
    rows = Rows(iter([frame, frame.assign(n=[1.0] * 4 + [float("inf")] + [1.0] * 5)]), max_bytes=1000)
    with pytest.raises(EncodeError, match="row 14"):
        rows.size_up_to(10**6)
