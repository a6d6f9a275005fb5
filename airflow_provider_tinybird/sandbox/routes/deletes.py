# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""Rows deleted by a condition: a job on v0, a lightweight delete on v1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource
from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal
from airflow_provider_tinybird.sandbox.engine.engine import DATABASE
from airflow_provider_tinybird.sandbox.engine.tables import qualified, size_of
from airflow_provider_tinybird.sandbox.http.auth import CREATE
from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.loading import checked_condition
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_PROJECTION_MODES = ("throw", "drop", "rebuild")


def delete_v0(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{name}/delete``: a job; ``dry_run`` counts only, and starts none."""
    datasource, condition, params = _asked(box, call)
    if flag(params, "dry_run"):
        return json_answer({"rows_to_be_deleted": _matching(box, datasource, condition)})

    def delete(job: Job) -> int:
        with _logged(box, datasource, job):
            rows = _matching(box, datasource, condition)
            job.commit()
            box.engine.run(f"ALTER TABLE {qualified(datasource.name)} DELETE WHERE ({condition}\n)", job.marker)
        return rows

    return _start(box, call, datasource, condition, delete)


def delete_v1(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/datasources/{name}/delete``: waits for the end, unless ``wait=false``."""
    datasource, condition, params = _asked(box, call)
    if params.get("projection_mode", "throw") not in _PROJECTION_MODES:
        raise bad_request(f"'projection_mode' must be one of {', '.join(_PROJECTION_MODES)}")
    partition, restriction = _partition(box, datasource, params.get("partition", "").strip())

    def delete(job: Job | None = None) -> int:
        with _logged(box, datasource, job):
            rows = _matching(box, datasource, f"({condition}\n){restriction}")
            if job:
                job.commit()
            box.engine.run(
                f"DELETE FROM {qualified(datasource.name)}{partition} WHERE ({condition}\n)",
                job.marker if job else None,
            )
        return rows

    if not flag(params, "wait", default=True):
        return _start(box, call, datasource, condition, delete)
    rows = delete()
    scanned = box.engine.scalar(
        "SELECT toUInt64(uniqExact(partition_id)) AS n FROM system.parts WHERE active"
        f" AND database = {literal(DATABASE)} AND table = {literal(datasource.name)}"
    )
    mutation = {"partitions_scanned": scanned, "partitions_done": scanned, "partitions_in_progress": 0}
    return json_answer({"rows_affected": rows, "mutation": mutation})


@contextmanager
def _logged(box: Sandbox, datasource: DataSource, job: Job | None) -> Iterator[None]:
    with box.engine.locked(datasource.name), box.log.operation("delete", datasource, job) as done:
        done.rows = size_of(box.engine, datasource.name)[0]
        yield


def _asked(box: Sandbox, call: Call) -> tuple[DataSource, str, dict[str, str]]:
    call.caller.require(CREATE)
    datasource = box.workspace.datasource_or_quarantine(call.path_values["name"])
    # Official clients send a form; a JSON body is a mistake that Tinybird's own OpenAPI text invites.
    if call.content_type == "application/json":
        raise bad_request("'delete_condition' is required, in a form: the body is JSON")
    params = call.params()
    condition = params.get("delete_condition", "").strip()
    if not condition:
        raise bad_request("the parameter 'delete_condition' is required: which rows to delete")
    return datasource, checked_condition(box, datasource, condition), params


def _partition(box: Sandbox, datasource: DataSource, partition: str) -> tuple[str, str]:
    """The clause of a DELETE that names a partition, and what its rows have in common."""
    if not partition:
        return "", ""
    restriction = f"_partition_value = tuple({partition})"
    checked_condition(box, datasource, restriction)
    return f" IN PARTITION {partition}", f" AND {restriction}"


def _matching(box: Sandbox, datasource: DataSource, condition: str) -> int:
    # On a session that cannot write, and within the time limit of a query: the deletion has none.
    result = box.engine.read(f"SELECT count() FROM {qualified(datasource.name)} WHERE ({condition}\n)", "TSV")
    return int(result.body)


def _start(box: Sandbox, call: Call, datasource: DataSource, condition: str, delete: Callable[[Job], int]) -> Answer:
    target = {"id": datasource.id, "name": datasource.name}
    job = Job("delete_data", {"delete_condition": condition, "rows_affected": 0, "datasource": target}, call.caller.id)

    def work(job: Job) -> None:
        with box.engine.locked(datasource.name):
            job.facts["rows_affected"] = delete(job)

    shown = job.shown(call.base_url)
    box.jobs.submit(job, work)
    same = dict.fromkeys(("id", "job_id", "delete_id"), job.id)
    return json_answer({**same, "job_url": shown["job_url"], "status": shown["status"], "job": shown})
