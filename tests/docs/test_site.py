"""The documentation builds without a warning, and all its links and anchors lead somewhere: MkDocs checks that in strict mode."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", target],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return target


def test_reference_has_all_that_users_name(site: Path) -> None:
    from airflow_provider_tinybird.get_provider_info import get_provider_info

    info = get_provider_info()
    for kind in ("operators", "sensors", "triggers", "hooks"):
        page = (site / "reference" / f"{kind}.html").read_text()
        for module in [module for entry in info[kind] for module in entry["python-modules"]]:
            source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
            for name in re.findall(r"^class (Tinybird\w+)", source, re.MULTILINE):
                assert f'id="{module}.{name}"' in page, f"{name} is not in reference/{kind}.html"


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="?(https?://[^"> ]+)', page.read_text())
        assert loaded == [], page.name


def test_changelog_and_examples_are_pages_of_it(site: Path) -> None:
    assert "Unreleased" in (site / "changelog.html").read_text()
    examples = (site / "examples.html").read_text()
    assert all(path.stem in examples for path in (ROOT / "example_dags").glob("*.py"))
