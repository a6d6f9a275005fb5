"""Addresses in Tinybird's UI, and in the page of the sandbox. All of what is known of them is here.

Sure, because Tinybird's own command line prints or opens them: ``cloud.tinybird.co/<provider>/<region>/<workspace>``, the page
``/jobs`` below it, and ``cloud.tinybird.co/local/<port>/<workspace>`` for Tinybird Local.

Unsure, as no document names them: the pages ``/datasources/<name>`` and ``/pipes/<name>`` of a workspace. There is no address of a
single job or of a span of time that is known, so links to these open the page of the jobs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_tinybird.api import regions

CLOUD = "https://cloud.tinybird.co"
SANDBOX_SERVER = "tinybird-sandbox"
"""What answers of the sandbox call their server."""
SANDBOX_PAGE = "/sandbox"

_LAST_MOMENT = 4e9
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a task worked on, as far as it is known without asking anybody. It holds no secret.

    :param base_url: base URL of the API.
    :param workspace: name of the workspace, where the connection says it.
    :param datasource: name of the data source.
    :param pipe: name of the pipe.
    :param job_id: id of the job.
    :param since: moment (seconds since the epoch) at which the task began; 0 where that is not known.
    :param until: moment at which it was over; 0 while it goes on.
    :param is_sandbox: whether the server is the sandbox.
    """

    base_url: str
    workspace: str = ""
    datasource: str = ""
    pipe: str = ""
    job_id: str = ""
    since: float = 0.0
    until: float = 0.0
    is_sandbox: bool = False

    def as_xcom(self) -> dict[str, Any]:
        """Write it as small JSON, without what is not known."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if value}

    @classmethod
    def from_xcom(cls, value: object) -> Target | None:
        """Read what a task left; ``None`` for anything else, since anyone who may write XComs can leave anything there."""
        if not isinstance(value, Mapping) or not _is_http(value.get("base_url")):
            return None
        return cls(
            base_url=_text(value.get("base_url")),
            workspace=_text(value.get("workspace")),
            datasource=_text(value.get("datasource")),
            pipe=_text(value.get("pipe")),
            job_id=_text(value.get("job_id")),
            since=_moment(value.get("since")),
            until=_moment(value.get("until")),
            is_sandbox=value.get("is_sandbox") is True,
        )


def datasource_url(target: Target) -> str:
    """Address of the page of the data source; empty where there is none."""
    if not target.datasource:
        return ""
    if target.is_sandbox:
        return f"{_sandbox(target)}#datasource-{_quoted(target.datasource)}"
    return _in_workspace(target, f"/datasources/{_quoted(target.datasource)}")


def pipe_url(target: Target) -> str:
    """Address of the page of the pipe; empty where there is none."""
    if not target.pipe:
        return ""
    if target.is_sandbox:
        return f"{_sandbox(target)}#pipe-{_quoted(target.pipe)}"
    return _in_workspace(target, f"/pipes/{_quoted(target.pipe)}")


def job_url(target: Target) -> str:
    """Address of the job, or of the page of all jobs where a job has none of its own; empty where there is no job."""
    if not target.job_id:
        return ""
    if target.is_sandbox:
        return f"{_sandbox(target)}#job-{_quoted(target.job_id)}"
    return _in_workspace(target, "/jobs")


def activity_url(target: Target) -> str:
    """Address of what went on while the task ran: on the sandbox jobs and requests of that time, else the page of the jobs,
    and where the workspace is not known the UI of its region.
    """
    if target.is_sandbox:
        window = {"since": _stamp(target.since), "until": _stamp(math.ceil(target.until))}
        known = {name: value for name, value in window.items() if value}
        return f"{_sandbox(target)}{f'?{urlencode(known)}' if known else ''}#activity"
    return _in_workspace(target, "/jobs") or _ui(target)


def _in_workspace(target: Target, page: str) -> str:
    root = _ui(target)
    return f"{root}/{_quoted(target.workspace)}{page}" if root and target.workspace else ""


def _ui(target: Target) -> str:
    """Root of the UI for the server; empty for hosts that are not known, such as gateways and dedicated clusters."""
    region = regions.region_by_host(target.base_url)
    if region:
        return f"{CLOUD}/{region.provider}/{region.name}"
    parts = urlsplit(target.base_url)
    if parts.hostname in _LOCAL_HOSTS and parts.port:
        return f"{CLOUD}/local/{parts.port}"
    return ""


def _sandbox(target: Target) -> str:
    return f"{target.base_url}{SANDBOX_PAGE}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _stamp(moment: float) -> str:
    """Write a moment down to the second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def _is_http(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: object) -> float:
    """Read a moment; 0 for what is none, also beyond the calendar."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < _LAST_MOMENT else 0.0  # type: ignore[operator,arg-type]
