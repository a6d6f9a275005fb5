"""The lines of a Tinybird project file: a key and a value on each, or a key and an indented block.

A value that is ``>`` opens a block, which holds every following line that is indented deeper than its key. Lines that start with
``#`` are comments, except in a block, which is kept as it is.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTION = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)(?:\s+(?P<value>.*)|(?P<block>\s*>))?")


class DatafileError(ValueError):
    """A project file that cannot be used.

    :param path: the file.
    :param line: where in it, from 1.
    :param reason: what is wrong, and what would be right.
    """

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


@dataclass(frozen=True)
class Instruction:
    """One key of a file, in lower case, and its value.

    :param line: the line of the key, from 1.
    :param value_line: the line where the value starts; another one for a block.
    """

    key: str
    value: str
    line: int
    value_line: int


def instructions(text: str, path: Path, known: Collection[str], prefixes: tuple[str, ...]) -> Iterator[Instruction]:
    """Read the keys and values of a file.

    :param known: the keys that the file can have, in lower case.
    :param prefixes: what else a key can start with.
    :raises DatafileError: for a line that is none, and for an unknown key.
    """
    lines = text.replace("\r\n", "\n").split("\n")  # only what editors count as a line end; splitlines() knows more
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _INSTRUCTION.fullmatch(line.strip())
        if match is None:
            raise DatafileError(
                path, at, f"expected a key and a value, found {shown(line)}; indent the lines of a block"
            )
        key = match["key"].lower()
        _check_key(key, line, known, prefixes, path, at)
        if match["block"] or (match["value"] or "").strip() == ">":
            key_line, (value, at) = at, _block(lines, at, _indent(line))
            yield Instruction(key, value.text, key_line, value.line)
        else:
            yield Instruction(key, _unquoted((match["value"] or "").strip()), at, at)


@dataclass(frozen=True)
class _Block:
    text: str
    line: int


def _block(lines: list[str], start: int, key_indent: int) -> tuple[_Block, int]:
    """Take the lines of a block; ``start`` is the index of the first, the result the index after the last."""
    taken: list[str] = []
    at = start
    while at < len(lines):
        line = lines[at]
        if line.strip() and _indent(line) <= key_indent:
            if not line.lstrip().startswith("#"):
                break
            line = ""  # a comment at the margin is not of the block; the empty line keeps the numbers of the rest right
        taken.append(line)
        at += 1
    blank = next((index for index, line in enumerate(taken) if line.strip()), 0)
    return _Block(textwrap.dedent("\n".join(taken[blank:])).rstrip(), start + blank + 1), at


def _check_key(key: str, line: str, known: Collection[str], prefixes: tuple[str, ...], path: Path, number: int) -> None:
    if key == "include":
        raise DatafileError(path, number, "INCLUDE is not supported: put the nodes of the included file here")
    if key in known or key.startswith(prefixes):
        return
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0].upper()}?" if close else "; if it belongs to the block above, indent it"
    raise DatafileError(path, number, f"unknown key {shown(line.split()[0])}{hint}")


def once(found_in: Iterable[Instruction], path: Path, repeatable: Collection[str]) -> dict[str, Instruction]:
    """Index instructions by key; for a repeatable key the last one counts.

    :raises DatafileError: for a key that stands twice and is not repeatable.
    """
    found: dict[str, Instruction] = {}
    for one in found_in:
        if one.key in found and one.key not in repeatable:
            raise DatafileError(
                path, one.line, f"{one.key.upper()} is given twice, first in line {found[one.key].line}"
            )
        found[one.key] = one
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _unquoted(value: str) -> str:
    quote = value[:1]
    if len(value) >= 2 and quote in ("'", '"') and value.endswith(quote) and quote not in value[1:-1]:
        return value[1:-1]
    return value


def shown(text: str) -> str:
    """Quote text for an error, cut to a length that fits a line."""
    text = text.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
