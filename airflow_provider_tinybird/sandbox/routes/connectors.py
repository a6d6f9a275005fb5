"""Data sources that fill themselves: from buckets, which stand for the folder of ``--files``, and from Kafka, which is missing."""

from __future__ import annotations

import uuid
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource
from airflow_provider_tinybird.sandbox.engine.formats import DataFile, checked_format
from airflow_provider_tinybird.sandbox.http.auth import ADMIN, CREATE
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer, parsed_json
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.loading import Plan, load
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_STATES = ("running", "paused")
_MOST_FILES = 10


def list_connectors(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/connectors``: every connection that a data source or a sink names; ``service`` picks those of one kind."""
    call.caller.require(ADMIN)
    wanted = call.params().get("service")
    found = [one for one in _connections(box) if not wanted or one["service"] == wanted]
    return json_answer({"connectors": found})


def get_state(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/datasources/{name}/scheduling/state``."""
    return json_answer({"state": _state(box, _connected(box, call, "import_"))})


def put_state(box: Sandbox, call: Call) -> Answer:
    """``PUT /v0/datasources/{name}/scheduling/state``: JSON with ``state``."""
    datasource = _connected(box, call, "import_")
    given = parsed_json(call.body.content(), "the body must be a JSON object with state")
    state = given.get("state") if isinstance(given, dict) else None
    if state not in _STATES:
        raise bad_request(f"state {state!r} is none: use one of {', '.join(_STATES)}")
    (box.paused.add if state == "paused" else box.paused.discard)(datasource.name)
    return json_answer({"state": state})


def run_now(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{name}/scheduling/runs``: a job that appends the files of the bucket."""
    datasource = _connected(box, call, "import_")
    return json_answer(_start(box, call, datasource, None))


def sample(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{name}/sample``: a job that appends some files of the bucket."""
    datasource = _connected(box, call, "import_")
    given = parsed_json(call.body.content() or b"{}", "the body must be a JSON object")
    most = given.get("max_files", 1) if isinstance(given, dict) else None
    if not isinstance(most, int) or not 1 <= most <= _MOST_FILES:
        raise bad_request(f"'max_files' must be a number from 1 to {_MOST_FILES}, not {most!r}")
    return json_answer(_start(box, call, datasource, most))


def stop(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{name}/stop``: of a data source that is filled from Kafka."""
    box.paused.add(_connected(box, call, "kafka_").name)
    return Answer(200)


def start(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources/{name}/start``."""
    box.paused.discard(_connected(box, call, "kafka_").name)
    return Answer(200)


def _connected(box: Sandbox, call: Call, prefix: str) -> DataSource:
    """The data source of the call, which has to have a connector of a kind.

    :raises ApiError: 400, when it has none.
    """
    call.caller.require(CREATE)
    datasource = box.workspace.datasource(call.path_values["name"])
    if not any(key.startswith(prefix) for key in datasource.connector):
        kind = "a bucket" if prefix == "import_" else "Kafka"
        raise bad_request(f"Data Source '{datasource.name}' is not filled from {kind}")
    return datasource


def _state(box: Sandbox, datasource: DataSource) -> str:
    return "paused" if datasource.name in box.paused else "running"


def _start(box: Sandbox, call: Call, datasource: DataSource, most: int | None) -> dict[str, Any]:
    files = _files(box, datasource)[:most]
    job = Job(
        "import", {"datasource": {"id": datasource.id, "name": datasource.name}, "mode": "append"}, call.caller.id
    )
    job.facts["import_id"] = job.id
    form = checked_format(datasource.connector.get("import_format") or _extension(datasource))

    def work(job: Job) -> None:
        for path in files:
            job.check()
            with box.log.operation("append", datasource, job, import_id=job.id) as done:
                loaded = load(box, Plan(datasource), DataFile(path, form), job.id)
                done.appended(loaded.counts, loaded.size, loaded.counts.quarantined)
                done.blocks = loaded.blocks()
            job.blocks += done.blocks
        job.facts["stats"] = {"found_files": len(files)}

    shown = job.shown(call.base_url)
    box.jobs.submit(job, work)
    return {"id": job.id, "job_id": job.id, "job_url": shown["job_url"], "status": shown["status"], "job": shown}


def _files(box: Sandbox, datasource: DataSource) -> list[Path]:
    """Files of the folder of ``--files`` whose names fit the last part of the bucket's address."""
    root, pattern = box.options.files, PurePosixPath(_uri(datasource)).name
    if root is None:
        raise ApiError(400, "The bucket cannot be read: the sandbox has no folder that stands for it (--files)")
    return sorted(path for path in root.iterdir() if path.is_file() and fnmatch(path.name, pattern))


def _uri(datasource: DataSource) -> str:
    return datasource.connector.get("import_bucket_uri", "")


def _extension(datasource: DataSource) -> str:
    suffixes = [one.lstrip(".") for one in PurePosixPath(_uri(datasource)).suffixes if one != ".gz"]
    return suffixes[-1] if suffixes else "csv"


def _connections(box: Sandbox) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, service: str, key: str, user: dict[str, Any]) -> None:
        new = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
            "name": name,
            "service": service,
            "settings": {},
            "linkers": [],
            "sinks": [],
        }
        found.setdefault(name, new)[key].append(user)

    for one in box.workspace.datasources.values():
        if name := one.connector.get("kafka_connection_name"):
            add(name, "kafka", "linkers", _linker(one))
        if name := one.connector.get("import_connection_name"):
            add(name, _service(_uri(one)), "linkers", _linker(one))
    for pipe in box.workspace.pipes.values():
        node = pipe.node_of(NodeKind.SINK)
        if node and (name := node.settings.get("export_connection_name")):
            uri = node.settings.get("export_path") or node.settings.get("export_bucket_uri") or ""
            add(
                name,
                "kafka" if node.settings.get("export_kafka_topic") else _service(uri),
                "sinks",
                {"resource_id": pipe.id, "name": pipe.name, "settings": {"bucket_path": uri}},
            )
    return list(found.values())


def _linker(datasource: DataSource) -> dict[str, Any]:
    return {"datasource_id": datasource.id, "datasource_name": datasource.name, "settings": dict(datasource.connector)}


def _service(uri: str) -> str:
    return {"gs": "gcs", "gcs": "gcs"}.get(uri.partition("://")[0], "s3")
