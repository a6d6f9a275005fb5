# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""Which rows of a file fit a data source: one SELECT that types every column of every row and says what does not fit.

All formats go through the same steps. Each value is first a text (JSON, CSV) or a typed column (Parquet), then a value of the
column's type or NULL. The engine does it for whole files at a time: a retry after each bad row takes minutes where this takes
milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.datafiles.datafile import Column
from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.engine.jsonpath import JsonPath, parse_jsonpath, texts_of

GOOD, QUARANTINED, INVALID = 0, 1, 2

_INTEGER = re.compile(r"U?Int\d+")
_WRAPPER = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)", re.DOTALL)
_SIMPLE_AGGREGATE = re.compile(r"SimpleAggregateFunction\(\s*\w+\s*,(.*)\)", re.DOTALL)
_ARRAY = re.compile(r"Array\((.*)\)", re.DOTALL)
_COMPOSITE = re.compile(
    r"(Array|Map|Tuple|Nested|Variant|AggregateFunction)\(|(JSON|Dynamic|Point|Ring|Polygon|MultiPolygon)\b"
)


@dataclass(frozen=True)
class ColumnType:
    """A column's type, taken apart.

    :param base: without Nullable and LowCardinality.
    """

    base: str
    nullable: bool

    @property
    def is_composite(self) -> bool:
        """Whether the engine cannot put it inside Nullable."""
        return _COMPOSITE.match(self.base) is not None


def type_of(text: str) -> ColumnType:
    """Take a ClickHouse type apart."""
    base, nullable = text.strip(), False
    while match := (_WRAPPER.fullmatch(base) or _SIMPLE_AGGREGATE.fullmatch(base)):
        nullable = nullable or base.startswith("Nullable")
        base = match[1].strip()
    return ColumnType(base, nullable)


@dataclass(frozen=True)
class Source:
    """Rows as the engine reads them from a file.

    :param table: what follows FROM.
    :param record: an expression that the texts share.
    :param texts: for each column an expression of type Nullable(String): its text.
    :param types: for each column the type of its value in a typed file; None where the value is the text.
    :param raw: name of the whole line; None when there is none.
    :param settings: settings that reading needs.
    """

    table: str
    record: str
    texts: tuple[str, ...]
    types: tuple[str | None, ...]
    raw: str | None
    settings: Mapping[str, str]


def json_source(table: str, columns: Sequence[Column]) -> Source:
    """Rows of newline-delimited JSON.

    :param table: the table function that reads lines as ``raw``.
    """
    record, texts = texts_of("raw", [_path(column).keys for column in columns])
    return Source(f"{table} WHERE NOT match(raw, '^\\\\s*$')", record, tuple(texts), (None,) * len(columns), "raw", {})


def text_source(table: str, columns: Sequence[Column], present: Sequence[str], settings: Mapping[str, str]) -> Source:
    """Rows of a CSV file, every field read as text.

    :param present: names of the columns that the file holds.
    """
    texts = []
    for column in columns:
        text = quoted(column.name) if column.name in present else "CAST(NULL, 'Nullable(String)')"
        if type_of(column.type) == ColumnType("String", False) and column.name in present and column.default is None:
            # CSV has no way to tell an empty text from no value.
            text = f"CAST(ifNull({text}, ''), 'Nullable(String)')"
        elif type_of(column.type).base.startswith("Array(") and column.name in present:
            text = f"if(isValidJSON({text}), {text}, replaceAll({text}, '\\'', '\"'))"
        texts.append(text)
    return Source(table, "0", tuple(texts), (None,) * len(columns), None, settings)


def typed_source(table: str, columns: Sequence[Column], found: Mapping[str, str]) -> Source:
    """Rows of a Parquet file.

    :param found: type by name of the columns that the file holds.
    """
    texts: list[str] = []
    types: list[str | None] = []
    for column in columns:
        name = ".".join(_path(column).keys) or column.name
        name = name if name in found else column.name
        present = name in found
        texts.append(quoted(name) if present else "CAST(NULL, 'Nullable(String)')")
        types.append(found[name] if present else None)
    return Source(table, "0", tuple(texts), tuple(types), None, {})


def staging_select(source: Source, columns: Sequence[Column]) -> str:
    """The SELECT whose result is one row for each row of the file.

    Its columns: ``v0``, ``v1``, ... (values), ``error_columns``, ``errors``, ``texts`` (empty for a row that fits) and
    ``verdict`` (``GOOD``, ``QUARANTINED`` or ``INVALID``).
    """
    numbers = range(len(columns))
    texts = [f"t{number}" for number in numbers]
    values = [f"v{number}" for number in numbers]
    kinds = [type_of(column.type) for column in columns]
    text_list = [f"{source.texts[number]} AS t{number}" for number in numbers]
    value_list = [
        f"{_value(f't{number}', kinds[number], _path(columns[number]), source.types[number])} AS v{number}"
        for number in numbers
    ]
    checks = [
        f"({literal(column.name)}, {_problem(number, column, kinds[number], source.types[number])})"
        for number, column in enumerate(columns)
    ]
    shown = [
        f"toString({text})" if _is_scalar(source.types[number]) else f"toJSONString({text})"
        for number, text in enumerate(texts)
    ]
    valid = f"JSONType({source.raw}) = 'Object'" if source.raw else "1"
    # One level for each step: in a single SELECT the engine would repeat each expression wherever its alias is used.
    read = f"SELECT *, {source.record} AS record FROM {source.table}{_settings(source.settings)}"
    as_texts = f"SELECT {', '.join(text_list)}, {valid} AS is_valid FROM ({read})"
    as_values = f"SELECT {', '.join(texts)}, is_valid, {', '.join(value_list)} FROM ({as_texts})"
    judged = (
        f"SELECT {', '.join(texts)}, {', '.join(values)}, is_valid,"
        f" arrayFilter(one -> one.2 != '', [{', '.join(checks)}]) AS problems FROM ({as_values})"
    )
    return (
        f"SELECT {', '.join(values)}, problems.1 AS error_columns, problems.2 AS errors,"
        f" if(is_valid AND empty(problems), [], CAST([{', '.join(shown)}], 'Array(Nullable(String))')) AS texts,"
        f" multiIf(NOT is_valid, {INVALID}, notEmpty(problems), {QUARANTINED}, {GOOD}) AS verdict FROM ({judged})"
    )


def staging_columns(columns: Sequence[Column]) -> str:
    """Columns of the table that holds the result of ``staging_select``."""
    kinds = [type_of(column.type) for column in columns]
    values = [
        f"v{index} {'Array' if kind.is_composite else 'Nullable'}({kind.base})" for index, kind in enumerate(kinds)
    ]
    return f"{', '.join(values)}, error_columns Array(String), errors Array(String), texts Array(Nullable(String)), verdict UInt8"


def insert_values(columns: Sequence[Column]) -> list[str]:
    """The values ``v0``, ``v1``, ... of a staged row that fits, as the columns of the data source take them."""
    taken = []
    for index, column in enumerate(columns):
        kind = type_of(column.type)
        if kind.is_composite:
            taken.append(f"if(notEmpty(v{index}), v{index}[1], {column.default})" if column.default else f"v{index}[1]")
        elif kind.nullable or column.default is not None:
            taken.append(f"v{index}")  # insert_null_as_default fills the default
        else:
            taken.append(f"assumeNotNull(v{index})")
    return taken


def _path(column: Column) -> JsonPath:
    return parse_jsonpath(column.jsonpath) if column.jsonpath else JsonPath((column.name,))


def _is_scalar(found: str | None) -> bool:
    return found is None or not type_of(found).is_composite


def _settings(settings: Mapping[str, str]) -> str:
    return " SETTINGS " + ", ".join(f"{key} = {value}" for key, value in settings.items()) if settings else ""


def _value(text: str, kind: ColumnType, path: JsonPath, found: str | None) -> str:
    """A scalar is Nullable. A composite, which cannot be, is an array of one element, or of none where it does not fit."""
    if kind.is_composite:
        return _composite(text, kind, path, found)
    return _from_typed(text, kind.base, found) if found else _from_text(text, kind.base)


def _from_text(text: str, base: str) -> str:
    if base == "String":
        return text
    if _INTEGER.fullmatch(base):
        return f"accurateCastOrNull(multiIf({text} = 'true', '1', {text} = 'false', '0', {text}), {literal(base)})"
    if base.startswith("Enum"):
        # accurateCastOrNull raises for a text that is no element, instead of giving NULL.
        return f"JSONExtract(toJSONString({text}), {literal(f'Nullable({base})')})"
    return f"accurateCastOrNull({text}, {literal(base)})"


def _from_typed(value: str, base: str, found: str) -> str:
    kind = type_of(found).base
    if kind == "String" or kind.startswith("FixedString"):
        return _from_text(f"CAST({value}, 'Nullable(String)')", base)
    if (kind.startswith("Float") and base.startswith(("Float", "Decimal"))) or (
        kind.startswith("DateTime") and base.startswith("Date")
    ):
        # An accurate cast gives NULL where precision is lost, as it always is from Float64 to Float32.
        return f"CAST({value}, {literal(f'Nullable({base})')})"
    return f"accurateCastOrNull({value}, {literal(base)})"


def _composite(text: str, kind: ColumnType, path: JsonPath, found: str | None) -> str:
    if found:
        return f"[CAST({text}, {literal(kind.base)})]"
    array = _ARRAY.fullmatch(kind.base)
    inner = type_of(array[1]) if array else None
    if inner is None or inner.is_composite:
        shape = "Array" if array else "Object" if kind.base.startswith(("Map", "JSON")) else ""
        fits = (
            f"JSONType(ifNull({text}, '')) = '{shape}'"
            if shape
            else f"JSONType(ifNull({text}, '')) IN ('Array', 'Object')"
        )
        return f"if({fits}, [JSONExtract(ifNull({text}, ''), {literal(kind.base)})], [])"
    if path.inner:
        keys = ", ".join(map(literal, path.inner))
        texts = f"arrayMap(e -> JSONExtract(e, {keys}, 'Nullable(String)'), JSONExtractArrayRaw(ifNull({text}, '')))"
    else:
        texts = f"JSONExtract(ifNull({text}, ''), 'Array(Nullable(String))')"
    values = f"arrayMap(e -> {_from_text('e', inner.base)}, {texts})"
    is_array = f"JSONType(ifNull({text}, '')) = 'Array'"
    if inner.nullable:
        return f"if({is_array}, [CAST({values}, {literal(kind.base)})], [])"
    return (
        f"if({is_array} AND NOT arrayExists(e -> isNull(e), {values}), "
        f"[CAST(arrayMap(e -> assumeNotNull(e), {values}), {literal(kind.base)})], [])"
    )


def _problem(index: int, column: Column, kind: ColumnType, found: str | None) -> str:
    text, value = f"t{index}", f"v{index}"
    if found and kind.is_composite:
        return "''"
    absent = f"empty({value})" if kind.is_composite else f"isNull({value})"
    unfit = (
        f"concat('cannot read ', substring(toString(assumeNotNull({text})), 1, 200), {literal(f' as {column.type}')})"
    )
    if kind.nullable or column.default is not None:
        return f"if({absent} AND isNotNull({text}), {unfit}, '')"
    required = literal(f"a value is required: {column.type} is not Nullable and has no DEFAULT")
    return f"multiIf(NOT {absent}, '', isNull({text}), {required}, {unfit})"
