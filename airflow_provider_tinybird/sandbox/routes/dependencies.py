"""``GET /v0/dependencies``: what hangs on a data source, and whether a replace by condition can be carried on to it."""

from __future__ import annotations

import re

from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource
from airflow_provider_tinybird.sandbox.http.auth import CREATE, PIPES_CREATE, read_scope
from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, flag, json_answer
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

Found = dict[str, list[str]]


def get_dependencies(box: Sandbox, call: Call) -> Answer:
    """``GET /v0/dependencies``: of a data source what it feeds through materialized views; else of each its readers."""
    token, params = call.caller, call.params()
    if params.get("datasource"):
        datasource = box.workspace.datasource(params["datasource"])
        token.require(read_scope(datasource.name), CREATE)
        found = _fed(box, datasource, flag(params, "recursive"))
    else:
        token.require(CREATE, PIPES_CREATE)
        found = _readers(box)
    if params.get("pipe"):
        pipe = box.workspace.pipe(params["pipe"])
        found = {name: [pipe.name] for name, pipes in found.items() if pipe.name in pipes}
    if params.get("match"):
        try:
            wanted = re.compile(params["match"])
        except re.error as error:
            raise bad_request(f"'match' is no regular expression: {error}") from None
        found = {name: pipes for name, pipes in found.items() if wanted.search(name)}
    if flag(params, "no_deps"):
        found = {name: pipes for name, pipes in found.items() if not pipes}
    incompatible: Found = {}
    if flag(params, "check_for_partial_replace") and params.get("datasource"):
        key = _partition_key(box.workspace.datasource(params["datasource"]))
        incompatible = {
            name: pipes for name, pipes in found.items() if _partition_key(box.workspace.datasource(name)) != key
        }
    compatible = {name: pipes for name, pipes in found.items() if name not in incompatible}
    return json_answer({"dependencies": compatible, "incompatible_datasources": incompatible})


def _fed(box: Sandbox, datasource: DataSource, recursive: bool) -> Found:
    found: Found = {}
    for view in materialized.views_below(box, datasource):
        if recursive or materialized.source_of(box, view).name == datasource.name:
            found.setdefault(view.target, []).append(view.pipe.name)
    return found


def _readers(box: Sandbox) -> Found:
    return {name: [pipe.name for pipe in box.workspace.readers_of(name)] for name in box.workspace.datasources}


def _partition_key(datasource: DataSource) -> str:
    text = re.sub(r"\s+", "", datasource.engine_options.get("partition_key", ""))
    return "" if text == "tuple()" else text.removeprefix("(").removesuffix(")") if text.startswith("(") else text
