"""The Jobs API."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_tinybird.sandbox.http.auth import CREATE, Token
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer
from airflow_provider_tinybird.sandbox.workspace.jobs import Job, JobStatus
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_FILTERS = ("kind", "status", "pipe_id", "pipe_name")


def list_jobs(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/jobs``: the newest first, 100 at most, of the last 48 hours."""
    call.caller.require(CREATE)
    params = call.params()
    filters = {key: params[key] for key in _FILTERS if params.get(key)}
    if "status" in filters and filters["status"] not in {status.value for status in JobStatus}:
        raise bad_request(
            f"status '{filters['status']}' is none: use one of {', '.join(status.value for status in JobStatus)}"
        )
    jobs = box.jobs.listed(filters, _time(params, "created_after"), _time(params, "created_before"))
    return json_answer({"jobs": [job.shown(call.base_url) for job in jobs]})


def get_job(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/jobs/{id}``; ``debug=blocks,block_log`` adds what an import did."""
    job = _job(box, call)
    return json_answer(job.shown(call.base_url, debug="block" in call.params().get("debug", "")))


def cancel_job(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/jobs/{id}/cancel``."""
    return json_answer(box.jobs.cancel(_job(box, call)).shown(call.base_url))


def retry_job(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/jobs/{id}/retry``: a new job, for an import that failed or was cancelled."""
    job = _job(box, call)
    if job.repeat is None or job.status not in (JobStatus.ERROR, JobStatus.CANCELLED):
        raise bad_request(
            f"Job {job.id} cannot be retried: it is of kind {job.kind}, and its status is {job.status.value}"
        )
    fresh, work = job.repeat()
    return json_answer(box.jobs.submit(fresh, work).shown(call.base_url))


def _job(box: Sandbox, call: Call) -> Job:
    token = call.caller
    try:
        job = box.jobs.get(call.path_values["id"])
    except ApiError:
        _require(token, None)
        raise
    _require(token, job)
    return job


def _require(token: Token, job: Job | None) -> None:
    """A token that may only append can read the imports that it started itself."""
    if job is None or job.kind != "import" or job.started_by != token.id:
        token.require(CREATE)


def _time(params: dict[str, str], name: str) -> datetime | None:
    text = params.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise bad_request(f"'{name}' must be a time such as 2026-01-31 12:00:00, not '{text}'") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
