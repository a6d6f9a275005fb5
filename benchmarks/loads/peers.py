"""What others do with a DataFrame, in a process and an environment of their own: ``peers.py WAY SOURCE PORT``.

Each takes rows as dicts, so each pays ``to_dict``; it is paid in slices, which is kinder to their memory than all at once. Timestamps
and decimals become text by ``default=str``, which is faster than what they would need to be read back right.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from measure import cost_of, print_cost

SMALL, LARGE = 1_000, 15_000
"""Rows in a batch: what people write, and about 9 MB of the wide table."""


class AsText(json.JSONEncoder):
    """Writes what JSON has no form for as text."""

    def default(self, o: Any) -> str:
        return str(o)


def slices(frame: pd.DataFrame, step: int) -> Iterator[list[dict[Any, Any]]]:
    for start in range(0, len(frame), step):
        yield frame.iloc[start : start + step].to_dict("records")


def plain_requests(frame: pd.DataFrame, host: str) -> int:
    import requests

    session = requests.Session()
    session.trust_env = False
    rows = 0
    for records in slices(frame, SMALL):
        body = "\n".join(json.dumps(record, default=str) for record in records).encode()
        answer = session.post(f"{host}/v0/events?name=events&wait=true", data=body)
        rows += answer.json()["successful_rows"]
    return rows


def verdin(step: int) -> Any:
    def run(frame: pd.DataFrame, host: str) -> int:
        from verdin.datasource import Datasource

        datasource = Datasource("events", "token", api=host)
        return sum(
            datasource.send_events(records, wait=True, json_encoder=AsText).successful_rows
            for records in slices(frame, step)
        )

    return run


def tinybird_python_sdk(frame: pd.DataFrame, host: str) -> int:
    """It flushes by itself, every 10,000 rows or 1 MiB, and always with wait=false."""
    from tb.datasource import Datasource

    with Datasource("events", "token", api_url=host) as datasource:
        for records in slices(frame, 10_000):
            for record in records:
                datasource.append(json.dumps(record, default=str))
    return len(frame)


WAYS = {
    f"requests, {SMALL:,} rows a batch": plain_requests,
    f"verdin, {SMALL:,} rows a batch": verdin(SMALL),
    f"verdin, {LARGE:,} rows a batch": verdin(LARGE),
    "tinybird-python-sdk": tinybird_python_sdk,
}


def main() -> None:
    """Read the arguments and run."""
    logging.disable(logging.CRITICAL)
    way, source, port = sys.argv[1:4]
    frame = pd.read_pickle(source)
    rows = 0

    def work() -> int:
        nonlocal rows
        rows = WAYS[way](frame, f"http://127.0.0.1:{port}")
        return 0

    cost = cost_of(work, len(frame))
    if rows != len(frame):
        raise SystemExit(f"{way}: the server counted {rows} rows of {len(frame)}")
    print_cost(cost)


if __name__ == "__main__":
    main()
