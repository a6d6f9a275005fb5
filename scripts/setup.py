"""Make ``.venv`` with everything that the demo, the checks and the tests need.

Standard library only: this is the first thing that runs in a fresh clone. It may be run again at any time (it does nothing when nothing
changed) and by two commands at once (the second waits for the first).
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup-stamp.json"
LOCK_FILE = ROOT / ".setup.lock"
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
VERSION_FILE = ROOT / "airflow_provider_tinybird" / "__init__.py"
EXTRA = "sandbox"
LINES_OF_ERRORS = 20


class SetupError(Exception):
    """The set-up cannot go on; its text says why and what to do."""


@dataclass(frozen=True)
class Stamp:
    """What a finished ``.venv`` was made from.

    :param home: the interpreter and the folder. A virtual environment is tied to both, so when they change it is made anew.
    :param contents: the lock and what the package's metadata is made of. When they change, packages are installed over the old ones.
    """

    home: str
    contents: str

    @classmethod
    def wanted(cls) -> Stamp:
        """Describe the ``.venv`` that belongs to the tree as it is now."""
        import tomllib  # not at the top: older interpreters have to get as far as the message that says so

        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        # The rules of the linters live in pyproject.toml too, but change nothing that is installed.
        installed = {"project": project["project"], "build": project["build-system"], "hatch": project["tool"]["hatch"]}
        digest = hashlib.sha256(json.dumps(installed, sort_keys=True).encode())
        digest.update(REQUIREMENTS.read_bytes())
        digest.update(VERSION_FILE.read_bytes())
        return cls(home=f"{sys.version} {sys.base_prefix} {VENV}", contents=digest.hexdigest())

    @classmethod
    def found(cls) -> Stamp | None:
        """Read the stamp of the ``.venv`` that is there. ``None``: there is none, or it was never finished, or its Python is gone."""
        try:
            stored = cls(**json.loads(STAMP.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return stored if os.access(PYTHON, os.X_OK) else None

    def write(self) -> None:
        """Declare the ``.venv`` finished."""
        STAMP.write_text(json.dumps(asdict(self)))


@contextmanager
def only_one() -> Iterator[int]:
    """Hold the lock of this clone; yield its file descriptor, which subprocesses inherit.

    They hold the lock with it: were this process killed, the next set-up would still wait for the installer that goes on without it.
    """
    with LOCK_FILE.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is at work in this clone; waiting for it.", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


def run(command: list[str | Path], lock: int, env: dict[str, str]) -> None:
    """Run a command silently.

    :raises SetupError: it failed; holds the end of what it printed.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        pass_fds=(lock,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-LINES_OF_ERRORS:])
        raise SetupError(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{said}")


def make_venv(lock: int) -> None:
    """Make an empty virtual environment in place of whatever is there."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"{sys.executable} cannot make virtual environments with pip: its module ensurepip is missing.\n"
            f"On Debian and Ubuntu: apt install python{version}-venv (or python3-venv). "
            "Or name another Python: make PYTHON=/path/to/python3.11"
        ) from None
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", VENV], lock, dict(os.environ))


def pip_settings(python: Path) -> dict[str, str]:
    """Return the configuration of an interpreter's pip, from files and environment, by option: ``index-url``, ``cert``, ..."""
    command: list[str | Path] = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    settings: dict[str, str] = {}
    # From what binds least to what binds most: options of all commands, of "pip install", of the environment.
    by_scope = {scope: rank for rank, scope in enumerate(("global", "install", ":env:"))}
    rows: list[tuple[int, str, str]] = []
    for line in listed.stdout.splitlines():
        key, _, quoted = line.partition("=")
        scope, _, option = key.strip().partition(".")
        if scope in by_scope:
            rows.append((by_scope[scope], option, str(ast.literal_eval(quoted))))
    for _, option, value in sorted(rows):
        settings[option] = " ".join(value.split())  # lists come with line ends, as in the file
    return settings


def uv_environment(pip: dict[str, str]) -> dict[str, str]:
    """Return the environment in which uv looks where pip looks, as uv does not read pip's configuration.

    What is set for uv itself wins.
    """
    wanted = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": pip.get("extra-index-url"),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": pip.get("trusted-host"),
        "SSL_CERT_FILE": pip.get("cert"),
        "HTTPS_PROXY": pip.get("proxy"),
        "UV_HTTP_TIMEOUT": pip.get("default-timeout") or pip.get("timeout"),
    }
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        wanted["UV_NO_INDEX"] = "1"
    env = {name: value for name, value in wanted.items() if value}
    if "UV_INDEX" in env:
        # As pip does: of all indexes the one that has the version. uv would look no further than the first that has the name.
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    # Like pip, trust what the machine trusts: companies have certificate authorities of their own.
    env["UV_SYSTEM_CERTS"] = "1"
    return env | dict(os.environ)


def install(lock: int) -> str:
    """Install the lock and the package into ``.venv``.

    :returns: name of the installer that did it.
    """
    # In a virtual environment "user = true" of somebody's pip.conf is an error.
    pip_env = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip: list[str | Path] = [PYTHON, "-m", "pip"]
    try:
        run([*pip, "install", "--quiet", "--constraint", REQUIREMENTS, "uv"], lock, pip_env)
        uv: list[str | Path] = [VENV / "bin" / "uv", "pip"]
        # As pip does. Tests, the demo and the checks start Python some hundred times, and where the environment forbids that bytecode is
        # written (containers often do), each of them would compile all of Airflow again.
        command = [*uv, "install", "--compile-bytecode", "--python", PYTHON]
        install_with(command, lock, uv_environment(pip_settings(PYTHON)))
        return "uv"
    except (SetupError, OSError) as reason:
        uv_failed = str(reason)
    try:
        install_with([*pip, "install", "--quiet"], lock, pip_env)
    except SetupError as reason:
        raise SetupError(f"Neither uv nor pip could install the packages.\nuv: {uv_failed}\n\npip: {reason}") from None
    return "pip"


def install_with(command: list[str | Path], lock: int, env: dict[str, str]) -> None:
    """Install the lock, then the package on top, by a command that takes pip's arguments.

    The package comes second and without isolation because the lock brings what builds it: nothing unlocked is ever fetched.
    """
    run([*command, "--requirement", REQUIREMENTS], lock, env)
    package = f"{ROOT}[{EXTRA}]"
    run([*command, "--no-build-isolation", "--constraint", REQUIREMENTS, "--editable", package], lock, env)


def set_up(lock: int) -> None:
    """Make ``.venv`` what it should be, if it is not."""
    wanted, found = Stamp.wanted(), Stamp.found()
    if found == wanted:
        return
    started = time.monotonic()
    count = sum("==" in line for line in REQUIREMENTS.read_text().splitlines())
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Setting up .venv: Python {version}, {count} locked packages ... ", end="", flush=True)
    # Without a stamp whatever happens from here on is found out by the next run.
    STAMP.unlink(missing_ok=True)
    if found is None or found.home != wanted.home:
        make_venv(lock)
    installer = install(lock)
    wanted.write()
    print(f"done in {time.monotonic() - started:.0f} s with {installer}.", flush=True)


def main() -> int:
    """Set up; return the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this file directly has any Python
        print(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    try:
        with only_one() as lock:
            set_up(lock)
    except SetupError as reason:
        print(f"\nThe set-up failed.\n{reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe set-up was interrupted. Run it again: it starts over.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
