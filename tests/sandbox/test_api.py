"""Every call of the API over HTTP against the sandbox, by the table of :mod:`api_cases`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import httpx
import pytest
from api_cases import CASES, Case
from sandbox_process import SandboxProcess

from airflow_provider_tinybird.api.call import Call, Repeat
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings

PROJECT = Path(__file__).parents[1] / "contract" / "project"
ROWS = "day,shop,amount\n2026-01-01,a,1\n2026-01-02,a,2\n2026-02-01,b,5\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    files = tmp_path_factory.mktemp("files")
    header, *rows = ROWS.splitlines()
    # In another order than those that are there: the same block would be dropped.
    (files / "sales.csv").write_text("\n".join([header, *reversed(rows), ""]))
    with SandboxProcess("--project", PROJECT, "--files", files) as server:
        yield server


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

    def send_async(self, call: Call[Any]) -> Any:
        async def send() -> Any:
            async with AsyncClient(settings_of(self.server)) as client:
                return await client.send(call)

        return asyncio.run(send())


@pytest.fixture(scope="module")
def sandbox(server: SandboxProcess) -> Iterator[Sandbox]:
    with Client(settings_of(server)) as client:
        yield Sandbox(server, client)


def settings_of(server: SandboxProcess) -> Settings:
    return Settings(base_url=server.base_url, token=Token(server.token), max_retries=0, verify=False)


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
def test_over_http(kind: str, case: Case, sandbox: Sandbox) -> None:
    send = sandbox.client.send if kind == "sync" else sandbox.send_async
    sandbox.fill(case)
    for call in case.before:
        send(call)
    call = case.call_for(send)
    if case.refused:
        with pytest.raises(case.refused):
            send(call)
        return
    found = send(call)
    assert is_a(found, case.result), found
    assert case.shows is None or case.shows(found, send), found
