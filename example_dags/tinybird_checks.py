"""Check data before anybody builds on it: columns, the whole table, a value, any SQL, and the quarantine.

The checks are those of Airflow's common.sql provider: pip install 'airflow-provider-tinybird[sql]'
"""

from __future__ import annotations

from datetime import datetime

from airflow_provider_tinybird.operators.checks import (
    TinybirdCheckOperator,
    TinybirdColumnCheckOperator,
    TinybirdIntervalCheckOperator,
    TinybirdTableCheckOperator,
    TinybirdValueCheckOperator,
)
from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineCheckOperator

try:
    from airflow.sdk import chain, dag
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag
    from airflow.models.baseoperator import chain


@dag(
    dag_id="tinybird_checks",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
    params={"flights_url": "http://localhost:7181/files/flights_2013_01.csv.gz"},
)
def tinybird_checks() -> None:
    load = TinybirdAppendUrlOperator(
        task_id="load", datasource="flights", url="{{ params.flights_url }}", mode="replace", deferrable=True
    )

    # [START columns]
    # One query for all of them.
    columns = TinybirdColumnCheckOperator(
        task_id="columns",
        table="flights",
        column_mapping={
            "distance": {"null_check": {"equal_to": 0}, "min": {"greater_than": 0}, "max": {"leq_to": 5000}},
            "origin": {"distinct_check": {"equal_to": 3}},
        },
        partition_clause="year = 2013 AND month = 1",
    )
    # [END columns]

    # [START table]
    table = TinybirdTableCheckOperator(
        task_id="table",
        table="flights",
        checks={
            "enough": {"check_statement": "count() > 20000"},
            "few_cancelled": {"check_statement": "countIf(dep_time IS NULL) / count() < 0.05"},
            "each_somewhere_else": {"check_statement": "origin != dest"},
        },
    )
    # [END table]

    # [START value]
    # Near what is expected: a tenth more or less will do.
    value = TinybirdValueCheckOperator(
        task_id="value",
        sql="SELECT count() FROM flights WHERE origin = 'JFK'",
        pass_value=9000,
        tolerance=0.1,
        retry_on_failure=False,
    )
    # [END value]

    # [START interval]
    # Not half as many, and not twice as many, as on the same day of the week before.
    interval = TinybirdIntervalCheckOperator(
        task_id="interval",
        table="flights",
        day="2013-01-16",
        date_filter_column="toDate(time_hour)",
        days_back=-7,
        metrics_thresholds={"count()": 2, "avg(distance)": 1.2},
    )
    # [END interval]

    # [START sql]
    # All values of the first row must be true.
    sql = TinybirdCheckOperator(
        task_id="sql",
        sql="SELECT max(time_hour) > toDateTime('2013-01-31 00:00:00', 'UTC'), uniq(day) = 31 FROM flights WHERE carrier = %(of)s",
        parameters={"of": "UA"},
    )
    # [END sql]

    # [START quarantine]
    # Red, with the reasons, when rows came into quarantine since the run began.
    quarantine = TinybirdQuarantineCheckOperator(
        task_id="quarantine", datasource="flights", start="{{ dag_run.start_date.isoformat() }}", max_rows=0
    )
    # [END quarantine]

    chain(load, [columns, table, value, interval, sql, quarantine])


tinybird_checks()
