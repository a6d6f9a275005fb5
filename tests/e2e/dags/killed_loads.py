"""Loads that are killed: one DAG for each delivery, whose mapped tasks each kill themselves at a moment of their own.

The moment is random and the same in each run of the suite: anywhere between its first row and 0.3 s after its last.
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

from airflow_provider_tinybird.loads.events.options import LoadOptions

LOADS = 20
BATCHES = 24
ROWS_OF_A_BATCH = 25
DELIVERIES = ("at_most_once", "at_least_once", "exactly_once")
# 20 rows with ids in a body, 50 without: the argument for it is none of the operator's.
LoadOptions.__init__.__kwdefaults__["max_bytes"] = 2_400


def die(seconds: float) -> None:
    """Kill this process soon, as the kernel does when memory runs out."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def rows(delivery: str, load: int, ti: Any = None) -> Iterator[list[dict[str, Any]]]:
    """The rows of a load; the first attempt does not live to see the last."""
    chance = random.Random(f"{delivery} {load}")
    last, seconds = chance.randrange(BATCHES), chance.uniform(0, 0.3)
    for batch in range(BATCHES):
        if ti.try_number == 1 and batch == last:
            threading.Thread(target=die, args=(seconds,), daemon=True).start()
        first = batch * ROWS_OF_A_BATCH
        yield [{"delivery": delivery, "load": load, "n": first + row} for row in range(ROWS_OF_A_BATCH)]
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
            retries=6,  # a busy machine costs heartbeats, and Airflow kills what gives none
            retry_delay=timedelta(seconds=1),
            max_active_tis_per_dag=3,
        )(rows)
        send.partial(delivery=each).expand(load=list(range(LOADS)))
    globals()[dag.dag_id] = dag
