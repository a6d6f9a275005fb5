"""Run clients that nobody here wrote against the sandbox, and write what came of it into docs/conformance.md.

Each client gets an environment of its own, made from a list of pinned versions, a sandbox of its own, and no way
out of this machine.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import projects
from environments import InstallError, python_of
from other_clients import Step, all_steps
from other_clients import table_of as table_of_steps

from airflow_provider_tinybird.sandbox.process import SandboxProcess

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "tests" / "conformance"
PAGE = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- written by make conformance: begin -->", "<!-- end -->"
BEGIN_OTHERS, END_OTHERS = "<!-- other clients: begin -->", "<!-- other clients: end -->"
AT_ONCE = 2
TIMEOUT = 900
ROWS = 3000
# Where nobody listens: what a client wants of the internet fails at once.
NOWHERE = "http://127.0.0.1:9"
# What a client has for requests that it knows nothing of.
GENERIC = ("API.get", "API.post", "TinybirdApi.request_json")
AGREES, BY_REQUEST, NOT_OFFERED = "agrees", "agrees, by a generic request", "not offered"
MARKS = {AGREES: "yes", BY_REQUEST: "(yes)", NOT_OFFERED: "", "differs": "**differs**", "failed": "**failed**"}


class ConformanceError(Exception):
    """It cannot go on; the text says why."""


@dataclass(frozen=True)
class Kit:
    """A client, and what it needs.

    :param name: of its environment and its list of requirements.
    :param title: its name in the table.
    :param forward: whether its sandbox is a Forward workspace, else Classic.
    """

    name: str
    title: str
    script: str
    forward: bool = False


@dataclass(frozen=True)
class Seen:
    """What came of one operation, as the scripts write it."""

    operation: str
    how: str
    result: str
    expected: int | None
    answered: int | None
    queried: int | None
    counted: int | None
    requests: Sequence[str]
    reason: str

    @property
    def is_bad(self) -> bool:
        """Whether it speaks against the sandbox."""
        return self.result not in (AGREES, NOT_OFFERED)

    @property
    def verdict(self) -> str:
        """The result, and whether the client itself knows the operation."""
        return BY_REQUEST if self.result == AGREES and self.how in GENERIC else self.result


@dataclass(frozen=True)
class Report:
    """All that a client did."""

    kit: Kit
    package: str
    version: str
    seen: tuple[Seen, ...]

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.kit.title} {self.version}"


KITS = (
    Kit("forward", "tinybird", "client_forward.py", forward=True),
    Kit("forward-5", "tinybird", "client_forward.py", forward=True),
    Kit("classic", "tinybird-cli", "client_classic.py"),
    Kit("sdk", "tinybird-sdk", "client_sdk.py", forward=True),
    Kit("sdk-old", "tinybird-python-sdk", "client_sdk_old.py"),
    Kit("verdin", "verdin", "client_verdin.py"),
)


def write_files(folder: Path) -> None:
    """Write what the clients load: the same rows as CSV and NDJSON, and a hundred of one shop."""
    chance = random.Random(0)  # noqa: S311 - rows, no secrets
    rows: list[dict[str, Any]] = [
        {"day": f"2026-01-{1 + n % 28:02}", "shop": "abc"[n % 3], "amount": chance.randrange(1000)} for n in range(ROWS)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "sales.ndjson").write_text("".join(lines))
    (folder / "shop_a.ndjson").write_text("".join([line for line in lines if '"a"' in line][:100]))
    csv = [f"{row['day']},{row['shop']},{row['amount']}\n" for row in rows]
    (folder / "sales.csv").write_text("".join(["day,shop,amount\n", *csv]))


def play(kit: Kit, python: Path) -> Report:
    """Run a client through the scenario.

    :raises ConformanceError: its script did not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        home = Path(name)
        files = home / "files"
        files.mkdir()
        write_files(files)
        options: list[str | Path] = [
            "--project",
            HERE / "project",
            "--files",
            files,
            *(["--forward"] if kit.forward else []),
        ]
        with SandboxProcess(*options) as sandbox:
            done = subprocess.run(
                [python, HERE / "clients" / kit.script],
                env=environment_of(sandbox, home, files),
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
            token = sandbox.token
    if done.returncode:
        said = f"{done.stdout[-1000:]}\n{done.stderr[-4000:]}".replace(token, "<token>")
        raise ConformanceError(f"{kit.script} ended with {done.returncode}:\n{said}")
    head, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    return Report(kit, head["package"], head["version"], tuple(Seen(**line) for line in lines))


def environment_of(sandbox: SandboxProcess, home: Path, files: Path) -> dict[str, str]:
    """The variables of a client: nothing of whoever runs this, and no way out of this machine."""
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
        "TB_CLI_TELEMETRY_OPTOUT": "1",
        "TB_VERSION_WARNING": "0",
        "CONFORMANCE_URL": sandbox.base_url,
        "CONFORMANCE_TOKEN": sandbox.token,
        "CONFORMANCE_FILES": str(files),
    }


def page_of(reports: Sequence[Report]) -> str:
    """The part of the page that is written from what was seen."""
    lines = ["| operation | " + " | ".join(f"`{one.title}`" for one in reports) + " |"]
    lines.append("| --- |" + " --- |" * len(reports))
    rows = zip(*(report.seen for report in reports), strict=True)
    lines += [f"| {row[0].operation} | " + " | ".join(MARKS[seen.verdict] for seen in row) + " |" for row in rows]
    for report in reports:
        workspace = "Forward" if report.kit.forward else "Classic"
        lines += ["", f"### `{report.title}`, as in a {workspace} workspace", ""]
        lines.append("| operation | called as | requests | expected | its answer | its query | plain HTTP | result |")
        lines.append("| --- | --- | --- | ---: | ---: | ---: | ---: | --- |")
        lines += [_row(seen) for seen in report.seen]
    return "\n".join(lines)


def _row(seen: Seen) -> str:
    numbers = [f"{n:,}" if n is not None else "" for n in (seen.expected, seen.answered, seen.queried, seen.counted)]
    how = f"`{seen.how}`" if seen.how else ""
    requests = "<br>".join(f"`{request}`" for request in seen.requests)
    reason = f": {' '.join(seen.reason.split())[:200]}" if seen.reason else ""
    cells = [seen.operation, how, requests, *numbers, f"{seen.verdict}{reason}"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_page(begin: str, end: str, part: str) -> None:
    """Put a part into the page, between two marks."""
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n\n{part}\n\n{end}{after}")


def show_others(steps: Sequence[Step]) -> None:
    """Say on the screen how the other clients did."""
    for name in dict.fromkeys(step.client for step in steps):
        own = [step for step in steps if step.client == name]
        print(f"{name:28} {sum(not step.why for step in own)} of {len(own)} as expected", flush=True)
        for step in own:
            if step.why:
                print(f"  {step.did}: {' '.join(step.why.split())[:300]}", flush=True)


def show(report: Report) -> None:
    """Say on the screen how a client did."""
    counts = {mark: sum(seen.verdict == mark for seen in report.seen) for mark in MARKS}
    told = ", ".join(f"{count} {mark}" for mark, count in counts.items() if count)
    print(f"{report.title:28} {told}", flush=True)
    for seen in report.seen:
        if seen.is_bad:
            numbers = (
                f"expected {seen.expected}, answered {seen.answered}, queried {seen.queried}, counted {seen.counted}"
            )
            print(f"  {seen.operation}: {seen.result}; {numbers}; {seen.how} {seen.reason}", flush=True)


def main(names: Sequence[str]) -> int:
    """Run all clients and the small projects, or what is named; with --projects those of some folders. Return the exit code."""
    if names and names[0] == "--projects":
        return projects.main(names[1:])
    kits = [kit for kit in KITS if not names or kit.name in names]
    steps: list[Step] = []
    try:
        pythons = [python_of(f"conformance-{kit.name}") for kit in kits]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            reports = list(pool.map(play, kits, pythons))
        if not names or "others" in names:
            steps = all_steps(environment_of, write_files)
    except (ConformanceError, InstallError) as reason:
        print(reason, file=sys.stderr)
        return 1
    for report in reports:
        show(report)
    show_others(steps)
    bad_projects = projects.main([str(HERE / "projects")]) if not names or "projects" in names else 0
    if not names:
        write_page(BEGIN, END, page_of(reports))
        write_page(BEGIN_OTHERS, END_OTHERS, table_of_steps(steps))
        print(f"written: {PAGE.relative_to(ROOT)}")
    bad_steps = [step for step in steps if step.why and not step.why.startswith("not run")]
    return int(bool(bad_steps or bad_projects) or any(seen.is_bad for report in reports for seen in report.seen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
