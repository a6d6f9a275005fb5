"""What a workspace holds: data sources and pipes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from airflow_provider_tinybird.sandbox.clock import now
from airflow_provider_tinybird.sandbox.datafile import Column, NodeFile, NodeKind

__all__ = ["DataSource", "Pipe", "Variable", "now", "resource_id", "stamp"]


def stamp(moment: datetime | None) -> str | None:
    """A time as Tinybird writes it: UTC, microseconds, no zone."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f") if moment else None


def resource_id() -> str:
    """A new id of a data source, pipe or node."""
    return f"t_{uuid.uuid4().hex}"


@dataclass(frozen=True)
class DataSource:
    """A data source: a table and its quarantine.

    :param engine_options: as in ``DatasourceFile``: ``sorting_key``, ``partition_key``, ...
    :param from_project: whether a project file defines it; a reset keeps it.
    """

    name: str
    columns: tuple[Column, ...]
    engine: str = "MergeTree"
    engine_options: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    from_project: bool = False
    id: str = field(default_factory=resource_id)
    created_at: datetime = field(default_factory=now)

    @property
    def quarantine(self) -> str:
        """Name of the table of the rows that did not fit."""
        return f"{self.name}_quarantine"


@dataclass(frozen=True)
class Variable:
    """A secret that pipes can read."""

    name: str
    value: str = field(repr=False)
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)


@dataclass(frozen=True)
class Pipe:
    """A pipe: nodes in their order."""

    name: str
    nodes: tuple[NodeFile, ...]
    description: str = ""
    from_project: bool = False
    id: str = field(default_factory=resource_id)
    created_at: datetime = field(default_factory=now)

    def node_id(self, node: NodeFile) -> str:
        """The id of one of its nodes, the same as long as the pipe and the name live."""
        return f"t_{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.id}/{node.name}').hex}"

    def node_of(self, kind: NodeKind) -> NodeFile | None:
        """Its first node of a kind."""
        return next((node for node in self.nodes if node.kind is kind), None)

    def node_named(self, name: str) -> NodeFile | None:
        """A node by name or id."""
        return next((node for node in self.nodes if name in (node.name, self.node_id(node))), None)

    @property
    def output(self) -> NodeFile:
        """The node that stands for the pipe: the published one, else the last."""
        for kind in (NodeKind.ENDPOINT, NodeKind.COPY, NodeKind.SINK):
            if node := self.node_of(kind):
                return node
        return self.nodes[-1]

    @property
    def type(self) -> str:
        """``endpoint``, ``copy``, ``sink``, ``materialized`` or ``default``."""
        for kind in (NodeKind.ENDPOINT, NodeKind.COPY, NodeKind.SINK, NodeKind.MATERIALIZED):
            if self.node_of(kind):
                return str(kind.value)
        return "default"
