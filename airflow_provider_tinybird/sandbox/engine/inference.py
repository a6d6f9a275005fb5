"""A schema out of data: columns and types for a data source that does not exist yet."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column
from airflow_provider_tinybird.sandbox.engine.engine import Engine
from airflow_provider_tinybird.sandbox.engine.formats import HEAD_BYTES, DataFile, delimiter_of, table_of
from airflow_provider_tinybird.sandbox.http.errors import bad_request

_MOST_COLUMNS = 500
_SAMPLED_ROWS = 1000
_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?"
# In their order: a column has the first type that all of its values have.
_TEXT_TYPES = (
    ("Int64", re.compile(r"-?\d{1,18}")),
    ("Float64", re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")),
    ("Date", re.compile(r"\d{4}-\d\d-\d\d")),
    ("DateTime", re.compile(_TIME.replace(r"(\.\d+)?", ""))),
    ("DateTime64(3)", re.compile(_TIME)),
)


def columns_of(engine: Engine, file: DataFile) -> tuple[Column, ...]:
    """Columns for the rows of a file of any format.

    :raises ApiError: 400, when it has none.
    :raises EngineError: when the file is not what its format says.
    """
    if file.format == "csv":
        return csv_columns(file)
    if file.format == "ndjson":
        return inferred_columns(file.head())
    described = engine.rows(f"DESCRIBE TABLE {table_of(file, 'Parquet', 'auto')}")
    return tuple(Column(_name(row["name"], ()), row["type"], f"$.{row['name']}") for row in described)


def csv_columns(file: DataFile, guess_types: bool = True) -> tuple[Column, ...]:
    """Columns for the rows of a CSV file. A first line without numbers and dates is a header; without one they are numbered.

    :param guess_types: without it every column is a String.
    :raises ApiError: 400, when the file has no row, or too many columns.
    """
    head = file.head()
    lines = head.decode("utf-8-sig", errors="replace").splitlines(keepends=True)
    delimiter = delimiter_of(lines[0] if lines else "", file.dialect)
    rows = [row for row in islice(csv.reader(lines, delimiter=delimiter), _SAMPLED_ROWS) if row]
    if len(head) >= HEAD_BYTES and 1 < len(rows) < _SAMPLED_ROWS:
        rows.pop()  # it was cut off in the middle
    if not rows:
        raise bad_request("the data source cannot be created: the file has no row to take columns from")
    _check_number(len(rows[0]))
    has_header = all(_type_of([field]) == "String" for field in rows[0])
    names: list[str] = []
    for index, field in enumerate(rows[0]):
        names.append(_name(field, names) if has_header else f"column_{index:02}")
    values = rows[1:] if has_header else rows
    columns = [[row[index].strip() for row in values if index < len(row)] for index in range(len(names))]
    types = [_type_of(column, column) if guess_types else "String" for column in columns]
    return tuple(Column(name, type_) for name, type_ in zip(names, types, strict=True))


def _type_of(values: Sequence[str], nullable_by: Sequence[str] = ()) -> str:
    given = [value for value in values if value]
    found = next((name for name, form in _TEXT_TYPES if given and all(map(form.fullmatch, given))), "String")
    return f"Nullable({found})" if found != "String" and len(given) < len(nullable_by) else found


def _name(text: str, taken: Sequence[str]) -> str:
    base = re.sub(r"\W", "_", text.strip()) or "column"
    base = base if re.match(r"[^\W\d]", base) else f"_{base}"
    name, number = base, 1
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _check_number(number: int) -> None:
    if number > _MOST_COLUMNS:
        raise bad_request(
            f"the data source cannot be created: the records have {number} members, the limit is {_MOST_COLUMNS} columns"
        )


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
    _check_number(len(types))
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
    if isinstance(value, str) and re.fullmatch(_TIME, value):
        return "DateTime64(3)" if "." in value else "DateTime"
    return _JSON_TYPES.get(type(value), "String")


def _column(keys: tuple[str, ...], type_: str) -> Column:
    path = "$" + "".join(f".{key}" if re.fullmatch(r"[^.\[\]]+", key) else f'["{key}"]' for key in keys)
    name = re.sub(r"\W", "_", "_".join(keys))
    if type_.startswith("Array"):
        return Column(name, type_, f"{path}[:]")
    return Column(name, f"Nullable({type_})", path)
