"""One day of a table, swapped for what its source has of that day now, rows that came late among it.

Run it as often as you like: each row of the day is there once afterwards, and the other days are as they were.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.operators.load import TinybirdReplaceIntervalOperator

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task

FLIGHTS = Path(__file__).parent / "data" / "flights_2013_01.csv.gz"


@dag(
    dag_id="tinybird_replace_day",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["tinybird", "example"],
    params={
        "start": "2013-01-05",
        "end": "2013-01-06",
        "source": str(FLIGHTS),
        "folder": tempfile.gettempdir(),  # where tasks write files; on many workers, a bucket
    },
)
def tinybird_replace_day() -> None:
    # [START replace]
    @task
    def export_day(params: dict[str, Any] | None = None) -> str:
        """What the source has of the day, in a file: stands for your warehouse, or for a folder of a bucket."""
        import pandas as pd

        start, end, source, folder = ((params or {})[name] for name in ("start", "end", "source", "folder"))
        flights = pd.read_csv(source, dtype=str, keep_default_na=False)
        path = f"{folder}/flights_{start}.csv"
        flights[flights["time_hour"].between(start, end, inclusive="left")].to_csv(path, index=False)
        return path

    # The day goes and the file comes in its place, however often. In a DAG whose runs have data intervals, leave start and end out.
    # Red where the file has a flight of another day, or none at all, and where the day does not hold in the end what was sent.
    TinybirdReplaceIntervalOperator(
        task_id="replace_day",
        datasource="year_of_flights",
        column="time_hour",
        path=export_day(),
        start="{{ params.start }}",
        end="{{ params.end }}",
        poll_interval=1,
    )
    # [END replace]


tinybird_replace_day()
