"""Every call of the API over HTTP, by the table of :mod:`api_cases`: to the sandbox, or where it has no such call, to a prepared answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import httpx
import pytest
from api_cases import CASES, Case
from api_cases.case import Send
from sandbox_process import SandboxProcess

from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.settings import Settings, Token

PROJECT = Path(__file__).parents[1] / "contract" / "project"
ROWS = "day,shop,amount\n2026-01-01,a,1\n2026-01-02,a,2\n2026-02-01,b,5\n"


class Prepared:
    """A server that answers everything with the same, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Any = {}
        self.asked: list[str] = []
        prepared = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                prepared.asked.append(f"{self.command} {self.path}")
                text = prepared.answer if isinstance(prepared.answer, str) else json.dumps(prepared.answer)
                self.send_response(200)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - as its base has them

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    files = tmp_path_factory.mktemp("files")
    (files / "sales.csv").write_text(ROWS)
    with SandboxProcess("--project", PROJECT, "--files", files) as server:
        yield server


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    server = Prepared()
    yield server
    server.close()


class Sandbox:
    """The sandbox with three rows in sales, filled anew only after a case that changed something."""

    def __init__(self, server: SandboxProcess, client: Client) -> None:
        self.server = server
        self.client = client
        self._as_filled = False

    def fill(self, case: Case) -> None:
        if not self._as_filled:
            self.server.reset()
            url = f"{self.server.base_url}/v0/datasources?name=sales&mode=append&format=csv"
            answer = httpx.post(url, content=ROWS, headers=self.server.headers)
            assert answer.status_code == 200, answer.text
        self._as_filled = case.call().repeat is Repeat.READ and not case.before and not case.live


@pytest.fixture(scope="module")
def sandbox(server: SandboxProcess) -> Iterator[Sandbox]:
    with Client(settings(server.base_url, server)) as client:
        yield Sandbox(server, client)


def settings(url: str, server: SandboxProcess) -> Settings:
    return Settings(base_url=url, token=Token(server.token), max_retries=0)


def sending(kind: str, url: str, sandbox: Sandbox) -> Send:
    """Send calls by the sync or the async client."""
    if kind == "sync" and url == sandbox.server.base_url:
        return sandbox.client.send

    def by_sync(call: Call[Any]) -> Any:
        with Client(settings(url, sandbox.server)) as client:
            return client.send(call)

    async def by_async(call: Call[Any]) -> Any:
        async with AsyncClient(settings(url, sandbox.server)) as client:
            return await client.send(call)

    return by_sync if kind == "sync" else lambda call: asyncio.run(by_async(call))


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value has the type of an annotation, as far as those of results go."""
    if kind is None or kind is type(None):
        return value is None
    if isinstance(kind, UnionType):
        return any(is_a(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(is_a(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is not None:
        return isinstance(value, get_origin(kind))
    return isinstance(value, kind)


def both_ways() -> list[tuple[str, Case]]:
    """All by the sync client; by the async client, which shares all but the sending, the first case of each module of ``api``."""
    first = {case.name.partition(".")[0]: case for case in reversed(CASES)}
    return [("sync", case) for case in CASES] + [("async", case) for case in first.values()]


@pytest.mark.parametrize(("kind", "case"), both_ways(), ids=lambda one: one.id if isinstance(one, Case) else one)
def test_over_http(kind: str, case: Case, sandbox: Sandbox, prepared: Prepared) -> None:
    if case.in_sandbox:
        done_by_the_sandbox(case, sandbox, sending(kind, sandbox.server.base_url, sandbox))
        return
    answered_by_a_prepared_answer(case, sending(kind, prepared.url, sandbox), prepared)
    method, _, target = case.sent.partition(" ")
    none = httpx.request(method, sandbox.server.base_url + target, headers=sandbox.server.headers)
    assert none.status_code == 405 or (none.status_code == 404 and "not of the sandbox" in none.text)


def done_by_the_sandbox(case: Case, sandbox: Sandbox, send: Send) -> None:
    sandbox.fill(case)
    for call in case.before:
        send(call)
    call = case.call(case.live(send)) if case.live else case.call()
    if case.refused:
        with pytest.raises(case.refused):
            send(call)
        return
    found = send(call)
    assert is_a(found, case.result), found
    if case.shows:
        assert case.shows(found, send), found


def answered_by_a_prepared_answer(case: Case, send: Send, prepared: Prepared) -> None:
    prepared.answer, prepared.asked = case.canned, []
    found = send(case.call())
    assert prepared.asked == [case.sent]
    assert is_a(found, case.result), found
