"""The tables that are encoded and sent: narrow and wide made-up ones, and the flights of the examples, repeated."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

FLIGHTS = Path(__file__).resolve().parents[2] / "example_dags" / "data" / "flights_2013_01.csv.gz"
WORDS = np.array(["page_view", "sign_up", "purchase", "log_in", "log_out", "añadir", "refund", "share"])


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


def flights(rows: int) -> pd.DataFrame:
    """Real flights of January 2013, as often as it takes."""
    month = pd.read_csv(FLIGHTS)
    for name in month.columns[month.columns.str.contains("time_hour|timestamp")]:
        month[name] = pd.to_datetime(month[name], utc=True)
    times = -(-rows // len(month))
    return pd.concat([month] * times, ignore_index=True).iloc[:rows].reset_index(drop=True)


TABLES = {"narrow": narrow, "wide": wide, "flights": flights}
