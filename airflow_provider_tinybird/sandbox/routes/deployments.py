# ruff: noqa: S608 - names go into SQL through quoted()
"""``/v1/build`` and ``/v1/deploy``: another project in the place of the one that is live, of Forward workspaces.

There is one copy of the data. A deployment is checked when it comes, with empty tables in the place of those that it brings, and takes
effect, rows and all, when it is set live: until then nothing of it can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import (
    DatafileError,
    DatasourceFile,
    Flavor,
    NodeKind,
    PipeFile,
    Project,
    project_of,
)
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe, now, stamp
from airflow_provider_tinybird.sandbox.datafiles.sqltext import quoted
from airflow_provider_tinybird.sandbox.engine.tables import (
    create_statement,
    create_table,
    drop_table,
    qualified,
    scratch_name,
)
from airflow_provider_tinybird.sandbox.http.auth import DEPLOY
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request, not_found
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, all_parts, flag, json_answer
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.project import use
from airflow_provider_tinybird.sandbox.workspace.sandbox import Deployment, Sandbox, checked
from airflow_provider_tinybird.sandbox.workspace.workspace import datasource_of

_EMPTY = Project((), ())
_FIELD = "data_project://"
# A change of one of these leaves the rows as they are.
_FREE_OPTIONS = ("ttl", "settings")
Errors = list[dict[str, str]]


def build(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/build``: the project of the body, at once."""
    _check_workspace(box, call)
    with box.deploying:
        project, errors = _given(call)
        errors = errors or _problems(box, project, destructive=True)
        if errors:
            return json_answer({"result": "failed", "errors": errors})
        changes = _changes(box.project or _EMPTY, project)
        _go_live(box, project)
    return json_answer({"result": "success", "build": {"id": "", **changes, "feedback": [], "errors": []}})


def deploy(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/deploy``: the project of the body as a deployment, which a job makes ready.

    With ``check`` it is only checked, with ``auto_promote`` it is live once it is ready. What drops a data source needs
    ``allow_destructive_operations``.
    """
    _check_workspace(box, call)
    params = call.params()
    with box.deploying:
        project, errors = _given(call)
        waiting = next(
            (one for one in box.deployments if not one.live and one.status not in ("deleted", "failed")), None
        )
        if waiting and not flag(params, "check"):
            errors = [{"error": f"Deployment {waiting.id} is there already: promote or discard it first"}]
        errors = errors or _problems(box, project, flag(params, "allow_destructive_operations"))
        made = Deployment(str(len(box.deployments)), project=project, errors=errors)
        made.changes = _changes(box.project or _EMPTY, project)
        if errors:
            made.status = "failed"
            return json_answer({"result": "failed", "deployment": _shown(made)})
        if not any(made.changes.values()):
            return json_answer({"result": "no_changes", "deployment": _shown(made)})
        if flag(params, "check"):
            return json_answer({"result": "success", "deployment": _shown(made)})
        box.deployments.append(made)
        shown = _shown(made)
    _start(box, call, made, flag(params, "auto_promote"))
    return json_answer({"result": "success", "deployment": shown})


def list_deployments(box: Sandbox, call: Call) -> Answer:
    """``GET /v1/deployments``: oldest first; those that are gone on ``include_deleted``."""
    _check_workspace(box, call)
    gone = flag(call.params(), "include_deleted")
    found = [one for one in box.deployments if gone or one.status != "deleted"]
    return json_answer({"deployments": [_shown(one) for one in found]})


def get_deployment(box: Sandbox, call: Call) -> Answer:
    """``GET /v1/deployments/{id}``."""
    _check_workspace(box, call)
    return json_answer({"deployment": _shown(_deployment(box, call))})


def set_live(box: Sandbox, call: Call) -> Answer:
    """``POST /v1/deployments/{id}/set-live``: the one that was live stays until it is dropped."""
    _check_workspace(box, call)
    found = _deployment(box, call)
    with box.deploying:
        if found.live or found.status != "data_ready":
            state = "live already" if found.live else f"not ready: it is {found.status}"
            raise bad_request(f"Deployment {found.id} cannot be set live: it is {state}")
        _promote(box, found)
    return json_answer({"deployment": _shown(found)})


def discard(box: Sandbox, call: Call) -> Answer:
    """``DELETE /v1/deployments/{id}``: of one that is not live."""
    _check_workspace(box, call)
    found = _deployment(box, call)
    with box.deploying:
        if found.live:
            raise bad_request(f"Deployment {found.id} is live: set another one live first")
        _set(found, "deleted")
    return json_answer({"deployment": _shown(found)})


def _check_workspace(box: Sandbox, call: Call) -> None:
    call.caller.require(DEPLOY)
    if not box.options.forward:
        raise bad_request("Deployments are for Forward workspaces: start the sandbox with --forward")


def _deployment(box: Sandbox, call: Call) -> Deployment:
    wanted = call.path_values["id"]
    found = next((one for one in box.deployments if one.id == wanted), None)
    if found is None:
        raise not_found("Deployment", wanted)
    return found


def _given(call: Call) -> tuple[Project, Errors]:
    """The project of a body, and why it is none."""
    files = {file: text for name, file, text in all_parts(call) if name == _FIELD and file}
    try:
        return project_of(files, Flavor.FORWARD), []
    except DatafileError as error:
        return _EMPTY, [{"filename": str(error.path), "error": f"line {error.line}: {error.reason}"}]


def _start(box: Sandbox, call: Call, made: Deployment, auto_promote: bool) -> None:
    job = Job("deployment", {"deployment_id": made.id}, call.caller.id)

    def work(job: Job) -> None:
        for status in ("creating_schema", "schema_ready", "data_ready"):
            job.check()
            with box.deploying:
                if made.status == "deleted":
                    return
                _set(made, status)
        if not auto_promote:
            return
        with box.deploying:
            before = next(one for one in box.deployments if one.live)
            try:
                _promote(box, made)
            except (ApiError, EngineError, DatafileError) as error:
                made.errors.append({"error": str(error)})
                _set(made, "deleted")
                raise
            _set(before, "deleted")

    box.jobs.submit(job, work)


def _promote(box: Sandbox, made: Deployment) -> None:
    before = next(one for one in box.deployments if one.live)
    before.project = box.project
    _go_live(box, made.project or box.first_project or _EMPTY)
    before.live, made.live = False, True
    made.updated_at = now()


def _set(deployment: Deployment, status: str) -> None:
    deployment.status, deployment.updated_at = status, now()


def _shown(one: Deployment) -> dict[str, Any]:
    return {
        "id": one.id,
        "status": one.status,
        "live": one.live,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "errors": one.errors,
        "feedback": [],
        **one.changes,
    }


def _changes(old: Project, new: Project) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, before, after in (("datasource", old.datasources, new.datasources), ("pipe", old.pipes, new.pipes)):
        known = {one.name: _content(one) for one in before}
        given = {one.name: _content(one) for one in after}
        found[f"new_{kind}_names"] = [name for name in given if name not in known]
        found[f"changed_{kind}_names"] = [name for name in given if name in known and given[name] != known[name]]
        found[f"deleted_{kind}_names"] = [name for name in known if name not in given]
    connectors: dict[str, list[str]] = {
        f"{change}_data_connector_names": [] for change in ("new", "changed", "deleted")
    }
    return {**found, **connectors}


def _content(file: DatasourceFile | PipeFile) -> object:
    if isinstance(file, PipeFile):
        nodes = tuple(replace(node, settings=dict(node.settings)) for node in file.nodes)
        return replace(file, nodes=nodes, source=Path())
    plain = replace(file, engine_options=dict(file.engine_options), connector=dict(file.connector), source=Path())
    return replace(plain, forward_query=None)  # what it says is done once


def _problems(box: Sandbox, project: Project, destructive: bool) -> Errors:
    """Why a project cannot be live, as far as that can be told before."""
    gone = _changes(box.project or _EMPTY, project)["deleted_datasource_names"]
    if gone and not destructive:
        text = f"Data sources would be dropped with their rows: {', '.join(gone)}. Allow it by allow_destructive_operations"
        return [{"filename": f"{name}.datasource", "error": text} for name in gone]
    errors: Errors = []
    with _empty_tables(box, project, errors) as tables:
        pipes = {one.name: Pipe(one.name, one.nodes, one.description) for one in project.pipes}
        for file in project.pipes if not errors else ():
            try:
                _check_pipe(box, file, pipes, tables)
            except (ApiError, EngineError) as error:
                errors.append({"filename": str(file.source), "error": error.text})
    return errors


@contextmanager
def _empty_tables(box: Sandbox, project: Project, errors: Errors) -> Iterator[dict[str, str]]:
    """An empty table for each data source that is new or changes, by the name of that."""
    tables: dict[str, str] = {}
    try:
        for file in project.datasources:
            known = box.workspace.datasources.get(file.name)
            wanted = datasource_of(file, known)
            if known and _same_rows(known, wanted):
                continue
            try:
                if known:
                    _checked_move(box, known, wanted, file)
                name = scratch_name("copy")
                box.engine.run(create_statement(wanted, name))
                tables[file.name] = name
            except (ApiError, EngineError) as error:
                errors.append({"filename": str(file.source), "error": error.text})
        yield tables
    finally:
        for name in tables.values():
            drop_table(box.engine, name)


def _check_pipe(box: Sandbox, file: PipeFile, pipes: dict[str, Pipe], tables: dict[str, str]) -> None:
    known = {*tables, *box.workspace.datasources}
    for node in file.nodes:
        key = {NodeKind.COPY: "target_datasource", NodeKind.MATERIALIZED: "datasource"}.get(node.kind)
        if key and node.settings.get(key, "") not in known:
            raise bad_request(
                f"node {node.name} fills the data source {node.settings.get(key)!r}, which does not exist"
            )
    if any(node.sql.lstrip().startswith("%") for node in file.nodes):
        return  # a template can only be judged with its parameters
    query = Composer(box.workspace, {}, pipes=pipes, tables=tables).pipe(pipes[file.name])
    box.engine.check(checked(box, query))


def _same_rows(known: DataSource, wanted: DataSource) -> bool:
    return (known.columns, known.engine, dict(known.engine_options)) == (
        wanted.columns,
        wanted.engine,
        dict(wanted.engine_options),
    )


def _checked_move(box: Sandbox, known: DataSource, wanted: DataSource, file: DatasourceFile) -> str:
    """The query that brings the rows of a data source into its new schema.

    :raises ApiError: 400, when none is given and none is plain.
    :raises EngineError: when the one that is given is wrong.
    """
    if file.forward_query:
        query = f"{checked(box, file.forward_query)} FROM {qualified(known.name)}"
        given = [name for name, _ in box.engine.check(query)]
        missing = [name for name in given if name not in {column.name for column in wanted.columns}]
        if missing:
            raise bad_request(f"FORWARD_QUERY has columns that the schema has not: {', '.join(missing)}")
        return query
    types = {column.name: column.type for column in wanted.columns}
    changed = [column.name for column in known.columns if types.get(column.name) != column.type]
    keys = [
        key
        for key in {*known.engine_options, *wanted.engine_options}.difference(_FREE_OPTIONS)
        if known.engine_options.get(key) != wanted.engine_options.get(key)
    ]
    if changed or keys or known.engine != wanted.engine:
        what = ", ".join([*changed, *(f"ENGINE_{key.upper()}" for key in keys)]) or "ENGINE"
        raise bad_request(
            f"Data source '{known.name}' changes in {what}: add a FORWARD_QUERY, which brings its rows along"
        )
    listed = ", ".join(quoted(column.name) for column in known.columns)
    return f"SELECT {listed} FROM {qualified(known.name)}"


def _go_live(box: Sandbox, project: Project) -> None:
    """Let a project take the place of the one that is live; the caller has looked that it can."""
    for pipe in [one for one in box.workspace.pipes.values() if one.from_project]:
        materialized.drop_views(box, pipe)
    box.workspace.forget_of_the_project(project)
    wanted = {one.name for one in project.datasources}
    for one in [one for one in box.workspace.datasources.values() if one.from_project and one.name not in wanted]:
        with box.engine.locked(one.name):
            box.workspace.drop(one)
    for file in project.datasources:
        known = box.workspace.datasources.get(file.name)
        if known:
            new = datasource_of(file, known)
            if not _same_rows(known, new):
                _move(box, known, new, file)
            box.workspace.put_datasource(known, new)
    use(box, project)
    box.project = project


def _move(box: Sandbox, known: DataSource, new: DataSource, file: DatasourceFile) -> None:
    query = _checked_move(box, known, new, file)
    names = ", ".join(quoted(name) for name, _ in box.engine.check(query))
    copy = scratch_name("copy")
    with box.engine.locked(known.name):
        try:
            box.engine.run(create_statement(new, copy))
            box.engine.run(f"INSERT INTO {qualified(copy)} ({names}) {query}")
            box.engine.run(f"EXCHANGE TABLES {qualified(copy)} AND {qualified(known.name)}")
        finally:
            drop_table(box.engine, copy)
        drop_table(box.engine, known.quarantine)
        create_table(box.engine, new)
