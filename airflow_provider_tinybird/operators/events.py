"""The operator that sends rows which are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird._compat import task_state_store
from airflow_provider_tinybird.journal import LoadJournal
from airflow_provider_tinybird.operators.base import TinybirdOperator, attempt_of, clear_failure
from airflow_provider_tinybird.operators.callables import unwrapped, wrapped

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


class TinybirdEventsOperator(TinybirdOperator):
    """Append rows to a data source through the Events API, in as many requests as they need.

    Token scope: ``DATASOURCES:APPEND:<datasource>``. Returns ``successful_rows, quarantined_rows``.

    A load that breaks after part of its rows are in fails for good, whatever ``retries`` says, and tells what is in:
    running it again from the start would double those. On Airflow 3.3 and later that also holds for a load whose worker was
    killed; below, nothing remembers it. A cleared task always sends all of it.

    :param datasource: name of the data source (templated).
    :param data: a pandas, polars or Arrow table, a list of records, NDJSON text, or a callable without arguments that
        returns or yields any of them, called when the task runs (templated).
    :param wait: have each request acknowledged by the database. Without it rows are merely accepted and can be lost.
    :param compression: ``gzip`` to compress the requests, which pays on slow links.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "datasource", "data")

    def __init__(
        self, *, datasource: str, data: Any, wait: bool = True, compression: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.data = wrapped(data)
        self.wait = wait
        self.compression = compression

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the rows."""
        data = unwrapped(self.data)
        journal = LoadJournal(task_state_store(context), attempt_of(context, int(self.retries or 0)))
        with clear_failure():
            journal.refuse_to_repeat(self.datasource)
            result = self.hook.send_events(
                self.datasource, data, wait=self.wait, compression=self.compression, journal=journal
            )
        self.log.info("%d rows are in data source '%s'.", result.successful_rows, self.datasource)
        if result.quarantined_rows:
            self.log.warning(
                "%d rows did not fit and are in data source '%s_quarantine'.", result.quarantined_rows, self.datasource
            )
        return {"successful_rows": result.successful_rows, "quarantined_rows": result.quarantined_rows}
