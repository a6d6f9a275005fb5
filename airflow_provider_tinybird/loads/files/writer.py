"""Slices of rows -> files of a bounded size. A file has no name: whatever kills the worker, nothing of it stays on the disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, cast

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.files.local_or_remote import FileToSend
from airflow_provider_tinybird.loads.files.slices import Slice

SLICE_BYTES = 4_000_000
"""Bytes of rows that are in memory at once: the row group of Parquet, the piece of NDJSON."""

_PLAIN_TIMES = 10  # a file of NDJSON may have so many times its bound before compression: Tinybird's documents do not say which counts
_FOOTER_BYTES = 200  # of Parquet, for each column of each row group
_GZIP = 31  # zlib's number for a gzip header
_READ = 1024 * 1024


class NoRoomError(InvalidInputError):
    """A file of rows cannot be written where it was to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large files may be.

    :param max_file_bytes: bytes on disk. Tinybird takes 50 MB of Parquet at the most, and 500 MB of NDJSON.
    :param folder: where they are written; by default where the system keeps its temporary files.
    """

    max_file_bytes: int = 45_000_000
    folder: str | None = None

    @property
    def slice_bytes(self) -> int:
        """Bytes of a slice: a few of them fit into a file."""
        return max(1, min(SLICE_BYTES, self.max_file_bytes // 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """A file that is ready to be sent, until the next one is asked for.

    :param rows: rows in it.
    :param size: bytes on disk.
    :param format: Parquet (zstd), or NDJSON (gzipped).
    :param digest: of what is in it: the same rows, cut in the same places by the same version of pyarrow, have the same.
    :param is_last: whether there are no more rows.
    """

    rows: int
    size: int
    format: FileFormat
    digest: str
    is_last: bool
    _file: BinaryIO = field(repr=False)

    def as_file_to_send(self) -> FileToSend:
        """Make it what the import of a file takes."""
        gzipped = self.format is FileFormat.NDJSON
        return FileToSend(
            name=f"{self.digest}.{self.format.value}{'.gz' if gzipped else ''}",
            size=self.size,
            format=self.format,
            gzipped=gzipped,
            open_file=self.open,
        )

    def open(self) -> BinaryIO:
        """Open it at its start."""
        copy = os.fdopen(os.dup(self._file.fileno()), "rb")
        copy.seek(0)
        return copy


def row_files(slices: Iterable[Slice], limits: Limits) -> Iterator[RowFile]:
    """Files of a bounded size, one at a time: each is gone when the next one is asked for.

    :param slices: rows, each slice not larger than ``limits.slice_bytes``; a format that changes starts a new file.
    :param limits: how large files may be.
    :raises NoRoomError: the disk is full, or there is no such folder.
    """
    writer: _Writer | None = None
    try:
        for one in slices:
            if writer is not None and not writer.takes(one):
                yield _finished(writer, limits, is_last=False)
                writer.close()
                writer = None
            with _clear_refusal(limits):
                if writer is None:
                    writer = _writer(one, limits)
                writer.write(one)
        if writer is not None:
            yield _finished(writer, limits, is_last=True)
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _clear_refusal(limits: Limits) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise NoRoomError(
            f"A file of rows cannot be written to {limits.folder or tempfile.gettempdir()}: {e.strerror or e}. It takes up to "
            f"{limits.max_file_bytes:,} bytes: give a folder with as much room (spool_folder), or smaller files (max_file_bytes)."
        ) from e


def _finished(writer: _Writer, limits: Limits, *, is_last: bool) -> RowFile:
    with _clear_refusal(limits):
        return writer.finish(is_last=is_last)


class _Writer(Protocol):
    def takes(self, one: Slice) -> bool:
        """Tell whether a slice has room in it."""

    def write(self, one: Slice) -> None:
        """Write a slice."""

    def finish(self, *, is_last: bool) -> RowFile:
        """End the file."""

    def close(self) -> None:
        """Give its room on the disk back."""


def _writer(one: Slice, limits: Limits) -> _Writer:
    file = cast(BinaryIO, tempfile.TemporaryFile(dir=limits.folder))  # noqa: SIM115 - closed by the writer
    if one.format is FileFormat.PARQUET:
        return _ParquetWriter(file, limits, one.table.schema)
    return _LinesWriter(file, limits)


class _ParquetWriter:
    def __init__(self, file: BinaryIO, limits: Limits, schema: Any) -> None:
        import pyarrow.parquet as pq

        self._file = file
        self._limits = limits
        self._schema = schema
        self._rows = 0
        self._waiting: list[Any] = []  # small slices make one row group
        self._waiting_bytes = 0
        self._groups = 0
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def takes(self, one: Slice) -> bool:
        # Bytes before compression, as a slice that does not shrink must not put the file above its bound.
        footer = (self._groups + 2) * len(self._schema) * _FOOTER_BYTES
        size = self._file.tell() + self._waiting_bytes + one.size + footer
        return one.format is FileFormat.PARQUET and size <= self._limits.max_file_bytes

    def write(self, one: Slice) -> None:
        self._waiting.append(one.table)
        self._waiting_bytes += one.size
        self._rows += one.rows
        if self._waiting_bytes >= self._limits.slice_bytes // 2:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._waiting, self._waiting_bytes = [], 0
            self._groups += 1

    def finish(self, *, is_last: bool) -> RowFile:
        self._write_group()
        self._writer.close()
        self._file.flush()
        size = self._file.seek(0, os.SEEK_END)
        digest = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_READ):
            digest.update(chunk)
        return RowFile(
            rows=self._rows,
            size=size,
            format=FileFormat.PARQUET,
            digest=digest.hexdigest()[:32],
            is_last=is_last,
            _file=self._file,
        )

    def close(self) -> None:
        with suppress(OSError):  # a full disk, which was told
            self._writer.close()  # or it would write into the closed file later
        _close(self._file)


class _LinesWriter:
    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._rows = 0
        self._plain = 0
        self._digest = hashlib.sha256()
        # Level 1: with the rows of a load it is four times as fast as the default level and compresses nearly as well.
        self._zip = zlib.compressobj(1, zlib.DEFLATED, _GZIP)

    def takes(self, one: Slice) -> bool:
        most = self._limits.max_file_bytes
        return (
            one.format is FileFormat.NDJSON
            and self._file.tell() + one.size <= most
            and self._plain + one.size <= most * _PLAIN_TIMES
        )

    def write(self, one: Slice) -> None:
        lines = one.lines or memoryview(b"")
        self._file.write(self._zip.compress(lines))
        self._file.write(self._zip.flush(zlib.Z_SYNC_FLUSH))  # so that the file is as long as it seems
        self._digest.update(lines)
        self._rows += one.rows
        self._plain += one.size

    def finish(self, *, is_last: bool) -> RowFile:
        self._file.write(self._zip.flush())
        self._file.flush()
        return RowFile(
            rows=self._rows,
            size=self._file.seek(0, os.SEEK_END),
            format=FileFormat.NDJSON,
            digest=self._digest.hexdigest()[:32],
            is_last=is_last,
            _file=self._file,
        )

    def close(self) -> None:
        _close(self._file)


def _close(file: BinaryIO) -> None:
    with suppress(OSError):  # what is still to be written does not go onto a full disk; it is closed all the same
        file.close()
