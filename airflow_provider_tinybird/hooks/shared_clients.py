"""One HTTP client for each event loop and connection, shared by all triggers that need it at the same time.

A client of its own for each trigger costs 20 ms of the loop and a TLS handshake each, and thousands of them starve a
triggerer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from airflow_provider_tinybird.api.client import AsyncClient
from airflow_provider_tinybird.api.settings import Settings


@dataclass(slots=True)
class _Shared:
    client: AsyncClient
    users: int = 0


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """Lend the running loop's client for these settings; the last one to give it back closes it."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    shared = clients.get(settings)
    if shared is None:
        shared = clients[settings] = _Shared(AsyncClient(settings))
    shared.users += 1
    try:
        yield shared.client
    finally:
        shared.users -= 1
        if shared.users == 0:
            del clients[settings]
            await shared.client.close()
