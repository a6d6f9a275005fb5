"""Jobs."""

from __future__ import annotations

from airflow_provider_tinybird.api import jobs
from airflow_provider_tinybird.api.errors import NotFoundError
from api_cases.case import Case

CASES = (
    Case(
        jobs.list_jobs,
        (),
        "GET /v0/jobs?kind=import&status=done&pipe_id=t_1&pipe_name=p&created_after=2026-01-01&created_before=2027-01-01",
        kw={
            "kind": "import",
            "status": "done",
            "pipe_id": "t_1",
            "pipe_name": "p",
            "created_after": "2026-01-01",
            "created_before": "2027-01-01",
        },
    ),
    Case(jobs.newest_job, ("shops",), "GET /v0/jobs?pipe_name=shops"),
    Case(
        jobs.get_job,
        ("nope",),
        "GET /v0/jobs/nope?debug=blocks%2Cblock_log",
        kw={"blocks": True},
        refused=NotFoundError,
    ),
    Case(jobs.cancel_job, ("nope",), "POST /v0/jobs/nope/cancel", refused=NotFoundError),
    Case(jobs.retry_job, ("nope",), "POST /v0/jobs/nope/retry", refused=NotFoundError),
    Case(
        jobs.get_job_from_log,
        ("nope",),
        "POST /v0/sql",
        b"q=SELECT+job_id%2C+job_type+AS+kind%2C+status%2C+error%2C+pipe_id%2C+created_at%2C+started_at%2C+updated_at+FROM+tinybird.jobs_log"
        b"+WHERE+job_id+%3D+%27nope%27+ORDER+BY+updated_at+DESC+LIMIT+1%0AFORMAT+JSON",
    ),
    Case(
        jobs.count_written_rows,
        ("nope",),
        "POST /v0/sql",
        b"q=SELECT+count%28%29+AS+operations%2C+sum%28written_rows%29+AS+written+FROM+tinybird.datasources_ops_log"
        b"+WHERE+job_id+%3D+%27nope%27+AND+result+%3D+%27ok%27%0AFORMAT+JSON",
    ),
)
