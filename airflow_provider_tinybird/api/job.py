"""A job: Tinybird's answer to almost everything that takes time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_tinybird.api.call import JsonObject, Reply, error_text
from airflow_provider_tinybird.api.errors import UnreadableAnswerError
from airflow_provider_tinybird.api.models import BlockCounts, Job, JobStatus


def parse_job(body: JsonObject) -> Job:
    """Read a job as ``GET /v0/jobs/{id}`` describes it.

    :raises UnreadableAnswerError: it has no id.
    """
    job_id = _first(body, "job_id", "id", "import_id")
    if not job_id:
        raise UnreadableAnswerError(
            f"Tinybird described a job without an id; it has the keys {', '.join(sorted(body)) or 'none'}."
        )
    return Job(
        id=job_id,
        kind=str(body.get("kind") or ""),
        status=JobStatus.parse(body.get("status")),
        status_text=str(body.get("status") or ""),
        created_at=parse_time(body.get("created_at")),
        started_at=parse_time(body.get("started_at")),
        updated_at=parse_time(body.get("updated_at")),
        is_cancellable=body.get("is_cancellable"),
        error=error_text(body) or ("Tinybird says only that it failed" if body.get("error") is True else ""),
        datasource=_target(body.get("datasource")),
        pipe=str(body.get("pipe_name") or body.get("pipe_id") or ""),
        mode=str(body.get("mode") or ""),
        rows_affected=body.get("rows_affected"),
        quarantine_rows=body.get("quarantine_rows"),
        invalid_lines=body.get("invalid_lines"),
        blocks=_block_counts(body.get("blocks")),
        raw={key: value for key, value in body.items() if key not in ("blocks", "block_log")},
    )


def submitted_job(reply: Reply) -> Job:
    """Read the job out of the answer to an import, a delete or a retry.

    They carry the job's id at the top, and all but the ``v1`` routes and retry a nested job as well.

    :raises UnreadableAnswerError: there is no job in it, although Tinybird answered with success.
    """
    envelope = reply.json_object()
    body = _nested_job(envelope)
    if not body:
        job_id = _first(envelope, "job_id", "id", "import_id", "delete_id")
        if not job_id:
            raise _no_job(reply, envelope)
        body = {key: value for key, value in envelope.items() if key != "job"} | {"job_id": job_id}
    body.setdefault("status", envelope.get("status") or JobStatus.WAITING.value)
    for key in ("datasource", "import_id", "delete_id", "job_url"):
        if key not in body and key in envelope:
            body[key] = envelope[key]
    return parse_job(body)


def node_job(reply: Reply) -> Job:
    """Read the job out of the answer to a copy, a sink or a populate.

    They answer with a *node*, whose ``id`` is not the job's; the job is nested in it.

    :raises UnreadableAnswerError: there is no job in it, although Tinybird answered with success.
    """
    envelope = reply.json_object()
    body = _nested_job(envelope)
    if not body:
        raise _no_job(reply, envelope)
    return parse_job({"status": JobStatus.WAITING.value, **body})


def parse_time(text: object) -> datetime | None:
    """Read a time as Tinybird writes it: ``YYYY-MM-DD HH:MM:SS[.ffffff]`` without a zone, which is taken as UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _nested_job(envelope: JsonObject) -> dict[str, Any]:
    nested = envelope.get("job")
    return {**nested} if isinstance(nested, dict) and _first(nested, "job_id", "id", "import_id") else {}


def _no_job(reply: Reply, envelope: JsonObject) -> UnreadableAnswerError:
    said = f" It says: {error_text(envelope)}." if error_text(envelope) else ""
    return UnreadableAnswerError(
        f"Tinybird accepted '{reply.what}' but its answer names no job (keys: {', '.join(sorted(envelope)) or 'none'}).{said} It may "
        "be running: look at the jobs list before running it again."
    )


def _first(body: Mapping[str, Any], *keys: str) -> str:
    return next((str(body[key]) for key in keys if body.get(key)), "")


def _target(datasource: object) -> str:
    if isinstance(datasource, dict):
        return str(datasource.get("name") or datasource.get("id") or "")
    return str(datasource or "")


def _block_counts(blocks: object) -> BlockCounts | None:
    if not isinstance(blocks, list):
        return None
    results = list(_process_returns(blocks))
    return BlockCounts(
        lines=sum(int(result.get("lines") or 0) for result in results),
        quarantined=sum(int(result.get("quarantine") or 0) for result in results),
        bytes=sum(int(result.get("bytes") or 0) for result in results),
        parts=sum(result.get("lines") is not None for result in results),
        blocks=len(blocks),
    )


def _process_returns(blocks: list[Any]) -> Iterator[JsonObject]:
    for block in blocks:
        if isinstance(block, dict):
            yield from (item for item in block.get("process_return") or () if isinstance(item, dict))
