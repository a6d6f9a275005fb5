"""docs/testing-your-dags.md: its files, written out and run as they stand."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "testing-your-dags.md").read_text()
AIRFLOW_2 = {
    "from airflow.sdk import chain, dag": "from airflow.decorators import dag\nfrom airflow.models.baseoperator import chain"
}


def files() -> dict[str, str]:
    """The files of the page, by their names."""
    return dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the page."""
    folder = tmp_path_factory.mktemp("shop")
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        try:
            from airflow.sdk import dag  # noqa: F401
        except ImportError:
            for new, old in AIRFLOW_2.items():
                text = text.replace(new, old)
        path.write_text(text)
    return folder


def run(installed: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "AIRFLOW_HOME": str(project / "home")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_every_snippet_is_a_file():
    """So that none of them goes untested: all but the command that installs the package, and the list of the files."""
    fences = re.findall(r"^```(.*)$", PAGE, re.MULTILINE)
    assert [fence for fence in fences[::2] if "title=" not in fence] == ["bash", ""]
    assert len(files()) == len(fences) // 2 - 2


def test_its_tests_pass(installed, project):
    result = run(installed, project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    tests = [node for node in ast.parse(files()["tests/test_shop.py"]).body if isinstance(node, ast.FunctionDef)]
    names = [node.name for node in tests if node.name.startswith("test_")]
    assert len(names) == 6
    assert f"{len(names)} passed" in result.stdout, result.stdout + result.stderr


def test_the_sandbox_without_pytest(installed, project):
    result = run(installed, project, "try_it.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[{'day': '2026-01-01', 'shop': 'Lyon', 'amount': 1}]"


def test_the_tables_name_what_there_is():
    from airflow_provider_tinybird.sandbox.testing import TinybirdSandbox

    tables = PAGE.partition("## What the fixture can do")[2].partition("## Settings")[0]
    cells = [line.split("|")[1] for line in tables.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)", cell)}
    public = {name for name in vars(TinybirdSandbox) if not name.startswith("_")}
    assert named | {"stop", "release_jobs"} == public


def test_the_faults_from_the_start_on(project):
    from airflow_provider_tinybird.sandbox.testing import TinybirdSandbox

    with TinybirdSandbox(project / "tinybird", options=["--faults", str(project / "faults.json")]) as sandbox:
        assert sandbox.faults_left() == 2  # one that happens twice, and one of a job
        url = f"{sandbox.base_url}/v0/events?name=orders"
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        answers = [httpx.post(url, headers=headers, content=b'{"shop": "Lyon"}').status_code for _ in range(2)]
        assert answers == [429, 429]
        assert sandbox.faults_left() == 1
