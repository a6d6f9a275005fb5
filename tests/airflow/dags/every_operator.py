"""Every operator and sensor with each of its template fields from other tasks: one by one, and mapped in both ways that Airflow has."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from operator_cases import ARGUMENTS, operators, own_arguments, templated

try:
    from airflow.sdk import BaseSensorOperator, dag, task
except ImportError:  # 2.11
    from airflow.decorators import dag, task
    from airflow.sensors.base import BaseSensorOperator

# All can be, as unit tests show; these are.
EXPANDED = ("TinybirdAppendUrlOperator", "TinybirdEventsOperator", "TinybirdCopyOperator", "TinybirdQueryOperator")

Values = dict[str, dict[str, Any]]


@dag(start_date=datetime(2024, 1, 1), schedule=None, params={"url": "", "file": "", "job": ""})
def every_operator() -> None:
    @task
    def values(params: Any = None) -> list[Values]:
        given = {name: make(params["url"], Path(params["file"]), params["job"]) for name, make in ARGUMENTS.items()}
        return [{name: templated(cls, given[name]) for name, cls in operators().items()}]

    @task(multiple_outputs=True)
    def single(of: list[Values]) -> dict[str, Any]:
        return {f"{name}.{field}": value for name, fields in of[0].items() for field, value in fields.items()}

    @task(trigger_rule="all_done")
    def checked() -> None:
        """What looks at the row that is there comes before what changes it."""

    many = values()
    changing = checked()
    one = single(many)
    for name, cls in operators().items():
        given = ARGUMENTS[name]("", Path(), "")
        fixed = {key: value for key, value in given.items() if key not in cls.template_fields}
        if "poll_interval" in own_arguments(cls):
            fixed["poll_interval"] = 0.1
        if issubclass(cls, BaseSensorOperator):
            fixed["soft_fail"] = True  # some wait for what does not come
        over = {
            field: many.map(lambda all_values, name=name, field=field: all_values[name][field])
            for field in templated(cls, given)
        }
        kwargs = many.map(lambda all_values, name=name: all_values[name])
        tasks = [
            cls(task_id=f"{name}.results", **fixed, **{field: one[f"{name}.{field}"] for field in over}),
            cls.partial(task_id=f"{name}.expand_kwargs", **fixed).expand_kwargs(kwargs),
        ]
        if name in EXPANDED:
            tasks.append(cls.partial(task_id=f"{name}.expand", **fixed).expand(**over))
        for each in tasks:
            each >> changing if "Check" in name else changing >> each


every_operator()
