"""Arguments that were given and came out as nothing: every operator, sensor and decorator, and each of their template fields.

They are found where they are, so that a new one is in here by itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from jinja2 import Undefined
from operator_cases import operators, own_arguments, required

from airflow_provider_tinybird._compat import AirflowFailException, AirflowSkipException, BaseOperator
from airflow_provider_tinybird.decorators.events import TinybirdEventsDecoratedOperator, tinybird_events_task
from airflow_provider_tinybird.operators.given import GivenArguments
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator
from airflow_provider_tinybird.sensors.datasources import TinybirdRowsSensor

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

ALL = list(operators().values())
NEVER_CHECKED = {"op_args", "op_kwargs"}
"""Arguments of the user's own function, which may well be None."""
BLANK_IS_A_VALUE = {"data", "dialect_delimiter", "dialect_escapechar"}
"""NDJSON without rows; a tab, or a space."""

FIELDS = [(cls, name) for cls in ALL for name in cls.template_fields]
each = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
each_field = pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS])


try:  # Airflow 2.11 resolves objects of this class only
    from airflow.utils.mixins import ResolveMixin
except ImportError:
    ResolveMixin = object


class Elsewhere(ResolveMixin):
    """What Airflow takes for the result of another task: it is resolved when templates are rendered."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def resolve(self, *_: Any, **__: Any) -> Any:
        return self.value

    def iter_references(self) -> Any:
        return iter(())


def dag(**options: Any) -> Any:
    return DAG("d", schedule=None, start_date=datetime(2024, 1, 1), **options)


def make(cls: type[Any], dag: Any = None, **arguments: Any) -> Any:
    return cls(task_id="t", dag=dag, **{**required(cls), **arguments})


def others(cls: type[Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in required(cls).items() if key not in names}


def refused(operator: Any, name: str, context: dict[str, Any] | None = None) -> str:
    """Render the operator and run it; return the words with which it ends before it does anything."""
    operator.render_template_fields(context or {})
    return refused_mapped(operator, name)


def refused_mapped(operator: Any, name: str) -> str:
    for run in (operator.execute, lambda _: operator.resume_execution("execute_complete", {}, {})):
        with pytest.raises(AirflowFailException) as e:
            run({})
        assert str(e.value).startswith(f"{name} was given and came out as "), str(e.value)
        assert f"leave {name} out" in str(e.value)
    return str(e.value)


def passes(operator: Any, context: dict[str, Any] | None = None) -> None:
    operator.render_template_fields(context or {})
    operator.check_given()


def test_every_class_passes_the_gate():
    assert len(ALL) > 20
    for cls in (*ALL, TinybirdEventsDecoratedOperator):
        assert issubclass(cls, GivenArguments)
        assert cls.may_be_none == NEVER_CHECKED
        assert cls.may_be_blank == BLANK_IS_A_VALUE


@each
def test_template_fields_are_arguments_of_the_same_name(cls):
    # By these names it is known what a mapped row gave.
    assert set(cls.template_fields) <= set(own_arguments(cls))


@each_field
def test_the_result_of_another_task(cls, name):
    assert "came out as None." in refused(make(cls, **{name: Elsewhere(None)}), name)


@each_field
def test_a_template_makes_text_of_none(cls, name):
    assert "the text 'None'" in refused(make(cls, **{name: "{{ conf.get('x') }}"}), name, {"conf": {}})


@each_field
@pytest.mark.parametrize("value", [None, float("nan")])
def test_native_rendering(cls, name, value):
    with dag(render_template_as_native_obj=True) as native:
        operator = make(cls, native, **{name: "{{ conf.x }}"})
    refused(operator, name, {"conf": {"x": value}})


@each_field
def test_native_rendering_of_a_name_that_is_not_defined(cls, name):
    with dag(render_template_as_native_obj=True, template_undefined=Undefined) as native:
        operator = make(cls, native, **{name: "{{ conf.x }}"})
    refused(operator, name, {"conf": {}})


@each_field
def test_blank_text_out_of_a_template(cls, name):
    operator = make(cls, **{name: "{{ conf.x }}"})
    if name in BLANK_IS_A_VALUE:
        passes(operator, {"conf": {"x": ""}})
    else:
        assert "blank text" in refused(operator, name, {"conf": {"x": " "}})


@each_field
def test_blank_text_of_another_task(cls, name):
    operator = make(cls, **{name: Elsewhere("")})
    passes(operator) if name in BLANK_IS_A_VALUE else refused(operator, name)


@each_field
def test_none_in_a_mapped_row(cls, name):
    with dag():
        upstream = BaseOperator(task_id="upstream")
        mapped = cls.partial(task_id="t", **others(cls, name)).expand_kwargs(upstream.output)
    operator = mapped.unmap({name: None})
    refused_mapped(operator, name)  # some reader of the mapping might not render
    assert "in a mapped row: leave out its key" in refused(operator, name)


@each_field
def test_none_in_a_list_that_a_task_is_mapped_over(cls, name):
    with dag():
        mapped = cls.partial(task_id="t", **others(cls, name)).expand(**{name: ["a", None]})
    refused(mapped.unmap({name: None}), name)
    passes(mapped.unmap({name: "a"}))


@each_field
def test_the_result_of_another_task_beside_a_mapping(cls, name):
    over = next(field for field in cls.template_fields if field != name)
    with dag():
        mapped = cls.partial(task_id="t", **{**others(cls, over), name: Elsewhere(None)}).expand(**{over: ["a"]})
    refused(mapped.unmap({over: "a"}), name)


@each
def test_switches_in_a_mapped_row(cls):
    switches = [name for name, one in own_arguments(cls).items() if one.annotation in ("bool", bool)]
    with dag():
        mapped = cls.partial(task_id="t").expand_kwargs([required(cls)])
    for name in switches:
        refused(mapped.unmap({**required(cls), name: None}), name)


@each
def test_what_is_left_out_is_left_out(cls):
    passes(make(cls))
    optional = {name: None for name, one in own_arguments(cls).items() if one.default is None}
    passes(make(cls, **optional))
    with dag() as default_args:
        default_args.default_args.update(optional)
        passes(make(cls, default_args))
        # Airflow fills what partial leaves out with its own None, such as that of pool_slots.
        passes(cls.partial(task_id="mapped", **optional).expand_kwargs([required(cls)]).unmap(required(cls)))


@each
def test_default_args(cls):
    name = next(name for name in cls.template_fields if name != "tinybird_conn_id")
    with dag(default_args={name: "{{ conf.get('x') }}"}) as made:
        operator = cls(task_id="t", dag=made, **others(cls, name))
        mapped = cls.partial(task_id="m", **others(cls, name)).expand(tinybird_conn_id=["a"])
    refused(operator, name, {"conf": {}})
    refused(mapped.unmap({"tinybird_conn_id": "a"}), name, {"conf": {}})


def test_a_row_that_overrides_what_partial_gave():
    with dag():
        mapped = TinybirdLoadOperator.partial(
            task_id="t", datasource="d", data=[], mode="replace", replace_condition="day = 1"
        ).expand_kwargs([{"replace_condition": None}], strict=False)
    refused(mapped.unmap({"replace_condition": None}), "replace_condition")


def test_more_than_one_is_told_at_once():
    operator = make(TinybirdLoadOperator, replace_condition=Elsewhere(None), mode="{{ x }}")
    operator.render_template_fields({"x": None})
    with pytest.raises(AirflowFailException, match=r"(?s)mode was given.*replace_condition was given"):
        operator.execute({})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"start": Elsewhere(None)}, "parameters['start']"),
        ({"start": "{{ conf.get('x') }}"}, "parameters['start']"),
        ({"start": ["{{ conf.get('x') }}"]}, "parameters['start'][0]"),
        (Elsewhere({"start": None}), "parameters['start']"),
        (Elsewhere({"start": float("nan")}), "parameters['start']"),
        (Elsewhere({"start": [1, None]}), "parameters['start'][1]"),
    ],
)
def test_values_within_parameters(parameters, told):
    refused(make(TinybirdCopyOperator, parameters=parameters), told, {"conf": {}})


def test_values_within_mapped_parameters():
    with dag():
        mapped = TinybirdCopyOperator.partial(task_id="t", pipe="p").expand(parameters=[{"start": None}])
    refused(mapped.unmap({"parameters": {"start": None}}), "parameters['start']")


def test_values_within_parameters_that_are_meant():
    with dag():
        mapped = TinybirdCopyOperator.partial(task_id="t", parameters={"city": None}).expand(pipe=["p"])
    passes(mapped.unmap({"pipe": "p"}))
    passes(make(TinybirdCopyOperator, parameters={"city": None, "name": "None", "text": "", "n": "{{ x }}"}), {"x": ""})
    passes(make(TinybirdCopyOperator, parameters=Elsewhere({"name": "None", "text": ""})))


def test_nulls_in_rows_are_values():
    passes(make(TinybirdLoadOperator, data=[{"a": None}]))
    passes(make(TinybirdLoadOperator, data=Elsewhere([{"a": None, "b": "", "c": float("nan")}])))


def rows(day: Any = None) -> list[Any]:
    return [{"day": day}]


def test_arguments_of_a_function_are_the_users_own():
    with dag():
        one = tinybird_events_task(rows, datasource="d")(day=Elsewhere(None)).operator
        many = tinybird_events_task(rows, datasource="d").expand(day=[None]).operator
    passes(one)
    passes(many.unmap({"op_kwargs": {"day": None}}))


def test_the_decorator_passes_the_gate():
    with dag():
        one = tinybird_events_task(rows, datasource=Elsewhere(None))().operator
        many = tinybird_events_task(rows, datasource=Elsewhere(None)).expand(day=[1]).operator
    refused(one, "datasource")
    refused(many.unmap({"op_kwargs": {"day": 1}}), "datasource")


def test_a_sensor_that_never_fails_skips():
    sensor = make(TinybirdRowsSensor, min_rows=Elsewhere(None), never_fail=True)
    sensor.render_template_fields({})
    with pytest.raises(AirflowSkipException, match="min_rows was given"):
        sensor.execute({})


def test_a_subclass_of_the_users_passes_the_gate():
    class Mine(TinybirdQueryOperator):
        template_fields = (*TinybirdQueryOperator.template_fields, "day")

        def __init__(self, *, day: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.day = day

        def execute(self, context: Any) -> Any:
            raise AssertionError("reached")

    refused(Mine(task_id="t", sql="SELECT 1", day=Elsewhere(None)), "day")


def test_text_that_merely_holds_none_is_no_ones_business():
    passes(make(TinybirdLoadOperator, replace_condition="day = '{{ x }}'"), {"x": None})
