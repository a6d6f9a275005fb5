"""One month of flights goes into Tinybird, is tidied up and summarised there, and a small table comes out.

Run it on a machine without Tinybird, from the root of the repository:

    tinybird-sandbox --project example_dags/tinybird --files example_dags/data

and set ``tinybird_default`` to ``http://localhost:7181`` with the ``workspace_admin_token`` of http://localhost:7181/tokens.
``make demo`` does all of that, and runs this DAG.

It may run as often as you like and gives the same numbers each time. Appends and events add rows, whatever is there, so it starts by
emptying what they write to; the copy replaces its target. (To load month by month without emptying anything, swap what a file holds:
see ``tinybird_append.py``.)
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain

FLIGHTS = Path(__file__).parent / "data" / "flights_2013_01.csv.gz"

log = logging.getLogger(__name__)


# [START dataframe]
def cancelled_flights() -> Any:
    """A DataFrame with one row for each flight that never left. It is made when the task runs, not when the DAG is parsed."""
    import pandas as pd

    flights = pd.read_csv(FLIGHTS, parse_dates=["time_hour"])
    cancelled = flights[flights["dep_time"].isna()]
    return cancelled.assign(
        scheduled_at=cancelled["time_hour"] + pd.to_timedelta(cancelled["minute"], unit="min"),
    )[["scheduled_at", "carrier", "flight", "tailnum", "origin", "dest"]]


# [END dataframe]


@dag(
    dag_id="tinybird_quickstart",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={
        # From where Tinybird fetches the file; this address is the sandbox's.
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
    },
)
def tinybird_quickstart() -> None:
    empty_flights = TinybirdTruncateOperator(task_id="empty_flights", datasource="flights")
    empty_cancellations = TinybirdTruncateOperator(task_id="empty_cancellations", datasource="cancellations")

    # [START append_url]
    # Tinybird fetches the file. Green means that its rows are in, not that the request was accepted.
    append_flights = TinybirdAppendUrlOperator(
        task_id="append_flights",
        datasource="flights",
        url="{{ params.flights_url }}",
        format="csv",
    )
    # [END append_url]

    # [START events]
    # Anything tabular: pandas, polars, Arrow, records, or a function that returns or yields it.
    send_cancellations = TinybirdEventsOperator(
        task_id="send_cancellations",
        datasource="cancellations",
        data=cancelled_flights,
    )
    # [END events]

    # [START delete]
    # A condition that is wrong takes away the wrong rows: count first what it matches.
    count_cancelled = TinybirdDeleteOperator(
        task_id="count_cancelled",
        datasource="flights",
        delete_condition="dep_time IS NULL",
        dry_run=True,
    )

    @task
    def compare_counts(matched: dict[str, int], sent: dict[str, int]) -> int:
        """Let nothing be deleted unless each of these rows is among the cancellations."""
        if matched["rows_to_be_deleted"] != sent["successful_rows"]:
            raise ValueError(f"The condition matches {matched}, but the events were {sent}: nothing is deleted.")
        return matched["rows_to_be_deleted"]

    # Start the job and do not wait for it: the sensor does, and could wait in the triggerer or between pokes.
    delete_cancelled = TinybirdDeleteOperator(
        task_id="delete_cancelled",
        datasource="flights",
        delete_condition="dep_time IS NULL",
        wait_for_completion=False,
    )
    wait_for_delete = TinybirdJobSensor(
        task_id="wait_for_delete",
        job_id="{{ ti.xcom_pull(task_ids='delete_cancelled')['job_id'] }}",
        poke_interval=1,
        timeout=600,
    )
    # [END delete]

    # [START copy]
    # Deferrable: while the copy runs, the task waits in the triggerer and holds no worker slot.
    copy_carrier_delays = TinybirdCopyOperator(
        task_id="copy_carrier_delays",
        pipe="copy_carrier_delays",
        mode="replace",
        deferrable=True,
        poll_interval=1,  # the sandbox is fast; the default of 5 seconds is kinder to Tinybird
        timeout=600,
    )
    # [END copy]

    # [START query]
    query_delays = TinybirdQueryOperator(
        task_id="query_delays",
        sql="""
            SELECT carrier, flights, cancelled, mean_delay, worst_delay
            FROM carrier_delays
            ORDER BY flights DESC
            LIMIT 10
        """,
    )

    @task
    def show_delays(result: dict[str, Any]) -> str:
        """Log the table: the ten carriers with the most flights, and how many minutes late these left."""
        header = "carrier  flights  cancelled  mean delay  worst delay"
        rows = [
            f"{row['carrier']:<7}{row['flights']:>9,}{row['cancelled']:>11,}"
            f"{row['mean_delay']:>12.1f}{row['worst_delay']:>13,}"
            for row in result["data"]
        ]
        table = "\n".join([header, *rows])
        log.info("Minutes late at departure, January 2013:\n%s", table)
        return table

    # [END query]

    counted = compare_counts(count_cancelled.output, send_cancellations.output)
    chain(empty_flights, append_flights, count_cancelled)
    chain(empty_cancellations, send_cancellations)
    chain(counted, delete_cancelled, wait_for_delete, copy_carrier_delays, query_delays)
    show_delays(query_delays.output)


tinybird_quickstart()
