"""One task for many: mapped over values that another task has found, with SQL in a file, each result in a file of its own."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.pipes import TinybirdEndpointOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_mapping",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    template_searchpath=str(Path(__file__).parent / "sql"),
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "folder": tempfile.gettempdir(),  # where tasks write files, on the worker
        "late": 60,
        "start": "2013-01-08 00:00:00",
        "end": "2013-01-15 00:00:00",
    },
)
def tinybird_mapping() -> None:
    load_flights = TinybirdAppendUrlOperator(
        task_id="load_flights", datasource="flights", url="{{ params.flights_url }}", mode="replace"
    )

    # [START sql_file]
    # The file is a template as well. Where runs have data intervals, its window is data_interval_start to data_interval_end.
    extract = TinybirdQueryOperator(
        task_id="extract",
        sql="late_departures.sql",
        format="Parquet",
        output_path="{{ params.folder }}/late_departures.parquet",
    )
    # [END sql_file]

    # [START mapping]
    airports = TinybirdQueryOperator(task_id="airports", sql="SELECT DISTINCT origin FROM flights ORDER BY origin")

    @task
    def one_for_each(found: dict, params: dict | None = None) -> list[dict]:
        """Arguments of each task: all that is data can be mapped, here the parameters and the file."""
        return [
            {
                "parameters": {"origins": [row["origin"]], "top": 3},
                "output_path": f"{params['folder']}/routes_{row['origin']}.csv",
            }
            for row in found["data"]
        ]

    routes = TinybirdEndpointOperator.partial(
        task_id="routes", pipe="busiest_routes", format="csv", max_active_tis_per_dag=2
    ).expand_kwargs(one_for_each(airports.output))
    # [END mapping]

    chain(load_flights, [extract, airports])
    chain(airports, routes)


tinybird_mapping()
