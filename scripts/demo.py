"""Run the quickstart DAG on real data: a sandbox, a fresh Airflow and ``airflow dags test``, all of it gone afterwards.

With ``--keep`` the sandbox stays, for its page to be looked at, until Ctrl-C.

Standard library only. What it starts lives in temporary directories and on a free port, so that several may run at once, beside whatever
Airflow there is. It stops all of it also when it fails or is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from demo_tasks import LINES_OF_ERRORS, Task, described, reason_of, tasks_in

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "example_dags"
DAG = "tinybird_quickstart"
FILE = "flights_2013_01.csv.gz"
READY = re.compile(r"sandbox is ready: (\S+)\n([^.]+)\.")
# Long enough that the copy is still running when its task looks, and defers.
JOB_DELAY = 0.7
LOOK_EVERY = 0.1
TIMEOUT = 600.0
SECONDS_TO_STOP = 5.0
STATES_AT_THE_END = ("success", "failed", "skipped", "upstream_failed", "removed")
WIDTH = 67
ENDED = "Sandbox and Airflow are stopped, and their data is gone."
NEXT = """
  example_dags/   the DAG that just ran, and one for each family of operators
  docs/start.md   how to go on: your own workspace, or Airflow's UI on the examples
  make sandbox    a sandbox to play with, until Ctrl-C
  make demo ARGS=--keep   this again, with a page in the end that shows what is in the sandbox"""


class DemoError(Exception):
    """The demo cannot go on; its text says why."""


class InterruptedDemoError(Exception):
    """Somebody stopped it; holds the number of the signal."""


class Signals:
    """Signals to stop, noted and raised only where nothing is half done: between starting a process and knowing it, for one."""

    def __init__(self) -> None:
        self.number = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.number = number

    def sleep(self, seconds: float) -> None:
        """Sleep, and raise when there was a signal."""
        time.sleep(seconds)
        if self.number:
            raise InterruptedDemoError(self.number)


class Process:
    """A process with all that it starts; its output goes to a file.

    :param command: arguments after ``python -m``.
    """

    def __init__(self, command: list[str | Path], env: dict[str, str], output: Path) -> None:
        self.output = output
        self.started = time.monotonic()
        with output.open("wb") as file:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, which Ctrl-C does not reach and which can be stopped as one
            )

    @property
    def exit_code(self) -> int | None:
        """Its exit code, ``None`` while it runs."""
        return self._popen.poll()

    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text(errors="replace")

    def stop(self) -> None:
        """End it and whatever it started: asked first, killed when it takes too long."""
        if self.exit_code is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(SECONDS_TO_STOP)
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)


class Screen:
    """Lines of three columns: what, what came of it, how long it took. On a terminal the line of what is running is shown too."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.has_color = self.is_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._running = ""

    def show(self, text: str = "") -> None:
        """Print lines."""
        self._clear()
        print(text, flush=True)

    def running(self, name: str, note: str) -> None:
        """Say what is running."""
        line = f"  {name:<20} {note}"
        if self.is_terminal and line != self._running:
            self._clear()
            print(self._colored(line, "2"), end="", flush=True)
            self._running = line

    def done(self, name: str, result: str, seconds: float) -> None:
        """Print a line for what is over and good."""
        self.show(f"  {name:<20} {result:<{WIDTH}} {seconds:>5.1f} s")

    def failed(self, name: str, reason: str) -> None:
        """Print a line for what is over and is not."""
        self.show(self._colored(f"  {name:<20} {reason}", "31"))

    def title(self, text: str) -> None:
        """Print a line that stands out."""
        self.show(self._colored(text, "1"))

    def _colored(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.has_color else text

    def _clear(self) -> None:
        if self._running:
            print("\r\033[K" if self.has_color else "\r" + " " * len(self._running) + "\r", end="")
            self._running = ""


@dataclass
class Demo:
    """One run."""

    screen: Screen
    signals: Signals
    folder: Path
    stack: ExitStack
    base_url: str = ""
    sandbox: Process = field(init=False)
    env: dict[str, str] = field(default_factory=dict)

    def run(self) -> str:
        """Run it; return the table that it made.

        :raises DemoError: it failed.
        """
        self.env = environment(self.folder)
        self.sandbox = self._start("sandbox", ["airflow_provider_tinybird.sandbox.cli", *self._sandbox_options()])
        migration = self._start("migrate", ["airflow", "db", "migrate"])
        self._wait_for_sandbox(self.sandbox)
        self._wait_for_migration(migration)
        self.screen.title(f"\n$ airflow dags test {DAG}")
        return str(self._run_dag()["show_delays"].result)

    def keep(self) -> None:
        """Leave the sandbox running until a signal comes, and say where to look.

        :raises DemoError: it ended by itself.
        """
        self.screen.show(f"  {self.base_url}/sandbox\n")
        self.screen.show("Data sources with their rows and quarantine, pipes, jobs and requests; Ctrl-C ends it.")
        while self.sandbox.exit_code is None:
            self.signals.sleep(LOOK_EVERY)
        raise DemoError("The sandbox has ended.")

    def _sandbox_options(self) -> list[str | Path]:
        folders: list[str | Path] = [
            "--project",
            EXAMPLES / "tinybird",
            "--files",
            EXAMPLES / "data",
            "--data",
            self.folder / "data",
        ]
        return [*folders, "--port", "0", "--job-delay", str(JOB_DELAY)]

    def _wait_for_sandbox(self, process: Process) -> None:
        self._wait("tinybird-sandbox", process, lambda: READY.search(process.text()) is not None)
        self.base_url, contents = READY.findall(process.text())[0]
        connection = {"conn_type": "tinybird", "host": self.base_url, "password": token_of(self.base_url)}
        self.env["AIRFLOW_CONN_TINYBIRD_DEFAULT"] = json.dumps(connection)
        what = f"{contents}, over ClickHouse, at {self.base_url}"
        self.screen.done("tinybird-sandbox", what, time.monotonic() - process.started)

    def _wait_for_migration(self, process: Process) -> None:
        self._wait("airflow db migrate", process, lambda: process.exit_code == 0)
        what = f"Airflow {version('apache-airflow')} in a temporary AIRFLOW_HOME"
        self.screen.done("airflow db migrate", what, time.monotonic() - process.started)

    def _run_dag(self) -> dict[str, Task]:
        conf = json.dumps({"flights_url": f"{self.base_url}/files/{FILE}"})
        process = self._start("dag", ["airflow", "dags", "test", DAG, "--conf", conf])
        progress = Progress(self.screen)

        def is_over() -> bool:
            over = process.exit_code == 0
            progress.show(tasks_in(self.folder / "airflow.db", DAG))
            if progress.failed:
                raise DemoError(reason_of(progress.failed.name, process.text()))
            return over

        self._wait("airflow dags test", process, is_over)
        return progress.finished

    def _wait(self, name: str, process: Process, is_over: Callable[[], bool]) -> None:
        self.screen.running(name, "...")
        while True:
            code = process.exit_code  # before the look at what it left: in between it may end well
            if is_over():
                return
            if code is not None:
                self.screen.failed(name, f"failed with exit code {code}")
                raise DemoError("\n".join(process.text().strip().splitlines()[-LINES_OF_ERRORS:]))
            if time.monotonic() > process.started + TIMEOUT:
                raise DemoError(f"{name} is not ready after {TIMEOUT:.0f} s.")
            self.signals.sleep(LOOK_EVERY)

    def _start(self, name: str, command: list[str | Path]) -> Process:
        process = Process(command, self.env, self.folder / f"{name}.log")
        self.stack.callback(process.stop)
        return process


class Progress:
    """Shows each task when it starts and when it ends."""

    def __init__(self, screen: Screen) -> None:
        self.finished: dict[str, Task] = {}
        self.failed: Task | None = None
        self._screen = screen
        self._deferred: set[str] = set()

    def show(self, tasks: list[Task]) -> None:
        """Show what is new."""
        for task in tasks:
            if task.is_deferred:
                self._deferred.add(task.name)
            if task.name in self.finished:
                continue
            if task.state == "success":
                self.finished[task.name] = task
                note = "; its task waited in the triggerer" if task.name in self._deferred else ""
                self._screen.done(task.name, f"{described(task.result)}{note}", task.seconds)
            elif task.state in STATES_AT_THE_END:
                self.finished[task.name] = task
                self.failed = self.failed or task
                self._screen.failed(task.name, task.state)
            else:
                self._screen.running(task.name, "deferred ..." if task.is_deferred else "...")


def environment(folder: Path) -> dict[str, str]:
    """Make the environment of the processes: nothing of an Airflow that this machine may have, above all not its database."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))}
    local = ",".join(filter(None, ("127.0.0.1,localhost", env.get("no_proxy") or env.get("NO_PROXY"))))
    return env | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": local,
        "no_proxy": local,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),
    }


def token_of(base_url: str) -> str:
    """Ask the sandbox for its token."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{base_url}/tokens", timeout=10) as answer:
        return str(json.load(answer)["workspace_admin_token"])


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(description="Run the quickstart DAG on real data against a local sandbox.")
    parser.add_argument("--keep", action="store_true", help="leave the sandbox and its page until Ctrl-C")
    keep = parser.parse_args().keep
    screen, signals = Screen(), Signals()
    screen.title("airflow-provider-tinybird: a month of real flights, through Airflow, into ClickHouse and out again\n")
    is_over = False
    try:
        # What comes last is stopped first: the run, the sandbox; then the folder goes that they write to.
        with (
            tempfile.TemporaryDirectory(prefix="tinybird-demo-", ignore_cleanup_errors=True) as name,
            ExitStack() as stack,
        ):
            started = time.monotonic()
            demo = Demo(screen, signals, Path(name), stack)
            table = demo.run()
            is_over = True
            screen.title("\nMinutes late at departure, January 2013")
            screen.show("".join(f"  {line}\n" for line in table.splitlines()))
            green = f"All green, in {time.monotonic() - started:.0f} s."
            if keep:
                screen.title(f"{green} The sandbox is still there, with all of it in it:")
                demo.keep()
            screen.running("stopping", "...")
    except InterruptedDemoError as stopped:
        screen.show("\nInterrupted; everything that was started is stopped." if not is_over else ENDED)
        return 0 if is_over else 128 + int(stopped.args[0])
    except DemoError as reason:
        screen.show(f"\n{reason}\n\nThe demo failed; everything that was started is stopped.")
        return 1
    screen.title(f"{green} {ENDED}")
    screen.show(NEXT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
