"""Populate: the rows that a data source holds already, through a materialized view."""

from __future__ import annotations

import math
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe
from airflow_provider_tinybird.sandbox.engine.tables import qualified, size_of
from airflow_provider_tinybird.sandbox.http.auth import PIPES_CREATE
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request, not_found
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer
from airflow_provider_tinybird.sandbox.routes.pipes import described_node
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.loading import checked_condition
from airflow_provider_tinybird.sandbox.workspace.materialized import View, fill, source_of, views_of
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_MOST_ROWS = 2_000_000


def run_populate(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/nodes/{node}/population``."""
    call.caller.require(PIPES_CREATE)
    pipe = box.workspace.pipe(call.path_values["name"])
    if box.options.forward:
        raise ApiError(
            403, "In a Forward workspace a materialized view is populated by deployments only, not over HTTP"
        )
    node = pipe.node_named(call.path_values["node"])
    if node is None:
        raise not_found("Node", call.path_values["node"])
    return json_answer({**described_node(box, pipe, node), "job": start(box, call, pipe, node, call.params())})


def start(box: Sandbox, call: Call, pipe: Pipe, node: NodeFile, params: dict[str, str]) -> dict[str, Any]:
    """Start to populate a node; the job as it is shown.

    :raises ApiError: 400, for a node that is not materialized.
    """
    view = next((one for one in views_of(pipe) if one.node.name == node.name), None)
    if view is None:
        raise bad_request(f"Node '{node.name}' is not materialized")
    source = source_of(box, view)
    rows = _rows_of_source(box, source, params)
    empty_first = flag(params, "truncate")
    target = box.workspace.datasource(view.target)
    facts = {
        "datasource": {"id": target.id, "name": target.name},
        "pipe_id": pipe.id,
        "pipe_name": pipe.name,
        "queries": [],
    }
    job = Job("populateview", facts, call.caller.id)

    def work(job: Job) -> None:
        _populate(box, view, source, target, rows, empty_first, job)

    shown = job.shown(call.base_url)
    box.jobs.submit(job, work)
    return shown


def _populate(
    box: Sandbox, view: View, source: DataSource, target: DataSource, rows: str, empty_first: bool, job: Job
) -> None:
    with box.engine.locked(target.name), box.log.operation("populateview", target, job, pipe=view.pipe) as done:
        if empty_first:
            box.engine.run(f"TRUNCATE TABLE {qualified(target.name)}")
        job.check()
        done.wrote(fill(box, view, target.name, {source.name: rows}, job.marker))
    count, size = size_of(box.engine, target.name)
    job.facts["statistics"] = {"row_count": count, "bytes": size}


def _rows_of_source(box: Sandbox, source: DataSource, params: dict[str, str]) -> str:
    """The query that stands in for the source; a subset wins over a condition, as documented."""
    everything = f"SELECT * FROM {qualified(source.name)}"  # noqa: S608
    if params.get("populate_subset"):
        try:
            share = float(params["populate_subset"])
        except ValueError:
            share = -1
        if not 0 < share < math.inf:
            raise bad_request(f"'populate_subset' must be a number above 0, not '{params['populate_subset']}'")
        return f"{everything} LIMIT {min(_MOST_ROWS, int(size_of(box.engine, source.name)[0] * share))}"
    if params.get("populate_condition"):
        return f"{everything} WHERE ({checked_condition(box, source, params['populate_condition'])}\n)"
    return everything
