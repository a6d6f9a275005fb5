"""How fast DataFrames become bodies and get to a server, beside others, in pairs: ``make bench``.

Each way runs in a process of its own. Each round runs every way once, one after the other, so that a busy machine slows all of them
alike; medians are printed, and written into docs/benchmarks.md with a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT), str(ROOT / "scripts")]

from environments import python_of  # noqa: E402
from measure import Cost  # noqa: E402
from report import Row, Section, write  # noqa: E402
from tables import TABLES  # noqa: E402

OURS = "ours, from Arrow"
SLOW_WAYS = ("pandas to_json(lines=True)", "to_dict + json.dumps", "to_dict + orjson")
FAST_WAYS = (
    OURS,
    "ours, from Arrow, values looked at",
    "ours, from polars",
    "ours, from pandas",
    "ours, from pandas, values looked at",
    "ours, from a generator of frames",
    "polars write_ndjson",
    "DuckDB COPY, from Arrow",
)
SENDERS = (
    "ours, from Arrow",
    "ours, from pandas",
    "ours, from Arrow, 1 in flight",
    "raw socket, ready-made bodies, 4 connections",
    "raw socket, ready-made bodies, 1 connection",
)
PEERS = (
    "requests, 1,000 rows a batch",
    "verdin, 1,000 rows a batch",
    "verdin, 15,000 rows a batch",
    "tinybird-python-sdk",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    :param rows: rows of the tables on which every way runs.
    :param many: rows of the tables on which only the fast ways run.
    :param sent: rows that this package sends.
    :param sent_by_peers: rows that the others send: in one round they would take minutes otherwise.
    :param rounds: how often everything runs.
    """

    rows: int = 100_000
    many: dict[str, int] | None = None
    sent: int = 500_000
    sent_by_peers: int = 50_000
    rounds: int = 3
    file_bytes: int = 1 << 30
    streamed_rows: int = 5_000_000


def main() -> None:
    """Read the arguments, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small tables, one round: does it run at all?")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    plan = Plan(many={"narrow": 5_000_000, "wide": 1_000_000, "flights": 1_000_000})
    if arguments.quick:
        plan = Plan(5_000, {"narrow": 20_000}, 20_000, 5_000, 1, 1 << 24, 50_000)
    load_before = os.getloadavg()[0]
    peers_python = python_of("bench-peers")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(plan, Path(folder), peers_python)
        sections = [*bench.encode(), *bench.send(), bench.upload()]
    write(sections, load_before, None if arguments.no_write or arguments.quick else ROOT / "docs")


class Bench:
    """Runs ways and collects what they cost.

    :param folder: where the tables are written to.
    :param peers_python: interpreter of the environment of the others.
    """

    def __init__(self, plan: Plan, folder: Path, peers_python: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.peers_python = peers_python

    def encode(self) -> Iterator[Section]:
        """Tables to NDJSON in memory."""
        for name in TABLES:
            source = self._table(name, self.plan.rows)
            title = f"Encoding, {name}, {self.plan.rows:,} rows"
            yield self._section(title, {way: ("encode.py", way, source) for way in (*FAST_WAYS, *SLOW_WAYS)})
        for name, rows in (self.plan.many or {}).items():
            source = self._table(name, rows)
            title = f"Encoding, {name}, {rows:,} rows"
            yield self._section(title, {way: ("encode.py", way, source) for way in FAST_WAYS})
            source.unlink()

    def send(self) -> Iterator[Section]:
        """From a DataFrame into a server."""
        for name in ("narrow", "wide"):
            ours = self._table(name, self.plan.sent)
            theirs = self._table(name, self.plan.sent_by_peers)
            for delay in (0, 50, 200):
                with sink(delay) as port:
                    ways: dict[str, tuple[str | Path, ...]] = {way: ("send.py", way, ours, port) for way in SENDERS}
                    ways |= {way: ("peers.py", way, theirs, port) for way in PEERS}
                    yield self._section(f"Sending, {name}, answers after {delay} ms", ways)

    def upload(self) -> Section:
        """A large file, and rows without end."""
        with sink(0) as port:
            file, rows = str(self.plan.file_bytes), str(self.plan.streamed_rows)
            ways: dict[str, tuple[str | Path, ...]] = {
                f"a file of {self.plan.file_bytes / 2**30:.2f} GiB": ("send.py", "file", file, port),
                f"{self.plan.streamed_rows:,} rows from a generator of frames": ("send.py", "generator", rows, port),
                f"{self.plan.streamed_rows:,} rows from a generator of dicts": ("send.py", "records", rows, port),
            }
            return self._section("Memory that does not grow", ways)

    def _section(self, title: str, ways: dict[str, tuple[str | Path, ...]]) -> Section:
        print(f"\n{title}", flush=True)
        costs: dict[str, list[Cost]] = {way: [] for way in ways}
        for _ in range(self.plan.rounds):
            for way, command in ways.items():
                costs[way].append(self._run(command))
        section = Section(title, [Row(way, median(found)) for way, found in costs.items()])
        section.show()
        return section

    def _run(self, command: Sequence[str | Path]) -> Cost:
        script, *arguments = command
        python = self.peers_python if script == "peers.py" else Path(sys.executable)
        environment = os.environ | {"AIRFLOW_HOME": str(self.folder / "airflow"), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [python, HERE / script, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        try:
            return Cost(**json.loads(done.stdout.splitlines()[-1]))
        except (IndexError, ValueError):
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}") from None

    def _table(self, name: str, rows: int) -> Path:
        path = self.folder / f"{name}-{rows}.pickle"
        if not path.exists():
            TABLES[name](rows).to_pickle(path)
        return path


def median(costs: Sequence[Cost]) -> Cost:
    """The medians of each figure."""
    names = ("seconds", "cpu_seconds", "peak_mb", "megabytes")
    return Cost(
        rows=costs[0].rows, **{name: statistics.median(getattr(cost, name) for cost in costs) for name in names}
    )


@contextmanager
def sink(delay_ms: int) -> Iterator[str]:
    """A server that answers after so many milliseconds; gives its port."""
    server = subprocess.Popen([sys.executable, HERE / "sink.py", str(delay_ms)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
