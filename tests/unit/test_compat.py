from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_tinybird import _compat

REPORT_WARNINGS = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import airflow_provider_tinybird._compat as compat
    for name in compat.__all__:
        getattr(compat, name)
for one in caught:
    # Airflow warns in the name of whoever imports the old path; what it warns of within itself is its own affair.
    if one.filename == compat.__file__:
        print(one.category.__name__, one.message)
"""


def test_no_import_is_a_deprecated_one(tmp_path):
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", REPORT_WARNINGS],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment,
    )
    assert [line for line in done.stdout.splitlines() if "Warning" in line] == []


def test_exceptions_are_those_that_this_airflow_catches():
    assert issubclass(_compat.AirflowFailException, _compat.AirflowException)
    assert issubclass(_compat.AirflowSkipException, _compat.AirflowException)
    assert issubclass(_compat.AirflowSensorTimeout, _compat.AirflowException)
    assert issubclass(_compat.AirflowNotFoundException, _compat.AirflowException)
    operator = _compat.BaseOperator(task_id="t")
    with pytest.raises(_compat.TaskDeferred):
        operator.defer(trigger=SimpleNamespace(), method_name="resume")


def test_the_default_for_deferrable_is_read_from_the_configuration(monkeypatch):
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert _compat.conf.getboolean("operators", "default_deferrable", fallback=False) is True


def test_features_are_probed():
    assert _compat.TRIGGER_HAS_ON_KILL is hasattr(BaseTrigger, "on_kill")
    store = object()
    assert _compat.task_state_store({"task_state_store": store}) is store
    assert _compat.task_state_store({}) is None
    assert _compat.task_state_store(_compat.Context()) is None
