"""Read data: rows to XCom, Parquet to a file, a DataFrame in a task of your own."""

from __future__ import annotations

import tempfile
from datetime import datetime

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_query",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "folder": tempfile.gettempdir(),  # where tasks write files, on the worker
    },
)
def tinybird_query() -> None:
    load_flights = TinybirdAppendUrlOperator(
        task_id="load_flights", datasource="flights", url="{{ params.flights_url }}", mode="replace"
    )

    # [START xcom]
    # XCom gets {"data": [{"origin": "EWR", "flights": 9893}, ...], "meta": [...], "rows": 3, ...}.
    flights_by_airport = TinybirdQueryOperator(
        task_id="flights_by_airport",
        sql="SELECT origin, count() AS flights FROM flights GROUP BY origin ORDER BY origin",
    )
    # [END xcom]

    # [START parquet]
    # A large result goes to a file, as it streams in; the file is there only when it is whole.
    export_parquet = TinybirdQueryOperator(
        task_id="export_parquet",
        sql="SELECT * FROM flights WHERE dep_delay >= 60",
        format="Parquet",
        output_path="{{ params.folder }}/late_flights.parquet",
    )
    # [END parquet]

    # [START dataframe]
    @task
    def worst_hour() -> int:
        """A DataFrame with the types of the columns, for whatever SQL does not do."""
        frame = TinybirdHook().query_df("SELECT hour, dep_delay FROM flights WHERE dep_delay IS NOT NULL")
        return int(frame.groupby("hour")["dep_delay"].median().idxmax())

    # [END dataframe]

    chain(load_flights, [flights_by_airport, export_parquet, worst_hour()])


tinybird_query()
