"""One description of a request, which the sync and the async client both send."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Generic, TypeVar, cast

from airflow_provider_tinybird.api.body import Body
from airflow_provider_tinybird.api.encoding import Pairs
from airflow_provider_tinybird.api.errors import UnreadableAnswerError
from airflow_provider_tinybird.api.redact import redact

T = TypeVar("T")
U = TypeVar("U")
JsonObject = Mapping[str, Any]


class Repeat(Enum):
    """What may be done when the answer to a call is lost. Tinybird has no idempotency keys."""

    READ = "read"
    """Changes nothing: send it again."""
    IDEMPOTENT = "idempotent"
    """Done twice it leaves what it leaves when done once: send it again."""
    ONCE = "once"
    """Done twice it doubles data: never send again what may have been done."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer.

    :param status: HTTP status code, 2xx.
    :param headers: headers, names in lower case.
    :param content: the body, decompressed.
    :param what: what was being done, for messages.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    what: str

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Read the body as JSON.

        :raises UnreadableAnswerError: it is none.
        """
        with suppress(ValueError, RecursionError):
            return json.loads(self.content)
        # Raised here, since the exceptions above hold the whole answer.
        raise UnreadableAnswerError(
            f"Tinybird answered HTTP {self.status} to '{self.what}', but the answer is not JSON ({redact(self.text)[:200]!r}): is "
            "something else answering at this host?"
        )

    def json_object(self) -> JsonObject:
        """Read the body as a JSON object.

        :raises UnreadableAnswerError: it is none.
        """
        value = self.json()
        if not isinstance(value, dict):
            raise UnreadableAnswerError(
                f"Tinybird answered HTTP {self.status} to '{self.what}' with {type(value).__name__} instead of an object."
            )
        return value


def error_text(body: JsonObject, *, secret: str = "") -> str:
    """Take Tinybird's words out of a JSON object, of an error answer or of a job; empty where it has none.

    ``error`` may be text, an object with a ``message``, a list, or just ``true`` or ``false`` with the words in
    ``errors``.

    :param secret: the token in use, to be cut out.
    """
    words: list[str] = []
    for value in (body.get("error"), body.get("errors")):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                item = item.get("message") or item.get("error") or json.dumps(item)
            if item and item is not True and str(item) not in words:
                words.append(str(item))
    return redact("; ".join(words), secret=secret)


# What a 2xx can carry that is no JSON: truncate, 204 and 205 answer with nothing or with plain text.
def lenient_json(reply: Reply) -> Any:
    """Read a body that may be empty or no JSON: ``None`` or the text then."""
    if not reply.content.strip():
        return None
    try:
        return json.loads(reply.content)
    except (ValueError, RecursionError):
        return reply.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request to Tinybird.

    :param what: what it does, to complete "Could not ...": ``truncate data source 'flights'``.
    :param method: HTTP method.
    :param path: path below the base URL, percent-encoded.
    :param read: turns a successful answer into the result.
    :param repeat: what may be done when the answer is lost.
    :param params: query string.
    :param body: request body.
    :param scope: least token scope that it needs, for the message when access is denied.
    :param min_timeout: seconds that an answer may well take; the connection's timeout counts where it is longer.
    :param is_refused_when_busy: whether a 503 in Tinybird's own words says that nothing was taken; documented of events alone.
    :param repeat_timeouts: whether to send a read again when its time ran out; not for queries, which would double the
        load.
    :param max_answer: bytes of an answer, decompressed, that are taken into memory at the most.
    :param format: ClickHouse's name of the format that a query's answer has; where it is given, an answer that does not end as
        that format does, or with an exception of ClickHouse, is an error.
    :param find_out: how a person finds out whether it was done, when the answer is lost.
    """

    what: str
    method: str
    path: str
    read: Callable[[Reply], T]
    repeat: Repeat
    params: Pairs = field(default=(), repr=False)  # may hold a presigned address
    body: Body | None = None
    scope: str = ""
    min_timeout: float = 0.0
    is_refused_when_busy: bool = False
    repeat_timeouts: bool = True
    max_answer: int = 64_000_000
    find_out: str = ""
    format: str = ""

    def then(self, read: Callable[[T], U]) -> Call[U]:
        """Make the same call with more read of its result.

        What is read here may break: an answer that lacks it is an :class:`UnreadableAnswerError`, as with all else that is read of answers.
        """
        before = self.read
        return cast("Call[U]", replace(self, read=cast(Any, lambda reply: read(before(reply)))))
