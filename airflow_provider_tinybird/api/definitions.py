"""Data Sources API: create, change, swap, share and drop data sources. A Forward workspace refuses most of it with 403: there a
deployment does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from airflow_provider_tinybird.api.body import Body, FileBody, MultipartBody, form
from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.datasources import WRITE, read_datasource
from airflow_provider_tinybird.api.encoding import Pairs, pairs, resource_name
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.imports import checked_url, read_import_result
from airflow_provider_tinybird.api.job import submitted_job
from airflow_provider_tinybird.api.models import Datasource, FileFormat, ImportResult, Job
from airflow_provider_tinybird.api.resources import Alteration
from airflow_provider_tinybird.api.sending import MANAGE_TIMEOUT, nothing, required

T = TypeVar("T")

_FILE_TIMEOUT = 600.0


def create_datasource(
    name: str, schema: str, *, engine: str | None = None, engine_options: Mapping[str, str] | None = None
) -> Call[Datasource]:
    """Create an empty data source. ``POST /v0/datasources`` with a form; Classic only; 25 a minute.

    :param name: its name, no reserved word.
    :param schema: columns, separated by commas: name, type, and for NDJSON and Parquet the JSONPath in backticks.
    :param engine: ClickHouse engine; by default MergeTree.
    :param engine_options: such as ``{"sorting_key": "day", "partition_key": "toYYYYMM(day)"}``.
    :return: the data source. Scope: ``DATASOURCES:CREATE``.
    :raises ConflictError: the name is taken.
    """
    resource_name("data source", name)
    fields = {"name": name, "schema": required("schema", schema), "engine": engine}
    return _create(name, (), form(pairs(fields) + _engine(engine_options)), _created, MANAGE_TIMEOUT)


def create_datasource_from_url(
    name: str, url: str, *, format: FileFormat, schema: str | None = None, type_guessing: bool = True
) -> Call[Job]:
    """Create a data source and have Tinybird fetch its first rows. ``POST /v0/datasources``; Classic only.

    :param name: its name, no reserved word.
    :param url: where the file is; ``http`` or ``https``.
    :param format: format of the file.
    :param schema: as in :func:`create_datasource`; needed unless the file is CSV.
    :param type_guessing: without it each column of a CSV is text.
    :return: the import's job, not yet done. Scope: ``DATASOURCES:CREATE``.
    """
    params = _first_rows(name, format, schema, type_guessing)
    return _create(name, params, form((("url", checked_url(url)),)), submitted_job, MANAGE_TIMEOUT)


def create_datasource_from_file(
    name: str,
    file: FileBody,
    *,
    format: FileFormat,
    file_name: str,
    schema: str | None = None,
    type_guessing: bool = True,
) -> Call[ImportResult]:
    """Create a data source with the rows of a file. ``POST /v0/datasources``, multipart; Classic only.

    :param name: its name, no reserved word.
    :param file: the file; at most 500 MB of CSV or NDJSON, 50 MB of Parquet.
    :param format: format of the file.
    :param file_name: name of the file, which the form carries.
    :param schema: as in :func:`create_datasource`; needed unless the file is CSV.
    :param type_guessing: without it each column of a CSV is text.
    :return: what became of its rows. Scope: ``DATASOURCES:CREATE``.
    """
    body = MultipartBody("csv" if format is FileFormat.CSV else "ndjson", file_name, file)
    params = _first_rows(name, format, schema, type_guessing)
    return _create(name, params, body, read_import_result, _FILE_TIMEOUT)


def get_datafile(datasource: str) -> Call[str]:
    """Get the text of a data source's file. ``GET /v0/datasources/{name}.datasource``.

    :param datasource: name or id of the data source.
    :return: the text. Scope: ``DATASOURCES:READ:<datasource>``.
    """
    return Call(
        what=f"get the file of data source '{datasource}'",
        method="GET",
        path=f"/v0/datasources/{resource_name('data source', datasource)}.datasource",
        read=lambda reply: reply.text,
        repeat=Repeat.READ,
        scope=f"DATASOURCES:READ:{datasource}",
    )


def update_datasource(
    datasource: str, *, name: str | None = None, connector: Mapping[str, str] | None = None
) -> Call[Datasource]:
    """Rename a data source or change its connector. ``PUT /v0/datasources/{name}`` with a form; Classic only.

    :param datasource: name or id of the data source.
    :param name: its new name, no reserved word.
    :param connector: fields of the connector's configuration.
    :return: the data source. Scope: ``DATASOURCES:CREATE``.
    :raises ConflictError: the new name is taken.
    """
    if name is not None:
        resource_name("data source", name)
    fields = pairs({"name": name, **(connector or {})})
    if not fields:
        raise InvalidInputError(f"Nothing to change about data source '{datasource}': give name or connector.")
    return Call(
        what=f"update data source '{datasource}'",
        method="PUT",
        path=f"/v0/datasources/{resource_name('data source', datasource)}",
        body=form(fields),
        read=_created,
        # A second rename finds the old name gone, or the data source that took it meanwhile.
        repeat=Repeat.ONCE if name else Repeat.IDEMPOTENT,
        scope=WRITE,
        min_timeout=MANAGE_TIMEOUT,
        find_out="Look at the data source (GET /v0/datasources).",
    )


def alter_datasource(
    datasource: str,
    *,
    schema: str | None = None,
    description: str | None = None,
    ttl: str | None = None,
    indexes: str | None = None,
    dry: bool = False,
) -> Call[Alteration]:
    """Change the schema, description, time to live or indexes. ``POST /v0/datasources/{name}/alter`` with a form; Classic only.

    :param datasource: name or id of the data source.
    :param schema: the whole new schema; columns can be added at the end.
    :param description: text about it.
    :param ttl: SQL expression; ``"false"`` takes it away.
    :param indexes: the indexes, as in a data source's file.
    :param dry: only tell what would be done. The field is ``dry`` here, other than the ``dry_run`` of a delete.
    :return: the operations. Scope: ``DATASOURCES:CREATE``.
    """
    fields = pairs({"schema": schema, "description": description, "ttl": ttl, "indexes": indexes})
    if not fields:
        raise InvalidInputError(f"Nothing to alter about data source '{datasource}': give schema, description or ttl.")
    return Call(
        what=f"{'plan to ' if dry else ''}alter data source '{datasource}'",
        method="POST",
        path=f"/v0/datasources/{resource_name('data source', datasource)}/alter",
        body=form((*fields, ("dry", "true" if dry else "false"))),
        read=_alteration,
        repeat=Repeat.READ if dry else Repeat.IDEMPOTENT,
        scope=WRITE,
        min_timeout=MANAGE_TIMEOUT,
    )


def drop_datasource(datasource: str, *, force: bool = False, dry_run: bool = False) -> Call[None]:
    """Drop a data source and its rows. ``DELETE /v0/datasources/{name}``; Classic only.

    :param datasource: name or id of the data source.
    :param force: also when something depends on it.
    :param dry_run: only find out whether it could be dropped.
    :raises ConflictError: something depends on it. Scope: ``DATASOURCES:DROP:<datasource>``.
    """
    return Call(
        what=f"drop data source '{datasource}'",
        method="DELETE",
        path=f"/v0/datasources/{resource_name('data source', datasource)}",
        params=pairs({"force": force, "dry_run": dry_run}),
        read=nothing,
        repeat=Repeat.READ if dry_run else Repeat.IDEMPOTENT,
        scope=f"DATASOURCES:DROP:{datasource}",
        min_timeout=MANAGE_TIMEOUT,
    )


def exchange_datasources(a: str, b: str) -> Call[None]:
    """Swap two data sources of the same schema at once. ``POST /v0/datasources/exchange`` with a form; Classic only.

    Done twice it undoes itself, so it is never sent again. Scope: ``DATASOURCES:CREATE``.

    :param a: name or id of the one.
    :param b: name or id of the other.
    """
    resource_name("data source", a), resource_name("data source", b)
    return Call(
        what=f"exchange data sources '{a}' and '{b}'",
        method="POST",
        path="/v0/datasources/exchange",
        body=form((("datasource_a", a), ("datasource_b", b))),
        read=nothing,
        repeat=Repeat.ONCE,
        scope=WRITE,
        min_timeout=MANAGE_TIMEOUT,
        find_out=f"Compare the rows of '{a}' and '{b}': a second exchange undoes the first.",
    )


def share_datasource(datasource_id: str, *, origin_workspace_id: str, destination_workspace_id: str) -> Call[None]:
    """Let another workspace read a data source. ``POST /v0/datasources/{id}/share`` with a form. Scope: a user's token.

    :param datasource_id: id of the data source.
    :param origin_workspace_id: id of the workspace that it belongs to.
    :param destination_workspace_id: id of the other workspace.
    """
    return _share("POST", "share", datasource_id, origin_workspace_id, destination_workspace_id)


def unshare_datasource(datasource_id: str, *, origin_workspace_id: str, destination_workspace_id: str) -> Call[None]:
    """Take that back. ``DELETE /v0/datasources/{id}/share`` with a form. Scope: a user's token.

    :param datasource_id: id of the data source.
    :param origin_workspace_id: id of the workspace that it belongs to.
    :param destination_workspace_id: id of the other workspace.
    """
    return _share("DELETE", "unshare", datasource_id, origin_workspace_id, destination_workspace_id)


def _share(method: str, verb: str, datasource_id: str, origin: str, destination: str) -> Call[None]:
    return Call(
        what=f"{verb} data source '{datasource_id}'",
        method=method,
        path=f"/v0/datasources/{resource_name('data source', datasource_id)}/share",
        body=form((("origin_workspace_id", origin), ("destination_workspace_id", destination))),
        read=nothing,
        repeat=Repeat.IDEMPOTENT,
        scope="a user's token that is admin of both workspaces",
    )


# 409 tells the second one that the first was done, but also that the name was taken before: so it is not sent twice.
def _create(name: str, params: Pairs, body: Body, read: Callable[[Reply], T], min_timeout: float) -> Call[T]:
    return Call(
        what=f"create data source '{name}'",
        method="POST",
        path="/v0/datasources",
        params=params,
        body=body,
        read=read,
        repeat=Repeat.ONCE,
        scope=WRITE,
        min_timeout=min_timeout,
        find_out=f"Look whether there is data source '{name}', and count its rows.",
    )


def _first_rows(name: str, format: FileFormat, schema: str | None, type_guessing: bool) -> Pairs:
    resource_name("data source", name)
    if schema is None and format is not FileFormat.CSV:
        raise InvalidInputError(f"Data source '{name}': only the schema of a CSV file is guessed; give schema.")
    values = {"mode": "create", "name": name, "format": format.value, "schema": schema}
    return pairs({**values, "type_guessing": None if type_guessing else False})


def _engine(options: Mapping[str, str] | None) -> Pairs:
    return pairs({f"engine_{key.removeprefix('engine_')}": value for key, value in (options or {}).items()})


def _created(reply: Reply) -> Datasource:
    body = reply.json_object()
    return read_datasource(body.get("datasource") or body)


def _alteration(reply: Reply) -> Alteration:
    body = reply.json_object()
    return Alteration(
        operations=tuple(map(str, body["operations"])),
        dependencies=tuple(map(str, body.get("dependencies") or ())),
        raw=body,
    )
