"""Wait for what is in the data: for rows, for fresh ones, for a copy that somebody else runs, and for a quarantine that stays clean."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator
from airflow_provider_tinybird.sensors.datasources import (
    TinybirdFreshnessSensor,
    TinybirdQuarantineSensor,
    TinybirdRowsSensor,
    TinybirdSqlSensor,
)
from airflow_provider_tinybird.sensors.jobs import TinybirdCopySucceededSensor

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_sensors",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={"flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz", "fresh_until": "2013-02-01T04:00:00Z"},
)
def tinybird_sensors() -> None:
    # In your place somebody else does these two.
    load = TinybirdAppendUrlOperator(
        task_id="load",
        datasource="flights",
        url="{{ params.flights_url }}",
        mode="replace",
        wait_for_completion=False,
    )
    copy = TinybirdCopyOperator(task_id="copy", pipe="copy_carrier_delays", mode="replace", wait_for_completion=False)

    # [START fresh]
    # Until the newest flight is as late as the run needs it. The condition names the partition, so that a look reads little.
    fresh = TinybirdFreshnessSensor(
        task_id="fresh",
        datasource="flights",
        column="time_hour",
        at_least="{{ params.fresh_until }}",
        condition="year = 2013 AND month = 1",
        deferrable=True,
        poke_interval=1,
        timeout=600,
    )
    # [END fresh]

    # [START rows]
    # Until there are a thousand flights from JFK.
    rows = TinybirdRowsSensor(
        task_id="rows",
        datasource="flights",
        condition="origin = 'JFK'",
        min_rows=1000,
        mode="reschedule",
        poke_interval=1,
        timeout=600,
    )
    # [END rows]

    # [START sql]
    # Until the first value of a SELECT is true; after the timeout, skip what comes after it.
    sql = TinybirdSqlSensor(
        task_id="sql",
        sql="SELECT uniq(origin) = 3 FROM flights",
        deferrable=True,
        poke_interval=1,
        timeout=600,
        soft_fail=True,
    )
    # [END sql]

    # [START copied]
    # Until a copy of the pipe that was started since the run began is done, whoever started it.
    copied = TinybirdCopySucceededSensor(
        task_id="copied",
        pipe="copy_carrier_delays",
        since="{{ dag_run.start_date.isoformat() }}",
        deferrable=True,
        poke_interval=1,
        timeout=600,
    )
    # [END copied]

    # [START clean]
    # Red as soon as a row of this run goes to quarantine; green when the window is over, here at once.
    clean = TinybirdQuarantineSensor(
        task_id="clean",
        datasource="flights",
        start="{{ dag_run.start_date.isoformat() }}",
        poke_interval=1,
        timeout=600,
    )
    # [END clean]

    best = TinybirdQueryOperator(task_id="best", sql="SELECT carrier FROM carrier_delays ORDER BY mean_delay LIMIT 1")
    chain(load, [fresh, rows, sql], clean, copy, copied, best)


tinybird_sensors()
