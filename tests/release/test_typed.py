"""The types of the package reach those who use it: a project of theirs is checked by mypy, strictly, from outside of this tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import airflow_provider_tinybird

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = Path(__file__).with_name("consumer.py")


def check(folder: Path) -> str:
    """Check the project of a user's; return what mypy says."""
    shutil.copy(CONSUMER, folder)
    # The settings of "make lint" and its cache: mypy reads Airflow only once for both, which takes it half a minute.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    modules = settings["overrides"][0]["module"]
    (folder / "mypy.ini").write_text(
        "[mypy]\nstrict = True\npython_version = 3.11\nuntyped_calls_exclude = airflow\n"
        + "".join(f"[mypy-{module}]\nignore_missing_imports = True\n" for module in modules)
    )
    command = [sys.executable, "-m", "mypy", "--cache-dir", ROOT / ".mypy_cache", CONSUMER.name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_strict_project_finds_the_types(tmp_path: Path) -> None:
    assert check(tmp_path) == "Success: no issues found in 1 source file\n"


def test_the_marker_is_there() -> None:
    # Without it mypy takes the package for one without types.
    assert (Path(airflow_provider_tinybird.__file__).parent / "py.typed").is_file()
