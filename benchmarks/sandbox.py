"""How the sandbox does under load: mixed calls of 12 clients, large bodies of events, memory, and its start.

Stops by itself after about a minute, and reaches nothing but the sandbox that it starts. ``python benchmarks/sandbox.py [seconds]``
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from load_clients import LoadClient, run_load, write_project  # noqa: E402

from airflow_provider_tinybird.sandbox.process import SandboxProcess  # noqa: E402

CLIENTS = 12
SECONDS = 20.0
STARTS = 5
BODIES = 7
BODY_BYTES = 9_990_000
BAD_ROWS = 100
MB = 1_000_000


def main() -> None:
    """Measure, and print a table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write_project(project, CLIENTS)
        starts, processor = zip(*_starts(project), strict=True)
        _show("start to first answer, median", f"{statistics.median(starts):.2f} s", "< 1 s")
        _show("start to first answer, best", f"{min(starts):.2f} s", "")
        _show("start to first answer, processor time", f"{statistics.median(processor):.2f} s", "")
        with (
            SandboxProcess("--project", project, "--no-deduplication") as server,
            _memory(server.process.pid) as memory,
        ):
            load = run_load(server.base_url, server.headers, CLIENTS, seconds=seconds)
            _show_load(load, seconds)
            _show("memory, mixed calls", f"{max(memory):.0f} MB", "< 600 MB")
            for name, bad in (("plain", 0), (f"with {BAD_ROWS} bad rows", BAD_ROWS)):
                before = _processor_seconds(server.process.pid)
                speeds = _bodies(server, bad)
                spent = _processor_seconds(server.process.pid) - before
                _show(f"events, 10 MB bodies, {name}, median", f"{statistics.median(speeds):.0f} MB/s", ">= 40 MB/s")
                _show(f"events, 10 MB bodies, {name}, best", f"{max(speeds):.0f} MB/s", "")
                # What others do on the machine at the same time changes the speed, but not this.
                each = BODIES * BODY_BYTES / MB / spent
                _show(f"events, 10 MB bodies, {name}, of processor time", f"{each:.0f} MB/s", "")
            _show("memory, all along", f"{max(memory):.0f} MB", "< 600 MB")
    print(f"load of the machine after: {os.getloadavg()[0]:.1f}")


def _show(name: str, value: str, goal: str) -> None:
    print(f"{name:<50} {value:>14}   {goal}", flush=True)


def _show_load(load: list[LoadClient], seconds: float) -> None:
    calls: Counter[str] = sum((client.calls for client in load), Counter())
    problems = [problem for client in load for problem in client.problems()]
    rows = sum(len(client.shared) for client in load)
    _show(f"mixed calls, {len(load)} clients, {seconds:g} s", f"{calls.total()}", "")
    print(f"    {', '.join(f'{name} {count}' for name, count in sorted(calls.items()))}")
    _show("rows appended to the shared table", f"{rows}", "")
    _show("lost or doubled rows, answers other than 2xx", f"{len(problems)}", "0")
    for problem in problems[:10]:
        print(f"    {problem}")


def _starts(project: Path) -> list[tuple[float, float]]:
    found = []
    for _ in range(STARTS):
        started = time.monotonic()
        with SandboxProcess("--project", project) as server:  # its first answer is that to /tokens
            found.append((time.monotonic() - started, _processor_seconds(server.process.pid)))
    return found


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _bodies(server: SandboxProcess, bad: int) -> list[float]:
    """Send bodies one after the other; how many MB of each were taken in a second, from the first byte sent to the answer."""
    line = '{"client":%d,"n":%d,"filler":"' + "x" * 90 + '"}\n'
    lines = [line % (1, number) for number in range(BODY_BYTES // (len(line) + 5))]
    every = len(lines) // bad if bad else len(lines) + 1
    for index in range(every, every * bad + 1, every):
        lines[index - 1] = line.replace("%d", '"bad"', 1) % index
    body = "".join(lines).encode()
    found = []
    with httpx.Client(base_url=server.base_url, headers=server.headers, timeout=120) as client:
        for _ in range(BODIES):
            started = time.monotonic()
            answer = client.post("/v0/events?name=shared&wait=true", content=body)
            found.append(len(body) / MB / (time.monotonic() - started))
            expected = {"successful_rows": len(lines) - bad, "quarantined_rows": bad}
            if answer.json() != expected:
                raise SystemExit(f"{answer.status_code} {answer.text}, expected {expected}")
    return found


@contextmanager
def _memory(pid: int) -> Iterator[list[float]]:
    """MB of a process in memory, ten times a second."""
    found = [0.0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found.append(pages * os.sysconf("SC_PAGE_SIZE") / MB)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


if __name__ == "__main__":
    main()
