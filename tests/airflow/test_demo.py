"""``make demo`` as a user sees it: what it prints, and that nothing is left of it, however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "scripts" / "demo.py"
MARK = "TINYBIRD_DEMO_TEST"
TASK_LINE = re.compile(r"  (\w+)  +(.+?)  +\d+\.\d s")


class Demo:
    """A run of the demo in a folder for temporary files of its own.

    All that it starts inherits a mark in its environment, so that it can be found however it was detached.
    """

    def __init__(self, folder: Path, *arguments: str, script: Path = DEMO) -> None:
        self.folder = folder
        self.mark = f"{MARK}={folder}"
        name, _, value = self.mark.partition("=")
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {name: value, "TMPDIR": str(folder), "PYTHONPATH": path}
        # What somebody has set for an Airflow of their own must not matter, least of all its database.
        environment |= {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://nobody@127.0.0.1:1/none"}
        self.process = subprocess.Popen(
            [sys.executable, script, *arguments],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until(self, text: str) -> str:
        """Read up to a line with this text, and return all of it."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if text in line:
                return "".join(seen)
        raise AssertionError(f"it never said {text!r}:\n{''.join(seen)}")

    def rest(self) -> str:
        """Wait for the end and read all that is left of its output."""
        output, _ = self.process.communicate(timeout=200)
        return output

    def processes(self) -> list[str]:
        """Commands of all processes that carry the mark."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # gone, or somebody else's
        return found

    def assert_nothing_is_left(self) -> None:
        assert self.processes() == []
        assert list(self.folder.iterdir()) == []


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos, and ends what a failed test leaves."""
    started: list[Demo] = []

    def start(name: str, *arguments: str, **options: Path) -> Demo:
        (tmp_path / name).mkdir()
        started.append(Demo(tmp_path / name, *arguments, **options))
        return started[-1]

    yield start
    for demo in started:
        if demo.process.poll() is None:
            demo.process.terminate()
            demo.process.wait(30)
        if demo.process.stdout is not None:
            demo.process.stdout.close()


@pytest.fixture
def broken_copy(tmp_path: Path) -> Path:
    """The demo in a tree whose flights cannot be loaded: the file is not there."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "example_dags", tree / "example_dags", ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    (tree / "scripts").mkdir()
    (tree / "airflow_provider_tinybird").symlink_to(ROOT / "airflow_provider_tinybird")
    shutil.copy(DEMO.with_name("demo_tasks.py"), tree / "scripts")
    return Path(shutil.copy(DEMO, tree / "scripts"))


def assert_it_is_right(output: str, demo_table: list[str]) -> None:
    lines = output.splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) <= 120
    assert "\033" not in output
    words = [" ".join(line.split()) for line in lines]
    at = words.index("carrier flights cancelled mean delay worst delay")
    assert words[at + 1 : at + 11] == demo_table
    tasks = dict(match.groups() for line in lines if (match := TASK_LINE.fullmatch(line)))
    assert len(tasks) == 11
    assert tasks["append_flights"] == "import job is done, 27,004 rows are in"
    assert tasks["send_cancellations"] == "521 events are in, 0 in quarantine"
    assert tasks["wait_for_delete"] == "delete job is done, 521 rows are gone"
    assert tasks["copy_carrier_delays"].endswith("its task waited in the triggerer")


def test_it_runs_twice_beside_each_other_and_leaves_nothing(start, demo_table):
    plain, kept = start("one"), start("other", "--keep")

    output = plain.rest()
    assert plain.process.returncode == 0, output
    assert_it_is_right(output, demo_table)
    plain.assert_nothing_is_left()

    output = kept.until("/sandbox\n")
    with urllib.request.urlopen(output.split()[-1], timeout=30) as answer:
        page = answer.read().decode()
    assert [
        text for text in ("carrier_delays", "521 rows", "26,483 rows", "copy_carrier_delays") if text not in page
    ] == []
    os.killpg(kept.process.pid, signal.SIGINT)
    output += kept.rest()
    assert kept.process.returncode == 0, output
    assert_it_is_right(output, demo_table)
    assert "Interrupted" not in output
    kept.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGTERM, "tinybird-sandbox"), (signal.SIGINT, "empty_flights")],
    ids=["terminated at the start", "Ctrl-C in the DAG"],
)
def test_it_stops_what_it_started_when_interrupted(start, number, moment):
    demo = start("one")
    demo.until(moment)
    assert len(demo.processes()) >= 2
    os.killpg(demo.process.pid, number)  # as a terminal does: to all of the group
    output = demo.rest()
    assert demo.process.returncode == 128 + number
    assert "Interrupted" in output
    assert "Traceback" not in output
    demo.assert_nothing_is_left()


def test_it_says_why_it_failed(start, broken_copy):
    demo = start("one", script=broken_copy)
    output = demo.rest()
    assert demo.process.returncode == 1
    # The file is missed by two tasks, of which either may come first.
    reasons = {
        "append_flights": ("JobFailedError", "/files/flights_2013_01.csv.gz answered 404"),
        "send_cancellations": ("FileNotFoundError", "flights_2013_01.csv.gz"),
    }
    failed = re.search(r"(append_flights|send_cancellations) +failed", output)
    assert failed, output
    for reason in reasons[failed.group(1)]:
        assert reason in output
    assert "Traceback" not in output
    assert len(output.splitlines()) < 40
    demo.assert_nothing_is_left()
