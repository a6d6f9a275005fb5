"""Files of rows: bounded, one at a time, in bounded memory, and nothing left of them."""

from __future__ import annotations

import gzip
import json
import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from airflow_provider_tinybird.api.datasources import read_datasource
from airflow_provider_tinybird.spool import Limits, Rows, spooled, target_columns
from airflow_provider_tinybird.spool.files import SpooledFile

COLUMNS = target_columns(
    read_datasource({"schema": {"columns": [{"name": "n", "type": "Int64"}, {"name": "text", "type": "String"}]}})
)


def frames(count: int, rows: int) -> Iterator[pd.DataFrame]:
    """Frames with texts that hardly compress."""
    for number in range(count):
        source = random.Random(number)
        texts = [f"{source.getrandbits(400):x}" for _ in range(rows)]
        yield pd.DataFrame({"n": range(number * rows, (number + 1) * rows), "text": texts})


def files_of(data: Any, limits: Limits, columns: Any = COLUMNS) -> Iterator[SpooledFile]:
    return spooled(Rows(data, max_bytes=limits.slice_bytes).slices(columns), limits)


def numbers(file: SpooledFile) -> list[int]:
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
