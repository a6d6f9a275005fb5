"""SQL templates: a pipe's SQL and the parameters of a request in, plain SQL out.

Expressions are evaluated over Python's syntax tree, node by node: what is not listed here cannot be written in a template.
"""

from __future__ import annotations

import ast
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from airflow_provider_tinybird.sandbox import template_functions as functions
from airflow_provider_tinybird.sandbox.template_functions import Given, Missing, Typed, TypeName, literal, plain
from airflow_provider_tinybird.sandbox.template_parser import (
    For,
    If,
    Jump,
    Output,
    Part,
    Set,
    TemplateError,
    Text,
    is_template,
    parse_template,
)

__all__ = ["Parameter", "TemplateError", "is_template", "parameters_of", "render"]

_MAX_STEPS = 200_000
_MAX_NUMBER = 2**256
_NOTHING: Mapping[str, str] = MappingProxyType({})


def render(sql: str, parameters: Mapping[str, str], secrets: Mapping[str, str] = _NOTHING) -> str:
    """Render a template.

    :param sql: SQL; without a leading ``%`` it is no template and comes back as it is.
    :param parameters: the text of each parameter of the request, by name; those that the template does not know are ignored.
    :param secrets: the value of each ``tb_secret`` by name.
    :return: SQL in which every value stands as a literal.
    :raises TemplateError: for a parameter that is missing or not of its type, for what the template itself refuses by ``error`` and
        ``custom_error``, and for a template that cannot be read.
    """
    if not is_template(sql):
        return sql
    renderer = _Renderer(_Evaluator(parameters, secrets))
    try:
        renderer.run(parse_template(sql))
    except RecursionError:
        raise TemplateError("The template has an expression that is nested too deep") from None
    return "".join(renderer.output).lstrip()


class _Renderer:
    def __init__(self, evaluator: _Evaluator) -> None:
        self.output: list[str] = []
        self._length = 0
        self._evaluator = evaluator

    def run(self, parts: tuple[Part, ...]) -> str | None:
        """Put the parts out; the result is the word of a jump that ends the loop around them."""
        for part in parts:
            if isinstance(part, Text):
                self._put(part.text)
            elif isinstance(part, Output):
                self._put(literal(self._evaluator.value(part.expression)))
            elif isinstance(part, Set):
                self._assign(part.names, self._evaluator.value(part.value))
            elif isinstance(part, Jump):
                return part.word
            else:
                jump = self._branch(part) if isinstance(part, If) else self._loop(part)
                if jump:
                    return jump
        return None

    def _put(self, text: str) -> None:
        self._length += len(text)
        if self._length > functions.MAX_LENGTH:
            raise TemplateError(f"The template renders to more than {functions.MAX_LENGTH} characters")
        self.output.append(text)

    def _branch(self, part: If) -> str | None:
        for test, body in part.branches:
            if test is None or self._evaluator.value(test):
                return self.run(body)
        return None

    def _loop(self, part: For) -> None:
        for value in functions.sequence(self._evaluator.value(part.source), "{% for %}"):
            self._evaluator.count()
            self._assign(part.names, value)
            if self.run(part.body) == "break":
                break

    def _assign(self, names: tuple[str, ...], value: Any) -> None:
        if len(names) == 1:
            self._evaluator.variables[names[0]] = value
            return
        values = functions.sequence(value, "an assignment to several names")
        if len(values) != len(names):
            raise TemplateError(f"Cannot assign {len(values)} values to the names {', '.join(names)}")
        self._evaluator.variables.update(zip(names, values, strict=True))


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
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        "capitalize count endswith find isalnum isalpha isdigit isnumeric join lower lstrip replace rsplit rstrip split splitlines "
        "startswith strip title upper".split()
    ),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
}


class _Evaluator:
    def __init__(self, parameters: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        self.variables: dict[str, Any] = {}
        self._parameters = parameters
        self._secrets = secrets
        self._steps = 0

    def count(self) -> None:
        """Count one step of work; a template has a limit of them, so that it always ends."""
        self._steps += 1
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
        absent = [name for name in names if isinstance(self._named(name), Missing) and name not in functions.FUNCTIONS]
        return f"parameter {absent[0]!r} is missing" if absent else f"{type(error).__name__}: {error}"

    def _named(self, name: str) -> Any:
        if name in self.variables:
            return self.variables[name]
        if name in self._parameters:
            return Given.of(name, self._parameters[name])
        return TypeName(name) if name in functions.SCALAR_TYPES else Missing(name)

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
        return _limited(operation(left, right))

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
            functions.sequence(container, "an index")
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
        function = functions.FUNCTIONS.get(node.func.id)
        if function is None:
            raise TemplateError(f"{node.func.id}() is not a function of templates{_instead(node.func.id)}")
        try:
            inspect.signature(function).bind(*arguments, **keywords)
        except TypeError as error:
            raise TemplateError(f"{node.func.id}(): {error}") from None
        return function(*arguments, **keywords)

    def _secret(self, function: str, name: Any = None, *_: Any) -> str:
        name = name.name if isinstance(name, Missing) else plain(name)
        if not isinstance(name, str) or name not in self._secrets:
            raise TemplateError(
                f"{function}() names the secret {name!r}, which does not exist: create it, or correct the name"
            )
        return self._secrets[name]

    def _method(self, subject: Any, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        if isinstance(subject, Missing):
            raise functions.missing(subject.name)
        subject = plain(subject)
        kind = next((kind for kind in _METHODS if isinstance(subject, kind)), None)
        if kind is None or name not in _METHODS[kind]:
            raise TemplateError(f"A template cannot call .{name}() of a {type(subject).__name__}")
        values = [plain(one) for one in arguments]
        _check_growth(subject, name, values)
        result = getattr(subject, name)(*values, **{key: plain(one) for key, one in keywords.items()})
        return _limited(list(result) if name in ("items", "keys", "values") else result)


_HANDLERS: Mapping[type[ast.expr], Callable[[_Evaluator, Any], Any]] = {
    ast.Name: _Evaluator._name,
    ast.Constant: _Evaluator._constant,
    ast.BinOp: _Evaluator._binary,
    ast.UnaryOp: _Evaluator._unary,
    ast.BoolOp: _Evaluator._boolean,
    ast.Compare: _Evaluator._compare,
    ast.IfExp: _Evaluator._conditional,
    ast.List: _Evaluator._elements,
    ast.Tuple: _Evaluator._elements,
    ast.Dict: _Evaluator._dictionary,
    ast.Subscript: _Evaluator._subscript,
    ast.Call: _Evaluator._call,
}


def _instead(name: str) -> str:
    if name in ("UUID", "Symbol", "Enum", "FixedString", "IPv4", "IPv6", "Decimal"):
        return ": Tinybird has no such parameter type, use String(...), or column(...) for a name"
    return ": see Tinybird's list of template functions"


def _limited(value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > functions.MAX_LENGTH:
        raise TemplateError(f"An expression gives more than {functions.MAX_LENGTH} characters or elements")
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        raise TemplateError("An expression gives a number of more than 256 bits")
    return value


def _check_product(left: Any, right: Any) -> None:
    for values, times in ((left, right), (right, left)):
        if (
            isinstance(values, str | list | tuple)
            and isinstance(times, int)
            and len(values) * times > functions.MAX_LENGTH
        ):
            raise TemplateError(f"An expression gives more than {functions.MAX_LENGTH} characters or elements")


def _check_growth(subject: Any, name: str, values: list[Any]) -> None:
    """Refuse a replace or join before it takes memory: its result can be as long as the product of what it is given."""
    size = 0
    if name == "replace" and len(values) >= 2:
        size = len(subject) + (len(subject) + 1) * len(str(values[1]))
    elif name == "join" and values:
        size = sum(len(str(one)) + len(subject) for one in functions.sequence(values[0], "join"))
    if size > 10 * functions.MAX_LENGTH:
        raise TemplateError(f"An expression gives more than {functions.MAX_LENGTH} characters or elements")


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
    for parameter in _mentions(parts, frozenset()):
        if parameter.name in bound:
            continue
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
                    inner |= frozenset(one.id for one in ast.walk(test) if isinstance(one, ast.Name))
                    yield from _uses(test, inner)
                yield from _mentions(body, inner)


def _uses(node: ast.expr, guarded: frozenset[str]) -> Iterator[Parameter]:
    if isinstance(node, ast.Name):
        if node.id not in functions.SCALAR_TYPES:
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
    type_ = function if function in functions.SCALAR_TYPES or function == "JSON" else ""
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
    if isinstance(node, ast.Name) and node.id in functions.SCALAR_TYPES:
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
