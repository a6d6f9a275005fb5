"""``POST /v0/datasources`` and the imports of v1: create, append, replace; by URL, or with the data in the body."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column, DatafileError, parse_schema
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, resource_id
from airflow_provider_tinybird.sandbox.engine.dialects import plain
from airflow_provider_tinybird.sandbox.engine.formats import DataFile, Dialect, checked_format
from airflow_provider_tinybird.sandbox.engine.inference import csv_columns
from airflow_provider_tinybird.sandbox.engine.tables import size_of
from airflow_provider_tinybird.sandbox.http.auth import CREATE, append_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, file_part, flag, json_answer, needed
from airflow_provider_tinybird.sandbox.routes.datasources import described, refuse_in_forward
from airflow_provider_tinybird.sandbox.workspace.jobs import Job, Work
from airflow_provider_tinybird.sandbox.workspace.loading import Loaded, Plan, checked_condition, load
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_MODES = ("create", "append", "replace")
MAX_BODY_BYTES = 8 * 1024 * 1024
_MOST_NEW_LINE = 2
_DOWNLOAD_CHUNK = 1024 * 1024


def post_datasources(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/datasources``: ``mode`` decides, and is ``create`` when it is missing."""
    uploaded = box.spool_path()
    try:
        params, file = _with_upload(call, uploaded)
        mode = params.get("mode", "create")
        if mode not in _MODES:
            raise bad_request(f"mode '{mode}' is not supported: use one of {', '.join(_MODES)}")
        if mode == "create":
            return _create(box, call, params, file)
        plan = _plan(box, call, needed(params, "name"), mode, params)
        if params.get("url"):
            return _by_url(box, call, plan, params)
        return _by_body(box, call, plan, params, file)
    finally:
        uploaded.unlink(missing_ok=True)


def append_rows(box: Sandbox, call: Call) -> Answer:
    """Append the NDJSON of a body, without deduplication."""
    call.caller.require(CREATE)
    plan = Plan(box.workspace.datasource(needed(call.params(), "name")), deduplicate=False)
    return _by_body(box, call, plan, {"format": "ndjson"}, call.body.path())


def append_v1(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/datasources/{name}/append``."""
    return _v1(box, call, "append")


def replace_v1(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/datasources/{name}/replace``."""
    return _v1(box, call, "replace")


def _v1(box: Sandbox, call: Call, mode: str) -> Answer:
    params = call.params()
    plan = _plan(box, call, call.path_values["name"], mode, params)
    if params.get("url"):
        return _by_url(box, call, plan, params)
    if call.body.size == 0:
        raise bad_request("there is nothing to load: give url=, or the data as the body")
    file = DataFile(call.body.keep(), checked_format(params.get("format", "csv")), _dialect(params))
    return _start(box, call, plan, mode, {"url": None}, file)


def _with_upload(call: Call, write_to: Path) -> tuple[dict[str, str], Path | None]:
    """All parameters, and the file with the data of the body, if it has any."""
    if call.content_type == "multipart/form-data":
        fields, file = file_part(call, write_to)
        return {**dict(call.query), **fields}, file
    if call.content_type == "application/x-www-form-urlencoded" or call.body.size == 0:
        return call.params(), None
    if call.body.size > MAX_BODY_BYTES:
        raise ApiError(
            413,
            f"The body is too large: {call.body.size} bytes, the limit is {MAX_BODY_BYTES}; send it as multipart, or by url",
        )
    return dict(call.query), call.body.path()


def _plan(box: Sandbox, call: Call, name: str, mode: str, params: dict[str, str]) -> Plan:
    known = box.workspace.find_datasource(name)
    shown = known.name if known else name
    call.caller.require(*((CREATE, append_scope(shown)) if mode == "append" else (CREATE,)))
    _count(box)
    if known is None and mode == "append" and call.path == "/v0/datasources":
        raise ApiError(403, f'Data Source "{name}" does not exist')
    datasource = box.workspace.datasource(name)
    condition = params.get("replace_condition")
    if mode == "append":
        return Plan(datasource)
    if condition is not None:
        if not condition.strip():
            raise bad_request("'replace_condition' is empty: leave it out to replace everything")
        condition = checked_condition(box, datasource, condition)
    return Plan(datasource, True, condition, flag(params, "replace_truncate_when_empty"))


def _count(box: Sandbox) -> None:
    """Count a call that brings data: creates, appends and replaces share one limit, as documented.

    :raises ApiError: 429.
    """
    box.imports_limit.take("workspace")


def _dialect(params: dict[str, str]) -> Dialect:
    delimiter = params.get("dialect_delimiter")
    if delimiter is not None and len(delimiter) != 1:
        raise bad_request(f"'dialect_delimiter' must be one character, not '{delimiter}'")
    escape, new_line = params.get("dialect_escapechar") or None, params.get("dialect_new_line") or None
    if escape is not None and (len(escape) != 1 or escape in (delimiter, '"', "\r", "\n")):
        raise bad_request(f"'dialect_escapechar' must be one character that has no other meaning, not '{escape}'")
    if new_line is not None and len(new_line) > _MOST_NEW_LINE:
        raise bad_request(f"'dialect_new_line' must be one or two characters, not '{new_line}'")
    return Dialect(delimiter, new_line, escape)


def _by_body(box: Sandbox, call: Call, plan: Plan, params: dict[str, str], path: Path | None) -> Answer:
    if path is None:
        raise bad_request("there is nothing to load: give url=, or the data as the body")
    job_id = Job("import", {}, call.caller.id).id
    file = DataFile(path, checked_format(params.get("format", "csv")), _dialect(params))
    loaded = _load(box, plan, file, job_id)
    answer: dict[str, Any] = {
        "datasource": described(box, plan.datasource),
        "import_id": job_id,
        "invalid_lines": loaded.counts.invalid,
        "quarantine_rows": loaded.counts.quarantined,
        "error": loaded.summary() or False,
    }
    if loaded.problems():
        answer["errors"] = loaded.problems()
    if "block" in params.get("debug", ""):
        answer["blocks"] = loaded.blocks()
    return json_answer(answer)


def _by_url(box: Sandbox, call: Call, plan: Plan, params: dict[str, str]) -> Answer:
    url = checked_url(params["url"])
    file = DataFile(box.spool_path(), checked_format(params.get("format", "csv")), _dialect(params))
    mode = "replace" if plan.replace else "append"
    return _start(box, call, plan, mode, {"url": url}, file)


def checked_url(url: str) -> str:
    """A URL that may be read.

    :raises ApiError: 400, for one that is not of HTTP: others lead into the files of this machine.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise bad_request(f"url '{url}' cannot be loaded: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise bad_request(f"url '{url}' cannot be loaded: it must start with http:// or https://")
    return url


def _start(box: Sandbox, call: Call, plan: Plan, mode: str, facts: dict[str, Any], file: DataFile) -> Answer:
    job = _job(box, call.caller.id, plan, mode, facts, file)
    shown = job.shown(call.base_url)  # before it can start, so that the answer always says "waiting"
    box.jobs.submit(job, _work(box, plan, facts["url"], file))
    same = dict.fromkeys(("id", "import_id", "job_id"), job.id)
    target = {"id": plan.datasource.id, "name": plan.datasource.name}
    return json_answer(
        {**same, "job_url": shown["job_url"], "status": shown["status"], "job": shown, "datasource": target}
    )


def _job(box: Sandbox, started_by: str, plan: Plan, mode: str, facts: dict[str, Any], file: DataFile) -> Job:
    target = {"id": plan.datasource.id, "name": plan.datasource.name}
    job = Job("import", {"mode": mode, **facts, "datasource": target}, started_by)
    job.facts["import_id"] = job.id

    def again() -> tuple[Job, Work]:
        return _job(box, started_by, plan, mode, facts, file), _work(box, plan, facts["url"], file)

    job.repeat = again
    return job


def _work(box: Sandbox, plan: Plan, url: str | None, file: DataFile) -> Work:
    def work(job: Job) -> None:
        _show_result(box, job, plan, _load(box, plan, file, job.id, job, url))
        # The file of a job that failed stays until the sandbox stops, so that the job can be retried.
        file.path.unlink(missing_ok=True)

    return work


def _load(
    box: Sandbox, plan: Plan, file: DataFile, import_id: str, job: Job | None = None, url: str | None = None
) -> Loaded:
    """Load a file, which is got from its URL first, and log it."""
    event = "replace" if plan.replace else "append"
    with box.log.operation(event, plan.datasource, job, import_id=import_id) as done:
        if job and url:
            download(box, url, file.path, job)
        if job:
            job.check()
        with plain(file, box.spool_path()) as readable:
            loaded = load(box, plan, readable, import_id, job)
        done.appended(loaded.counts, loaded.size, loaded.counts.quarantined)
        done.blocks = loaded.blocks()
        if plan.replace:
            done.rows = size_of(box.engine, plan.datasource.name)[0]
    return loaded


def _show_result(box: Sandbox, job: Job, plan: Plan, loaded: Loaded) -> None:
    rows, size = size_of(box.engine, plan.datasource.name)
    # As documented, these are of the whole data source, not of this import.
    job.facts["statistics"] = {"row_count": rows, "bytes": size}
    job.errors = loaded.problems()
    if job.course.uncounted:
        return
    job.facts["quarantine_rows"] = loaded.counts.quarantined
    job.facts["invalid_lines"] = loaded.counts.invalid
    job.blocks = loaded.blocks()


def download(box: Sandbox, url: str, path: Path, job: Job) -> None:
    """Get the file behind a URL.

    :param job: stops it when it is cancelled.
    :raises ApiError: 400, when it cannot be read to its end.
    """
    try:
        _fetch(box, url, path, job)
    except urllib.error.HTTPError as error:
        raise ApiError(
            400, f"The URL cannot be read: {url} answered {error.code} {' '.join(error.reason.split())}"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ApiError(400, f"The URL cannot be read: {url}: {error}") from None


def _fetch(box: Sandbox, url: str, path: Path, job: Job) -> None:
    seconds, most = box.options.url_timeout, box.options.max_import_bytes
    ends = time.monotonic() + seconds
    size = 0
    # The timeout of a connection is for each of its steps; a server can take them forever.
    with urllib.request.urlopen(url, timeout=seconds) as answer, path.open("wb") as file:  # noqa: S310 - checked before
        # The address of a redirect can have another scheme.
        if urlsplit(answer.url).scheme not in ("http", "https"):
            raise ApiError(400, f"The URL cannot be read: {url} leads to {answer.url}")
        while chunk := answer.read1(_DOWNLOAD_CHUNK):
            job.check()
            size += len(chunk)
            file.write(chunk)
            if size > most:
                raise ApiError(400, f"The URL cannot be read: {url} has more than {most} bytes, which is the limit")
            if time.monotonic() > ends:
                raise ApiError(400, f"The URL cannot be read: {url} does not end within {seconds:g} seconds")
        missing = answer.length
    if missing:
        raise ApiError(400, f"The URL cannot be read: {url} ended {missing} bytes too early")


def _create(box: Sandbox, call: Call, params: dict[str, str], file: Path | None) -> Answer:
    call.caller.require(CREATE)
    refuse_in_forward(box)
    name = params.get("name") or f"datasource_{resource_id()[2:10]}"
    box.workspace.check_name("data source", name)
    has_data = bool(params.get("url")) or file is not None
    if has_data:
        _count(box)
    columns = _columns(box, params, file)
    engine = params.get("engine") or "MergeTree"
    options = {
        key.removeprefix("engine_"): value for key, value in params.items() if key.startswith("engine_") and value
    }
    datasource = DataSource(name, columns, engine, options, params.get("description", ""))
    with box.log.operation("create", datasource):
        box.workspace.create(datasource)
    if params.get("url"):
        return _by_url(box, call, Plan(datasource), params)
    if file is not None:
        return _by_body(box, call, Plan(datasource), params, file)
    return json_answer({"datasource": described(box, datasource)})


def _columns(box: Sandbox, params: dict[str, str], file: Path | None) -> tuple[Column, ...]:
    """Columns for a new data source: as given, or, of CSV data, guessed."""
    if params.get("schema"):
        try:
            return parse_schema(params["schema"])
        except DatafileError as error:
            raise bad_request(f"schema: {error.reason}") from None
    if params.get("format", "csv").lower() != "csv" or not (params.get("url") or file):
        raise bad_request(
            "mode 'create' needs 'schema', which is only guessed of CSV data; to load into an existing data source give mode=append"
        )
    fetched = box.spool_path()
    try:
        if file is None:
            download(box, checked_url(params["url"]), fetched, Job("import", {}, ""))
        with plain(DataFile(file or fetched, "csv", _dialect(params)), box.spool_path()) as readable:
            return csv_columns(readable, flag(params, "type_guessing", default=True))
    finally:
        fetched.unlink(missing_ok=True)
