"""Build what is released and try it as a stranger would: the wheel is installed where nothing else is, and runs the demo of the sdist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_releases import RELEASES
from environments import ROOT, InstallError, run

PACKAGE = "airflow_provider_tinybird"
UV = Path(sys.executable).with_name("uv")
LOOK = f"import {PACKAGE} as p; from importlib.metadata import version; print(p.__file__, version('airflow-provider-tinybird'))"


class ReleaseError(Exception):
    """What is built should not be released; the text says why."""


@dataclass(frozen=True)
class Built:
    """A wheel and a source distribution."""

    wheel: Path
    sdist: Path


def build(folder: Path) -> Built:
    """Build both, and from the source distribution another wheel, which must hold the same."""
    run([sys.executable, "-m", "hatchling", "build", "-d", folder])
    built = Built(*(next(folder.glob(pattern)) for pattern in ("*.whl", "*.tar.gz")))
    again = unpacked(built, folder / "again")
    call([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "second"], cwd=again)
    differing = contents(built.wheel) ^ contents(next((folder / "second").glob("*.whl")))
    if differing:
        raise ReleaseError(
            f"The wheel made from the source distribution differs: {sorted(name for name, _ in differing)}"
        )
    return built


def contents(wheel: Path) -> set[tuple[str, int]]:
    """Names and checksums of what a wheel holds."""
    with zipfile.ZipFile(wheel) as opened:
        return {(item.filename, item.CRC) for item in opened.infolist()}


def unpacked(built: Built, folder: Path) -> Path:
    """Unpack the source distribution; return the folder in it."""
    with tarfile.open(built.sdist) as opened:
        opened.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    return inner


def check_metadata(built: Built) -> None:
    """Have an index's rules checked: metadata, and that the README can be shown."""
    run(
        [
            UV,
            "run",
            "--quiet",
            "--no-project",
            "--with",
            "twine",
            "twine",
            "check",
            "--strict",
            built.wheel,
            built.sdist,
        ]
    )


def check_hooks() -> None:
    """Run the hooks of pre-commit on all files."""
    if (ROOT / ".git").exists():
        run([UV, "run", "--quiet", "--no-project", "--with", "pre-commit", "pre-commit", "run", "--all-files"])


def install(built: Built, folder: Path) -> Path:
    """Install the wheel beside the newest Airflow, by the versions of its days, where nothing else is; return the Python."""
    newest = RELEASES[-1]
    python = folder / "bin" / "python"
    run([UV, "venv", "--quiet", "--python", sys.executable, folder])
    what = [f"apache-airflow=={newest.version}", f"{built.wheel}[sandbox]"]
    run([UV, "pip", "install", "--quiet", "--python", python, "--constraint", newest.list_path, *what])
    place = call([python, "-P", "-c", LOOK], cwd=folder).strip()
    if not place.startswith(str(folder)):
        raise ReleaseError(f"Not the wheel was imported, but {place}")
    with tempfile.TemporaryDirectory() as home:
        shown = call([folder / "bin" / "airflow", "providers", "list"], cwd=folder, AIRFLOW_HOME=home)
    if "airflow-provider-tinybird" not in shown:
        raise ReleaseError(f"Airflow does not know the provider:\n{shown[-1000:]}")
    return python


def run_demo(built: Built, python: Path, folder: Path) -> None:
    """Run the demo of the source distribution with what the wheel brought, without the package beside it."""
    source = unpacked(built, folder)
    shutil.rmtree(source / PACKAGE)
    shown = call([python, "scripts/demo.py"], cwd=source)
    if "All green" not in shown:
        raise ReleaseError(f"The demo is not green:\n{shown}")


def call(command: Sequence[str | Path], *, cwd: Path, **settings: str) -> str:
    """Run a command with nothing of this clone in its environment; return what it prints.

    :raises ReleaseError: it failed.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL"))
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def check(folder: Path) -> None:
    """Do all of it, step by step, and say how long each took."""
    started = time.monotonic()

    def step(name: str) -> None:
        print(f"  {name:<66} {time.monotonic() - started:>6.1f} s", flush=True)

    built = build(folder / "dist")
    step("wheel and sdist are built; a wheel from the sdist holds the same")
    check_metadata(built)
    step("twine check --strict")
    check_hooks()
    step("pre-commit run --all-files")
    python = install(built, folder / "bare")
    step(f"wheel is installed beside Airflow {RELEASES[-1].version}, which lists it")
    run_demo(built, python, folder / "source")
    step("the demo is green, with the package from the wheel")
    for file in (built.wheel, built.sdist):
        shutil.copy(file, ROOT / "dist")


def main() -> int:
    """Check; return the exit code."""
    (ROOT / "dist").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        try:
            check(Path(name))
        except (ReleaseError, InstallError) as reason:
            print(reason, file=sys.stderr)
            return 1
    print("What was checked is in dist/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
