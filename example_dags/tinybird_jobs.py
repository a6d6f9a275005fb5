"""Start a job in one task and wait for it in others, in each of the sensor's modes.

For jobs that several tasks wait for, or that start long before anybody needs their result. Else let the operator wait by itself, as
it does unless told otherwise: that is one task less, and it cancels its job when the task is killed. A sensor never does.
"""

from __future__ import annotations

from datetime import datetime

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_jobs",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={"flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz"},
)
def tinybird_jobs() -> None:
    # [START start]
    # Green when Tinybird has queued the job; XCom gets its id.
    start_load = TinybirdAppendUrlOperator(
        task_id="start_load",
        datasource="flights",
        url="{{ params.flights_url }}",
        mode="replace",
        wait_for_completion=False,
    )
    job_id = "{{ ti.xcom_pull(task_ids='start_load')['job_id'] }}"
    # [END start]

    # [START deferrable]
    # In the triggerer: holds no worker slot, and hears of the end within a poke_interval. The best mode for most.
    wait_deferred = TinybirdJobSensor(
        task_id="wait_deferred", job_id=job_id, deferrable=True, poke_interval=1, timeout=600
    )
    # [END deferrable]

    # [START poke]
    # On a worker, whose slot it holds: for jobs that take seconds.
    wait_poking = TinybirdJobSensor(task_id="wait_poking", job_id=job_id, mode="poke", poke_interval=1, timeout=600)
    # [END poke]

    # [START reschedule]
    # A worker slot for each look, none in between: for long jobs where no triggerer runs. Here timeout only makes the task skip what
    # comes after it.
    wait_rescheduled = TinybirdJobSensor(
        task_id="wait_rescheduled", job_id=job_id, mode="reschedule", poke_interval=5, timeout=600, soft_fail=True
    )
    # [END reschedule]

    count_flights = TinybirdQueryOperator(task_id="count_flights", sql="SELECT count() AS flights FROM flights")

    chain(start_load, [wait_deferred, wait_poking, wait_rescheduled], count_flights)


tinybird_jobs()
