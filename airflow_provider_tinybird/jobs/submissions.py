"""What a task asks Tinybird to start, and what a job in Tinybird's list would show of it.

Tinybird has no idempotency keys. When the answer to a submit is lost, all there is to go by is whether the list has a
job that agrees with the request in everything that a job shows of it, and whether that much tells it from other
requests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from airflow_provider_tinybird.api import datasources, imports, pipes
from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.encoding import is_id
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.import_options import NO_OPTIONS, ImportOptions
from airflow_provider_tinybird.api.models import FileFormat, ImportMode, Job
from airflow_provider_tinybird.api.pipes import CopyMode
from airflow_provider_tinybird.files.local_or_remote import FileToSend


class Agreement(Enum):
    """Whether a job is the one that was asked for. What its record does not show is no agreement."""

    YES = "yes"
    NO = "no"
    """Something that it shows says otherwise."""
    SILENT = "silent"
    """What it shows agrees, and it does not show all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A call that starts a job.

    :param call: the call.
    :param request: everything that makes this request what it is, as JSON: two submissions with the same are the same.
    :param kind: kind of the job, to filter the list by; empty where Tinybird does not document it.
    :param pipe: pipe that the job runs, name or id.
    :param datasource: data source that the job writes to, name or id; empty where the job's pipe decides.
    :param shows: what else the job's record shows of the request.
    :param unsigned_url: address of the file without its signature, where that is new each time.
    :param identifies: whether that tells it from other requests. The parameters of a copy, for one, are not in its
        record.
    :param fails_clean: whether a job that failed has written nothing. That is taken to be so of copies, which are one insert; Tinybird
        does not promise it.
    """

    call: Call[Job]
    request: Mapping[str, Any] = field(repr=False)  # may hold a presigned address, as the next may
    kind: str = ""
    pipe: str = ""
    datasource: str = ""
    shows: Mapping[str, str] = field(default_factory=dict, repr=False)
    unsigned_url: str = ""
    identifies: bool = False
    fails_clean: bool = False

    @property
    def is_idempotent(self) -> bool:
        """Whether doing it twice leaves what doing it once leaves."""
        return self.call.repeat is not Repeat.ONCE

    @property
    def fingerprint(self) -> str:
        """Short text that is the same for the same request, and tells nothing of it."""
        text = json.dumps([self.call.what, self.request], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def agrees(self, job: Job) -> Agreement:
        """Tell whether a job is this submission's, by all that its record shows of the request."""
        raw = job.raw
        said = [_value(raw.get(key), value) for key, value in self.shows.items() if key != "url"]
        if self.kind:
            said.append(_value(job.kind or None, self.kind))
        if self.pipe:
            said.append(_name(self.pipe, name=raw.get("pipe_name"), id=raw.get("pipe_id")))
        if self.datasource:
            said.append(_target(self.datasource, raw.get("datasource")))
        if "url" in self.shows:
            said.append(_url(raw.get("url"), self.shows["url"]))
        if self.unsigned_url:
            shown = raw.get("url")
            said.append(_value(str(shown).partition("?")[0] if shown else None, self.unsigned_url))
        if Agreement.NO in said:
            return Agreement.NO
        return Agreement.SILENT if Agreement.SILENT in said else Agreement.YES


def import_url(
    datasource: str,
    url: str,
    *,
    format: FileFormat,
    mode: str,
    replace_condition: str | None,
    options: ImportOptions = NO_OPTIONS,
) -> Submission:
    """Have Tinybird fetch a file."""
    kind = import_mode(mode, replace_condition)
    if kind is ImportMode.APPEND:
        call = imports.append_url(datasource, url, format=format, options=options)
    else:
        call = imports.replace_url(datasource, url, format=format, condition=replace_condition, options=options)
    return Submission(
        call=call,
        request={
            "url": url,
            "format": format.value,
            "mode": kind.value,
            "replace_condition": replace_condition,
            **options.described(),
        },
        kind="import",
        datasource=datasource,
        shows={"url": url, "mode": kind.value},
        identifies=True,
    )


def import_signed_url(
    datasource: str,
    url: str,
    file: FileToSend,
    *,
    mode: str,
    replace_condition: str | None,
    options: ImportOptions = NO_OPTIONS,
) -> Submission:
    """Have Tinybird fetch a file of an object store, by a URL that is signed for each attempt."""
    if file.gzipped and not file.name.lower().endswith(".gz"):
        raise InvalidInputError(
            f"The file {file.name!r} is gzipped, which Tinybird sees by the name of a file that it fetches: let it end in .gz, or leave "
            "by_url out."
        )
    unsigned = url.partition("?")[0]
    signed = import_url(
        datasource, url, format=file.format, mode=mode, replace_condition=replace_condition, options=options
    )
    return replace(
        signed,
        request={**signed.request, "url": unsigned, "size": file.size},
        shows={"mode": signed.shows["mode"]},
        unsigned_url=unsigned,
    )


def import_file(
    datasource: str,
    file: FileToSend,
    *,
    mode: str,
    replace_condition: str | None,
    options: ImportOptions = NO_OPTIONS,
) -> Submission:
    """Send a file. Its job shows nothing of its content."""
    kind = import_mode(mode, replace_condition)
    body = file.as_body()
    if kind is ImportMode.APPEND:
        call = imports.append_file_v1(datasource, body, format=file.format, options=options)
    else:
        call = imports.replace_file_v1(
            datasource, body, format=file.format, condition=replace_condition, options=options
        )
    return Submission(
        call=call,
        request={
            "file": file.name,
            "size": file.size,
            "format": file.format.value,
            "mode": kind.value,
            "replace_condition": replace_condition,
            **options.described(),
        },
        kind="import",
        datasource=datasource,
        shows={"mode": kind.value},
    )


def delete_rows(datasource: str, delete_condition: str, *, lightweight: bool) -> Submission:
    """Delete rows by condition."""
    start = datasources.delete_rows_v1 if lightweight else datasources.delete_rows
    return Submission(
        call=start(datasource, delete_condition),
        request={"delete_condition": delete_condition, "lightweight": lightweight},
        kind="" if lightweight else "delete_data",
        datasource=datasource,
        shows={"delete_condition": delete_condition},
        identifies=True,
    )


def run_copy(
    pipe: str, parameters: Mapping[str, Any] | None, *, mode: str | None, on_demand_compute: bool
) -> Submission:
    """Run a copy pipe. Its job does not show the parameters, so another run of the pipe looks the same."""
    kind = copy_mode(mode)
    return Submission(
        call=pipes.copy(pipe, parameters, mode=kind, on_demand_compute=on_demand_compute),
        request={
            "parameters": parameters or {},
            "mode": kind.value if kind else None,
            "on_demand_compute": on_demand_compute,
        },
        kind="copy",
        pipe=pipe,
        fails_clean=True,
    )


def run_sink(pipe: str, parameters: Mapping[str, Any] | None) -> Submission:
    """Run a sink pipe. The kind of its job is not documented."""
    return Submission(call=pipes.sink(pipe, parameters), request={"parameters": parameters or {}}, pipe=pipe)


def populate(pipe: str, node: str, **options: Any) -> Submission:
    """Fill a materialized view; the options are those of :func:`airflow_provider_tinybird.api.pipes.populate`."""
    return Submission(
        call=pipes.populate(pipe, node, **options), request={"node": node, **options}, kind="populateview", pipe=pipe
    )


def copy_mode(mode: str | None) -> CopyMode | None:
    """Read the mode of a copy.

    :raises InvalidInputError: it is neither ``append`` nor ``replace``.
    """
    if mode is None:
        return None
    try:
        return CopyMode(mode)
    except ValueError:
        raise InvalidInputError(
            f"mode={mode!r} is no mode of a copy: give 'append' or 'replace', or leave it out."
        ) from None


def import_mode(mode: str, replace_condition: str | None) -> ImportMode:
    """Read the mode of an import.

    :raises InvalidInputError: it is neither ``append`` nor ``replace``, or a condition goes with ``append``.
    """
    try:
        kind = ImportMode(mode)
    except ValueError:
        raise InvalidInputError(f"mode={mode!r} is no mode of an import: give 'append' or 'replace'.") from None
    if kind is ImportMode.APPEND and replace_condition is not None:
        raise InvalidInputError("replace_condition goes with mode='replace'; mode='append' would ignore it.")
    return kind


def _value(shown: object, asked: str) -> Agreement:
    if shown in (None, ""):
        return Agreement.SILENT
    return Agreement.YES if shown == asked else Agreement.NO


def _name(asked: str, *, name: object, id: object) -> Agreement:
    """Compare a name or an id, where the record may show either."""
    if asked in (name, id):
        return Agreement.YES
    same_kind = id if is_id(asked) else name
    return Agreement.NO if same_kind else Agreement.SILENT


def _target(asked: str, datasource: object) -> Agreement:
    if isinstance(datasource, Mapping):
        return _name(asked, name=datasource.get("name"), id=datasource.get("id"))
    # Text, of which it is not said whether it is a name or an id.
    if datasource == asked:
        return Agreement.YES
    return Agreement.SILENT if not datasource or is_id(str(datasource)) != is_id(asked) else Agreement.NO


def _url(shown: object, asked: str) -> Agreement:
    """Compare URLs. A query string may be a signature, which a record may well leave out."""
    if shown in (None, ""):
        return Agreement.SILENT
    if shown == asked:
        return Agreement.YES
    return Agreement.SILENT if str(shown) == asked.partition("?")[0] else Agreement.NO
