"""One query out of many: the nodes of pipes as common table expressions around the query that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile
from airflow_provider_tinybird.sandbox.datafiles.resources import Pipe
from airflow_provider_tinybird.sandbox.datafiles.sqltext import split_format, statement_of, with_tables
from airflow_provider_tinybird.sandbox.engine.references import Reading, replaced
from airflow_provider_tinybird.sandbox.http.auth import Token
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request
from airflow_provider_tinybird.sandbox.templates.template import TemplateError, render
from airflow_provider_tinybird.sandbox.templates.types import quoted_with_wildcards
from airflow_provider_tinybird.sandbox.workspace.workspace import Workspace

RESULT = "_"
_OURS = "__of_the_workspace"


class Composer:
    """Expands pipes for one request.

    :param workspace: brings the pipes by name, and the values of the variables.
    :param parameters: values for the templates.
    :param token: brings values that its holder cannot change, and conditions on what pipes answer.
    :param pipes: instead of those of the workspace.
    :param tables: tables that stand in for data sources, by name.
    """

    def __init__(
        self,
        workspace: Workspace,
        parameters: Mapping[str, str],
        token: Token | None = None,
        pipes: Mapping[str, Pipe] | None = None,
        tables: Mapping[str, str] | None = None,
    ) -> None:
        self._fixed = token.fixed_params if token else {}
        self._filters = token.filters_of("PIPES:READ") if token else {}
        self._pipes: Mapping[str, Pipe] = workspace.pipes if pipes is None else pipes
        self._tables = dict(tables or {})
        self._secrets = workspace.secrets()
        self._references = workspace.references
        self._parameters = parameters

    def query(self, sql: str, pipeline: Pipe | None = None) -> str:
        """A caller's query, with every pipe that it names.

        :param sql: one statement, rendered.
        :param pipeline: what ``_`` stands for.
        :raises ApiError: 400, for a template that cannot be rendered.
        """
        tables = {RESULT: self.pipe(pipeline)} if pipeline else {}
        reading = self._references.of(sql, {*self._pipes, *tables})
        tables.update({name: self._other(name, ()) for name in sorted(reading.names & self._pipes.keys())})
        return _composed(tables, {}, sql, {sql: reading}, self._tables)

    def pipe(self, pipe: Pipe, node: NodeFile | None = None, tables: Mapping[str, str] | None = None) -> str:
        """A pipe as one query.

        :param node: up to which node; else its published one.
        :param tables: queries that stand in for data sources.
        """
        query = self._expand(pipe, node or pipe.output, dict(tables or {}), ())
        return query if node else self._filtered(pipe, query)

    def without_secrets(self, sql: str) -> str:
        """A rendered query as it may be shown."""
        for value in sorted(self._secrets.values(), key=len, reverse=True):
            sql = sql.replace(quoted_with_wildcards(value), "'******'")
        return sql

    def rendered(self, sql: str, pipe: str = "") -> str:
        """The SQL of a template, or the text itself when it is none."""
        if not sql.lstrip().startswith("%"):
            return sql
        try:
            return render(sql.lstrip(), {**self._parameters, **self._fixed.get(pipe, {})}, self._secrets)
        except TemplateError as error:
            raise ApiError(getattr(error, "status", 400), str(error)) from None

    def _expand(self, pipe: Pipe, node: NodeFile, tables: dict[str, str], above: Sequence[str]) -> str:
        if pipe.name in above:
            raise bad_request(f"Pipe '{pipe.name}' reads itself, by way of {' -> '.join((*above, pipe.name))}")
        nodes = {one.name: one for one in pipe.nodes}
        known = {*nodes, *tables, *self._pipes, *self._tables}
        queries: dict[str, str] = {}
        readings: dict[str, Reading] = {}

        def visit(one: NodeFile, path: tuple[str, ...]) -> str:
            if one.name in path:
                raise bad_request(f"Node '{one.name}' of pipe '{pipe.name}' reads itself")
            sql, _ = split_format(statement_of(self.rendered(one.sql, pipe.name)))
            readings[sql] = self._references.of(sql, known)
            for name in sorted(readings[sql].names & nodes.keys()):
                if name not in queries and name != one.name:
                    queries[name] = visit(nodes[name], (*path, one.name))
            return sql

        last = visit(node, ())
        read = {name for reading in readings.values() for name in reading.names} - nodes.keys()
        tables = {name: query for name, query in tables.items() if name in read}
        tables.update({name: self._other(name, (*above, pipe.name)) for name in sorted(read & self._pipes.keys())})
        return _composed(tables, queries, last, readings, self._tables)

    def _other(self, name: str, above: Sequence[str]) -> str:
        pipe = self._pipes[name]
        return self._filtered(pipe, self._expand(pipe, pipe.output, {}, above))

    def _filtered(self, pipe: Pipe, query: str) -> str:
        condition = self._filters.get(pipe.name)
        return f"SELECT * FROM (\n{query}\n) WHERE ({condition}\n)" if condition else query  # noqa: S608 - the caller checks it


def _composed(
    tables: Mapping[str, str],
    queries: Mapping[str, str],
    last: str,
    readings: Mapping[str, Reading],
    stand_ins: Mapping[str, str],
) -> str:
    """Tables and queries in front of the last one, as CTEs.

    :param queries: by name; each may read the tables, and the queries before it.
    :param readings: what the queries read, by their text.
    :param stand_ins: tables that are read instead of others.
    """
    # The engine takes a name for one CTE only: where a query has one of its own, ours is called otherwise.
    own = {name for reading in readings.values() for name in reading.own}
    ours = {name: f"{name}{_OURS}" for name in (*tables, *queries) if name in own}
    other = {**{name: table for name, table in stand_ins.items() if name not in tables and name not in queries}, **ours}
    renamed = {other.get(name, name): replaced(query, readings[query], other) for name, query in queries.items()}
    return with_tables(
        {**{other.get(name, name): query for name, query in tables.items()}, **renamed},
        replaced(last, readings[last], other),
    )
