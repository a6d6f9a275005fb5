"""SQL templates: a pipe's SQL and the parameters of a request in, plain SQL out.

The template is Tornado's dialect with Tinybird's functions. Values never reach the SQL but as literals or quoted identifiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from airflow_provider_tinybird.sandbox.templates.expressions import MAX_LENGTH, Evaluator
from airflow_provider_tinybird.sandbox.templates.functions import sequence
from airflow_provider_tinybird.sandbox.templates.parameters import Parameter, parameters_of
from airflow_provider_tinybird.sandbox.templates.parser import (
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
from airflow_provider_tinybird.sandbox.templates.types import literal

__all__ = ["Parameter", "TemplateError", "is_template", "parameters_of", "render"]

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
    renderer = _Renderer(Evaluator(parameters, secrets))
    try:
        renderer.run(parse_template(sql))
    except RecursionError:
        raise TemplateError("The template has an expression that is nested too deep") from None
    return "".join(renderer.output).lstrip()


class _Renderer:
    def __init__(self, evaluator: Evaluator) -> None:
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
            elif isinstance(part, For):
                self._loop(part)
            elif jump := self._branch(part):
                return jump
        return None

    def _put(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_LENGTH:
            raise TemplateError(f"The template renders to more than {MAX_LENGTH} characters")
        self.output.append(text)

    def _branch(self, part: If) -> str | None:
        for test, body in part.branches:
            if test is None or self._evaluator.value(test):
                return self.run(body)
        return None

    def _loop(self, part: For) -> None:
        for value in sequence(self._evaluator.value(part.source), "{% for %}"):
            self._evaluator.count()
            self._assign(part.names, value)
            if self.run(part.body) == "break":
                break

    def _assign(self, names: tuple[str, ...], value: Any) -> None:
        if len(names) == 1:
            self._evaluator.variables[names[0]] = value
            return
        values = sequence(value, "an assignment to several names")
        if len(values) != len(names):
            raise TemplateError(f"Cannot assign {len(values)} values to the names {', '.join(names)}")
        self._evaluator.variables.update(zip(names, values, strict=True))
