"""Loads of files into the sandbox: attempts of one task, what is remembered in between, and rows to load."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import importlib
import json
from functools import partial
from typing import Any

import pandas as pd

from airflow_provider_tinybird._compat import TaskDeferred
from airflow_provider_tinybird.operators.load import TinybirdLoadOperator

ROWS = 4000
SUM = "SELECT count() AS n, uniqExact(carrier) AS carriers, sum(delay) AS delays FROM flights"
MANY = {"max_file_bytes": 20_000, "imports_per_minute": 1000, "poll_interval": 0.05}
"""Rows in several files."""


def frame(rows: int = ROWS) -> pd.DataFrame:
    days = [dt.date(2013, 1, 1) + dt.timedelta(days=row % 300) for row in range(rows)]
    return pd.DataFrame(
        {"day": days, "carrier": [f"C{row * 7919 % 100_003}" for row in range(rows)], "delay": range(rows)}
    )


def expected(rows: int = ROWS, times: int = 1) -> dict[str, Any]:
    data = frame(rows)
    return {"n": rows * times, "carriers": data["carrier"].nunique(), "delays": int(data["delay"].sum()) * times}


class Store:
    """Remembers as Airflow 3.3 does, and what was stored before each change."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return copy.deepcopy(self.kept.get(key))

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = copy.deepcopy(value)

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


class Ti:
    def __init__(self, try_number: int, max_tries: int = 3) -> None:
        self.try_number, self.max_tries, self.map_index = try_number, max_tries, -1


def attempt(store: Store | None, try_number: int, **arguments: Any) -> Any:
    """Run one attempt of a task with three retries."""
    operator = TinybirdLoadOperator(task_id="t", retries=3, **{"datasource": "flights", **MANY, **arguments})
    operator.render_template_fields({})
    context: dict[str, Any] = {"ti": Ti(try_number)}
    if store is not None:
        context["task_state_store"] = store
    return operator.execute(context)


def imports(box: Any) -> list[str]:
    return [job["mode"] for job in reversed(box.jobs()) if job["kind"] == "import"]


def run_to_the_end(store: Store | None = None, **arguments: Any) -> tuple[Any, int]:
    """Run a deferrable task through as many triggers as it takes; its result, and how many there were."""
    arguments = {**MANY, "deferrable": True, "poll_interval": 0.05, "datasource": "flights", **arguments}

    def made() -> TinybirdLoadOperator:
        operator = TinybirdLoadOperator(task_id="t", retries=3, **arguments)
        operator.render_template_fields({})
        return operator

    context: dict[str, Any] = {"ti": Ti(1), **({"task_state_store": store} if store else {})}
    waits, step = 0, lambda: made().execute(context)
    while True:
        try:
            return step(), waits
        except TaskDeferred as wait:
            waits += 1
            path, given = json.loads(json.dumps(wait.trigger.serialize()))
            event = asyncio.run(only_event(path, given))
            method, kwargs = wait.method_name, json.loads(json.dumps(wait.kwargs or {}))
            step = partial(lambda m, e, k: getattr(made(), m)(context, e, **k), method, event, kwargs)


async def only_event(path: str, arguments: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    trigger = getattr(importlib.import_module(module), name)(**arguments)
    (event,) = [event.payload async for event in trigger.run()]
    return event
