"""The parameters of a SQL template: what a pipe lists about itself, read from its SQL without rendering it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from airflow_provider_tinybird.sandbox.templates.parser import (
    For,
    If,
    Output,
    Part,
    Set,
    TemplateError,
    is_template,
    parse_template,
)
from airflow_provider_tinybird.sandbox.templates.types import SCALAR_TYPES


@dataclass(frozen=True)
class Parameter:
    """A parameter of a template.

    :param type: ``Int32``, ``Array(String)``, ...; ``String`` for one that is used without a type.
    :param default: the default as the template writes it; None when it has none.
    :param required: whether a request without it fails.
    """

    name: str
    type: str
    default: object = None
    required: bool = False
    description: str = ""


_UNTYPED_FUNCTIONS = frozenset({"column", "columns", "symbol", "table", "TABLE", "split_to_array"})


def parameters_of(sql: str) -> tuple[Parameter, ...]:
    """List the parameters of a template, in the order in which they first stand in it.

    :param sql: SQL; one that is no template has no parameters.
    :raises TemplateError: for a template that cannot be read.
    """
    if not is_template(sql):
        return ()
    parts = parse_template(sql)
    bound = set(_bound(parts))
    found: dict[str, Parameter] = {}
    try:
        mentions = [one for one in _mentions(parts, frozenset()) if one.name not in bound]
    except RecursionError:
        raise TemplateError("The template has an expression that is nested too deep") from None
    for parameter in mentions:
        known = found.get(parameter.name)
        found[parameter.name] = parameter if known is None else _merged(known, parameter)
    return tuple(replace(one, type=one.type or "String") for one in found.values())


def _merged(first: Parameter, second: Parameter) -> Parameter:
    typed = first if first.type else second
    default = first.default if first.default is not None else second.default
    return Parameter(
        first.name,
        typed.type,
        default,
        (first.required or second.required) and default is None,
        first.description or second.description,
    )


def _bound(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, For | Set):
            yield from part.names
        if isinstance(part, For):
            yield from _bound(part.body)
        if isinstance(part, If):
            for _, body in part.branches:
                yield from _bound(body)


def _mentions(parts: tuple[Part, ...], guarded: frozenset[str]) -> Iterator[Parameter]:
    """Every use of a parameter; one that stands under ``{% if defined(name) %}`` is not required there."""
    for part in parts:
        if isinstance(part, Output):
            yield from _uses(part.expression, guarded)
        elif isinstance(part, Set):
            yield from _uses(part.value, guarded)
        elif isinstance(part, For):
            yield from _uses(part.source, guarded)
            yield from _mentions(part.body, guarded)
        elif isinstance(part, If):
            inner = guarded
            for test, body in part.branches:
                if test is not None:
                    inner |= frozenset(_guards(test))
                    yield from _uses(test, inner)
                yield from _mentions(body, inner)


def _guards(test: ast.expr) -> Iterator[str]:
    """The names that a test can find missing without failing: in defined(), and outside of every other call."""
    if isinstance(test, ast.Name):
        yield test.id
    if not isinstance(test, ast.Call) or (isinstance(test.func, ast.Name) and test.func.id == "defined"):
        for child in ast.iter_child_nodes(test):
            if isinstance(child, ast.expr):
                yield from _guards(child)


def _uses(node: ast.expr, guarded: frozenset[str]) -> Iterator[Parameter]:
    if isinstance(node, ast.Name):
        if node.id not in SCALAR_TYPES:
            yield Parameter(node.id, "", required=node.id not in guarded)
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("defined", "tb_secret", "tb_var"):
            return
        if node.args and isinstance(node.args[0], ast.Name):
            yield _declared(node.func.id, node.args[0].id, node, guarded)
    children = (
        [*node.args, *(one.value for one in node.keywords)]
        if isinstance(node, ast.Call)
        else ast.iter_child_nodes(node)
    )
    skip = node.args[0] if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Name) else None
    for child in children:
        if isinstance(child, ast.expr) and child is not skip:
            yield from _uses(child, guarded)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _uses(node.func.value, guarded)


def _declared(function: str, name: str, call: ast.Call, guarded: frozenset[str]) -> Parameter:
    keywords = {one.arg: _constant_of(one.value) for one in call.keywords}
    positional = [_constant_of(one) for one in call.args[1:]]
    type_ = function if function in SCALAR_TYPES or function == "JSON" else ""
    if function == "Array":
        element = keywords.get("type", positional.pop(0) if positional else "String")
        type_ = f"Array({element or 'String'})"
    takes_default = type_ or function in _UNTYPED_FUNCTIONS
    default = keywords.get("default", positional[0] if positional else None) if takes_default else None
    stands_alone = default is None and keywords.get("defined") is not False and name not in guarded
    always_there = function in ("Boolean", "JSON", "split_to_array")
    required = keywords.get("required")
    return Parameter(
        name,
        type_,
        default,
        required if isinstance(required, bool) else stands_alone and not always_there,
        str(keywords.get("description") or ""),
    )


def _constant_of(node: ast.expr) -> object:
    if isinstance(node, ast.Name) and node.id in SCALAR_TYPES:
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
