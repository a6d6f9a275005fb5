"""Which objects are taken, alone and mixed, and what is said of the others."""

from __future__ import annotations

import asyncio
import gzip
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from airflow_provider_tinybird._compat import ObjectStoragePath
from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError, batches, check


def sent(data: object) -> str:
    return b"".join(batch.body for batch in batches(data)).decode()


TABLE = pa.table({"a": [1, 2]})
TWO = '{"a":1}\n{"a":2}\n'


class Stream:
    """What a DuckDB relation or another library's table looks like."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


class Batch:
    """An object that has one batch only."""

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


def generator() -> Iterator[object]:
    yield {"a": 1}
    yield {"a": 2}


def lines_file(folder: Path, name: str, content: bytes) -> Path:
    place = folder / name
    place.write_bytes(content)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "x.ndjson").write_text(TWO)
    (folder / "x.ndjson.gz").write_bytes(gzip.compress(TWO.encode()))
    (folder / "two members").write_bytes(gzip.compress(b'{"a":1}\n{"a"') + gzip.compress(b":2}"))
    (folder / "with a mark").write_text(TWO, encoding="utf-8-sig")
    (folder / "no newline at the end").write_text(TWO.rstrip())
    (folder / "windows").write_bytes(TWO.replace("\n", "\r\n").encode())
    pq.write_table(TABLE, folder / "x.parquet", row_group_size=1)
    return folder


FILES = ["x.ndjson", "x.ndjson.gz", "two members", "with a mark", "no newline at the end", "windows"]


@pytest.mark.parametrize("name", FILES)
def test_files_of_ndjson(folder, name):
    assert sent(folder / name) == TWO
    assert sent(lambda: [folder / name]) == TWO
    assert sent(ObjectStoragePath(f"file://{folder / name}")) == TWO
    with (folder / name).open("rb") as file:
        assert sent(file) == TWO
        assert not file.closed
    if "gz" not in name and name != "two members":
        with (folder / name).open() as file:
            assert sent(file) == TWO


def test_only_a_little_of_a_file_is_in_memory(tmp_path):
    line = b'{"s":"%s"}\n' % (b"x" * 990)
    with gzip.open(tmp_path / "large.gz", "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(line * 1000)
    tracemalloc.start()
    assert sum(batch.rows for batch in batches(tmp_path / "large.gz", max_bytes=2_000_000)) == 100_000
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


BROKEN = {
    "cut short": (gzip.compress(TWO.encode() * 1000)[:-9], EncodeError, "damaged or cut short"),
    "damaged": (gzip.compress(TWO.encode())[:-8] + b"12345678", EncodeError, "damaged or cut short"),
    "csv": (b"a,b\n1,2\n", UnsupportedDataError, "Text must be NDJSON"),
    "csv, one long line": (b"a" * 3_000_000, UnsupportedDataError, "Text must be NDJSON"),
    "array": (b'[{"a":1}]', UnsupportedDataError, "A JSON array is not NDJSON"),
    "parquet": (b"PAR1....", UnsupportedDataError, "pyarrow.dataset"),
    "third line": (b'{"a":1}\n\n{"a":}\n', EncodeError, "line 3: not valid JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_cannot_be_read(tmp_path, name):
    content, kind, reason = BROKEN[name]
    with pytest.raises(kind, match=reason):
        sent(lines_file(tmp_path, name, content))


def test_lines_over_the_borders_of_pieces(tmp_path):
    text = "".join(f'{{"n":{n},"s":"{"é" * (n % 2000)}"}}\n' for n in range(3000))
    assert sent(lines_file(tmp_path, "x", text.encode())) == text
    assert sent(io.StringIO(text)) == text


LAZY = {
    "dataset": lambda folder: ds.dataset(folder / "x.parquet"),
    "scanner": lambda folder: ds.dataset(folder / "x.parquet").scanner(),
    "duckdb relation": lambda folder: duckdb.sql(f"SELECT a FROM '{folder}/x.parquet' ORDER BY a"),
    "duckdb result": lambda folder: duckdb.connect().execute("SELECT unnest([1, 2]) AS a"),
    "polars lazy": lambda folder: pl.scan_parquet(folder / "x.parquet"),
}


@pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")
@pytest.mark.parametrize("name", LAZY)
def test_what_is_read_as_it_is_needed(folder, name):
    assert sent(LAZY[name](folder)) == TWO
    assert sent(lambda: iter([LAZY[name](folder)])) == TWO
    assert check(LAZY[name](folder)) is False


@pytest.mark.parametrize("name", ["dataset", "polars lazy", "duckdb relation"])
def test_only_a_few_batches_of_a_query_are_in_memory(tmp_path, name):
    table = pa.table({"s": ["x" * 220] * 40_000})
    with pq.ParquetWriter(tmp_path / "x.parquet", table.schema) as file:
        for _ in range(20):
            file.write_table(table)
    code = f"""
import resource, sys
from pathlib import Path
import duckdb, polars as pl, pyarrow.dataset as ds
from airflow_provider_tinybird.ndjson import batches
folder = Path({str(tmp_path)!r})
data = {{
    "dataset": lambda: ds.dataset(folder / "x.parquet"),
    "polars lazy": lambda: pl.scan_parquet(folder / "x.parquet"),
    "duckdb relation": lambda: duckdb.sql(f"SELECT * FROM '{{folder}}/x.parquet'"),
}}[{name!r}]
next(iter(batches(pl.DataFrame({{"a": ["x"] * 100_000}}))))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = size = 0
for batch in batches(data()):
    rows += batch.rows
    size += len(batch.body)
assert rows == 800_000
print(size // 1_000_000, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    size, memory = map(int, done.stdout.split())
    assert size > 170
    assert memory < 100


SOURCES = {
    "table": lambda: TABLE,
    "record batch": lambda: TABLE.to_batches()[0],
    "reader": TABLE.to_reader,
    "stream": Stream,
    "array": Batch,
    "pandas": lambda: pd.DataFrame({"a": [1, 2]}),
    "list": lambda: [{"a": 1}, {"a": 2}],
    "tuple": lambda: ({"a": 1}, {"a": 2}),
    "generator": generator,
    "map": lambda: map(dict, [{"a": 1}, {"a": 2}]),
    "text": lambda: TWO,
    "lines of an open file": lambda: io.StringIO(TWO),
    "bytes": lambda: TWO.encode(),
    "list of frames": lambda: [pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})],
    "list of lists": lambda: [[{"a": 1}], [], [{"a": 2}]],
    "mixed": lambda: iter([{"a": 1}, pd.DataFrame({"a": [2]})]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_source(name):
    assert sent(SOURCES[name]()) == TWO


@pytest.mark.parametrize("name", SOURCES)
def test_function_that_returns_it(name):
    assert sent(SOURCES[name]) == TWO


def test_everything_mixed_in_order():
    def data() -> Iterator[object]:
        yield {"a": 1}
        yield {"a": 2}
        yield pa.table({"a": [3]})
        yield {"b": 4}
        yield [{"a": 5}, pd.DataFrame({"a": [6]}), {"a": 7}]
        yield '{"a":8}'
        yield pa.table({"a": [9]}).to_reader()
        yield pd.DataFrame({"z": [10]})

    expected = [{"a": 1}, {"a": 2}, {"a": 3}, {"b": 4}, {"a": 5}, {"a": 6}, {"a": 7}, {"a": 8}, {"a": 9}, {"z": 10}]
    assert sent(data) == "".join(f'{{"{key}":{value}}}\n' for row in expected for key, value in row.items())
    assert [(batch.rows, batch.first_row) for batch in batches(data)] == [(10, 0)]


@pytest.mark.parametrize(
    "data",
    [[], (), iter([]), "", [[], []], pa.table({"a": pa.array([], pa.int8())}), list],
    ids=["list", "tuple", "iterator", "text", "lists", "table", "callable"],
)
def test_no_rows_no_batches(data):
    assert list(batches(data)) == []


async def coroutine() -> None:
    await asyncio.sleep(0)


async def async_generator():
    yield {"a": 1}


UNSUPPORTED = {
    "int": (lambda: 5, "rows out of int"),
    "none": (lambda: None, "NoneType.*has to return it"),
    "float": (lambda: 1.5, "float"),
    "object": (object, "object"),
    "set": (lambda: {1}, "set"),
    "list of ints": (lambda: [1, 2], "rows out of int"),
    "int after records": (lambda: [{"a": 1}, 5], "rows out of int"),
    "list of plain texts": (lambda: ["x"], "Text must be NDJSON"),
    "series": (lambda: pd.Series([1]), r"to_frame\(\)"),
    "index": (lambda: pd.Index([1]), "pandas"),
    "numpy array": (lambda: np.array([1]), "put it into a DataFrame"),
    "arrow array": (lambda: pa.array([1]), "put it into a DataFrame"),
    "chunked array": (lambda: pa.chunked_array([[1]]), "put it into a DataFrame"),
    "coroutine": (coroutine, "coroutine.*async"),
    "async generator": (async_generator, "async_generator.*async"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported(name):
    make, reason = UNSUPPORTED[name]
    with pytest.raises(UnsupportedDataError, match=reason) as caught:
        sent(make())
    assert "Accepted: a pandas or polars DataFrame" in str(caught.value)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_function_that_returns_something_unsupported(name):
    make, reason = UNSUPPORTED[name]
    with pytest.raises(UnsupportedDataError, match=reason):
        sent(lambda: make())


def test_function_with_arguments():
    with pytest.raises(UnsupportedDataError, match="called without arguments, but: missing a required argument: 'day'"):
        sent(lambda day: [day])


def test_an_error_of_the_function_comes_through():
    def broken() -> object:
        raise RuntimeError("their own")

    with pytest.raises(RuntimeError, match="their own"):
        sent(broken)


LIKE_A_FILE = {"open": [1], "name": ["x"], "exists": [True], "read": [2], "fs": [3], "num_rows": [4], "columns": [5]}


@pytest.mark.parametrize(
    "make",
    [
        pd.DataFrame,
        pl.DataFrame,
        lambda columns: pl.DataFrame(columns).lazy(),
        pa.table,
        lambda columns: duckdb.sql(
            "SELECT 1 AS open, 'x' AS name, true AS exists, 2 AS read, 3 AS fs, 4 AS num_rows, 5 AS columns"
        ),
        lambda columns: [pd.DataFrame(columns)],
        lambda columns: lambda: iter([pd.DataFrame(columns)]),
    ],
    ids=["pandas", "polars", "lazy", "Arrow", "DuckDB", "list", "function"],
)
def test_a_frame_is_no_file_whatever_its_columns_are_called(make):
    assert sent(make(LIKE_A_FILE)) == '{"open":1,"name":"x","exists":true,"read":2,"fs":3,"num_rows":4,"columns":5}\n'


def test_columns_of_other_libraries_that_are_attributes():
    class Attributes(Stream):
        """A frame of another library, each of whose columns is an attribute."""

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return [1, 2]

    assert sent(Attributes()) == TWO


def test_what_was_read_to_its_end_is_noticed():
    def rows() -> Iterator[dict[str, int]]:
        yield from [{"a": 1}, {"a": 2}]

    for data in (rows(), TABLE.to_reader(), io.BytesIO(TWO.encode()), io.StringIO(TWO)):
        assert sent(data) == TWO
        with pytest.raises(UnsupportedDataError, match="nothing is left"):
            sent(data)


def test_what_has_no_rows_and_was_not_read_before_is_nothing():
    def rows() -> Iterator[dict[str, int]]:
        yield from []

    for data in (rows(), TABLE.slice(0, 0).to_reader(), io.BytesIO(), io.StringIO()):
        assert sent(data) == ""
