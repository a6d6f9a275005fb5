# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""Materialized pipes: real materialized views, which the engine feeds with every insert."""

from __future__ import annotations

import graphlib
from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe
from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.engine.engine import DATABASE, Written
from airflow_provider_tinybird.sandbox.engine.tables import drop_table, qualified, swapped_in
from airflow_provider_tinybird.sandbox.workspace.compose import Composer
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox, checked


@dataclass(frozen=True)
class View:
    """A materialized node.

    :param target: the data source that it fills.
    """

    pipe: Pipe
    node: NodeFile
    target: str

    @property
    def table(self) -> str:
        """The engine's name of the view; users' names hold no dot."""
        return f".view_{self.pipe.name}.{self.node.name}"


def views_of(pipe: Pipe) -> list[View]:
    """The materialized nodes of a pipe."""
    return [
        View(pipe, node, node.settings.get("datasource", ""))
        for node in pipe.nodes
        if node.kind is NodeKind.MATERIALIZED
    ]


def create_views(box: Sandbox, pipe: Pipe) -> None:
    """Make the views of a pipe, which has none yet; rows that are there already do not go through them.

    :raises ApiError: 404, when the data source to fill does not exist.
    :raises EngineError: when the engine refuses the query.
    """
    for view in views_of(pipe):
        target = box.workspace.datasource(view.target)
        select = checked(box, Composer(box.workspace, {}).pipe(pipe, view.node))
        box.engine.run(f"CREATE MATERIALIZED VIEW {qualified(view.table)} TO {qualified(target.name)} AS {select}")


def drop_views(box: Sandbox, pipe: Pipe) -> None:
    """Drop the views of a pipe; the rows that they made stay."""
    for view in views_of(pipe):
        drop_table(box.engine, view.table)


def source_of(box: Sandbox, view: View) -> DataSource:
    """The data source whose inserts feed a view.

    :raises ApiError: 404, when it was dropped.
    """
    return box.workspace.datasource(_source_name(box, view) or view.table)


def _source_name(box: Sandbox, view: View) -> str | None:
    rows = box.engine.rows(
        f"SELECT name FROM system.tables WHERE database = {literal(DATABASE)} AND has(dependencies_table, {literal(view.table)})"
    )
    return rows[0]["name"] if rows else None


def views_below(box: Sandbox, datasource: DataSource) -> list[View]:
    """Views that a data source feeds, directly or through others, nearest first."""
    fed = {
        row["name"]: row["views"]
        for row in box.engine.rows(
            f"SELECT name, dependencies_table AS views FROM system.tables WHERE database = {literal(DATABASE)}"
        )
    }
    known = {view.table: view for view in all_views(box)}
    found: list[View] = []
    waiting = [datasource.name]
    while waiting:
        for name in fed.get(waiting.pop(0), []):
            view = known.get(name)
            if view and view not in found:
                found.append(view)
                waiting.append(view.target)
    return found


def all_views(box: Sandbox) -> list[View]:
    """The materialized nodes of all pipes."""
    return [view for pipe in box.workspace.pipes.values() for view in views_of(pipe)]


def tables_to_hold(box: Sandbox, views: list[View]) -> set[str]:
    """What has to stand still while ``rebuild`` fills the targets of views: these, and what else feeds them."""
    targets = {view.target for view in views}
    others = {_source_name(box, view) for view in all_views(box) if view.target in targets}
    return targets | {name for name in others if name}


def rebuild(box: Sandbox, views: list[View]) -> None:
    """Fill the targets of views again, each at once for its readers, and from all views into it: the rows of other sources stay.

    The caller holds ``tables_to_hold``.
    """
    targets = {view.target for view in views}
    into: dict[str, list[View]] = {name: [] for name in targets}
    sources: dict[str, set[str]] = {name: set() for name in targets}
    for view in all_views(box):
        source = _source_name(box, view)
        if view.target in targets and source:  # a view whose source was dropped has nothing to bring
            into[view.target].append(view)
            sources[view.target] |= {source} & targets
    for name in graphlib.TopologicalSorter(sources).static_order():
        with swapped_in(box.engine, box.workspace.datasource(name)) as copy:
            for view in into[name]:
                fill(box, view, copy, {})


def fill(box: Sandbox, view: View, into: str, sources: dict[str, str], marker: str | None = None) -> Written:
    """Run the query of a view over all rows of its source.

    :param into: the table to insert into.
    :param sources: queries that stand in for data sources.
    :return: what was written.
    """
    # Pipes that it reads can be others than those it was made with.
    select = checked(box, Composer(box.workspace, {}).pipe(view.pipe, view.node, sources))
    names = ", ".join(quoted(name) for name, _ in box.engine.check(select))
    return box.engine.run(f"INSERT INTO {qualified(into)} ({names}) {select}", marker)
