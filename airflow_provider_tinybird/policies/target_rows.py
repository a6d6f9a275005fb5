# ruff: noqa: S608 - names go into SQL through identifier() and values through literal()
"""Whether rows that were written are in their data source afterwards. Every operator that writes rows passes this.

What Tinybird says it wrote is not what is there: replicated tables drop a block of rows that equals a recent one, also when its rows were
deleted since, and report it as written. So the rows of the data source are counted before and after. Rows that others add meanwhile only
make the second count larger, so they never make a task red; whether others took rows out is in Tinybird's log of operations. Nothing here
knows Airflow.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_tinybird.api import datasources, dependencies, pipes, query
from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import AccessDeniedError, TinybirdError
from airflow_provider_tinybird.api.models import Datasource, Job
from airflow_provider_tinybird.api.sqltext import identifier, literal
from airflow_provider_tinybird.api.wording import rows
from airflow_provider_tinybird.policies.deletes import TooFewRowsError
from airflow_provider_tinybird.timespans import deadlines

log = logging.getLogger(__name__)

PLAIN_ENGINES = ("MergeTree", "ReplicatedMergeTree", "SharedMergeTree")
"""Engines that keep each row that is inserted. Others merge rows away, or keep none."""

LOOKS = (0.0, 1.0, 3.0)
"""Seconds before each count of what is in: a replica, or the log of operations, may lag behind a job that is done."""

_PATIENCE = 15.0
"""Seconds that all questions before a write may take together, and again those after it: what nobody answers makes nothing red."""

_ONLY_ADD = ("append", "append-hfi", "append-kafka", "create", "populateview-queued")
"""Operations of Tinybird's log that take no rows out. A copy does where it replaces, which the log does not tell."""

_CAN_REMOVE = ("delete_data", "copy", "populateview", "import")
"""Kinds of jobs that can take rows out."""

SAME_ROWS = (
    "Most likely they equal rows that were inserted before: Tinybird's tables drop a block of rows that equals a recent one, also when its "
    "rows were deleted since, and count it as written."
)
WAYS_OUT = (
    "In place of a delete and an insert of the same rows: a replace (mode='replace', TinybirdReplaceIntervalOperator), or a truncate "
    "before the insert. Or make the rows differ each time, by a column with the time of the load (now64(3))."
)


class RowsNotThereError(TooFewRowsError):
    """Rows were written, Tinybird says, and are not in the data source. A retry would double the others, or be dropped again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was in a data source before a task wrote to it. It is small JSON, since deferrals and retries keep it.

    :param datasource: its name; empty where that is not known.
    :param rows: its rows; ``None`` where that is not known.
    :param at: when they were counted, by Tinybird's clock, in UTC.
    :param operations: ids of operations of the minutes before, of those that can take rows out; ``None`` where the log of operations
        cannot be read.
    :param why: why the rows are not known, or may already be some of those that are written.
    """

    datasource: str = ""
    rows: int | None = None
    at: str = ""
    operations: tuple[str, ...] | None = None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON."""
        return asdict(self) | {"operations": None if self.operations is None else list(self.operations)}

    @classmethod
    def from_json(cls, stored: object) -> Before:
        """Read it; what cannot be read is not known."""
        if not isinstance(stored, Mapping):
            return cls(why="the rows were not counted before it")
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        operations = known.get("operations")
        return cls(**{**known, "operations": None if operations is None else tuple(map(str, operations))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a task wrote, as far as it was told.

    :param what: what wrote it, for the begin of a sentence, such as ``Copy job 17``.
    :param rows: rows that have to be in the data source; ``None`` where that is not known.
    :param unknown: why it is not known.
    :param job_ids: the jobs that wrote, whose operations are not those of others.
    :param replaces: whether all rows that were there before made place.
    :param counts_views: whether ``rows`` may count rows of materialized views as well.
    :param then: what the reader can do in this place, beside the ways out that there always are: full sentences.
    """

    what: str
    rows: int | None
    unknown: str = "Tinybird does not say how many rows it wrote"
    job_ids: frozenset[str] = field(default_factory=frozenset)
    replaces: bool = False
    counts_views: bool = False
    then: str = "It is not retried: a retry would be dropped again, or double the rows that are in."


@dataclass(frozen=True, slots=True)
class _Operation:
    """An operation on the data source, of the log.

    :param event: what was done.
    :param job_id: by which job; empty where there was none.
    """

    id: str
    event: str
    job_id: str


def keeps_every_row(found: Datasource) -> str:
    """Tell why rows of a data source may go without being deleted; empty where they do not."""
    engine = str(found.engine.get("engine") or "")
    if not engine:
        return f"Tinybird does not say which engine '{found.name}' has"
    if engine not in PLAIN_ENGINES:
        return f"its engine {engine} merges rows away, or keeps none"
    ttl = found.engine.get("ttl") or found.raw.get("ttl")
    if ttl or re.search(r"\bTTL\b", str(found.engine.get("engine_full") or "")):
        return "it has a TTL, which takes rows out"
    return ""


def look_before(client: Client, datasource: str, *, deadline: float | None = None) -> Before:
    """Count the rows of a data source before a task writes to it. Never raises what Tinybird answers: it is then not known.

    :param deadline: moment of ``time.monotonic()`` after which nothing more is asked; by default in 15 seconds, or when the client's
        time is over.
    """
    deadline = _ends(client) if deadline is None else deadline
    try:
        return _with_operations(client, datasource, "now('UTC') - 600", deadline)[0]
    except TinybirdError as e:
        log.debug("The log of operations cannot be read: %s", e)
    try:
        return _counted(client, datasource, deadline)
    except TinybirdError as e:
        return Before(datasource=datasource, why=f"they cannot be counted: {e}")


def _ends(client: Client, *, at_least: float = 0.0) -> float:
    """Say when what is asked of a data source has to be over: soon, and no later than the task."""
    now = time.monotonic()
    return now + min(_PATIENCE, max(client.ends_at - now, at_least))


def look_before_copy(client: Client, pipe: str) -> Before:
    """Count the rows of the data source that a copy pipe, or a materialized node, writes to."""
    return _look_before_pipe(client, pipe, lambda raw: raw.get("copy_target_datasource"))


def look_before_populate(client: Client, pipe: str, node: str) -> Before:
    """Count the rows of the data source that a materialized node fills."""

    def target(raw: Mapping[str, Any]) -> Any:
        found = [one for one in raw.get("nodes") or () if node in (one.get("name"), one.get("id"))]
        return found[0].get("materialized") if found else None

    return _look_before_pipe(client, pipe, target)


def _look_before_pipe(client: Client, pipe: str, target: Callable[[Mapping[str, Any]], Any]) -> Before:
    deadline = _ends(client)
    try:
        known = target(client.send(pipes.get_pipe(pipe), deadline=deadline).raw)
        if not isinstance(known, str) or not known:
            return Before(why=f"Tinybird does not say which data source pipe '{pipe}' writes to")
        found = client.send(datasources.get_datasource(known), deadline=deadline)
    except TinybirdError as e:
        return Before(why=f"which data source pipe '{pipe}' writes to cannot be looked up: {e}")
    return look_before(client, found.name, deadline=deadline)


def judge(client: Client, before: Before, written: Written) -> None:
    """See that the rows which a task wrote are there. Where that cannot be told, a line in the log says so, and why.

    :param client: counts them.
    :param before: what was there before.
    :param written: what the task wrote.
    :raises RowsNotThereError: some are not there, and nobody took them out.
    """
    if written.rows == 0:
        return
    why = before.why if before.rows is None else "" if written.rows is not None else written.unknown
    if why or before.rows is None or written.rows is None:
        log.info("Nobody has checked whether the rows are there: %s.", why.rstrip("."))
        return
    base = 0 if written.replaces else before.rows
    others: list[_Operation] = []
    now = before
    deadline = _ends(client, at_least=deadlines.CLOSING)
    for pause in LOOKS:
        time.sleep(pause)
        try:
            now, others = _look_after(client, before, deadline)
        except TinybirdError as e:
            log.info("Nobody has checked whether the rows are there: they cannot be counted any more: %s", e)
            return
        if (now.rows or 0) - base >= written.rows:
            log.debug("%s: %d rows before, %d now.", written.what, before.rows, now.rows)
            return
    there = max(0, (now.rows or 0) - base)
    doubt = _doubt(client, before, written, others, there, deadline=deadline)
    counts = f"data source '{before.datasource}' had {rows(before.rows)} before, and has {now.rows:,} now"
    if doubt:
        log.warning(
            "%s wrote %s, and %s. Whether rows are missing cannot be told: %s.",
            *(written.what, rows(written.rows), counts, doubt.rstrip(".")),
        )
        return
    lost = written.rows - there
    missing = f"{lost:,} of them {'is' if lost == 1 else 'are'} not there"
    raise RowsNotThereError(
        f"{written.what[:1].upper()}{written.what[1:]} wrote {rows(written.rows)}, Tinybird says, and {missing}: {counts}, and nothing "
        f"else took rows out meanwhile.\n{SAME_ROWS}\n{written.then} {WAYS_OUT}"
    )


def _doubt(
    client: Client, before: Before, written: Written, others: list[_Operation], there: int, *, deadline: float
) -> str:
    """Tell what else may have made the rows fewer; empty where nothing has."""
    if before.why:
        return before.why
    try:
        reason = keeps_every_row(client.send(datasources.get_datasource(before.datasource), deadline=deadline))
    except TinybirdError as e:
        return f"its engine cannot be looked up: {e}"
    if reason:
        return reason
    if before.operations is None:
        return "this token may not read tinybird.datasources_ops_log (scope ADMIN), which tells whether others took rows out"
    if written.counts_views and there and _has_views(client, before.datasource, deadline):
        return "the rows of its materialized views may be among those that were written"
    try:
        jobs = _jobs(client, before, deadline)
    except TinybirdError as e:
        return f"the jobs cannot be listed, and one that runs may be taking rows out: {e}"
    for one in others:
        if one.job_id in written.job_ids or (one.event == "copy" and _only_adds(jobs.get(one.job_id))):
            continue
        return f"an operation '{one.event}' took place meanwhile{f' (job {one.job_id})' if one.job_id else ''}"
    for job in jobs.values():
        if job.id not in written.job_ids and not job.status.is_terminal and not _only_adds(job):
            return f"{job} is under way"
    return ""


def _only_adds(job: Job | None) -> bool:
    return job is not None and job.kind in ("copy", "import") and job.raw.get("mode") == "append"


def _jobs(client: Client, before: Before, deadline: float) -> dict[str, Job]:
    """Jobs of the data source: of those that run, the log does not tell yet."""
    try:
        listed = client.send(jobs_api.list_jobs(), deadline=deadline)
    except AccessDeniedError as e:
        if not e.is_final:
            raise
        log.debug("The token may not list the jobs: %s", e)  # then what the log of operations says has to be enough
        return {}
    return {job.id: job for job in listed if job.datasource == before.datasource and job.kind in _CAN_REMOVE}


def _has_views(client: Client, datasource: str, deadline: float) -> bool:
    try:
        found = client.send(dependencies.get_dependencies(datasource=datasource), deadline=deadline).dependencies
    except TinybirdError:
        return True
    return bool(set(found) - {datasource})


def _look_after(client: Client, before: Before, deadline: float) -> tuple[Before, list[_Operation]]:
    if before.operations is None:
        return _counted(client, before.datasource, deadline), []
    # The log has whole seconds, and an operation is written to it when it is over: one that was there before is known by its id.
    since = f"toDateTime({literal(before.at)}, 'UTC') - 1"
    now, found = _with_operations(client, before.datasource, since, deadline)
    return now, [one for one in found if one.id not in before.operations]


def _counted(client: Client, datasource: str, deadline: float) -> Before:
    sql = f"SELECT count() AS n FROM {identifier(datasource)}"
    counted = query.sql(sql).then(lambda found: int(found.data[0]["n"]))
    return Before(datasource=datasource, rows=client.send(counted, deadline=deadline))


def _with_operations(client: Client, datasource: str, since: str, deadline: float) -> tuple[Before, list[_Operation]]:
    """Count the rows, and list the operations that can have taken rows out and ended since; both in one question."""
    one = "[toString(operation_id), toString(event_type), ifNull(toString(job_id), '')]"
    listed = (
        f"SELECT groupArray({one}) FROM tinybird.datasources_ops_log WHERE datasource_name = {literal(datasource)}"
        f" AND event_type NOT IN ({', '.join(map(literal, _ONLY_ADD))}) AND timestamp >= {since} - 86400"
        f" AND toUnixTimestamp(timestamp) + elapsed_time >= toUnixTimestamp({since})"
    )
    sql = f"SELECT (SELECT count() FROM {identifier(datasource)}) AS n, toString(now('UTC')) AS at, ({listed}) AS operations"
    asked = query.sql(sql).then(lambda found: _read_operations(datasource, found.data[0]))
    return client.send(asked, deadline=deadline)


def _read_operations(datasource: str, row: Mapping[str, Any]) -> tuple[Before, list[_Operation]]:
    found = [_Operation(*map(str, item)) for item in row["operations"]]
    ids = tuple(item.id for item in found)
    return Before(datasource=datasource, rows=int(row["n"]), at=str(row["at"]), operations=ids), found
