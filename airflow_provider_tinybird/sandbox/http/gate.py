"""Who may ask for what needs no token, and which pages of a browser may call the API.

The sandbox listens on this machine only, but any page that is open in a browser here can send it requests. What needs no token
(``/sandbox``, ``/tokens``, ``/files``) is therefore only for callers that know the sandbox by a name of this machine, and for none of
other pages. The API itself is for pages of everybody, as at Tinybird, since they need a token.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_tinybird.sandbox.http.errors import ApiError
from airflow_provider_tinybird.sandbox.http.web import error_answer

_API = ("/v0/", "/v1/")
_OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
    "access-control-allow-headers": "Authorization, Content-Type, Content-Encoding, X-Requested-With",
    "access-control-expose-headers": "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset",
    "access-control-max-age": "86400",
}


def with_gate(app: ASGIApp) -> ASGIApp:
    """An application that nothing reaches which its sender must not ask for.

    Whatever is not of the API is for this machine: a route that is added needs nothing of its own for that.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1").lower() for key, value in scope["headers"]}
        if not scope["path"].startswith(_API):
            if _is_of_this_machine(headers):
                await app(scope, receive, send)
            else:
                await _refuse(send)
        elif scope["method"] == "OPTIONS":
            await _send(send, 204, _CORS)
        else:
            await app(scope, receive, _with_cors(send) if "origin" in headers else send)

    return guarded


def _is_of_this_machine(headers: dict[str, str]) -> bool:
    """Whether a request is neither by a foreign name that points here (DNS rebinding) nor from the page of another server."""
    host = headers.get("host", "")
    origin = headers.get("origin")
    return bool(_OWN_HOST.fullmatch(host)) and (origin is None or urlsplit(origin).netloc == host)


def _with_cors(send: Send) -> Send:
    added = [(key.encode(), value.encode()) for key, value in _CORS.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending


async def _refuse(send: Send) -> None:
    answer = error_answer(
        ApiError(403, "This is for this machine only, and not for other pages: ask for it as localhost or 127.0.0.1")
    )
    await _send(send, answer.status, {"content-type": answer.content_type}, answer.body)


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    raw = [(key.encode(), value.encode()) for key, value in {**headers, "content-length": str(len(body))}.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
