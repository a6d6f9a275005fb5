"""Sink pipes: the result of a query into files. Instead of a bucket they go to a folder of the data directory."""

from __future__ import annotations

import gzip
import re
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from airflow_provider_tinybird.sandbox.datafiles.datafile import NodeFile, NodeKind
from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.engine.formats import checked_format
from airflow_provider_tinybird.sandbox.http.auth import PIPES_CREATE, pipe_read_scope
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request, of_engine
from airflow_provider_tinybird.sandbox.http.web import Answer, Call, json_answer
from airflow_provider_tinybird.sandbox.routes.copies import copy_query, shown_query
from airflow_provider_tinybird.sandbox.routes.pipes import described_node
from airflow_provider_tinybird.sandbox.workspace.jobs import Job
from airflow_provider_tinybird.sandbox.workspace.operations_log import SinkRun
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

_FORMATS = {"csv": "CSVWithNames", "ndjson": "JSONEachRow", "parquet": "Parquet"}
_COMPRESSIONS = ("none", "gzip")
_STRATEGIES = ("new", "truncate")
_OVERRIDES = ("connection", "path", "file_template", "format", "compression", "write_strategy", "_mode")
_FIELD = re.compile(r"\{\s*(\w+)\s*(?:,\s*'([^']*)'\s*)?\}")
_MOST_FILES = 100
_MOST_NAME = 150


@dataclass(frozen=True)
class Output:
    """Where a sink writes, and how.

    :param folder: below the sandbox's folder for sinks.
    :param template: name of a file; ``{column}`` and ``{column, '%Y-%m-%d'}`` make one file for each value.
    """

    folder: PurePosixPath
    template: str
    format: str
    compression: str
    strategy: str


def run_sink(box: Sandbox, call: Call) -> Answer:
    """``POST /v0/pipes/{name}/sink``: the sink node, with the job in it."""
    token, params = call.caller, call.params()
    pipe = box.workspace.pipe(call.path_values["name"])
    token.require(pipe_read_scope(pipe.name), PIPES_CREATE)
    if token.is_jwt:
        raise ApiError(403, "A JWT only reads, and cannot run a sink")
    node = pipe.node_of(NodeKind.SINK)
    if node is None:
        raise bad_request(f"Pipe '{pipe.name}' is not a sink pipe: its type is {pipe.type}")
    output = output_of(node, params, pipe.name)
    given = {key: value for key, value in params.items() if key not in _OVERRIDES}
    query = copy_query(box, pipe, node, given)
    options = {"format": output.format, "compression": output.compression, "write_strategy": output.strategy}
    options |= {"file_template": output.template, "path": str(output.folder)}
    try:
        box.engine.check(query)
    except EngineError as error:
        raise of_engine(error) from None
    job = Job(
        "sink",
        {
            "pipe_id": pipe.id,
            "pipe_name": pipe.name,
            "query_id": str(uuid.uuid4()),
            "query_sql": shown_query(box, query),
        },
        token.id,
    )

    def work(job: Job) -> None:
        with box.log.sink(pipe, job, options, given) as done:
            write(box, output, query, job, done)
        job.facts["output"] = done.output

    shown = {**described_node(box, pipe, node), "job": job.shown(call.base_url)}
    box.jobs.submit(job, work)
    return json_answer(shown)


def write(box: Sandbox, output: Output, query: str, job: Job, done: SinkRun) -> None:
    """Run the query, and write a file for each value of its template."""
    folder = (box.sinks / output.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, condition in _files(box, output, query):
        job.check()
        sql = f"/* {job.marker} */ SELECT * FROM (\n{query}\n) WHERE {condition}"  # noqa: S608
        result = box.engine.read(
            sql, _FORMATS[output.format], {"max_execution_time": "0", "max_result_bytes": "0"}, None
        )
        content = result.body
        if output.compression == "gzip":
            content = gzip.compress(content)
        path = _path(folder, name, output)
        fresh = path.with_name(f".{uuid.uuid4().hex}")
        fresh.write_bytes(content)
        fresh.replace(path)
        done.output.append(str(path.relative_to(box.sinks)))
        done.rows += result.rows
        done.read_rows += result.rows_read
        done.bytes += len(content)


def _files(box: Sandbox, output: Output, query: str) -> list[tuple[str, str]]:
    """Names of the files, without extension, each with the condition of its rows."""
    fields = [(match[1], match[2]) for match in _FIELD.finditer(output.template)]
    if not fields:
        return [(output.template, "1")]
    texts = [_text_of(column, pattern) for column, pattern in fields]
    listed = ", ".join(f"{text} AS f{index}" for index, text in enumerate(texts))
    rows = box.engine.rows(f"SELECT DISTINCT {listed} FROM (\n{query}\n) ORDER BY ALL LIMIT {_MOST_FILES + 1}")  # noqa: S608
    if len(rows) > _MOST_FILES:
        raise bad_request(f"the file template {output.template} makes more than {_MOST_FILES} files")
    found = []
    for row in rows:
        values = [str(row[f"f{index}"]) for index in range(len(fields))]
        remaining = iter(values)
        name = _FIELD.sub(lambda _match: next(remaining), output.template)  # noqa: B023 - used at once
        found.append(
            (name, " AND ".join(f"{text} = {literal(value)}" for text, value in zip(texts, values, strict=True)))
        )
    return found


def _text_of(column: str, pattern: str | None) -> str:
    return f"formatDateTime({quoted(column)}, {literal(pattern)})" if pattern else f"toString({quoted(column)})"


def output_of(node: NodeFile, params: dict[str, str], pipe: str) -> Output:
    """Where a sink node writes.

    :param params: of one run, which win over those of the node.
    :raises ApiError: 400.
    """
    settings = {**{key.removeprefix("export_"): value for key, value in node.settings.items()}, **params}
    bucket = settings.get("path") or settings.get("bucket_uri") or settings.get("kafka_topic") or ""
    folder = PurePosixPath(re.sub(r"^\w+://", "", bucket).strip("/"))
    compression = (settings.get("compression") or "none").lower()
    strategy = (settings.get("write_strategy") or settings.get("strategy") or "new").lower()
    if compression not in _COMPRESSIONS:
        raise bad_request(f"compression '{compression}' is not supported: use one of {', '.join(_COMPRESSIONS)}")
    if strategy not in _STRATEGIES:
        raise bad_request(f"write_strategy '{strategy}' is not supported: use one of {', '.join(_STRATEGIES)}")
    template = settings.get("file_template") or pipe
    if ".." in folder.parts or ".." in PurePosixPath(template).parts or template.startswith("/"):
        raise bad_request(f"the path '{bucket}/{template}' must not leave its folder")
    return Output(folder, template, checked_format(settings.get("format") or "csv"), compression, strategy)


def _path(folder: Path, name: str, output: Output) -> Path:
    extension = f".{output.format}{'.gz' if output.compression == 'gzip' else ''}"
    # Values of the rows are in the name, and must not lead out of the folder.
    name = re.sub(r"[^\w ./=:,+@()-]|\.\.", "_", name).strip("/")[:_MOST_NAME]
    path = folder / f"{name}{extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if output.strategy == "new" and path.exists():
        path = path.with_name(f"{path.name.removesuffix(extension)}_{uuid.uuid4().hex[:8]}{extension}")
    return path
