"""Fill a data source over a long time by a copy pipe, window after window, some months at a time on as many workers.

Each mapped task has a month, and runs the pipe for one week of it after the other: small enough for the limits of the plan, and halved
where it is not. A retry goes on with the weeks that are left.
"""

from __future__ import annotations

from datetime import date, datetime

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator, TinybirdTruncateOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyRangeOperator
from airflow_provider_tinybird.operators.query import TinybirdQueryOperator

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_backfill_months",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={
        "flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz",
        "year": 2013,
        "months": [1, 2, 3],
    },
)
def tinybird_backfill_months() -> None:
    load_flights = TinybirdAppendUrlOperator(
        task_id="load_flights", datasource="flights", url="{{ params.flights_url }}", mode="replace", deferrable=True
    )

    # [START empty]
    # A copy that appends doubles what is there already. So what is to be filled is emptied first, each time that the DAG runs.
    empty = TinybirdTruncateOperator(task_id="empty", datasource="daily_delays")
    # [END empty]

    # [START months]
    @task
    def months(params: dict | None = None) -> list[dict[str, str]]:
        """Begin and end of each month."""
        year, numbers = params["year"], params["months"]
        firsts = [date(year, month, 1) for month in range(1, 13)] + [date(year + 1, 1, 1)]
        return [{"start": firsts[n - 1].isoformat(), "end": firsts[n].isoformat()} for n in numbers]

    # [END months]

    # [START mapped]
    # One task for each month. The pool, or max_active_tis_per_dag, says how many of them run at once; concurrency, how many copies
    # each of them runs at once.
    backfill = TinybirdCopyRangeOperator.partial(
        task_id="backfill",
        pipe="copy_daily_delays",
        window="week",
        min_window="1 day",
        concurrency=2,
        poll_interval=1,
        timeout=3600,
        retries=2,
        max_active_tis_per_dag=2,
    ).expand_kwargs(months())
    # [END mapped]

    # [START one]
    # Or all in one task, here of a day, which waits in the triggerer.
    one_day = TinybirdCopyRangeOperator(
        task_id="one_day",
        pipe="copy_daily_delays",
        start="{{ params.year }}-04-01T00:00:00+00:00",
        end="{{ params.year }}-04-02T00:00:00+00:00",
        window="6 hours",
        deferrable=True,
        poll_interval=1,
    )
    # [END one]

    count = TinybirdQueryOperator(
        task_id="count", sql="SELECT sum(flights) AS flights, count() AS rows, uniq(day) AS days FROM daily_delays"
    )
    chain(load_flights, empty, backfill, one_day, count)


tinybird_backfill_months()
