"""Tasks that defer, each in a way that needs something when it comes back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_tinybird.operators.datasources import TinybirdDeleteOperator
from airflow_provider_tinybird.operators.interval import TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.operators.ranges import TinybirdCopyRangeOperator

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

ROWS = [{"day": f"2013-01-0{day}", "carrier": "UA", "delay": day} for day in (1, 2, 3)]
DEFERRED: dict[str, Any] = {"deferrable": True, "poll_interval": 0.2}


class OwnDelete(TinybirdDeleteOperator):
    """As people write them: they know a context and an event."""

    def execute_complete(self, context: Any, event: Any = None) -> dict[str, Any]:
        return {**super().execute_complete(context, event), "own": True}


def dag(name: str, task: type[Any], **arguments: Any) -> None:
    with DAG(name, schedule=None, start_date=datetime(2024, 1, 1)) as made:
        task(task_id="t", **DEFERRED, **arguments)
    globals()[name] = made


dag("load", TinybirdLoadOperator, datasource="flights", data=ROWS, mode="replace", via="files")
dag(
    "interval",
    TinybirdReplaceIntervalOperator,
    datasource="flights",
    column="day",
    data=ROWS[:2],
    start="2013-01-01",
    end="2013-01-04",
)
dag("delete", OwnDelete, datasource="flights", delete_condition="delay = 1")
dag("slot", TinybirdCopyOperator, pipe="copy_totals", timeout=120)
dag(
    "window_by_window",
    TinybirdCopyRangeOperator,
    pipe="copy_range",
    start="2013-01-01",
    end="2013-01-04",
    window="day",
)
