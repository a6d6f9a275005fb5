"""What the upload of a large file costs a worker: ``python benchmarks/upload.py [gigabytes]``.

A file of 1 GiB goes through the same code as TinybirdAppendFileOperator, plain and as a multipart body, into a server that counts its
bytes and keeps nothing. Each runs in a process of its own. Fails where it takes more than 32 MB of memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "loads")]

from measure import Cost, cost_of, print_cost  # noqa: E402

MOST_MB = 32.0
LINE = b'{"at":"2024-07-01T12:30:15.123456Z","carrier":"UA","flight":1234,"delay":-5}\n'
WAYS = ("v1: raw body", "v0: multipart")


def main() -> None:
    """Measure each way, and print a table."""
    size = int(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0) * 2**30
    print(f"{'way':<16} {'MB':>8} {'s':>7} {'MB/s':>7} {'CPU s':>7} {'memory, MB':>11}")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.ndjson"
        write_file(path, size)
        for way in WAYS:
            cost = measured(way, path)
            worst = max(worst, cost.peak_mb)
            speed = cost.megabytes / cost.seconds
            print(
                f"{way:<16} {cost.megabytes:8,.0f} {cost.seconds:7.2f} {speed:7,.0f} {cost.cpu_seconds:7.2f} {cost.peak_mb:11.1f}"
            )
    if worst > MOST_MB:
        sys.exit(f"more than {MOST_MB} MB of memory")


def write_file(path: Path, size: int) -> None:
    """Rows up to a size, the rest of it a hole: nobody reads them."""
    with path.open("wb") as file:
        file.write(LINE * 100_000)
        file.truncate(size)


def measured(way: str, path: Path) -> Cost:
    """Upload it in a process of its own."""
    sink = subprocess.Popen(
        [sys.executable, ROOT / "benchmarks" / "loads" / "sink.py", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert sink.stdout is not None
        port = sink.stdout.readline().strip()
        done = subprocess.run(
            [sys.executable, __file__, "--upload", way, path, port], stdout=subprocess.PIPE, text=True, check=True
        )
    finally:
        sink.kill()
        sink.wait()
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def upload_once(way: str, path: str, port: str) -> None:
    """The process that is measured."""
    from airflow_provider_tinybird.api import imports
    from airflow_provider_tinybird.api.client import Client
    from airflow_provider_tinybird.api.redact import Token
    from airflow_provider_tinybird.api.settings import Settings
    from airflow_provider_tinybird.files.local_or_remote import file_to_send
    from airflow_provider_tinybird.loads.files.upload import upload

    settings = Settings(base_url=f"http://127.0.0.1:{port}", token=Token("p.x"), max_retries=0)
    size = Path(path).stat().st_size

    def send() -> int:
        if way == WAYS[0]:
            call = upload("rows", path, max_size=size).call
        else:
            file = file_to_send(path)
            call = imports.append_file("rows", file.as_body(), format=file.format, file_name=file.name)  # type: ignore[assignment]
        with Client(settings) as client:
            client.send(replace(call, read=lambda reply: reply.json_object()))  # type: ignore[arg-type]
        return size

    print_cost(cost_of(send, 0))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--upload"]:
        upload_once(*sys.argv[2:])
    else:
        main()
