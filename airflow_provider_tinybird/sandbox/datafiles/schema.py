"""The schema of a data source: columns with type, JSONPath, default and codec, as text.

The same text stands in a ``.datasource`` file under ``SCHEMA >`` and in the ``schema`` parameter of the data sources API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CLAUSE = re.compile(r"(?i:DEFAULT\b|CODEC\s*(?=\())|`")


class SchemaError(ValueError):
    """A schema that cannot be read.

    :param line: where in its text, from 1.
    :param reason: what is wrong, and with which column.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True)
class Column:
    """One column.

    :param name: without backticks.
    :param type: the ClickHouse type, as it was written.
    :param jsonpath: where its value is in a record, ``$.path``; None when the schema gives none.
    :param default: the expression after DEFAULT, as it was written.
    :param codec: the whole ``CODEC(...)`` clause.
    """

    name: str
    type: str
    jsonpath: str | None = None
    default: str | None = None
    codec: str | None = None


def columns_of(text: str, trailing_comma: bool = False) -> tuple[Column, ...]:
    """Read the text of a schema: columns, separated by commas.

    :param trailing_comma: whether a comma may stand behind the last column.
    :raises SchemaError: naming the column that cannot be read.
    """
    text = "\n".join("" if line.lstrip().startswith("#") else line for line in text.splitlines())
    if not text.strip():
        raise SchemaError(1, "SCHEMA is empty: add at least one column, as in: `id` UInt64 `json:$.id`")
    columns: dict[str, Column] = {}
    parts = list(_split_at_commas(text))
    if trailing_comma and len(parts) > 1 and not parts[-1][0].strip():
        parts.pop()
    for part, start in parts:
        line = text.count("\n", 0, start + len(part) - len(part.lstrip())) + 1
        column = _column(part.strip(), line)
        if column.name in columns:
            raise SchemaError(line, f"column {column.name!r} is defined twice: remove one")
        columns[column.name] = column
    return tuple(columns.values())


def _column(text: str, line: int) -> Column:
    if not text:
        raise SchemaError(line, "a comma of SCHEMA has no column beside it: remove the comma, or add the column")
    name, rest = _name(text, line)
    type_, rest = _type(name, rest, line)
    clauses = _clauses(name, rest, line)
    return Column(name, type_, clauses.get("jsonpath"), clauses.get("default"), clauses.get("codec"))


def _name(text: str, line: int) -> tuple[str, str]:
    if text.startswith("`"):
        name, closed, rest = text[1:].partition("`")
        if not closed or not name:
            raise SchemaError(line, f"column {_shown(text)}: a name in backticks is not closed, or empty")
        return name, rest.strip()
    match = _BARE_NAME.match(text)
    if match is None or not text[match.end() :][:1].strip() == "":
        raise SchemaError(line, f"column {_shown(text)} does not start with a name: write `name` Type")
    return match[0], text[match.end() :].strip()


def _type(name: str, text: str, line: int) -> tuple[str, str]:
    match = _TYPE_NAME.match(text)
    if match is None or _CLAUSE.match(text):
        raise SchemaError(line, f"column {name!r} has no type: write `{name}` Type, found {_shown(text)}")
    end = match.end()
    arguments = re.match(r"\s*\(", text[end:])
    if arguments:
        end = _closing(text, end + arguments.end() - 1)
        if end < 0:
            raise SchemaError(line, f"column {name!r}: a parenthesis of the type {_shown(text)} is not closed")
    return text[:end], text[end:].strip()


def _clauses(name: str, text: str, line: int) -> dict[str, str]:
    found: dict[str, str] = {}
    while text:
        match = _CLAUSE.match(text)
        if match is None:
            raise SchemaError(line, f"column {name!r}: {_shown(text)} is not `json:$.path`, DEFAULT or CODEC(...)")
        if match[0] == "`":
            key, value, text = "jsonpath", *_jsonpath(name, text, line)
        elif match[0].upper() == "DEFAULT":
            key, value, text = "default", *_default(name, text[match.end() :], line)
        else:
            end = _closing(text, text.index("("))
            if end < 0:
                raise SchemaError(line, f"column {name!r}: a parenthesis of {_shown(text)} is not closed")
            key, value, text = "codec", text[:end], text[end:]
        if key in found:
            raise SchemaError(line, f"column {name!r} has two {key} clauses: remove one")
        found[key] = value
        text = text.strip()
    return found


def _jsonpath(name: str, text: str, line: int) -> tuple[str, str]:
    inner, closed, rest = text[1:].partition("`")
    if not closed or not inner.startswith("json:$"):
        raise SchemaError(line, f"column {name!r}: {_shown(text)} is no JSONPath: write `json:$.path`")
    return inner.removeprefix("json:"), rest


def _default(name: str, text: str, line: int) -> tuple[str, str]:
    end = len(text)
    for index, depth in _bare_characters(text):
        starts_word = index == 0 or not (text[index - 1].isalnum() or text[index - 1] in "_.")
        if depth == 0 and starts_word and _CLAUSE.match(text, index):
            end = index
            break
    if not text[:end].strip():
        raise SchemaError(line, f"column {name!r}: DEFAULT has no expression")
    return text[:end].strip(), text[end:]


def _split_at_commas(text: str) -> Iterator[tuple[str, int]]:
    start = 0
    for index, depth in _bare_characters(text):
        if text[index] == "," and depth == 0:
            yield text[start:index], start
            start = index + 1
    yield text[start:], start


def _closing(text: str, opening: int) -> int:
    """Index after the bracket that closes the one at ``opening``; -1 when none does."""
    for index, depth in _bare_characters(text[opening:]):
        if index and depth == 0 and text[opening + index] in ")]}":
            return opening + index + 1
    return -1


def _bare_characters(text: str) -> Iterator[tuple[int, int]]:
    """Every position outside quotes (an opening quote counts as outside), with the depth of brackets after its character."""
    depth = 0
    index = 0
    while index < len(text):
        character = text[index]
        if character in _PAIRS:
            depth += 1
        elif character in _PAIRS.values():
            depth -= 1
        yield index, depth
        index = _after_quote(text, index) if character in "'\"`" else index + 1


def _after_quote(text: str, opening: int) -> int:
    quote = text[opening]
    index = opening + 1
    while index < len(text) and text[index] != quote:
        index += 2 if text[index] == "\\" else 1
    return index + 1


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
