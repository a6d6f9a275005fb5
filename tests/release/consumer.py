"""A project of a user's. What is right must be seen as right, and what is wrong as wrong: an ignore that is not needed is an error."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator
from airflow_provider_tinybird.operators.pipes import TinybirdCopyOperator
from airflow_provider_tinybird.sensors.jobs import TinybirdJobSensor


def rows() -> list[dict[str, object]]:
    result = TinybirdHook("shop").query("SELECT 1 AS one")
    return [dict(row) for row in result.data[: result.rows]]


def without_airflow(token: str) -> int:
    with Client(Settings(base_url="http://localhost:7181", token=Token(token))) as client:
        return client.send(query.sql("SELECT 1 AS one")).rows


def copy() -> str:
    job = TinybirdHook().run_copy("totals", {"shop": "Lyon"}, mode="replace")
    return TinybirdHook().wait_for_job(job.id, timeout=60).id


copied = TinybirdCopyOperator(task_id="copy", pipe="totals", timeout=timedelta(minutes=5), deferrable=True)
sent = TinybirdEventsOperator(task_id="send", datasource="orders", data=[{"day": "2026-01-01"}])
waited = TinybirdJobSensor(task_id="wait", job_id="x")

number: int = TinybirdHook().query("SELECT 1").data  # type: ignore[assignment]
TinybirdHook().run_copy(1)  # type: ignore[arg-type]
TinybirdCopyOperator(task_id="copy", pipe=1)  # type: ignore[arg-type]
TinybirdCopyOperator(task_id="copy")  # type: ignore[call-arg]
