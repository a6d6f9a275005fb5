"""The structure of a SQL template: text, outputs, conditions, loops and assignments, with their expressions parsed.

Expressions are Python's, parsed by :mod:`ast` and never compiled: what may stand in one is decided where it is evaluated.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_TOKEN = re.compile(r"(?P<open>\{\{|\{%|\{#)(?P<literal>!?)")
_CLOSERS = {"{{": "}}", "{%": "%}", "{#": "#}"}
_MAX_EXPRESSION = 10_000
_MAX_NESTING = 40


class TemplateError(ValueError):
    """A template that cannot be rendered, or that refuses its parameters.

    :param message: what is wrong, and what would be right.
    :param status: the HTTP status to answer with; ``custom_error`` in a template sets its own.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Text:
    """SQL that is copied as it is."""

    text: str


@dataclass(frozen=True)
class Output:
    """``{{ expression }}``."""

    expression: ast.expr
    line: int


@dataclass(frozen=True)
class If:
    """``{% if %}``, its ``{% elif %}`` and its ``{% else %}``; the test of an else is None."""

    branches: tuple[tuple[ast.expr | None, tuple[Part, ...]], ...]
    line: int


@dataclass(frozen=True)
class For:
    """``{% for names in source %}``."""

    names: tuple[str, ...]
    source: ast.expr
    body: tuple[Part, ...]
    line: int


@dataclass(frozen=True)
class Set:
    """``{% set name = value %}``, or several names for the elements of one value."""

    names: tuple[str, ...]
    value: ast.expr
    line: int


@dataclass(frozen=True)
class Jump:
    """``{% break %}`` or ``{% continue %}``."""

    word: str
    line: int


Part = Text | Output | If | For | Set | Jump


@dataclass(frozen=True)
class _Tag:
    word: str
    rest: str
    line: int


_Token = Text | Output | _Tag


def is_template(sql: str) -> bool:
    """Say whether the SQL is a template: its first character that is not white space is ``%``."""
    return sql.lstrip().startswith("%")


def parse_template(sql: str) -> tuple[Part, ...]:
    """Parse a template.

    :param sql: the template, with its ``%``.
    :raises TemplateError: naming the line that cannot be parsed.
    """
    blank = len(sql) - len(sql.lstrip())
    parser = _Parser(list(_tokens(sql, blank + 1)))
    parts, stop = parser.parts(stops=(), depth=0)
    if stop is not None:
        raise syntax_error(stop.line, f"{{% {stop.word} %}} closes nothing")
    return parts


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def parts(self, stops: tuple[str, ...], depth: int) -> tuple[tuple[Part, ...], _Tag | None]:
        """Read parts up to one of the tags in ``stops``, which is returned, or to the end."""
        found: list[Part] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if not isinstance(token, _Tag):
                found.append(token)
            elif token.word in ("end", "else", "elif"):
                if stops and token.word not in stops:
                    raise syntax_error(token.line, f"{{% {token.word} %}} does not belong here")
                return tuple(found), token
            else:
                found.append(self._statement(token, depth))
        return tuple(found), None

    def _statement(self, tag: _Tag, depth: int) -> Part:
        if depth > _MAX_NESTING:
            raise syntax_error(tag.line, f"blocks are nested deeper than {_MAX_NESTING}")
        if tag.word == "if":
            return self._if(tag, depth)
        if tag.word == "for":
            return self._for(tag, depth)
        if tag.word == "set":
            return _set(tag)
        if tag.word in ("break", "continue"):
            return Jump(tag.word, tag.line)
        if tag.word == "comment":
            return Text("")
        reason = f"{{% {tag.word} %}} is not supported: use if, elif, else, for, break, continue, set, comment or end"
        raise syntax_error(tag.line, reason)

    def _if(self, tag: _Tag, depth: int) -> If:
        branches: list[tuple[ast.expr | None, tuple[Part, ...]]] = []
        current: _Tag = tag
        while True:
            test = None if current.word == "else" else parse_expression(current.rest, current.line)
            stops = ("end",) if current.word == "else" else ("end", "else", "elif")
            body, stop = self.parts(stops, depth + 1)
            branches.append((test, body))
            if stop is None:
                raise syntax_error(tag.line, "{% if %} has no {% end %}")
            if stop.word == "end":
                return If(tuple(branches), tag.line)
            current = stop

    def _for(self, tag: _Tag, depth: int) -> For:
        loop = _statement(f"for {tag.rest}: pass", tag.line)
        if not isinstance(loop, ast.For):
            raise syntax_error(tag.line, "{% for %} needs the form: for name in values")
        body, stop = self.parts(("end",), depth + 1)
        if stop is None:
            raise syntax_error(tag.line, "{% for %} has no {% end %}")
        return For(_names(loop.target, tag.line), loop.iter, body, tag.line)


def _set(tag: _Tag) -> Set:
    assignment = _statement(tag.rest, tag.line)
    if isinstance(assignment, ast.Assign) and len(assignment.targets) == 1:
        return Set(_names(assignment.targets[0], tag.line), assignment.value, tag.line)
    if isinstance(assignment, ast.AugAssign) and isinstance(assignment.target, ast.Name):
        name = assignment.target.id
        return Set((name,), ast.BinOp(ast.Name(name), assignment.op, assignment.value), tag.line)
    raise syntax_error(tag.line, "{% set %} needs the form: set name = value")


def _names(target: ast.expr, line: int) -> tuple[str, ...]:
    targets = target.elts if isinstance(target, ast.Tuple) else [target]
    names = tuple(one.id for one in targets if isinstance(one, ast.Name))
    if len(names) != len(targets):
        raise syntax_error(line, f"cannot assign to {ast.unparse(target)!r}: use a name, or names with commas")
    return names


def _statement(text: str, line: int) -> ast.stmt:
    statements = _parsed(text.strip(), text, "exec", line)
    if not isinstance(statements, ast.Module) or len(statements.body) != 1:
        raise syntax_error(line, f"cannot read {text[:200]!r}")
    return statements.body[0]


def parse_expression(text: str, line: int) -> ast.expr:
    """Parse one expression, without evaluating anything.

    :param line: the line of the template, for the error.
    :raises TemplateError: when it is no expression.
    """
    text = text.strip()
    if not text:
        raise syntax_error(line, "an expression is empty")
    tree = _parsed(f"({text}\n)", text, "eval", line)
    assert isinstance(tree, ast.Expression)  # noqa: S101 - what mode "eval" gives
    return tree.body


def _parsed(source: str, text: str, mode: Literal["eval", "exec"], line: int) -> ast.AST:
    if len(source) > _MAX_EXPRESSION:
        raise syntax_error(line, f"an expression is longer than {_MAX_EXPRESSION} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a template with "is 1" shall not write to the log of the server
            return ast.parse(source, mode=mode)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is too complex"
        raise syntax_error(line, f"cannot read {text[:200]!r}: {reason}") from None


def _tokens(sql: str, start: int) -> Iterator[_Token]:
    at = start
    line = 1 + sql.count("\n", 0, start)
    while match := _TOKEN.search(sql, at):
        yield Text(sql[at : match.start()] + (match["open"] if match["literal"] else ""))
        line += sql.count("\n", at, match.start())
        if match["literal"]:  # {{! and {%! stand for the braces themselves
            at = match.end()
            continue
        end = _end(sql, match.end(), match["open"], line)
        inner = sql[match.end() : end].strip()
        if match["open"] == "{{":
            yield Output(parse_expression(inner, line), line)
        elif match["open"] == "{%":
            words = inner.split(None, 1)
            yield _Tag(words[0] if words else "", words[1] if len(words) > 1 else "", line)
        line += sql.count("\n", match.start(), end)
        at = end + 2
    yield Text(sql[at:])


def _end(sql: str, start: int, opening: str, line: int) -> int:
    """Index of what closes a tag; what stands in a string or a dictionary of its expression does not."""
    closer = _CLOSERS[opening]
    at = start
    quote = ""
    braces = 0
    while at < len(sql):
        if quote:
            if sql[at] == "\\":
                at += 1
            elif sql[at] == quote:
                quote = ""
        elif braces == 0 and sql.startswith(closer, at):
            return at
        elif opening != "{#":
            braces += {"{": 1, "}": -1}.get(sql[at], 0)
            quote = sql[at] if sql[at] in "'\"" else ""
        at += 1
    raise syntax_error(line, f"{opening} is not closed by {closer}")


def syntax_error(line: int, reason: str) -> TemplateError:
    """An error that names the line of the template, from 1."""
    return TemplateError(f"Template syntax error in line {line}: {reason}")
