"""The Events API: rows as newline-delimited JSON in the body."""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from pathlib import Path

from airflow_provider_tinybird.sandbox.auth import CREATE, append_scope
from airflow_provider_tinybird.sandbox.box import Sandbox
from airflow_provider_tinybird.sandbox.errors import ApiError, bad_request, not_found
from airflow_provider_tinybird.sandbox.formats import DataFile, inferred_columns
from airflow_provider_tinybird.sandbox.resources import DataSource
from airflow_provider_tinybird.sandbox.tables import counts_of, move_bad, move_good, staged
from airflow_provider_tinybird.sandbox.web import Answer, Call, flag, json_answer

RATE_LIMIT = 100
_CHUNK = 1024 * 1024


def send_events(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/events``."""
    params = dict(call.query)
    name = params.get("name", "").strip()
    if not name:
        raise bad_request("the parameter 'name' is required: the name of a data source")
    wait = flag(params, "wait")
    known = box.workspace.find_datasource(name)
    call.caller.require(append_scope(known.name if known else name), CREATE)
    kind = params.get("format", "ndjson")
    if kind not in ("ndjson", "json"):
        raise bad_request(f"format '{kind}' is not supported: use ndjson or json")
    path = _unpacked(box, call)
    try:
        if kind == "json":
            _as_one_line(path)
        datasource = known or _create(box, call, name, path)
        good, bad = load_events(box, datasource, path)
    finally:
        path.unlink(missing_ok=True)
    return json_answer({"successful_rows": good, "quarantined_rows": bad}, 200 if wait else 202, _rate_headers())


def load_events(box: Sandbox, datasource: DataSource, path: Path) -> tuple[int, int]:
    """Load the rows of a file.

    :return: rows that fitted, and rows in quarantine; a line that is no JSON object counts, and lies, with the latter.
    """
    import_id = str(uuid.uuid4())
    with staged(box.engine, datasource, DataFile(path, "ndjson")) as stage:
        counts = counts_of(box.engine, stage)
        with box.engine.locked(datasource.name):
            if counts.good:
                move_good(box.engine, datasource, stage, datasource.name)
            if counts.quarantined + counts.invalid:
                move_bad(box.engine, datasource, stage, import_id, invalid_too=True)
    return counts.good, counts.quarantined + counts.invalid


def _unpacked(box: Sandbox, call: Call) -> Path:
    encoding = call.headers.get("content-encoding", "").strip().lower()
    limit = box.options.max_events_bytes
    path = box.spool_path()
    if encoding in ("", "identity"):
        _check_size(call.body.size, limit)
        path = call.body.keep()
    elif encoding == "gzip":
        _gunzip(call.body.path(), path, limit)
    elif encoding == "zstd":
        _check_size(call.body.size, limit)
        path = call.body.keep()  # the engine unpacks it
    else:
        raise bad_request(f"Content-Encoding '{encoding}' is not supported: use gzip or zstd")
    return path


def _gunzip(packed: Path, path: Path, limit: int) -> None:
    size = 0
    try:
        with gzip.open(packed) as source, path.open("wb") as target:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                _check_size(size, limit)
                target.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        path.unlink(missing_ok=True)
        raise bad_request(f"the body is not gzip data, as its Content-Encoding says: {error}") from None
    except ApiError:
        path.unlink(missing_ok=True)
        raise


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ApiError(413, f"The request is too large: {size} bytes or more, the limit is {limit}; send it in parts")


def _as_one_line(path: Path) -> None:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise bad_request(f"the body is not one JSON document: {error}") from None
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _create(box: Sandbox, call: Call, name: str, path: Path) -> DataSource:
    if box.options.forward:
        raise not_found("Data Source", name)
    call.caller.require(CREATE)
    with path.open("rb") as file:
        columns = inferred_columns(file.read(_CHUNK))
    datasource = DataSource(name, columns)
    box.workspace.create(datasource)
    return datasource


def _rate_headers() -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(RATE_LIMIT),
        "X-RateLimit-Remaining": str(RATE_LIMIT - 1),
        "X-RateLimit-Reset": "1",
    }
