"""Which objects are taken, alone and mixed, and what is said of the others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from airflow_provider_tinybird.ndjson import UnsupportedDataError, batches


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
    "path": (lambda: Path("x.ndjson"), "pathlib"),
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
