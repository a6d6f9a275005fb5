"""What the expressions of a SQL template can call: the parameter types, and the functions that build or check SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from airflow_provider_tinybird.sandbox.template_parser import TemplateError

MAX_LENGTH = 1_000_000
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
_LITERAL = str.maketrans(_ESCAPES)
_LITERAL_AND_WILDCARD = str.maketrans(_ESCAPES | _WILDCARD)


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
    return f"'{text.translate(_LITERAL_AND_WILDCARD)}'"


def identifier(text: str) -> str:
    """Write text as one ClickHouse identifier in backticks."""
    return f"`{text.translate(_LITERAL)}`"


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


def plain(value: Any) -> Any:
    """Strip what only matters for output: a checked value becomes its Python value, a missing one None."""
    if isinstance(value, Typed):
        return value.value
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
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf|nan")
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


def _given_or_default(value: Any, default: Any) -> tuple[Any, str]:
    """Take the value, or the default of a missing one; the text names it in errors. None when there is neither."""
    if isinstance(value, Missing):
        return plain(default), f"The default of parameter {value.name!r}"
    return value, f"Parameter {value.name!r}" if isinstance(value, Given) else "An expression"


def _type_function(type_: ScalarType) -> Callable[..., Typed | None]:
    def convert(
        value: Any,
        default: Any = None,
        description: Any = None,  # noqa: ARG001 - the last five describe the parameter to people
        required: Any = None,  # noqa: ARG001
        format: Any = None,  # noqa: A002, ARG001
        example: Any = None,  # noqa: ARG001
        enum: Any = None,  # noqa: ARG001
        defined: Any = True,
    ) -> Typed | None:
        given, subject = _given_or_default(value, default)
        if given is None:
            if type_.name == "Boolean":
                given = False  # a missing Boolean is false in Tinybird, so that {% if Boolean(flag) %} needs no default
            elif defined is False:
                return None
            else:
                raise missing(value.name if isinstance(value, Missing) else "?", type_.name)
        parsed = _checked(type_, given, subject)
        return Typed(parsed, type_.write(parsed))

    return convert


@dataclass(frozen=True)
class TypeName:
    """A type that stands in an expression without being called, as in ``Array(ids, Int32)``."""

    name: str


def array(
    value: Any,
    type: Any = "String",  # noqa: A002 - the name templates use
    default: Any = None,
    description: Any = None,  # noqa: ARG001 - the last five describe the parameter to people
    required: Any = None,  # noqa: ARG001
    format: Any = None,  # noqa: A002, ARG001
    example: Any = None,  # noqa: ARG001
    enum: Any = None,  # noqa: ARG001
    defined: Any = True,
) -> Typed | None:
    """``Array(name, 'Type', default=...)``: values separated by commas."""
    type_name = type.name if isinstance(type, TypeName) else str(type)
    type_ = SCALAR_TYPES.get(type_name)
    if type_ is None and "(" in type_name:
        raise TemplateError(f"Array({type_name!r}) is not supported: use a plain type, such as 'String' or 'Int32'")
    given, subject = _given_or_default(value, default)
    if given is None:
        if defined is False:
            return None
        raise missing(value.name if isinstance(value, Missing) else "?", f"{type_name},{type_name},...")
    elements = list(given) if isinstance(given, list | tuple) else str(plain(given)).split(",")
    known = type_ or SCALAR_TYPES["String"]
    parsed = [_checked(known, one, f"{subject}, element {index},") for index, one in enumerate(elements, 1)]
    return Typed(parsed, "[" + ",".join(known.element(one) for one in parsed) + "]")


def json_value(value: Any, default: Any = None, description: Any = None, required: Any = None) -> Any:  # noqa: ARG001
    """``JSON(name, default)``: the parsed document; an empty object when missing."""
    given, subject = _given_or_default(value, default)
    if given is None:
        return {}
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{subject} is not JSON: {error}") from None


# Names


def _name_text(value: Any, default: Any, function: str) -> str:
    given, _ = _given_or_default(value, default)
    if given is None:
        name = value.name if isinstance(value, Missing) else "?"
        raise TemplateError(f"Parameter {name!r} of {function}() is missing and has no default: pass {name}=<name>")
    text = str(plain(given))
    if not text.strip():
        raise TemplateError(f"{function}() got an empty name")
    return text


def column(value: Any, default: Any = None) -> Sql:
    """``column(name, 'default')``: one column; a dot separates a table or a nested name."""
    return Sql(".".join(identifier(part) for part in _name_text(value, default, "column").split(".")))


def columns(value: Any, default: Any = None, fn: Any = None) -> Sql:
    """``columns(names, 'a,b', fn='sum')``: columns separated by commas, each inside a function if one is given."""
    names = [name.strip() for name in _name_text(value, default, "columns").split(",")]
    if fn is None:
        return Sql(",".join(column(name).text for name in names))
    function = str(plain(fn))
    if not re.fullmatch(r"[A-Za-z_]\w*", function, re.ASCII):
        raise TemplateError(f"columns() got fn={function!r}, which is not the name of a function")
    return Sql(",".join(f"{function}({column(name).text}) as {identifier(name)}" for name in names))


def symbol(value: Any, quote: Any = "`") -> Sql:
    """``symbol(name)``: one identifier."""
    if quote not in ("`", '"'):
        raise TemplateError(f"symbol() got the quote {quote!r}: use a backtick or a double quote")
    return Sql(f"{quote}{_name_text(value, None, 'symbol').translate(_LITERAL)}{quote}")


def table(value: Any) -> Sql:
    """``table(name)``: a data source or node, unquoted, so that it resolves like one that is written in the SQL."""
    name = _name_text(value, None, "table")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", name, re.ASCII):
        raise TemplateError(f"table() got {name[:100]!r}, which is not the name of a data source or node")
    return Sql(name)


# Conditions, lists, errors

_OPERATORS = {"in": "in", "not_in": "not in", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def sql_and(**conditions: Any) -> Sql:
    """``sql_and(column__op=value, ...)``: the conditions whose value is there, joined by AND."""
    found = []
    for key, value in conditions.items():
        if value is None or isinstance(value, Missing):
            continue
        name, separator, operator = key.rpartition("__")
        if not separator:
            name, sign = key, "="
        elif operator in _OPERATORS:
            sign = _OPERATORS[operator]
        else:
            raise TemplateError(
                f"sql_and() got {key}, whose operator {operator!r} is unknown: use one of {', '.join(_OPERATORS)}"
            )
        found.append(f"{name} {sign} {literal(value)}")
    return Sql(" and ".join(found))


def split_to_array(value: Any, default: Any = "", separator: Any = ",") -> list[str]:
    """``split_to_array(name, 'default', separator=',')``: the parts of a text, without the space around them."""
    given, _ = _given_or_default(value, default)
    text = "" if given is None else str(plain(given))
    return [part.strip() for part in text.split(str(separator) or ",")]


def enumerate_with_last(values: Any) -> list[tuple[bool, Any]]:
    """Pairs of: is it the last one, and the value."""
    values = sequence(values, "enumerate_with_last")
    return [(index == len(values) - 1, value) for index, value in enumerate(values)]


def sequence(values: Any, where: str) -> Sequence[Any]:
    """What can be looped over, as a list.

    :raises TemplateError: for everything else, and for more elements than a template may have.
    """
    if isinstance(values, Missing):
        raise missing(values.name, "a,b,...")
    if isinstance(values, Typed):
        raise TemplateError(
            f"{where} got a parameter type, which is SQL in a template: use split_to_array(...) to loop over values"
        )
    if not isinstance(values, list | tuple | dict | str | range):
        raise TemplateError(f"{where} needs a list, got {type(values).__name__}")
    if len(values) > MAX_ELEMENTS:
        raise TemplateError(f"{where} got more than {MAX_ELEMENTS} elements")
    return list(values)


def sql_unescape(value: Any, characters: Any = "") -> Any:
    """``sql_unescape(String(name), '%')``: lets the ``%`` of a text be a wildcard of LIKE."""
    text = plain(value)
    if not isinstance(text, str):
        return value
    escapes = _LITERAL if "%" in str(plain(characters)) else _LITERAL_AND_WILDCARD
    return Typed(text, f"'{text.translate(escapes)}'")


def error(message: Any) -> None:
    """``error('message')``: answer 400 with the message."""
    raise TemplateError(_error_text(message))


def custom_error(message: Any, status: Any = 400) -> None:
    """``custom_error({'error': '...'}, 404)``: answer with a status and a message."""
    status = plain(status)
    if not isinstance(status, int) or not 400 <= status <= 599:
        raise TemplateError(f"custom_error() got the status {status!r}: use 400 to 599")
    raise TemplateError(_error_text(message), status)


def _error_text(message: Any) -> str:
    message = plain(message)
    return message if isinstance(message, str) else json.dumps(message, default=lambda one: str(plain(one)))


def defined(value: Any = None) -> bool:
    """``defined(name)``: whether the request, or the template, gives the name a value."""
    return not isinstance(value, Missing) and value is not None


def _ignored(*_: Any) -> Sql:
    """A hint to Tinybird's own clusters; it changes no row of the answer."""
    return Sql("")


# Dates

_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f")


def _moment(value: Any, formats: Sequence[str], function: str) -> datetime:
    if isinstance(value, Missing):
        raise missing(value.name, "date")
    text = str(plain(value))
    for one in formats:
        try:
            return datetime.strptime(text, one.replace("%fz", "%fZ"))
        except ValueError:
            continue
    raise TemplateError(
        f"{function}() got {text[:100]!r}, which is not a date of the format {formats[0]}: pass date_format"
    )


def _difference(seconds: int, function: str, default_format: str) -> Callable[..., int | None]:
    more_formats = () if seconds == 86_400 else _TIME_FORMATS

    def difference(
        date_1: Any,
        date_2: Any,
        date_format: Any = default_format,
        backup_date_format: Any = None,
        none_if_error: Any = False,
    ) -> int | None:
        formats = [str(date_format), *([str(backup_date_format)] if backup_date_format else []), *more_formats]
        try:
            apart = _moment(date_1, formats, function) - _moment(date_2, formats, function)
        except TemplateError:
            if none_if_error:
                return None
            raise
        return int(abs(apart.total_seconds()) // seconds)

    return difference


def day_diff(date_1: Any, date_2: Any) -> int:
    """``day_diff(date_1, date_2)``: days between two dates written YYYY-MM-DD, never negative."""
    formats = ("%Y-%m-%d",)
    return abs((_moment(date_1, formats, "day_diff") - _moment(date_2, formats, "day_diff")).days)


def _number(convert: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:
        if isinstance(value, Missing):
            raise missing(value.name, name)
        try:
            return convert(plain(value))
        except (ValueError, TypeError, OverflowError):
            raise TemplateError(f"{name}() got {str(plain(value))[:100]!r}, which is not a number") from None

    return number


def _range(*bounds: Any) -> list[int]:
    numbers = range(*(plain(bound) for bound in bounds))
    if len(numbers) > MAX_ELEMENTS:
        raise TemplateError(f"range() has more than {MAX_ELEMENTS} elements")
    return list(numbers)


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {name: _type_function(type_) for name, type_ in SCALAR_TYPES.items()}
    | {
        "Array": array,
        "JSON": json_value,
        "column": column,
        "columns": columns,
        "symbol": symbol,
        "table": table,
        "TABLE": table,
        "sql_and": sql_and,
        "sql_unescape": sql_unescape,
        "split_to_array": split_to_array,
        "enumerate_with_last": enumerate_with_last,
        "error": error,
        "custom_error": custom_error,
        "defined": defined,
        "max_threads": _ignored,
        "backend_hint": _ignored,
        "cache_ttl": _ignored,
        "activate": _ignored,
        "day_diff": day_diff,
        "date_diff_in_seconds": _difference(1, "date_diff_in_seconds", "%Y-%m-%d %H:%M:%S"),
        "date_diff_in_minutes": _difference(60, "date_diff_in_minutes", "%Y-%m-%d %H:%M:%S"),
        "date_diff_in_hours": _difference(3_600, "date_diff_in_hours", "%Y-%m-%d %H:%M:%S"),
        "date_diff_in_days": _difference(86_400, "date_diff_in_days", "%Y-%m-%d"),
        "int": _number(int, "int"),
        "float": _number(float, "float"),
        "len": lambda values: len(sequence(values, "len")),
        "min": lambda *values: min(plain(one) for one in (values if len(values) > 1 else sequence(values[0], "min"))),
        "max": lambda *values: max(plain(one) for one in (values if len(values) > 1 else sequence(values[0], "max"))),
        "list": lambda values: list(sequence(values, "list")),
        "range": _range,
        "enumerate": lambda values: list(enumerate(sequence(values, "enumerate"))),
    }
)
