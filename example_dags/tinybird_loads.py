"""Load rows once, whatever happens in between: a function yields DataFrames, and the task is the load.

A retry, and a cleared task, send only what is missing in the data source. Its column batch_id says which rows came in one request.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task

FLIGHTS = Path(__file__).parent / "data" / "flights_2013_01.csv.gz"
NAMES = {"time_hour": "scheduled_at", "dep_delay": "delay"}


def departures(flights: Any, origin: str) -> Any:
    """The flights of a DataFrame that left an airport."""
    left = flights[flights["dep_time"].notna() & (flights["origin"] == origin)]
    return left.rename(columns=NAMES)[["scheduled_at", "carrier", "flight", "origin", "delay"]].astype({"delay": int})


def newark() -> Any:
    """A DataFrame with all departures from Newark."""
    import pandas as pd

    return departures(pd.read_csv(FLIGHTS), "EWR")


@dag(
    dag_id="tinybird_loads",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
)
def tinybird_loads() -> None:
    # [START operator]
    TinybirdEventsOperator(
        task_id="send_newark",
        datasource="departures",
        data=newark,
        delivery="exactly_once",
        batch_id_column="batch_id",
        compression="auto",
    )
    # [END operator]

    # [START decorator]
    @task.tinybird_events(datasource="departures", delivery="exactly_once", batch_id_column="batch_id", retries=2)
    def send(origin: str) -> Iterator[Any]:
        """One DataFrame after the other: no more than one is in memory, and none goes through XCom."""
        import pandas as pd

        with pd.read_csv(FLIGHTS, chunksize=5_000) as chunks:
            for chunk in chunks:
                yield departures(chunk, origin)

    send.expand(origin=["JFK", "LGA"])
    # [END decorator]


tinybird_loads()
