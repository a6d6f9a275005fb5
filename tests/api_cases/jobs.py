"""Jobs, in the list and in the log."""

from __future__ import annotations

from airflow_provider_tinybird.api import imports, jobs, pipes
from airflow_provider_tinybird.api.models import JobStatus
from api_cases.case import CSV_, URL, Case, Send, file_of, finished


def an_import(send: Send) -> tuple[str, ...]:
    """The id of an import that is done."""
    job = send(imports.append_url("sales", file_of(send), **CSV_))
    assert finished(job, send).status is JobStatus.DONE
    return (job.id,)


def a_failed_import(send: Send) -> tuple[str, ...]:
    job = send(imports.append_url("sales", URL, **CSV_))
    assert finished(job, send).status is JobStatus.ERROR
    return (job.id,)


CASES = (
    Case(
        jobs.list_jobs,
        (),
        "GET /v0/jobs?kind=import&status=done&created_after=2026-01-01&created_before=2100-01-01",
        kw={"kind": "import", "status": "done", "created_after": "2026-01-01", "created_before": "2100-01-01"},
        live=lambda send: an_import(send)[1:],
        shows=lambda found, _: [(one.kind, one.datasource) for one in found] == [("import", "sales")],
    ),
    Case(
        jobs.newest_job,
        ("copy_totals",),
        "GET /v0/jobs?pipe_name=copy_totals",
        before=(pipes.copy("copy_totals"),),
        shows=lambda found, _: (found.kind, found.pipe) == ("copy", "copy_totals"),
    ),
    Case(
        jobs.get_job,
        ("nope",),
        "GET /v0/jobs/nope?debug=blocks%2Cblock_log",
        kw={"blocks": True},
        live=an_import,
        shows=lambda found, _: (found.status, found.blocks.lines) == (JobStatus.DONE, 3),
    ),
    Case(
        jobs.cancel_job,
        ("nope",),
        "POST /v0/jobs/nope/cancel",
        live=lambda send: (send(pipes.copy("copy_slow")).id,),
        shows=lambda found, _: found.status in (JobStatus.CANCELLING, JobStatus.CANCELLED),
    ),
    Case(
        jobs.retry_job,
        ("nope",),
        "POST /v0/jobs/nope/retry",
        live=a_failed_import,
        shows=lambda found, send: (
            len(send(jobs.list_jobs(kind="import"))) == 2 and finished(found, send).status is JobStatus.ERROR
        ),
    ),
    Case(
        jobs.get_job_from_log,
        ("nope",),
        "POST /v0/sql",
        b"q=SELECT+job_id%2C+job_type+AS+kind%2C+status%2C+error%2C+pipe_id%2C+created_at%2C+started_at%2C+updated_at+FROM+tinybird.jobs_log"
        b"+WHERE+job_id+%3D+%27nope%27+ORDER+BY+updated_at+DESC+LIMIT+1%0AFORMAT+JSON",
        live=an_import,
        shows=lambda found, _: (found.kind, found.status) == ("import", JobStatus.DONE),
    ),
    Case(
        jobs.count_written_rows,
        ("nope",),
        "POST /v0/sql",
        b"q=SELECT+count%28%29+AS+operations%2C+sum%28written_rows%29+AS+written+FROM+tinybird.datasources_ops_log"
        b"+WHERE+job_id+%3D+%27nope%27+AND+result+%3D+%27ok%27%0AFORMAT+JSON",
        live=an_import,
        shows=lambda found, _: found == 3,
    ),
)
