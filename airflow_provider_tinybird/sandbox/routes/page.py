"""``/sandbox``: what is in the sandbox and what went on, as a page for people. It shows, and changes nothing.

It needs no token, since the sandbox listens on this machine only, so it must not be read by the pages of others: a name that somebody
points at this machine (DNS rebinding) is refused, nothing of it can be framed, and it says itself that no script may run in it. It
shows no token, wherever one may have got to.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe
from airflow_provider_tinybird.sandbox.datafiles.sqltext import quoted
from airflow_provider_tinybird.sandbox.engine.tables import qualified, size_of
from airflow_provider_tinybird.sandbox.http.errors import EngineError
from airflow_provider_tinybird.sandbox.http.faults import SeenRequest
from airflow_provider_tinybird.sandbox.http.web import Answer, Call
from airflow_provider_tinybird.sandbox.routes.page_html import STYLE, Html, details, element, join, table, with_class
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox
from airflow_provider_tinybird.sandbox.workspace.workspace import NAME

_SAMPLE_ROWS = 5
_MOST_REQUESTS = 100
_MOST_JOBS = 50
_MOST_TEXT = 120
_SHORTEST_SECRET = 8
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?\"'<>]+)\?[^\s\"'<>]*", re.IGNORECASE)
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+@", re.IGNORECASE)
_TOKEN_PATH = re.compile(r"(/v0/tokens/)[^/]+")
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class _Window:
    """The span of time that is shown; None for no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def has(self, first: datetime, last: datetime) -> bool:
        """Whether something that lasted from one moment to another touches it."""
        return (self.since is None or last >= self.since) and (self.until is None or first <= self.until)


class _Text:
    """Makes text from anywhere fit to be shown: no token, no query string of an address, not endless."""

    def __init__(self, box: Sandbox) -> None:
        secrets = [token.value for token in box.workspace.tokens()] + list(box.workspace.secrets().values())
        self._secrets = [one for one in secrets if len(one) >= _SHORTEST_SECRET]

    def __call__(self, value: Any, most: int = _MOST_TEXT) -> str:
        text = "null" if value is None else value if isinstance(value, str) else str(value)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text))
        return text if len(text) <= most else f"{text[:most]}..."


def to_page(_box: Sandbox, _call: Call) -> Answer:
    """``GET /``: the way to the page."""
    return Answer(307, headers={"Location": "/sandbox"})


def show(box: Sandbox, call: Call) -> Answer:
    """``GET /sandbox``: the page; with ``since`` and ``until`` (ISO 8601, UTC) jobs and requests of that time only."""
    params, text = call.params(), _Text(box)
    window = _Window(_moment(params.get("since")), _moment(params.get("until")))
    body = join(
        _head(box, call, text, window),
        element("h2", "Data sources"),
        join(*(_datasource(box, one, text) for one in _by_name(box.workspace.datasources))),
        element("h2", "Pipes"),
        _pipes(_by_name(box.workspace.pipes), text),
        element("h2", "Jobs", id="activity"),
        _jobs(box, window, text),
        element("h2", "Requests"),
        _requests(box.monitor.recent(), window, text),
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tinybird sandbox</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><style>{STYLE}</style></head>
<body><main>{body}</main></body></html>
"""
    return Answer(200, page.encode(), "text/html; charset=utf-8", _HEADERS)


def _head(box: Sandbox, call: Call, text: _Text, window: _Window) -> Html:
    kind = "Forward" if box.options.forward else "Classic"
    shown = [
        element("p", f"Workspace {NAME} ({kind}) at {text(call.base_url)}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    ]
    if window.since or window.until:
        bounds = (
            f"{name} {moment:%Y-%m-%d %H:%M:%S}"
            for name, moment in (("from", window.since), ("to", window.until))
            if moment
        )
        shown.append(
            element("p", f"Jobs and requests {' '.join(bounds)} UTC. ", element("a", "Show all", href="/sandbox"))
        )
    return join(element("h1", "Tinybird sandbox"), *shown)


def _datasource(box: Sandbox, datasource: DataSource, text: _Text) -> Html:
    rows, size = size_of(box.engine, datasource.name)
    bad, _ = size_of(box.engine, datasource.quarantine)
    schema = table(
        ("column", "type", "default", "JSONPath"),
        (
            (text(one.name), text(one.type), text(one.default or ""), text(one.jsonpath or ""))
            for one in datasource.columns
        ),
    )
    parts = [
        element("span", f"{rows:,} rows", class_="count"),
        element("span", f"{size:,} bytes", class_="muted"),
        element("span", f"{bad:,} in quarantine", class_="bad" if bad else "muted"),
    ]
    key = datasource.engine_options.get("sorting_key", "")
    about = f"{datasource.engine}{f', sorted by {key}' if key else ''}"
    return element(
        "section",
        element("a", id=f"datasource-{datasource.id}"),
        element("h3", text(datasource.name)),
        element("p", *parts, class_="facts"),
        element("p", text(datasource.description, 400)) if datasource.description else "",
        details(f"Schema: {len(datasource.columns)} columns, {text(about)}", schema),
        _sample(box, datasource.name, rows, "Rows", text, is_open=True),
        _sample(box, datasource.quarantine, bad, "Quarantine", text, is_open=bool(bad)),
        id=f"datasource-{datasource.name}",
    )


def _sample(box: Sandbox, name: str, rows: int, title: str, text: _Text, *, is_open: bool) -> Html:
    if not rows:
        return element("p", f"{title}: none", class_="muted")
    try:
        names = [one["name"] for one in box.engine.rows(f"DESCRIBE TABLE {qualified(name)}")]
        values = ", ".join(f"substring(toString({quoted(one)}), 1, {_MOST_TEXT + 1})" for one in names)
        select = f"SELECT [{values}] AS shown FROM {qualified(name)} LIMIT {_SAMPLE_ROWS}"  # noqa: S608 - quoted names
        found = box.engine.rows(select)
    except EngineError as error:
        return element("p", text(error.text, 400), class_="bad")
    content = ((text(value) for value in row["shown"]) for row in found)
    return details(
        f"{title}: {min(rows, _SAMPLE_ROWS)} of {rows:,}", table([text(one) for one in names], content), is_open
    )


def _pipes(pipes: Iterable[Pipe], text: _Text) -> Html:
    return join(
        *(
            element(
                "section",
                element("a", id=f"pipe-{pipe.id}"),
                element("h3", text(pipe.name), " ", element("span", pipe.type, class_="kind")),
                element("p", text(pipe.description, 400)) if pipe.description else "",
                *(
                    details(f"{text(node.name)} ({node.kind.value})", element("pre", text(node.sql, 4000)))
                    for node in pipe.nodes
                ),
                id=f"pipe-{pipe.name}",
            )
            for pipe in pipes
        )
    ) or element("p", "None.", class_="muted")


def _jobs(box: Sandbox, window: _Window, text: _Text) -> Html:
    jobs = [job for job in box.jobs.listed({}, None, None) if window.has(job.created_at, job.updated_at)][:_MOST_JOBS]
    if not jobs:
        return element("p", "None.", class_="muted")
    head = ("created", "kind", "of", "status", "waited", "worked", "rows", "id")
    return table(head, (_job(job, text) for job in jobs), ids=[f"job-{job.id}" for job in jobs])


def _job(job: Job, text: _Text) -> Iterator[str]:
    target = job.facts.get("datasource")
    name = target.get("name") if isinstance(target, dict) else target
    began, ended = job.started_at, job.updated_at if job.status.is_final else None
    yield f"{job.created_at:%H:%M:%S}"
    yield text(job.kind)
    yield text(" to ".join(str(one) for one in (job.facts.get("pipe_name"), name) if one))
    status = with_class(job.status.value, job.status.value)
    yield join(status, element("p", text(job.error, 400), class_="bad")) if job.error else status
    yield f"{(began - job.created_at).total_seconds():.1f} s" if began else ""
    yield f"{(ended - began).total_seconds():.1f} s" if began and ended else ""
    rows = job.facts.get("rows_affected")
    yield f"{rows:,}" if isinstance(rows, int) else ""
    yield with_class(job.id, "id")


def _requests(seen: Iterable[SeenRequest], window: _Window, text: _Text) -> Html:
    # Without query strings: SQL, parameters and presigned addresses belong to whoever sent them.
    found = [one for one in seen if window.has(one.at, one.at)][-_MOST_REQUESTS:]
    if not found:
        return element("p", "None.", class_="muted")
    rows = (
        (
            f"{one.at:%H:%M:%S}",
            text(one.method),
            text(_TOKEN_PATH.sub(r"\1***", one.path)),
            "" if one.content_length is None else f"{one.content_length:,}",
            with_class(
                "cut off, or runs" if one.status is None else str(one.status),
                "bad" if (one.status or 999) >= 400 else "done",
            ),
        )
        for one in reversed(found)
    )
    return table(("time", "method", "path", "bytes", "answer"), rows)


def _by_name(found: Any) -> list[Any]:
    return [found[name] for name in sorted(found)]


def _moment(given: str | None) -> datetime | None:
    """Read a bound of the window; what is none is no bound."""
    try:
        moment = datetime.fromisoformat(given or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
