"""Files as they arrive: their format, compression and CSV dialect, and the engine's way to read them."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_tinybird.sandbox.datafile import Column
from airflow_provider_tinybird.sandbox.engine import Engine
from airflow_provider_tinybird.sandbox.errors import EngineError, bad_request
from airflow_provider_tinybird.sandbox.fitting import Source, json_source, text_source, typed_source
from airflow_provider_tinybird.sandbox.sqltext import literal, quoted

FORMATS = ("csv", "ndjson", "parquet")
_DELIMITERS = ",;\t|"
_HEAD_BYTES = 64 * 1024
_MOST_COLUMNS = 500


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written; None where the file itself must tell."""

    delimiter: str | None = None


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
                    return unzipped.read(_HEAD_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                raise bad_request(f"the gzip data cannot be read: {error}") from None
        with self.path.open("rb") as file:
            return file.read(_HEAD_BYTES)


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
        return json_source(_table(file, "LineAsString", "raw String"), columns)
    if file.format == "parquet":
        described = engine.rows(f"DESCRIBE TABLE {_table(file, 'Parquet', 'auto')}")
        return typed_source(_table(file, "Parquet", "auto"), columns, {row["name"]: row["type"] for row in described})
    return _csv_source(file, columns)


def _table(file: DataFile, engine_format: str, structure: str) -> str:
    arguments = (str(file.path), engine_format, structure, file.compression)
    return f"file({', '.join(map(literal, arguments))})"


def _csv_source(file: DataFile, columns: Sequence[Column]) -> Source:
    line = _first_line(file)
    delimiter = file.dialect.delimiter or max(_DELIMITERS, key=line.count)
    fields = next(csv.reader([line], delimiter=delimiter), [])
    header = _header_of(fields, columns)
    names = header if header else [column.name for column in columns]
    structure = ", ".join(f"{quoted(name)} Nullable(String)" for name in names)
    settings = {
        "format_csv_delimiter": literal(delimiter),
        "input_format_csv_allow_variable_number_of_columns": "1",
        "input_format_csv_skip_first_lines": "1" if header else "0",
    }
    return text_source(_table(file, "CSV", structure), columns, names, settings)


def _first_line(file: DataFile) -> str:
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


_JSON_TYPES: Mapping[type, str] = {bool: "UInt8", int: "Int64", float: "Float64", str: "String"}


def inferred_columns(head: bytes) -> tuple[Column, ...]:
    """Columns for a data source that events create.

    :param head: the first lines of the body.
    :raises ApiError: 400, when no line is a JSON object with a member.
    """
    types: dict[tuple[str, ...], str] = {}
    for line in head.splitlines()[:100]:
        try:
            record = json.loads(line)
            if isinstance(record, dict):
                _infer(record, (), types)
        except (ValueError, RecursionError):
            continue
    if not types:
        raise bad_request("the data source cannot be created: the body holds no JSON object to take columns from")
    if len(types) > _MOST_COLUMNS:
        raise bad_request(
            f"the data source cannot be created: the records have {len(types)} members, the limit is {_MOST_COLUMNS} columns"
        )
    return tuple(_column(keys, type_) for keys, type_ in types.items())


def _infer(record: Mapping[str, object], above: tuple[str, ...], types: dict[tuple[str, ...], str]) -> None:
    for key, value in record.items():
        keys = (*above, key)
        if isinstance(value, dict) and value:
            _infer(value, keys, types)
            continue
        if isinstance(value, list):
            found = f"Array({_scalar_type(value[0]) if value else 'String'})"
        elif value is None:
            continue
        else:
            found = _scalar_type(value)
        before = types.get(keys)
        types[keys] = (
            found if before in (None, found) else "Float64" if {before, found} == {"Int64", "Float64"} else "String"
        )


def _scalar_type(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?", value):
        return "DateTime64(3)" if "." in value else "DateTime"
    return _JSON_TYPES.get(type(value), "String")


def _column(keys: tuple[str, ...], type_: str) -> Column:
    path = "$" + "".join(f".{key}" if re.fullmatch(r"[^.\[\]]+", key) else f'["{key}"]' for key in keys)
    name = re.sub(r"\W", "_", "_".join(keys))
    if type_.startswith("Array"):
        return Column(name, type_, f"{path}[:]")
    return Column(name, f"Nullable({type_})", path)


def engine_error_text(error: EngineError, file: DataFile) -> str:
    """What a failed load says, without the path of this machine."""
    return error.text.replace(str(file.path), "the file").replace(file.path.name, "the file")
