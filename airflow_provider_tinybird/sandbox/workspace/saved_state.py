"""What a data directory keeps between runs, besides the rows: definitions and tokens, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column, NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe, Variable
from airflow_provider_tinybird.sandbox.http.auth import Token


@dataclass(frozen=True)
class State:
    """The content of the file."""

    workspace_id: str | None = None
    user_id: str | None = None
    datasources: list[DataSource] = field(default_factory=list)
    pipes: list[Pipe] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)


def load(path: Path) -> State:
    """Read the file; an empty state when there is none.

    :raises OSError: it is not what ``save`` writes.
    """
    if not path.exists():
        return State()
    try:
        return _state(json.loads(path.read_text()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise OSError(f"{path.name} in it cannot be read: {type(error).__name__}: {error}") from None


def _state(kept: Mapping[str, Any]) -> State:
    return State(
        kept["workspace_id"],
        kept["user_id"],
        [_datasource(one) for one in kept["datasources"]],
        [_pipe(one) for one in kept["pipes"]],
        [Token(**{**one, "scopes": frozenset(one["scopes"]), "from_project": False}) for one in kept["tokens"]],
        [_variable(one) for one in kept.get("variables", [])],
    )


def save(path: Path, state: State) -> None:
    """Write the file, at once: a killed process leaves the old one or the new."""
    kept = {
        "workspace_id": state.workspace_id,
        "user_id": state.user_id,
        "datasources": [_datasource_as_json(one) for one in state.datasources],
        "pipes": [_pipe_as_json(one) for one in state.pipes],
        "tokens": [{**asdict(one), "scopes": sorted(one.scopes)} for one in state.tokens],
        "variables": [
            {**asdict(one), "created_at": one.created_at.isoformat(), "updated_at": one.updated_at.isoformat()}
            for one in state.variables
        ],
    }
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(kept))
    fresh.replace(path)


def _variable(kept: Mapping[str, Any]) -> Variable:
    return Variable(
        kept["name"],
        kept["value"],
        datetime.fromisoformat(kept["created_at"]),
        datetime.fromisoformat(kept["updated_at"]),
    )


def _datasource_as_json(datasource: DataSource) -> dict[str, Any]:
    plain = replace(datasource, engine_options=dict(datasource.engine_options), connector=dict(datasource.connector))
    return {**asdict(plain), "created_at": datasource.created_at.isoformat()}


def _datasource(kept: Mapping[str, Any]) -> DataSource:
    columns = tuple(Column(**column) for column in kept["columns"])
    # A project says at every start what is of the project, so that a file which was removed from it is gone after a reset.
    fresh: dict[str, Any] = {
        "columns": columns,
        "created_at": datetime.fromisoformat(kept["created_at"]),
        "from_project": False,
    }
    fresh["shared_with"] = tuple(kept.get("shared_with", ()))
    return DataSource(**{**kept, **fresh})


def _pipe(kept: Mapping[str, Any]) -> Pipe:
    nodes = tuple(NodeFile(**{**node, "kind": NodeKind(node["kind"])}) for node in kept["nodes"])
    return Pipe(
        **{**kept, "nodes": nodes, "created_at": datetime.fromisoformat(kept["created_at"]), "from_project": False}
    )


def _pipe_as_json(pipe: Pipe) -> dict[str, Any]:
    nodes = [
        {
            "name": node.name,
            "sql": node.sql,
            "kind": node.kind.value,
            "description": node.description,
            "settings": dict(node.settings),
        }
        for node in pipe.nodes
    ]
    return {
        "name": pipe.name,
        "nodes": nodes,
        "description": pipe.description,
        "id": pipe.id,
        "created_at": pipe.created_at.isoformat(),
        "ids": dict(pipe.ids),
    }
