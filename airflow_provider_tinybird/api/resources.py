"""What a workspace holds and is made of, as values with types: what the calls that manage it answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What hangs on a data source or a pipe.

    :param dependencies: for each data source the names of the pipes between; with ``datasource`` given, the data sources that it feeds
        through materialized views.
    :param incompatible_datasources: those whose partition key does not go with it, so that a replace by condition cannot be carried on
        to them.
    :param raw: the answer as JSON.
    """

    dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    incompatible_datasources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """What altering a data source does, or would do.

    :param operations: statements, in order; empty where nothing changes.
    :param dependencies: what hangs on it, as Tinybird names it.
    :param raw: the answer as JSON.
    """

    operations: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a pipe.

    :param id: id, which survives a rename.
    :param name: name.
    :param sql: its SQL.
    :param type: ``standard`` (or ``default``), ``endpoint``, ``copy``, ``materialized``, ``sink``.
    :param raw: the answer as JSON; ``job`` in it is that of a populate that was asked for.
    """

    id: str
    name: str
    sql: str = ""
    type: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Explained:
    """How a pipe or a node would be run.

    :param debug_query: the SQL as one query.
    :param query_explain: the plan.
    """

    debug_query: str
    query_explain: str


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token may do.

    :param type: such as ``PIPES:READ``.
    :param resource: name of the data source or pipe; ``None`` for a scope of the whole workspace.
    :param filter: SQL condition on the rows (static tokens, Classic only).
    :param fixed_params: values of the pipe's parameters that the holder cannot change (JWTs only).
    """

    type: str
    resource: str | None = None
    filter: str | None = None
    fixed_params: Mapping[str, str | int | float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """A token of the workspace.

    :param value: the token itself, empty where Tinybird keeps it to itself; never shown.
    """

    id: str
    name: str
    description: str = ""
    scopes: tuple[Scope, ...] = ()
    value: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable of the workspace; Tinybird does not give its value away.

    :param type: ``secret``.
    :param raw: the answer as JSON.
    """

    name: str
    type: str = "secret"
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Which schema would fit a file. It rests on a sample, so that it can differ from time to time.

    :param schema: as ``create_datasource`` takes it.
    :param columns: for each its ``path``, ``recommended_type``, ``present_pct`` and ``name``.
    :param preview: the first rows, as a query would answer them.
    :param dialect: of a CSV file, where Tinybird tells it.
    """

    schema: str
    columns: tuple[Mapping[str, Any], ...] = ()
    preview: Mapping[str, Any] = field(default_factory=dict, repr=False)
    dialect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A workspace, branch, organization, member, connector, tag or region: what is read of it is its name.

    :param id: id, or the member's address; empty where it has none.
    :param token: its token, where one was asked for; never shown.
    :param raw: the answer as JSON, without tokens.
    """

    id: str
    name: str
    token: str = field(default="", repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def read_named(body: Mapping[str, Any]) -> Named:
    """Read one of them."""
    return Named(
        id=str(body.get("id") or body.get("email") or ""),
        name=str(body.get("name") or body.get("email") or ""),
        token=str(body.get("token") or ""),
        raw={key: value for key, value in body.items() if key != "token"},
    )
