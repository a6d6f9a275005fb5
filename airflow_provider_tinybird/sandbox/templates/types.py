"""The values of a SQL template: parameters, how each parameter type checks them, and how they stand in SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from airflow_provider_tinybird.sandbox.templates.parser import TemplateError

MAX_ELEMENTS = 10_000

# What ClickHouse writes with a backslash in a literal. A percent sign too: Tinybird keeps a String parameter from being a wildcard
# of LIKE by sending "\%", which ClickHouse does not unescape; sql_unescape() in the template is the way out.
_ESCAPES = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "`": "\\`",
    "\0": "\\0",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
}
_WILDCARD = {"%": "\\%"}
LITERAL = str.maketrans(_ESCAPES)
LITERAL_AND_WILDCARD = str.maketrans(_ESCAPES | _WILDCARD)


class Given(str):
    """The text of a request parameter, which knows its name."""

    __slots__ = ("name",)
    name: str

    @classmethod
    def of(cls, name: str, text: str) -> Given:
        """Wrap a parameter's text."""
        given = cls(text)
        given.name = name
        return given


@dataclass(frozen=True)
class Missing:
    """A name that is neither a parameter of the request nor set by the template."""

    name: str

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True)
class Sql:
    """A piece of SQL, ready to be put out: an identifier or a condition."""

    text: str


@dataclass(frozen=True)
class Typed:
    """A value that a parameter type has checked, and how it stands in SQL."""

    value: Any
    sql: str

    def __bool__(self) -> bool:
        return bool(self.value)


def quoted(text: str) -> str:
    """Write text as a ClickHouse string literal in which ``%`` is no wildcard of LIKE."""
    return f"'{text.translate(LITERAL_AND_WILDCARD)}'"


def quoted_with_wildcards(text: str) -> str:
    """Write text as a ClickHouse string literal of exactly this text; under LIKE its ``%`` is a wildcard."""
    return f"'{text.translate(LITERAL)}'"


def identifier(text: str) -> str:
    """Write text as one ClickHouse identifier in backticks."""
    return f"`{text.translate(LITERAL)}`"


def literal(value: Any) -> str:
    """Write a value of an expression as SQL.

    :raises TemplateError: for a missing parameter and for what has no SQL form.
    """
    if isinstance(value, Typed):
        return value.sql
    if isinstance(value, Sql):
        return value.text
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        inner = ", ".join(literal(one) for one in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Missing):
        raise missing(value.name)
    if value is None:
        raise TemplateError(
            "An expression has no value to put out: give it a default, or guard it with {% if defined(...) %}"
        )
    raise TemplateError(f"A {type(value).__name__} has no SQL form")


def missing(name: str, type_name: str = "value") -> TemplateError:
    """Say that a parameter is missing and has no default."""
    return TemplateError(
        f"Parameter {name!r} is missing and has no default: pass {name}=<{type_name}>, or give it a default in the pipe"
    )


def name_of(value: Any) -> str:
    """The name of a missing value, for an error."""
    return value.name if isinstance(value, Missing) else "?"


def plain(value: Any) -> Any:
    """Strip what only matters for output: a checked value is its Python value, a missing one None."""
    if isinstance(value, Typed):
        return value.value
    if isinstance(value, Given):
        return str(value)
    return None if isinstance(value, Missing) else value


# Parameter types


@dataclass(frozen=True)
class ScalarType:
    """A parameter type.

    :param parse: text to Python value; ValueError when it is not of the type.
    :param write: Python value to SQL.
    :param element: the same inside an array, where a bare literal is enough.
    :param expected: what a good value looks like, for the error.
    """

    name: str
    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    element: Callable[[Any], str]
    expected: str


_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf|nan")
_DATE = re.compile(r"(?P<y>\d{4})(?P<dash>-?)(?P<m>\d\d)(?P=dash)(?P<d>\d\d)", re.ASCII)
_DATETIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d{1,9})?Z?", re.ASCII)


def _integer(name: str, low: int, high: int, cast: str | None) -> ScalarType:
    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or len(text) > 80 or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    write = (lambda value: f"{cast}('{value}')") if cast else str
    return ScalarType(name, parse, write, str, f"a whole number from {low} to {high}")


def _float(name: str) -> ScalarType:
    def parse(text: str) -> float:
        if not _FLOAT.fullmatch(text):
            raise ValueError(text)
        return float(text)

    return ScalarType(name, parse, lambda value: f"to{name}('{value!r}')", repr, "a number")


def _parse_date(text: str) -> str:
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    date(int(match["y"]), int(match["m"]), int(match["d"]))
    return text


def _parse_datetime(text: str, fraction: bool) -> str:
    match = _DATETIME.fullmatch(text)
    if match is None or (fraction and not match[3]):
        raise ValueError(text)
    datetime.fromisoformat(f"{match[1]} {match[2]}")
    return text


def _parse_boolean(text: str) -> bool:
    return {"": False, "false": False, "0": False, "true": True, "1": True}[text.lower()]


def _text_type(name: str, parse: Callable[[str], str], expected: str) -> ScalarType:
    return ScalarType(name, parse, quoted, quoted, expected)


def _scalar_types() -> Mapping[str, ScalarType]:
    types = [_float("Float32"), _float("Float64")]
    for bits in (8, 16, 32, 64, 128, 256):
        types.append(_integer(f"Int{bits}", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, f"toInt{bits}"))
        types.append(_integer(f"UInt{bits}", 0, 2**bits - 1, f"toUInt{bits}"))
    types += [_integer(name, -(2**31), 2**31 - 1, None) for name in ("Int", "Integer")]
    types += [
        _text_type("String", str, "text"),
        _text_type("Date", _parse_date, "a date as YYYY-MM-DD"),
        _text_type("DateTime", lambda text: _parse_datetime(text, False), "a time as YYYY-MM-DD hh:mm:ss"),
        _text_type("DateTime64", lambda text: _parse_datetime(text, True), "a time as YYYY-MM-DD hh:mm:ss.fff"),
        ScalarType(
            "Boolean",
            _parse_boolean,
            lambda value: str(int(value)),
            lambda value: str(int(value)),
            "true, false, 1 or 0",
        ),
    ]
    return MappingProxyType({one.name: one for one in types})


SCALAR_TYPES = _scalar_types()


def _checked(type_: ScalarType, value: Any, subject: str) -> Any:
    """Parse one value; ``subject`` names it in the error."""
    value = plain(value)
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    try:
        return type_.parse(text)
    except (ValueError, KeyError, OverflowError):
        shown = text if len(text) <= 100 else text[:97] + "..."
        raise TemplateError(
            f"{subject} has the value {shown!r}, which is not of type {type_.name}: use {type_.expected}"
        ) from None


def given_or_default(value: Any, default: Any) -> tuple[Any, str]:
    """Take the value, or the default of a missing one; the text names it in errors. None when there is neither."""
    if isinstance(value, Missing):
        return plain(default), f"The default of parameter {value.name!r}"
    return value, f"Parameter {value.name!r}" if isinstance(value, Given) else "An expression"


_ABOUT = frozenset({"description", "required", "format", "example", "enum"})  # for people; they change no SQL


def scalar(type_: ScalarType) -> Callable[..., Typed | None]:
    """Make the function of a parameter type: ``Int32(name, default, description=..., required=...)``."""

    def convert(value: Any, default: Any = None, *_: Any, defined: Any = True, **about: Any) -> Typed | None:
        _check_about(type_.name, about)
        given, subject = given_or_default(value, default)
        if given is None:
            if type_.name == "Boolean":
                given = False  # a missing Boolean is false in Tinybird, so that {% if Boolean(flag) %} needs no default
            elif defined is False:
                return None
            else:
                raise missing(name_of(value), type_.name)
        parsed = _checked(type_, given, subject)
        return Typed(parsed, type_.write(parsed))

    return convert


def _check_about(function: str, about: Mapping[str, Any]) -> None:
    for keyword in about.keys() - _ABOUT:
        raise TemplateError(f"{function}() got {keyword}=..., which it does not take: use {', '.join(sorted(_ABOUT))}")


@dataclass(frozen=True)
class TypeName:
    """A type that stands in an expression without being called, as in ``Array(ids, Int32)``."""

    name: str


def array(
    value: Any, type: Any = "String", default: Any = None, *_: Any, defined: Any = True, **about: Any
) -> Typed | None:
    """``Array(name, 'Type', default=...)``: values separated by commas."""
    _check_about("Array", about)
    type_name = type.name if isinstance(type, TypeName) else str(type)
    if "(" in type_name:
        raise TemplateError(f"Array({type_name!r}) is not supported: use a plain type, such as 'String' or 'Int32'")
    # A type that is no parameter type, such as UUID, is for the engine to check: its values are text here.
    type_ = SCALAR_TYPES.get(type_name, SCALAR_TYPES["String"])
    given, subject = given_or_default(value, default)
    if given is None:
        if defined is False:
            return None
        raise missing(name_of(value), f"{type_name},{type_name},...")
    elements = list(given) if isinstance(given, list | tuple) else str(plain(given)).split(",")
    if len(elements) > MAX_ELEMENTS:
        raise TemplateError(f"{subject} has {len(elements)} elements: pass at most {MAX_ELEMENTS}")
    parsed = [_checked(type_, one, f"{subject}, element {index},") for index, one in enumerate(elements, 1)]
    return Typed(parsed, "[" + ",".join(type_.element(one) for one in parsed) + "]")


def json_value(value: Any, default: Any = None, *_: Any, **about: Any) -> Any:
    """``JSON(name, default)``: the parsed document; an empty object when missing."""
    _check_about("JSON", about)
    given, subject = given_or_default(value, default)
    if given is None:
        return {}
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{subject} is not JSON: {error}") from None
