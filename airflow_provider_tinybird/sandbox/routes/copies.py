# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""Copy pipes: the result of a query into a data source, as a job."""

from __future__ import annotations

import uuid
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe, now
from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, quoted, split_format, statement_of
from airflow_provider_tinybird.sandbox.engine.engine import DATABASE, Written
from airflow_provider_tinybird.sandbox.engine.tables import qualified, swapped_in
from airflow_provider_tinybird.sandbox.http.auth import CREATE, PIPES_CREATE, append_scope, pipe_read_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request, of_engine
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer, needed
from airflow_provider_tinybird.sandbox.routes.pipes import cron_of, described, described_node, schedule_of
from airflow_provider_tinybird.sandbox.routes.sql import require_reads, template_parameters
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox, checked

MODES = ("append", "replace")
_OWN = ("_mode", "on_demand_compute")


def run_copy(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/copy``: the copy node, with the job in it."""
    token, params = call.caller, call.params()
    pipe, node = _copy_pipe(box, call)
    target = box.workspace.datasource(node.settings.get("target_datasource", ""))
    token.require(pipe_read_scope(pipe.name), PIPES_CREATE)
    token.require(append_scope(target.name), CREATE)
    mode = params.get("_mode") or node.settings.get("copy_mode", "append")
    if mode not in MODES:
        raise bad_request(f"'_mode' must be one of {', '.join(MODES)}, not '{mode}'")
    flag(params, "on_demand_compute")
    query = copy_query(box, pipe, node, params)
    columns = checked_columns(box, query, target)
    job = Job("copy", _facts(pipe, target, shown_query(box, query), mode), token.id)

    def work(job: Job) -> None:
        with box.log.operation("copy", target, job, pipe=pipe) as done:
            done.wrote(_write(box, target, mode, columns, query, job))

    shown = {**described_node(box, pipe, node), "job": job.shown(call.base_url)}
    box.jobs.submit(job, work)
    return json_answer(shown)


def copy_of_sql(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/sql_copy``: the result of a query into the data source of ``copy_to``, as a job; the SQL is the body."""
    token, params = call.caller, dict(call.query)
    target = box.workspace.datasource(needed(params, "copy_to"))
    token.require(append_scope(target.name), CREATE)
    text = call.body.content().decode("utf-8", errors="replace")
    statement = split_format(statement_of(text))[0]
    checked(box, statement)
    require_reads(box, token, statement)
    query = checked(box, Composer(box.workspace, {}, token).query(statement))
    columns = checked_columns(box, query, target)
    facts = {"datasource": {"id": target.id, "name": target.name}, "query_sql": query, "mode": "append"}
    job = Job("copy", facts, token.id)

    def work(job: Job) -> None:
        with box.log.operation("copy", target, job) as done:
            done.wrote(_write(box, target, "append", columns, query, job))

    shown = job.shown(call.base_url)
    box.jobs.submit(job, work)
    return json_answer({"job": {**shown, "job_id": job.id}, "id": job.id})


def pause(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/copy/pause``."""
    return _schedule(box, call, paused=True)


def resume(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/copy/resume``."""
    return _schedule(box, call, paused=False)


def cancel(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/copy/cancel``: every copy of the pipe that waits or works, and its schedule stops."""
    pipe, node = _copy_pipe(box, call)
    call.caller.require(PIPES_CREATE)
    running = [job for job in box.jobs.listed({"kind": "copy", "pipe_id": pipe.id}, None, None) if job.is_cancellable]
    for job in running:
        box.jobs.cancel(job)
    if cron_of(node) is not None:
        box.paused.add(pipe.name)
    jobs = [job.shown(call.base_url) for job in running]
    return json_answer({"id": pipe.id, "name": pipe.name, "schedule": schedule_of(box, pipe, node), "jobs": jobs})


def copy_query(box: Sandbox, pipe: Pipe, node: NodeFile, params: dict[str, str]) -> str:
    """The SELECT of a run of a pipe, rendered.

    :param params: the parameters of the request; ``job_timestamp`` is the present unless it is among them.
    """
    parameters = {key: value for key, value in template_parameters(params).items() if key not in _OWN}
    parameters.setdefault("job_timestamp", now().strftime("%Y-%m-%d %H:%M:%S"))
    return checked(box, Composer(box.workspace, parameters).pipe(pipe, node))


def shown_query(box: Sandbox, query: str) -> str:
    """The SELECT of a run as a job shows it: those who may see the job need not know the secrets."""
    return Composer(box.workspace, {}).without_secrets(query)


def checked_columns(box: Sandbox, query: str, target: DataSource) -> list[str]:
    """Names of the columns of a query, each of which its target has.

    :raises ApiError: 400, for SQL that is wrong, and for columns that the target lacks or that it needs.
    """
    try:
        found = [name for name, _ in box.engine.check(query)]
    except EngineError as error:
        raise of_engine(error) from None
    unknown = [name for name in found if name not in {column.name for column in target.columns}]
    if unknown:
        raise bad_request(
            f"The query has columns that the target Data Source '{target.name}' has not: {', '.join(unknown)}. "
            f"Its columns are {', '.join(column.name for column in target.columns)}"
        )
    return found


def _write(box: Sandbox, target: DataSource, mode: str, columns: list[str], query: str, job: Job) -> Written:
    engine = box.engine
    names = ", ".join(map(quoted, columns))
    if mode == "append":
        with engine.locked(target.name):
            job.check()
            before = _newest_block(box, target)
            written = engine.run(f"INSERT INTO {qualified(target.name)} ({names}) {query}", job.marker)
            if not materialized.views_below(box, target):
                return written
            # The engine's count has the rows of the views in it.
            found = _written_since(box, target, before)
            if found.rows or not written.rows:
                return found
            # Dropped as a repetition: they count as written all the same.
            rows = engine.scalar(f"SELECT count() AS n FROM ({query})")
            return Written(min(rows, written.rows), written.bytes)
    views = materialized.views_below(box, target)
    with engine.locked(target.name, *materialized.tables_to_hold(box, views)):
        with swapped_in(engine, target) as copy:
            job.check()
            written = engine.run(f"INSERT INTO {qualified(copy)} ({names}) {query}", job.marker)
            job.commit()
        materialized.rebuild(box, views)
    return written


def _newest_block(box: Sandbox, target: DataSource) -> int:
    return int(box.engine.scalar(f"SELECT toInt64(max(max_block_number)) AS n FROM {_parts(target)}"))


def _written_since(box: Sandbox, target: DataSource, block: int) -> Written:
    """Rows of the parts that inserts made, whether or not they are merged by now."""
    row = box.engine.rows(
        "SELECT toUInt64(sum(rows)) AS n, toUInt64(sum(data_uncompressed_bytes)) AS size"
        f" FROM {_parts(target)} AND level = 0 AND min_block_number > {block}"
    )[0]
    return Written(row["n"], row["size"])


def _parts(target: DataSource) -> str:
    return f"system.parts WHERE database = {literal(DATABASE)} AND table = {literal(target.name)}"


def _facts(pipe: Pipe, target: DataSource, query: str, mode: str) -> dict[str, Any]:
    return {
        "datasource": {"id": target.id, "name": target.name},
        "pipe_id": pipe.id,
        "pipe_name": pipe.name,
        "query_id": str(uuid.uuid4()),
        "query_sql": query,
        "mode": mode,
    }


def _copy_pipe(box: Sandbox, call: Call) -> tuple[Pipe, NodeFile]:
    token = call.caller
    try:
        pipe = box.workspace.pipe(call.path_values["name"])
    except ApiError:
        token.require(PIPES_CREATE, pipe_read_scope(call.path_values["name"]))
        raise
    node = pipe.node_of(NodeKind.COPY)
    if node is None:
        raise bad_request(f"Pipe '{pipe.name}' is not a copy pipe: its type is {pipe.type}")
    return pipe, node


def _schedule(box: Sandbox, call: Call, paused: bool) -> Answer:
    pipe, node = _copy_pipe(box, call)
    call.caller.require(PIPES_CREATE)
    if cron_of(node) is None:
        raise bad_request(f"Pipe '{pipe.name}' has no schedule to {'pause' if paused else 'resume'}")
    (box.paused.add if paused else box.paused.discard)(pipe.name)
    return json_answer({**described(box, pipe, call.base_url), "schedule": schedule_of(box, pipe, node)})
