"""What a real Airflow makes of the provider's metadata. The package must be installed: Airflow finds it by its entry point."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_tinybird import __version__
from airflow_provider_tinybird.get_provider_info import EXTRA_FIELDS, HOOK_CLASS, get_provider_info

PACKAGE = "airflow-provider-tinybird"
AIRFLOW = tuple(int(part) for part in importlib.metadata.version("apache-airflow").split(".")[:2])
READS_METADATA = AIRFLOW >= (3, 2)
HAS_FORM_LIBRARIES = all(importlib.util.find_spec(name) for name in ("flask_appbuilder", "wtforms"))

PRINT_FORM = """
import json
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
found = [hook for hook in HookMetaService.hook_meta_data() if hook.connection_type == "tinybird"]
print("FORM " + json.dumps([hook.model_dump() for hook in found]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow_home")


def run(home: Path, *arguments: str) -> str:
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env=environment, cwd=home
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def providers(home: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run ``airflow providers`` and return its table; some versions log to the standard output before it."""
    output = run(home, "-m", "airflow", "providers", *arguments, "--output", "json")
    last = [line for line in output.splitlines() if line.startswith(("[{", "[]", "No data found"))][-1]
    return [] if last.startswith("No data") else json.loads(last)


def test_get(home):
    assert providers(home, "get", PACKAGE) == [{"Provider": PACKAGE, "Version": __version__}]
    (full,) = providers(home, "get", PACKAGE, "--full")
    assert HOOK_CLASS in json.dumps(full)


def test_hooks(home):
    rows = [row for row in providers(home, "hooks") if row["package_name"] == PACKAGE]
    assert rows == [
        {
            "connection_type": "tinybird",
            "class": HOOK_CLASS,
            "conn_id_attribute_name": "tinybird_conn_id",
            "package_name": PACKAGE,
            "hook_name": "Tinybird",
        }
    ]


def test_behaviours(home):
    shown = {"field_behaviours": "tinybird"} in providers(home, "behaviours")
    assert shown is (READS_METADATA or HAS_FORM_LIBRARIES)


def test_widgets(home):
    rows = [row for row in providers(home, "widgets") if row["package_name"] == PACKAGE]
    names = [row["connection_parameter_name"] for row in rows]
    expected = [f"extra__tinybird__{name}" for name in sorted(extra.name for extra in EXTRA_FIELDS)]
    assert names == (expected if READS_METADATA or HAS_FORM_LIBRARIES else [])
    if READS_METADATA:
        fields = get_provider_info()["connection-types"][0]["conn-fields"]
        types = {row["connection_parameter_name"]: row["field_type"] for row in rows}
        assert types == {f"extra__tinybird__{name}": field["schema"]["type"] for name, field in fields.items()}


def test_the_form_of_the_ui(home):
    if AIRFLOW < (3, 0):
        # The UI of 2.x has no such service: it draws the widgets of test_widgets.
        assert importlib.util.find_spec("airflow.api_fastapi") is None
        return
    output = run(home, "-c", PRINT_FORM)
    (line,) = [line for line in output.splitlines() if line.startswith("FORM ")]
    (form,) = json.loads(line.removeprefix("FORM "))
    assert form["hook_name"] == "Tinybird"
    assert form["hook_class_name"] == HOOK_CLASS
    if AIRFLOW == (3, 0) and not HAS_FORM_LIBRARIES:
        assert form["standard_fields"] is None
        return
    standard = form["standard_fields"]
    assert standard["host"]["title"] == "API base URL"
    assert standard["password"]["title"] == "Token"
    assert [name for name, field in standard.items() if field and field["hidden"]] == ["url_schema", "port", "login"]
    extras = form["extra_fields"]
    assert list(extras) == [extra.name for extra in EXTRA_FIELDS]
    assert [field["schema"]["title"] for field in extras.values()] == [extra.label for extra in EXTRA_FIELDS]
    assert extras["proxy"]["schema"]["format"] == "password"
    assert "aws-us-east-1" in extras["region"]["schema"]["enum"]
    if READS_METADATA:
        assert extras["verify"]["value"] is True
