"""What a case is, and what several of them are made of."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from starlette.routing import Match, Route

from airflow_provider_tinybird.api import jobs, organizations, query
from airflow_provider_tinybird.api.body import FileBody
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.models import FileFormat, Job, JobStatus
from airflow_provider_tinybird.sandbox import app

Sequence = tuple[Any, ...]
Send = Callable[[Call[Any]], Any]
CSV = b"day,shop,amount\n2026-01-01,a,1\n"


@dataclass(frozen=True)
class Case:
    """One use of one function.

    :param sent: method and target of the request.
    :param body: its body; of a multipart one a piece of it.
    :param before: what is done to the sandbox first.
    :param live: makes the arguments for the sandbox, or the whole call, where only it knows them, such as ids.
    :param shows: tells by the result, and by further calls, whether the sandbox did it.
    :param refused: the error that the sandbox answers with, where that is the point.
    """

    function: Callable[..., Call[Any]]
    arguments: Sequence
    sent: str
    body: bytes = b""
    kw: dict[str, Any] = field(default_factory=dict)
    before: tuple[Call[Any], ...] = ()
    live: Callable[[Send], Sequence | Call[Any]] | None = None
    shows: Callable[[Any, Send], object] | None = None
    refused: type[TinybirdError] | None = None

    @property
    def name(self) -> str:
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__name__}"

    @property
    def id(self) -> str:
        return f"{self.name}[{self.sent.partition('?')[0]}]"

    def call(self) -> Call[Any]:
        return self.function(*self.arguments, **self.kw)

    def call_for(self, send: Send) -> Call[Any]:
        """The call for the sandbox."""
        if self.live is None:
            return self.call()
        made = self.live(send)
        return made if isinstance(made, Call) else self.function(*made, **self.kw)

    @property
    def in_sandbox(self) -> bool:
        """Whether the sandbox has the call."""
        method, _, target = self.sent.partition(" ")
        scope = {"type": "http", "method": method, "path": target.partition("?")[0], "headers": []}
        return any(
            Route(path, lambda _: None, methods=[known]).matches(scope)[0] is Match.FULL
            for known, path, _ in app.ROUTES
        )

    @property
    def result(self) -> Any:
        """The type that the function says its call has for a result."""
        return get_args(get_type_hints(self.function)["return"])[0]


def a_file(content: bytes = CSV) -> FileBody:
    return FileBody(lambda: io.BytesIO(content), len(content), "text/csv")


def rows(send: Send, sql: str) -> list[dict[str, Any]]:
    """What a query finds now."""
    return list(send(query.sql(sql)).data)


def count(send: Send, datasource: str) -> int:
    """How many rows a data source has now."""
    return int(rows(send, f"SELECT count() AS n FROM {datasource}")[0]["n"])


def file_of(send: Send) -> str:
    """Where the sandbox serves a file of three rows."""
    return f"{send(organizations.list_regions())[0].raw['api_host']}/files/sales.csv"


def finished(job: Job, send: Send) -> Job:
    """Wait for a job to end."""
    deadline = time.monotonic() + 20
    while not (found := send(jobs.get_job(job.id))).status.is_terminal:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    assert isinstance(found, Job)
    return found


def done(job: Job, send: Send) -> bool:
    """Whether a job ends well."""
    return finished(job, send).status is JobStatus.DONE


CSV_ = {"format": FileFormat.CSV}
URL = "http://127.0.0.1:9/x.csv"
FORM_URL = b"url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv"
