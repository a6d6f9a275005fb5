"""Frames that are too big for events: a month goes in files, then a week of it is replaced with corrected rows.

Run it as often as you like: each row is there once afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.operators.load import TinybirdLoadOperator, TinybirdReplaceIntervalOperator

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain

FLIGHTS = Path(__file__).parent / "data" / "flights_2013_01.csv.gz"
COLUMNS = ["scheduled_at", "carrier", "flight", "origin", "delay", "batch_id"]


def month() -> Iterator[Any]:
    """Departures of January, one DataFrame after the other: no more than one is in memory."""
    import pandas as pd

    with pd.read_csv(FLIGHTS, chunksize=5_000) as chunks:
        for chunk in chunks:
            left = chunk[chunk["dep_time"].notna()].rename(columns={"dep_delay": "delay"})
            moments = pd.to_datetime(left["time_hour"], utc=True)
            yield left.assign(scheduled_at=moments, batch_id="month").astype({"delay": int})[COLUMNS]


def corrected() -> Iterator[Any]:
    """Departures of the week from January 7, of which no flight can have left early."""
    for frame in month():
        days = frame["scheduled_at"].dt.day
        week = frame[(days >= 7) & (days < 14)]
        yield week.assign(delay=week["delay"].clip(lower=0), batch_id="corrected")


@dag(
    dag_id="tinybird_large_loads",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
)
def tinybird_large_loads() -> None:
    # [START load]
    load_month = TinybirdLoadOperator(
        task_id="load_month",
        datasource="departures",
        data=month,
        mode="replace",
    )
    # [END load]

    # [START interval]
    # In a DAG whose runs have data intervals, leave start and end out: they are the run's then.
    correct_week = TinybirdReplaceIntervalOperator(
        task_id="correct_week",
        datasource="departures",
        column="scheduled_at",
        data=corrected,
        start="2013-01-07",
        end="2013-01-14",
    )
    # [END interval]

    chain(load_month, correct_week)


tinybird_large_loads()
