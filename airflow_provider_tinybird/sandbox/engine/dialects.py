"""CSV dialects that the engine cannot read: blanks between values, other ends of rows, and escape characters."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from airflow_provider_tinybird.sandbox.engine.formats import DataFile, Dialect, delimiter_of, first_line
from airflow_provider_tinybird.sandbox.http.errors import bad_request

_USUAL_ENDS = ("\n", "\r\n", "\r")
_BLANKS = (" ", "\t")
_MOST_FIELD = 100 * 1024 * 1024


@contextmanager
def plain(file: DataFile, path: Path) -> Iterator[DataFile]:
    """The file as the engine can read it: itself, or a copy in another dialect for as long as it is needed.

    :param path: where the copy goes.
    :raises ApiError: 400, when it cannot be read.
    """
    dialect = file.dialect
    usual = dialect.escape is None and dialect.new_line in (None, *_USUAL_ENDS[:2])
    if file.format != "csv" or (usual and delimiter_of(first_line(file), dialect) not in _BLANKS):
        yield file
        return
    try:
        delimiter = _rewrite(file, path)
        yield replace(file, path=path, dialect=Dialect(delimiter), packing="none")
    except (csv.Error, OSError, EOFError, zlib.error) as error:
        raise bad_request(f"the CSV data cannot be read in the dialect that was given: {error}") from None
    finally:
        path.unlink(missing_ok=True)


def _rewrite(file: DataFile, path: Path) -> str:
    csv.field_size_limit(_MOST_FIELD)
    with _text(file) as source, path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target:
        first = source.readline()
        source.seek(0)
        delimiter = delimiter_of(first, file.dialect)
        rows = csv.reader(source, delimiter=delimiter, escapechar=file.dialect.escape)
        written = "," if delimiter in _BLANKS else delimiter
        csv.writer(target, delimiter=written, lineterminator="\n").writerows(rows)
    return written


def _text(file: DataFile) -> IO[str]:
    packed = gzip.GzipFile(file.path) if file.compression == "gzip" else file.path.open("rb")
    source: IO[str] = io.TextIOWrapper(packed, encoding="utf-8-sig", errors="surrogateescape", newline="")
    end = file.dialect.new_line
    if end is None or end in _USUAL_ENDS:
        return source
    with source:
        return io.StringIO(source.read().replace(end, "\n"))
