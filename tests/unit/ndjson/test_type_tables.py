"""docs/types.md says what the list of types says, and the list has every type that there is."""

from __future__ import annotations

import inspect

import polars as pl
import pyarrow as pa
from type_cases import CASES, DOCS, DTYPES, with_tables


def types_of(library: str) -> str:
    return " ".join(case.type for case in CASES if case.library == library)


def test_the_page_has_the_tables_of_the_list():
    assert with_tables(DOCS.read_text()) == DOCS.read_text(), "run: PYTHONPATH=tests python tests/type_cases.py"


def test_each_type_of_clickhouse_is_in_both_tables():
    assert {case.clickhouse for case in CASES} == set(DTYPES)


def test_every_type_of_polars_is_there():
    """Those that are refused are in the page, too."""
    kinds = {name for name, kind in vars(pl).items() if inspect.isclass(kind) and issubclass(kind, pl.DataType)}
    for name in kinds - {"DataType", "Unknown", "Utf8", "BaseExtension", "Extension", "Object"}:
        assert name in types_of("polars"), name


def test_every_type_of_arrow_is_there():
    names = {
        str(case.values.type).partition("[")[0].partition("<")[0].partition("(")[0]
        for case in CASES
        if case.library == "Arrow"
    }
    made = {
        "null",
        "bool",
        "halffloat",
        "float",
        "double",
        "string",
        "large_string",
        "string_view",
        "binary",
        "large_binary",
    }
    made |= {
        "binary_view",
        "fixed_size_binary",
        "decimal32",
        "decimal64",
        "decimal128",
        "decimal256",
        "date32",
        "date64",
        "time32",
    }
    made |= {
        "time64",
        "timestamp",
        "duration",
        "list",
        "large_list",
        "fixed_size_list",
        "list_view",
        "struct",
        "map",
        "dictionary",
    }
    made |= {f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)} | {"run_end_encoded", "extension"}
    assert made <= names, made - names
    assert all(
        pa.types.is_nested(case.values.type)
        for case in CASES
        if case.type in {"list", "map", "struct"} and case.library == "Arrow"
    )
