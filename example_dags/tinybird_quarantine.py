"""Rows that do not fit: a load that says so, a look at why, and a sensor that watches over what others send."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_tinybird.operators.datasources import TinybirdTruncateOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator
from airflow_provider_tinybird.sensors.datasources import TinybirdQuarantineSensor

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain

GOOD = {"scheduled_at": "2013-01-01 21:30:00", "carrier": "EV", "flight": 4308, "origin": "EWR", "dest": "RDU"}


@dag(
    dag_id="tinybird_quarantine",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
)
def tinybird_quarantine() -> None:
    empty = TinybirdTruncateOperator(task_id="empty", datasource="cancellations")

    # [START policy]
    # By default any row in quarantine is red. This load puts up with one in a hundred, and with two at the most.
    send = TinybirdEventsOperator(
        task_id="send",
        datasource="cancellations",
        data=[GOOD] * 199 + [GOOD | {"flight": "EV4308"}],
        max_quarantined_rows=2,
        max_quarantined_fraction=0.01,
    )
    # [END policy]

    # [START why]
    why = TinybirdQueryOperator(
        task_id="why",
        sql="""
            SELECT arrayStringConcat(c__error_column, ', ') AS columns, arrayStringConcat(c__error, ', ') AS error, count() AS rows
            FROM cancellations_quarantine
            WHERE insertion_date >= '{{ dag_run.start_date.strftime("%Y-%m-%d %H:%M:%S") }}'
            GROUP BY columns, error
            ORDER BY rows DESC
        """,
    )
    # [END why]

    # [START watch]
    # Others send too: red as soon as more than one row has come into quarantine since this run began, else green by one look.
    watch = TinybirdQuarantineSensor(
        task_id="watch", datasource="cancellations", start="{{ dag_run.start_date }}", max_rows=1
    )
    # [END watch]

    chain(empty, send, [why, watch])


tinybird_quarantine()
