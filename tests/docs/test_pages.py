"""What the pages say in code is so: pieces of examples are as in the examples, names and arguments are those of the package."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_provider_tinybird import operators, sensors
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [(page.name, block) for page in PAGES for block in BLOCK.findall(page.read_text())]
PACKAGE = "airflow_provider_tinybird"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def classes() -> dict[str, type[Any]]:
    """Operators and sensors by name."""
    modules = [
        importlib.import_module(f"{package.__name__}.{path.stem}")
        for package in (operators, sensors)
        for path in Path(package.__path__[0]).glob("*.py")
        if path.stem != "__init__"
    ]
    return {
        name: item
        for module in modules
        for name, item in vars(module).items()
        if inspect.isclass(item) and re.fullmatch(r"Tinybird\w+(Operator|Sensor)", name)
    }


def arguments(cls: type[Any]) -> set[str]:
    """All arguments of a class and its bases, Airflow's included."""
    return {
        name for base in cls.__mro__ for name in inspect.signature(base.__init__).parameters if base is not object
    } | {"task_id", "pool", "retries", "mode", "poke_interval", "timeout", "soft_fail"}


def test_pages_repeat_the_code_as_it_is() -> None:
    pages = script("docs_pages")
    assert [page.name for page in pages.stale_pages()] == [], "run make docs"


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_code_on_pages_uses_what_there_is(page: str, block: str) -> None:
    known = classes()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            module = importlib.import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        if not isinstance(node, ast.Call):
            continue
        name, given = called(node)
        if name in known:
            assert sorted(given - arguments(known[name])) == [], f"{page}: {name} has no such arguments"
        if isinstance(node.func, ast.Attribute) and from_hook(node.func.value):
            method = getattr(TinybirdHook, node.func.attr)
            assert sorted(given - set(inspect.signature(method).parameters)) == [], f"{page}: {node.func.attr}"


def called(node: ast.Call) -> tuple[str, set[str]]:
    """The class that is called, also by way of ``partial`` and ``expand``, and the names of the arguments."""
    function: ast.expr = node.func
    while isinstance(function, ast.Attribute | ast.Call):
        function = function.value if isinstance(function, ast.Attribute) else function.func
    attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    name = function.id if isinstance(function, ast.Name) and attribute in ("", "partial", "expand") else ""
    return name, {keyword.arg for keyword in node.keywords if keyword.arg}


def from_hook(node: ast.expr) -> bool:
    """Whether an expression is a hook as the pages write it."""
    return (isinstance(node, ast.Name) and node.id == "hook") or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TinybirdHook"
    )


# A design names what is to be.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if not page.name.startswith("design")], ids=lambda page: page.name
)
def test_pages_name_classes_that_there_are(page: Path) -> None:
    names = set(re.findall(r"\bTinybird\w+(?:Operator|Sensor)\b", page.read_text()))
    assert names - set(classes()) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_where_nobody_builds_a_site(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []
