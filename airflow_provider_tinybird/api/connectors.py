"""Data sources that Tinybird fills by itself from buckets and Kafka: their schedule, samples, stop and start. Of the official command
line, not in the published reference.
"""

from __future__ import annotations

from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.encoding import pairs, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.job import submitted_job
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.api.resources import Named
from airflow_provider_tinybird.api.sending import json_body, named_list, nothing

_MOST_FILES = 10


def list_connectors(*, service: str | None = None) -> Call[tuple[Named, ...]]:
    """List the connections to other services. ``GET /v0/connectors``. Scope: ``ADMIN``.

    :param service: such as ``kafka`` or ``s3``; all by default.
    """
    return Call(
        what="list the connectors",
        method="GET",
        path="/v0/connectors",
        params=pairs({"service": service}),
        read=lambda reply: named_list(reply, "connectors"),
        repeat=Repeat.READ,
        scope="ADMIN",
    )


def sync_now(datasource: str) -> Call[None]:
    """Fetch what is new in the bucket now. ``POST /v0/datasources/{id}/scheduling/runs``. Scope: ``DATASOURCES:CREATE``.

    :param datasource: id or name.
    """
    return _post(datasource, "scheduling/runs", "sync", Repeat.ONCE)


def get_schedule(datasource: str) -> Call[str]:
    """Get whether the schedule runs. ``GET /v0/datasources/{id}/scheduling/state``.

    :param datasource: name or id of the data source.
    :return: ``running`` or ``paused``. Scope: ``DATASOURCES:CREATE``.
    """
    return Call(
        what=f"get the schedule of data source '{datasource}'",
        method="GET",
        path=f"/v0/datasources/{resource_name('data source', datasource)}/scheduling/state",
        read=lambda reply: str(reply.json_object()["state"]),
        repeat=Repeat.READ,
        scope="DATASOURCES:CREATE",
    )


def set_schedule(datasource: str, state: str) -> Call[None]:
    """Pause the schedule, or let it go on. ``PUT /v0/datasources/{id}/scheduling/state`` with JSON.

    :param datasource: name or id of the data source.
    :param state: ``running`` or ``paused``. Scope: ``DATASOURCES:CREATE``.
    """
    if state not in ("running", "paused"):
        raise InvalidInputError(f"state is {state!r}: give 'running' or 'paused'.")
    return Call(
        what=f"set the schedule of data source '{datasource}' to {state}",
        method="PUT",
        path=f"/v0/datasources/{resource_name('data source', datasource)}/scheduling/state",
        body=json_body({"state": state}),
        read=nothing,
        repeat=Repeat.IDEMPOTENT,
        scope="DATASOURCES:CREATE",
    )


def sample(datasource: str, *, max_files: int = 1, full_export: bool = False) -> Call[Job]:
    """Fetch some files of the bucket, in a branch. ``POST /v0/datasources/{name}/sample`` with JSON; Forward branches.

    :param datasource: name or id of the data source.
    :param max_files: 1 to 10.
    :param full_export: of DynamoDB: everything.
    :return: the job, not yet done. Scope: ``DATASOURCES:CREATE``.
    """
    if not 1 <= max_files <= _MOST_FILES:
        raise InvalidInputError(f"max_files is {max_files}: give 1 to {_MOST_FILES}.")
    return Call(
        what=f"sample files into data source '{datasource}'",
        method="POST",
        path=f"/v0/datasources/{resource_name('data source', datasource)}/sample",
        body=json_body({"max_files": max_files, "full_export": full_export}),
        read=submitted_job,
        repeat=Repeat.ONCE,
        scope="DATASOURCES:CREATE",
        find_out="Look for it in the jobs list (GET /v0/jobs?kind=import).",
    )


def stop_ingestion(datasource: str) -> Call[None]:
    """Stop reading from Kafka. ``POST /v0/datasources/{name}/stop``; branches and Local only. Scope: ``DATASOURCES:CREATE``.

    :param datasource: name or id of the data source.
    """
    return _post(datasource, "stop", "stop", Repeat.IDEMPOTENT)


def start_ingestion(datasource: str) -> Call[None]:
    """Read from Kafka again. ``POST /v0/datasources/{name}/start``; branches and Local only. Scope: ``DATASOURCES:CREATE``.

    :param datasource: name or id of the data source.
    """
    return _post(datasource, "start", "start", Repeat.IDEMPOTENT)


def _post(datasource: str, path: str, verb: str, repeat: Repeat) -> Call[None]:
    return Call(
        what=f"{verb} data source '{datasource}'",
        method="POST",
        path=f"/v0/datasources/{resource_name('data source', datasource)}/{path}",
        read=nothing,
        repeat=repeat,
        scope="DATASOURCES:CREATE",
        find_out="Look at the newest jobs (GET /v0/jobs?kind=import).",
    )
