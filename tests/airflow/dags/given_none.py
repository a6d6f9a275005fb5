"""Tasks that could destroy or narrow, with arguments that turn out to be None. None of them may do anything."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_tinybird.operators.datasources import TinybirdAppendFileOperator, TinybirdTruncateOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator, TinybirdPopulateOperator
from airflow_provider_tinybird.sensors.datasources import TinybirdRowsSensor

try:
    from airflow.sdk import dag, task
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # 2.11 to 3.1
    from airflow.decorators import dag, task
    from airflow.exceptions import AirflowSkipException

ROW = [{"day": "2013-01-05", "carrier": "XX", "delay": 1}]
REPLACE: dict[str, Any] = {"datasource": "flights", "data": ROW, "mode": "replace", "via": "files"}
ANYWAY: dict[str, Any] = {"trigger_rule": "all_done", "poll_interval": 0.1}


def tasks() -> None:
    @task
    def skipped() -> str:
        raise AirflowSkipException("no new month")

    @task
    def nothing() -> None:
        return None

    @task
    def rows() -> list[dict[str, Any]]:
        return [{"replace_condition": None}]

    @task.tinybird_events(datasource=nothing(), trigger_rule="all_done")
    def decorated() -> list[dict[str, Any]]:
        return ROW

    TinybirdLoadOperator(task_id="load_skipped", replace_condition=skipped(), **REPLACE, **ANYWAY)
    TinybirdLoadOperator(task_id="load_none", replace_condition=nothing(), **REPLACE, **ANYWAY)
    TinybirdLoadOperator(task_id="load_template", replace_condition="{{ dag_run.conf.get('x') }}", **REPLACE, **ANYWAY)
    TinybirdLoadOperator.partial(task_id="load_row", **REPLACE, **ANYWAY).expand_kwargs(rows())
    TinybirdLoadOperator.partial(task_id="load_list", **REPLACE, **ANYWAY).expand(replace_condition=[None])
    TinybirdLoadOperator.partial(task_id="load_beside", replace_condition=nothing(), **REPLACE, **ANYWAY).expand(
        expected_workspace=["{{ 'a' }}"]
    )
    TinybirdAppendFileOperator.partial(
        task_id="file_row", datasource="flights", mode="replace", deferrable=True, **ANYWAY
    ).expand_kwargs([{"path": "{{ dag_run.conf.file }}", "replace_condition": None}])
    TinybirdTruncateOperator(task_id="truncate_max", datasource="flights", max_rows=nothing(), trigger_rule="all_done")
    TinybirdTruncateOperator(
        task_id="truncate_workspace", datasource="flights", expected_workspace=nothing(), trigger_rule="all_done"
    )
    TinybirdCopyOperator(task_id="copy", pipe="copy_totals", parameters=nothing(), mode=nothing(), **ANYWAY)
    TinybirdCopyOperator(task_id="copy_value", pipe="copy_totals", parameters={"a": nothing()}, **ANYWAY)
    TinybirdPopulateOperator(
        task_id="populate", pipe="by_carrier_view", node="by_carrier_node", populate_condition=nothing(), **ANYWAY
    )
    TinybirdEventsOperator(task_id="events", datasource="{{ dag_run.conf.get('ds') }}", data=ROW)
    TinybirdRowsSensor(
        task_id="sensor", datasource="flights", min_rows=nothing(), mode="reschedule", trigger_rule="all_done"
    )
    decorated()


for name, native in (("given_none", False), ("given_none_native", True)):
    dag(
        name,
        start_date=datetime(2024, 1, 1),
        schedule=None,
        render_template_as_native_obj=native,
        default_args={"retries": 2},
    )(tasks)()
