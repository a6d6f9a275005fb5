"""The functions that a SQL template can call, besides the parameter types: names, conditions, lists, errors and dates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from airflow_provider_tinybird.sandbox.templates.parser import TemplateError
from airflow_provider_tinybird.sandbox.templates.types import (
    LITERAL,
    MAX_ELEMENTS,
    SCALAR_TYPES,
    Missing,
    Sql,
    Typed,
    array,
    given_or_default,
    identifier,
    json_value,
    literal,
    missing,
    name_of,
    plain,
    quoted,
    quoted_with_wildcards,
    scalar,
)

# Names


def _name_text(value: Any, default: Any, function: str) -> str:
    given, _ = given_or_default(value, default)
    if given is None:
        name = name_of(value)
        raise TemplateError(f"Parameter {name!r} of {function}() is missing and has no default: pass {name}=<name>")
    text = plain(given)
    if not isinstance(text, str) or not text.strip():
        raise TemplateError(f"{function}() got {literal(given)[:100]}, which is not a name: pass text")
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
    return Sql(f"{quote}{_name_text(value, None, 'symbol').translate(LITERAL)}{quote}")


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
    given, _ = given_or_default(value, default)
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
    return Typed(text, quoted_with_wildcards(text) if "%" in str(plain(characters)) else quoted(text))


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
    return (
        message
        if isinstance(message, str)
        else json.dumps(message, default=lambda one: one.value if isinstance(one, Typed) else str(one))
    )


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
    {name: scalar(type_) for name, type_ in SCALAR_TYPES.items()}
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
