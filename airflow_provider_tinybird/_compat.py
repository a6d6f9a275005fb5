"""Every name that lives elsewhere, or not at all, in one of the supported Airflow versions (2.11 to 3.3).

The newest place comes first and each fallback says what it is for. Features are probed, never deduced from a version number. An old
path that still works is no way out: it warns on newer versions, and all warnings that users see should be about their own code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow.triggers.base import BaseTrigger, TriggerEvent

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from airflow.sdk import (
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Connection,
        Context,
        ObjectStoragePath,
        PokeReturnValue,
    )
    from airflow.sdk.bases.decorator import DecoratedOperator, determine_kwargs, task_decorator_factory
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        TaskDeferred,
    )
    from airflow.sdk.execution_time.xcom import XCom
    from airflow.sdk.log import mask_secret
else:
    try:
        from airflow.sdk import (
            BaseOperator,
            BaseOperatorLink,
            BaseSensorOperator,
            Connection,
            Context,
            ObjectStoragePath,
            PokeReturnValue,
        )
        from airflow.sdk.execution_time.xcom import XCom
    except ImportError:  # 2.11
        from airflow.io.path import ObjectStoragePath
        from airflow.models import BaseOperator, BaseOperatorLink, Connection, XCom
        from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
        from airflow.utils.context import Context

    try:
        from airflow.sdk import BaseHook
    except ImportError:  # 2.11 and 3.0
        from airflow.hooks.base import BaseHook

    try:
        from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
    except ImportError:  # 2.11
        from airflow.decorators.base import DecoratedOperator, task_decorator_factory

    try:
        from airflow.sdk.bases.decorator import determine_kwargs
    except ImportError:  # 2.11 to 3.1
        from airflow.utils.operator_helpers import determine_kwargs

    try:
        # All or none: 3.1 has a part of them here, and they must come from the place that the core itself catches.
        from airflow.sdk.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSensorTimeout,
            AirflowSkipException,
            TaskDeferred,
        )
    except ImportError:  # 2.11 to 3.1
        from airflow.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSensorTimeout,
            AirflowSkipException,
            TaskDeferred,
        )

    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # 2.11 to 3.1
        from airflow.configuration import conf

    try:
        from airflow.sdk.log import mask_secret
    except ImportError:  # 2.11
        from airflow.utils.log.secrets_masker import mask_secret


TRIGGER_HAS_ON_KILL: bool = hasattr(BaseTrigger, "on_kill")
"""Whether a trigger hears of it when a user fails or clears its task (3.3). Before that a deferred task's job keeps running then."""


class TaskStateStore(Protocol):
    """What a task instance remembers across its attempts (3.3)."""

    def get(self, key: str) -> Any:
        """Return what is stored, or ``None``."""

    def set(self, key: str, value: Any) -> None:
        """Store JSON."""

    def delete(self, key: str) -> None:
        """Forget it."""


def task_state_store(context: Mapping[str, Any] | Context) -> TaskStateStore | None:
    """Return the task instance's store, or ``None`` where Airflow has none (before 3.3).

    What was stored before the task was cleared is not seen.
    """
    store = cast("TaskStateStore | None", context.get("task_state_store"))
    life = _life(context.get("ti"))
    return _StoreOfOneLife(store, life) if store is not None and life else store


def _life(ti: Any) -> str:
    """Return text that a retry leaves alone and a clear changes; empty where there is none.

    A clear gives the task instance another trace context, with or without tracing. ``max_tries`` shows a clear too, but not that of a
    task that runs: Airflow lets it end and then retries it, as if it had failed.
    """
    carrier = getattr(ti, "context_carrier", None)
    return str(carrier.get("traceparent") or "") if isinstance(carrier, Mapping) else ""


@dataclass(frozen=True, slots=True)
class _StoreOfOneLife:
    """A store that shows nothing of what was written before the last clear of the task.

    :param store: Airflow's.
    :param life: what a clear changes.
    """

    store: TaskStateStore
    life: str

    def get(self, key: str) -> Any:
        found = self.store.get(key)
        if not isinstance(found, Mapping) or "life" not in found:
            return found
        if found["life"] != self.life:
            log.info("This task was cleared since it stored '%s': it runs afresh.", key)
            return None
        return {name: value for name, value in found.items() if name != "life"}

    def set(self, key: str, value: Any) -> None:
        self.store.set(key, {**value, "life": self.life} if isinstance(value, Mapping) else value)

    def delete(self, key: str) -> None:
        self.store.delete(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFields:
    """An Airflow connection that has been read to the end, so that reading it asks nobody any more.

    :param extra_dejson: the extra as a mapping.
    """

    conn_id: str
    conn_type: str | None = None
    host: str | None
    schema: str | None
    port: int | None
    login: str | None = field(repr=False)
    password: str | None = field(repr=False)
    extra_dejson: Mapping[str, Any] = field(repr=False)


async def get_connection_async(conn_id: str) -> ConnectionFields:
    """Fetch an Airflow connection from an event loop, such as a trigger's. Call it once for each run of a trigger, not for each poll.

    ``BaseHook.aget_connection`` exists since 3.1, but before 3.3.2 it masks the secrets by a synchronous call to the supervisor,
    which ends in ``DeadlockImminentError`` (a ``BaseException``) when another call is in flight on the same loop. Reading
    ``extra_dejson`` does the same on every 3.x. ``aextra_dejson`` came together with the cure, so it tells which Airflow this is.

    Before that, the synchronous calls run in asgiref's one thread that all callers of the loop share. Threads of their own
    (``asyncio.to_thread``) mix up each other's answers on 3.0 and 3.1 and bring the whole triggerer down.

    :param conn_id: id of the connection.
    :raises AirflowNotFoundException: there is no such connection.
    """
    if hasattr(Connection, "aextra_dejson"):
        found: Any = await BaseHook.aget_connection(conn_id)
        if hasattr(found, "aextra_dejson"):
            return _fields(found, conn_id, await found.aextra_dejson())
        # A secrets backend may hand back the core's own Connection, which only knows the synchronous way, and asks nobody.
        return _fields(found, conn_id, found.extra_dejson)

    from asgiref.sync import sync_to_async

    def fetch() -> ConnectionFields:
        found = BaseHook.get_connection(conn_id)
        return _fields(found, conn_id, found.extra_dejson)

    return await sync_to_async(fetch)()


def placeholder_of_secrets() -> str:
    """Return what the connection form of 2.11 shows in place of a stored secret, and takes for "as it was" when it comes back.

    Empty from 3.0 on. Only that form asks, so what is imported here is there already.
    """
    try:
        from airflow.www.views import SENSITIVE_FIELD_PLACEHOLDER  # type: ignore[import-not-found]
    except ImportError:  # 3.0 and later, whose forms do this by themselves
        return ""
    return str(SENSITIVE_FIELD_PLACEHOLDER)


def _fields(found: Any, conn_id: str, extra: Mapping[str, Any]) -> ConnectionFields:
    return ConnectionFields(
        conn_id=conn_id,
        conn_type=found.conn_type,
        host=found.host,
        schema=found.schema,
        port=found.port,
        login=found.login,
        password=found.password,
        extra_dejson=extra,
    )


__all__ = [
    "TRIGGER_HAS_ON_KILL",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "Connection",
    "ConnectionFields",
    "Context",
    "DecoratedOperator",
    "ObjectStoragePath",
    "PokeReturnValue",
    "TaskDeferred",
    "TaskStateStore",
    "TriggerEvent",
    "XCom",
    "conf",
    "determine_kwargs",
    "get_connection_async",
    "mask_secret",
    "placeholder_of_secrets",
    "task_decorator_factory",
    "task_state_store",
]
