"""Keep secrets out of messages: tokens and the query strings of URLs, which may be presigned."""

from __future__ import annotations

import re

LONGEST = 2000
"""Characters of a text from outside that are kept in a message."""

_URL_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?\"'<>]+)\?[^\s\"'<>]*", re.IGNORECASE)
# Parts of a query string that are credentials, for where the address around them is cut off or encoded once more.
_SIGNATURE = re.compile(
    r"\b(X-(?:Amz|Goog)-[\w-]+|AWSAccessKeyId|Signature|sig|token)(=|%3D)[^\s&\"'<>]+", re.IGNORECASE
)
_TOKEN = re.compile(r"(?:p\.eyJ[\w\-+/=]*(?:\.[\w\-+/=]*)?|\beyJ[\w\-]+\.[\w\-]+\.[\w\-]*)")
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+@", re.IGNORECASE)


def redact(text: str, *, secret: str = "") -> str:
    """Cut secrets and excess length out of a text that is about to be shown.

    :param text: text from outside: an error of Tinybird's, an exception of the HTTP library.
    :param secret: the token in use; also anything that merely looks like a Tinybird token or JWT is cut.
    :return: the text, with ``***`` in place of tokens, user names and passwords of URLs, and query strings of URLs.
    """
    if secret:
        text = text.replace(secret, "***")
    text = _TOKEN.sub("***", text)
    text = _URL_PASSWORD.sub(r"\1***@", text)
    text = _URL_QUERY.sub(r"\1?***", text)
    text = _SIGNATURE.sub(r"\1\2***", text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text) - LONGEST} characters more)"
