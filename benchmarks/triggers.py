"""What a waiting job costs in the triggerer: thousands of triggers in one event loop, beside those of other providers.

    python benchmarks/triggers.py --triggers 10000 --poll-interval 20 --seconds 40

Each provider gets a process of its own, one after the other. A light server in another process answers all of them the
same: the job still runs. Measured with the real classes, connections included; providers that are not installed are named.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NEVER = 4_000_000_000.0
_AT_ONCE = 100
_JOB = re.compile(rb"(?:/jobs/|run_id=|\"run_id\": ?)([0-9]+)")
_ANSWERS = {
    b"/v0/jobs/": {"id": "1", "job_id": "1", "kind": "copy", "status": "working", "pipe_name": "daily"},
    b"/api/public/v1/jobs/": {"jobId": 1, "status": "running", "jobType": "sync", "startTime": "2026-01-01T00:00:00Z", "connectionId": "1"},
    b"/jobs/runs/get": {"run_id": 1, "state": {"life_cycle_state": "RUNNING", "result_state": None, "state_message": ""}},
}  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """A provider's trigger.

    :param package: what to install.
    :param module: module of the trigger.
    :param make: makes a trigger from its class, a number and the poll interval.
    :param connection: the Airflow connection, for the port of the server.
    """

    package: str
    module: str
    name: str
    make: Callable[[Any, int, float], Any]
    connection: Callable[[int], dict[str, Any]]


CONTENDERS = {
    "tinybird": Contender(
        "airflow-provider-tinybird",
        "airflow_provider_tinybird.triggers.jobs",
        "TinybirdJobTrigger",
        lambda kind, number, interval: kind(
            tinybird_conn_id="peer", job_id=str(number), poll_interval=interval, deadline=NEVER, started_at=0.0
        ),
        lambda port: {"conn_type": "tinybird", "host": f"http://127.0.0.1:{port}", "password": "p.e30.token"},
    ),
    "databricks": Contender(
        "apache-airflow-providers-databricks",
        "airflow.providers.databricks.triggers.databricks",
        "DatabricksExecutionTrigger",
        lambda kind, number, interval: kind(
            run_id=number, databricks_conn_id="peer", polling_period_seconds=int(interval)
        ),
        lambda port: {
            "conn_type": "databricks",
            "host": "127.0.0.1",
            "port": port,
            "schema": "http",
            "password": "token",
        },
    ),
    "airbyte": Contender(
        "apache-airflow-providers-airbyte",
        "airflow.providers.airbyte.triggers.airbyte",
        "AirbyteSyncTrigger",
        lambda kind, number, interval: kind(job_id=number, conn_id="peer", end_time=NEVER, poll_interval=interval),
        lambda port: {"conn_type": "airbyte", "host": f"http://127.0.0.1:{port}/api/public/v1"},
    ),
}


@dataclass(frozen=True)
class Result:
    """What was measured of one provider.

    :param package: name and version.
    :param asked: triggers that were started.
    :param waiting: of these, those that had looked at their job once when the time for the start was over.
    :param start_seconds: how long that took.
    :param start_ms: CPU for the start of a trigger, its first look included.
    :param polls: looks in the window after that.
    :param poll_ms: CPU for each of them.
    :param memory_kb: resident memory for each trigger.
    :param longest_block: longest time for which the event loop did nothing else, in seconds, in the window.
    :param connections: connections that were open at the end.
    """

    package: str
    asked: int
    waiting: int
    start_seconds: float
    start_ms: float
    polls: int
    poll_ms: float
    memory_kb: float
    longest_block: float
    connections: int


class Answering(asyncio.Protocol):
    """The server's end of a connection: each request gets the answer that its path asks for."""

    polls = 0
    jobs: set[bytes] = set()  # noqa: RUF012 - one for all connections
    connections = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self.data = b""
        Answering.connections += 1

    def connection_lost(self, _error: Exception | None) -> None:
        """Count it."""
        Answering.connections -= 1

    def data_received(self, data: bytes) -> None:
        """Answer; no request here has a body that matters."""
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            size = int(length[1]) if length else 0
            body, self.data = self.data[:size], self.data[size:]
            self._answer(head.split(b"\r\n", 1)[0], body)

    def _answer(self, line: bytes, body: bytes) -> None:
        found = next((answer for path, answer in _ANSWERS.items() if path in line), None)
        if found is None:
            found = {"polls": Answering.polls, "jobs": len(Answering.jobs), "connections": Answering.connections}
        else:
            Answering.polls += 1
            match = _JOB.search(line + body)
            Answering.jobs.add(match[1] if match else b"")
        text = json.dumps(found).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        self.transport.write(head.encode() + text)


async def serve() -> None:
    """Serve until the standard input is closed."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


def counts(port: int) -> dict[str, int]:
    """What the server has counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts", timeout=60) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


async def measure(contender: Contender, options: argparse.Namespace) -> Result:
    """Run the triggers of one provider and measure them."""
    kind = getattr(importlib.import_module(contender.module), contender.name)
    await first_of_its_kind(kind, contender, options)
    before = await asyncio.to_thread(counts, options.port)
    gc.collect()
    memory, cpu, began = resident_kb(), time.process_time(), time.monotonic()
    tasks: list[asyncio.Task[Any]] = []
    waiting = 0
    while waiting < options.triggers and time.monotonic() - began < options.start_seconds:
        # By and by, so that one that blocks the loop cannot do so for longer than the time there is.
        more = range(len(tasks), min(len(tasks) + _AT_ONCE, options.triggers))
        made = [contender.make(kind, 1000 + number, options.poll_interval) for number in more]
        tasks.extend(asyncio.create_task(watch(trigger)) for trigger in made)
        await asyncio.sleep(0 if len(tasks) < options.triggers else 0.5)
        waiting = (await asyncio.to_thread(counts, options.port))["jobs"] - before["jobs"]
        ended = [task for task in tasks if task.done()]
        if ended:
            raise RuntimeError(f"{len(ended)} triggers ended: {ended[0]}")
    start_seconds, start_cpu = time.monotonic() - began, time.process_time() - cpu
    gc.collect()
    grown = resident_kb() - memory
    blocks: list[float] = []
    monitor = asyncio.create_task(look_for_blocks(blocks))
    at_start, cpu = await asyncio.to_thread(counts, options.port), time.process_time()
    await asyncio.sleep(options.seconds)
    poll_cpu, at_end = time.process_time() - cpu, await asyncio.to_thread(counts, options.port)
    monitor.cancel()
    polls = at_end["polls"] - at_start["polls"]
    return Result(
        package=contender.package,
        asked=options.triggers,
        waiting=waiting,
        start_seconds=start_seconds,
        start_ms=1000 * start_cpu / max(1, waiting),
        polls=polls,
        poll_ms=1000 * poll_cpu / max(1, polls),
        memory_kb=grown / max(1, waiting),
        longest_block=max(blocks, default=0.0),
        connections=at_end["connections"],
    )


async def first_of_its_kind(kind: Any, contender: Contender, options: argparse.Namespace) -> None:
    """Let one trigger look once, so that imports count for none of the others."""
    task = asyncio.create_task(watch(contender.make(kind, 1, 1.0)))
    end = time.monotonic() + 30
    while not (await asyncio.to_thread(counts, options.port))["polls"]:
        if task.done() or time.monotonic() > end:
            raise RuntimeError(f"the trigger does not look at its job: {task}")
        await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def watch(trigger: Any) -> Any:
    """Run a trigger as the triggerer does; none has an event to send here."""
    async for event in trigger.run():
        return event
    return None


async def look_for_blocks(found: list[float]) -> None:
    """Note how late a nap of 0.1 s ends, as the triggerer's own watchdog does."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.1)
        found.append(time.monotonic() - began - 0.1)


def resident_kb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


def measure_in_process(name: str, options: argparse.Namespace) -> Result | str:
    """Measure one provider in a process of its own; says why not when that is not possible."""
    contender = CONTENDERS[name]
    arguments = [f"--{key}={getattr(options, key.replace('-', '_'))}" for key in _PASSED_ON]
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen([sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            environment = {
                **os.environ,
                "AIRFLOW_HOME": home,
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW_CONN_PEER": json.dumps(contender.connection(port)),
                "no_proxy": "127.0.0.1",
            }
            command = [sys.executable, __file__, "--measure", name, "--port", str(port), *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
        finally:
            server.stdin.close()
            server.wait(30)
    if done.returncode == 3:
        return f"not installed: pip install {contender.package}"
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else done.returncode}"
    return Result(**json.loads(done.stdout.splitlines()[-1]))


_PASSED_ON = ("triggers", "poll-interval", "seconds", "start-seconds")


def show(results: dict[str, Result | str]) -> str:
    """Write the results as a table."""
    lines = [
        "| trigger | waiting after the start | CPU to start one | CPU of a poll | memory of one | longest block | connections |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in results.items():
        if isinstance(result, str):
            lines.append(f"| {name} | {result} | | | | | |")
            continue
        cells = (
            result.package,
            f"{result.waiting:,} of {result.asked:,} in {result.start_seconds:.0f} s",
            f"{result.start_ms:.2f} ms",
            f"{result.poll_ms:.2f} ms ({result.polls:,} polls)",
            f"{result.memory_kb:.0f} KB",
            f"{result.longest_block:.2f} s",
            f"{result.connections:,}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def raise_file_limit() -> None:
    """A trigger may hold a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--poll-interval", type=float, default=20.0, help="seconds between two looks of a trigger")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of the window")
    parser.add_argument(
        "--start-seconds", type=float, default=120.0, help="time that all triggers have for their first look"
    )
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_file_limit()
    if options.serve:
        asyncio.run(serve())
    elif options.measure:
        measure_here(options)
    else:
        print(show({name: measure_in_process(name, options) for name in options.only}))


def measure_here(options: argparse.Namespace) -> None:
    """Measure in this process and print the result as JSON; exit with 3 when the provider is not installed."""
    contender = CONTENDERS[options.measure]
    try:
        importlib.import_module(contender.module)
    except ModuleNotFoundError:
        sys.exit(3)
    logging.disable(logging.WARNING)
    result = asyncio.run(finish(contender, options))
    print(json.dumps(asdict(result)), flush=True)
    os._exit(0)  # thousands of triggers need not be taken down one by one


async def finish(contender: Contender, options: argparse.Namespace) -> Result:
    """Measure, and do not wait for the triggers."""
    result = await measure(contender, options)
    print(json.dumps(asdict(result)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
