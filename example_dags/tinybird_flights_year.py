"""A year of flights, month by month: backfilled, one month corrected, one carrier deleted, and a row that does not fit seen.

Each month is swapped as an interval of time, so that a month, or all of it, may run again and leaves each flight once. Months are those of
UTC, as in the partitions of the data source.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.operators.datasources import (
    TinybirdAppendFileOperator,
    TinybirdDeleteOperator,
    TinybirdTruncateOperator,
)
from airflow_provider_tinybird.operators.load import TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain

YEAR = Path(__file__).parent / "data" / "flights_2013_one_in_20.csv.gz"
MARCH = "2013-03"


def read_year() -> Any:
    """The flights as text, as the file has them."""
    import pandas as pd

    return pd.read_csv(YEAR, dtype=str, keep_default_na=False)


def month_of(flights: Any) -> Any:
    """The month of each flight in UTC, such as 2013-03."""
    return flights["time_hour"].str[:7]


def first_days(month: str) -> dict[str, str]:
    """The interval of a month: its first day, and that of the next one."""
    year, number = int(month[:4]), int(month[5:])
    return {"start": f"{month}-01", "end": f"{year + number // 12}-{number % 12 + 1:02}-01"}


@dag(
    dag_id="tinybird_flights_year",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["tinybird", "example"],
    params={
        "folder": tempfile.gettempdir(),  # where tasks write files; on many workers, a bucket
        "carrier": "F9",
    },
)
def tinybird_flights_year() -> None:
    empty = TinybirdTruncateOperator(task_id="empty", datasource="year_of_flights", quarantine=True)

    # [START months]
    @task
    def months(params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """A file for each month, and its interval."""
        year, found = read_year(), []
        for month, flights in year.groupby(month_of(year)):
            path = f"{(params or {})['folder']}/flights_{month}.csv"
            flights.to_csv(path, index=False)
            found.append({"path": path, **first_days(month)})
        return found

    # Tinybird takes 5 imports a minute: on a real workspace give the task a pool. A month without flights is red.
    load_month = TinybirdReplaceIntervalOperator.partial(
        task_id="load_month", datasource="year_of_flights", column="time_hour", poll_interval=1
    ).expand_kwargs(months())
    # [END months]

    # [START correct]
    @task
    def correct_march(params: dict[str, Any] | None = None) -> str:
        """March, where flights that left early count as on time."""
        year = read_year()
        march = year[month_of(year) == MARCH].copy()
        march.loc[march["dep_delay"].str.startswith("-"), "dep_delay"] = "0"
        path = f"{(params or {})['folder']}/flights_{MARCH}_corrected.csv"
        march.to_csv(path, index=False)
        return path

    # The other months stay as they are, and readers see the old March or the new one. Red where a flight of another month is in the file.
    replace_march = TinybirdReplaceIntervalOperator(
        task_id="replace_march",
        datasource="year_of_flights",
        column="time_hour",
        path=correct_march(),
        poll_interval=1,
        **first_days(MARCH),
    )
    # [END correct]

    # [START delete]
    # Counted first: red, and nothing deleted, where it is none, or more than one flight in a hundred.
    delete_carrier = TinybirdDeleteOperator(
        task_id="delete_carrier",
        datasource="year_of_flights",
        delete_condition="carrier = '{{ params.carrier }}'",
        min_rows=1,
        max_fraction=0.01,
    )
    # [END delete]

    # [START quarantine]
    @task
    def stragglers(params: dict[str, Any] | None = None) -> str:
        """Two flights that came late; the number of one is none."""
        flights = read_year().tail(2).copy()
        flights.iloc[1, flights.columns.get_loc("flight")] = "EV4312"
        path = f"{(params or {})['folder']}/stragglers.csv"
        flights.to_csv(path, index=False)
        return path

    append_stragglers = TinybirdAppendFileOperator(
        task_id="append_stragglers", datasource="year_of_flights", path=stragglers(), max_quarantined_rows=1
    )
    see_quarantine = TinybirdQueryOperator(
        task_id="see_quarantine",
        sql="SELECT carrier, flight, c__error_column AS columns FROM year_of_flights_quarantine",
    )
    # [END quarantine]

    summary = TinybirdQueryOperator(
        task_id="summary",
        sql="""
            SELECT month, count() AS flights, uniqExact(carrier) AS carriers, sum(dep_delay) AS delay
            FROM year_of_flights GROUP BY month ORDER BY month
        """,
    )

    chain(empty, load_month, replace_march, delete_carrier, append_stragglers, see_quarantine, summary)


tinybird_flights_year()
