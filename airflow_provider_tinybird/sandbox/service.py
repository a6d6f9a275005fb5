# ruff: noqa: S608 - everything in these statements is written here, or through quoted() and literal()
"""Service data sources: ``tinybird.jobs_log``, ``datasources_ops_log``, ``block_log``, ``pipe_stats_rt`` and ``endpoint_errors``.

Each is a view over a file of JSON lines. An insert for each operation would cost more than many an operation does, and a line that is
written survives a killed process.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.sandbox.engine import SERVICE_DATABASE, Engine, Written
from airflow_provider_tinybird.sandbox.job_log import JobLog
from airflow_provider_tinybird.sandbox.jobs import Cancelled, Job
from airflow_provider_tinybird.sandbox.resources import DataSource, Pipe, now
from airflow_provider_tinybird.sandbox.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.tables import Counts

_OPERATION_COLUMNS = (
    "timestamp DateTime, event_type String, datasource_id String, datasource_name String, result String,"
    " elapsed_time Float32, error Nullable(String), Options.Names Array(String), Options.Values Array(String),"
    " request_id String, import_id Nullable(String), job_id Nullable(String), rows Nullable(UInt64),"
    " rows_quarantine Nullable(UInt64), blocks_ids Array(String), operation_id String, read_rows UInt64, read_bytes UInt64,"
    " cpu_time Float32, memory_usage UInt64, written_rows UInt64, written_bytes UInt64, written_rows_quarantine UInt64,"
    " written_bytes_quarantine UInt64, pipe_id String, pipe_name String, release String, resource_tags Array(String)"
)
_BLOCK_COLUMNS = (
    "timestamp DateTime, request_id String, import_id String, job_id Nullable(String), source String, block_id String,"
    " status String, datasource_id String, datasource_name String, start_offset Nullable(Int64), end_offset Nullable(Int64),"
    " rows Nullable(Int32), parser Nullable(String), quarantine_lines Nullable(UInt32), empty_lines Nullable(UInt32),"
    " bytes Nullable(UInt32), processing_time Nullable(Float32), processing_error Nullable(String)"
)
_ERROR_COLUMNS = (
    "start_datetime DateTime, request_id String, pipe_id String, pipe_name String, params Nullable(String),"
    " url Nullable(String), status_code Nullable(Int32), error Nullable(String), resource_tags Array(String)"
)
_CALL_COLUMNS = (
    "start_datetime DateTime, pipe_id String, pipe_name String, token String, token_name String, duration Float32,"
    " read_bytes UInt64, read_rows UInt64, cpu_time Float32, result_rows UInt64, url Nullable(String), status_code Int32,"
    " request_id String, method String, release String, user_agent Nullable(String), client_ip Nullable(String),"
    " resource_tags Array(String), memory_usage UInt64, replica String"
)


@dataclass
class Operation:
    """Something that was done to a data source; whoever does it fills in what came of it.

    :param event: as in ``event_type``: ``append``, ``append-hfi``, ``replace``, ``delete``, ``truncate``, ``copy``, ``create``, ...
    :param rows: as documented: the rows that were inserted; of ``delete`` and ``truncate`` those that were there before, of
        ``replace`` those that are there afterwards.
    :param blocks: of an import, as the Jobs API shows them.
    """

    event: str
    datasource: DataSource
    job: Job | None = None
    import_id: str | None = None
    pipe: Pipe | None = None
    rows: int = 0
    quarantined: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    error: str | None = None
    seconds: float = 0.0
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def appended(self, counts: Counts, size: int, quarantined: int) -> None:
        """Rows got in, and others went into the quarantine.

        :param size: bytes as they came.
        """
        self.rows = self.written_rows = counts.good
        self.quarantined, self.written_bytes = quarantined, size

    def wrote(self, written: Written) -> None:
        """A statement of the engine put rows in."""
        self.rows = self.written_rows = written.rows
        self.written_bytes = written.bytes

    def line(self) -> dict[str, Any]:
        """The row of the log."""
        where = {"datasource_id": self.datasource.id, "datasource_name": self.datasource.name}
        job_id = self.job.id if self.job else None
        found: dict[str, Any] = {
            "timestamp": _time(),
            "event_type": self.event,
            **where,
            "result": "ok" if self.error is None else "error",
            "elapsed_time": round(self.seconds, 6),
            "error": self.error,
            "request_id": str(uuid.uuid4()),
            "import_id": self.import_id,
            "job_id": job_id,
            "rows": self.rows,
            "rows_quarantine": self.quarantined,
            "blocks_ids": [block["block_id"] for block in self.blocks],
            "operation_id": str(uuid.uuid4()),
            "written_rows": self.written_rows,
            "written_bytes": self.written_bytes,
            "written_rows_quarantine": self.quarantined,
            "pipe_id": self.pipe.id if self.pipe else "",
            "pipe_name": self.pipe.name if self.pipe else "",
        }
        same = {key: found[key] for key in ("timestamp", "request_id", "import_id", "job_id")}
        found["blocks"] = [{**same, **where, **_block(block, self.error)} for block in self.blocks]
        return found


@dataclass(frozen=True)
class EndpointCall:
    """A call of an endpoint.

    :param url: without the token.
    """

    pipe: Pipe
    method: str
    url: str
    params: Mapping[str, str]
    token_name: str
    token_id: str
    seconds: float
    status: int
    error: str | None
    user_agent: str | None

    def line(self) -> dict[str, Any]:
        """The row of the log."""
        return {
            "start_datetime": _time(),
            "request_id": str(uuid.uuid4()),
            "pipe_id": self.pipe.id,
            "pipe_name": self.pipe.name,
            "token": self.token_id,
            "token_name": self.token_name,
            "duration": round(self.seconds, 6),
            "url": self.url,
            "params": json.dumps(dict(self.params)),
            "parameters": dict(self.params),
            "status_code": self.status,
            "method": self.method,
            "error": self.error,
            "user_agent": self.user_agent,
        }


class ServiceLog:
    """The files, and the views over them.

    :param folder: where the files are.
    :param workspace_id: goes into the rows.
    """

    def __init__(self, engine: Engine, folder: Path, jobs: JobLog, workspace_id: str) -> None:
        self._operations = _Lines(folder / "operations.ndjson")
        self._calls = _Lines(folder / "endpoint_calls.ndjson")
        operations = _lines_table(engine, "operations", self._operations.path)
        calls = _lines_table(engine, "calls", self._calls.path)
        _view(engine, "datasources_ops_log", _select(_OPERATION_COLUMNS), operations)
        block = "SELECT arrayJoin(JSONExtractArrayRaw(line, 'blocks')) AS line"
        _view(engine, "block_log", _select(_BLOCK_COLUMNS), f"({block} FROM {operations})")
        failed = f"(SELECT line FROM {calls} WHERE JSONExtractInt(line, 'status_code') >= 400)"
        _view(engine, "endpoint_errors", _select(_ERROR_COLUMNS), failed)
        more = (
            "toUInt8(JSONExtractInt(line, 'status_code') >= 400) AS error,"
            " JSONExtract(line, 'error', 'Nullable(String)') AS error_message,"
            " JSONExtract(line, 'parameters', 'Map(String, String)') AS parameters"
        )
        _view(engine, "pipe_stats_rt", f"{_select(_CALL_COLUMNS)}, {more}", calls)
        changes = _lines_table(engine, "jobs", jobs.path)
        last = "argMax(c.line, JSONExtractUInt(c.line, 'n')) AS line"
        jobs_now = f"(SELECT {last} FROM {changes} AS c GROUP BY JSONExtractString(c.line, 'id'))"
        _view(engine, "jobs_log", _jobs_select(workspace_id), jobs_now)

    @contextmanager
    def operation(
        self,
        event: str,
        datasource: DataSource,
        job: Job | None = None,
        *,
        import_id: str | None = None,
        pipe: Pipe | None = None,
    ) -> Iterator[Operation]:
        """Log what happens inside: also when it fails."""
        found = Operation(event, datasource, job, import_id, pipe)
        started = time.monotonic()
        try:
            yield found
        except Cancelled:
            found.error = "The job was cancelled"
            raise
        except Exception as error:
            found.error = getattr(error, "text", None) or f"{type(error).__name__}: {error}"
            raise
        finally:
            found.seconds = time.monotonic() - started
            self._operations.add(found.line())

    def called(self, call: EndpointCall) -> None:
        """Log a call of an endpoint."""
        self._calls.add(call.line())

    def clear(self) -> None:
        """Empty the logs; that of the jobs is emptied with the jobs."""
        self._operations.clear()
        self._calls.clear()


class _Lines:
    """A file of JSON lines; each is written at once, so that no reader meets half of one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.touch()

    def add(self, row: Mapping[str, Any]) -> None:
        with self._lock, self.path.open("ab", buffering=0) as file:
            file.write(f"{json.dumps(row)}\n".encode())

    def clear(self) -> None:
        with self._lock:
            self.path.write_bytes(b"")


def _lines_table(engine: Engine, name: str, path: Path) -> str:
    """A table over a file of lines: a query of a user may read it, but no table function. What a killed process left half is skipped."""
    table = f"{SERVICE_DATABASE}.{quoted(f'.{name}')}"
    engine.run(f"CREATE OR REPLACE TABLE {table} (line String) ENGINE = File(LineAsString, {literal(str(path))})")
    return f"(SELECT line FROM {table} WHERE isValidJSON(line))"


def _jobs_select(workspace_id: str) -> str:
    facts = "JSONExtractRaw(line, 'facts')"
    times = ", ".join(
        f"CAST(substring(replaceOne(JSONExtract(line, '{name}', 'Nullable(String)'), 'T', ' '), 1, 23), '{kind}') AS {name}"
        for name, kind in (
            ("created_at", "DateTime64(3)"),
            ("started_at", "Nullable(DateTime64(3))"),
            ("updated_at", "DateTime64(3)"),
        )
    )
    return (
        "JSONExtractString(line, 'id') AS job_id, JSONExtract(line, 'kind', 'LowCardinality(String)') AS job_type,"
        " JSONExtract(line, 'status', 'LowCardinality(String)') AS status, JSONExtract(line, 'error', 'Nullable(String)') AS error,"
        f" {literal(workspace_id)} AS workspace_id, CAST(NULL, 'Nullable(String)') AS request_id,"
        " JSONExtract(line, 'facts', 'pipe_id', 'Nullable(String)') AS pipe_id,"
        " JSONExtract(line, 'facts', 'datasource', 'id', 'Nullable(String)') AS datasource_id,"
        f" {times}, {facts} AS job_metadata"
    )


def _columns(text: str) -> Sequence[tuple[str, str]]:
    return [tuple(part.strip().split(" ", 1)) for part in text.split(", ")]  # type: ignore[misc]


def _select(columns: str) -> str:
    return ", ".join(
        f"JSONExtract(line, {literal(name)}, {literal(kind)}) AS {quoted(name)}" for name, kind in _columns(columns)
    )


def _view(engine: Engine, name: str, select: str, source: str) -> None:
    engine.run(f"CREATE OR REPLACE VIEW {SERVICE_DATABASE}.{quoted(name)} AS SELECT {select} FROM {source}")


def _time() -> str:
    return now().strftime("%Y-%m-%d %H:%M:%S")


def _block(block: Mapping[str, Any], error: str | None) -> dict[str, Any]:
    lines = block["process_return"][0]
    return {
        "block_id": block["block_id"],
        "status": "done" if error is None else "error",
        "rows": lines["lines"],
        "parser": lines["parser"],
        "quarantine_lines": lines["quarantine"],
        "bytes": lines["bytes"],
        "processing_time": block["processing_time"],
        "processing_error": error,
    }
