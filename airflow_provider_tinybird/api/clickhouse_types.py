"""The names of ClickHouse's types, such as ``Array(Nullable(Decimal(9, 2)))``, as trees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_LABELLED = re.compile(
    r"(`(?:[^`\\]|\\.|``)*`|\"(?:[^\"\\]|\\.|\"\")*\"|[A-Za-z_][\w.]*)\s+(?=[A-Za-z_])(.*)", re.DOTALL
)
_PIECE = re.compile(r"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|\"(?:[^\"\\]|\\.|\"\")*\"|[^'`\"(),]+|.", re.DOTALL)
_ELEMENT = re.compile(r"('(?:[^'\\]|\\.|'')*')\s*=\s*(-?\d+)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}
_STRAY = frozenset("()',`\"")
_DEEPEST = 200
"""Levels of types in types; ClickHouse itself reads no more than some hundreds."""

_AROUND = frozenset({"Nullable", "LowCardinality", "SimpleAggregateFunction"})


@dataclass(frozen=True, slots=True)
class Type:
    """A type, or another argument of one, such as a number of digits or a time zone.

    :param name: its name without arguments: ``Array``; of another argument its text as it is written: ``'UTC'``.
    :param args: what stands in its parentheses.
    :param labels: for each of them the name that it has in a ``Tuple`` or ``Nested``; empty where it has none.
    """

    name: str
    args: tuple[Type, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def inner(self) -> Type:
        """The type of the values, without ``Nullable``, ``LowCardinality`` and ``SimpleAggregateFunction``."""
        return self.args[-1].inner if self.name in _AROUND and self.args else self

    @property
    def is_nullable(self) -> bool:
        """Whether a value can be NULL."""
        return self.name == "Nullable" or (self.name in _AROUND and bool(self.args) and self.args[-1].is_nullable)

    @property
    def elements(self) -> dict[int, str]:
        """The names of an ``Enum8`` or ``Enum16`` by their numbers."""
        found = (_ELEMENT.fullmatch(arg.name) for arg in self.args)
        return {int(element[2]): unquoted(element[1]) for element in found if element}

    def walk(self) -> Iterator[Type]:
        """Go through this type and all that stands in its parentheses, at every depth."""
        yield self
        for arg in self.args:
            yield from arg.walk()


@lru_cache(maxsize=1024)
def parse(text: str) -> Type:
    """Read the name of a type. What cannot be read is a type without arguments, whose name is the text.

    :param text: as ClickHouse writes it, for instance in the ``meta`` of an answer.
    """
    return _parsed(text) or Type(text.strip())


def unquoted(text: str) -> str:
    """Take the quotes and escapes off a literal or a name; other text stays as it is."""
    if len(text) < 2 or text[0] not in "'`\"" or text[-1] != text[0]:
        return text
    quote = text[0]
    return re.sub(
        rf"\\(.)|{quote}{quote}",
        lambda found: _ESCAPES.get(found[1], found[1]) if found[1] else quote,
        text[1:-1],
        flags=re.DOTALL,
    )


class _Arguments:
    """What stands between two parentheses, as far as it was read."""

    def __init__(self) -> None:
        self.types: list[Type] = []
        self.labels: list[str] = []
        self._text = ""
        self._inside: _Arguments | None = None

    def add(self, text: str) -> bool:
        """Take a piece of the text of an argument; say whether it may stand here."""
        if self._inside and text.strip():
            return False
        self._text += text
        return True

    def opened(self) -> _Arguments | None:
        """Go into the parentheses of an argument, if it has a name."""
        if self._inside or not self._text.strip():
            return None
        self._inside = _Arguments()
        return self._inside

    def end_argument(self) -> None:
        """Make a type of what was read since the last comma."""
        text = self._text.strip()
        labelled = _LABELLED.fullmatch(text)
        inside = self._inside or _Arguments()
        self.types.append(Type(labelled[2] if labelled else text, tuple(inside.types), tuple(inside.labels)))
        self.labels.append(unquoted(labelled[1]) if labelled else "")
        self._text, self._inside = "", None

    def close(self) -> None:
        """End the last argument; there may be none at all."""
        if self.types or self._inside or self._text.strip():
            self.end_argument()


def _parsed(text: str) -> Type | None:
    open_ones = [_Arguments()]
    for piece in _PIECE.findall(text):
        now = open_ones[-1]
        if piece == "(":
            inside = now.opened()
            if inside is None or len(open_ones) > _DEEPEST:
                return None
            open_ones.append(inside)
        elif piece == ")" and len(open_ones) > 1:
            now.close()
            open_ones.pop()
        elif piece == "," and len(open_ones) > 1:
            now.end_argument()
        elif piece in _STRAY or not now.add(piece):
            return None
    whole = open_ones[0]
    whole.close()
    return whole.types[0] if len(open_ones) == 1 and whole.types and not whole.labels[0] else None
