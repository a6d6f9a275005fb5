"""The ASGI application: routes, and the way of a request from the socket to a handler and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_tinybird.sandbox.http.auth import Token
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, of_engine
from airflow_provider_tinybird.sandbox.http.faults import with_faults
from airflow_provider_tinybird.sandbox.http.gate import with_gate
from airflow_provider_tinybird.sandbox.http.web import Answer, Body, Call, error_answer
from airflow_provider_tinybird.sandbox.routes import (
    alter,
    analyze,
    connectors,
    control,
    copies,
    datasources,
    deletes,
    dependencies,
    deployments,
    endpoints,
    events,
    explain,
    imports,
    jobs,
    local,
    nodes,
    organizations,
    page,
    pipes,
    populate,
    publish,
    sink,
    sql,
    sql_tools,
    tags,
    tokens,
    variables,
)
from airflow_provider_tinybird.sandbox.routes import status as pages
from airflow_provider_tinybird.sandbox.workspace.sandbox import Sandbox

Handler = Callable[[Sandbox, Call], Answer]

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", page.to_page),
    ("GET", "/sandbox", page.show),
    ("GET", "/tokens", local.tokens),
    ("GET", "/v0/user/workspaces", local.list_workspaces),
    ("GET", "/v1/user/workspaces", local.list_workspaces),
    ("POST", "/v1/workspaces", local.create_workspace),
    ("GET", "/v0/workspaces/{id}", local.get_workspace),
    ("GET", "/v1/workspaces/{id}", local.get_workspace),
    ("DELETE", "/v1/workspaces/{id}", organizations.delete_workspace),
    ("GET", "/v0/organizations", organizations.list_organizations),
    ("GET", "/v0/organizations/{id}/members", organizations.list_members),
    ("GET", "/v0/organizations/{id}/workspaces", organizations.list_workspaces),
    ("GET", "/v0/environments", organizations.list_branches),
    ("POST", "/v0/environments", organizations.create_branch),
    ("GET", "/v0/environments/{name}", organizations.get_branch),
    ("DELETE", "/v0/environments/{name}", organizations.delete_branch),
    ("GET", "/v1/environments", organizations.list_branches),
    ("POST", "/v1/environments", organizations.create_branch),
    ("GET", "/v0/tags", tags.list_tags),
    ("POST", "/v0/tags", tags.create_tag),
    ("PUT", "/v0/tags/{name}", tags.update_tag),
    ("DELETE", "/v0/tags/{name}", tags.delete_tag),
    ("GET", "/v0/health", pages.health),
    ("GET", "/v0/regions", pages.regions),
    ("GET", "/v0/auth", pages.auth),
    ("GET", "/v0/workspace", pages.workspace),
    ("GET", "/v1/workspace", pages.workspace_v1),
    ("GET", "/v0/tokens", tokens.list_tokens),
    ("POST", "/v0/tokens", tokens.create_token),
    ("GET", "/v0/tokens/{name}", tokens.get_token),
    ("PUT", "/v0/tokens/{name}", tokens.update_token),
    ("DELETE", "/v0/tokens/{name}", tokens.delete_token),
    ("POST", "/v0/tokens/{name}/refresh", tokens.refresh_token),
    ("GET", "/v0/variables", variables.list_variables),
    ("POST", "/v0/variables", variables.create_variable),
    ("GET", "/v0/variables/{name}", variables.get_variable),
    ("PUT", "/v0/variables/{name}", variables.update_variable),
    ("DELETE", "/v0/variables/{name}", variables.delete_variable),
    ("POST", "/v0/analyze", analyze.analyze),
    ("GET", "/v0/dependencies", dependencies.get_dependencies),
    ("GET", "/v0/datasources", datasources.list_datasources),
    ("POST", "/v0/datasources", imports.post_datasources),
    ("POST", "/v0/datasources/exchange", alter.exchange),
    ("GET", "/v0/datasources/{name}.datasource", alter.get_file),
    ("GET", "/v0/datasources/{name}", datasources.get_datasource),
    ("PUT", "/v0/datasources/{name}", alter.update),
    ("POST", "/v0/datasources/{name}/alter", alter.alter),
    ("POST", "/v0/datasources/{name}/share", alter.share),
    ("DELETE", "/v0/datasources/{name}/share", alter.unshare),
    ("DELETE", "/v0/datasources/{name}", datasources.drop),
    ("GET", "/v0/connectors", connectors.list_connectors),
    ("POST", "/v0/datasources/{name}/scheduling/runs", connectors.run_now),
    ("GET", "/v0/datasources/{name}/scheduling/state", connectors.get_state),
    ("PUT", "/v0/datasources/{name}/scheduling/state", connectors.put_state),
    ("POST", "/v0/datasources/{name}/sample", connectors.sample),
    ("POST", "/v0/datasources/{name}/stop", connectors.stop),
    ("POST", "/v0/datasources/{name}/start", connectors.start),
    ("POST", "/v0/datasources/{name}/truncate", datasources.truncate),
    ("POST", "/v0/datasources/{name}/delete", deletes.delete_v0),
    ("POST", "/v1/datasources/{name}/delete", deletes.delete_v1),
    ("POST", "/v1/datasources/{name}/append", imports.append_v1),
    ("POST", "/v1/datasources/{name}/replace", imports.replace_v1),
    ("GET", "/v0/jobs", jobs.list_jobs),
    ("GET", "/v0/jobs/{id}", jobs.get_job),
    ("POST", "/v0/jobs/{id}/cancel", jobs.cancel_job),
    ("POST", "/v0/jobs/{id}/retry", jobs.retry_job),
    ("POST", "/v0/events", events.send_events),
    ("GET", "/v0/pipes", pipes.list_pipes),
    ("POST", "/v0/pipes", pipes.create_pipe),
    ("GET", "/v0/pipes/{name}.pipe", pipes.get_pipe_info),
    ("PUT", "/v0/pipes/{name}.pipe", pipes.update_pipe),
    ("DELETE", "/v0/pipes/{name}.pipe", pipes.delete_pipe),
    ("GET", "/v1/pipes/{name}.pipe", pipes.get_pipe_file),
    ("GET", "/v0/pipes/{name}.{format}", endpoints.call_endpoint),
    ("POST", "/v0/pipes/{name}.{format}", endpoints.call_endpoint),
    ("GET", "/v0/pipes/{name}", pipes.get_pipe),
    ("PUT", "/v0/pipes/{name}", pipes.update_pipe),
    ("DELETE", "/v0/pipes/{name}", pipes.delete_pipe),
    ("PUT", "/v0/pipes/{name}/endpoint", nodes.publish_by_id),
    ("GET", "/v0/pipes/{name}/explain", explain.explain),
    ("POST", "/v0/pipes/{name}/nodes", nodes.add_node),
    ("PUT", "/v0/pipes/{name}/nodes/{node}", nodes.update_node),
    ("DELETE", "/v0/pipes/{name}/nodes/{node}", nodes.delete_node),
    ("GET", "/v0/pipes/{name}/nodes/{node}/explain", explain.explain),
    ("GET", "/v0/pipes/{name}/nodes/{node}/analysis", nodes.analyze),
    ("POST", "/v0/pipes/{name}/nodes/{node}/endpoint", nodes.publish),
    ("DELETE", "/v0/pipes/{name}/nodes/{node}/endpoint", nodes.unpublish),
    ("DELETE", "/v0/pipes/{name}/nodes/{node}/materialization", nodes.unlink),
    ("POST", "/v0/pipes/{name}/nodes/{node}/copy", publish.create_copy),
    ("PUT", "/v0/pipes/{name}/nodes/{node}/copy", publish.update_copy),
    ("DELETE", "/v0/pipes/{name}/nodes/{node}/copy", publish.remove_copy),
    ("POST", "/v0/pipes/{name}/nodes/{node}/sink", publish.create_sink),
    ("DELETE", "/v0/pipes/{name}/nodes/{node}/sink", publish.remove_sink),
    ("POST", "/v0/pipes/{name}/copy", copies.run_copy),
    ("POST", "/v0/pipes/{name}/copy/pause", copies.pause),
    ("POST", "/v0/pipes/{name}/copy/resume", copies.resume),
    ("POST", "/v0/pipes/{name}/copy/cancel", copies.cancel),
    ("POST", "/v0/pipes/{name}/sink", sink.run_sink),
    ("POST", "/v0/pipes/{name}/nodes/{node}/population", populate.run_populate),
    ("GET", "/v0/sql", sql.run_sql),
    ("POST", "/v0/sql", sql.run_sql),
    ("POST", "/v1/build", deployments.build),
    ("POST", "/v1/deploy", deployments.deploy),
    ("GET", "/v1/deployments", deployments.list_deployments),
    ("GET", "/v1/deployments/{id}", deployments.get_deployment),
    ("DELETE", "/v1/deployments/{id}", deployments.discard),
    ("POST", "/v1/deployments/{id}/set-live", deployments.set_live),
    ("GET", "/v0/sql_tables", sql_tools.tables),
    ("POST", "/v0/sql_tables", sql_tools.tables),
    ("POST", "/v0/sql_replace", sql_tools.replace_tables),
    ("GET", "/v0/sql_format", sql_tools.format_sql),
    ("POST", "/v0/sql_format", sql_tools.format_sql),
    ("POST", "/v0/sql_copy", copies.copy_of_sql),
    ("POST", "/sandbox/faults", control.add_faults),
    ("DELETE", "/sandbox/faults", control.clear_faults),
    ("POST", "/sandbox/jobs", control.plan_jobs),
    ("DELETE", "/sandbox/jobs", control.release_jobs),
    ("POST", "/sandbox/rows", control.add_rows),
    ("GET", "/sandbox/requests", control.list_requests),
    ("GET", "/sandbox/clock", control.show_clock),
    ("POST", "/sandbox/clock", control.set_clock),
    ("DELETE", "/sandbox/clock", control.reset_clock),
    ("POST", "/sandbox/reset", control.reset),
)
_THREADS = 8
MAX_URL_BYTES = 8192
_MOST_PATH = 250
_PACKING = 64 * 1024
_log = logging.getLogger(__name__)


def make_app(box: Sandbox) -> ASGIApp:
    """The application over a sandbox."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
    routes: list[BaseRoute] = [
        Route(path, _endpoint(box, pool, handler), methods=[method]) for method, path, handler in ROUTES
    ]
    routes.append(Route("/files/{path:path}", _file_endpoint(box), methods=["GET"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})
    app.router.redirect_slashes = False

    async def without_trailing_slash(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            await _error(ApiError(414, "The URL is too long: send the parameters in the body of a POST"))(
                scope, receive, send
            )
            return
        if box.options.require_content_length and any(
            key == b"transfer-encoding" for key, _ in scope.get("headers", ())
        ):
            await _error(ApiError(411, "The body has no Content-Length: send it whole, and not in chunks"))(
                scope, receive, send
            )
            return
        # Tinybird takes a trailing slash on every path; the router would answer with a redirect.
        if scope["type"] == "http" and len(scope["path"]) > 1:
            scope = {**scope, "path": scope["path"].rstrip("/")}
        await app(scope, receive, send)

    return with_gate(with_faults(without_trailing_slash, box.monitor))


def _file_endpoint(box: Sandbox) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        root, name = box.options.files, request.path_params["path"]
        path = (root / name).resolve() if root and "\0" not in name and len(name) < _MOST_PATH else None
        if root is None or path is None or root not in path.parents or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path)

    return endpoint


def _endpoint(box: Sandbox, pool: ThreadPoolExecutor, handler: Handler) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        body = Body(box.spool, _most_bytes(box, handler))
        try:
            async for chunk in request.stream():
                body.add(chunk)
            call = _call(box, request, body)
            answer = await asyncio.get_running_loop().run_in_executor(pool, _answer, box, call, handler)
        except ClientDisconnect:
            answer = Answer(400)
        except ApiError as error:
            answer = error_answer(error)
        finally:
            body.discard()
        return Response(answer.body, answer.status, {"Content-Type": answer.content_type, **answer.headers})

    return endpoint


def _most_bytes(box: Sandbox, handler: Handler) -> int:
    # Packing makes data that cannot be packed a little longer; the handler looks again.
    return box.options.max_events_bytes + _PACKING if handler is events.send_events else box.options.max_import_bytes


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
        if call.token and call.token.rps:
            box.jwt_limit(call.token.rps).take(call.token.id)
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
    return _error(ApiError(status, text))


def _error(error: ApiError) -> Response:
    answer = error_answer(error)
    return Response(answer.body, answer.status, {"Content-Type": answer.content_type})
