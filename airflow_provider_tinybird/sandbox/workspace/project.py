"""A project directory into a sandbox."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from airflow_provider_tinybird.sandbox.datafiles.datafile import (
    Column,
    DatafileError,
    DatasourceFile,
    Flavor,
    NodeKind,
    PipeFile,
    Project,
    load_project,
)
from airflow_provider_tinybird.sandbox.engine.tables import drop_table, tables_of
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError
from airflow_provider_tinybird.sandbox.workspace import materialized
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.sandbox import Deployment, Sandbox, checked


def load(box: Sandbox, directory: Path) -> None:
    """Load every data source and pipe of a directory.

    :raises DatafileError: for the first file that cannot be used, naming its line.
    """
    box.project = load_project(directory, flavor_of(box))
    use(box, box.project)
    box.first_project = box.project


def flavor_of(box: Sandbox) -> Flavor:
    """The kind of workspace that the sandbox is."""
    return Flavor.FORWARD if box.options.forward else Flavor.CLASSIC


def reset(box: Sandbox) -> None:
    """Drop what was made over HTTP; what of the project was changed or dropped is as in its files again. Rows are left alone."""
    if len(box.deployments) > 1:
        box.deployments[:] = [Deployment("0", status="data_ready", live=True)]
    if box.project is not box.first_project:
        box.project = box.first_project or Project((), ())
    for pipe in list(box.workspace.pipes.values()):
        if not pipe.from_project:
            materialized.drop_views(box, pipe)
    box.workspace.forget_what_is_not_of_the_project()
    if box.project is not None and not box.workspace.is_as_in(box.project):
        for pipe in list(box.workspace.pipes.values()):
            materialized.drop_views(box, pipe)
        box.workspace.drop_what_differs_from(box.project)
        use(box, box.project)


def use(box: Sandbox, project: Project) -> None:
    """Let the workspace have the resources of a project.

    :raises DatafileError: for the first that the engine refuses.
    """
    box.workspace.load(project)
    left = tables_of(box.engine)  # by an earlier run with the same data directory
    for view in (view for file in project.pipes for view in materialized.views_of(box.workspace.pipe(file.name))):
        if view.table in left:
            drop_table(box.engine, view.table)
    waiting = list(project.pipes)
    while waiting:
        # A view can read what another one fills, and only the engine knows the columns of that where no file has them.
        failed: list[PipeFile] = []
        problems: list[DatafileError] = []
        for file in waiting:
            try:
                _load_pipe(box, file)
            except DatafileError as error:
                failed.append(file)
                problems.append(error)
        if len(failed) == len(waiting):
            raise problems[0]
        waiting = failed


def _load_pipe(box: Sandbox, file: PipeFile) -> None:
    try:
        if not box.options.forward:
            _make_targets(box, file)
        _check_targets(box, file)
        materialized.create_views(box, box.workspace.pipe(file.name))
    except (ApiError, EngineError) as error:
        materialized.drop_views(box, box.workspace.pipe(file.name))  # of several, those before the one that failed
        raise DatafileError(file.source, 1, error.text) from None


def _make_targets(box: Sandbox, file: PipeFile) -> None:
    """Make the data sources of materialized nodes that have no file, as Classic does: with the columns of the node's query."""
    pipe = box.workspace.pipe(file.name)
    for view in materialized.views_of(pipe):
        if view.target in box.workspace.datasources or box.project is None:
            continue
        select = checked(box, Composer(box.workspace, {}).pipe(pipe, view.node))
        settings = view.node.settings
        made = DatasourceFile(
            name=view.target,
            description="",
            columns=tuple(Column(name, kind) for name, kind in box.engine.check(select)),
            engine=settings.get("engine") or "MergeTree",
            engine_options={
                key.removeprefix("engine_"): value
                for key, value in settings.items()
                if key.startswith("engine_") and value
            },
            forward_query=None,
            tokens=(),
            shared_with=(),
            source=file.source,
        )
        box.workspace.load(Project((made,), ()))
        box.project = replace(box.project, datasources=(*box.project.datasources, made))


def _check_targets(box: Sandbox, file: PipeFile) -> None:
    for node in file.nodes:
        key = {NodeKind.COPY: "target_datasource", NodeKind.MATERIALIZED: "datasource"}.get(node.kind)
        if key and node.settings.get(key, "") not in box.workspace.datasources:
            reason = f"node {node.name} fills the data source {node.settings.get(key)!r}, which does not exist: add its .datasource file"
            raise DatafileError(file.source, 1, reason)
