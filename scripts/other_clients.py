"""Clients of other authors against the sandbox: each takes the steps of its own script, and the sandbox has what it says afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from environments import CACHE, InstallError, python_of

from airflow_provider_tinybird.sandbox.process import SandboxProcess

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "tests" / "conformance"
SCRIPTS = HERE / "others"
TIMEOUT = 300


@dataclass(frozen=True)
class Other:
    """A client.

    :param script: what it does, below ``tests/conformance/others``.
    :param environment: its list of requirements; empty for one of Node.
    """

    name: str
    script: str
    environment: str = ""
    forward: bool = False


@dataclass(frozen=True)
class Step:
    """One step of a client; ``why`` it went wrong, empty when it did not."""

    client: str
    did: str
    why: str


OTHERS = (
    Other("mcp-tinybird", "mcp_tools.py", "conformance-mcp"),
    Other("tinybird_cdk", "cdk.py", "conformance-cdk"),
    Other("pytest-tinybird", "pytest_report.py", "conformance-cdk"),
    Other("@chronark/zod-bird", "zod_bird.mjs"),
    Other("@tinybirdco/mockingbird", "mockingbird.mjs"),
    Other("@tinybirdco/sdk", "sdk.mjs", forward=True),
)
Environment = Callable[[SandboxProcess, Path, Path], dict[str, str]]


def node_folder() -> Path | None:
    """A folder with the packages of Node and the scripts that need them; None where there is no Node.

    :raises InstallError: they cannot be installed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    folder = CACHE / "conformance-node"
    folder.mkdir(parents=True, exist_ok=True)
    for path in SCRIPTS.iterdir():
        if path.suffix in (".mjs", ".json"):
            shutil.copy(path, folder)
    if not (folder / "node_modules" / ".package-lock.json").exists():
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InstallError(done.stderr)
    return folder


def run(other: Other, environment_of: Environment, write_files: Callable[[Path], None]) -> list[Step]:
    """Let a client take its steps against a sandbox of its own."""
    if other.environment:
        command: list[str | Path] = [python_of(other.environment), SCRIPTS / other.script]
    else:
        folder = node_folder()
        if folder is None:
            return [Step(other.name, "", "not run: Node is not installed")]
        command = [shutil.which("node") or "node", folder / other.script]
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        home = Path(name)
        files = home / "files"
        files.mkdir()
        write_files(files)
        options = ["--project", HERE / "project"] if not other.forward else ["--forward"]
        with SandboxProcess(
            *options, "--files", files, "--no-deduplication"
        ) as sandbox:  # cdk appends the same rows again
            settings = environment_of(sandbox, home, files)
            done = subprocess.run(
                command, env=settings, cwd=home, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
            token = sandbox.token
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"client"')]
    found = [Step(**json.loads(line)) for line in lines]
    if done.returncode or not found:
        found.append(Step(other.name, "its script", done.stderr[-500:].replace(token, "<token>")))
    return found


def table_of(steps: Sequence[Step]) -> str:
    """What came of it, for the page."""
    lines = ["| client | did | result |", "| --- | --- | --- |"]
    for step in steps:
        why = " ".join(step.why.split())[:200].replace("|", "\\|")
        lines.append(f"| `{step.client}` | {step.did} | {why or 'as expected'} |")
    return "\n".join(lines)


def all_steps(environment_of: Environment, write_files: Callable[[Path], None]) -> list[Step]:
    """What all clients did."""
    return [step for other in OTHERS for step in run(other, environment_of, write_files)]
