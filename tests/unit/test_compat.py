from __future__ import annotations

import inspect
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


class TestStoreOfOneLife:
    """Airflow gives a task instance another trace context when it is cleared, running or not, and none at a retry."""

    @staticmethod
    def of(stored, traceparent):
        carrier = {"traceparent": traceparent} if traceparent else {}
        return _compat.task_state_store(
            {"ti": SimpleNamespace(context_carrier=carrier, max_tries=2), "task_state_store": stored}
        )

    def test_a_retry_sees_what_was_stored(self):
        stored = Stored()
        self.of(stored, "a").set("k", {"version": 1})
        assert self.of(stored, "a").get("k") == {"version": 1}

    def test_a_cleared_task_does_not(self):
        stored = Stored()
        self.of(stored, "a").set("k", {"version": 1})
        assert self.of(stored, "b").get("k") is None
        self.of(stored, "b").set("k", {"version": 2})
        assert self.of(stored, "b").get("k") == {"version": 2}

    def test_what_an_older_version_stored_is_seen(self):
        stored = Stored(k={"version": 1, "max_tries": 2})
        assert self.of(stored, "a").get("k") == {"version": 1, "max_tries": 2}

    def test_what_is_no_mapping_passes(self):
        stored = Stored(k=[1])
        self.of(stored, "a").set("l", [2])
        assert (self.of(stored, "b").get("k"), self.of(stored, "b").get("l")) == ([1], [2])

    @pytest.mark.parametrize("ti", [None, SimpleNamespace(), SimpleNamespace(context_carrier=None)])
    def test_without_a_trace_context_it_is_airflow_s_own(self, ti):
        stored = Stored()
        assert _compat.task_state_store({"ti": ti, "task_state_store": stored}) is stored

    def test_there_is_none_before_3_3(self):
        assert _compat.task_state_store({"ti": SimpleNamespace(context_carrier={"traceparent": "a"})}) is None

    def test_a_worker_s_task_instance_has_it_where_there_is_a_store(self):
        runtime = pytest.importorskip("airflow.sdk.execution_time.task_runner").RuntimeTaskInstance
        has_store = "task_state_store" in inspect.getsource(runtime)
        assert not has_store or "context_carrier" in runtime.model_fields


class Stored(dict):
    """What Airflow keeps."""

    def set(self, key, value):
        self[key] = value

    def delete(self, key):
        self.pop(key, None)
