"""What is handed to others: the distribution, the lock and the tree."""

from __future__ import annotations

import ast
import configparser
import email
import email.message
import importlib
import io
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from trove_classifiers import classifiers as known_classifiers

import airflow_provider_tinybird
from airflow_provider_tinybird.get_provider_info import get_provider_info

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "airflow_provider_tinybird"
LONGEST_FUNCTION = 60


def source_files() -> Iterator[Path]:
    """Yield what belongs to the project, also where there is no git to ask: not what tools left behind."""
    made_by_tools = {"__pycache__", "build", "dist", "node_modules"}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in made_by_tools and (f == ".ci" or not f.startswith("."))]
        yield from (Path(folder, name) for name in names if name != ".setup.lock")


def python_files() -> list[Path]:
    return sorted(path for path in source_files() if path.suffix == ".py" and "tests" not in path.parts)


# The distribution


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = target.iterdir()
    return zipfile.ZipFile(path)


def info_file(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    return email.message_from_string(info_file(wheel, "METADATA"))


def test_name_is_the_one_that_airflow_checks(metadata: email.message.Message) -> None:
    # Airflow ignores a provider, with a warning, when these two differ after normalising.
    assert canonicalize_name(metadata["Name"]) == canonicalize_name(get_provider_info()["package-name"])
    assert metadata["Name"] == "airflow-provider-tinybird"


def test_version_is_the_one_in_the_code(metadata: email.message.Message) -> None:
    assert metadata["Version"] == airflow_provider_tinybird.__version__


def test_entry_points_lead_somewhere(wheel: zipfile.ZipFile) -> None:
    parsed = configparser.ConfigParser(delimiters=("=",))
    parsed.read_file(io.StringIO(info_file(wheel, "entry_points.txt")))
    groups = {group: dict(parsed[group]) for group in parsed.sections()}
    assert groups == {
        "apache_airflow_provider": {"provider_info": f"{PACKAGE}.get_provider_info:get_provider_info"},
        "console_scripts": {"tinybird-sandbox": f"{PACKAGE}.sandbox.cli:main"},
        "pytest11": {"tinybird_sandbox": f"{PACKAGE}.sandbox.pytest_plugin"},
    }
    for entries in groups.values():
        for target in entries.values():
            module, _, name = target.partition(":")
            loaded = importlib.import_module(module)
            assert not name or callable(getattr(loaded, name))


def test_classifiers_are_known_and_say_what_it_is_for(metadata: email.message.Message) -> None:
    ours = metadata.get_all("Classifier", [])
    assert set(ours) <= known_classifiers
    assert "Framework :: Apache Airflow :: Provider" in ours
    # An SPDX expression and a licence classifier exclude each other, and indexes refuse an upload that has both.
    assert metadata["License-Expression"] == "Apache-2.0"
    assert not [classifier for classifier in ours if classifier.startswith("License ::")]


def test_run_time_dependencies_are_few_and_have_no_upper_caps(metadata: email.message.Message) -> None:
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    always = [r for r in requirements if r.marker is None]
    assert {r.name for r in always} == {"apache-airflow", "httpx", "httpcore", "tenacity", "pyarrow", "pandas"}
    assert {spec.operator for r in requirements for spec in r.specifier} == {">="}
    assert {r.name for r in requirements if r.marker} >= {"chdb-core", "starlette", "uvicorn"}
    assert metadata["Requires-Python"] == ">=3.11"


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert f"{PACKAGE}/py.typed" in names
    assert {
        name.split("/")[0].removesuffix(f"-{airflow_provider_tinybird.__version__}.dist-info") for name in names
    } == {PACKAGE}
    # A clone may hold files of the editor and compiled ones; and modules that are on disk must not be left out either.
    on_disk = {p.relative_to(ROOT).as_posix() for p in (ROOT / PACKAGE).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == on_disk
    assert not [name for name in names if re.search(r"(^|/)tests?[_/]|\.pyc$", name)]


def test_wheel_brings_its_licence(wheel: zipfile.ZipFile) -> None:
    assert "Apache License" in info_file(wheel, "licenses/LICENSE")
    assert "airflow-provider-tinybird" in info_file(wheel, "licenses/NOTICE")


# The lock


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def wanted() -> list[str]:
    project = pyproject()
    return [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["sandbox"],
        *[entry for group in project["dependency-groups"].values() for entry in group if isinstance(entry, str)],
    ]


@pytest.mark.parametrize("text", wanted())
def test_lock_satisfies_what_the_project_asks_for(text: str) -> None:
    lock = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lock if "==" in line]
    requirement = Requirement(text)
    (pin,) = (p for p in pins if canonicalize_name(p.name) == canonicalize_name(requirement.name))
    (version,) = (Version(spec.version) for spec in pin.specifier)
    assert version in requirement.specifier, f"{pin} does not satisfy {requirement}: run make lock"


# The tree


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of the code: a signature with a line for each parameter, and its description, make nothing harder to read."""
    first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return (function.end_lineno or 0) - first.lineno + 1


def test_functions_are_short() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": body_lines(node)
        for path in python_files()
        if path.parent != ROOT / "example_dags"  # the function of a DAG is a list of its tasks
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def marks_of_a_machine() -> re.Pattern[str]:
    """Match paths of people's machines and of this one, and package indexes, which are the reader's choice."""
    places = [re.escape(str(path)) for path in {ROOT, Path(sys.prefix)} if len(path.parts) > 2]
    # In pieces, as this file is looked at too.
    homes = ["/(?:home|Users)/(?!airflow/)" + r"\w+/", "/ro" + "ot/"]
    indexes = [
        r"pypi\." + "org",
        "pythonhosted" + r"\.org",
        r"--(?:extra-)?index-" + r"url[ =]\S",
        "find-" + r"links[ =]+\w+:",
    ]
    return re.compile("|".join([*places, *homes, *indexes]))


def test_no_file_names_a_machine_or_a_package_index() -> None:
    pattern = marks_of_a_machine()
    found = []
    for path in source_files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue  # compressed data
        found += [
            f"{path.relative_to(ROOT)}:{n}: {line[:120]}" for n, line in enumerate(lines, 1) if pattern.search(line)
        ]
    assert found == []
