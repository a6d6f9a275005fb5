"""Run the unit and sandbox tests beside each Airflow that is supported, and write what came of it into docs/compatibility.md.

Each gets an environment of its own, of the versions in requirements/airflow-*.txt (see airflow_releases.py). A warning that Python lays at
the door of this package fails the test it comes up in.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from airflow_releases import RELEASES, Release
from environments import ROOT, InstallError, python_of, run

PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- written by make test-matrix: begin -->", "<!-- end -->"
TESTS = ("tests/unit", "tests/sandbox")
# What is handed to others, and the set-up of a clone, are the same beside any Airflow.
WITHOUT = ("tests/unit/test_packaging.py", "tests/unit/test_setup.py")
BESIDE = ("pandas", "pyarrow", "httpx", "tenacity")
LOOK = f"""
import platform, importlib.metadata as m
print(platform.python_version(), *(m.version(name) for name in {BESIDE}))
"""


@dataclass(frozen=True)
class Outcome:
    """What came of one Airflow.

    :param versions: of Python and of what is in ``BESIDE``.
    :param counts: tests by how they ended: tests, failures, errors, skipped.
    """

    release: Release
    versions: Sequence[str]
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """How many tests did not pass."""
        return self.counts["failures"] + self.counts["errors"]

    @property
    def passed(self) -> int:
        """How many did."""
        return self.counts["tests"] - self.failed - self.counts["skipped"]

    @property
    def is_good(self) -> bool:
        """Whether tests were run, and none failed."""
        return self.passed > 0 and not self.failed

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        numbers = [f"{n:,}" for n in (self.passed, self.failed, self.counts["skipped"])]
        return (self.release.version, *self.versions, *numbers, f"{self.seconds:.0f} s")


HEADER = ("Airflow", "Python", *BESIDE, "passed", "failed", "skipped", "took")
""" of the table."""


def prepare(release: Release) -> Path:
    """Make the environment of an Airflow, with this package as it is now.

    :raises InstallError: it cannot be made, or two packages in it do not go together.
    """
    python = python_of(release.list_name)
    uv = Path(sys.executable).with_name("uv")
    options: list[str | Path] = ["--quiet", "--python", python]
    run([uv, "pip", "install", *options, "--no-deps", "--no-build-isolation", "--reinstall", "--editable", ROOT])
    run([uv, "pip", "check", *options])
    return python


def try_tests(release: Release, python: Path, arguments: Sequence[str]) -> Outcome:
    """Run the tests and count them; what pytest says goes to the screen."""
    looked = subprocess.run([python, "-c", LOOK], capture_output=True, text=True, check=True, cwd=ROOT)
    with tempfile.TemporaryDirectory(prefix="matrix-") as place:
        report = Path(place) / "report.xml"
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AIRFLOW", "PYTHON", "PYTEST"))
            },
            "AIRFLOW_HOME": f"{place}/airflow",
            "TMPDIR": place,
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        }
        started = time.monotonic()
        command: list[str | Path] = [
            python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout",
            "300",
            "--junitxml",
            report,
        ]
        subprocess.run([*command, *arguments], env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
        seconds = time.monotonic() - started
        counts = counts_of(report)
    return Outcome(release, looked.stdout.split(), counts, seconds)


def counts_of(report: Path) -> dict[str, int]:
    """Read how many tests there were and how they ended; no report is an error."""
    names = ("tests", "failures", "errors", "skipped")
    if not report.exists():
        return {**dict.fromkeys(names, 0), "errors": 1, "tests": 1}
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - pytest of ours wrote it
    counts = [{name: int(suite.get(name, 0)) for name in names} for suite in suites]
    return {name: sum(one[name] for one in counts) for name in names}


def table_of(outcomes: Sequence[Outcome]) -> str:
    """A table in Markdown, which can be read on a screen as well."""
    rows = [HEADER, *(outcome.cells for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def write_page(table: str) -> None:
    """Put the table into the page, between its two marks."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def arguments_of(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make test-matrix", description="Run tests beside each Airflow that is supported."
    )
    parser.add_argument("--only", action="append", metavar="VERSION", help="of Airflow; may be given again (all)")
    parser.add_argument("--workers", default="2", help="processes for the tests of one Airflow (2)")
    parser.add_argument(
        "pytest", nargs="*", help="arguments for pytest after --, in place of all unit and sandbox tests"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run what is asked for; return the exit code."""
    arguments = arguments_of(argv)
    releases = [release for release in RELEASES if not arguments.only or release.version in arguments.only]
    tests = arguments.pytest or [*TESTS, *(f"--ignore={path}" for path in WITHOUT)]
    outcomes = []
    for release in releases:
        print(f"Airflow {release.version}", flush=True)
        try:
            python = prepare(release)
        except InstallError as reason:
            print(reason, file=sys.stderr)
            return 1
        outcomes.append(try_tests(release, python, ["-n", arguments.workers, "--dist", "loadscope", *tests]))
    table = table_of(outcomes)
    print(f"\n{table}")
    if not arguments.only and not arguments.pytest:
        write_page(table)
        print(f"\nwritten: {PAGE.relative_to(ROOT)}")
    return int(not outcomes or not all(outcome.is_good for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
