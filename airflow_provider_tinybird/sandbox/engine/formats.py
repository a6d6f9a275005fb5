"""Files as they arrive: their format, compression and CSV dialect, and the engine's way to read them."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column
from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.engine.engine import Engine
from airflow_provider_tinybird.sandbox.engine.fitting import Source, json_source, text_source, typed_source
from airflow_provider_tinybird.sandbox.http.errors import EngineError, bad_request

FORMATS = ("csv", "ndjson", "parquet")
_DELIMITERS = ",;\t|"
HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written; None where the file itself must tell.

    :param new_line: what ends a row.
    :param escape: what takes away the meaning of the character behind it.
    """

    delimiter: str | None = None
    new_line: str | None = None
    escape: str | None = None


@dataclass(frozen=True)
class DataFile:
    """A file to load.

    :param format: ``csv``, ``ndjson`` or ``parquet``.
    :param packing: ``gzip``, ``zstd`` or ``none``; None where the file itself must tell.
    :param size: bytes on disk.
    """

    path: Path
    format: str
    dialect: Dialect = Dialect()
    packing: str | None = None

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    @property
    def compression(self) -> str:
        """What its first bytes say: names and headers of uploads are often wrong."""
        if self.packing is not None:
            return self.packing
        with self.path.open("rb") as file:
            head = file.read(4)
        if head[:2] == b"\x1f\x8b":
            return "gzip"
        return "zstd" if head == b"\x28\xb5\x2f\xfd" else "none"

    def head(self) -> bytes:
        """The first bytes of the content."""
        if self.compression == "gzip":
            try:
                with gzip.open(self.path) as unzipped:
                    return unzipped.read(HEAD_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                raise bad_request(f"the gzip data cannot be read: {error}") from None
        with self.path.open("rb") as file:
            return file.read(HEAD_BYTES)


def checked_format(name: str) -> str:
    """A format that a caller named.

    :raises ApiError: 400, with the formats that there are.
    """
    if name.lower() not in FORMATS:
        raise bad_request(f"format '{name}' is not supported: use one of {', '.join(FORMATS)}")
    return name.lower()


def source_of(engine: Engine, file: DataFile, columns: Sequence[Column]) -> Source:
    """The rows of a file, for the columns of a data source.

    :raises EngineError: when the file is not what its format says.
    """
    if file.format == "ndjson":
        return json_source(table_of(file, "LineAsString", "raw String"), columns)
    if file.format == "parquet":
        described = engine.rows(f"DESCRIBE TABLE {table_of(file, 'Parquet', 'auto')}")
        return typed_source(table_of(file, "Parquet", "auto"), columns, {row["name"]: row["type"] for row in described})
    return _csv_source(file, columns)


def table_of(file: DataFile, engine_format: str, structure: str) -> str:
    """What follows FROM to read a file with a format of the engine."""
    arguments = (str(file.path), engine_format, structure, file.compression)
    return f"file({', '.join(map(literal, arguments))})"


def _csv_source(file: DataFile, columns: Sequence[Column]) -> Source:
    line = first_line(file)
    delimiter = delimiter_of(line, file.dialect)
    fields = next(csv.reader([line], delimiter=delimiter), [])
    header = _header_of(fields, columns)
    names = header if header else [column.name for column in columns]
    structure = ", ".join(f"{quoted(name)} Nullable(String)" for name in names)
    settings = {
        "format_csv_delimiter": literal(delimiter),
        "input_format_csv_allow_variable_number_of_columns": "1",
        "input_format_csv_skip_first_lines": "1" if header else "0",
    }
    return text_source(table_of(file, "CSV", structure), columns, names, settings)


def delimiter_of(line: str, dialect: Dialect) -> str:
    """What separates the fields of a CSV file.

    :param line: its first line.
    """
    return dialect.delimiter or max(_DELIMITERS, key=line.count)


def first_line(file: DataFile) -> str:
    """The first line of a file of text."""
    text = file.head().decode("utf-8-sig", errors="replace")
    return re.split(r"\r\n|\n|\r", text, maxsplit=1)[0]


def _header_of(fields: Sequence[str], columns: Sequence[Column]) -> list[str] | None:
    """Names of the fields of a header line; None when the line is data: fewer than half of its fields name a column."""
    known = {_normal(column.name): column.name for column in columns}
    names = [known.get(_normal(field)) for field in fields]
    if not fields or 2 * sum(name is not None for name in names) < min(len(fields), len(columns)):
        return None
    if not any(names):
        return None
    seen: set[str] = set()
    header = []
    for index, name in enumerate(names):
        header.append(f"_unused_{index}" if name is None or name in seen else name)
        seen.add(name or "")
    return header


def _normal(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip()).lower()


def engine_error_text(error: EngineError, file: DataFile) -> str:
    """What a failed load says, without the path of this machine."""
    return error.text.replace(str(file.path), "the file").replace(file.path.name, "the file")
