"""Triggers of one loop share a client; the last one closes it."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_tinybird.api import jobs
from airflow_provider_tinybird.api.client import AsyncClient
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.hooks import shared_clients
from airflow_provider_tinybird.hooks.shared_clients import shared_client
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook


@pytest.fixture
def made(monkeypatch):
    """All clients that are made."""
    clients: list[AsyncClient] = []

    class Counted(AsyncClient):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings)
            clients.append(self)

    monkeypatch.setattr(shared_clients, "AsyncClient", Counted)
    return clients


def settings(token: str = "p.x.y") -> Settings:
    return Settings(base_url="https://api.tinybird.co", token=Token(token))


def test_one_client_for_many_users_closed_by_the_last(made):
    async def use(gate: asyncio.Event) -> AsyncClient:
        async with shared_client(settings()) as client:
            await gate.wait()
            assert not client._http.is_closed
            return client

    async def run() -> None:
        gates = [asyncio.Event() for _ in range(50)]
        users = [asyncio.create_task(use(gate)) for gate in gates]
        await asyncio.sleep(0)
        for gate in gates:
            gate.set()
        assert len(set(await asyncio.gather(*users))) == 1

    asyncio.run(run())
    assert [client._http.is_closed for client in made] == [True]


def test_another_token_is_another_client(made):
    async def run() -> None:
        async with shared_client(settings("p.a.b")) as one, shared_client(settings("p.c.d")) as other:
            assert one is not other

    asyncio.run(run())
    assert len(made) == 2


def test_another_loop_is_another_client(made):
    async def run() -> None:
        async with shared_client(settings()):
            pass

    asyncio.run(run())
    asyncio.run(run())
    assert [client._http.is_closed for client in made] == [True, True]


def test_a_user_that_is_cancelled_gives_it_back(made):
    async def use() -> None:
        async with shared_client(settings()):
            await asyncio.sleep(3600)

    async def run() -> None:
        user = asyncio.create_task(use())
        await asyncio.sleep(0)
        user.cancel()
        with pytest.raises(asyncio.CancelledError):
            await user

    asyncio.run(run())
    assert [client._http.is_closed for client in made] == [True]


def test_hooks_share_it_and_hundreds_of_looks_at_once_all_come_back(tinybird, made):
    tinybird.on("GET /v0/jobs/.*", lambda request: {"id": request.path.rpartition("/")[2], "status": "done"})

    async def look(number: int) -> str:
        async with TinybirdHook().async_client() as client:
            return (await client.send(jobs.get_job(f"j{number}"))).id

    async def run() -> list[str]:
        return await asyncio.gather(*(look(number) for number in range(300)))

    assert asyncio.run(run()) == [f"j{number}" for number in range(300)]
    assert len(made) == 1
