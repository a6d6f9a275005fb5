"""What a workspace holds: data sources and pipes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column, NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.http.clock import now

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
    :param connector: what it is filled from by itself: the ``import_...`` or ``kafka_...`` settings of its file.
    :param shared_with: ids of workspaces.
    """

    name: str
    columns: tuple[Column, ...]
    engine: str = "MergeTree"
    engine_options: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    from_project: bool = False
    id: str = field(default_factory=resource_id)
    created_at: datetime = field(default_factory=now)
    connector: Mapping[str, str] = field(default_factory=dict)
    shared_with: tuple[str, ...] = ()

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
    """A pipe: nodes in their order.

    :param ids: ids of nodes that were made or renamed over HTTP, by name.
    """

    name: str
    nodes: tuple[NodeFile, ...]
    description: str = ""
    from_project: bool = False
    id: str = field(default_factory=resource_id)
    created_at: datetime = field(default_factory=now)
    ids: Mapping[str, str] = field(default_factory=dict)

    def node_id(self, node: NodeFile) -> str:
        """The id of one of its nodes, the same as long as it lives, also by another name."""
        return self.ids.get(node.name) or f"t_{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.id}/{node.name}').hex}"

    def with_node(self, node: NodeFile) -> Pipe:
        """The pipe with one more node at its end."""
        return replace(self, nodes=(*self.nodes, node), ids={**self.ids, node.name: resource_id()})

    def with_node_for(self, old: NodeFile, new: NodeFile) -> Pipe:
        """The pipe with a node in the place of another, whose id it takes over."""
        ids = {**self.ids, new.name: self.node_id(old)}
        return replace(self, nodes=tuple(new if node is old else node for node in self.nodes), ids=ids)

    def without_node(self, old: NodeFile) -> Pipe:
        """The pipe without a node."""
        return replace(self, nodes=tuple(node for node in self.nodes if node is not old))

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
