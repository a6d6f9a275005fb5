"""Data Sources API: put rows in, from a URL or a file. What else there is to do to a data source is in ``datasources``.

Imports exist on two generations of routes. The ``v0`` ones are documented: a URL becomes a job, a body is answered when
its rows are in. The ``v1`` ones are what Tinybird's own command line uses since 2026: always a job, and a body is the raw
file. Scope where nothing else is said: ``DATASOURCES:CREATE``.
"""

from __future__ import annotations

import re

from airflow_provider_tinybird.api.body import Body, BytesBody, FileBody, MultipartBody, form
from airflow_provider_tinybird.api.call import Call, Repeat, Reply, error_text
from airflow_provider_tinybird.api.encoding import Pairs, loadable_name, pairs
from airflow_provider_tinybird.api.errors import ImportRejectedError, InvalidInputError
from airflow_provider_tinybird.api.import_options import NO_OPTIONS, ImportOptions
from airflow_provider_tinybird.api.job import submitted_job
from airflow_provider_tinybird.api.models import FileFormat, ImportMode, ImportResult, Job
from airflow_provider_tinybird.api.redact import redact

WRITE = "DATASOURCES:CREATE"

# A body is answered when its rows are in: Tinybird's documents give no time, the upload alone can take minutes.
_BODY_TIMEOUT = 600.0
_SUBMIT_TIMEOUT = 60.0

LARGEST_FILE = {FileFormat.CSV: 500 * 2**20, FileFormat.NDJSON: 500 * 2**20, FileFormat.PARQUET: 50 * 2**20}
"""Bytes of a file that is sent: documented for multipart bodies of ``v0``. For ``v1`` nothing is."""

LARGEST_FETCHED_FILE = {FileFormat.CSV: 32 * 2**30, FileFormat.NDJSON: 32 * 2**30, FileFormat.PARQUET: 5 * 2**30}
"""Bytes of a file that Tinybird fetches, uncompressed, on the largest plans; on Free it is 10 GB, 1 GB of Parquet."""


def append_url(datasource: str, url: str, *, format: FileFormat, options: ImportOptions = NO_OPTIONS) -> Call[Job]:
    """Have Tinybird fetch a file and append it. ``POST /v0/datasources?mode=append``.

    :param datasource: name of an existing data source.
    :param url: address of the file, which Tinybird must be able to reach; plain or ``.gz``.
    :param format: format of the file.
    :param options: dialect of CSV.
    :return: the import's job, not yet done. Scope: ``DATASOURCES:CREATE``.
    """
    return _import_url(datasource, url, ImportMode.APPEND, format, None, options)


def replace_url(
    datasource: str,
    url: str,
    *,
    format: FileFormat,
    condition: str | None = None,
    options: ImportOptions = NO_OPTIONS,
) -> Call[Job]:
    """Have Tinybird fetch a file and put it in place of what is there. ``POST /v0/datasources?mode=replace``.

    Readers see either the old rows or the new ones.

    :param datasource: name or id of the data source.
    :param url: address of the file, ``http`` or ``https``.
    :param format: format of the file.
    :param condition: SQL condition: only rows that match it are replaced, by those of the file that match it. It must
        name the partition key. ``None`` replaces everything.
    :param options: dialect of CSV, and how special cases are treated.
    :return: the import's job, not yet done. Scope: ``DATASOURCES:CREATE``.
    """
    return _import_url(datasource, url, ImportMode.REPLACE, format, condition, options)


def append_url_v1(datasource: str, url: str, *, format: FileFormat) -> Call[Job]:
    """Have Tinybird fetch a file and append it. ``POST /v1/datasources/{name}/append?url=``.

    The address travels in the query string here, so prefer :func:`append_url` for presigned ones.

    :param datasource: name or id of the data source.
    :param url: address of the file, ``http`` or ``https``.
    :param format: format of the file.
    """
    return _import_v1(datasource, ImportMode.APPEND, format, None, url=checked_url(url))


def replace_url_v1(datasource: str, url: str, *, format: FileFormat, condition: str | None = None) -> Call[Job]:
    """Have Tinybird fetch a file and put it in place of what is there. ``POST /v1/datasources/{name}/replace?url=``.

    :param datasource: name or id of the data source.
    :param url: address of the file, ``http`` or ``https``.
    :param format: format of the file.
    :param condition: SQL condition: only rows that it holds for are replaced; all of them by default.
    """
    return _import_v1(datasource, ImportMode.REPLACE, format, condition, url=checked_url(url))


def append_file(datasource: str, file: FileBody, *, format: FileFormat, file_name: str) -> Call[ImportResult]:
    """Send a file and append it, as multipart. ``POST /v0/datasources?mode=append``; answered when the rows are in.

    :param datasource: name or id of the data source.
    :param file: the file; at most 500 MB of CSV or NDJSON, 50 MB of Parquet.
    :param format: format of the file.
    :param file_name: name given to Tinybird; one that ends in ``.gz`` marks a compressed file.
    :return: what became of it. Scope: ``DATASOURCES:CREATE``.
    """
    return _import_body_v0(datasource, ImportMode.APPEND, format, None, _multipart(file, format, file_name))


def replace_file(
    datasource: str,
    file: FileBody,
    *,
    format: FileFormat,
    file_name: str,
    condition: str | None = None,
) -> Call[ImportResult]:
    """Send a file as multipart and put it in place of what is there. ``POST /v0/datasources?mode=replace``.

    :param datasource: name or id of the data source.
    :param file: the file.
    :param format: format of the file.
    :param file_name: name of the file, which the form carries.
    :param condition: SQL condition: only rows that it holds for are replaced; all of them by default.
    """
    return _import_body_v0(datasource, ImportMode.REPLACE, format, condition, _multipart(file, format, file_name))


def append_body(datasource: str, content: bytes, *, format: FileFormat) -> Call[ImportResult]:
    """Send bytes as a raw body and append them. ``POST /v0/datasources?mode=append``; at most 8 MB.

    :param datasource: name or id of the data source.
    :param content: the bytes.
    :param format: format of the file.
    :return: what became of them. Scope: ``DATASOURCES:CREATE``.
    """
    return _import_body_v0(datasource, ImportMode.APPEND, format, None, BytesBody(content, format.content_type))


def replace_body(
    datasource: str, content: bytes, *, format: FileFormat, condition: str | None = None
) -> Call[ImportResult]:
    """Send bytes as a raw body and put them in place of what is there. ``POST /v0/datasources?mode=replace``; at most 8
    MB.

    :param datasource: name or id of the data source.
    :param content: the bytes.
    :param format: format of the file.
    :param condition: SQL condition: only rows that it holds for are replaced; all of them by default.
    """
    return _import_body_v0(datasource, ImportMode.REPLACE, format, condition, BytesBody(content, format.content_type))


def append_file_v1(
    datasource: str, file: Body, *, format: FileFormat, options: ImportOptions = NO_OPTIONS
) -> Call[Job]:
    """Send a file and append it, as a raw body. ``POST /v1/datasources/{name}/append``; always a job.

    :param datasource: name or id of the data source.
    :param file: the file; ``content_encoding="gzip"`` for a compressed one.
    :param format: format of the file.
    :param options: dialect of CSV.
    :return: the import's job, not yet done. Scope: ``DATASOURCES:CREATE``.
    """
    return _import_v1(datasource, ImportMode.APPEND, format, None, options, body=file)


def replace_file_v1(
    datasource: str,
    file: Body,
    *,
    format: FileFormat,
    condition: str | None = None,
    options: ImportOptions = NO_OPTIONS,
) -> Call[Job]:
    """Send a file as a raw body and put it in place of what is there. ``POST /v1/datasources/{name}/replace``; always a
    job.

    :param datasource: name or id of the data source.
    :param file: the file.
    :param format: format of the file.
    :param condition: SQL condition: only rows that it holds for are replaced; all of them by default.
    :param options: how the file is to be read.
    """
    return _import_v1(datasource, ImportMode.REPLACE, format, condition, options, body=file)


def _import_url(
    datasource: str, url: str, mode: ImportMode, format: FileFormat, condition: str | None, options: ImportOptions
) -> Call[Job]:
    return Call(
        what=f"{mode.value} a URL {_into(mode)} data source '{datasource}'",
        method="POST",
        path="/v0/datasources",
        params=_import_params(datasource, mode, format, condition, options),
        # In the body and not in the query string: a presigned address is a credential, and query strings end up in
        # access logs.
        body=form((("url", checked_url(url)),)),
        read=submitted_job,
        repeat=_repeat(mode),
        scope=WRITE,
        min_timeout=_SUBMIT_TIMEOUT,
        find_out=_find_import(datasource),
    )


def _import_body_v0(
    datasource: str,
    mode: ImportMode,
    format: FileFormat,
    condition: str | None,
    body: Body,
) -> Call[ImportResult]:
    return Call(
        what=f"{mode.value} a file {_into(mode)} data source '{datasource}'",
        method="POST",
        path="/v0/datasources",
        params=_import_params(datasource, mode, format, condition),
        body=body,
        read=read_import_result,
        repeat=_repeat(mode),
        scope=WRITE,
        min_timeout=_BODY_TIMEOUT,
        find_out=_find_import(datasource),
    )


def _import_v1(
    datasource: str,
    mode: ImportMode,
    format: FileFormat,
    condition: str | None,
    options: ImportOptions = NO_OPTIONS,
    *,
    url: str | None = None,
    body: Body | None = None,
) -> Call[Job]:
    name = loadable_name(datasource)
    return Call(
        what=f"{mode.value} a {'URL' if url else 'file'} {_into(mode)} data source '{datasource}'",
        method="POST",
        path=f"/v1/datasources/{name}/{mode.value}",
        params=pairs(
            {
                "format": format.value,
                "url": url,
                "replace_condition": _condition("replace_condition", condition),
                **options.parameters(mode, format, condition),
            }
        ),
        body=body,
        read=submitted_job,
        repeat=_repeat(mode),
        scope=WRITE,
        min_timeout=_BODY_TIMEOUT if body else _SUBMIT_TIMEOUT,
        find_out=_find_import(datasource),
    )


# The API's own defaults are mode=create and format=csv, so both are always sent.
def _import_params(
    datasource: str,
    mode: ImportMode,
    format: FileFormat,
    condition: str | None,
    options: ImportOptions = NO_OPTIONS,
) -> Pairs:
    loadable_name(datasource)
    return pairs(
        {
            "mode": mode.value,
            "name": datasource,
            "format": format.value,
            "replace_condition": _condition("replace_condition", condition),
            **options.parameters(mode, format, condition),
        }
    )


def _multipart(file: FileBody, format: FileFormat, file_name: str) -> MultipartBody:
    return MultipartBody("csv" if format is FileFormat.CSV else "ndjson", file_name, file)


def _repeat(mode: ImportMode) -> Repeat:
    return Repeat.ONCE if mode is ImportMode.APPEND else Repeat.IDEMPOTENT


def _into(mode: ImportMode) -> str:
    return "to" if mode is ImportMode.APPEND else "in"


def _find_import(datasource: str) -> str:
    return f"Look for it in the jobs list (GET /v0/jobs?kind=import) or count the rows of '{datasource}' before running it again."


def checked_url(url: str) -> str:
    """Check that Tinybird can fetch an address; a message never shows its query, which may be a credential."""
    if (
        not isinstance(url, str)
        or not re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", url, re.IGNORECASE)
        or url.lower().startswith("file:")
    ):
        shown = redact(re.sub(r"\?.*", "?***", str(url), flags=re.DOTALL))
        raise InvalidInputError(
            f"{shown!r} is no address that Tinybird can fetch: give an http(s) URL, or append the file itself from here."
        )
    return url


def _condition(name: str, condition: str | None) -> str | None:
    if condition is not None and not condition.strip():
        raise InvalidInputError(
            f"{name} is blank: without a condition everything would be touched. Leave it out if that is meant."
        )
    return condition


def read_import_result(reply: Reply) -> ImportResult:
    """Read what became of rows that were sent in a body."""
    body = reply.json_object()
    quarantine_rows = int(body.get("quarantine_rows", body.get("quarantined_rows")) or 0)
    invalid_lines = int(body.get("invalid_lines") or 0)
    words = error_text(body)
    # ``error`` may be true merely because rows went to quarantine; the good rows are in then, and sending all again
    # doubles them.
    if words or (body.get("error") and not quarantine_rows and not invalid_lines):
        raise ImportRejectedError(
            f"Could not {reply.what}: {words or 'Tinybird says only that it failed'}. Rows in quarantine: {quarantine_rows}, "
            f"unreadable lines: {invalid_lines}. Some rows may be in: look before sending the file again."
        )
    datasource = body.get("datasource")
    return ImportResult(
        import_id=str(body.get("import_id") or ""),
        datasource=str(datasource.get("name") or "") if isinstance(datasource, dict) else "",
        quarantine_rows=quarantine_rows,
        invalid_lines=invalid_lines,
        raw={key: value for key, value in body.items() if key not in ("blocks", "block_log")},
    )
