"""What Tinybird answers, as values with types. Jobs are in :mod:`airflow_provider_tinybird.api.job`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class ImportMode(StrEnum):
    """How an import treats the rows that are there: keep them, or swap them for the new ones at once."""

    APPEND = "append"
    REPLACE = "replace"


class FileFormat(StrEnum):
    """Format of a file that is imported."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"

    @property
    def content_type(self) -> str:
        """Media type that Tinybird's clients send it with."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    FileFormat.CSV: "text/csv",
    FileFormat.NDJSON: "application/x-ndjson",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
}


class EndpointFormat(StrEnum):
    """Format of an endpoint's answer."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    PROMETHEUS = "prometheus"


@dataclass(frozen=True, slots=True)
class EventsResult:
    """What became of a body of events. A success can carry quarantined rows.

    :param successful_rows: rows that are in the data source (or, without ``wait``, were accepted).
    :param quarantined_rows: rows that did not fit and went to ``<datasource>_quarantine``.
    """

    successful_rows: int
    quarantined_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What became of a file that was sent to the v0 route, which answers when it is done.

    :param import_id: id of the import, as in ``tinybird.datasources_ops_log``.
    :param datasource: name of the data source.
    :param quarantine_rows: rows that went to quarantine.
    :param invalid_lines: lines that could not be read at all.
    :param raw: the answer as JSON, without its blocks.
    """

    import_id: str
    datasource: str
    quarantine_rows: int
    invalid_lines: int
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Truncated:
    """The data source was emptied.

    :param result: body of the answer, usually empty.
    """

    result: Any = None


@dataclass(frozen=True, slots=True)
class RowsToDelete:
    """What a dry run of a delete found.

    :param rows_to_be_deleted: rows that match the condition.
    """

    rows_to_be_deleted: int


@dataclass(frozen=True, slots=True)
class RowsDeleted:
    """What a lightweight delete did, when waited for.

    :param rows_affected: rows that were deleted.
    :param mutation: counts of partitions.
    """

    rows_affected: int
    mutation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnMeta:
    """Name and ClickHouse type of a column of a result."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Result of a query or an endpoint as JSON.

    :param data: rows. Values of ``Decimal`` columns are :class:`decimal.Decimal`, with all of their digits.
    :param meta: columns.
    :param rows: number of rows.
    :param rows_before_limit_at_least: rows there would be without a LIMIT; ``None`` where there is no LIMIT.
    :param statistics: ``elapsed`` (seconds), ``rows_read``, ``bytes_read``.
    :param replaced: columns with the character U+FFFD in them. It may be the data's own, or what ClickHouse writes into JSON for
        bytes that are not UTF-8: :func:`~airflow_provider_tinybird.api.query.count_bad_text` tells which.
    """

    data: tuple[Mapping[str, Any], ...]
    meta: tuple[ColumnMeta, ...]
    rows: int
    rows_before_limit_at_least: int | None
    statistics: Mapping[str, Any]
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawResult:
    """Result of a query or an endpoint in any other format.

    :param content: the bytes.
    :param format: format that was asked for.
    """

    content: bytes = field(repr=False)
    format: str

    @property
    def text(self) -> str:
        """The bytes as text."""
        return self.content.decode("utf-8", errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasource:
    """A data source.

    :param id: id, which survives a rename.
    :param name: name.
    :param engine: ClickHouse engine with its keys, as Tinybird tells it.
    :param columns: columns; empty where only some attributes were asked for.
    :param rows: rows that Tinybird counts; ``None`` where it does not say.
    :param bytes: bytes that Tinybird counts.
    :param raw: the answer as JSON.
    """

    id: str
    name: str
    engine: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[ColumnMeta, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    """A pipe.

    :param id: id, which survives a rename.
    :param name: name.
    :param type: ``endpoint``, ``copy``, ``materialized``, ``sink``, ``stream`` or ``default``.
    :param nodes: names of its nodes, in order.
    :param raw: the answer as JSON.
    """

    id: str
    name: str
    type: str = ""
    nodes: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The workspace that a token belongs to.

    :param is_forward: whether it is a Forward workspace; ``None`` where Tinybird does not say.
    :param raw: the answer as JSON.
    """

    id: str
    name: str
    is_forward: bool | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """What Tinybird says of a token.

    :param is_valid: whether Tinybird knows it.
    :param is_user: whether it is a user's token rather than a workspace's.
    """

    is_valid: bool
    is_user: bool


class JobStatus(StrEnum):
    """Where a job stands. Only ``done`` is success; ``cancelling`` still goes on."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    ERROR = "error"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """A status that this version does not know: not over, so it is polled on until the deadline."""

    @classmethod
    def parse(cls, text: object) -> JobStatus:
        """Read a status; what is not known becomes ``UNKNOWN``."""
        try:
            return cls(str(text))
        except ValueError:
            return cls.UNKNOWN

    @property
    def is_terminal(self) -> bool:
        """Whether the job is over."""
        return self in (JobStatus.DONE, JobStatus.ERROR, JobStatus.CANCELLED)

    @property
    def is_successful(self) -> bool:
        """Whether the job is over and good."""
        return self is JobStatus.DONE


@dataclass(frozen=True, slots=True)
class BlockCounts:
    """What the blocks of an import say of its rows. The job's ``statistics`` describe the whole table instead.

    :param lines: lines that were read.
    :param quarantined: rows that went to the quarantine data source.
    :param bytes: bytes that were read.
    :param parts: entries of the blocks that tell lines; without any, the numbers are no counts.
    :param blocks: blocks that there are.
    """

    lines: int
    quarantined: int
    bytes: int
    parts: int = field(default=1, compare=False)
    blocks: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as Tinybird last described it.

    :param id: job id, a UUID.
    :param kind: ``import``, ``copy``, ``delete_data``, ``populateview``, ...; some kinds are undocumented, so never
        branch on it.
    :param status: where it stands.
    :param status_text: the status in Tinybird's own word.
    :param error: what went wrong, in Tinybird's words; empty when nothing did.
    :param datasource: name of the data source it writes to, or its id where only that is known.
    :param rows_affected: rows that a delete removed.
    :param quarantine_rows: rows that an import put into quarantine.
    :param invalid_lines: lines that an import could not read at all.
    :param blocks: counts of an import's blocks, where they were asked for.
    :param raw: the job as JSON, without its blocks.
    """

    id: str
    kind: str = ""
    status: JobStatus
    status_text: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    is_cancellable: bool | None = None
    error: str = ""
    datasource: str = ""
    pipe: str = ""
    mode: str = ""
    rows_affected: int | None = None
    quarantine_rows: int | None = None
    invalid_lines: int | None = None
    blocks: BlockCounts | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        # Tinybird's own words for the kinds, but for "delete_data" and "populateview", over which people stumble.
        kind = self.kind.removesuffix("_data").removesuffix("view")
        return f"{kind} job {self.id}" if kind else f"job {self.id}"
