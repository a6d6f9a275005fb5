"""Send one table with this package, in a process of its own: ``send.py WAY SOURCE PORT``; prints what it cost."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2])]
from measure import Cost, cost_of, print_cost  # noqa: E402
from raw_socket import send_over_sockets  # noqa: E402
from tables import narrow  # noqa: E402

from airflow_provider_tinybird.api import imports  # noqa: E402
from airflow_provider_tinybird.api.client import Client  # noqa: E402
from airflow_provider_tinybird.api.models import FileFormat  # noqa: E402
from airflow_provider_tinybird.api.settings import Settings, Token  # noqa: E402
from airflow_provider_tinybird.files.local_or_remote import file_to_send  # noqa: E402
from airflow_provider_tinybird.loads import LoadOptions, send_batches  # noqa: E402
from airflow_provider_tinybird.ndjson import batches  # noqa: E402

IN_FLIGHT = 4


def load(client: Client, data: Any, rows: int, in_flight: int = IN_FLIGHT) -> Cost:
    """Send data as events."""
    sent = 0

    def work() -> int:
        nonlocal sent
        options = LoadOptions(max_in_flight=in_flight, pacing=False)
        result = send_batches(client, "events", batches(data), options=options)
        sent = result.successful_rows
        return 0

    cost = cost_of(work, rows)
    if sent != rows:
        raise SystemExit(f"the server counted {sent} rows of {rows}")
    return cost


def ready_made(client: Client, data: Any, rows: int, connections: int) -> Cost:
    """Send bodies that were made before, without this package's sender."""
    bodies = [bytes(batch.body) for batch in batches(pa.Table.from_pandas(data, preserve_index=False))]
    port = int(client.settings.base_url.rsplit(":", 1)[1])
    return cost_of(lambda: send_over_sockets(port, bodies, connections), rows)


def upload(client: Client, size: int) -> Cost:
    """Send a file of so many bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        with path.open("wb") as file:
            line = b"1," + b"x" * 97 + b"\n"
            for _ in range(size // (10_000 * len(line))):
                file.write(line * 10_000)
        call = imports.append_file_v1("events", file_to_send(path).as_body(), format=FileFormat.CSV)
        with tempfile.NamedTemporaryFile() as sink:
            # The answer of the sink is no job, which only download() does not mind.
            return cost_of(
                lambda: client.download(call, lambda: open(sink.name, "wb")) and path.stat().st_size, size // 100
            )


def frames(rows: int) -> Iterator[pd.DataFrame]:
    """Frames without end, the same one again and again."""
    frame = narrow(50_000)
    for _ in range(rows // len(frame)):
        yield frame


def records(rows: int) -> Iterator[dict[Any, Any]]:
    """Dicts without end, made as they are asked for."""
    some = narrow(1_000).to_dict("records")
    for _ in range(rows // len(some)):
        for record in some:
            yield dict(record)


def arrow(frame: pd.DataFrame) -> pa.Table:
    """As an Arrow table."""
    return pa.Table.from_pandas(frame, preserve_index=False)


WAYS: dict[str, Callable[[Client, pd.DataFrame], Cost]] = {
    "ours, from Arrow": lambda client, frame: load(client, arrow(frame), len(frame)),
    "ours, from pandas": lambda client, frame: load(client, frame, len(frame)),
    "ours, from Arrow, 1 in flight": lambda client, frame: load(client, arrow(frame), len(frame), 1),
    "raw socket, ready-made bodies, 4 connections": lambda client, frame: ready_made(client, frame, len(frame), 4),
    "raw socket, ready-made bodies, 1 connection": lambda client, frame: ready_made(client, frame, len(frame), 1),
}
WITHOUT_TABLE: dict[str, Callable[[Client, int], Cost]] = {
    "file": upload,
    "generator": lambda client, rows: load(client, lambda: frames(rows), rows),
    "records": lambda client, rows: load(client, lambda: records(rows), rows),
}


def main() -> None:
    """Read the arguments and run."""
    os.environ.pop("HTTP_PROXY", None)
    logging.disable(logging.CRITICAL)
    way, source, port = sys.argv[1:4]
    settings = Settings(base_url=f"http://127.0.0.1:{port}", token=Token("token"))
    with Client(settings) as client:
        if way in WITHOUT_TABLE:
            print_cost(WITHOUT_TABLE[way](client, int(source)))
        print_cost(WAYS[way](client, pd.read_pickle(source)))


if __name__ == "__main__":
    main()
