"""Pipes API: call endpoints; run copies, sinks and populates; pause and resume copy schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from airflow_provider_tinybird.api.body import form
from airflow_provider_tinybird.api.call import Call, JsonObject, Repeat, Reply
from airflow_provider_tinybird.api.encoding import LONGEST_QUERY_STRING, Pairs, pairs, pipe_parameters, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.job import node_job
from airflow_provider_tinybird.api.models import EndpointFormat, Job, Pipe, QueryResult, RawResult
from airflow_provider_tinybird.api.query import (
    MOST_IN_MEMORY,
    QUERY_TIMEOUT,
    bad_text,
    read_bad_text,
    read_query_result,
)
from airflow_provider_tinybird.api.sqltext import select_from

T = TypeVar("T")

# Before it answers, Tinybird resolves and checks the copy's query: up to 30 s, 60 s for table functions.
_START_TIMEOUT = 90.0


class CopyMode(StrEnum):
    """What a copy does with the rows of its target."""

    APPEND = "append"
    REPLACE = "replace"


def list_pipes(
    *, dependencies: bool = False, attrs: Sequence[str] | None = None, node_attrs: Sequence[str] | None = None
) -> Call[tuple[Pipe, ...]]:
    """List the pipes that the token can read. ``GET /v0/pipes``.

    :param dependencies: also what the nodes read.
    :param attrs: attributes of pipes to answer with; all of them by default.
    :param node_attrs: attributes of nodes to answer with.
    :return: the pipes. Scope: any; those that it can read are listed.
    """
    return Call(
        what="list the pipes",
        method="GET",
        path="/v0/pipes",
        params=pairs({"dependencies": dependencies or None, "attrs": attrs, "node_attrs": node_attrs}),
        read=lambda reply: tuple(read_pipe(item) for item in reply.json_object().get("pipes") or ()),
        repeat=Repeat.READ,
    )


def get_pipe(pipe: str) -> Call[Pipe]:
    """Get one pipe with its nodes. ``GET /v0/pipes/{name}``. Scope: ``PIPES:READ:<pipe>``.

    :param pipe: name or id of the pipe.
    """
    return Call(
        what=f"get pipe '{pipe}'",
        method="GET",
        path=f"/v0/pipes/{resource_name('pipe', pipe)}",
        read=one_pipe,
        repeat=Repeat.READ,
        scope=f"PIPES:READ:{pipe}",
    )


def endpoint(pipe: str, parameters: Mapping[str, object] | None = None, *, q: str | None = None) -> Call[QueryResult]:
    """Call an endpoint and get its rows. ``GET /v0/pipes/{name}.json``, or ``POST`` when the parameters are long.

    :param pipe: name of the pipe.
    :param parameters: the pipe's parameters: text, numbers, booleans, dates, times, or lists of these.
    :param q: SQL over the result, which is ``_`` in it.
    :return: rows, columns and statistics. Scope: ``PIPES:READ:<pipe>``.
    """
    return _endpoint(pipe, parameters, q, EndpointFormat.JSON, read_query_result)


def count_bad_text(
    pipe: str, columns: Sequence[str], parameters: Mapping[str, object] | None = None, *, q: str | None = None
) -> Call[dict[str, int]]:
    """Count the rows of an endpoint in which the text of a column has bytes that are not UTF-8. ``GET /v0/pipes/{name}.json``.

    :param pipe: name of the pipe.
    :param columns: names of the columns.
    :param parameters: as in :func:`endpoint`.
    :param q: as in :func:`endpoint`.
    :return: rows by column, those above 0. Scope: ``PIPES:READ:<pipe>``.
    """
    sql = select_from(bad_text(columns), q) if q else f"SELECT {bad_text(columns)} FROM _"  # noqa: S608 - quoted
    return _endpoint(pipe, parameters, sql, EndpointFormat.JSON, lambda reply: read_bad_text(reply, columns))


def endpoint_as(
    pipe: str,
    format: EndpointFormat,
    parameters: Mapping[str, object] | None = None,
    *,
    q: str | None = None,
) -> Call[RawResult]:
    """Call an endpoint and get its answer in a format, as bytes. ``GET /v0/pipes/{name}.{format}``, or ``POST``
    when the parameters are long.

    :param pipe: name or id of the pipe.
    :param format: ``csv`` has a header line, ``ndjson`` one object a line; ``prometheus`` needs columns ``name`` and
        ``value``.
    :param parameters: as in :func:`endpoint`.
    :param q: as in :func:`endpoint`.
    :return: the bytes. Scope: ``PIPES:READ:<pipe>``.
    """
    return _endpoint(pipe, parameters, q, format, lambda reply: RawResult(reply.content, format.value))


def copy(
    pipe: str,
    parameters: Mapping[str, object] | None = None,
    *,
    mode: CopyMode | None = None,
    on_demand_compute: bool = False,
) -> Call[Job]:
    """Run a copy pipe now. ``POST /v0/pipes/{name}/copy``.

    :param pipe: name of the copy pipe.
    :param parameters: the pipe's parameters; ``job_timestamp`` sets the time that the copy takes for now.
    :param mode: append to the target, or replace it; by default as the pipe is configured.
    :param on_demand_compute: run on compute of its own (paid plans); needed on each manual run, whatever the pipe's
        file says.
    :return: the copy's job, not yet done. Scopes: ``PIPES:READ:<pipe>`` and ``DATASOURCES:APPEND`` on the target.
    """
    extra = pairs({"_mode": mode.value if mode else None, "on_demand_compute": True if on_demand_compute else None})
    return _start(
        f"run copy pipe '{pipe}'",
        f"/v0/pipes/{resource_name('pipe', pipe)}/copy",
        pipe_parameters(parameters) + extra,
        # In the mode that the pipe chose, which is append where it chose none, a second run may double the rows.
        Repeat.IDEMPOTENT if mode is CopyMode.REPLACE else Repeat.ONCE,
        f"PIPES:READ:{pipe} and DATASOURCES:APPEND on its target",
        f"Look for it in the jobs list (GET /v0/jobs?kind=copy&pipe_name={pipe}).",
    )


def sink(pipe: str, parameters: Mapping[str, object] | None = None) -> Call[Job]:
    """Run a sink pipe now. ``POST /v0/pipes/{name}/sink``.

    :param pipe: name of the sink pipe.
    :param parameters: the pipe's parameters and those of its file template; for this run only also ``connection``,
        ``path``, ``file_template``, ``format``, ``compression`` and ``write_strategy``.
    :return: the sink's job, not yet done. Scope: ``PIPES:READ:<pipe>``.
    """
    return _start(
        f"run sink pipe '{pipe}'",
        f"/v0/pipes/{resource_name('pipe', pipe)}/sink",
        pipe_parameters(parameters, meant=frozenset({"format"})),
        Repeat.ONCE,
        f"PIPES:READ:{pipe}",
        f"Look for it in the jobs list (GET /v0/jobs?pipe_name={pipe}) or in tinybird.sinks_ops_log.",
    )


def populate(
    pipe: str,
    node: str,
    *,
    truncate: bool = False,
    populate_subset: float | None = None,
    populate_condition: str | None = None,
    unlink_on_populate_error: bool = False,
    on_demand_compute: bool = False,
) -> Call[Job]:
    """Fill a materialized view from what its source holds. ``POST /v0/pipes/{name}/nodes/{node}/population``; Classic
    only.

    :param pipe: name of the pipe.
    :param node: name or id of its materialized node.
    :param truncate: empty the target first, so that a second run does not double its rows.
    :param populate_subset: share of the source's rows to take, above 0 and at most 1 (2 million rows at the most); wins
        over the condition.
    :param populate_condition: SQL condition on the source's rows.
    :param unlink_on_populate_error: take the view off its source when this fails.
    :param on_demand_compute: run on compute of its own (paid plans).
    :return: the job, not yet done. Scope: ``PIPES:CREATE``.
    """
    if populate_subset is not None and not 0 < populate_subset <= 1:
        raise InvalidInputError(f"populate_subset is {populate_subset}: give a share above 0 and at most 1.")
    params = pairs(
        {
            "truncate": truncate,
            "populate_subset": populate_subset,
            "populate_condition": populate_condition,
            "unlink_on_populate_error": True if unlink_on_populate_error else None,
            "on_demand_compute": True if on_demand_compute else None,
        }
    )
    return _start(
        f"populate node '{node}' of pipe '{pipe}'",
        f"/v0/pipes/{resource_name('pipe', pipe)}/nodes/{resource_name('node', node)}/population",
        params,
        Repeat.IDEMPOTENT if truncate else Repeat.ONCE,
        "PIPES:CREATE",
        "Look for it in the jobs list (GET /v0/jobs?kind=populateview).",
    )


def pause_copy(pipe: str) -> Call[None]:
    """Stop the schedule of a copy pipe; a run that goes on ends by itself. ``POST /v0/pipes/{name}/copy/pause``.

    :param pipe: name or id of the pipe. Scope: ``PIPES:CREATE``.
    """
    return _switch(pipe, "pause")


def resume_copy(pipe: str) -> Call[None]:
    """Start the schedule of a copy pipe again. ``POST /v0/pipes/{name}/copy/resume``.

    :param pipe: name or id of the pipe. Scope: ``PIPES:CREATE``.
    """
    return _switch(pipe, "resume")


def cancel_copy(pipe: str) -> Call[None]:
    """Cancel the copies of a pipe that wait or work, whoever started them, and stop its schedule. ``POST
    /v0/pipes/{name}/copy/cancel``. To cancel one run and no other use :func:`~airflow_provider_tinybird.api.jobs.cancel_job`.

    :param pipe: name or id of the pipe. Scope: ``PIPES:CREATE``.
    """
    return _switch(pipe, "cancel")


def _endpoint(
    pipe: str,
    parameters: Mapping[str, object] | None,
    q: str | None,
    format: EndpointFormat,
    read: Callable[[Reply], T],
) -> Call[T]:
    values = pipe_parameters(parameters) + pairs({"q": q})
    by_post = len(urlencode(values)) > LONGEST_QUERY_STRING
    return Call(
        what=f"call endpoint '{pipe}'",
        method="POST" if by_post else "GET",
        path=f"/v0/pipes/{resource_name('pipe', pipe)}.{format.value}",
        params=() if by_post else values,
        body=form(values) if by_post else None,
        read=read,
        repeat=Repeat.READ,
        scope=f"PIPES:READ:{pipe}",
        min_timeout=QUERY_TIMEOUT,
        max_answer=MOST_IN_MEMORY,
        repeat_timeouts=False,
        format=format.value,
    )


def _start(what: str, path: str, params: Pairs, repeat: Repeat, scope: str, find_out: str) -> Call[Job]:
    return Call(
        what=what,
        method="POST",
        path=path,
        params=params,
        read=node_job,
        repeat=repeat,
        scope=scope,
        min_timeout=_START_TIMEOUT,
        find_out=find_out,
    )


def _switch(pipe: str, verb: str) -> Call[None]:
    return Call(
        what=f"{verb} copy pipe '{pipe}'",
        method="POST",
        path=f"/v0/pipes/{resource_name('pipe', pipe)}/copy/{verb}",
        read=lambda _: None,
        repeat=Repeat.IDEMPOTENT,
        scope="PIPES:CREATE",
    )


def one_pipe(reply: Reply) -> Pipe:
    """Read an answer that is a pipe."""
    return read_pipe(reply.json_object())


def read_pipe(body: JsonObject) -> Pipe:
    """Read a pipe."""
    return Pipe(
        id=str(body.get("id") or ""),
        name=str(body.get("name") or ""),
        type=str(body.get("type") or ""),
        nodes=tuple(str(node.get("name")) for node in body.get("nodes") or ()),
        raw=body,
    )
