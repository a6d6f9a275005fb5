"""Files in every shape: CSV in a dialect of its own, Parquet, and NDJSON that goes line by line as events; and back to a file.

What each task leaves does not depend on how often it ran: all start from empty data sources.
"""

from __future__ import annotations

import gzip
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.datasources import TinybirdAppendFileOperator, TinybirdTruncateOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain

FLIGHTS = Path(__file__).parent / "data" / "flights_2013_01.csv.gz"
COLUMNS = ["scheduled_at", "carrier", "flight", "tailnum", "origin", "dest"]


def cancellations(origin: str) -> Any:
    """The flights from one airport that never left."""
    import pandas as pd

    flights = pd.read_csv(FLIGHTS, parse_dates=["time_hour"])
    chosen = flights[flights["dep_time"].isna() & (flights["origin"] == origin)]
    return chosen.rename(columns={"time_hour": "scheduled_at"})[COLUMNS]


@dag(
    dag_id="tinybird_files",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={"folder": tempfile.gettempdir()},  # where tasks write files, on the worker
)
def tinybird_files() -> None:
    empty = [
        TinybirdTruncateOperator(task_id=f"empty_{name}", datasource=name) for name in ("flights", "cancellations")
    ]

    @task(multiple_outputs=True)
    def write_files(folder: str) -> dict[str, str]:
        """Write semicolons, Parquet, and gzipped lines of JSON."""
        paths = {name: f"{folder}/{name}" for name in ("flights.txt", "kennedy.parquet", "newark.ndjson.gz")}
        with gzip.open(FLIGHTS, "rt") as source:
            Path(paths["flights.txt"]).write_text(source.read().replace(",", ";"))
        cancellations("JFK").to_parquet(paths["kennedy.parquet"], index=False)
        cancellations("EWR").to_json(paths["newark.ndjson.gz"], orient="records", lines=True, date_format="iso")
        return paths

    paths = write_files("{{ params.folder }}")

    # [START dialect]
    # The name does not tell the format here, and the values are not separated by commas.
    append_csv = TinybirdAppendFileOperator(
        task_id="append_csv",
        datasource="flights",
        path=paths["flights.txt"],
        format="csv",
        dialect_delimiter=";",
    )
    # [END dialect]

    # [START parquet]
    append_parquet = TinybirdAppendFileOperator(
        task_id="append_parquet", datasource="cancellations", path=paths["kennedy.parquet"]
    )
    # [END parquet]

    # [START lines]
    # A Path is read line by line, gzipped or not, and sent as events: nothing of it is in memory but the requests under way, and no
    # import counts against the 5 a minute. A str would be taken for the rows themselves.
    def newark(folder: str) -> Path:
        return Path(folder) / "newark.ndjson.gz"

    @task
    def send_lines(folder: str) -> int:
        return TinybirdHook().send_events("cancellations", newark(folder)).successful_rows

    # [END lines]

    # [START frames]
    send_frame = TinybirdEventsOperator(
        task_id="send_frame", datasource="cancellations", data=lambda: cancellations("LGA")
    )
    # [END frames]

    # [START to_file]
    @task
    def read_back(folder: str) -> int:
        """The answer streams to the file, in constant memory; a URL such as s3://bucket/x.parquet will do as well."""
        return TinybirdHook().query_to_file("SELECT * FROM cancellations", f"{folder}/cancellations.parquet")

    # [END to_file]

    sent = [append_parquet, send_lines("{{ params.folder }}"), send_frame]
    chain(empty, paths, [append_csv, *sent])
    chain(sent, read_back("{{ params.folder }}"))


tinybird_files()
