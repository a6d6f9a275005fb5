"""A file of this worker or of an object store, on its way into a data source: sent, or fetched by Tinybird."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from airflow_provider_tinybird.api.import_options import NO_OPTIONS, ImportOptions
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.files.local_or_remote import file_to_send
from airflow_provider_tinybird.jobs import submissions
from airflow_provider_tinybird.loads.files.parquet import check_file
from airflow_provider_tinybird.ndjson import Gate

log = logging.getLogger(__name__)


def upload(
    datasource: str,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    mode: str = "append",
    replace_condition: str | None = None,
    by_url: bool = False,
    max_size: int | None = None,
    options: ImportOptions = NO_OPTIONS,
    gate: Callable[[], Gate | None] = lambda: None,
) -> submissions.Submission:
    """Look at a file, and make the call that brings it in. Nothing is sent yet.

    :param gate: makes what looks at the values of a Parquet file; asked only for one. Of a file that Tinybird fetches only the least and
        greatest values are looked at.
    :raises InvalidInputError: the file cannot be sent, or its storage cannot sign an address.
    """
    file = file_to_send(path, format)
    file.check_size(max_size, fetched=by_url)
    if file.format is FileFormat.PARQUET:
        check_file(file, gate(), datasource, whole=not by_url)
    file.check_line_ends(options.dialect_new_line)
    if not by_url:
        log.info("Sending %s: %s bytes of %s%s.", file.name, f"{file.size:,}", file.format, _packed(file.gzipped))
        return submissions.import_file(
            datasource, file, mode=mode, replace_condition=replace_condition, options=options
        )
    from airflow_provider_tinybird.files.presign import presigned_url  # pulls in fsspec

    url = presigned_url(path)
    log.info("Tinybird fetches %s: %s bytes of %s%s.", file.name, f"{file.size:,}", file.format, _packed(file.gzipped))
    return submissions.import_signed_url(
        datasource, url, file, mode=mode, replace_condition=replace_condition, options=options
    )


def _packed(gzipped: bool) -> str:
    return ", gzipped" if gzipped else ""
