"""Take rows out: count first, then delete by condition, delete lightly, truncate.

Deleting twice what matches a condition leaves what deleting it once leaves, so all of these may be run again.
"""

from __future__ import annotations

from datetime import datetime

from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_delete",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "before_day": 8,
    },
)
def tinybird_delete() -> None:
    load_flights = TinybirdAppendUrlOperator(
        task_id="load_flights", datasource="flights", url="{{ params.flights_url }}", mode="replace"
    )

    # [START dry_run]
    # Nothing is deleted: the task returns {"rows_to_be_deleted": ...}.
    count_old = TinybirdDeleteOperator(
        task_id="count_old",
        datasource="flights",
        delete_condition="year = 2013 AND month = 1 AND day < {{ params.before_day }}",
        dry_run=True,
    )
    # [END dry_run]

    # [START delete]
    # Tinybird rewrites the parts of the table that hold such rows. Materialized views that it feeds keep theirs.
    delete_old = TinybirdDeleteOperator(
        task_id="delete_old",
        datasource="flights",
        delete_condition="year = 2013 AND month = 1 AND day < {{ params.before_day }}",
    )
    # [END delete]

    # [START lightweight]
    # Lightweight (beta): rows are only marked as deleted, which is quick where they are few among many.
    delete_one_aircraft = TinybirdDeleteOperator(
        task_id="delete_one_aircraft",
        datasource="flights",
        delete_condition="tailnum = 'N14228'",
        lightweight=True,
    )
    # [END lightweight]

    # [START truncate]
    send_row = TinybirdEventsOperator(
        task_id="send_row",
        datasource="cancellations",
        data=[{"scheduled_at": "2013-01-01 21:30:00", "carrier": "EV", "flight": 4308, "origin": "EWR", "dest": "RDU"}],
    )
    truncate = TinybirdTruncateOperator(task_id="truncate", datasource="cancellations")
    # [END truncate]

    chain(load_flights, count_old, delete_old, delete_one_aircraft)
    chain(send_row, truncate)


tinybird_delete()
