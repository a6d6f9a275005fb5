"""Jobs API: what is running, what became of it, stop it, do it again. Tinybird remembers 100 jobs for 48 hours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.encoding import is_id, pairs, resource_name
from airflow_provider_tinybird.api.errors import UnreadableAnswerError
from airflow_provider_tinybird.api.job import parse_job, submitted_job
from airflow_provider_tinybird.api.models import Job, JobStatus
from airflow_provider_tinybird.api.redact import redact

T = TypeVar("T")

READ_JOBS = "DATASOURCES:CREATE"


def list_jobs(
    *,
    kind: str | None = None,
    status: JobStatus | str | None = None,
    pipe_id: str | None = None,
    pipe_name: str | None = None,
    created_after: datetime | str | None = None,
    created_before: datetime | str | None = None,
) -> Call[tuple[Job, ...]]:
    """List the jobs of the workspace: at most 100, of the last 48 hours. ``GET /v0/jobs``.

    :param kind: ``import``, ``copy``, ``delete_data``, ``populateview``, ``query``, ...
    :param status: one status.
    :param pipe_id: id of the pipe that a copy ran.
    :param pipe_name: its name.
    :param created_after: earliest creation.
    :param created_before: latest creation.
    :return: the jobs, in Tinybird's order. Scope: ``DATASOURCES:CREATE`` or ``ADMIN``.
    """
    return Call(
        what="list the jobs",
        method="GET",
        path="/v0/jobs",
        params=pairs(
            {
                "kind": kind,
                "status": status.value if isinstance(status, JobStatus) else status,
                "pipe_id": pipe_id,
                "pipe_name": pipe_name,
                "created_after": created_after,
                "created_before": created_before,
            }
        ),
        read=_jobs,
        repeat=Repeat.READ,
        scope=READ_JOBS,
    )


def newest_job(pipe: str) -> Call[Job | None]:
    """Get the newest job of a pipe. ``GET /v0/jobs?pipe_name=``.

    :param pipe: name or id of the pipe.
    :return: the job; ``None`` when Tinybird remembers none. Scope: ``DATASOURCES:CREATE`` or ``ADMIN``.
    """
    resource_name("pipe", pipe)
    return Call(
        what=f"get the newest job of pipe '{pipe}'",
        method="GET",
        path="/v0/jobs",
        params=(("pipe_id" if is_id(pipe) else "pipe_name", pipe),),
        read=_newest,
        repeat=Repeat.READ,
        scope=READ_JOBS,
    )


def get_job_from_log(job_id: str) -> Call[Job | None]:
    """Look a job up in ``tinybird.jobs_log``, which remembers what ``GET /v0/jobs/{id}`` has forgotten after 48 hours. ``POST
    /v0/sql``.

    :param job_id: the job's id.
    :return: the job as last logged; ``None`` when it is not there. Scope: ``ADMIN``.
    """
    return _about_job(
        job_id,
        f"look job {job_id} up in tinybird.jobs_log",
        "SELECT job_id, job_type AS kind, status, error, pipe_id, created_at, started_at, updated_at FROM tinybird.jobs_log",
        "ORDER BY updated_at DESC LIMIT 1",
        _logged,
    )


def count_written_rows(job_id: str) -> Call[int | None]:
    """Count the rows that a job wrote, by ``tinybird.datasources_ops_log``, which is written a little after the fact. ``POST
    /v0/sql``.

    :param job_id: the job's id.
    :return: rows; ``None`` while there is nothing of the job in the log. Scope: ``ADMIN``.
    """
    return _about_job(
        job_id,
        f"count the rows that job {job_id} wrote",
        "SELECT count() AS operations, sum(written_rows) AS written FROM tinybird.datasources_ops_log",
        "AND result = 'ok'",
        _written,
    )


def get_job(job_id: str, *, blocks: bool = False) -> Call[Job]:
    """Get one job. ``GET /v0/jobs/{id}``.

    The address is built from the host of the connection: the ``job_url`` of an answer names a host inside the container
    on Tinybird Local.

    :param job_id: the job's id.
    :param blocks: also count the rows of an import's blocks.
    :return: the job. Scope: ``DATASOURCES:CREATE`` or ``ADMIN``; an append token may read the imports that it started.
    """
    return Call(
        what=f"get job {job_id}",
        method="GET",
        path=f"/v0/jobs/{resource_name('job', job_id)}",
        params=(("debug", "blocks,block_log"),) if blocks else (),
        read=lambda reply: _this_job(reply, job_id),
        repeat=Repeat.READ,
        scope=READ_JOBS,
    )


def cancel_job(job_id: str) -> Call[Job]:
    """Ask Tinybird to cancel a job. ``POST /v0/jobs/{id}/cancel``.

    What was already written stays. A job that cannot be cancelled any more answers with 400.

    :param job_id: the job's id.
    :return: the job, ``cancelling`` or ``cancelled``. Scope: ``DATASOURCES:CREATE`` or ``ADMIN``.
    """
    return Call(
        what=f"cancel job {job_id}",
        method="POST",
        path=f"/v0/jobs/{resource_name('job', job_id)}/cancel",
        read=lambda reply: _this_job(reply, job_id),
        repeat=Repeat.IDEMPOTENT,
        scope=READ_JOBS,
    )


def retry_job(job_id: str) -> Call[Job]:
    """Run a failed or cancelled import again, as a new job. ``POST /v0/jobs/{id}/retry``.

    :param job_id: the old job's id.
    :return: the new job. Scope: ``DATASOURCES:CREATE`` or ``ADMIN``.
    """
    return Call(
        what=f"retry job {job_id}",
        method="POST",
        path=f"/v0/jobs/{resource_name('job', job_id)}/retry",
        read=submitted_job,
        repeat=Repeat.ONCE,
        scope=READ_JOBS,
        find_out="Look at the newest jobs (GET /v0/jobs).",
    )


def _about_job(job_id: str, what: str, select: str, rest: str, read: Callable[[Reply], T]) -> Call[T]:
    resource_name("job", job_id)
    quoted = job_id.replace("\\", "\\\\").replace("'", "\\'")
    rows = query.sql(f"{select} WHERE job_id = '{quoted}' {rest}")
    return Call(
        what=what, method=rows.method, path=rows.path, body=rows.body, read=read, repeat=Repeat.READ, scope="ADMIN"
    )


def _written(reply: Reply) -> int | None:
    row = query.read_query_result(reply).data[0]
    return int(row["written"]) if int(row["operations"]) else None


def _newest(reply: Reply) -> Job | None:
    jobs = [job for job in _jobs(reply) if job.created_at is not None]
    return max(jobs, key=lambda job: job.created_at or datetime.min, default=None)


def _logged(reply: Reply) -> Job | None:
    rows = query.read_query_result(reply).data
    return parse_job(rows[0]) if rows else None


def _this_job(reply: Reply, job_id: str) -> Job:
    """Read the one job that was asked for: what another job has come to says nothing of it."""
    body = reply.json_object()
    job = parse_job(body)
    ids = {str(body.get(key)).lower() for key in ("job_id", "id", "import_id", "delete_id") if body.get(key)}
    if job_id.lower() not in ids:
        raise UnreadableAnswerError(
            f"Could not {reply.what}: the answer is about another job, {redact(job.id)[:100]!r}, and says nothing of the one asked for."
        )
    return job


def _jobs(reply: Reply) -> tuple[Job, ...]:
    return tuple(parse_job(item) for item in reply.json_object().get("jobs") or ())
