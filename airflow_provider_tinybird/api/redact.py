"""Keep secrets out of messages: tokens, passwords and keys, and the query strings of URLs, which may be presigned.

Texts from outside can be of any size and made to be slow. So a text is cut before it is searched, and each pattern either always matches
where it begins or is bounded: the time grows with the length of the text and no faster.
"""

from __future__ import annotations

import re

LONGEST = 2000
"""Characters of a text from outside that are kept in a message."""

_SEARCHED = 4 * LONGEST
"""Characters that are searched: what is cut out makes a text shorter, so that more is needed than is kept."""

_KEYS = (
    r"passw(?:or)?d",
    "passphrase",
    "pwd",
    r"secret(?:[_-]?access[_-]?key)?",
    r"session[_-]?token",
    r"(?:api|account|private|shared[_-]?access)[_-]?key",
    r"access[_-]?key(?:[_-]?id)?",
)
_KEY = "|".join(_KEYS)
_VALUE = r"(\"(?:[^\"\\]|\\.)*\"?|'[^']*'?|[^\s&\"'<>,;]+)"

_TOKEN = re.compile(
    r"p\.eyJ[\w\-+/=]*(?:\.[\w\-+/=]*)?|\beyJ[\w\-]{6,}(?:\.[\w\-]*){0,2}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)[^-]*")
_URL_USER = re.compile(r"(://)[^\s/\"'<>]*@")
_CUT_URL_USER = re.compile(r"(://)[^\s/@\"'<>]{1,4000}\Z")
_URL_QUERY = re.compile(r"(://[^\s?\"'<>]*)(\?[^\s\"'<>]*)?")
_COOKIE = re.compile(r"\b((?:set-)?cookie[\"']?\s{0,3}[:=]\s{0,3}[\"']?)[^\"'<>\r\n]+", re.IGNORECASE)
_HEADER = re.compile(
    r"\b((?:(?:proxy-)?authorization|x-api-key|x-auth-token|x-amz-[\w-]{1,40}(?=\s{0,3}:))[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:(?:bearer|basic|digest|token)\s{1,3})?)"
    r"[^\s\"',<>]+",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b((?:bearer|basic)(?:\s{1,3}|%20))(?=[^\s]{0,200}[\d=+/])[\w.~+/=%-]{8,}", re.IGNORECASE)
# Parts of a query string that are credentials, for where the address around them is cut off or encoded once more.
_ASSIGNED = re.compile(
    rf"((?:\b|_)(?:X-(?:Amz|Goog)-[\w-]{{1,60}}|AWSAccessKeyId|Signature|sig|(?:\w{{0,30}}_)?token|credentials?|{_KEY})(?:=|%3D)){_VALUE}",
    re.IGNORECASE,
)
_MEMBER = re.compile(
    rf"((?:\b|_)(?:(?:(?:\w{{0,30}}_)?token|{_KEY})[\"']|{_KEY})\s{{0,3}}[:=]\s{{0,3}}){_VALUE}", re.IGNORECASE
)


def redact(text: str, *, secret: str = "") -> str:
    """Cut secrets and excess length out of a text that is about to be shown.

    :param text: text from outside: an error of Tinybird's, an exception of the HTTP library.
    :param secret: the token in use; also anything that merely looks like a Tinybird token or JWT is cut.
    :return: the text, with ``***`` in place of tokens, passwords and keys, user names and passwords of URLs, and query strings of URLs.
    """
    length = len(text)
    is_cut = length > _SEARCHED + len(secret)
    if is_cut:
        text = text[: _SEARCHED + len(secret)]
    if secret:
        text = text.replace(secret, "***")
        if is_cut:
            text = text[: len(text) - _begun(text, secret)]
    text = _TOKEN.sub("***", text)
    text = _PRIVATE_KEY.sub(r"\1***", text)
    text = _URL_USER.sub(r"\1***@", text)
    if is_cut:
        text = _CUT_URL_USER.sub(r"\1***", text)
    text = _URL_QUERY.sub(lambda found: f"{found[1]}?***" if found[2] else found[1], text)
    text = _COOKIE.sub(r"\1***", text)
    text = _HEADER.sub(r"\1***", text)
    text = _SCHEME.sub(r"\1***", text)
    text = _ASSIGNED.sub(_hidden, text)
    text = _MEMBER.sub(_hidden, text)
    if len(text) <= LONGEST and not is_cut:
        return text
    more = max(0, len(text) - LONGEST) + (max(0, length - _SEARCHED - len(secret)) if is_cut else 0)
    return f"{text[:LONGEST]}... ({more} characters more)"


def _hidden(found: re.Match[str]) -> str:
    """Hide a value within its quotes."""
    name, value = found.groups()
    quote = value[0] if value[0] in "\"'" else ""
    return f"{name}{quote}***{quote if value[1:].endswith(quote) else ''}"


def _begun(text: str, secret: str) -> int:
    """How many characters of the secret a text ends with that was cut off in the middle of it."""
    return next((size for size in range(min(len(secret) - 1, len(text)), 0, -1) if text.endswith(secret[:size])), 0)


class Token:
    """A secret that does not show itself in logs, messages or JSON.

    No dataclass on purpose: Airflow turns dataclasses into XComs by itself, and ``dataclasses.asdict`` would open it.

    :param value: the token's text.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @property
    def value(self) -> str:
        """The secret itself, for the ``Authorization`` header and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "Token(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Token, self._value))
