"""What the service data sources tell of: operations on data sources, calls of endpoints, sinks, requests to the Events API.

Each is a line of JSON in a file, and the service data sources are views over these. An insert for each operation would cost more than many
an operation does, and a line that is written survives a killed process.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe, now
from airflow_provider_tinybird.sandbox.engine.engine import Engine, Written
from airflow_provider_tinybird.sandbox.engine.tables import Counts
from airflow_provider_tinybird.sandbox.workspace.job_log import JobLog
from airflow_provider_tinybird.sandbox.workspace.jobs import Cancelled, Job
from airflow_provider_tinybird.sandbox.workspace.service_tables import make_views


@dataclass
class Operation:
    """Something that was done to a data source; the caller fills in what came of it.

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


@dataclass
class SinkRun:
    """A run of a sink; the caller fills in what came of it.

    :param output: the files.
    """

    pipe: Pipe
    job_id: str
    options: dict[str, str]
    parameters: dict[str, str]
    output: list[str] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    read_rows: int = 0
    error: str | None = None
    seconds: float = 0.0

    def line(self) -> dict[str, Any]:
        """The row of the log."""
        return {
            "timestamp": _time(),
            "service": "local",
            "pipe_id": self.pipe.id,
            "pipe_name": self.pipe.name,
            "result": "ok" if self.error is None else "error",
            "error": self.error,
            "elapsed_time": round(self.seconds, 6),
            "job_id": self.job_id,
            "read_rows": self.read_rows,
            "written_rows": self.rows,
            "written_bytes": self.bytes,
            "output": self.output,
            "parameters": self.parameters,
            "options": self.options,
        }


@dataclass(frozen=True)
class EventsRequest:
    """A request to the Events API.

    :param size: bytes as they came.
    """

    datasource_id: str
    datasource: str
    status: int
    size: int
    rows: int = 0
    quarantined: int = 0

    def line(self) -> dict[str, Any]:
        """The row of the log."""
        return {
            "start_datetime": _time(),
            "datasource_id": self.datasource_id,
            "datasource_name": self.datasource,
            "successful_requests": int(self.status < 400),
            "error_requests": int(self.status >= 400),
            "rows_successful": self.rows,
            "rows_quarantined": self.quarantined,
            "bytes_received": self.size,
            "rate_limited": int(self.status == 429),
        }


class ServiceLog:
    """The files, and the views over them.

    :param folder: where the files are.
    :param workspace_id: goes into the rows.
    """

    def __init__(self, engine: Engine, folder: Path, jobs: JobLog, workspace_id: str) -> None:
        self._operations = _Lines(folder / "operations.ndjson")
        self._calls = _Lines(folder / "endpoint_calls.ndjson")
        self._sinks = _Lines(folder / "sinks.ndjson")
        self._events = _Lines(folder / "events.ndjson")
        self._files = (self._operations, self._calls, self._sinks, self._events)
        make_views(engine, {one.path.stem: one.path for one in self._files} | {"jobs": jobs.path}, workspace_id)

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
            found.error = _text(error)
            raise
        finally:
            found.seconds = time.monotonic() - started
            self._operations.add(found.line())

    def called(self, call: EndpointCall) -> None:
        """Log a call of an endpoint."""
        self._calls.add(call.line())

    @contextmanager
    def sink(
        self, pipe: Pipe, job: Job, options: Mapping[str, str], parameters: Mapping[str, str]
    ) -> Iterator[SinkRun]:
        """Log a run of a sink: also when it fails."""
        found = SinkRun(pipe, job.id, dict(options), dict(parameters))
        started = time.monotonic()
        try:
            yield found
        except Exception as error:
            found.error = "The job was cancelled" if isinstance(error, Cancelled) else _text(error)
            raise
        finally:
            found.seconds = time.monotonic() - started
            self._sinks.add(found.line())

    def received(self, request: EventsRequest) -> None:
        """Log a request to the Events API."""
        self._events.add(request.line())

    def clear(self) -> None:
        """Empty the logs; that of the jobs is emptied with the jobs."""
        for file in self._files:
            file.clear()


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


def _text(error: Exception) -> str:
    return getattr(error, "text", None) or f"{type(error).__name__}: {error}"


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
