# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""Materialized pipes: real materialized views, which the engine feeds with every insert."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.box import Sandbox
from airflow_provider_tinybird.sandbox.compose import Composer
from airflow_provider_tinybird.sandbox.datafile import NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.engine import DATABASE, Written
from airflow_provider_tinybird.sandbox.resources import DataSource, Pipe
from airflow_provider_tinybird.sandbox.sql import checked
from airflow_provider_tinybird.sandbox.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.tables import drop_table, qualified, swapped_in


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
    """Make the views of a pipe; rows that are there already do not go through them.

    :raises ApiError: 404, when the data source to fill does not exist.
    :raises EngineError: when the engine refuses the query.
    """
    for view in views_of(pipe):
        target = box.workspace.datasource(view.target)
        drop_table(box.engine, view.table)
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
    rows = box.engine.rows(
        f"SELECT name FROM system.tables WHERE database = {literal(DATABASE)} AND has(dependencies_table, {literal(view.table)})"
    )
    return box.workspace.datasource(rows[0]["name"] if rows else view.table)


def views_below(box: Sandbox, datasource: DataSource) -> list[View]:
    """Views that a data source feeds, directly or through others, nearest first."""
    fed = {
        row["name"]: row["views"]
        for row in box.engine.rows(
            f"SELECT name, dependencies_table AS views FROM system.tables WHERE database = {literal(DATABASE)}"
        )
    }
    known = {view.table: view for pipe in box.workspace.pipes.values() for view in views_of(pipe)}
    found: list[View] = []
    waiting = [datasource.name]
    while waiting:
        for name in fed.get(waiting.pop(0), []):
            view = known.get(name)
            if view and view not in found:
                found.append(view)
                waiting.append(view.target)
    return found


def rebuild(box: Sandbox, views: list[View]) -> None:
    """Fill the targets of views anew from their sources, each at once for its readers. The caller holds their locks."""
    for view in views:
        target = box.workspace.datasource(view.target)
        with swapped_in(box.engine, target) as copy:
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
