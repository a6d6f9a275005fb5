"""What is read as it is needed: data sets, queries that have not run yet, any Arrow stream. Only a few batches are in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakSet

from airflow_provider_tinybird.ndjson.errors import UnsupportedDataError

USED_UP = "It was used up before, so that nothing is left in it: make a new one, or give a function that makes it."
_USED_UP: WeakSet[Any] = WeakSet()
_ROWS = 30_000  # of a batch, where the library lets us choose: by itself it takes some hundred thousand rows ahead


def is_a(data: object, module: str, *names: str) -> bool:
    """Whether it is an instance of a class of a library; a library that nobody imported made no objects.

    :param data: any object.
    :param module: name of the module.
    :param names: names of classes in it; those that this version of the library lacks are passed over.
    """
    library = sys.modules.get(module)
    return library is not None and isinstance(
        data, tuple(getattr(library, name) for name in names if hasattr(library, name))
    )


def tables_of(data: object) -> Iterable[Any] | None:
    """Arrow tables or batches, made one after the other.

    :param data: pyarrow Table, RecordBatch, RecordBatchReader, Dataset or Scanner, a DuckDB relation or result, or anything
        with the Arrow C interface.
    :return: None when it is none of these.
    :raises UnsupportedDataError: an Arrow stream has values and no columns.
    """
    if is_a(data, "pyarrow", "Table", "RecordBatch"):
        return [data]
    if is_a(data, "pyarrow", "RecordBatchReader"):
        return _read_once(data)
    if is_a(data, "pyarrow.dataset", "Dataset", "Scanner"):
        return _scanned(data)
    if is_a(data, "duckdb", "DuckDBPyRelation", "DuckDBPyConnection"):
        return _fetched(data)
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return _imported(data)
    return None


def frames_of(lazy_frame: Any) -> Iterator[Any]:
    """Polars DataFrames, made one after the other where this version of polars can.

    :param lazy_frame: polars LazyFrame.
    """
    if hasattr(lazy_frame, "collect_batches"):
        yield from lazy_frame.collect_batches(chunk_size=_ROWS, maintain_order=True)
    else:
        yield lazy_frame.collect()


def _read_once(reader: Any) -> Iterator[Any]:
    """Batches of a reader. One that was read to its end before would say that there are no rows."""
    if reader in _USED_UP:
        raise UnsupportedDataError(reader, USED_UP)
    yield from reader
    _USED_UP.add(reader)


def _scanned(data: Any) -> Iterator[Any]:
    if is_a(data, "pyarrow.dataset", "Scanner"):  # whoever made it chose
        return iter(data.to_batches())
    return iter(data.to_batches(batch_size=_ROWS, batch_readahead=2, fragment_readahead=1))


def _fetched(data: Any) -> Iterable[Any]:
    name = "to_arrow_reader" if hasattr(data, "to_arrow_reader") else "fetch_record_batch"  # the name before DuckDB 1.5
    reader: Iterable[Any] = getattr(data, name)(_ROWS)
    return reader


def _imported(data: Any) -> Iterable[Any]:
    import pyarrow as pa

    try:
        if not hasattr(data, "__arrow_c_stream__"):
            return [pa.record_batch(data)]
        if hasattr(pa.RecordBatchReader, "from_stream"):
            reader: Iterable[Any] = pa.RecordBatchReader.from_stream(data)
            return reader
        return [pa.table(data)]
    except (pa.ArrowInvalid, TypeError) as error:
        raise UnsupportedDataError(data, f"Its Arrow stream is no table ({error}).") from error
