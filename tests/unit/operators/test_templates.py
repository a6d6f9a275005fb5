"""Templates, ``.sql`` files, results of other tasks and mapping: all of it for every operator and sensor and each of their fields.

They are found where they are, so that a new one is in here by itself.
"""

from __future__ import annotations

import copy
import json
import pickle
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
    return cls(**{"task_id": "t", **required(cls), **arguments})


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


LITERALS = ["1.10", "1e5", "None", "True", "007", "[1, 2]", "0x10", "a\r\nb", "ends with a line end\n", "{'a': 1}"]
"""Text that rendering changes: to Python objects where it is native, and line ends everywhere."""


@each_field
@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
def test_text_without_a_template_stays_what_it_is(cls, name, native):
    with dag(render_template_as_native_obj=native):
        operator = make(cls, **{name: list(LITERALS)})
        nested = make(cls, task_id="nested", **{name: {"rows": [{"a": (one, {"b": one})} for one in LITERALS]}})
        others = {key: value for key, value in required(cls).items() if key != name}
        mapped = cls.partial(task_id="mapped", **others).expand(**{name: LITERALS})
    operator.render_template_fields({})
    nested.render_template_fields({})
    assert getattr(operator, name) == LITERALS
    assert getattr(nested, name) == {"rows": [{"a": (one, {"b": one})} for one in LITERALS]}
    for literal in LITERALS:
        one = mapped.unmap({name: literal})
        one.render_template_fields({})
        assert getattr(one, name) == literal


@each_field
def test_a_template_makes_a_native_value_where_the_user_wants_it(cls, name):
    with dag(render_template_as_native_obj=True):
        operator = make(cls, **{name: {"a": "{{ n }}", "b": "1.10", "c": "{{ rows }}"}})
    operator.render_template_fields({"n": 1.5, "rows": [{"n": 1}]})
    assert getattr(operator, name) == {"a": 1.5, "b": "1.10", "c": [{"n": 1}]}


def test_marks_of_templates_are_those_of_the_dag():
    with dag(jinja_environment_kwargs={"variable_start_string": "[[", "variable_end_string": "]]"}):
        operator = make(operators()["TinybirdEventsOperator"], data=[{"a": "[[ n ]]", "b": "{{ n }}"}])
    operator.render_template_fields({"n": 1})
    assert operator.data == [{"a": "1", "b": "{{ n }}"}]


OTHER_FIELDS = [pair for pair in FIELDS if pair not in SQL_FIELDS]


@pytest.mark.parametrize(("cls", "name"), OTHER_FIELDS, ids=named(OTHER_FIELDS))
@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
def test_text_that_ends_in_sql_is_no_file_elsewhere(cls, name, native, tmp_path: Path, caplog):
    (tmp_path / "report.sql").write_text("taken for a file")
    given = {
        "value": "report.sql",
        "list": ["report.sql"],
        "{{": [{"a": "{{ what }}.sql"}],
        "{%": "{% if 1 %}x{% endif %}.sql",
    }
    expected = {"value": "report.sql", "list": ["report.sql"], "{{": [{"a": "out.sql"}], "{%": "x.sql"}
    with dag(template_searchpath=str(tmp_path), render_template_as_native_obj=native):
        plain = [make(cls, task_id=f"t{number}", **{name: value}) for number, value in enumerate(given.values())]
        nested = make(cls, task_id="nested", **{name: {"a": ("report.sql",)}})
        others = {key: value for key, value in required(cls).items() if key != name}
        mapped = cls.partial(task_id="mapped", **others).expand(**{name: list(given.values())})
    for operator in (*plain, nested, *(mapped.unmap({name: value}) for value in given.values())):
        fields = operator.template_fields
        operator.resolve_template_files()
        assert operator.template_fields == fields
        operator.render_template_fields({"what": "out"})
    assert [getattr(one, name) for one in plain] == list(expected.values())
    assert getattr(nested, name) == {"a": ("report.sql",)}
    assert "Failed to" not in caplog.text


@each_sql
def test_a_file_with_sql_is_read_when_the_dag_is(cls, name, tmp_path: Path):
    (tmp_path / "some.sql").write_text("day < '{{ what }}'")
    others = {key: "other.sql" for key in required(cls) if (cls, key) not in SQL_FIELDS}
    with dag(template_searchpath=str(tmp_path)):
        operator = make(cls, **{**others, name: "some.sql"})
    operator.resolve_template_files()
    assert getattr(operator, name) == "day < '{{ what }}'"
    assert {key: getattr(operator, key) for key in others} == others


def test_a_user_s_own_field_and_extension_are_airflow_s_business(tmp_path: Path):
    class Own(operators()["TinybirdEndpointOperator"]):  # type: ignore[misc]
        template_fields = (*operators()["TinybirdEndpointOperator"].template_fields, "own")
        template_ext = (".sql", ".json")
        own = "own.sql"

    (tmp_path / "own.sql").write_text("of {{ what }}")
    (tmp_path / "own.json").write_text("{{ what }}")
    with dag(template_searchpath=str(tmp_path)):
        operator = make(Own, parameters={"a": "own.json", "b": "own.sql"})
    operator.render_template_fields({"what": "x"})
    assert (operator.own, operator.parameters) == ("of x", {"a": "x", "b": "own.sql"})


@each
@pytest.mark.parametrize("how", ["copy", "pickle"])
def test_it_can_be_copied_after_use_and_holds_no_token_then(cls, how, connection):
    connection("http://127.0.0.1:9", "a-token-of-this-test")
    used = make(cls)
    used._settings = used.hook.settings
    assert used.hook.client
    if how == "copy":
        copied = copy.deepcopy(used)
    else:
        stored = pickle.dumps(used)
        assert b"a-token-of-this-test" not in stored
        copied = pickle.loads(stored)
    assert copied.hook.client is not used.hook.client
    assert copied.hook.settings == used.hook.settings
    assert {name: getattr(copied, name) for name in cls.template_fields} == {
        name: getattr(used, name) for name in cls.template_fields
    }
