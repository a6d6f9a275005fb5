"""Send rows that are in memory: a DataFrame, records, batches from a generator, NDJSON.

The Events API only appends, so the DAG starts by emptying the data source. In each case the operator cuts the rows into requests of
the size that Tinybird takes, and is green when the database has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.operators.datasources import TinybirdTruncateOperator
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

try:
    from airflow.sdk import chain, dag, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import chain

FLIGHTS = Path(__file__).parent / "data" / "flights_2013_01.csv.gz"
COLUMNS = ["scheduled_at", "carrier", "flight", "tailnum", "origin", "dest"]


def cancellations(flights: Any, origin: str) -> Any:
    """The flights from an airport that never left, of a DataFrame."""
    chosen = flights[flights["dep_time"].isna() & (flights["origin"] == origin)]
    return chosen.rename(columns={"time_hour": "scheduled_at"})[COLUMNS]


# [START dataframe]
def newark() -> Any:
    """A DataFrame: pandas, polars or Arrow."""
    import pandas as pd

    return cancellations(pd.read_csv(FLIGHTS), "EWR")


# [END dataframe]


# [START generator]
def kennedy() -> Iterator[Any]:
    """DataFrames, one after the other: no more than one is in memory, however long the file is."""
    import pandas as pd

    with pd.read_csv(FLIGHTS, chunksize=5_000) as chunks:
        for chunk in chunks:
            yield cancellations(chunk, "JFK")


# [END generator]


@dag(
    dag_id="tinybird_events",
    start_date=datetime(2024, 1, 1),
    schedule=None,
    catchup=False,
    tags=["tinybird", "example"],
)
def tinybird_events() -> None:
    empty = TinybirdTruncateOperator(task_id="empty", datasource="cancellations")

    # [START callable]
    # Functions are called when the task runs, so that parsing the DAG costs nothing.
    send_dataframe = TinybirdEventsOperator(task_id="send_dataframe", datasource="cancellations", data=newark)
    send_generator = TinybirdEventsOperator(
        task_id="send_generator", datasource="cancellations", data=kennedy, compression="gzip"
    )
    # [END callable]

    # [START records]
    @task
    def la_guardia() -> list[dict[str, Any]]:
        """Records, few enough to travel through XCom."""
        import pandas as pd

        frame = cancellations(pd.read_csv(FLIGHTS), "LGA")
        return frame.astype(object).where(frame.notna(), None).to_dict("records")

    records = la_guardia()
    send_records = TinybirdEventsOperator(task_id="send_records", datasource="cancellations", data=records)
    # [END records]

    # [START ndjson]
    # The second row does not fit: its flight is no number. By default the task would be red for good, since the first row is in.
    # With on_quarantine="warn" it is green, its log tells why, and the row is in the data source cancellations_quarantine.
    send_ndjson = TinybirdEventsOperator(
        task_id="send_ndjson",
        datasource="cancellations",
        data="""
{"scheduled_at": "2013-02-01 18:29:00", "carrier": "EV", "flight": 3840, "tailnum": "N15574", "origin": "EWR", "dest": "MEM"}
{"scheduled_at": "2013-02-02 00:43:00", "carrier": "EV", "flight": "EV4312", "tailnum": "N15980", "origin": "EWR", "dest": "DCA"}
""",
        on_quarantine="warn",
    )
    # [END ndjson]

    chain(empty, [send_dataframe, send_generator, send_ndjson])
    chain(empty, records, send_records)


tinybird_events()
