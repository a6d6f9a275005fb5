"""NDJSON that already is text: checked line by line, cut at newlines, otherwise sent as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from airflow_provider_tinybird.ndjson.errors import EncodeError, UnsupportedDataError
from airflow_provider_tinybird.ndjson.rows import Encoded, encode_lines
from airflow_provider_tinybird.ndjson.textfiles import pieces_of
from airflow_provider_tinybird.ndjson.values import SURROGATE

_BLOCK = 1_000_000  # characters or bytes that are split into lines at once
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_WAY_OUT = "each line must be one JSON object"


class TextSource:
    """Lines of NDJSON.

    :param lines: UTF-8, without newlines, none of them empty.
    :param numbers: for each line its 1-based number in the text.
    """

    def __init__(self, lines: Sequence[bytes], numbers: Sequence[int]) -> None:
        self._lines = lines
        self._numbers = numbers
        self.rows = len(lines)

    def encode(self, start: int, count: int, first_row: int) -> Encoded:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        lines = self._lines[start : start + count]
        for position, line in enumerate(lines):
            problem = _problem(line)
            if problem:
                number = self._numbers[start + position]
                raise EncodeError(f"line {number}: {problem}; {_WAY_OUT}", row=first_row + position)
        return encode_lines(lines)

    def check(self, first_row: int) -> int:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        self.encode(0, self.rows, first_row)
        return max(map(len, self._lines)) + 1

    def columns(self, start: int, count: int, keys: Collection[str]) -> Iterable[tuple[str, Any]]:  # noqa: ARG002
        """None: text is sent as it is. See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return ()

    def durations(self) -> dict[str, str]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return {}

    def arrow(self, start: int, count: int, first_row: int = 0) -> Any | None:  # noqa: ARG002
        """None: text has no types. See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return None


def text_sources(text: str | bytes | bytearray | memoryview) -> Iterator[TextSource]:
    """Blocks of lines. Only newlines separate lines: U+2028 and the like are allowed inside of JSON texts.

    :param text: NDJSON; blank lines are passed over.
    :raises UnsupportedDataError: the text does not begin with a JSON object.
    :raises EncodeError: a text holds a lone surrogate.
    """
    if isinstance(text, (bytearray, memoryview)):
        text = bytes(text)
    yield from _sources(text, _blocks(text))


def file_sources(file: Any) -> Iterator[TextSource]:
    """The same of a file, read as far as the lines are needed.

    :param file: a path, or an open file; gzipped or not.
    """
    yield from _sources(file, _whole_lines(file))


def _sources(data: object, blocks: Iterator[bytes]) -> Iterator[TextSource]:
    number = 0
    started = False
    for block in blocks:
        lines, numbers = [], []
        for line in block.split(b"\n"):
            number += 1
            stripped = line.strip(b" \t\r")
            if stripped:
                lines.append(stripped)
                numbers.append(number)
        if lines and not started:
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
            _check_start(data, lines[0])
            started = True
        if lines:
            yield TextSource(lines, numbers)


def _blocks(text: str | bytes) -> Iterator[bytes]:
    """Chunks of whole lines, without the newline at their end."""
    begin = 0
    while begin < len(text):
        newline: str | bytes = "\n" if isinstance(text, str) else b"\n"
        end = text.find(newline, begin + _BLOCK)  # type: ignore[arg-type]
        end = len(text) if end < 0 else end
        yield _utf8(text[begin:end])
        begin = end + 1


def _whole_lines(file: Any) -> Iterator[bytes]:
    """Chunks of whole lines, without the newline at their end, and first of all a beginning, to be looked at."""
    parts: list[bytes] = []
    started = False
    for piece in pieces_of(file):
        whole, newline, rest = _utf8(piece).rpartition(b"\n")
        if newline:
            yield b"".join([*parts, whole])
            parts = []
        elif rest.strip() and not started:  # perhaps all of a large file is one line
            _check_start(file, rest.lstrip(b" \t\r").removeprefix(_BYTE_ORDER_MARK))
        started = started or bool(newline or rest.strip())
        parts.append(rest)
    yield b"".join(parts)


def _utf8(text: str | bytes) -> bytes:
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise EncodeError(SURROGATE) from None


def _check_start(data: object, line: bytes) -> None:
    if line.startswith(b"{"):
        return
    hint = "Text must be NDJSON, one JSON object on each line."
    if line.startswith(b"["):
        hint = "A JSON array is not NDJSON: pass json.loads(text)."
    raise UnsupportedDataError(data, hint)


def _problem(line: bytes) -> str | None:
    try:
        value = _DECODE(line.decode())
    except UnicodeDecodeError:
        return "not valid UTF-8"
    except RecursionError:
        return "nested too deep"
    except ValueError as error:
        return f"not valid JSON ({error})"
    if not isinstance(value, dict):
        return "not a JSON object"
    return SURROGATE if _ESCAPED_SURROGATE.search(line) and _has_surrogate(value) else None


def _has_surrogate(value: object) -> bool:
    """Whether an escape in a text stands for half a character: pairs of them were joined when it was read."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _refuse_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is no JSON number")


# Made once: json.loads with options makes a decoder for each line. Digits stay as text, as int() refuses very long ones.
_DECODE = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str).decode
