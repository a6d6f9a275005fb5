from __future__ import annotations

import importlib.resources
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from airflow_provider_tinybird import connection
from airflow_provider_tinybird._compat import placeholder_of_secrets
from airflow_provider_tinybird.api.regions import REGIONS
from airflow_provider_tinybird.get_provider_info import EXTRA_FIELDS, REGION_IDS, get_provider_info

ROOT = Path(__file__).resolve().parents[2]


def schema(name: str) -> dict:
    return json.loads(importlib.resources.files("airflow").joinpath(name).read_text())


@pytest.fixture
def form() -> dict:
    return get_provider_info()["connection-types"][0]


def test_airflows_run_time_schema():
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_airflows_strict_schema():
    strict = schema("provider.yaml.schema.json")
    for key, value in get_provider_info().items():
        jsonschema.validate(value, strict["properties"][key])


def test_the_name_is_that_of_the_distribution():
    # Airflow stops loading any provider when the two differ.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert get_provider_info()["package-name"] == project["name"]
    entry_point = project["entry-points"]["apache_airflow_provider"]["provider_info"]
    assert entry_point == f"{get_provider_info.__module__}:{get_provider_info.__name__}"


def test_nothing_but_the_standard_library_is_imported():
    code = """
import sys
before = set(sys.modules)
import airflow_provider_tinybird.get_provider_info as module
module.get_provider_info()
roots = {name.partition('.')[0] for name in set(sys.modules) - before}
print(*sorted(roots - set(sys.stdlib_module_names)))
print(*sorted(name for name in sys.modules if name.startswith('airflow_provider_tinybird')))
"""
    # -S: no site, so that no .pth file of the environment imports anything by itself.
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", path + code], capture_output=True, text=True, check=True, timeout=60
    )
    others, own = done.stdout.splitlines()
    assert others == "airflow_provider_tinybird"
    assert own.split() == ["airflow_provider_tinybird", "airflow_provider_tinybird.get_provider_info"]


def test_every_module_that_is_named_exists():
    info = get_provider_info()
    modules = [
        m
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in info[kind]
        for m in entry["python-modules"]
    ]
    missing = [m for m in modules if not (ROOT / f"{m.replace('.', '/')}.py").is_file()]
    assert missing == []
    assert len(modules) == len(set(modules)) >= 7  # which they are is seen in operators/test_arguments.py


def test_regions_of_the_form_are_those_of_the_api():
    assert tuple(region.id for region in REGIONS) == REGION_IDS


def test_extras_are_those_of_the_connection(form):
    assert list(form["conn-fields"]) == [
        "region",
        "workspace",
        "timeout",
        "verify",
        "proxy",
        "max_retries",
        "allow_http",
    ]
    types = {name: field["schema"]["type"] for name, field in form["conn-fields"].items()}
    assert types == {
        "region": ["string", "null"],
        "workspace": ["string", "null"],
        "timeout": ["number", "null"],
        "verify": ["boolean", "null"],
        "proxy": ["string", "null"],
        "max_retries": ["integer", "null"],
        "allow_http": ["boolean", "null"],
    }
    assert form["conn-fields"]["region"]["schema"]["enum"] == list(REGION_IDS)  # a null in it would be shown as "null"
    assert form["conn-fields"]["proxy"]["schema"]["format"] == "password"
    assert form["conn-fields"]["verify"]["schema"]["default"] is True
    assert form["conn-fields"]["allow_http"]["schema"]["default"] is False
    assert all(field["label"] and field["description"] for field in form["conn-fields"].values())


def test_the_older_form_says_the_same(form):
    behaviour = form["ui-field-behaviour"]
    assert connection.ui_field_behaviour() == {
        "hidden_fields": behaviour["hidden-fields"],
        "relabeling": behaviour["relabeling"],
        "placeholders": behaviour["placeholders"],
    }
    assert behaviour["hidden-fields"] == ["login", "schema", "port"]
    assert behaviour["relabeling"] == {"host": "API base URL", "password": "Token"}
    jsonschema.validate(connection.ui_field_behaviour(), schema("customized_form_field_behaviours.schema.json"))


def test_the_widgets_of_the_older_form():
    if not importlib.util.find_spec("wtforms"):
        with pytest.raises(ImportError) as e:
            connection.connection_form_widgets()
        assert e.value.name in ("flask_appbuilder", "wtforms")  # the two whose absence Airflow forgives
        return
    widgets = connection.connection_form_widgets()
    assert list(widgets) == [extra.name for extra in EXTRA_FIELDS]
    assert {name: widget.field_class.__name__ for name, widget in widgets.items()} == {
        "region": "StringField",
        "workspace": "StringField",
        "timeout": "StringField",
        "verify": "StringField",
        "proxy": "PasswordField",
        "max_retries": "StringField",
        "allow_http": "BooleanField",
    }


def test_a_stored_proxy_outlives_an_edit_of_something_else():
    unchanged = placeholder_of_secrets()
    if not unchanged:
        assert not importlib.util.find_spec("airflow.www")  # 3.0 and later, whose forms keep secrets by themselves
        return
    from werkzeug.datastructures import MultiDict
    from wtforms import Form

    class ConnectionForm(Form):
        proxy = connection.connection_form_widgets()["proxy"]

    def shown(typed: str | None, stored: str = "") -> str:
        form = ConnectionForm(MultiDict({"proxy": typed}) if typed is not None else None)
        form.proxy.data = stored or form.proxy.data
        return str(form.proxy())

    secret = "http://user:password@proxy.example:3128"
    assert 'value=""' in shown(None)
    assert f'value="{unchanged}"' in shown(None, stored=secret)  # what comes back like this, Airflow leaves as it was
    assert f'value="{unchanged}"' in shown(unchanged)  # the form is shown again, since another field was refused
    assert 'value=""' in shown(secret)  # the same, with a proxy that was typed in: not to be taken for the stored one
    assert 'type="password"' in shown(None)
