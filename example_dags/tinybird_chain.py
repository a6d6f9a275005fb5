"""Copy pipes that build on each other, by real dependencies instead of minutes in cron expressions; and others that wait for them."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator, TinybirdTruncateOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.sensors.datasources import TinybirdFreshnessSensor
from airflow_provider_tinybird.sensors.jobs import TinybirdCopySucceededSensor

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_chain",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={"flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz"},
    # As many copies at once as the plan has slots for. Over several DAGs: a pool of that size, and pool= in each task.
    max_active_tasks=2,
)
def tinybird_chain() -> None:
    load_flights = TinybirdAppendUrlOperator(
        task_id="load_flights", datasource="flights", url="{{ params.flights_url }}", mode="replace"
    )
    empty_route_days = TinybirdTruncateOperator(task_id="empty_route_days", datasource="route_days")

    # [START chain]
    # Each is green when its rows are in. One that meets "too many copies" waits for a slot; it neither fails nor empties its target.
    route_days = TinybirdCopyOperator(task_id="route_days", pipe="copy_route_days", deferrable=True, poll_interval=1)
    carrier_delays = TinybirdCopyOperator(task_id="carrier_delays", pipe="copy_carrier_delays", mode="replace")
    busy_days = TinybirdCopyOperator(task_id="busy_days", pipe="copy_busy_days", mode="replace")
    chain([load_flights, empty_route_days], route_days, busy_days)
    chain(load_flights, carrier_delays)
    # [END chain]

    # [START wait]
    # In a DAG of somebody else: until the copy has succeeded since this run began, whoever started it, ...
    wait_for_copy = TinybirdCopySucceededSensor(
        task_id="wait_for_copy",
        pipe="copy_busy_days",
        since="{{ dag_run.start_date }}",
        fail_on_error=True,
        deferrable=True,
        poke_interval=1,
        timeout=600,
    )
    # ... or until the data itself is there, however it came.
    wait_for_data = TinybirdFreshnessSensor(
        task_id="wait_for_data",
        datasource="route_days",
        column="date",
        at_least="2013-01-31",
        mode="reschedule",
        poke_interval=1,
        timeout=600,
    )
    # [END wait]
    chain(busy_days, [wait_for_copy, wait_for_data])


tinybird_chain()
