"""Clients that read their connection again when Tinybird refuses the token: it may have been rotated since.

A refusal means that nothing was done, so that the call can be sent once more with another token, whatever it is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar, cast

from airflow_provider_tinybird import connection
from airflow_provider_tinybird._compat import get_connection_async
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.client import AsyncClient, Client, Downloaded, Sink
from airflow_provider_tinybird.api.errors import AccessDeniedError
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.hooks.shared_clients import shared_client

T = TypeVar("T")
log = logging.getLogger(__name__)

PAUSES = (1.0, 4.0, 10.0, 15.0, 30.0)
"""Seconds before the connection is read again in an event loop: a minute in all. Workers read it again once, at once."""

_UNCHANGED_FOR = 30.0
"""Seconds for which a connection that was the same is not read again in a worker: some calls are expected to be refused."""


class OutOfSightError(Exception):
    """Nothing can be asked from here: the connection cannot be read, or Tinybird refuses its token.

    No :class:`~airflow_provider_tinybird.api.errors.TinybirdError`, since it says nothing of what is waited for.
    """


class RereadingClient(Client):
    """A client for a worker.

    :param settings: what the connection says now.
    :param reread: reads the connection again; ``None`` where it cannot be read.
    """

    def __init__(self, settings: Settings, reread: Callable[[], Settings | None]) -> None:
        super().__init__(settings)
        self._renewal = _Renewal(settings, reread)

    def send(self, call: Call[T], *, deadline: float | None = None) -> T:
        """Send a call, as the base class does."""
        return self._twice(call, lambda: super(RereadingClient, self).send(call, deadline=deadline))

    def download(
        self, call: Call[Any], open_sink: Callable[[], AbstractContextManager[Sink]], *, deadline: float | None = None
    ) -> Downloaded:
        """Send a call and write its answer out, as the base class does."""
        return self._twice(call, lambda: super(RereadingClient, self).download(call, open_sink, deadline=deadline))

    def _twice(self, call: Call[Any], do: Callable[[], T]) -> T:
        used = self.settings
        try:
            return do()
        except AccessDeniedError as e:
            fresh = self._renewal.client_for_other(used) if _is_about_token(e, call) else None
            if fresh is None:
                raise
            log.info("Tinybird refused the token, and the connection holds another one by now: going on with it.")
        vars(self).update({name: value for name, value in vars(fresh).items() if name not in ("_ends_at", "_seen")})
        return do()


class _Renewal:
    """What all views of a client share: the newest settings, and a client for them."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings | None]) -> None:
        self._newest = settings
        self._reread = reread
        self._client: Client | None = None
        self._unchanged_at = -_UNCHANGED_FOR
        # Airflow answers a task by one channel, which other threads must not use meanwhile.
        self._thread = threading.get_ident()

    def client_for_other(self, used: Settings) -> Client | None:
        """Return a client for settings other than these, if the connection has any."""
        if self._newest == used and threading.get_ident() == self._thread:
            self._read_again()
        return self._client if self._newest != used else None

    def _read_again(self) -> None:
        if time.monotonic() - self._unchanged_at < _UNCHANGED_FOR:
            return
        found = self._reread()
        if found is None or found == self._newest:
            self._unchanged_at = time.monotonic()
        else:
            self._newest, self._client = found, Client(found)


@asynccontextmanager
async def rereading_client(conn_id: str) -> AsyncIterator[AsyncClient]:
    """Lend a client for an event loop. Its calls outlast a connection that cannot be read, or whose token is refused, for a minute.

    :param conn_id: id of the connection, which is read when the first call is sent.
    :raises OutOfSightError: from a call: that did not help.
    """
    async with AsyncExitStack() as stack:
        yield cast("AsyncClient", _PatientSender(conn_id, stack))


class _PatientSender:
    def __init__(self, conn_id: str, stack: AsyncExitStack) -> None:
        self._conn_id = conn_id
        self._stack = stack
        self._lent: tuple[Settings, AsyncClient] | None = None
        self._is_refused = False

    async def send(self, call: Call[T], *, deadline: float | None = None) -> T:
        why: Exception
        for pause in (*PAUSES, None):
            try:
                client = await self._client()
            except Exception as e:
                why, what = e, "could not be read"
            else:
                try:
                    return await client.send(call, deadline=deadline)
                except AccessDeniedError as e:
                    if not _is_about_token(e, call):
                        raise
                    why, what = e, "is refused by Tinybird"
                self._is_refused = True
            if pause is None or (deadline is not None and time.monotonic() + pause > deadline):
                break
            trouble = f"Connection '{self._conn_id}' {what} in the triggerer"
            log.warning("%s; reading it again in %.0f s. %s", trouble, pause, _said(why))
            await asyncio.sleep(pause)
        raise OutOfSightError(f"Connection '{self._conn_id}' {what} in the triggerer. {_said(why)}") from why

    async def _client(self) -> AsyncClient:
        if self._lent is None or self._is_refused:
            found = connection.settings_from_connection(await get_connection_async(self._conn_id))
            if self._lent is None or self._lent[0] != found:
                await self._stack.aclose()
                self._lent = None
                self._lent = found, await self._stack.enter_async_context(shared_client(found))
            self._is_refused = False
        return self._lent[1]


def _is_about_token(error: AccessDeniedError, call: Call[Any]) -> bool:
    """Tell whether another token may help. Most may not read Tinybird's logs, for which it takes an ADMIN token."""
    return error.is_final and call.scope != "ADMIN"


def _said(error: Exception) -> str:
    return redact(f"{type(error).__name__}: {error}")
