"""The tasks of the demo's run: what Airflow's database says of them, and in which words the demo shows it. Standard library only."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINES_OF_ERRORS = 12


@dataclass(frozen=True)
class Task:
    """A task of the run, as Airflow's database has it.

    :param is_deferred: whether it waits in the triggerer, or has just come back from there.
    :param result: what it returned.
    """

    name: str
    state: str
    is_deferred: bool
    seconds: float
    result: Any


def tasks_in(database: Path, dag: str) -> list[Task]:
    """Read which tasks have started, in their order, and what came of them. The logs of Airflow change with each version."""
    query = """
        SELECT t.task_id, coalesce(t.state, ''), t.next_method IS NOT NULL, coalesce(t.duration, 0), x.value FROM task_instance t
        LEFT JOIN xcom x ON (x.dag_id, x.run_id, x.task_id, x.key) = (t.dag_id, t.run_id, t.task_id, 'return_value')
        WHERE t.dag_id = ? AND t.start_date IS NOT NULL ORDER BY t.start_date
    """
    # Busy is no error: it is read again soon.
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1)) as connection,
    ):
        # SQLite itself turns JSON that is a number into one.
        return [
            Task(name, state, bool(deferred), seconds, json.loads(value) if isinstance(value, str) else value)
            for name, state, deferred, seconds, value in connection.execute(query, (dag,))
        ]
    return []


def described(result: Any) -> str:
    """Say in a few words what a task returned."""
    match result:
        case {"truncated": True}:
            return "emptied"
        case {"rows_to_be_deleted": rows}:
            return f"{rows:,} rows match; nothing is deleted yet"
        case {"successful_rows": rows, "quarantined_rows": bad}:
            return f"{rows:,} events are in, {bad:,} in quarantine"
        case {"job": {"kind": str(kind), "rows_affected": int(rows)}, "status": "done"}:
            return f"{kind.removesuffix('_data')} job is done, {rows:,} rows are gone"
        case {"job": {"kind": str(kind)}, "status": "done", "rows": int(rows)}:
            return f"{kind} job is done, {rows:,} rows are in"
        case {"job": {"kind": str(kind)}, "status": str(status)}:
            return f"{kind.removesuffix('_data')} job is {status}{'; a sensor waits for it' * (status != 'done')}"
        case {"data": list() as rows}:
            return f"{len(rows):,} rows"
        case int():
            return f"{result:,} rows, as many as events"
    return "the table below"


def reason_of(task: str, log: str) -> str:
    """Cut the reason of a failure out of the log: the error of the task without the frames of its traceback."""
    lines = log.splitlines()
    starts = [at for at, line in enumerate(lines) if "[DAG TEST] starting" in line and f"task_id={task} " in line]
    own = lines[starts[-1] :] if starts else lines
    stamped = re.compile(r"\d{4}-\d\d-\d\dT")
    errors = [at for at, line in enumerate(own) if stamped.match(line) and "[error" in line]
    if not errors:
        return "\n".join(own[-LINES_OF_ERRORS:])
    block: list[str] = []
    for line in own[errors[0] + 1 :]:
        if stamped.match(line):
            break
        if line and not line.startswith((" ", "Traceback")):
            block.append(line)
    return "\n".join(block[-LINES_OF_ERRORS:] or [own[errors[0]]])
