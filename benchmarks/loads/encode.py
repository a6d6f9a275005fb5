"""Encode one table in one way, in a process of its own: ``encode.py WAY SOURCE``; prints what it cost."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2])]
from measure import cost_of, print_cost  # noqa: E402

STEP = 20_000
"""Rows at once of the ways that make dicts: all at once would only cost them more memory."""


def ours(data: Any) -> int:
    """With this package."""
    from airflow_provider_tinybird.ndjson import batches

    return sum(len(batch.body) for batch in batches(data))


SCHEMA = {
    "timestamp": "DateTime",
    "value": "Float32",
    "local_time": "DateTime64(3, 'Europe/Madrid')",
    "day": "Date",
    "price": "Decimal(18, 2)",
    "optional_float": "Nullable(Float64)",
    "small": "Float32",
    "user_id": "Int64",
    "optional_int": "Nullable(Float64)",
    "tags": "Array(String)",
    "metric_0": "Float32",
    "time_hour": "DateTime",
    "flight_day": "Date",
    "air_time": "Nullable(Float32)",
    "distance": "Float32",
    "dep_delay": "Nullable(Decimal(9, 2))",
}
"""Columns that could change values, more than most data sources have."""


def gate() -> Any:
    """What looks for values that such columns would change."""
    from airflow_provider_tinybird.ndjson import Gate, GatedColumn, Reader

    columns = (GatedColumn.of(name, kind, "") for name, kind in SCHEMA.items())
    return Gate([column for column in columns if column], Reader())


def looked_at(data: Any) -> int:
    """With this package, and each value that its column could change looked at."""
    from airflow_provider_tinybird.ndjson import batches

    return sum(len(batch.body) for batch in batches(data, gate=gate()))


def frames(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """A generator of frames, as a reader of a large file gives them."""
    for start in range(0, len(frame), 50_000):
        yield frame.iloc[start : start + 50_000].reset_index(drop=True)


def dicts(dump: Callable[[Any], bytes]) -> Callable[[pd.DataFrame], int]:
    """Rows to dicts, dicts to text, as clients that take dicts make people do."""

    def run(frame: pd.DataFrame) -> int:
        return sum(
            len(b"\n".join(dump(record) for record in frame.iloc[start : start + STEP].to_dict("records")))
            for start in range(0, len(frame), STEP)
        )

    return run


def by_json(record: Any) -> bytes:
    return json.dumps(record, default=str).encode()


def by_orjson(record: Any) -> bytes:
    import orjson

    return orjson.dumps(record, default=str, option=orjson.OPT_SERIALIZE_NUMPY)


def to_json(frame: pd.DataFrame) -> int:
    """pandas's own (it loses digits of floats, and knows no Decimal)."""
    plain = frame.assign(price=frame["price"].astype(str)) if "price" in frame else frame
    return len(plain.to_json(orient="records", lines=True, date_format="iso", double_precision=15).encode())


def by_polars(frame: Any) -> int:
    """polars's own, in slices of about the size of a body."""
    total = 0
    for start in range(0, frame.height, STEP):
        buffer = io.BytesIO()
        frame.slice(start, STEP).write_ndjson(buffer)
        total += buffer.tell()
    return total


def by_duckdb(rows: pa.Table) -> int:
    """DuckDB's own, on one thread, into a file in memory."""
    import duckdb

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = os.path.join(folder, "out.ndjson")
        connection = duckdb.connect()
        connection.execute("SET threads = 1")
        connection.execute(f"COPY (SELECT * FROM rows) TO '{path}' (FORMAT json)")
        return os.path.getsize(path)


WAYS: dict[str, tuple[str, Callable[[Any], int]]] = {
    "ours, from Arrow": ("arrow", ours),
    "ours, from Arrow, values looked at": ("arrow", looked_at),
    "ours, from polars": ("polars", ours),
    "ours, from pandas": ("pandas", ours),
    "ours, from pandas, values looked at": ("pandas", looked_at),
    "ours, from a generator of frames": ("pandas", lambda frame: ours(frames(frame))),
    "polars write_ndjson": ("polars", by_polars),
    "DuckDB COPY, from Arrow": ("arrow", by_duckdb),
    "pandas to_json(lines=True)": ("pandas", to_json),
    "to_dict + json.dumps": ("pandas", dicts(by_json)),
    "to_dict + orjson": ("pandas", dicts(by_orjson)),
}


def as_kind(frame: pd.DataFrame, kind: str) -> Any:
    """The frame as ``pandas``, ``arrow`` or ``polars``."""
    if kind == "pandas":
        return frame
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if kind == "arrow":
        return table
    import polars as pl

    return pl.from_arrow(table)


def main() -> None:
    """Read the arguments and run."""
    way, source = sys.argv[1:3]
    kind, run = WAYS[way]
    frame = pd.read_pickle(source)
    data = as_kind(frame, kind)
    run(as_kind(frame.head(100), kind))  # libraries that are loaded late are nobody's cost
    del frame
    print_cost(cost_of(lambda: run(data), len(data)))


if __name__ == "__main__":
    main()
