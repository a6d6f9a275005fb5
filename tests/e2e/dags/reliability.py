"""The DAGs of the suite: one for each scenario, named after it, as is the copy pipe; the data source that it fills has
"_rows" behind.

Whatever the suite does to a task from outside is not seen here; what a task does to itself is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_tinybird.operators.datasources import TinybirdAppendUrlOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

LIMITED = "tinybird_limited"
FRAGILE = "tinybird_fragile"
RETRIED = {"retries": 2, "retry_delay": timedelta(seconds=1)}
MODES = {"sync": False, "deferred": True}


class DeadlyStore:
    """A task state store that kills its process with -9 around the moment at which a job's id is written.

    :param recorded: kill after it is written, else before.
    """

    def __init__(self, store: Any, *, recorded: bool) -> None:
        self._store = store
        self._recorded = recorded

    def get(self, key: str) -> Any:
        return self._store.get(key)

    def set(self, key: str, value: Any) -> None:
        has_job = bool(value.get("job_id"))
        if not has_job or self._recorded:
            self._store.set(key, value)
        if has_job:
            os.kill(os.getpid(), signal.SIGKILL)


def die(context: Any, *, recorded: bool) -> None:
    """Let the first attempt die."""
    if context["ti"].try_number == 1:
        context["task_state_store"] = DeadlyStore(context["task_state_store"], recorded=recorded)


def show_process(context: Any) -> None:
    """Tell the suite which processes run this attempt: the task's own and the one that supervises it."""
    ti = context["ti"]
    path = Path(os.environ["E2E_PROCESSES"]) / f"{ti.dag_id}.{ti.try_number}"
    path.with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()}")
    path.with_suffix(".new").rename(path)


def dag(name: str) -> DAG:
    made = DAG(name, schedule=None, start_date=datetime(2026, 1, 1), catchup=False, max_active_tasks=1000)
    globals()[name] = made
    return made


def copy(name: str, *, poll_interval: float = 1, **arguments: Any) -> None:
    """One task that runs the scenario's copy pipe."""
    with dag(name):
        TinybirdCopyOperator(task_id="job", pipe=name, poll_interval=poll_interval, **arguments)


def both(name: str, make: Callable[..., None] = copy, **arguments: Any) -> None:
    """The same once in the worker and once deferred."""
    for mode, deferrable in MODES.items():
        make(f"{name}_{mode}", deferrable=deferrable, **arguments)


def append_url(name: str, **arguments: Any) -> None:
    """One task that has the file with the rows appended."""
    with dag(name):
        TinybirdAppendUrlOperator(
            task_id="job", datasource=f"{name}_rows", url=os.environ["E2E_FILE"], poll_interval=1, **arguments
        )


# Workers that die
both("killed_recorded", pre_execute=partial(die, recorded=True), **RETRIED)
both("killed_unrecorded_url", append_url, pre_execute=partial(die, recorded=False), **RETRIED)
both("killed_unrecorded_append", pre_execute=partial(die, recorded=False), **RETRIED)
both("killed_unrecorded_replace", mode="replace", pre_execute=partial(die, recorded=False), **RETRIED)
copy("killed_unrecorded_resubmit", pre_execute=partial(die, recorded=False), on_unknown="resubmit", **RETRIED)
copy("killed_polling_task", pre_execute=show_process, **RETRIED)
copy("killed_polling_both", pre_execute=show_process, **RETRIED)

# Components that die
copy("triggerer_killed", deferrable=True, **RETRIED)
copy("triggerer_killed_late", deferrable=True, **RETRIED)
copy("triggerer_stopped", deferrable=True, **RETRIED)
both("scheduler_killed", **RETRIED)
both("machine_killed", **RETRIED)

# Network and Tinybird
copy("refused_sync", tinybird_conn_id="tinybird_flaky_sync", **RETRIED)
copy("refused_deferred", tinybird_conn_id="tinybird_flaky_deferred", deferrable=True, **RETRIED)
both("rate_limited", **RETRIED)
append_url("answer_lost_url", tinybird_conn_id=LIMITED, **RETRIED)
copy("answer_lost_append", **RETRIED)
copy("answer_lost_replace", mode="replace", **RETRIED)
both("restarted", tinybird_conn_id=FRAGILE, **RETRIED)

# What users do
both("marked_failed")
both("marked_success")
both("cleared")
both("cleared_slow_cancel")
both("cleared_uncancelled", cancel_on_kill=False, **RETRIED)
copy("cleared_after_success", mode="replace")

# Connections that change while a task waits for its job
copy("connection_missing", tinybird_conn_id="moved_connection_missing", deferrable=True, **RETRIED)
copy("token_rotated", tinybird_conn_id="moved_token_rotated", deferrable=True, **RETRIED)

# Time
both("execution_timeout", execution_timeout=timedelta(seconds=6))
both("deadline", timeout=6)

# Jobs that do not end well
both("failing")
both("failing_once", **RETRIED)
both("cancelled_outside")
both("stuck_cancelling", timeout=10)
copy("no_slot_job", deferrable=True)

with dag("quota"):
    TinybirdCopyOperator.partial(
        task_id="job", pipe="quota", tinybird_conn_id=LIMITED, deferrable=True, poll_interval=1
    ).expand(parameters=[{"n": n} for n in range(8)])

with dag("crowd"):
    TinybirdCopyOperator.partial(task_id="job", pipe="crowd", deferrable=True, poll_interval=2).expand(
        parameters=[{"n": n} for n in range(200)]
    )

with dag("waited_for"):
    job = TinybirdCopyOperator(task_id="job", pipe="waited_for", wait_for_completion=False)
    job_id = "{{ ti.xcom_pull(task_ids='job')['job_id'] }}"
    common = {"job_id": job_id, "poke_interval": 1, "timeout": 600}
    job >> [
        TinybirdJobSensor(task_id="poke", **common),
        # A task that is back within seconds can fail by a race in Airflow's scheduler; its retry just looks again.
        TinybirdJobSensor(task_id="reschedule", mode="reschedule", **common | RETRIED | {"poke_interval": 5}),
        TinybirdJobSensor(task_id="deferred", deferrable=True, **common),
        TinybirdJobSensor(task_id="newest", pipe="waited_for", poke_interval=1, timeout=600),
    ]
