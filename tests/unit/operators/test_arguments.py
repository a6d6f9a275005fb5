"""What Airflow does with an operator before it runs: store arguments, render templates, map, serialise, name clashes."""

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

from airflow_provider_tinybird._compat import BaseOperator, BaseSensorOperator
from airflow_provider_tinybird.operators.base import TinybirdOperator
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.job import TinybirdJobOperator
from airflow_provider_tinybird.operators.pipes import (
    TinybirdCopyOperator,
    TinybirdEndpointOperator,
    TinybirdPopulateOperator,
    TinybirdSinkOperator,
)
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

REQUIRED: dict[type[Any], dict[str, Any]] = {
    TinybirdAppendUrlOperator: {"datasource": "flights", "url": "https://example/x.csv"},
    TinybirdAppendFileOperator: {"datasource": "flights", "path": "/data/x.csv"},
    TinybirdTruncateOperator: {"datasource": "flights"},
    TinybirdDeleteOperator: {"datasource": "flights", "delete_condition": "day < '2013-01-01'"},
    TinybirdEventsOperator: {"datasource": "flights", "data": "{}"},
    TinybirdCopyOperator: {"pipe": "daily"},
    TinybirdSinkOperator: {"pipe": "to_s3"},
    TinybirdPopulateOperator: {"pipe": "view", "node": "mv"},
    TinybirdEndpointOperator: {"pipe": "top"},
    TinybirdQueryOperator: {"sql": "SELECT 1"},
    TinybirdJobSensor: {"job_id": "j1"},
}
ALL = list(REQUIRED)
JOB_OPERATORS = [cls for cls in ALL if issubclass(cls, TinybirdJobOperator)]
FIELDS = [(cls, name) for cls in ALL for name in cls.template_fields]
FLAGS = {"wait", "compression", "wait_for_completion", "deferrable", "poll_interval", "timeout", "cancel_on_kill"}
FLAGS |= {
    "durable",
    "on_unknown",
    "dry_run",
    "lightweight",
    "on_demand_compute",
    "truncate",
    "unlink_on_populate_error",
}

each = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
each_field = pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS])


def make(cls: type[Any], task_id: str = "t", **arguments: Any) -> Any:
    return cls(task_id=task_id, **{**REQUIRED[cls], **arguments})


def own_arguments(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Arguments that this package defines, of a class and its bases."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("airflow_provider_tinybird") and "__init__" in vars(base):
            found |= inspect.signature(inspect.unwrap(vars(base)["__init__"])).parameters
    return {name: p for name, p in found.items() if name != "self" and p.kind is not p.VAR_KEYWORD}


def dag() -> Any:
    return DAG("d", schedule=None, start_date=datetime(2024, 1, 1))


def test_this_list_is_complete():
    def below(cls: type[Any]) -> set[type[Any]]:
        direct = set(cls.__subclasses__())
        return direct.union(*map(below, direct)) if direct else direct

    operators = {
        cls
        for cls in below(TinybirdOperator)
        if not inspect.isabstract(cls) and cls.__module__.startswith("airflow_provider_tinybird")
    }
    assert operators <= set(ALL)


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
def test_all_that_is_data_is_templated(cls):
    missing = set(own_arguments(cls)) - set(cls.template_fields) - FLAGS
    assert missing <= {"populate_subset"} - set(cls.template_fields)


@each
def test_required_arguments_are_required(cls):
    required = {name for name, p in own_arguments(cls).items() if p.default is p.empty}
    assert required == set(REQUIRED[cls]) - {"job_id"}


@each
def test_no_name_of_airflow_is_taken(cls):
    """An argument or method that has the name of something of BaseOperator's breaks DAGs in odd places."""
    base = BaseSensorOperator if issubclass(cls, BaseSensorOperator) else BaseOperator
    reserved = set(dir(base(task_id="t"))) | set(inspect.signature(inspect.unwrap(base.__init__)).parameters)
    reserved -= {"self", "kwargs", "args"}
    known = {"template_fields", "template_ext", "template_fields_renderers", "ui_color", "ui_fgcolor", "log"}
    known |= {"execute", "on_kill", "poke", "__init__", "pre_execute", "post_execute", "operator_extra_links"}
    operator = make(cls)
    ours = {
        name
        for owner in type(operator).__mro__
        if owner.__module__.startswith("airflow_provider_tinybird")
        for name in vars(owner)
        if not name.startswith("__")
    }
    taken = (ours | (set(own_arguments(cls)) - {"dry_run"})) & reserved
    assert {name for name in taken if not name.startswith("_abc") and name != "_BaseOperator__instantiated"} <= known


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


@each_field
def test_a_template_is_rendered(cls, name):
    operator = make(cls, **{name: "{{ what }}.x"})
    operator.render_template_fields({"what": "rendered"})
    assert getattr(operator, name) == "rendered.x"


@each_field
def test_the_result_of_another_task_makes_a_dependency(cls, name):
    with dag():
        upstream = BaseOperator(task_id="upstream")
        operator = make(cls, **{name: upstream.output})
    assert operator.upstream_task_ids == {"upstream"}


@each_field
def test_a_template_field_can_be_mapped(cls, name):
    others = {key: value for key, value in REQUIRED[cls].items() if key != name}
    with dag():
        mapped = cls.partial(task_id="t", **others).expand(**{name: ["a", "b"]})
    assert getattr(mapped.unmap({name: "b"}), name) == "b"


@each
def test_several_arguments_can_be_mapped(cls):
    with dag():
        mapped = cls.partial(task_id="t").expand_kwargs([REQUIRED[cls], REQUIRED[cls]])
    operator = mapped.unmap(REQUIRED[cls])
    assert {name: getattr(operator, name) for name in REQUIRED[cls]} == REQUIRED[cls]


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
        assert operator.execute({}) == {"successful_rows": 1, "quarantined_rows": 0}
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
