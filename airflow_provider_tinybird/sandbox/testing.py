"""The sandbox in the hands of a test: rows in and out, what came in, and what goes wrong next."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from airflow_provider_tinybird.sandbox.process import SandboxError, SandboxProcess, SandboxStartError

__all__ = ["SandboxError", "SandboxJob", "SandboxStartError", "SeenRequest", "TinybirdSandbox"]

_BODY_BYTES = 4 * 1024 * 1024
_FAULTS = ("/sandbox/faults", "/sandbox/jobs")
"""Where faults of requests, and those of jobs, are asked for: a POST answers with how many there are, a DELETE drops them."""


@dataclass(frozen=True)
class SeenRequest:
    """A request as it came in.

    :param params: of the query string, without the token.
    :param status: of the answer; None while it runs, and where the connection was cut.
    """

    method: str
    path: str
    params: Mapping[str, str]
    status: int | None
    content_type: str | None
    content_encoding: str | None
    content_length: int | None


@dataclass(frozen=True)
class SandboxJob:
    """A job.

    :param kind: ``import``, ``copy``, ``delete_data``, ``populateview`` or ``sink``.
    :param status: ``waiting``, ``working``, ``done``, ``error``, ``cancelling`` or ``cancelled``.
    :param pipe: name of its pipe, if it runs one.
    :param datasource: name of the data source that it writes to, if it shows one.
    :param error: why it failed.
    :param raw: everything that the Jobs API shows of it.
    """

    id: str
    kind: str
    status: str
    pipe: str | None
    datasource: str | None
    error: str | None
    raw: Mapping[str, Any] = field(repr=False)


class TinybirdSandbox:
    """A running sandbox with a project loaded; a context manager. The fixture ``tinybird_sandbox`` is one.

    What its methods ask for meets no fault and is not among :meth:`requests`.

    :param project: directory with ``.datasource`` and ``.pipe`` files; None for an empty workspace.
    :param files: an empty directory for :meth:`serve_file`; None for a temporary one.
    :param options: further options of ``tinybird-sandbox``, such as ``["--forward", "--job-delay", "0.5"]``.
    :param deduplicate: whether rows that equal a block inserted before are dropped, as replicated tables do; the default.
    :param start_timeout: seconds until it must be ready.
    :raises SandboxStartError: it did not start: something is not installed, a file of the project is wrong, ...
    """

    def __init__(
        self,
        project: str | Path | None = None,
        *,
        files: Path | None = None,
        options: Sequence[str] = (),
        deduplicate: bool = True,
        start_timeout: float = 60,
    ) -> None:
        loads = () if project is None else ("--project", project)
        keeps = () if deduplicate else ("--no-deduplication",)
        with ExitStack() as stack:  # undone when the start fails, and by Ctrl-C too
            self.files = files or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tinybird-sandbox-")))
            self.process = stack.enter_context(
                SandboxProcess(*loads, "--files", self.files, *keeps, *options, start_timeout=start_timeout)
            )
            self._stack = stack.pop_all()

    @property
    def base_url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:40001``."""
        return self.process.base_url

    @property
    def token(self) -> str:
        """The token of the workspace's admin."""
        return self.process.token

    def connection(self, token: str | None = None, **extra: Any) -> str:
        """An Airflow connection to it as JSON, for a variable ``AIRFLOW_CONN_<ID>``.

        :param token: another one than that of the admin.
        :param extra: extras of the connection, such as ``timeout=5``.
        """
        return json.dumps(
            {"conn_type": "tinybird", "host": self.base_url, "password": token or self.token, "extra": extra}
        )

    def create_token(self, *scopes: str) -> str:
        """A token that may do only so much, until the next reset.

        :param scopes: such as ``DATASOURCES:APPEND:orders``.
        """
        made = self.process.request("POST", "/v0/tokens", {"name": " ".join(scopes), "scope": scopes})
        return str(made["token"])

    # What is there

    def query(self, sql: str, **parameters: str) -> list[dict[str, Any]]:
        """Run SQL and return its rows.

        :param sql: a SELECT, without FORMAT; may name data sources and pipes, and hold template tags after a ``%``.
        :param parameters: for the template tags.
        :raises SandboxError: it cannot be run.
        """
        # 64-bit numbers come as text unless told, and would not compare with numbers.
        body = {**parameters, "q": sql, "output_format_json_quote_64bit_integers": "0"}
        try:
            rows: list[dict[str, Any]] = self._send_json("/v0/sql", body)["data"]
        except (ValueError, TypeError, LookupError):
            raise SandboxError(f"query() returns rows: leave out FORMAT of {sql!r}") from None
        return rows

    def rows(self, datasource: str) -> list[dict[str, Any]]:
        """All rows of a data source or an endpoint, in the order of its columns; bad ones are in ``<name>_quarantine``."""
        return self.query(f"SELECT * FROM {datasource} ORDER BY ALL")  # noqa: S608 - the author of the test is trusted

    def jobs(self, *, kind: str | None = None, name: str | None = None) -> list[SandboxJob]:
        """The last 100 jobs, oldest first.

        :param name: only those of a pipe or a data source.
        """
        filters = {} if kind is None else {"kind": kind}
        jobs = [_job(shown) for shown in reversed(self.process.request("GET", "/v0/jobs", filters)["jobs"])]
        return [job for job in jobs if name in (None, job.pipe, job.datasource)]

    def requests(self, path: str = "", *, method: str | None = None) -> list[SeenRequest]:
        """The requests of this test, oldest first.

        :param path: only those whose path has this in it.
        """
        seen = [_seen(one) for one in self.process.request("GET", "/sandbox/requests")["requests"]]
        return [one for one in seen if path in one.path and method in (None, one.method)]

    # What is put there

    def insert(self, datasource: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Append rows, as the Events API takes them; also such as were inserted before.

        :param datasource: one that exists.
        :param rows: dates and other values that JSON has not are written as text.
        :return: how many.
        :raises ValueError: rows did not fit; the text has the reasons.
        """
        count = 0
        for lines in _bodies(rows):
            answer = self.process.request("POST", "/sandbox/rows", {"name": datasource}, body=b"\n".join(lines))
            if answer["quarantine_rows"] or answer["invalid_lines"]:
                raise ValueError(f"rows for '{datasource}' do not fit: {self._reasons(datasource, answer)}")
            count += len(lines)
        return count

    def serve_file(self, name: str, content: str | bytes) -> str:
        """Serve a file over HTTP, for imports by URL.

        :param name: without directories, such as ``orders.csv``.
        :return: its URL.
        """
        if Path(name).name != name:
            raise ValueError(f"the name of a file must be without directories, not '{name}'")
        (self.files / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return f"{self.base_url}/files/{name}"

    # What goes wrong

    def fail_next(
        self,
        path: str = "",
        *,
        status: int = 500,
        error: str | None = None,
        body: str | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next requests with an error; nothing is done for them.

        :param path: a regular expression, found anywhere in the path; by default each request matches.
        :param error: text of Tinybird's usual answer ``{"error": ...}``.
        :param body: the whole answer instead.
        :param headers: such as ``{"Retry-After": "2"}``.
        :param method: only requests with it.
        :param times: how many requests; each takes one away.
        """
        if not 200 <= status <= 599:
            raise ValueError(f"status must be from 200 to 599, not {status}")
        answer = body if body is not None else {"error": error or f"the test asked for {status}"}
        self._fault(path, method, times, status=status, body=answer, headers=dict(headers or {}))

    def slow_next(self, path: str = "", *, seconds: float, method: str | None = None, times: int = 1) -> None:
        """Let the next requests wait before anything is done for them; for the other parameters see :meth:`fail_next`."""
        self._fault(path, method, times, delay=seconds)

    def cut_before(self, path: str = "", *, method: str | None = None, times: int = 1) -> None:
        """Close the connection of the next requests: nothing was done. For the parameters see :meth:`fail_next`."""
        self._fault(path, method, times, cut="before")

    def cut_after(self, path: str = "", *, method: str | None = None, times: int = 1) -> None:
        """Close the connection of the next requests after all was done: the answer is lost. For the parameters see :meth:`fail_next`."""
        self._fault(path, method, times, cut="after")

    def fail_job(self, name: str, error: str = "the test asked for it", *, times: int = 1) -> None:
        """Let the next jobs fail without doing anything.

        :param name: of their pipe, or of the data source that they write to.
        :param error: what they say.
        """
        self._plan(name, times, error=error)

    def cancel_job(self, name: str, *, times: int = 1) -> None:
        """Let somebody else cancel the next jobs as soon as they work; for the parameters see :meth:`fail_job`."""
        self._plan(name, times, cancel=True)

    def lose_rows(self, name: str, *, rows: int, times: int = 1) -> None:
        """Let the next imports leave out rows without an error, so that only their counts tell.

        :param name: of the data source.
        :param rows: how many are lost of each.
        """
        self._plan(name, times, lose=rows)

    def slow_job(self, name: str, *, seconds: float, times: int = 1) -> None:
        """Let the next jobs wait, and work, so much longer; for the parameters see :meth:`fail_job`."""
        self._plan(name, times, delay=seconds)

    def hang_job(
        self,
        name: str,
        status: Literal["waiting", "working"] = "working",
        *,
        ignores_cancel: bool = False,
        times: int = 1,
    ) -> None:
        """Let the next jobs stay in a status until :meth:`release_jobs`, a cancel, or the end of the test.

        :param ignores_cancel: a cancel leaves them ``cancelling``. For the other parameters see :meth:`fail_job`.
        """
        self._plan(name, times, hold=status, stubborn=ignores_cancel)

    def release_jobs(self, name: str | None = None) -> None:
        """Let jobs that hang go on, and drop what was to happen to the next ones.

        :param name: only those of a pipe or a data source.
        """
        self.process.request("DELETE", "/sandbox/jobs", None if name is None else {"name": name})

    def faults_left(self) -> int:
        """How many of the faults asked for are not used up: a test that expects one to happen should end with none."""
        return sum(sum(self._send_json(path, []).values()) for path in _FAULTS)

    def clear_faults(self) -> None:
        """Drop what was to go wrong, and let jobs that hang go on."""
        for path in _FAULTS:
            self.process.request("DELETE", path)

    def advance_clock(self, seconds: float) -> None:
        """Put the sandbox's clock forward: jobs are older by that, and the window of a rate limit is over, until the next reset."""
        self._send_json("/sandbox/clock", {"advance": seconds})

    # From test to test

    def reset(self) -> None:
        """Be as after the start: no rows, jobs, requests, faults and files, and the project loaded. Takes milliseconds."""
        self.process.reset()
        for path in self.files.iterdir():
            path.unlink()

    def stop(self) -> None:
        """Stop it; its data is gone."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _fault(self, path: str, method: str | None, times: int, **fault: Any) -> None:
        _check_times(times)
        fault |= {"match": {"path": path, "method": method}, "times": times}
        self._send_json("/sandbox/faults", fault)

    def _plan(self, name: str, times: int, **course: Any) -> None:
        _check_times(times)
        self._send_json("/sandbox/jobs", {"name": name, "times": times, **course})

    def _send_json(self, path: str, body: Any) -> Any:
        return self.process.request("POST", path, body=json.dumps(body).encode(), content_type="application/json")

    def _reasons(self, datasource: str, answer: Mapping[str, Any]) -> str:
        bad = f"{datasource}_quarantine WHERE c__import_id = '{answer['import_id']}'"
        pairs = "arrayJoin(arrayZip(c__error_column, c__error)) AS pair"
        found = self.query(f"SELECT DISTINCT {pairs}, pair.1 AS column, pair.2 AS reason FROM {bad} LIMIT 5")  # noqa: S608
        reasons = "".join(f"\n  {row['column']}: {row['reason']}" for row in found)
        return f"{answer['quarantine_rows']} in quarantine, {answer['invalid_lines']} unreadable{reasons}"


def _check_times(times: int) -> None:
    if times < 1:
        raise ValueError(f"times must be 1 or more, not {times}")


def _bodies(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size = 0
    for row in rows:
        line = json.dumps(row, default=str).encode()
        if lines and size + len(line) > _BODY_BYTES:
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield lines


def _seen(shown: Mapping[str, Any]) -> SeenRequest:
    return SeenRequest(
        method=shown["method"],
        path=shown["path"],
        params=dict(shown["query"]),
        status=shown["status"],
        content_type=shown["content_type"],
        content_encoding=shown["content_encoding"],
        content_length=shown["content_length"],
    )


def _job(shown: Mapping[str, Any]) -> SandboxJob:
    datasource = shown.get("datasource")
    return SandboxJob(
        id=shown["id"],
        kind=shown["kind"],
        status=shown["status"],
        pipe=shown.get("pipe_name"),
        datasource=datasource.get("name") if isinstance(datasource, Mapping) else datasource,
        error=shown.get("error"),
        raw=shown,
    )
