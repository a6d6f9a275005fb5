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
