"""Load files: by URL, from the worker's disk, and in place of the rows that are there.

What each task leaves does not depend on how often it ran: the appends start from empty data sources, the replace swaps rows.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdAppendUrlOperator,
    TinybirdTruncateOperator,
)

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain

FLIGHTS = Path(__file__).parent / "data" / "flights_2013_01.csv.gz"


@dag(
    dag_id="tinybird_append",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "folder": tempfile.gettempdir(),  # where tasks write files, on the worker
    },
)
def tinybird_append() -> None:
    empty_flights = TinybirdTruncateOperator(task_id="empty_flights", datasource="flights")
    empty_cancellations = TinybirdTruncateOperator(task_id="empty_cancellations", datasource="cancellations")

    # [START append_url]
    # Tinybird fetches the file from wherever it can reach it; the worker sends no byte of it.
    append_url = TinybirdAppendUrlOperator(
        task_id="append_url",
        datasource="flights",
        url="{{ params.flights_url }}",
        format="csv",
    )
    # [END append_url]

    # [START replace_condition]
    # Swap a part: what matches the condition goes, and of the file only what matches it comes in. Readers see the old rows or the
    # new ones. The condition has to name the partition key of the data source, here year and month.
    replace_jfk = TinybirdAppendUrlOperator(
        task_id="replace_jfk",
        datasource="flights",
        url="{{ params.flights_url }}",
        mode="replace",
        replace_condition="year = 2013 AND month = 1 AND origin = 'JFK'",
    )
    # [END replace_condition]

    @task
    def write_cancellations(folder: str) -> str:
        """Write the flights that never left to a file, one JSON object in each line."""
        import pandas as pd

        flights = pd.read_csv(FLIGHTS)
        cancelled = flights[flights["dep_time"].isna()].rename(columns={"time_hour": "scheduled_at"})
        path = Path(folder) / "cancellations.ndjson.gz"
        columns = ["scheduled_at", "carrier", "flight", "tailnum", "origin", "dest"]
        cancelled[columns].to_json(path, orient="records", lines=True)
        return str(path)

    # [START append_file]
    # The worker sends the file, streamed. The format is what its name ends in, gzipped or not. Any URL of Airflow's object storage
    # will do as well: s3://aws_default@bucket/cancellations.ndjson.gz
    append_file = TinybirdAppendFileOperator(
        task_id="append_file",
        datasource="cancellations",
        path="{{ ti.xcom_pull(task_ids='write_cancellations') }}",
    )
    # [END append_file]

    chain(empty_flights, append_url, replace_jfk)
    chain([empty_cancellations, write_cancellations("{{ params.folder }}")], append_file)


tinybird_append()
