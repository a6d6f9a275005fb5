"""Requests and answers as the handlers see them: plain values, read before the handler runs."""

from __future__ import annotations

import json
import math
import mmap
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl

from airflow_provider_tinybird.sandbox.http.auth import Token
from airflow_provider_tinybird.sandbox.http.clock import now
from airflow_provider_tinybird.sandbox.http.errors import ApiError, bad_request

_IN_MEMORY = 1024 * 1024
_PART_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILE_NAME = re.compile(rb'[;\s]filename="([^"]*)"', re.IGNORECASE)
_TRUE = ("true", "1", "on", "yes")
_FALSE = ("false", "0", "off", "no", "")


class Body:
    """The body of a request: in memory while it is small, then in a file.

    :param folder: where the file goes.
    :param most: bytes that it may have.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._chunks: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next bytes.

        :raises ApiError: 413, while it is still coming in: a body need not end.
        """
        self.size += len(chunk)
        if self.size > self._most:
            raise ApiError(413, f"The request is too large: the limit is {self._most} bytes; send it in parts")
        if self._file is not None:
            self._file.write(chunk)
            return
        self._chunks.append(chunk)
        if self.size > _IN_MEMORY:
            self._spill()

    def _spill(self) -> Path:
        self._path = self._folder / uuid.uuid4().hex
        self._file = self._path.open("wb")
        self._file.write(b"".join(self._chunks))
        self._chunks = []
        return self._path

    def content(self) -> bytes:
        """All bytes, of a body that is not a file of rows.

        :raises ApiError: 413, for one that no caller needs.
        """
        if self.size > _IN_MEMORY:
            raise ApiError(413, f"The body is too large: {self.size} bytes, the limit is {_IN_MEMORY} here")
        if self._path is None:
            return b"".join(self._chunks)
        self._flush()
        return self._path.read_bytes()

    def path(self) -> Path:
        """A file that holds the bytes."""
        path = self._path or self._spill()
        self._flush()
        return path

    def keep(self) -> Path:
        """Like ``path``; the file is the caller's from now on, to remove when done."""
        path = self.path()
        self._path = None
        self._close()
        return path

    def discard(self) -> None:
        """Remove the file, if there is one that nobody kept."""
        self._close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True)
class Call:
    """A request, read to its end.

    :param path_values: the variable parts of the path.
    :param query: parameters of the URL in their order; keys may repeat.
    :param base_url: what the caller reached the sandbox by, without a trailing slash.
    """

    method: str
    path: str
    path_values: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: Body = field(repr=False)
    base_url: str
    token: Token | None

    @property
    def caller(self) -> Token:
        """The token.

        :raises ApiError: 403, when there is none, or none that is known, or its time is over.
        """
        if self.token is None:
            raise ApiError(
                403, "Invalid authentication token: send a token of this workspace as 'Authorization: Bearer <token>'"
            )
        if self.token.expires is not None and self.token.expires <= now().timestamp():
            raise ApiError(403, f"The token '{self.token.name}' has expired")
        return self.token

    @property
    def content_type(self) -> str:
        """The type of the body, without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def params(self) -> dict[str, str]:
        """Parameters of the URL and of a form body; of a repeated key the last."""
        return dict(self.param_list())

    def param_list(self) -> list[tuple[str, str]]:
        """Parameters of the URL, then those of a form body, in their order."""
        form: list[tuple[str, str]] = []
        if self.content_type == "application/x-www-form-urlencoded" and self.body.size <= _IN_MEMORY:
            form = parse_qsl(self.body.content().decode("utf-8", errors="replace"), keep_blank_values=True)
        return [*self.query, *form]


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of JSON."""
    return Answer(status, json.dumps(value).encode(), headers=headers or {})


def error_answer(error: ApiError) -> Answer:
    """The JSON of an error."""
    return json_answer(
        {"error": error.text, **({"errors": list(error.errors)} if error.errors else {})}, error.status, error.headers
    )


def flag(params: Mapping[str, str], name: str, default: bool = False) -> bool:
    """A boolean parameter.

    :raises ApiError: 400, for a text that is none.
    """
    value = params.get(name)
    if value is None:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise bad_request(f"'{name}' must be true or false, not '{value}'")


def parsed_json(text: str | bytes, what: str) -> Any:
    """The value of a JSON text.

    :param what: what the text should be, for the message.
    :raises ApiError: 400, for a text that is no JSON, or nested so deep that reading it ends the stack.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise bad_request(f"{what}: {error}") from None
    except RecursionError:
        raise bad_request(f"{what}: it is nested too deep") from None


def number(value: Any, what: str) -> float:
    """A number of a JSON text, neither negative nor without end.

    :raises ApiError: 400.
    """
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = -1
    if not 0 <= found < math.inf:
        raise bad_request(f"{what} must be a number, not {value!r}")
    return found


def needed(params: Mapping[str, str], name: str) -> str:
    """A parameter that must be there, and not blank.

    :raises ApiError: 400.
    """
    value = params.get(name, "").strip()
    if not value:
        raise bad_request(f"the parameter '{name}' is required")
    return value


def file_part(call: Call, write_to: Path) -> tuple[dict[str, str], Path | None]:
    """Take a multipart body apart: its plain fields, and its file.

    The name of the file's field does not matter: official clients send ``csv`` for every format.

    :param write_to: where the content of the file goes.
    """
    match = re.search(r'boundary="?([^";]+)"?', call.headers.get("content-type", ""))
    if match is None or call.body.size == 0:
        raise bad_request("the multipart body has no boundary, or no part")
    fields: dict[str, str] = {}
    found: Path | None = None
    with call.body.path().open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        delimiter = b"--" + match[1].encode("latin-1")
        start = content.find(delimiter)
        while start >= 0:
            head_end = content.find(b"\r\n\r\n", start)
            end = content.find(b"\r\n" + delimiter, start + len(delimiter))
            if head_end < 0 or end < 0:
                break
            head, start_of_data = content[start:head_end], head_end + 4
            name = _PART_NAME.search(head)
            if b"filename=" in head or (name and name[1] in (b"csv", b"ndjson", b"parquet", b"file")):
                _write(content, start_of_data, end, write_to)
                found = write_to
            elif name:
                fields[name[1].decode("utf-8", errors="replace")] = content[start_of_data:end].decode(
                    "utf-8", errors="replace"
                )
            start = end + 2
    return fields, found


def all_parts(call: Call, most: int = 64 * 1024**2) -> list[tuple[str, str, str]]:
    """The parts of a multipart body: of each the name of its field, that of its file, and its text.

    :param most: bytes that the body may have.
    :raises ApiError: 400, for a body that is none; 413 for a longer one.
    """
    match = re.search(r'boundary="?([^";]+)"?', call.headers.get("content-type", ""))
    if match is None:
        raise bad_request("the body must be multipart/form-data")
    if call.body.size > most:
        raise ApiError(413, f"The body is too large: {call.body.size} bytes, the limit is {most} here")
    found = []
    for part in call.body.path().read_bytes().split(b"--" + match[1].encode("latin-1")):
        head, separator, content = part.partition(b"\r\n\r\n")
        name, file = _PART_NAME.search(head), _FILE_NAME.search(head)
        if separator and name:
            text = content.removesuffix(b"\r\n").decode("utf-8", errors="replace")
            found.append((name[1].decode(), file[1].decode() if file else "", text))
    return found


def _write(content: mmap.mmap, start: int, end: int, path: Path) -> None:
    with path.open("wb") as file:
        for at in range(start, end, _IN_MEMORY):
            file.write(content[at : min(at + _IN_MEMORY, end)])


Handler = Callable[..., Answer]
