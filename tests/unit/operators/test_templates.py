"""Templates, ``.sql`` files, results of other tasks and mapping: all of it for every operator and sensor and each of their fields.

They are found where they are, so that a new one is in here by itself.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from operator_cases import operators, own_arguments, required

from airflow_provider_tinybird._compat import BaseOperator

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

try:
    from airflow.serialization.serialized_objects import DagSerialization as SerializedDAG
except ImportError:  # 2.11 to 3.1
    from airflow.serialization.serialized_objects import SerializedDAG

NOT_TEMPLATED = {
    "poll_interval": "a length of time, and of the task, not of its data",
    "timeout": "a length of time, and of the task, not of its data",
    "on_unknown": "a choice of the DAG's author, to be read where the DAG is read",
    "dialect_new_line": "a line end, which rendering would strip",
    "max_size": "a limit that the author sets",
    "max_file_bytes": "how rows travel, not what they are",
    "imports_per_minute": "a limit of the plan that the author sets",
    "compression": "how rows travel, not what they are",
    "delivery": "a choice of the DAG's author, to be read where the DAG is read",
    "max_in_flight": "how rows travel, not what they are",
}
"""Arguments that are no template fields, and why. Switches are none either: a rendered 'False' would be true."""

ALL = list(operators().values())
FIELDS = [(cls, name) for cls in ALL for name in cls.template_fields]
SQL_FIELDS = [(cls, name) for cls, name in FIELDS if re.fullmatch(r"(.*_)?(sql|q|condition)", name)]


def named(pairs: list[tuple[type[Any], str]]) -> list[str]:
    return [f"{cls.__name__}.{name}" for cls, name in pairs]


each = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
each_field = pytest.mark.parametrize(("cls", "name"), FIELDS, ids=named(FIELDS))
each_sql = pytest.mark.parametrize(("cls", "name"), SQL_FIELDS, ids=named(SQL_FIELDS))


def dag(**options: Any) -> Any:
    return DAG("d", schedule=None, start_date=datetime(2024, 1, 1), **options)


def make(cls: type[Any], **arguments: Any) -> Any:
    return cls(task_id="t", **{**required(cls), **arguments})


@each
def test_all_that_is_data_is_templated(cls):
    switches = {name for name, one in own_arguments(cls).items() if one.annotation in ("bool", bool)}
    for name in set(own_arguments(cls)) - switches - set(NOT_TEMPLATED) - set(cls.template_fields):
        pytest.fail(
            f"{cls.__name__}.{name} is not templated, so that it can neither be a template nor the result of another task. Put it into "
            "template_fields, or, where it is no data, into NOT_TEMPLATED of this test with the reason."
        )


@each
def test_no_switch_is_templated(cls):
    switches = {name for name, one in own_arguments(cls).items() if one.annotation in ("bool", bool)}
    assert not switches & set(cls.template_fields)


def test_each_exception_is_still_one():
    arguments = {(cls, name) for cls in ALL for name in own_arguments(cls)}
    assert {name for cls, name in arguments if name not in cls.template_fields} >= set(NOT_TEMPLATED)


@each
def test_the_connection_is_templated(cls):
    assert "tinybird_conn_id" in cls.template_fields


@each
def test_docstrings_say_what_is_templated(cls):
    texts = [base.__doc__ or "" for base in cls.__mro__ if base.__module__.startswith("airflow_provider_tinybird")]
    described = [text for docs in texts for text in re.split(r"\n\s*:param ", docs)[1:]]
    said = {text.partition(":")[0] for text in described if "(templated)" in " ".join(text.split("\n\n")[0].split())}
    assert set(cls.template_fields) & set(own_arguments(cls)) <= said


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
        inside = cls(task_id="inside", **{**required(cls), name: {"a": [upstream.output["key"]]}})
    assert operator.upstream_task_ids == inside.upstream_task_ids == {"upstream"}


@each_field
def test_a_field_can_be_mapped(cls, name):
    others = {key: value for key, value in required(cls).items() if key != name}
    with dag():
        mapped = cls.partial(task_id="t", **others).expand(**{name: ["a", "{{ what }}"]})
    operator = mapped.unmap({name: "{{ what }}"})
    operator.render_template_fields({"what": "rendered"})
    assert getattr(operator, name) == "rendered"


@each_field
def test_a_field_can_be_mapped_over_the_result_of_another_task(cls, name):
    others = {key: value for key, value in required(cls).items() if key != name}
    with dag():
        upstream = BaseOperator(task_id="upstream")
        mapped = cls.partial(task_id="t", **others).expand(**{name: upstream.output})
        each_of_many = cls.partial(task_id="t2").expand_kwargs(upstream.output)
    assert mapped.upstream_task_ids == each_of_many.upstream_task_ids == {"upstream"}


@each
def test_all_fields_can_be_mapped_at_once(cls):
    given = [{name: f"{name} {{{{ what }}}} {number}" for name in cls.template_fields} for number in range(2)]
    with dag():
        mapped = cls.partial(task_id="t").expand_kwargs(given)
    operator = mapped.unmap(given[1])
    operator.render_template_fields({"what": "of"})
    assert {name: getattr(operator, name) for name in cls.template_fields} == {
        name: f"{name} of 1" for name in cls.template_fields
    }


@each
def test_airflow_can_store_it_plain_and_mapped(cls):
    with dag() as made:
        make(cls)
        cls.partial(task_id="mapped").expand_kwargs([required(cls), required(cls)])
        cls.partial(task_id="over", **required(cls)).expand(tinybird_conn_id=["a", "b"])
    stored = json.loads(json.dumps(SerializedDAG.to_dict(made)))
    read = SerializedDAG.from_dict(stored)
    assert set(read.task_dict) == {"t", "mapped", "over"}
    for task in read.task_dict.values():
        assert set(cls.template_fields) == set(task.template_fields)


@each_sql
def test_sql_can_be_in_a_file(cls, name, tmp_path: Path):
    (tmp_path / "some.sql").write_text("day < '{{ what }}' -- once rendered\n")
    with dag(template_searchpath=str(tmp_path)):
        plain = make(cls, **{name: "some.sql"})
        others = {key: value for key, value in required(cls).items() if key != name}
        mapped = cls.partial(task_id="mapped", **others).expand(**{name: ["some.sql"]}).unmap({name: "some.sql"})
    for operator in (plain, mapped):
        operator.render_template_fields({"what": "2013-01-01"})
        assert getattr(operator, name) == "day < '2013-01-01' -- once rendered"


@each
def test_sql_is_shown_as_sql(cls):
    """The page of a task colours it; also how a field that holds SQL is told from others here."""
    shown = {name for name, kind in cls.template_fields_renderers.items() if kind == "sql"}
    assert shown == {name for of, name in SQL_FIELDS if of is cls}


@each
def test_parameters_are_shown_as_json(cls):
    if "parameters" in cls.template_fields:
        assert cls.template_fields_renderers["parameters"] == "json"


@each
def test_where_there_is_no_sql_no_text_is_taken_for_a_file(cls):
    """A value that ends in an extension of ``template_ext`` is read from a file, also one inside of ``parameters``."""
    sql = {name for of, name in SQL_FIELDS if of is cls}
    assert tuple(cls.template_ext) == ((".sql",) if sql else ())
