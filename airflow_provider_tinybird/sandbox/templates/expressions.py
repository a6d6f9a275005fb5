"""The expressions of a SQL template, evaluated over Python's syntax tree, node by node.

What is not listed here cannot be written in a template: no attribute but the listed methods, no import, nothing of the interpreter.
Every step counts against a limit, and so does the size of every value.
"""

from __future__ import annotations

import ast
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_tinybird.sandbox.templates.functions import FUNCTIONS, sequence
from airflow_provider_tinybird.sandbox.templates.parser import TemplateError
from airflow_provider_tinybird.sandbox.templates.types import (
    SCALAR_TYPES,
    Given,
    Missing,
    Typed,
    TypeName,
    missing,
    plain,
    quoted_with_wildcards,
)

MAX_LENGTH = 1_000_000
_MAX_STEPS = 200_000
_MAX_NUMBER = 2**256

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_TEXT_METHODS = """
    capitalize count endswith find isalnum isalpha isdigit isnumeric join lower lstrip replace rsplit rstrip split splitlines
    startswith strip title upper
"""
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
}


class Evaluator:
    """Evaluates the expressions of one template for one request.

    :param parameters: the request's parameters.
    :param secrets: what ``tb_secret`` can name.
    """

    def __init__(self, parameters: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        self.variables: dict[str, Any] = {}
        self._parameters = parameters
        self._secrets = secrets
        self._steps = 0

    def count(self, steps: int = 1) -> None:
        """Count steps of work; a template has a limit of them, so that it always ends."""
        self._steps += steps
        if self._steps > _MAX_STEPS:
            raise TemplateError(f"The template takes more than {_MAX_STEPS} steps")

    def value(self, node: ast.expr) -> Any:
        """Evaluate an expression."""
        self.count()
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise TemplateError(
                f"A template cannot contain {ast.unparse(node)[:100]!r}: {type(node).__name__} is not supported"
            )
        try:
            return handler(self, node)
        except TemplateError:
            raise
        except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
            raise TemplateError(f"Cannot evaluate {ast.unparse(node)[:100]!r}: {self._why(node, error)}") from None

    def _why(self, node: ast.expr, error: Exception) -> str:
        names = (one.id for one in ast.walk(node) if isinstance(one, ast.Name))
        absent = [name for name in names if isinstance(self._named(name), Missing) and name not in FUNCTIONS]
        return f"parameter {absent[0]!r} is missing" if absent else f"{type(error).__name__}: {error}"

    def _named(self, name: str) -> Any:
        if name in self.variables:
            return self.variables[name]
        if name in self._parameters:
            return Given.of(name, self._parameters[name])
        return TypeName(name) if name in SCALAR_TYPES else Missing(name)

    def _name(self, node: ast.Name) -> Any:
        return self._named(node.id)

    def _constant(self, node: ast.Constant) -> Any:
        if node.value is None or isinstance(node.value, str | int | float):
            return node.value
        raise TemplateError(f"A template cannot contain {ast.unparse(node)[:100]!r}")

    def _binary(self, node: ast.BinOp) -> Any:
        operation = _BINARY.get(type(node.op))
        if operation is None:
            raise TemplateError(f"A template cannot contain {ast.unparse(node)[:100]!r}: use + - * / // %")
        left, right = plain(self.value(node.left)), plain(self.value(node.right))
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            raise TemplateError("A template cannot format text with %: put it together with +")
        if isinstance(node.op, ast.Mult):
            _check_product(left, right)
        return self._limited(operation(left, right))

    def _unary(self, node: ast.UnaryOp) -> Any:
        operation = _UNARY.get(type(node.op))
        if operation is None:
            raise TemplateError(f"A template cannot contain {ast.unparse(node)[:100]!r}: use not or -")
        return operation(plain(self.value(node.operand)))

    def _boolean(self, node: ast.BoolOp) -> Any:
        value: Any = None
        for one in node.values:
            value = self.value(one)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _compare(self, node: ast.Compare) -> bool:
        left = plain(self.value(node.left))
        for operation, right_node in zip(node.ops, node.comparators, strict=True):
            right = plain(self.value(right_node))
            if not _COMPARE[type(operation)](left, right):
                return False
            left = right
        return True

    def _conditional(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _elements(self, node: ast.List | ast.Tuple) -> Any:
        values = [self.value(one) for one in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)

    def _dictionary(self, node: ast.Dict) -> dict[Any, Any]:
        if None in node.keys:
            raise TemplateError("A template cannot contain ** in a dictionary")
        return {
            plain(self.value(key)): self.value(one)
            for key, one in zip(node.keys, node.values, strict=True)
            if key is not None
        }

    def _subscript(self, node: ast.Subscript) -> Any:
        container = self.value(node.value)
        if isinstance(container, Typed | Missing):
            sequence(container, "an index")
        if isinstance(node.slice, ast.Slice):
            bounds = (node.slice.lower, node.slice.upper, node.slice.step)
            return container[slice(*(None if one is None else plain(self.value(one)) for one in bounds))]
        return container[plain(self.value(node.slice))]

    def _call(self, node: ast.Call) -> Any:
        if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
            raise TemplateError(f"A template cannot contain {ast.unparse(node)[:100]!r}: write the arguments out")
        arguments = [self.value(one) for one in node.args]
        keywords = {one.arg: self.value(one.value) for one in node.keywords if one.arg is not None}
        if isinstance(node.func, ast.Attribute):
            return self._method(self.value(node.func.value), node.func.attr, arguments, keywords)
        if not isinstance(node.func, ast.Name):
            raise TemplateError(f"A template cannot call {ast.unparse(node.func)[:100]!r}")
        if node.func.id in ("tb_secret", "tb_var"):
            return self._secret(node.func.id, *arguments)
        function = FUNCTIONS.get(node.func.id)
        if function is None:
            raise TemplateError(f"{node.func.id}() is not a function of templates{_instead(node.func.id)}")
        try:
            inspect.signature(function).bind(*arguments, **keywords)
        except TypeError as error:
            raise TemplateError(f"{node.func.id}(): {error}") from None
        return function(*arguments, **keywords)

    def _secret(self, function: str, name: Any = None, *_: Any) -> Typed:
        name = name.name if isinstance(name, Missing) else plain(name)
        if not isinstance(name, str) or name not in self._secrets:
            raise TemplateError(
                f"{function}() names the secret {name!r}, which does not exist: create it, or correct the name"
            )
        return Typed(self._secrets[name], quoted_with_wildcards(self._secrets[name]))

    def _method(self, subject: Any, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        if isinstance(subject, Missing):
            raise missing(subject.name)
        subject = plain(subject)
        kind = next((kind for kind in _METHODS if isinstance(subject, kind)), None)
        if kind is None or name not in _METHODS[kind]:
            kind_name = "text" if isinstance(subject, str) else type(subject).__name__
            raise TemplateError(f"A template cannot call .{name}() on a value of type {kind_name}")
        values = [plain(one) for one in arguments]
        _check_growth(subject, name, values)
        result = getattr(subject, name)(*values, **{key: plain(one) for key, one in keywords.items()})
        return self._limited(list(result) if name in ("items", "keys", "values") else result)

    def _limited(self, value: Any) -> Any:
        if isinstance(value, str | list | tuple):
            if len(value) > MAX_LENGTH:
                raise TemplateError(f"An expression gives more than {MAX_LENGTH} characters or elements")
            self.count(
                len(value) // 1_000
            )  # so that a loop over long values ends as soon as a long loop over short ones
        if isinstance(value, int) and abs(value) > _MAX_NUMBER:
            raise TemplateError("An expression gives a number of more than 256 bits")
        return value


_HANDLERS: Mapping[type[ast.expr], Callable[[Evaluator, Any], Any]] = {
    ast.Name: Evaluator._name,
    ast.Constant: Evaluator._constant,
    ast.BinOp: Evaluator._binary,
    ast.UnaryOp: Evaluator._unary,
    ast.BoolOp: Evaluator._boolean,
    ast.Compare: Evaluator._compare,
    ast.IfExp: Evaluator._conditional,
    ast.List: Evaluator._elements,
    ast.Tuple: Evaluator._elements,
    ast.Dict: Evaluator._dictionary,
    ast.Subscript: Evaluator._subscript,
    ast.Call: Evaluator._call,
}


def _instead(name: str) -> str:
    if name in ("UUID", "Symbol", "Enum", "FixedString", "IPv4", "IPv6", "Decimal"):
        return ": Tinybird has no such parameter type, use String(...), or column(...) for a name"
    return ": see Tinybird's list of template functions"


def _check_product(left: Any, right: Any) -> None:
    for values, times in ((left, right), (right, left)):
        if isinstance(values, str | list | tuple) and isinstance(times, int) and len(values) * times > MAX_LENGTH:
            raise TemplateError(f"An expression gives more than {MAX_LENGTH} characters or elements")


def _check_growth(subject: Any, name: str, values: list[Any]) -> None:
    """Refuse a replace or join before it takes memory: its result can be as long as the product of what it is given."""
    size = 0
    if name == "replace" and len(values) >= 2:
        size = len(subject) + (len(subject) + 1) * len(str(values[1]))
    elif name == "join" and values:
        size = sum(len(str(one)) + len(subject) for one in sequence(values[0], "join"))
    if size > 10 * MAX_LENGTH:
        raise TemplateError(f"An expression gives more than {MAX_LENGTH} characters or elements")
