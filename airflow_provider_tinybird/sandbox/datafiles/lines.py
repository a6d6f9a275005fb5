"""The lines of a Tinybird project file: a key and a value on each, or a key and an indented block.

A value that is ``>`` opens a block, which holds every following line that is indented deeper than its key. Lines that start with
``#`` are comments, except in a block, which is kept as it is.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator
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
    # Only what editors count as a line end; splitlines() knows more, and some of them stand in strings of SQL.
    lines = text.replace("\r\n", "\n").split("\n")
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
            end = _end_of_block(lines, at, line, lambda word: _is_key(word, known, prefixes))
            value, value_line = _block(lines, at, end, _indent(line))
            yield Instruction(key, value, at, value_line)
            at = end
        else:
            yield Instruction(key, _unquoted((match["value"] or "").strip()), at, at)


def _is_key(word: str, known: Collection[str], prefixes: tuple[str, ...]) -> bool:
    """Whether a word is a key, or one that is misspelt: its line is then refused, and not taken for SQL."""
    key = word.lower()
    similar = difflib.get_close_matches(key, known, n=1, cutoff=0.85) if word.isupper() else []
    return key in known or key == "include" or key.startswith(prefixes) or bool(similar)


def _end_of_block(lines: list[str], start: int, key_line: str, is_key: Callable[[str], bool]) -> int:
    """Index after the last line of a block.

    A block is what is indented deeper than its key. SQL often is not, and Tinybird takes it all the same: there, only a line that
    starts with a key ends the block, and with a key in upper case if the SQL starts at the margin. A description ends at a key in upper
    case too: its second paragraph often stands at the margin.
    """
    margin = _indent(key_line)
    key = key_line.split()[0].rstrip(">").lower()
    is_sql = key == "sql"
    content = next((line for line in lines[start:] if line.strip()), "")
    indented = _indent(content) > margin
    for at in range(start, len(lines)):
        line = lines[at]
        if not line.strip() or _indent(line) > margin or line.lstrip().startswith("#"):
            continue
        word = line.split()[0].rstrip(">")
        if key == "description":
            if word.isupper() and is_key(word):
                return at
            continue
        if not is_sql or (is_key(word) and (indented or word.isupper())):
            return at
    return len(lines)


def _block(lines: list[str], start: int, end: int, margin: int) -> tuple[str, int]:
    """The text of a block, without its indentation, and the number of its first line."""
    # A comment at the margin is not of the block; the empty line keeps the numbers of the rest right.
    taken = ["" if line.lstrip().startswith("#") and _indent(line) <= margin else line for line in lines[start:end]]
    blank = next((index for index, line in enumerate(taken) if line.strip()), 0)
    return textwrap.dedent("\n".join(taken[blank:])).rstrip(), start + blank + 1


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
