"""Runs sensors as Airflow does, in each of their modes."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_tinybird._compat import BaseSensorOperator, TaskDeferred
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:
    from airflow.exceptions import AirflowRescheduleException


class Runner:
    """Runs a sensor to its end in one of the modes, as Airflow does: an operator made anew for each start of the task."""

    def __init__(self, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        base = sys.modules[BaseSensorOperator.__module__]
        monkeypatch.setattr(base, "time", SimpleNamespace(monotonic=clock.time, sleep=clock.sleep))
        monkeypatch.setattr(base, "timezone", SimpleNamespace(utcnow=self._now))
        start = self._now()
        if hasattr(base, "_orig_start_date"):  # 2.11 asks the database
            monkeypatch.setattr(base, "_orig_start_date", lambda **_: start)
        ti = SimpleNamespace(get_first_reschedule_date=lambda _: start, max_tries=0, dag_id="d", task_id="t")
        ti.run_id, ti.map_index = "r", -1
        self.context: Any = {"ti": ti}
        self.deferrals = 0

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now, tz=timezone.utc)  # noqa: UP017 - the SDK's own classes on 3.11

    def run(self, mode: str, cls: type[Any] | None = None, **arguments: Any) -> Any:
        """Run a sensor; the one of job ``j1`` unless another class is given."""

        def sensor() -> Any:
            how = {"deferrable": True} if mode == "deferrable" else {"mode": mode, "deferrable": False}
            fixed = {"task_id": "t", "poke_interval": 10, "timeout": 60, **({} if cls else {"job_id": "j1"})}
            return (cls or TinybirdJobSensor)(**{**fixed, **how, **arguments})

        while True:
            try:
                return sensor().execute(self.context)
            except AirflowRescheduleException as e:
                self.clock.now = e.reschedule_date.timestamp()
            except TaskDeferred as e:
                self.deferrals += 1
                return sensor().resume_execution(
                    e.method_name, {"event": self._event(e), **(e.kwargs or {})}, self.context
                )

    def _event(self, wait: TaskDeferred) -> Any:
        path, arguments = json.loads(json.dumps(wait.trigger.serialize()))
        module, _, name = path.rpartition(".")

        async def events() -> list[Any]:
            return [event.payload async for event in getattr(importlib.import_module(module), name)(**arguments).run()]

        (payload,) = asyncio.run(events())
        return json.loads(json.dumps(payload))


@pytest.fixture
def runner(clock, monkeypatch):
    return Runner(clock, monkeypatch)
