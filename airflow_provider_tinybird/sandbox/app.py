"""The ASGI application: routes, and the way of a request from the socket to a handler and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_tinybird.sandbox import events, pages, sql
from airflow_provider_tinybird.sandbox.auth import Token
from airflow_provider_tinybird.sandbox.box import Sandbox
from airflow_provider_tinybird.sandbox.errors import ApiError, EngineError, of_engine
from airflow_provider_tinybird.sandbox.http import Answer, Body, Call, error_answer

Handler = Callable[[Sandbox, Call], Answer]

_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/tokens", pages.local_tokens),
    ("GET", "/v0/health", pages.health),
    ("GET", "/v0/regions", pages.regions),
    ("GET", "/v0/auth", pages.auth),
    ("GET", "/v0/workspace", pages.workspace),
    ("GET", "/v1/workspace", pages.workspace_v1),
    ("GET", "/v0/tokens", pages.list_tokens),
    ("POST", "/v0/tokens", pages.create_token),
    ("POST", "/v0/events", events.send_events),
    ("GET", "/v0/sql", sql.run_sql),
    ("POST", "/v0/sql", sql.run_sql),
)
_THREADS = 8
_log = logging.getLogger(__name__)


def make_app(box: Sandbox) -> ASGIApp:
    """The application over a sandbox."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
    routes: list[BaseRoute] = [
        Route(path, _endpoint(box, pool, handler), methods=[method]) for method, path, handler in _ROUTES
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})

    async def without_trailing_slash(scope: Scope, receive: Receive, send: Send) -> None:
        # Tinybird takes a trailing slash on every path; the router would answer with a redirect.
        if scope["type"] == "http" and len(scope["path"]) > 1:
            scope = {**scope, "path": scope["path"].rstrip("/")}
        await app(scope, receive, send)

    return without_trailing_slash


def _endpoint(box: Sandbox, pool: ThreadPoolExecutor, handler: Handler) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        body = Body(box.spool)
        try:
            async for chunk in request.stream():
                body.add(chunk)
            call = _call(box, request, body)
            answer = await asyncio.get_running_loop().run_in_executor(pool, _answer, box, call, handler)
        except ClientDisconnect:
            answer = Answer(400)
        finally:
            body.discard()
        return Response(answer.body, answer.status, {"Content-Type": answer.content_type, **answer.headers})

    return endpoint


def _call(box: Sandbox, request: Request, body: Body) -> Call:
    query = tuple(request.query_params.multi_items())
    return Call(
        method=request.method,
        path=request.url.path,
        path_values={key: str(value) for key, value in request.path_params.items()},
        query=tuple((key, value) for key, value in query if key != "token"),
        headers=dict(request.headers),
        body=body,
        base_url=str(request.base_url).rstrip("/"),
        token=_token(box, request),
    )


def _token(box: Sandbox, request: Request) -> Token | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not value:
        value = request.query_params.get("token", "")
    return box.workspace.token(value.strip())


def _answer(box: Sandbox, call: Call, handler: Handler) -> Answer:
    try:
        return handler(box, call)
    except ApiError as error:
        return error_answer(error)
    except EngineError as error:
        return error_answer(of_engine(error))
    except Exception:
        _log.exception("%s %s failed", call.method, call.path)
        return error_answer(ApiError(500, "Internal error of the sandbox: its log has the details"))


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: "Not found: this path is not of the API, or not of the sandbox", 405: "Method not allowed"}.get(
        status, "Error"
    )
    answer = error_answer(ApiError(status, text))
    return Response(answer.body, status, {"Content-Type": answer.content_type})
