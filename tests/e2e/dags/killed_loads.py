"""Loads that are killed: one DAG for each delivery, whose mapped tasks each kill themselves at a moment of their own.

The moment is random and the same in each run of the suite: anywhere between the first row that is asked for and the last.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_tinybird.loads.options import LoadOptions

LOADS = 20
BATCHES = 24
ROWS_OF_A_BATCH = 25
SECONDS = 1.5
"""How long the rows take to come."""

DELIVERIES = ("at_most_once", "at_least_once", "exactly_once")
# 20 rows with ids in a body, 50 without: the argument for it is none of the operator's.
LoadOptions.__init__.__kwdefaults__["max_bytes"] = 2_400


def die_at(moment: float) -> None:
    """Kill this process, as the kernel does when memory runs out."""
    time.sleep(moment)
    os.kill(os.getpid(), signal.SIGKILL)


def rows(delivery: str, load: int, ti: Any = None) -> Iterator[list[dict[str, Any]]]:
    """The rows of a load, which come in time; the first attempt does not live to see the last."""
    if ti.try_number == 1:
        moment = random.Random(f"{delivery} {load}").uniform(0, SECONDS)
        threading.Thread(target=die_at, args=(moment,), daemon=True).start()
    for batch in range(BATCHES):
        first = batch * ROWS_OF_A_BATCH
        yield [{"delivery": delivery, "load": load, "n": first + row} for row in range(ROWS_OF_A_BATCH)]
        time.sleep(SECONDS / BATCHES)
    if ti.try_number == 1:
        time.sleep(60)


for each in DELIVERIES:
    with DAG(
        f"killed_{each}",
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        max_active_tasks=100,
        params={"delivery": each},
    ) as dag:
        send = task.tinybird_events(
            task_id="load",
            datasource="killed_loads",
            delivery=each,
            batch_id_column="batch" if each == "exactly_once" else None,
            max_in_flight=3,
            retries=1,
            retry_delay=timedelta(seconds=1),
        )(rows)
        send.partial(delivery=each).expand(load=list(range(LOADS)))
    globals()[dag.dag_id] = dag
