"""Data sources and pipes as the text of project files, which the sandbox could read again."""

from __future__ import annotations

import textwrap

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column, NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource, Pipe
from airflow_provider_tinybird.sandbox.datafiles.sqltext import quoted


def text_of_datasource(datasource: DataSource) -> str:
    """A ``.datasource`` file."""
    parts = [_block("DESCRIPTION", datasource.description)] if datasource.description else []
    parts.append(_block("SCHEMA", ",\n".join(map(_column, datasource.columns))))
    lines = [f'ENGINE "{datasource.engine}"']
    lines += [f'ENGINE_{key.upper()} "{value}"' for key, value in datasource.engine_options.items()]
    lines += [f'{key.upper()} "{value}"' for key, value in datasource.connector.items()]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def text_of_pipe(pipe: Pipe) -> str:
    """A ``.pipe`` file."""
    parts = [_block("DESCRIPTION", pipe.description)] if pipe.description else []
    return "\n\n".join([*parts, *map(_node, pipe.nodes)]) + "\n"


def _node(node: NodeFile) -> str:
    parts = [f"NODE {node.name}"]
    if node.description:
        parts.append(_block("DESCRIPTION", node.description))
    parts.append(_block("SQL", node.sql))
    if node.kind is not NodeKind.STANDARD:
        lines = [
            f"TYPE {node.kind.value}",
            *(f"{key.upper()} {value}" for key, value in node.settings.items() if value),
        ]
        parts.append("\n" + "\n".join(lines))
    return "\n".join(parts)


def _column(column: Column) -> str:
    path = f" `json:{column.jsonpath}`" if column.jsonpath else ""
    default = f" DEFAULT {column.default}" if column.default is not None else ""
    return f"{quoted(column.name)} {column.type}{path}{default}{f' {column.codec}' if column.codec else ''}"


def _block(key: str, text: str) -> str:
    return f"{key} >\n{textwrap.indent(textwrap.dedent(text).strip(chr(10)), '    ')}"
