"""Load every Tinybird project below a folder into a sandbox of its own, call each endpoint and run each copy, and say what came of it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from airflow_provider_tinybird.sandbox.process import SandboxError, SandboxProcess, SandboxStartError

# Folders that a project sorts its files into, so that the project is what they are in.
PARTS = (
    "datasources",
    "pipes",
    "endpoints",
    "materializations",
    "materialized",
    "materialized_views",
    "copies",
    "copy",
    "sinks",
)
MORE_PARTS = ("connections", "includes", "vendor", "landing", "apis", "api", "explorations", "mvs")
SKIPPED = ("node_modules",)
JOB_SECONDS = 60
AT_ONCE = 2
# How the sandbox says that a template needs something of the caller or of the workspace.
STILL_WORKS = "still works after"
NEEDS = (STILL_WORKS, " is missing and has no default", "There is no variable")
LEAST_MESSAGE = 8

Use = Callable[[SandboxProcess, str], None]


@dataclass(frozen=True)
class Problem:
    """An endpoint or a copy that did not answer as it should.

    :param own: whether it refuses by itself, as it does everywhere: a parameter that it needs, an error that its template raises.
    """

    name: str
    reason: str
    own: bool


@dataclass(frozen=True)
class Tried:
    """What came of a project.

    :param workspace: the kind of workspace that it loads in; empty for none.
    :param reason: why it does not load.
    :param seconds: until it was ready.
    """

    name: str
    workspace: str
    reason: str
    seconds: float
    files: int
    endpoints: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def failed(self) -> list[Problem]:
        """The problems that are not the project's own."""
        return [one for one in self.problems if not one.own]

    @property
    def is_bad(self) -> bool:
        """Whether something of it speaks against the sandbox."""
        return not self.workspace or bool(self.failed)


def projects_below(folder: Path) -> list[Path]:
    """The roots of the projects: the folder that holds project files, above those that only sort them."""
    roots = set()
    for pattern in ("*.datasource", "*.pipe"):
        for path in folder.rglob(pattern):
            parts = path.relative_to(folder).parts
            if any(part.startswith(".") or part in SKIPPED for part in parts):
                continue
            depth = next((at for at, part in enumerate(parts[:-1]) if part in PARTS + MORE_PARTS), len(parts) - 1)
            roots.add(folder.joinpath(*parts[:depth]))
    return sorted(root for root in roots if not any(other in root.parents for other in roots))


def tried(folder: Path, root: Path) -> Tried:
    """Load one project, as a Forward workspace takes it or else as Classic does, and use all of it."""
    name = str(root.relative_to(folder)) if root != folder else folder.name
    files = sum(1 for pattern in ("*.datasource", "*.pipe") for _ in root.rglob(pattern))
    reasons = []
    for workspace, options in _workspaces(root):
        began = time.monotonic()
        try:
            with SandboxProcess("--project", root, *options) as sandbox:
                seconds = time.monotonic() - began
                return _used(sandbox, Tried(name, workspace, "", seconds, files))
        except SandboxStartError as error:
            reasons.append(
                f"{workspace}: {str(error).replace(str(root), '').splitlines()[0].removeprefix('tinybird-sandbox: ')}"
            )
    return Tried(name, "", "; ".join(dict.fromkeys(reasons)), 0, files)


def _workspaces(root: Path) -> list[tuple[str, tuple[str, ...]]]:
    """The kinds of workspaces to try, the likelier first: in Forward only what has a TYPE is an endpoint."""
    forward, classic = ("Forward", ("--forward",)), ("Classic", ())
    typed = any(re.search(r"^\s*TYPE\s+endpoint", path.read_text(), re.I | re.M) for path in root.rglob("*.pipe"))
    return [forward, classic] if typed else [classic, forward]


def _used(sandbox: SandboxProcess, project: Tried) -> Tried:
    pipes = sandbox.request("GET", "/v0/pipes")["pipes"]
    texts = {one["name"]: " ".join(node["sql"] for node in one["nodes"]) for one in pipes}
    endpoints = [one["name"] for one in pipes if one["type"] == "endpoint"]
    copies = [one["name"] for one in pipes if one["type"] == "copy"]
    whole = " ".join(texts.values())
    problems = [*_problems(sandbox, endpoints, _call, whole), *_problems(sandbox, copies, _copy, whole)]
    return replace(project, endpoints=tuple(endpoints), copies=tuple(copies), problems=tuple(problems))


def _problems(sandbox: SandboxProcess, names: Sequence[str], use: Use, texts: str) -> Iterator[Problem]:
    for name in names:
        try:
            use(sandbox, name)
        except SandboxError as error:
            reason = " ".join(str(error).split())
            yield Problem(name, reason, _is_own(reason, texts))


def _call(sandbox: SandboxProcess, name: str) -> None:
    sandbox.request("GET", f"/v0/pipes/{quote(name)}.json")


def _copy(sandbox: SandboxProcess, name: str) -> None:
    job = sandbox.request("POST", f"/v0/pipes/{quote(name)}/copy")["job"]
    deadline = time.monotonic() + JOB_SECONDS
    while job["status"] in ("waiting", "working") and time.monotonic() < deadline:
        time.sleep(0.05)
        job = sandbox.request("GET", f"/v0/jobs/{job['id']}")
    if job["status"] == "working":
        raise SandboxError(f"{STILL_WORKS} {JOB_SECONDS} seconds")
    if job["status"] != "done":
        raise SandboxError(f"the job is {job['status']}: {job.get('error')}")


def _is_own(reason: str, texts: str) -> bool:
    """Whether a template refuses by itself: for a parameter or a variable that it needs, or by an error() of its own.

    :param reason: of the client: method and path, status and text.
    :param texts: the SQL of the project, where the message of an error() stands.
    """
    message = reason.split(": ", 2)[-1]
    if "DB::Exception" in message:
        return False
    parts = [part.strip() for part in re.split(r'["{}\']|: ', message)]
    return any(text in message for text in NEEDS) or any(len(one) >= LEAST_MESSAGE and one in texts for one in parts)


def table_of(found: Sequence[Tried]) -> str:
    """What came of the projects, as a table."""
    lines = ["| project | files | loads | ready after | endpoints ok | copies ok | not ok |"]
    lines.append("| --- | ---: | --- | ---: | ---: | ---: | --- |")
    for one in found:
        if not one.workspace:
            lines.append(f"| {one.name} | {one.files} | no: {one.reason} | | | | |".replace("|  |", "| |"))
            continue
        bad = {problem.name for problem in one.failed}
        endpoints = sum(name not in bad for name in one.endpoints)
        copies = sum(name not in bad for name in one.copies)
        own = {problem.name for problem in one.problems if problem.own}
        notes = [f"{problem.name}: {problem.reason}"[:160].replace("|", "\\|") for problem in one.failed]
        notes += [f"{len(own)} refuse for the project's own reason"] if own else []
        counts = f"{endpoints} of {len(one.endpoints)} | {copies} of {len(one.copies)}"
        lines.append(
            f"| {one.name} | {one.files} | {one.workspace} | {one.seconds:.1f} s | {counts} | {'<br>'.join(notes)} |"
        )
    return "\n".join(lines)


def main(folders: Sequence[str]) -> int:
    """Try all projects below some folders, and print the table; return the exit code."""
    found = []
    for name in folders:
        folder = Path(name).resolve()
        roots = projects_below(folder)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found += list(pool.map(lambda root, folder=folder: tried(folder, root), roots))
    if not found:
        print("no .datasource and no .pipe file there", file=sys.stderr)
        return 1
    print(table_of(found))
    endpoints = sum(len(one.endpoints) for one in found)
    failed = sum(len(set(one.endpoints) & {problem.name for problem in one.failed}) for one in found)
    loaded = sum(bool(one.workspace) for one in found)
    own = [f"{one.name}: {problem.name}: {problem.reason}" for one in found for problem in one.problems if problem.own]
    print("\n".join(["", "The project's own reasons:", *own]) if own else "")
    print(f"\n{loaded} of {len(found)} projects load")
    print(f"{endpoints - failed} of {endpoints} endpoints answer, or refuse for the project's own reason")
    return int(any(one.is_bad for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
