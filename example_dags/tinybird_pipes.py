"""Run pipes: copies, a sink and a populate, which are jobs, and an endpoint, which answers at once.

The pipes are in ``tinybird/pipes``. A sink needs a paid plan of Tinybird Cloud, a populate a Classic workspace.
"""

from __future__ import annotations

import tempfile
from datetime import datetime

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.pipes import (
    TinybirdCopyOperator,
    TinybirdEndpointOperator,
    TinybirdPopulateOperator,
    TinybirdSinkOperator,
)

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_pipes",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "folder": tempfile.gettempdir(),  # where tasks write files, on the worker
    },
)
def tinybird_pipes() -> None:
    load_flights = TinybirdAppendUrlOperator(
        task_id="load_flights", datasource="flights", url="{{ params.flights_url }}", mode="replace"
    )

    # [START copy]
    # In place of what the target holds: running it again gives the same.
    copy_jfk = TinybirdCopyOperator(
        task_id="copy_jfk",
        pipe="copy_carrier_delays",
        parameters={"origin": "JFK"},
        mode="replace",
    )
    # [END copy]

    # [START copy_deferrable]
    # In addition to what it holds. A copy that appends is never sent twice: when it cannot be told whether Tinybird started it, the
    # task fails and says so. While it runs the task waits in the triggerer, and is cancelled after an hour.
    copy_lga = TinybirdCopyOperator(
        task_id="copy_lga",
        pipe="copy_carrier_delays",
        parameters={"origin": "LGA"},
        mode="append",
        deferrable=True,
        poll_interval=1,
        timeout=3600,
    )
    # [END copy_deferrable]

    # [START sink]
    export = TinybirdSinkOperator(task_id="export", pipe="export_carrier_delays")
    # [END sink]

    # [START populate]
    # What was loaded before the view was made did not go through it: fill its target anew.
    populate = TinybirdPopulateOperator(
        task_id="populate",
        pipe="daily_departures_view",
        node="count_departures",
        truncate=True,
    )
    # [END populate]

    # [START endpoint]
    # The rows go to XCom, which lives in Airflow's database: keep them few.
    busiest_routes = TinybirdEndpointOperator(
        task_id="busiest_routes",
        pipe="busiest_routes",
        parameters={"origins": ["JFK", "LGA"], "top": 5},
    )
    # [END endpoint]

    # [START endpoint_file]
    # The rows go to a file as they stream in, here as CSV: a local path, or any URL of Airflow's object storage.
    all_routes = TinybirdEndpointOperator(
        task_id="all_routes",
        pipe="busiest_routes",
        parameters={"top": 1000},
        format="csv",
        output_path="{{ params.folder }}/routes.csv",
    )
    # [END endpoint_file]

    chain(load_flights, copy_jfk, copy_lga, export)
    chain(load_flights, [populate, busiest_routes, all_routes])


tinybird_pipes()
