"""The end of a query's answer: whether it is whole, or ClickHouse's exception stands there.

ClickHouse sends HTTP 200 as soon as it has the first rows. A query that breaks later can only say so in the body, after the rows, and
each version of ClickHouse does it in another way:

- plain text on a line of its own, ``Code: 241. DB::Exception: ... (MEMORY_LIMIT_EXCEEDED)``;
- from 24.11 on a line ``__exception__`` before that text, and from 25.11 on a block whose tag is also in ``X-ClickHouse-Exception-Tag``;
- within the format, where it has a place for it: a member ``exception`` in JSON, an element in XML.

A row of data can look the same. So only the end counts, and only where the format does not put that text in quotes:

- A format with an end of its own (Parquet, Arrow, JSON, XML, ...) is whole where it has that end.
- CSV quotes every text: a line that begins so outside of quotes is no row, and an end within quotes is no end.
- In other text the last line, or all lines from it on, have to begin as an exception does. In TSV a line with as many tabs as the one
  before it is a row. What is left is text in the only column of the last row of TSV and the like: that is taken for an exception, and
  the message says how to get it (CSV and JSONEachRow quote it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TAIL = 64 * 1024
"""Bytes at the end of an answer that are kept and looked at. ClickHouse's block has 16 KiB at the most."""

_BEGINS = (
    rb"(?:Code: \d+(?:\.|, e\.displayText\(\) =) DB::(?:\w+::)*\w*Exception: "
    rb"|(?:Poco|std)::(?:\w+::)*\w*[Ee]xception\. Code: \d+, )"
)
_ANYWHERE = re.compile(_BEGINS)
_ON_A_LINE = re.compile(rb"(?:\A|\n)(?=" + _BEGINS + rb")")
_NAMED_END = re.compile(rb"(?:\([A-Z][A-Z0-9_]{2,}\)|\(version [^\n]*\))\s*\Z")
_BLOCK = re.compile(
    rb"__exception__\r?\n(?:(?P<tag>[A-Za-z0-9]{8,64})\r?\n|(?=" + _BEGINS + rb"))(?P<text>.*)\Z", re.DOTALL
)
_JSON_MEMBER = re.compile(rb'"exception"\s*:\s*"((?:[^"\\]|\\.)+)"\s*\}\s*\Z', re.DOTALL)
_JSON_LINE = re.compile(rb'(?:\A|\n)\{\s*"exception"\s*:\s*"(' + _BEGINS + rb'(?:[^"\\]|\\.)*)"\s*\}\s*\Z', re.DOTALL)
_XML_ELEMENT = re.compile(rb"<exception>(.*?)</exception>\s*</result>\s*\Z", re.DOTALL)

_ENDS: dict[str, Callable[[bytes], bool]] = {
    "parquet": lambda tail: tail.endswith(b"PAR1"),
    "arrow": lambda tail: tail.endswith(b"ARROW1"),
    "arrowstream": lambda tail: tail.endswith(b"\0\0\0\0"),
    "orc": lambda tail: tail[-4:-1] == b"ORC",
    "xml": lambda tail: tail.rstrip().endswith(b"</result>"),
}
_BINARY = ("rowbinary", "native", "msgpack", "protobuf", "avro", "bson", "npy", "capnproto", "buffers")
_NO_QUOTES = (
    "If this is a row of your own data, ask for CSV or JSONEachRow, which put text in quotes, "
    "or do not select it as the first column."
)
_ONE_COLUMN = "If this is a row of your own data, give the column another name than 'exception'."


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the end of an answer.

    :param text: ClickHouse's words, or what is missing.
    :param is_exception: whether these are ClickHouse's words.
    :param way_out: what to do where the words may be a row of data; else empty.
    """

    text: str
    is_exception: bool = True
    way_out: str = ""


class AnswerEnd:
    """Looks at an answer as it comes in, in constant memory.

    :param format: ClickHouse's name of its format.
    :param headers: of the answer, names in lower case.
    """

    def __init__(self, format: str, headers: Mapping[str, str]) -> None:
        self._format = format.lower()
        self._headers = headers
        self._tail = b""
        self._size = 0
        self._quotes = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._size += len(data)
        if self._format.startswith("csv"):
            self._quotes += data.count(b'"')
        self._tail = data[-TAIL:] if len(data) >= TAIL else (self._tail + data)[-TAIL:]

    def trouble(self) -> Trouble | None:
        """Say what is wrong, if something is, once all bytes are there."""
        if self._headers.get("content-type", "").lower().startswith("text/html"):
            return Trouble("the answer is a web page: something else answers at this host", is_exception=False)
        code = self._headers.get("x-clickhouse-exception-code", "0").strip()
        found = self._in_a_block() or self._in_the_format()
        if found is None and code not in ("", "0"):
            return Trouble(f"ClickHouse's error has the code {code}")
        return found

    def _in_a_block(self) -> Trouble | None:
        tag = self._headers.get("x-clickhouse-exception-tag")
        begin = self._tail.find(b"__exception__")
        while begin >= 0:
            block = _BLOCK.match(self._tail, begin)
            if block and (block["tag"] is None or tag in (None, block["tag"].decode())):
                text, closing, rest = _closed(block["text"], block["tag"])
                if not closing or b"__exception__".startswith(rest.strip()):
                    return Trouble(_words(text))
            begin = self._tail.find(b"__exception__", begin + 1)
        return None

    def _in_the_format(self) -> Trouble | None:
        if "json" in self._format and "bson" not in self._format:
            return self._in_json()
        if self._format in _ENDS:
            return self._without_its_end(_ENDS[self._format]) or (self._in_xml() if self._format == "xml" else None)
        if self._format.startswith("csv"):
            return self._in_csv()
        if self._format.startswith(_BINARY):
            return self._at_the_very_end()
        return self._on_a_line(_is_row_of_text, _NO_QUOTES)

    def _without_its_end(self, is_whole: Callable[[bytes], bool]) -> Trouble | None:
        if is_whole(self._tail):
            return None
        begins = [found.start() for found in _ANYWHERE.finditer(self._tail)]
        text = self._tail[begins[-1] :].rstrip() if begins else b""
        if text and (b"\n" not in text or _NAMED_END.search(text)):
            return Trouble(_words(text))
        return Trouble(f"the answer stops in the middle, after {self._size:,} bytes", is_exception=False)

    def _in_json(self) -> Trouble | None:
        lines = "eachrow" in self._format or self._format in ("ndjson", "jsonlines")
        if lines and not self._tail.strip():
            return None  # no rows
        cut = self._without_its_end(lambda tail: tail.rstrip().endswith((b"}", b"]")))
        if cut:
            return cut
        found = (_JSON_LINE if lines else _JSON_MEMBER).search(self._tail)
        if found is None or (lines and _line_before(self._tail, found.start()).lstrip().startswith(b'{"exception"')):
            return None
        return Trouble(_words(found[1]), way_out=_ONE_COLUMN if lines else "")

    def _in_xml(self) -> Trouble | None:
        found = _XML_ELEMENT.search(self._tail)
        return Trouble(_words(found[1])) if found else None

    def _in_csv(self) -> Trouble | None:
        if self._quotes % 2:
            return self._without_its_end(lambda _: False)
        return self._on_a_line(lambda text, _: text.count(b'"') % 2 == 1)  # it stands within quotes

    def _at_the_very_end(self) -> Trouble | None:
        if not (self._tail.endswith(b"\n") and _NAMED_END.search(self._tail)):
            return None
        return self._without_its_end(lambda tail: _ANYWHERE.search(tail) is None)

    def _on_a_line(self, is_row: Callable[[bytes, bytes], bool], way_out: str = "") -> Trouble | None:
        begins = [found for found in _ON_A_LINE.finditer(self._tail) if found.end() or self._size == len(self._tail)]
        if not begins:
            return None
        text = self._tail[begins[-1].end() :].rstrip()
        rows_follow = b"\n" in text and not _NAMED_END.search(text)
        if rows_follow or is_row(text, _line_before(self._tail, begins[-1].start())):
            return None
        return Trouble(_words(text), way_out=way_out)


def _is_row_of_text(text: bytes, before: bytes) -> bool:
    tabs = text.count(b"\t")
    return bool(tabs and tabs == before.count(b"\t")) or text.endswith(("│".encode(), b"|"))


def _closed(text: bytes, tag: bytes | None) -> tuple[bytes, bytes, bytes]:
    """A block's words, their length and the tag once more, and what follows that."""
    closing = re.search(rb"\r?\n\d+ " + tag, text) if tag else None
    return (text[: closing.start()], closing[0], text[closing.end() :]) if closing else (text, b"", b"")


def _line_before(text: bytes, end: int) -> bytes:
    return text[text.rfind(b"\n", 0, end) + 1 : end]


def _words(text: bytes) -> str:
    return " ".join(text.decode("utf-8", errors="replace").split())
