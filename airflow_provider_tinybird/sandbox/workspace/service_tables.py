# ruff: noqa: S608 - everything in these statements is written here, or through quoted() and literal()
"""Service data sources: ``tinybird.jobs_log``, ``datasources_ops_log`` and others, as views over files of JSON lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.engine.engine import DATABASE, SERVICE_DATABASE, Engine

_OPERATIONS = (
    "timestamp DateTime, event_type String, datasource_id String, datasource_name String, result String,"
    " elapsed_time Float32, error Nullable(String), Options.Names Array(String), Options.Values Array(String),"
    " request_id String, import_id Nullable(String), job_id Nullable(String), rows Nullable(UInt64),"
    " rows_quarantine Nullable(UInt64), blocks_ids Array(String), operation_id String, read_rows UInt64, read_bytes UInt64,"
    " cpu_time Float32, memory_usage UInt64, written_rows UInt64, written_bytes UInt64, written_rows_quarantine UInt64,"
    " written_bytes_quarantine UInt64, pipe_id String, pipe_name String, release String, resource_tags Array(String)"
)
_BLOCKS = (
    "timestamp DateTime, request_id String, import_id String, job_id Nullable(String), source String, block_id String,"
    " status String, datasource_id String, datasource_name String, start_offset Nullable(Int64), end_offset Nullable(Int64),"
    " rows Nullable(Int32), parser Nullable(String), quarantine_lines Nullable(UInt32), empty_lines Nullable(UInt32),"
    " bytes Nullable(UInt32), processing_time Nullable(Float32), processing_error Nullable(String)"
)
_ERRORS = (
    "start_datetime DateTime, request_id String, pipe_id String, pipe_name String, params Nullable(String),"
    " url Nullable(String), status_code Nullable(Int32), error Nullable(String), resource_tags Array(String)"
)
_CALLS = (
    "start_datetime DateTime, pipe_id String, pipe_name String, token String, token_name String, duration Float32,"
    " read_bytes UInt64, read_rows UInt64, cpu_time Float32, result_rows UInt64, url Nullable(String), status_code Int32,"
    " request_id String, method String, release String, user_agent Nullable(String), client_ip Nullable(String),"
    " resource_tags Array(String), memory_usage UInt64, replica String"
)
_SINKS = (
    "timestamp DateTime, service String, pipe_id String, pipe_name String, token_name String, result String, error Nullable(String),"
    " elapsed_time Float64, job_id Nullable(String), read_rows UInt64, read_bytes UInt64, written_rows UInt64, written_bytes UInt64,"
    " output Array(String), parameters Map(String,String), options Map(String,String), cpu_time Float64, resource_tags Array(String)"
)
_EVENTS = (
    "start_datetime DateTime, datasource_id String, datasource_name String, successful_requests UInt64, error_requests UInt64,"
    " rows_successful UInt64, rows_quarantined UInt64, bytes_received UInt64, rate_limited UInt64"
)
# Of what the sandbox has not: their names can be read, and they are empty.
_EMPTY = {
    "kafka_ops_log": (
        "timestamp DateTime, datasource_id String, topic String, partition Int16, msg_type String, lag Int64,"
        " processed_messages Int32, processed_bytes Int64, committed_messages Int32, msg String"
    ),
    "data_transfer": "timestamp DateTime, event String, origin_provider String, destination_provider String, bytes UInt64, kind String",
    "cluster_control_log": "timestamp DateTime, pipe_name String, limit UInt64, rejected UInt64",
}


def make_views(engine: Engine, files: Mapping[str, Path], workspace_id: str) -> None:
    """Make every service data source.

    :param files: of lines: ``operations``, ``endpoint_calls``, ``sinks``, ``events`` and ``jobs``.
    :param workspace_id: goes into the rows.
    """
    lines = {name: _lines_table(engine, name, path) for name, path in files.items()}
    _view(engine, "datasources_ops_log", _select(_OPERATIONS), lines["operations"])
    block = "SELECT arrayJoin(JSONExtractArrayRaw(line, 'blocks')) AS line"
    _view(engine, "block_log", _select(_BLOCKS), f"({block} FROM {lines['operations']})")
    _endpoint_views(engine, lines["endpoint_calls"])
    _view(engine, "sinks_ops_log", _select(_SINKS), lines["sinks"])
    _view(engine, "hfi_requests", _select(_EVENTS), lines["events"])
    last = "argMax(c.line, JSONExtractUInt(c.line, 'n')) AS line"
    jobs_now = f"(SELECT {last} FROM {lines['jobs']} AS c GROUP BY JSONExtractString(c.line, 'id'))"
    _view(engine, "jobs_log", _jobs_select(workspace_id), jobs_now)
    _view(engine, "datasources_storage", *_storage())
    for name, columns in _EMPTY.items():
        listed = ", ".join(
            f"CAST(defaultValueOfTypeName({literal(kind)}), {literal(kind)}) AS {quoted(column)}"
            for column, kind in _columns(columns)
        )
        _view(engine, name, listed, "numbers(0)")


def _endpoint_views(engine: Engine, calls: str) -> None:
    failed = f"(SELECT line FROM {calls} WHERE JSONExtractInt(line, 'status_code') >= 400)"
    _view(engine, "endpoint_errors", _select(_ERRORS), failed)
    more = (
        "toUInt8(JSONExtractInt(line, 'status_code') >= 400) AS error,"
        " JSONExtract(line, 'error', 'Nullable(String)') AS error_message,"
        " JSONExtract(line, 'parameters', 'Map(String, String)') AS parameters"
    )
    _view(engine, "pipe_stats_rt", f"{_select(_CALLS)}, {more}", calls)
    by_day = (
        "toDate(start_datetime) AS date, pipe_id, pipe_name, count() AS view_count, countIf(error = 1) AS error_count,"
        " avgState(duration) AS avg_duration_state, sum(read_bytes) AS read_bytes_sum, sum(read_rows) AS read_rows_sum"
    )
    _view(engine, "pipe_stats", by_day, f"{SERVICE_DATABASE}.pipe_stats_rt GROUP BY date, pipe_id, pipe_name")


def _storage() -> tuple[str, str]:
    """Rows and bytes of each data source as they are now, with those of its quarantine."""
    select = (
        "now() AS timestamp, d.name AS datasource_name, d.total_bytes AS bytes, d.total_rows AS rows,"
        " q.total_bytes AS bytes_quarantine, q.total_rows AS rows_quarantine"
    )
    sizes = "ifNull(total_rows, 0) AS total_rows, ifNull(total_bytes, 0) AS total_bytes"
    tables = f"(SELECT name, {sizes} FROM system.tables WHERE database = {literal(DATABASE)})"
    return select, f"{tables} AS d INNER JOIN {tables} AS q ON q.name = concat(d.name, '_quarantine')"


def _lines_table(engine: Engine, name: str, path: Path) -> str:
    """A table over a file of lines: a query of a user may read it, but no table function. What a killed process left half is skipped."""
    table = f"{SERVICE_DATABASE}.{quoted(f'.{name}')}"
    engine.run(f"CREATE OR REPLACE TABLE {table} (line String) ENGINE = File(LineAsString, {literal(str(path))})")
    return f"(SELECT line FROM {table} WHERE isValidJSON(line))"


def _jobs_select(workspace_id: str) -> str:
    facts = "JSONExtractRaw(line, 'facts')"
    times = ", ".join(
        f"CAST(substring(replaceOne(JSONExtract(line, '{name}', 'Nullable(String)'), 'T', ' '), 1, 23), '{kind}') AS {name}"
        for name, kind in (
            ("created_at", "DateTime64(3)"),
            ("started_at", "Nullable(DateTime64(3))"),
            ("updated_at", "DateTime64(3)"),
        )
    )
    return (
        "JSONExtractString(line, 'id') AS job_id, JSONExtract(line, 'kind', 'LowCardinality(String)') AS job_type,"
        " JSONExtract(line, 'status', 'LowCardinality(String)') AS status, JSONExtract(line, 'error', 'Nullable(String)') AS error,"
        f" {literal(workspace_id)} AS workspace_id, CAST(NULL, 'Nullable(String)') AS request_id,"
        " JSONExtract(line, 'facts', 'pipe_id', 'Nullable(String)') AS pipe_id,"
        " JSONExtract(line, 'facts', 'datasource', 'id', 'Nullable(String)') AS datasource_id,"
        f" {times}, {facts} AS job_metadata"
    )


def _columns(text: str) -> Sequence[tuple[str, str]]:
    return [tuple(part.strip().split(" ", 1)) for part in text.split(", ")]  # type: ignore[misc]


def _select(columns: str) -> str:
    return ", ".join(
        f"JSONExtract(line, {literal(name)}, {literal(kind)}) AS {quoted(name)}" for name, kind in _columns(columns)
    )


def _view(engine: Engine, name: str, select: str, source: str) -> None:
    engine.run(f"CREATE OR REPLACE VIEW {SERVICE_DATABASE}.{quoted(name)} AS SELECT {select} FROM {source}")
