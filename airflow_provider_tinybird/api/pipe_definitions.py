"""Pipes API: create, change and drop pipes; set up copies and sinks. A Forward workspace refuses it with 403: there a deployment does
it. Nodes are in ``nodes``, what a pipe runs is in ``pipes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_tinybird.api.body import Body, form
from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.encoding import Pairs, pairs, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import Pipe
from airflow_provider_tinybird.api.pipes import CopyMode, one_pipe
from airflow_provider_tinybird.api.sending import json_body, manage_pipe, nothing, required

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node to create a pipe with.

    :param sql: its SQL.
    :param name: its name; by default Tinybird makes one of the pipe's.
    """

    sql: str
    name: str | None = None
    description: str | None = None


def create_pipe(name: str, nodes: Sequence[NewNode], *, description: str | None = None) -> Call[Pipe]:
    """Create a pipe with its nodes. ``POST /v0/pipes`` with JSON; Classic only.

    :param name: its name, no reserved word; neither may the nodes' names be.
    :param nodes: its nodes, at least one.
    :param description: text about it.
    :return: the pipe. Scope: ``PIPES:CREATE``.
    :raises ConflictError: a name is taken.
    """
    if not nodes:
        raise InvalidInputError(f"Pipe '{name}' needs at least one node.")
    listed = []
    for node in nodes:
        if node.name is not None:
            resource_name("node", node.name)
        values = {"sql": required("sql", node.sql), "name": node.name, "description": node.description}
        listed.append({key: value for key, value in values.items() if value is not None})
    content = {"name": name, **({"description": description} if description is not None else {}), "nodes": listed}
    return _create(name, (), json_body(content))


def create_pipe_from_sql(name: str, sql: str) -> Call[Pipe]:
    """Create a pipe of one node. ``POST /v0/pipes`` with a form; Classic only. Scope: ``PIPES:CREATE``.

    :param name: its name, no reserved word.
    :param sql: the SQL of its node.
    """
    return _create(name, (), form((("name", name), ("sql", required("sql", sql)))))


def create_pipe_from_pipe(name: str, source: str) -> Call[Pipe]:
    """Create a pipe as a copy of another. ``POST /v0/pipes?name=&from=``; Classic only. Scope: ``PIPES:CREATE``.

    :param name: its name; Tinybird lets an existing pipe be overwritten this way, whose endpoint stays where the node's name does.
    :param source: pipe to copy.
    """
    resource_name("pipe", source)
    return _create(name, (("name", name), ("from", source)), None)


def update_pipe(pipe: str, *, name: str | None = None, description: str | None = None) -> Call[Pipe]:
    """Rename a pipe or change its description. ``PUT /v0/pipes/{name}``; Classic only. Scope: ``PIPES:CREATE``.

    :param pipe: name or id of the pipe.
    :param name: its new name, no reserved word.
    :param description: new text about it.
    :raises ConflictError: the new name is taken.
    """
    if name is None and description is None:
        raise InvalidInputError(f"Nothing to change about pipe '{pipe}': give name or description.")
    if name is not None:
        resource_name("pipe", name)
    return manage_pipe(
        f"update pipe '{pipe}'",
        "PUT",
        f"/v0/pipes/{resource_name('pipe', pipe)}",
        one_pipe,
        Repeat.ONCE if name else Repeat.IDEMPOTENT,
        pairs({"name": name, "description": description}),
    )


def drop_pipe(pipe: str) -> Call[None]:
    """Drop a pipe with its nodes; rows that its views made stay. ``DELETE /v0/pipes/{name}``; Classic only.

    Scope: ``PIPES:DROP:<pipe>``.

    :param pipe: name or id of the pipe.
    """
    path = f"/v0/pipes/{resource_name('pipe', pipe)}"
    return manage_pipe(f"drop pipe '{pipe}'", "DELETE", path, nothing, Repeat.IDEMPOTENT, scope=f"PIPES:DROP:{pipe}")


def get_pipe_datafile(pipe: str) -> Call[str]:
    """Get the text of a pipe's file. ``GET /v1/pipes/{name}.pipe``.

    The published reference has ``/v0/pipes/{name}.pipe``; the official command lines read the text at ``/v1``. Scope:
    ``PIPES:READ:<pipe>``.

    :param pipe: name or id of the pipe.
    """
    path = f"/v1/pipes/{resource_name('pipe', pipe)}.pipe"
    return manage_pipe(f"get the file of pipe '{pipe}'", "GET", path, _text, Repeat.READ, scope=f"PIPES:READ:{pipe}")


def create_copy(
    pipe: str, node: str, target_datasource: str, *, schedule_cron: str | None = None, mode: CopyMode | None = None
) -> Call[Pipe]:
    """Make a node a copy. ``POST /v0/pipes/{name}/nodes/{node}/copy`` with a form; Classic only.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    :param target_datasource: data source to fill, by name or id.
    :param schedule_cron: when it runs by itself; never by default.
    :param mode: append (as Tinybird does by default) or replace.
    :return: the pipe. Scopes: ``PIPES:CREATE`` and ``DATASOURCES:APPEND`` on the target.
    """
    resource_name("data source", target_datasource)
    fields = {"target_datasource": target_datasource, "schedule_cron": schedule_cron, "mode": mode}
    return manage_pipe(
        f"make node '{node}' of pipe '{pipe}' a copy",
        "POST",
        _node(pipe, node, "copy"),
        one_pipe,
        body=form(pairs(fields)),
    )


def update_copy(
    pipe: str,
    node: str,
    *,
    target_datasource: str | None = None,
    schedule_cron: str | None = None,
    mode: CopyMode | None = None,
) -> Call[Pipe]:
    """Change a copy. ``PUT /v0/pipes/{name}/nodes/{node}/copy`` with a form; Classic only. Scope: ``PIPES:CREATE``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    :param target_datasource: another data source to fill.
    :param schedule_cron: the text ``None`` takes the schedule away.
    :param mode: append or replace.
    """
    fields = pairs({"target_datasource": target_datasource, "schedule_cron": schedule_cron, "mode": mode})
    if not fields:
        raise InvalidInputError(f"Nothing to change about the copy of pipe '{pipe}'.")
    path = _node(pipe, node, "copy")
    return manage_pipe(f"update the copy of pipe '{pipe}'", "PUT", path, one_pipe, Repeat.IDEMPOTENT, body=form(fields))


def remove_copy(pipe: str, node: str) -> Call[None]:
    """Make a copy a plain node again. ``DELETE /v0/pipes/{name}/nodes/{node}/copy``; Classic only. Scope: ``PIPES:CREATE``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    """
    path = _node(pipe, node, "copy")
    return manage_pipe(f"remove the copy of pipe '{pipe}'", "DELETE", path, nothing, Repeat.IDEMPOTENT)


def create_sink(
    pipe: str,
    node: str,
    *,
    connection: str,
    path: str,
    file_template: str,
    format: str = "csv",
    compression: str = "none",
    schedule_cron: str | None = None,
    write_strategy: str | None = None,
) -> Call[Pipe]:
    """Make a node a sink. ``POST /v0/pipes/{name}/nodes/{node}/sink``; Classic only; paid plans.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    :param connection: name of the connection to the bucket.
    :param path: folder in it.
    :param file_template: name of the files, with columns in braces.
    :param format: ``csv``, ``ndjson`` or ``parquet``.
    :param compression: ``none``, ``gz``, ...
    :param schedule_cron: when it runs by itself; never by default.
    :param write_strategy: ``new`` adds files, ``truncate`` overwrites those of the same name.
    :return: the pipe. Scope: ``PIPES:CREATE``.
    """
    params = pairs(
        {
            "connection": connection,
            "path": path,
            "file_template": file_template,
            "format": format,
            "compression": compression,
            "schedule_cron": schedule_cron,
            "write_strategy": write_strategy,
        }
    )
    return manage_pipe(
        f"make node '{node}' of pipe '{pipe}' a sink", "POST", _node(pipe, node, "sink"), one_pipe, params=params
    )


def remove_sink(pipe: str, node: str) -> Call[None]:
    """Make a sink a plain node again. ``DELETE /v0/pipes/{name}/nodes/{node}/sink``; Classic only. Scope: ``PIPES:CREATE``.

    :param pipe: name or id of the pipe.
    :param node: name or id of the node.
    """
    path = _node(pipe, node, "sink")
    return manage_pipe(f"remove the sink of pipe '{pipe}'", "DELETE", path, nothing, Repeat.IDEMPOTENT)


def _node(pipe: str, node: str, what: str) -> str:
    return f"/v0/pipes/{resource_name('pipe', pipe)}/nodes/{resource_name('node', node)}/{what}"


def _create(name: str, params: Pairs, body: Body | None) -> Call[Pipe]:
    resource_name("pipe", name)
    return manage_pipe(f"create pipe '{name}'", "POST", "/v0/pipes", one_pipe, Repeat.ONCE, params, body)


def _text(reply: Reply) -> str:
    return reply.text
