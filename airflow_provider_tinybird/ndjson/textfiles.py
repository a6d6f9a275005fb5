"""Files of NDJSON, gzipped or not, as pieces of text."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.ndjson.errors import EncodeError, UnsupportedDataError
from airflow_provider_tinybird.ndjson.signatures import other_kind

_PIECE = 1_000_000
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"


def is_path(data: object) -> bool:
    """Whether it names a file: a Path, or an ObjectStoragePath of Airflow.

    :param data: any object that is not text.
    """
    return isinstance(data, os.PathLike) or (
        callable(getattr(data, "open", None)) and callable(getattr(data, "exists", None)) and hasattr(data, "name")
    )


def is_open_file(data: object) -> bool:
    """Whether it can be read from, bytes or text.

    :param data: any object.
    """
    return callable(getattr(data, "read", None))


def pieces_of(data: Any) -> Iterator[bytes | str]:
    """The content of a file, piece by piece, uncompressed.

    :param data: a path, or an open file, which is read from where it stands and left open.
    :raises UnsupportedDataError: it is a Parquet file, or of another kind that holds no NDJSON.
    :raises EncodeError: there is no such file, it is a folder, or it is gzipped and damaged.
    """
    if not is_open_file(data):
        with _opened(data) as file:
            yield from pieces_of(file)
        return
    head = data.read(_PIECE)
    if not head and _is_behind_its_start(data):
        raise UnsupportedDataError(
            data, "It was read to its end before, so that nothing is left: open it again, or seek(0)."
        )
    if head[:2] == _GZIP:
        yield from _unzipped(gzip.GzipFile(fileobj=_Rest(head, data)))  # type: ignore[call-overload]  # seeks only when asked to
        return
    if head[:4] == _PARQUET:
        raise UnsupportedDataError(data, "A Parquet file: give pyarrow.dataset.dataset(path), or append it as a file.")
    other = other_kind(head[:256], any_text=False) if isinstance(head, bytes) else None
    if other:
        raise UnsupportedDataError(data, f"The file is {other}.")
    while head:
        yield head
        head = data.read(_PIECE)


def _is_behind_its_start(file: Any) -> bool:
    try:
        return int(file.tell()) > 0
    except (AttributeError, OSError, ValueError, TypeError):  # not every file can tell
        return False


def _opened(path: Any) -> Any:
    try:
        return (path if hasattr(path, "open") else Path(path)).open("rb")
    except FileNotFoundError:
        raise EncodeError(f"there is no file {str(path)!r}; look at the path, which is one of the worker") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        what = "a folder" if isinstance(error, IsADirectoryError) else f"no file that can be read ({error.strerror})"
        raise EncodeError(
            f"{str(path)!r} is {what}; give the path of one file, or a list or a generator of paths"
        ) from None


def _unzipped(file: gzip.GzipFile) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(_PIECE)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise EncodeError(f"the gzipped file is damaged or cut short ({error}); write it again") from error
        if not piece:
            return
        yield piece


class _Rest:
    """A file of which the beginning was read already."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            rest: bytes = self._file.read(size)
            return rest
        taken = self._head if size < 0 else self._head[:size]
        self._head = self._head[len(taken) :]
        return taken
