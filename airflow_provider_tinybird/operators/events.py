"""The operator that sends rows which are in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird._compat import task_state_store
from airflow_provider_tinybird.journal import LoadJournal
from airflow_provider_tinybird.operators.base import attempt_of, clear_failure
from airflow_provider_tinybird.operators.callables import unwrapped, wrapped
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineOperator
from airflow_provider_tinybird.quarantine import Load

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


class TinybirdEventsOperator(TinybirdQuarantineOperator):
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

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.quarantine.TinybirdQuarantineOperator`.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "data",
        *TinybirdQuarantineOperator.quarantine_fields,
    )

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
        began = time.monotonic()
        with clear_failure():
            self.quarantine_policy()
            journal.refuse_to_repeat(self.datasource)
            result = self.hook.send_events(
                self.datasource, data, wait=self.wait, compression=self.compression, journal=journal
            )
            self.log.info("%d rows are in data source '%s'.", result.successful_rows, self.datasource)
            self.judge_quarantine(
                Load(
                    datasource=self.datasource,
                    rows=result.successful_rows,
                    quarantined=result.quarantined_rows,
                    seconds=time.monotonic() - began,
                )
            )
        return {"successful_rows": result.successful_rows, "quarantined_rows": result.quarantined_rows}
