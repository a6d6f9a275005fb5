"""Guards: the right workspace, a delete within bounds, a replace that must not be empty, rows in quarantine.

What is refused here fails on purpose: the task after it shows that the rows are still there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendUrlOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain

CANCELLATION = {"scheduled_at": "2013-02-01 18:29:00", "carrier": "EV", "flight": 3840, "origin": "EWR", "dest": "MEM"}


def rows_of_which_one_is_bad() -> list[dict[str, Any]]:
    """Three rows; the flight of one is no number."""
    return [CANCELLATION, CANCELLATION, {**CANCELLATION, "flight": "EV4312"}]


@dag(
    dag_id="tinybird_guards",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "workspace": "Tinybird_Local_Testing",
        "carrier": "HA",
    },
)
def tinybird_guards() -> None:
    # [START replace]
    # Red where the file holds fewer rows than a month of flights can have.
    replace_flights = TinybirdAppendUrlOperator(
        task_id="replace_flights",
        datasource="flights",
        url="{{ params.flights_url }}",
        mode="replace",
        min_rows=1_000,
    )
    # [END replace]

    # [START delete]
    # One carrier, which has flights, and not many of them.
    delete_carrier = TinybirdDeleteOperator(
        task_id="delete_carrier",
        datasource="flights",
        delete_condition="carrier = '{{ params.carrier }}'",
        min_rows=1,
        max_fraction=0.05,
    )
    # [END delete]

    # [START refused]
    # A condition that matches far more than was meant: the task is red, and nothing is deleted.
    delete_too_many = TinybirdDeleteOperator(
        task_id="delete_too_many", datasource="flights", delete_condition="distance > 0", max_fraction=0.05
    )
    # [END refused]

    @task(trigger_rule="all_failed")
    def count_flights() -> int:
        """Nothing is gone."""
        return int(TinybirdHook().query("SELECT count() AS n FROM flights").data[0]["n"])

    # [START quarantine]
    # Some bad rows are no reason to stop, many are.
    send_with_some_bad_rows = TinybirdEventsOperator(
        task_id="send_with_some_bad_rows",
        datasource="cancellations",
        data=rows_of_which_one_is_bad,
        max_quarantined_rows=10,
        max_quarantined_fraction=0.5,
    )
    # [END quarantine]

    # [START truncate]
    # In this workspace and no other; the rows that did not fit go too.
    clean_up = TinybirdTruncateOperator(
        task_id="clean_up",
        datasource="cancellations",
        expected_workspace="{{ params.workspace }}",
        quarantine=True,
        max_rows=100_000,
    )
    # [END truncate]

    chain(replace_flights, delete_carrier, delete_too_many, count_flights())
    chain(send_with_some_bad_rows, clean_up)


tinybird_guards()
