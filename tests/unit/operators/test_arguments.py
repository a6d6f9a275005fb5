"""What Airflow does with an operator before it runs: store arguments, copy, name clashes. Templates are in ``test_templates.py``."""

from __future__ import annotations

import inspect
import json
import pickle
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from operator_cases import operators, operators_of_the_metadata, own_arguments, required

from airflow_provider_tinybird._compat import BaseOperator, BaseSensorOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.job import TinybirdJobOperator

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

ALL = list(operators().values())
JOB_OPERATORS = [cls for cls in ALL if issubclass(cls, TinybirdJobOperator)]

each = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)


def make(cls: type[Any], task_id: str = "t", **arguments: Any) -> Any:
    return cls(task_id=task_id, **{**required(cls), **arguments})


def dag() -> Any:
    return DAG("d", schedule=None, start_date=datetime(2024, 1, 1))


def test_airflow_is_told_of_each():
    assert operators() == operators_of_the_metadata(), "get_provider_info.py has to name each module of operators"


@each
def test_arguments_are_keyword_only(cls):
    assert {p.kind for p in own_arguments(cls).values()} == {inspect.Parameter.KEYWORD_ONLY}


@each
def test_arguments_are_stored_as_they_are(cls):
    stored_elsewhere = {"dry_run"}  # every operator has a method of that name
    given = {name: object() for name in own_arguments(cls) if name not in stored_elsewhere}
    operator = make(cls, **given)
    assert {name: getattr(operator, name) for name in given} == given


@each
def test_no_name_of_airflow_is_taken(cls):
    """An argument or method that has the name of something of BaseOperator's breaks DAGs in odd places."""
    base = BaseSensorOperator if issubclass(cls, BaseSensorOperator) else BaseOperator
    reserved = set(dir(base(task_id="t"))) | set(inspect.signature(inspect.unwrap(base.__init__)).parameters)
    reserved -= {"self", "kwargs", "args"}
    known = {"template_fields", "template_ext", "template_fields_renderers", "ui_color", "ui_fgcolor", "log"}
    known |= {
        "execute",
        "on_kill",
        "poke",
        "_get_next_poke_interval",  # to shorten the pause before the end
        "resume_execution",
        "render_template",
        "resolve_template_files",
        "_do_render_template_fields",  # both plain and mapped tasks pass through it, in each version
        "__init__",
        "pre_execute",
        "post_execute",
        "operator_extra_links",
    }
    operator = make(cls)
    ours = {
        name
        for owner in type(operator).__mro__
        if owner.__module__.startswith("airflow_provider_tinybird")
        for name in vars(owner)
        if not name.startswith("__")
    }
    taken = (ours | (set(own_arguments(cls)) - {"dry_run"})) & reserved
    assert {name for name in taken if not name.startswith(("_abc", "_BaseOperator__"))} <= known


@each
def test_making_one_costs_nothing(cls, monkeypatch):
    """DAG files are parsed every few seconds: no network, no connection, no checks of what may still be a template."""

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    nonsense = dict.fromkeys(cls.template_fields, "{{ nonsense }}")
    operator = make(cls, **nonsense)
    assert "hook" not in vars(operator)


@pytest.mark.parametrize("cls", JOB_OPERATORS, ids=lambda cls: cls.__name__)
def test_default_args_reach_the_settings_of_a_job(cls):
    given = {
        "deferrable": True,
        "timeout": timedelta(minutes=3),
        "poll_interval": 11,
        "cancel_on_kill": False,
        "wait_for_completion": False,
        "tinybird_conn_id": "other",
    }
    with DAG("d", schedule=None, start_date=datetime(2024, 1, 1), default_args=given):
        operator = make(cls)
    assert {name: getattr(operator, name) for name in given} == given


@each
def test_the_connection_is_tinybird_default(cls):
    assert make(cls).tinybird_conn_id == "tinybird_default"


@each
def test_deferrable_follows_airflow(cls):
    if "deferrable" in own_arguments(cls):
        assert make(cls).deferrable is False


@each
def test_it_can_be_copied(cls):
    import copy

    operator = make(cls)
    assert copy.deepcopy(operator).tinybird_conn_id == "tinybird_default"


@each
def test_docstrings_tell_every_argument(cls):
    docs = "".join(
        base.__doc__ or "" for base in cls.__mro__ if base.__module__.startswith("airflow_provider_tinybird")
    )
    assert [name for name in own_arguments(cls) if f":param {name}:" not in docs] == []


def test_the_default_of_deferrable_comes_from_airflows_configuration():
    code = (
        "from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator as O;"
        "from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor as S;"
        "print(O(task_id='t', pipe='p').deferrable, S(task_id='s', job_id='j').deferrable)"
    )
    import os

    environment = {
        **os.environ,
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["True", "True"]


class TestCallableData:
    """Airflow calls whatever callable it finds in a template field, with arguments that ours do not take."""

    @staticmethod
    def rows() -> list[dict[str, int]]:
        return [{"a": 1}]

    def test_it_survives_rendering_however_often(self, tinybird):
        tinybird.on("POST /v0/events", {"successful_rows": 1, "quarantined_rows": 0})
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=self.rows)
        for _ in range(3):
            operator.render_template_fields({})
        operator.execute({})
        assert tinybird.only.body == b'{"a":1}\n'

    def test_it_is_called_when_the_task_runs_and_only_then(self, tinybird):
        calls: list[int] = []

        def rows() -> list[dict[str, int]]:
            calls.append(1)
            return [{"a": 1}]

        tinybird.on("POST /v0/events", {"successful_rows": 1, "quarantined_rows": 0})
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=rows)
        operator.render_template_fields({})
        assert calls == []
        assert operator.execute({})["successful_rows"] == 1
        assert calls == [1]
        assert tinybird.only.body == b'{"a":1}\n'

    def test_without_rendering(self, tinybird):
        tinybird.on("POST /v0/events", {"successful_rows": 1, "quarantined_rows": 0})
        TinybirdEventsOperator(task_id="t", datasource="flights", data=lambda: '{"a":1}\n').execute({})
        assert tinybird.only.body == b'{"a":1}\n'

    def test_a_generator_function(self, tinybird):
        def rows() -> Any:
            yield {"a": 1}
            yield {"a": 2}

        tinybird.on("POST /v0/events", {"successful_rows": 2, "quarantined_rows": 0})
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=rows)
        operator.render_template_fields({})
        operator.execute({})
        assert tinybird.only.body == b'{"a":1}\n{"a":2}\n'

    def test_mapped(self, tinybird):
        tinybird.on("POST /v0/events", {"successful_rows": 1, "quarantined_rows": 0})
        with dag():
            mapped = TinybirdEventsOperator.partial(task_id="t", data=self.rows).expand(datasource=["a", "b"])
        operator = mapped.unmap({"datasource": "a"})
        operator.render_template_fields({})
        operator.execute({})
        assert tinybird.only.body == b'{"a":1}\n'

    def test_the_ui_shows_its_name(self):
        try:
            from airflow.serialization.helpers import serialize_template_field
        except ImportError:
            pytest.fail("Airflow moved serialize_template_field")
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=self.rows)
        shown = serialize_template_field(operator.data, "data")
        assert "rows" in json.dumps(shown)
        assert "0x" not in json.dumps(shown)  # an address would make another DAG version of each parsing

    def test_it_pickles(self):
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=json.dumps)
        pickle.dumps(operator.data)

    def test_a_data_frame_survives_rendering(self):
        import pandas as pd

        frame = pd.DataFrame({"a": [1]})
        operator = TinybirdEventsOperator(task_id="t", datasource="flights", data=frame)
        operator.render_template_fields({})
        assert operator.data.equals(frame)
