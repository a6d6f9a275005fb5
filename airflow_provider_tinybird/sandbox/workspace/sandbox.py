"""The sandbox as one value: what every handler works with."""

from __future__ import annotations

import fcntl
import shutil
import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import Project
from airflow_provider_tinybird.sandbox.datafiles.sqltext import check_readable
from airflow_provider_tinybird.sandbox.engine.engine import Engine
from airflow_provider_tinybird.sandbox.engine.tables import drop_scratch, remember_blocks
from airflow_provider_tinybird.sandbox.http.auth import Token
from airflow_provider_tinybird.sandbox.http.clock import now
from airflow_provider_tinybird.sandbox.http.faults import Monitor
from airflow_provider_tinybird.sandbox.http.limits import EVENTS_PER_SECOND, IMPORTS_PER_MINUTE, RateLimit
from airflow_provider_tinybird.sandbox.workspace.job_log import JobLog
from airflow_provider_tinybird.sandbox.workspace.jobs import JobQueue
from airflow_provider_tinybird.sandbox.workspace.operations_log import ServiceLog
from airflow_provider_tinybird.sandbox.workspace.workspace import Workspace


@dataclass(frozen=True)
class Options:
    """What the command line says.

    :param data: directory of the engine, the uploads on their way and the sinks.
    :param files: directory that is served at ``/files``; None for none.
    :param job_delay: seconds that a job waits, and again works, beyond what it needs.
    :param max_copies: copies that may wait or work at the same time; None for any number.
    :param forward: behave like a Forward workspace: nothing is created over HTTP.
    :param max_events_bytes: largest body of the Events API, unpacked.
    :param max_import_bytes: largest body of any other request, and largest file behind a URL.
    :param query_timeout: seconds that a query may take.
    :param url_timeout: seconds that reading a URL may take.
    :param events_per_second: requests to the Events API for each data source; None for any number.
    :param imports_per_minute: creates, appends and replaces together; None for any number.
    :param deduplicate: drop a block of rows that equals a recent one of its data source, as replicated tables do.
    :param require_content_length: refuse bodies that come in chunks.
    :param faults: JSON of what goes wrong from the start on, and again after each reset.
    """

    data: Path
    files: Path | None = None
    job_delay: float = 0.0
    max_copies: int | None = None
    forward: bool = False
    max_events_bytes: int = 10 * 1000 * 1000
    max_import_bytes: int = 10 * 1000**3
    query_timeout: float = 10.0
    url_timeout: float = 60.0
    events_per_second: int | None = None
    imports_per_minute: int | None = None
    deduplicate: bool = True
    require_content_length: bool = False
    faults: bytes | None = None


@dataclass(frozen=True)
class Branch:
    """A branch: a name and a token for the one workspace."""

    id: str
    name: str
    token: Token
    created_at: datetime


@dataclass
class Deployment:
    """A version of the project on its way to be live, live, or gone.

    :param status: ``calculating``, ``creating_schema``, ``schema_ready``, ``data_ready``, ``deleting``, ``deleted`` or ``failed``.
    :param project: what it brings; None for that which the sandbox began with.
    :param changes: names, by ``new_datasource_names`` and so on.
    """

    id: str
    status: str = "calculating"
    live: bool = False
    project: Project | None = None
    changes: dict[str, list[str]] = field(default_factory=dict)
    errors: list[dict[str, str]] = field(default_factory=list)
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)


class Sandbox:
    """Engine, workspace and jobs over one data directory.

    :raises BlockingIOError: when another process has the directory.
    :raises EngineError: when the engine cannot open it.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        options.data.mkdir(parents=True, exist_ok=True)
        # The engine refuses a second process too, but in many lines, and it would find our files changed.
        self._lock = (options.data / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.engine = Engine(options.data / "clickhouse", options.query_timeout, options.deduplicate)
        drop_scratch(self.engine)
        remember_blocks(self.engine)
        self.spool = options.data / "uploads"
        shutil.rmtree(self.spool, ignore_errors=True)
        self.spool.mkdir()
        self.sinks = options.data / "sinks"
        self.workspace = Workspace(self.engine, options.data / "workspace.json")
        job_log = JobLog(options.data / "jobs.ndjson")
        self.jobs = JobQueue(self.engine, job_log, options.job_delay, options.max_copies)
        self.log = ServiceLog(self.engine, options.data, job_log, self.workspace.id)
        self.monitor = Monitor()
        self.events_limit = RateLimit(options.events_per_second, 1, "events requests", EVENTS_PER_SECOND)
        self.imports_limit = RateLimit(options.imports_per_minute, 60, "imports", IMPORTS_PER_MINUTE)
        self._jwt_limits: dict[int, RateLimit] = {}
        self.project: Project | None = None
        self.first_project: Project | None = None
        self.deployments: list[Deployment] = [Deployment("0", status="data_ready", live=True)]
        self.deploying = threading.Lock()
        self.paused: set[str] = set()
        self.workspace_names: set[str] = set()
        self.branches: dict[str, Branch] = {}
        self.tags: dict[str, dict[str, Any]] = {}

    def jwt_limit(self, rps: int) -> RateLimit:
        """The limit of JWTs with so many requests a second."""
        return self._jwt_limits.setdefault(rps, RateLimit(rps, 1, "requests with this token", rps))

    def spool_path(self) -> Path:
        """A path for a file on its way into the engine."""
        return self.spool / uuid.uuid4().hex

    def close(self) -> None:
        """Stop the jobs, then close the engine."""
        self.jobs.close()
        self.engine.close()
        self._lock.close()


def checked(box: Sandbox, query: str) -> str:
    """A query, unless it reaches for what it must not.

    :raises ApiError: 400.
    """
    check_readable(query, box.engine.table_functions, box.engine.other_databases)
    return query
