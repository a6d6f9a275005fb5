"""Files to read and to write: local paths, and any URL that Airflow's ObjectStoragePath opens."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from airflow_provider_tinybird.api.body import FileBody
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.imports import LARGEST_FETCHED_FILE, LARGEST_FILE
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.files.sniff import LOOK_AT, ends_lines_with_cr, has_rows, is_gzipped

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import ObjectStoragePath

_FORMATS = {
    ".csv": FileFormat.CSV,
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".parquet": FileFormat.PARQUET,
}


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A file that is about to be sent.

    :param name: its name without folders.
    :param size: bytes.
    :param format: format, from its name unless it was given.
    :param gzipped: whether it is compressed, by its first bytes.
    :param open_file: opens it for reading.
    :param ends_lines_with_cr: whether it is CSV whose lines end with carriage returns alone.
    """

    name: str
    size: int
    format: FileFormat
    gzipped: bool
    open_file: Callable[[], BinaryIO]
    ends_lines_with_cr: bool = False

    def as_body(self) -> FileBody:
        """Make it a raw request body."""
        return FileBody(self.open_file, self.size, self.format.content_type, "gzip" if self.gzipped else None)

    def check_line_ends(self, dialect_new_line: str | None) -> None:
        """See that line ends which are guessed wrong are named: all of such a file would be taken for its header.

        :param dialect_new_line: what the request names as the end of a line.
        :raises InvalidInputError: lines end with carriage returns alone, and nothing is named.
        """
        if self.ends_lines_with_cr and dialect_new_line is None:
            raise InvalidInputError(
                f"Nothing was sent: the lines of {self.name!r} end with carriage returns alone, so that all of it can be "
                "taken for one header line without rows. Give dialect_new_line='\\r', or write it with newlines."
            )

    def check_size(self, max_size: int | None = None, *, fetched: bool = False) -> None:
        """Hold its size against what Tinybird documents, before anything is sent.

        :param max_size: another limit, in bytes.
        :param fetched: whether Tinybird fetches it by URL.
        :raises InvalidInputError: it is too large; the message says what to do instead.
        """
        documented = (LARGEST_FETCHED_FILE if fetched else LARGEST_FILE)[self.format]
        limit = documented if max_size is None else max_size
        if self.size <= limit:
            return
        how = "that Tinybird fetches" if fetched else "that is sent to it"
        said = f"Tinybird documents {_in_units(documented)} for a {self.format.value} file {how}"
        largest = f"{said}, and max_size={max_size:,}" if max_size is not None else said
        remote = "" if fetched else "put it on an object store and give by_url=True, or "
        raise InvalidInputError(
            f"The file {self.name!r} has {self.size:,} bytes: {largest}. Way out: {remote}split it, or give the frame to "
            "TinybirdLoadOperator, which writes files of a fitting size. Where your plan takes more, give max_size."
        )


def file_format(value: FileFormat | str) -> FileFormat:
    """Read the name of a format.

    :raises InvalidInputError: Tinybird imports no such format.
    """
    try:
        return FileFormat(value)
    except ValueError:
        names = ", ".join(item.value for item in FileFormat)
        raise InvalidInputError(f"{value!r} is no format that Tinybird imports: give one of {names}.") from None


def file_to_send(path: str | os.PathLike[str], format: FileFormat | str | None = None) -> FileToSend:
    """Look at a file before anything is sent.

    :param path: local path or URL such as ``s3://aws_default@bucket/key.csv.gz``.
    :param format: its format; by default what its name ends in: .csv, .ndjson, .jsonl or .parquet, with or without .gz.
    :raises InvalidInputError: there is no such file, it is a folder or empty, its format cannot be told, or its first
        bytes contradict it.
    """
    text = _text(path, "path")
    name = _name(text)
    with _readable(text):
        size = _size(text)
        kind = file_format(format) if format else _format_of(name.lower().removesuffix(".gz"), text)
        beginning = _beginning(text)
    return FileToSend(
        name=name,
        size=size,
        format=kind,
        gzipped=is_gzipped(beginning, text, kind),
        open_file=lambda: _open(text, "rb"),
        ends_lines_with_cr=kind is FileFormat.CSV and ends_lines_with_cr(beginning),
    )


def holds_rows(path: str | os.PathLike[str], format: FileFormat | str | None = None) -> bool | None:
    """Tell whether there are rows in a file that was sent: more than the header of CSV; ``None`` where it cannot be told any more.

    :param path: as for :func:`file_to_send`.
    :param format: as for :func:`file_to_send`.
    """
    try:
        file = file_to_send(path, format)
        if file.format is not FileFormat.PARQUET:
            return has_rows(_beginning(_text(path, "path")), file.format)
        import pyarrow.parquet as pq

        with file.open_file() as opened:
            return bool(pq.ParquetFile(opened).metadata.num_rows > 0)
    except (InvalidInputError, OSError, ImportError, ValueError):  # pyarrow's own errors are ValueErrors
        return None


@contextmanager
def file_to_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that is there only when it is whole.

    A local file is written beside its place and moved there at the end. On an object store a file that could not be
    finished is removed.
    """
    text = _text(path, "output_path")
    if _is_url(text):
        target = _object(text)
        with _clear_refusal(text):
            opened = _open(text, "wb")
        try:
            with opened as file:
                yield file
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return
    place = Path(text)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    with _clear_refusal(text):
        if place.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        opened = part.open("wb")
    try:
        with opened as file:
            yield file
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Say clearly what trying again does not mend; trouble of a network passes as it is."""
    try:
        yield
    except OSError as e:
        if (
            not isinstance(e, PermissionError | NotADirectoryError | IsADirectoryError)
            and e.errno != errno.ENAMETOOLONG
        ):
            raise
        raise InvalidInputError(f"Nothing was sent: {redact(path)!r} cannot be read: {e.strerror or e}.") from e


@contextmanager
def _clear_refusal(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        why = f"{e.strerror} ({e.filename})" if e.strerror and e.filename else e.strerror or str(e)
        raise InvalidInputError(
            f"output_path {redact(path)!r} cannot be written: {redact(why)}. Give a file in a folder that this "
            "worker may write to."
        ) from e


def _text(path: str | os.PathLike[str], name: str) -> str:
    try:
        # An ObjectStoragePath is none of the operating system's paths on newer versions of Airflow.
        text = path if isinstance(path, str) else str(path) if hasattr(path, "fs") else os.fspath(path)
    except TypeError:
        text = ""
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{name} is {path!r}: give the path of a file, or its URL.")
    return text


def _name(path: str) -> str:
    """The name without folders. Signatures and versions follow a URL after a question mark, which a name may hold as well."""
    name = PurePosixPath(path).name
    if not _is_url(path) or PurePosixPath(name.lower().removesuffix(".gz")).suffix in _FORMATS:
        return name
    return PurePosixPath(path.partition("?")[0]).name


def _format_of(name: str, path: str) -> FileFormat:
    suffix = PurePosixPath(name).suffix
    if suffix not in _FORMATS:
        raise InvalidInputError(
            f"The name {path!r} does not tell the format: give format='csv', 'ndjson' or 'parquet'."
        )
    return _FORMATS[suffix]


def _size(path: str) -> int:
    place = _object(path) if _is_url(path) else Path(path)
    if not place.exists():
        raise InvalidInputError(
            f"There is no file {path!r} on this worker." if not _is_url(path) else f"There is no file {path!r}."
        )
    if place.is_dir():
        raise InvalidInputError(f"{path!r} is a folder: append its files one by one, for instance with a mapped task.")
    size = place.stat().st_size
    if size == 0:
        raise InvalidInputError(f"The file {path!r} is empty: nothing to send.")
    return int(size)


def _beginning(path: str) -> bytes:
    if _is_url(path):
        place = _object(path)
        return bytes(place.fs.cat_file(place.path, start=0, end=LOOK_AT))  # opening would fetch megabytes ahead
    with Path(path).open("rb") as file:
        return file.read(LOOK_AT)


def _in_units(size: int) -> str:
    return f"{size >> 30} GB" if size >= 2**30 else f"{size >> 20} MB"


def _open(path: str, mode: str) -> BinaryIO:
    return cast(BinaryIO, (_object(path) if _is_url(path) else Path(path)).open(mode))


def _is_url(path: str) -> bool:
    return "://" in path


def _object(path: str) -> ObjectStoragePath:
    # Imported here: it pulls in fsspec, which nobody needs who only has local files.
    from airflow_provider_tinybird._compat import ObjectStoragePath

    return ObjectStoragePath(path)
