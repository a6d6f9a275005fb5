"""The Events API: rows as newline-delimited JSON in the body."""

from __future__ import annotations

import gzip
import uuid
import zlib
from dataclasses import replace
from pathlib import Path

from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource
from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal
from airflow_provider_tinybird.sandbox.engine import zstd
from airflow_provider_tinybird.sandbox.engine.formats import DataFile
from airflow_provider_tinybird.sandbox.engine.inference import inferred_columns
from airflow_provider_tinybird.sandbox.engine.tables import counts_of, move_bad, move_good, staged
from airflow_provider_tinybird.sandbox.http.auth import CREATE, append_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request, of_engine
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.operations_log import EventsRequest
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

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
    done = EventsRequest(known.id if known else "", known.name if known else name, 500, call.body.size)
    try:
        headers = box.events_limit.take(known.name if known else name)
        good, bad = _receive(box, call, name, known, params.get("format", "ndjson"))
        done = replace(done, status=200 if wait else 202, rows=good, quarantined=bad)
    except (ApiError, EngineError) as error:
        done = replace(done, status=(of_engine(error) if isinstance(error, EngineError) else error).status)
        raise
    finally:
        box.log.received(done)
    return json_answer({"successful_rows": good, "quarantined_rows": bad}, done.status, headers)


def _receive(box: Sandbox, call: Call, name: str, known: DataSource | None, kind: str) -> tuple[int, int]:
    if kind not in ("ndjson", "json"):
        raise bad_request(f"format '{kind}' is not supported: use ndjson or json")
    path = _unpacked(box, call)
    try:
        if kind == "json":
            _as_one_line(box, path)
        return load_events(box, known or _create(box, call, name, path), path)
    finally:
        path.unlink(missing_ok=True)


def load_events(box: Sandbox, datasource: DataSource, path: Path) -> tuple[int, int]:
    """Load the rows of a file.

    :return: rows that fitted, and rows in quarantine; a line that is no JSON object counts, and lies, with the latter.
    """
    import_id = str(uuid.uuid4())
    file = DataFile(path, "ndjson", packing="none")
    with box.log.operation("append-hfi", datasource) as done, staged(box.engine, datasource, file) as stage:
        counts = counts_of(box.engine, stage)
        done.appended(counts, file.size, counts.quarantined + counts.invalid)
        with box.engine.locked(datasource.name):
            if counts.good:
                _insert(box, datasource, stage)
            if counts.quarantined + counts.invalid:
                move_bad(box.engine, datasource, stage, import_id, invalid_too=True)
    return counts.good, counts.quarantined + counts.invalid


def _insert(box: Sandbox, datasource: DataSource, stage: str) -> None:
    try:
        move_good(box.engine, datasource, stage, datasource.name)
    except EngineError as error:
        # The engine has written the rows by then, and nothing into the targets of its views.
        if not materialized.views_below(box, datasource):
            raise
        text = f"The rows are in Data Source '{datasource.name}', but a materialized view failed: {error.text}"
        raise ApiError(422, text) from None


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
        _unzstd(box, call.body.path(), path, limit)
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


def _unzstd(box: Sandbox, packed: Path, path: Path, limit: int) -> None:
    """Python cannot unpack it, but the engine can: without a limit, so that the headers of the blocks must tell first."""
    if zstd.may_exceed(packed, limit):
        _check_size(limit + 1, limit)
    source = f"file({literal(str(packed))}, 'RawBLOB', 'raw String', 'zstd')"
    target = f"file({literal(str(path))}, 'RawBLOB', 'raw String', 'none')"
    try:
        box.engine.run(f"INSERT INTO FUNCTION {target} SELECT raw FROM {source}")  # noqa: S608
        path.touch()  # of no rows there is no file
        _check_size(path.stat().st_size, limit)
    except EngineError:
        path.unlink(missing_ok=True)
        raise bad_request("the body is not zstd data, as its Content-Encoding says") from None
    except ApiError:
        path.unlink(missing_ok=True)
        raise


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ApiError(413, f"The request is too large: {size} bytes or more, the limit is {limit}; send it in parts")


def _as_one_line(box: Sandbox, path: Path) -> None:
    # The engine looks at it: as Python's objects a document takes thirty times its size, and deep nesting ends the stack.
    blob = f"file({literal(str(path))}, 'RawBLOB', 'raw String', 'none')"
    valid = box.engine.rows(f"SELECT isValidJSON(raw) AS valid FROM {blob}")  # noqa: S608
    if valid != [{"valid": 1}]:
        raise bad_request("the body is not one JSON document, or nested too deep")
    # Line breaks are white space between the parts of a document; inside of a text they have to be escaped.
    path.write_bytes(path.read_bytes().translate(bytes.maketrans(b"\r\n", b"  ")))


def _create(box: Sandbox, call: Call, name: str, path: Path) -> DataSource:
    if box.options.forward:
        raise ApiError(404, f'Data Source "{name}" does not exist')
    call.caller.require(CREATE)
    with path.open("rb") as file:
        columns = inferred_columns(file.read(_CHUNK))
    datasource = DataSource(name, columns)
    with box.log.operation("create", datasource):
        box.workspace.create(datasource)
    return datasource
