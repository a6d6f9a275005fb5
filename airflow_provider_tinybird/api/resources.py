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
