"""What importing a module brings with it, and which part may know which."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "airflow_provider_tinybird"

# Each module's name, then what is loaded once it is: in order, so the first that shows a name is the one that brought it.
PROBE = """
import importlib, json, sys
loaded, before = {}, set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded[name] = sorted(set(sys.modules) - before)
    before = set(sys.modules)
print(json.dumps(loaded))
"""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules(part: str = "") -> dict[str, Path]:
    """Return the package's modules, or those of one of its parts, by name."""
    found = {module_name(path): path for path in sorted((ROOT / PACKAGE / part).rglob("*.py"))}
    assert found
    return found


def without_sandbox() -> list[str]:
    return [name for name in modules() if not name.startswith(f"{PACKAGE}.sandbox")]


def load(names: Iterable[str], airflow_home: Path) -> dict[str, list[str]]:
    """Import modules one after the other in a process of their own; return what each brought with it."""
    env = {**os.environ, "AIRFLOW_HOME": str(airflow_home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *names], capture_output=True, text=True, check=False, cwd=airflow_home, env=env
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def top_level(loaded: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in loaded}


# What comes along


def test_metadata_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    # Every Airflow process that asks for providers imports it.
    name = f"{PACKAGE}.get_provider_info"
    loaded = load([name], tmp_path)[name]
    assert top_level(loaded) - sys.stdlib_module_names == {PACKAGE}
    assert {module for module in loaded if module.startswith(PACKAGE)} == {PACKAGE, name}


@pytest.mark.parametrize("heavy", ["chdb", "polars", "starlette", "uvicorn", "pandas", "pyarrow"])
def test_parsing_a_dag_does_not_wait_for(heavy: str, all_loaded: dict[str, list[str]]) -> None:
    # The scheduler imports every DAG file again and again. Optional packages, moreover, may not be there at all.
    assert [name for name, loaded in all_loaded.items() if heavy in top_level(loaded)] == []


@pytest.fixture(scope="module")
def all_loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    # What Airflow brings by itself is its own: 3.0 needs starlette as soon as it is imported.
    airflow = ["airflow", "airflow.providers.common.sql.hooks.sql"]
    loaded = load([*airflow, *without_sandbox()], tmp_path_factory.mktemp("airflow"))
    return {name: brought for name, brought in loaded.items() if name not in airflow}


def test_api_is_free_of_airflow(tmp_path: Path) -> None:
    loaded = load(modules("api"), tmp_path)
    assert {name for name, brought in loaded.items() if "airflow" in top_level(brought)} == set()


def test_sandbox_is_free_of_airflow_and_of_the_provider(tmp_path: Path) -> None:
    loaded = load(modules("sandbox"), tmp_path)
    assert {name for name, brought in loaded.items() if "airflow" in top_level(brought)} == set()
    ours = {name for brought in loaded.values() for name in brought if name.startswith(PACKAGE)}
    assert {name for name in ours if not name.startswith(f"{PACKAGE}.sandbox")} == {PACKAGE}


# Which part may know which, imports within functions and for type checkers included


def imported(path: Path) -> set[str]:
    """Return the names below the package that a module imports, such as ``api.call.Call``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}.")}


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """Return the parts (folders and single modules of the package), each with the parts that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in modules().items():
        part = name.removeprefix(PACKAGE).lstrip(".").split(".")[0]
        found[part] |= {other.split(".")[0] for other in imported(path)} - {part, "__version__"}
    return dict(found)


@pytest.mark.parametrize("part", ["", "get_provider_info", "_compat", "api", "sandbox"])
def test_foundations_know_no_other_part(part: str, arrows: dict[str, set[str]]) -> None:
    assert arrows[part] == set()


def test_nobody_knows_the_sandbox(arrows: dict[str, set[str]]) -> None:
    assert {part for part, others in arrows.items() if "sandbox" in others} == set()


def test_only_what_airflow_runs_knows_what_airflow_runs(arrows: dict[str, set[str]]) -> None:
    run_by_airflow = {"decorators", "operators", "sensors", "triggers"}
    knowing = {part for part, others in arrows.items() if others & run_by_airflow}
    assert knowing <= run_by_airflow
    # A triggerer runs triggers and nothing else.
    assert arrows["triggers"] & {"operators", "sensors"} == set()


def test_arrows_point_one_way(arrows: dict[str, set[str]]) -> None:
    order = list(graphlib.TopologicalSorter(arrows).static_order())  # raises CycleError, which names the cycle
    assert order.index("api") < order.index("hooks") < order.index("operators")
