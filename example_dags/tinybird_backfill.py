"""Backfill a copy pipe over a range of time, window after window, and write the same range to a bucket.

The pipe reads its window half-open, ``at >= start AND at < end``: windows then neither overlap nor leave gaps.
"""

from __future__ import annotations

from datetime import datetime

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator, TinybirdDeleteOperator
from airflow_provider_tinybird.operators.ranges import TinybirdCopyRangeOperator

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_backfill",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    max_active_runs=1,  # two backfills of one target at a time would each delete what the other makes
    tags=["tinybird", "example"],
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "start": "2013-01-01",
        "end": "2013-02-01",
    },
)
def tinybird_backfill() -> None:
    load_flights = TinybirdAppendUrlOperator(
        task_id="load_flights", datasource="flights", url="{{ params.flights_url }}", mode="replace"
    )

    # [START range]
    # The pipe appends, so what the range holds goes first: a run that is repeated leaves each row once. The pipe writes the time of the
    # copy into each row: rows that equal those that were just deleted would be dropped.
    clear_range = TinybirdDeleteOperator(
        task_id="clear_range",
        datasource="route_days",
        delete_condition="date >= '{{ params.start }}' AND date < '{{ params.end }}'",
        allow_all=True,  # the range may be all that there is
    )
    # A window that is too large for memory or time is halved, down to a day. A retry goes on after the windows that are done.
    backfill = TinybirdCopyRangeOperator(
        task_id="backfill",
        pipe="copy_route_days",
        start="{{ params.start }}",
        end="{{ params.end }}",
        window="week",
        min_window="day",
        concurrency=2,
        poll_interval=1,
    )
    # [END range]

    # [START sink_range]
    # The same for a sink. Its parameters are dates; its file names are the days, so that it may run again.
    export = TinybirdCopyRangeOperator(
        task_id="export",
        kind="sink",
        pipe="export_route_days",
        start="{{ params.start }}",
        end="{{ params.end }}",
        window="2 weeks",
        parameter_format="%Y-%m-%d",
        poll_interval=1,
    )
    # [END sink_range]

    chain(load_flights, clear_range, backfill, export)


tinybird_backfill()
