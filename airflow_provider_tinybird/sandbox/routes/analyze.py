# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""``POST /v0/analyze``: which schema would fit a file, and its first rows."""

from __future__ import annotations

import time
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column
from airflow_provider_tinybird.sandbox.datafiles.sqltext import quoted
from airflow_provider_tinybird.sandbox.engine.fitting import GOOD, insert_values, staging_select, type_of
from airflow_provider_tinybird.sandbox.engine.formats import DataFile, engine_error_text, source_of
from airflow_provider_tinybird.sandbox.engine.inference import columns_of
from airflow_provider_tinybird.sandbox.http.auth import CREATE
from airflow_provider_tinybird.sandbox.http.errors import EngineError, bad_request
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, file_part, json_answer
from airflow_provider_tinybird.sandbox.routes.imports import checked_url, download
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_PREVIEWED = 10
_SAMPLED = 1000


def analyze(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/analyze``: of a file in a form, of the body, or of a URL."""
    call.caller.require(CREATE)
    path = box.spool_path()
    try:
        file = path
        if call.content_type == "multipart/form-data":
            if file_part(call, path)[1] is None:
                raise bad_request("the form has no file: send it in the field 'file'")
        elif call.params().get("url"):
            download(box, checked_url(call.params()["url"]), path, Job("import", {}, ""))
        elif call.body.size:
            file = call.body.path()
        else:
            raise bad_request("there is nothing to analyze: send a file, or give url=")
        return json_answer(_analyzed(box, DataFile(file, _format(DataFile(file, "csv").head()))))
    finally:
        path.unlink(missing_ok=True)


def _format(head: bytes) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    return "ndjson" if head.lstrip().startswith(b"{") else "csv"


def _analyzed(box: Sandbox, file: DataFile) -> dict[str, Any]:
    started = time.monotonic()
    try:
        columns = columns_of(box.engine, file)
        staged = f"({staging_select(source_of(box.engine, file, columns), columns)} LIMIT {_SAMPLED})"
        present = box.engine.rows(f"SELECT count() AS n, {_counts(columns)} FROM {staged}")[0]
        rows = box.engine.rows(f"SELECT {_values(columns)} FROM {staged} WHERE verdict = {GOOD} LIMIT {_PREVIEWED}")
    except EngineError as error:
        raise bad_request(f"the data cannot be read as {file.format}: {engine_error_text(error, file)}") from None
    found = [
        {
            "path": column.jsonpath or column.name,
            "recommended_type": column.type,
            "present_pct": round(present[f"c{index}"] / max(1, present["n"]), 4),
            "name": column.name,
        }
        for index, column in enumerate(columns)
    ]
    return {
        "analysis": {"columns": found, "schema": ", ".join(map(_schema, columns))},
        "preview": {
            "meta": [{"name": column.name, "type": column.type} for column in columns],
            "data": rows,
            "rows": len(rows),
            "statistics": {
                "elapsed": round(time.monotonic() - started, 6),
                "rows_read": present["n"],
                "bytes_read": file.size,
            },
        },
    }


def _schema(column: Column) -> str:
    path = f" `json:{column.jsonpath}`" if column.jsonpath else ""
    return f"{quoted(column.name)} {column.type}{path}"


def _counts(columns: tuple[Column, ...]) -> str:
    return ", ".join(
        f"countIf({'notEmpty' if type_of(column.type).is_composite else 'isNotNull'}(v{index})) AS c{index}"
        for index, column in enumerate(columns)
    )


def _values(columns: tuple[Column, ...]) -> str:
    values = zip(insert_values(columns), columns, strict=True)
    return ", ".join(f"{value} AS {quoted(column.name)}" for value, column in values)
