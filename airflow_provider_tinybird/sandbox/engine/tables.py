# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""Tables behind data sources: made, filled, swapped and dropped."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column
from airflow_provider_tinybird.sandbox.datafiles.resources import DataSource
from airflow_provider_tinybird.sandbox.datafiles.sqltext import condition_of, literal, quoted
from airflow_provider_tinybird.sandbox.engine.engine import DATABASE, Engine
from airflow_provider_tinybird.sandbox.engine.fitting import (
    GOOD,
    INVALID,
    QUARANTINED,
    insert_values,
    staging_columns,
    staging_select,
    type_of,
)
from airflow_provider_tinybird.sandbox.engine.formats import DataFile, source_of
from airflow_provider_tinybird.sandbox.http.errors import EngineError, bad_request

_QUARANTINE = {
    "c__error_column": "Array(String)",
    "c__error": "Array(String)",
    "c__import_id": "Nullable(String)",
    "insertion_date": "DateTime DEFAULT now()",
}
_PLAIN_COLUMNS = "allow_dimensions_outside_sorting_key"
_ARGUMENTS = {
    "ReplacingMergeTree": ("ver", "is_deleted"),
    "SummingMergeTree": ("columns",),
    "CollapsingMergeTree": ("sign",),
    "VersionedCollapsingMergeTree": ("sign", "version"),
    "Join": ("join_strictness", "join_type", "key_columns"),
}


# Replicated tables, which Tinybird's are, remember as many blocks by default. What remembers them on one machine has another setting.
_WINDOW_SETTING = "non_replicated_deduplication_window"
_WINDOW = 10_000

# Others read files, other hosts or other tables.
_ENGINES = re.compile(
    r"(?:Replicated)?(?:\w*MergeTree|Join|Null|Memory|Set|Log|TinyLog|StripeLog)(?:\(.*\))?", re.DOTALL
)


@dataclass(frozen=True)
class Counts:
    """Rows of a staged file, by what becomes of them."""

    good: int
    quarantined: int
    invalid: int


def qualified(table: str) -> str:
    """A table of the workspace, in SQL."""
    return f"{DATABASE}.{quoted(table)}"


def scratch_name(kind: str) -> str:
    """A name for a table that lives for one operation; users' names cannot start with a dot."""
    return f".{kind}_{uuid.uuid4().hex}"


def create_table(engine: Engine, datasource: DataSource) -> None:
    """Make the table of a data source, and its quarantine.

    :raises ApiError: 400, for an expression or an engine that reaches beyond the workspace.
    :raises EngineError: when the engine refuses the schema; nothing is left then.
    """
    _check_definition(engine, datasource)
    engine.run(create_statement(datasource, datasource.name))
    names = {column.name for column in datasource.columns}
    columns = [f"{name} {kind}" for name, kind in _QUARANTINE.items() if name not in names]
    columns += [f"{quoted(column.name)} Nullable(String)" for column in datasource.columns]
    order = "tuple()" if "insertion_date" in names else "insertion_date"
    engine.run(
        f"CREATE TABLE IF NOT EXISTS {qualified(datasource.quarantine)} ({', '.join(columns)}) ENGINE = MergeTree ORDER BY {order}"
    )


def _check_definition(engine: Engine, datasource: DataSource) -> None:
    """All of it goes into a statement that may write, and its expressions run with every insert."""
    if not _ENGINES.fullmatch(datasource.engine):
        raise bad_request(
            f"engine '{datasource.engine}' is not supported: use one of the MergeTree family, Null or Join"
        )
    of_columns = [text for column in datasource.columns for text in (column.type, column.default, column.codec)]
    for text in (*of_columns, *datasource.engine_options.values()):
        if text and text.strip():
            condition_of(text, engine.table_functions, engine.other_databases)


def create_statement(datasource: DataSource, table: str) -> str:
    """The CREATE TABLE of a data source, under any name."""
    options = datasource.engine_options
    listed = ", ".join(column_definition(column) for column in datasource.columns)
    name = datasource.engine.removeprefix("Replicated").split("(")[0]
    arguments = ", ".join(options[key] for key in _ARGUMENTS.get(name, ()) if options.get(key))
    statement = f"CREATE TABLE IF NOT EXISTS {qualified(table)} ({listed}) ENGINE = {name}({arguments})"
    if not name.endswith("MergeTree"):
        return statement if arguments else statement.removesuffix("()")
    for key, clause in (("partition_key", "PARTITION BY"), ("primary_key", "PRIMARY KEY")):
        if options.get(key):
            statement += f" {clause} ({options[key]})"
    statement += f" ORDER BY ({_key(options.get('sorting_key', ''))})"
    for key, clause in (("sampling_key", "SAMPLE BY"), ("ttl", "TTL")):
        if options.get(key):
            statement += f" {clause} {options[key]}"
    given = options.get("settings", "").strip()
    # The last is a check of newer engines than Tinybird's: any column may stand beside the aggregates.
    settings = [f"{name} = 1" for name in ("allow_nullable_key", _PLAIN_COLUMNS) if name not in given]
    if _WINDOW_SETTING not in given:
        settings.append(f"{_WINDOW_SETTING} = {_WINDOW}")
    return f"{statement} SETTINGS {', '.join([*settings, *([given] if given else [])])}"


def _key(text: str) -> str:
    return "tuple()" if text.strip() in ("", "tuple()") else re.sub(r"^\((.*)\)$", r"\1", text.strip(), flags=re.DOTALL)


def column_definition(column: Column) -> str:
    """A column in a CREATE or an ALTER."""
    default = f" DEFAULT {_default(column)}" if column.default is not None else ""
    return f"{quoted(column.name)} {column.type}{default}{f' {column.codec}' if column.codec else ''}"


def _default(column: Column) -> str:
    # Newer engines than Tinybird's refuse an empty text as a date when the table is made.
    if column.default and column.default.strip() == "''" and type_of(column.type).base.startswith("Date"):
        return f"CAST(0, {literal(column.type)})"
    return column.default or ""


def drop_table(engine: Engine, table: str) -> None:
    """Drop a table, now."""
    engine.run(f"DROP TABLE IF EXISTS {qualified(table)} SYNC")


def drop_scratch(engine: Engine) -> None:
    """Drop what a killed process left behind."""
    for row in engine.rows(f"SELECT name FROM system.tables WHERE database = {literal(DATABASE)}"):
        if row["name"].startswith((".stage_", ".copy_")):
            drop_table(engine, row["name"])


def remember_blocks(engine: Engine) -> None:
    """Have tables of an older data directory remember their blocks too."""
    for row in engine.rows(
        f"SELECT name FROM system.tables WHERE database = {literal(DATABASE)} AND engine LIKE '%MergeTree'"
        f" AND NOT endsWith(name, '_quarantine') AND position(create_table_query, '{_WINDOW_SETTING}') = 0"
    ):
        engine.run(f"ALTER TABLE {qualified(row['name'])} MODIFY SETTING {_WINDOW_SETTING} = {_WINDOW}")


@contextmanager
def staged(engine: Engine, datasource: DataSource, file: DataFile, marker: str | None = None) -> Iterator[str]:
    """The rows of a file in a table of their own, typed and judged; the name of that table.

    :raises EngineError: when the file cannot be read; nothing is in the data source then.
    """
    table = scratch_name("stage")
    source = source_of(engine, file, datasource.columns)
    select = staging_select(source, datasource.columns)
    try:
        columns = staging_columns(datasource.columns)
        engine.run(f"CREATE TABLE {qualified(table)} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
        engine.run(f"INSERT INTO {qualified(table)} {select}", marker)
        yield table
    finally:
        drop_table(engine, table)


def counts_of(engine: Engine, stage: str) -> Counts:
    """How many of the staged rows fit."""
    row = engine.rows(
        f"SELECT countIf(verdict = {GOOD}) AS good, countIf(verdict = {QUARANTINED}) AS quarantined,"
        f" countIf(verdict = {INVALID}) AS invalid FROM {qualified(stage)}"
    )[0]
    return Counts(row["good"], row["quarantined"], row["invalid"])


def move_good(
    engine: Engine,
    datasource: DataSource,
    stage: str,
    into: str,
    condition: str | None = None,
    marker: str | None = None,
    most: int | None = None,
    deduplicate: bool = True,
) -> None:
    """Insert the staged rows that fit.

    :param into: the table, which is the data source's own or a copy of it.
    :param condition: only rows that it holds for.
    :param most: no more rows than this; None for all.
    :param deduplicate: whether a block that equals a recent one is dropped, where the engine does that.
    """
    names = ", ".join(quoted(column.name) for column in datasource.columns)
    values = zip(insert_values(datasource.columns), datasource.columns, strict=True)
    listed = ", ".join(f"{value} AS {quoted(column.name)}" for value, column in values)
    select = f"SELECT {listed} FROM {qualified(stage)} WHERE verdict = {GOOD}"
    if most is not None:
        select = f"{select} LIMIT {most}"
    if condition:
        select = f"SELECT {names} FROM ({select}) WHERE ({condition})"
    settings = "" if deduplicate else " SETTINGS deduplicate_insert_select = 'disable'"
    engine.run(f"INSERT INTO {qualified(into)} ({names}) {select}{settings}", marker)


def move_bad(engine: Engine, datasource: DataSource, stage: str, import_id: str | None, invalid_too: bool) -> None:
    """Insert the staged rows that do not fit into the quarantine.

    :param invalid_too: whether lines that are no JSON at all go there as well.
    """
    names = "".join(f", {quoted(column.name)}" for column in datasource.columns)
    texts = "".join(f", texts[{index + 1}]" for index in range(len(datasource.columns)))
    verdicts = f"{QUARANTINED}, {INVALID}" if invalid_too else str(QUARANTINED)
    invalid = literal("the line is not a JSON object")
    engine.run(
        f"INSERT INTO {qualified(datasource.quarantine)} (c__error_column, c__error, c__import_id{names})"
        f" SELECT if(verdict = {INVALID}, [], error_columns), if(verdict = {INVALID}, [{invalid}], errors),"
        f" {literal(import_id) if import_id else 'NULL'}{texts} FROM {qualified(stage)} WHERE verdict IN ({verdicts})"
    )


@contextmanager
def swapped_in(engine: Engine, datasource: DataSource) -> Iterator[str]:
    """An empty copy of a data source's table; at the end it takes its place at once, so that readers see the old rows or the new.

    On an error the data source stays as it was. The caller holds the lock of the table.
    """
    copy = scratch_name("copy")
    engine.run(create_statement(datasource, copy))
    try:
        yield copy
        engine.run(f"EXCHANGE TABLES {qualified(copy)} AND {qualified(datasource.name)}")
    finally:
        drop_table(engine, copy)


def tables_of(engine: Engine) -> set[str]:
    """The tables of the workspace, by name."""
    return {row["name"] for row in engine.rows(f"SELECT name FROM system.tables WHERE database = {literal(DATABASE)}")}


def size_of(engine: Engine, table: str) -> tuple[int, int]:
    """Rows and bytes of a table."""
    try:
        # Not total_rows: that goes on counting what a lightweight delete hid, and a client would see rows that no query finds.
        rows = engine.rows(
            f"SELECT (SELECT count() FROM {qualified(table)}) AS row_count, toUInt64(ifNull(total_bytes, 0)) AS bytes"
            f" FROM system.tables WHERE database = {literal(DATABASE)} AND name = {literal(table)}"
        )
    except EngineError:
        return 0, 0
    return (rows[0]["row_count"], rows[0]["bytes"]) if rows else (0, 0)
