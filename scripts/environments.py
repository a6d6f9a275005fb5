"""Environments of their own for what cannot share one with Airflow, made from lists of pinned versions below requirements/."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from setup import pip_settings, uv_environment

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "environments"


class InstallError(Exception):
    """An environment could not be made; the text holds what the installer said."""


def python_of(name: str) -> Path:
    """The interpreter of an environment, which is made unless it is there.

    :param name: of its list of requirements, without ``.txt``.
    :raises InstallError: it cannot be made.
    """
    requirements = ROOT / "requirements" / f"{name}.txt"
    folder = CACHE / name
    stamp = folder / "stamp"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    python = folder / "bin" / "python"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"{requirements.name}: making its environment", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    # Without dependencies: the list is complete, and one of the releases asks for what not every index has.
    run([uv, "venv", "--quiet", "--python", sys.executable, folder])
    run([uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--requirement", requirements])
    stamp.write_text(wanted)
    return python


def run(command: Sequence[str | Path], **settings: str) -> None:
    """Run a command of uv, which looks where pip is told to look.

    :param settings: more variables of its environment.
    :raises InstallError: it failed.
    """
    environment = uv_environment(pip_settings(Path(sys.executable))) | settings
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
