"""How fast data becomes NDJSON: ``batches`` against what people write by hand, on a narrow and a wide table.

    python benchmarks/encode.py --rows 200000 --repeats 3

Each repeat runs every way once, one after the other, so that a busy machine slows all of them alike; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa

from airflow_provider_tinybird.ndjson import batches

WORDS = np.array(["page_view", "sign_up", "purchase", "log_in", "log_out", "añadir", "refund", "share"])


@dataclass(frozen=True)
class Way:
    """One way of encoding.

    :param name: what the table of results calls it.
    :param run: encodes everything and returns the number of bytes.
    """

    name: str
    run: Callable[[], int]


def narrow(rows: int) -> pd.DataFrame:
    """Six plain columns."""
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-01-01", periods=rows, freq="s", tz="UTC"),
            "user_id": random.integers(0, 10**9, rows),
            "event": WORDS[random.integers(0, len(WORDS), rows)],
            "value": random.normal(size=rows),
            "quantity": random.integers(0, 100, rows).astype("int32"),
            "is_new": random.random(rows) > 0.5,
        }
    )


def wide(rows: int) -> pd.DataFrame:
    """Twenty-two columns: gaps, quotes, dates, decimals, lists, categories and objects among them."""
    random = np.random.default_rng(2)
    frame = narrow(rows)
    gaps = random.random(rows) < 0.1
    session = [f"session-{number:08x}" for number in random.integers(0, 2**32, rows)]
    frame["session"] = session
    frame["session_object"] = pd.Series(session, dtype=object).where(~gaps, None)
    frame["url"] = [f"https://example.com/products/{number}?ref=mail" for number in random.integers(0, 10**6, rows)]
    frame["title"] = np.array(['The "best" one', "plain", "two\nlines", "añadir 🙂"])[random.integers(0, 4, rows)]
    frame["country"] = pd.Categorical(np.array(["ES", "US", "FR", "JP"])[random.integers(0, 4, rows)])
    frame["local_time"] = frame["timestamp"].dt.tz_localize(None)
    frame["day"] = frame["local_time"].dt.date
    frame["price"] = pd.array(
        [Decimal(n) / 100 for n in random.integers(0, 10**6, rows).tolist()], pd.ArrowDtype(pa.decimal128(18, 2))
    )
    frame["optional_int"] = pd.array(np.where(gaps, 0, random.integers(0, 10**6, rows)), "Int64")
    frame.loc[gaps, "optional_int"] = pd.NA
    frame["optional_float"] = np.where(gaps, np.nan, random.normal(size=rows))
    frame["small"] = random.normal(size=rows).astype("float32")
    tags = [[], ["a"], ["a", "b"], ["new", "sale", "top"]]
    frame["tags"] = pd.array([tags[n] for n in random.integers(0, 4, rows)], pd.ArrowDtype(pa.list_(pa.string())))
    for number in range(4):
        frame[f"metric_{number}"] = random.integers(-(10**6), 10**6, rows)
    return frame


def size_of(data: object) -> int:
    """Bytes of all bodies."""
    return sum(len(batch.body) for batch in batches(data))


def by_hand(frame: pd.DataFrame, step: int = 20_000) -> int:
    """``to_dict`` and ``json.dumps``, in slices, as clients for plain dicts make people do."""
    total = 0
    for start in range(0, len(frame), step):
        records = frame.iloc[start : start + step].to_dict("records")
        total += len("\n".join(json.dumps(record, default=str) for record in records).encode())
    return total


def to_json(frame: pd.DataFrame) -> int:
    """What pandas has built in (it loses digits of floats)."""
    plain = frame.assign(price=frame["price"].astype(str)) if "price" in frame else frame
    return len(plain.to_json(orient="records", lines=True, date_format="iso", double_precision=15).encode())


def ways(frame: pd.DataFrame) -> Iterator[Way]:
    """All ways, on one frame."""
    import polars as pl

    table = pa.Table.from_pandas(frame, preserve_index=False)
    frame_polars = pl.from_arrow(table)
    records = frame.to_dict("records")
    yield Way("batches, Arrow", lambda: size_of(table))
    yield Way("batches, polars", lambda: size_of(frame_polars))
    yield Way("batches, pandas", lambda: size_of(frame))
    yield Way("batches, list of dicts", lambda: size_of(records))
    yield Way("json.dumps, list of dicts", lambda: len("\n".join(json.dumps(r, default=str) for r in records).encode()))
    yield Way("to_dict + json.dumps, pandas", lambda: by_hand(frame))
    yield Way("to_json, pandas", lambda: to_json(frame))


def measure(frame: pd.DataFrame, repeats: int) -> None:
    """Print one line for each way."""
    all_ways = list(ways(frame))
    seconds: dict[str, list[float]] = {way.name: [] for way in all_ways}
    sizes: dict[str, int] = {}
    for _ in range(repeats):
        for way in all_ways:
            begin = time.perf_counter()
            sizes[way.name] = way.run()
            seconds[way.name].append(time.perf_counter() - begin)
    slowest = statistics.median(seconds["to_dict + json.dumps, pandas"])
    for name, times in seconds.items():
        median = statistics.median(times)
        mb_s, krows_s = sizes[name] / median / 1e6, len(frame) / median / 1e3
        print(f"  {name:32}{sizes[name] / 1e6:8.1f}{median:8.2f}{mb_s:8.0f}{krows_s:9.0f}{slowest / median:8.1f}x")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tables", nargs="+", choices=["narrow", "wide"], default=["narrow", "wide"])
    arguments = parser.parse_args()
    for name in arguments.tables:
        frame = {"narrow": narrow, "wide": wide}[name](arguments.rows)
        print(f"{name}: {len(frame)} rows, {frame.shape[1]} columns, pandas {pd.__version__}, pyarrow {pa.__version__}")
        print(f"  {'way':32}{'MB':>8}{'s':>8}{'MB/s':>8}{'krows/s':>9}{'ratio':>9}")
        measure(frame, arguments.repeats)


if __name__ == "__main__":
    main()
