"""A hook for tools of Airflow's common.sql provider (extra: ``sql``), which ask by the database API of Python."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.results.dbapi import TinybirdDbConnection

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook
else:
    try:
        from airflow.providers.common.sql.hooks.sql import DbApiHook
    except ImportError as e:
        raise ImportError(
            "Checks by SQL need Airflow's common.sql provider: pip install 'airflow-provider-tinybird[sql]'"
        ) from e


class TinybirdSqlHook(DbApiHook):
    """Runs SELECTs for what works with any database hook: ``get_first``, ``get_records``, ``get_df``, ``run`` with a handler.

    It only reads. To write use the operators and hooks that Tinybird's API is made for.

    :param tinybird_conn_id: id of a connection of type ``tinybird``.
    """

    conn_name_attr = "tinybird_conn_id"
    default_conn_name = TinybirdHook.default_conn_name
    conn_type = TinybirdHook.conn_type
    hook_name = TinybirdHook.hook_name
    supports_autocommit = False

    @cached_property
    def tinybird(self) -> TinybirdHook:
        """The hook for all the rest of Tinybird."""
        return TinybirdHook(getattr(self, self.conn_name_attr))

    def get_conn(self) -> Any:
        """Return a connection of the database API."""
        return TinybirdDbConnection(self.tinybird.client)

    def get_uri(self) -> NoReturn:
        """Say that there is no such thing.

        :raises NotImplementedError: always.
        """
        raise NotImplementedError("Tinybird has no address for SQLAlchemy: its SQL is asked over HTTP.")

    def insert_rows(self, *_: Any, **__: Any) -> NoReturn:
        """Say how rows are written instead.

        :raises NotImplementedError: always.
        """
        raise NotImplementedError(
            "Tinybird takes no INSERT: use TinybirdEventsOperator, or send_events of TinybirdHook."
        )
