"""What the README, and the first pages after it, say is so. Its DAG runs in ``test_example_dags.py``."""

from __future__ import annotations

import json
import re
import shlex
import urllib.request
from pathlib import Path

import pytest
from sandbox_process import SandboxProcess

from airflow_provider_tinybird import operators, sensors
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
INDEX = (ROOT / "docs" / "index.md").read_text()
START = (ROOT / "docs" / "start.md").read_text()
CONNECTIONS = re.findall(r"AIRFLOW_CONN_TINYBIRD_DEFAULT='(.+)'", README + START)
HEADER = "carrier flights cancelled mean delay worst delay"


def test_it_is_one_screen():
    assert len(README.splitlines()) <= 90


def test_the_table_of_the_demo_has_the_numbers_of_pandas(demo_table):
    lines = [" ".join(line.split()) for line in START.splitlines()]
    at = lines.index(HEADER)
    assert lines[at + 1 : at + 11] == demo_table


def test_what_the_demo_says_is_as_it_says_it():
    demo = (ROOT / "scripts" / "demo.py").read_text()
    closing = re.findall(r"^  (?:example_dags/|docs/start\.md|make ).+$", demo, re.M)
    assert len(closing) >= 3
    assert [line for line in closing if line.strip('"') not in START] == []
    project = ROOT / "example_dags" / "tinybird"
    counts = [len(list(project.rglob(f"*.{kind}"))) for kind in ("datasource", "pipe")]
    assert "{} data sources, {} pipes,".format(*counts) in START


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_its_links_lead_somewhere(link):
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.mark.parametrize("text", CONNECTIONS)
def test_its_connections_can_be_used(text, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", text)
    fields = json.loads(text)
    settings = TinybirdHook().settings
    assert settings.base_url == fields["host"]
    assert settings.token.value == fields["password"]


def test_the_index_names_what_there_is():
    sources = [path.read_text() for package in (operators, sensors) for path in Path(package.__path__[0]).glob("*.py")]
    classes = {
        name for text in sources for name in re.findall(r"^class (Tinybird\w+(?:Operator|Sensor))\(", text, re.M)
    }
    bases = {name for text in sources for name in re.findall(r'^class (Tinybird\w+)\(.+:\n    """Base ', text, re.M)}
    assert {"TinybirdOperator", "TinybirdJobOperator"} <= bases
    assert set(re.findall(r"`(Tinybird\w+(?:Operator|Sensor))`", INDEX)) == classes - bases


def test_the_methods_that_it_names_are_there():
    (sentence,) = re.findall(r"`TinybirdHook\(\)` has (.+?)\. ", INDEX.replace("\n", " "))
    names = re.findall(r"`(\w+)`", sentence)
    assert len(names) == 14
    assert all(callable(getattr(TinybirdHook, name)) for name in names)


def test_the_sandbox_of_the_examples_knows_its_token():
    section = START[START.index("## From a clone") :]
    (command,) = re.findall(r"^tinybird-sandbox (.+) &$", section, re.M)
    (token,) = re.findall(r"TB_LOCAL_WORKSPACE_TOKEN=(\S+)", section)
    options = [str(ROOT / part) if part.startswith("example_dags") else part for part in shlex.split(command)]
    assert json.loads(CONNECTIONS[-1])["password"] == token
    with SandboxProcess(*options, environment={"TB_LOCAL_WORKSPACE_TOKEN": token}) as sandbox:
        request = urllib.request.Request(f"{sandbox.base_url}/v0/datasources/flights")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["name"] == "flights"
        url = f"{sandbox.base_url}/files/flights_2013_01.csv.gz"
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10) as answer:
            assert answer.status == 200
