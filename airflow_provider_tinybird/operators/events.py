"""The operator that sends rows which are in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird._compat import task_state_store
from airflow_provider_tinybird.arguments import rows_bound
from airflow_provider_tinybird.loads import Delivery, LoadMemory, LoadResult
from airflow_provider_tinybird.operators.base import attempt_of, choice, clear_failure, load_id_of
from airflow_provider_tinybird.operators.callables import unwrapped, wrapped
from airflow_provider_tinybird.operators.empty import choosing_when_empty, nothing_to_load
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineOperator
from airflow_provider_tinybird.operators.writers import TinybirdWriterOperator, events_written
from airflow_provider_tinybird.policies import deletes
from airflow_provider_tinybird.policies.quarantine import Load

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


class TinybirdEventsOperator(TinybirdQuarantineOperator, TinybirdWriterOperator):
    """Append rows to a data source through the Events API, several requests at a time.

    Token scope: ``DATASOURCES:APPEND:<datasource>``; ``DATASOURCES:READ:<datasource>`` as well to check before the load that the data
    source exists, and to read the reasons of quarantined rows; ``exactly_once`` needs both, and ``DATASOURCES:CREATE`` to delete a
    torn batch. Returns ``successful_rows, quarantined_rows, batches, bytes,
    skipped_rows``.

    What happens when an answer is lost or the worker dies is for ``delivery`` to say; see the page on loads. A cleared task
    sends all of it again, except with ``exactly_once``, where it sends only what is missing in the data source.

    :param datasource: name of the data source (templated).
    :param data: a pandas, polars or Arrow table, a list of records, NDJSON text, or a callable without arguments that
        returns or yields any of them, called when the task runs (templated).
    :param wait: have each request acknowledged by the database. Without it rows are merely accepted and can be lost.
    :param compression: ``gzip`` to compress the requests, which pays on slow links; ``auto`` to find out whether it does.
    :param delivery: ``at_most_once`` stops at a lost answer and tells which rows are unknown, and no retry doubles them;
        ``at_least_once`` sends again what may have arrived; ``exactly_once`` looks into the data source, and sends only
        what is missing.
    :param batch_id_column: for ``exactly_once``: a String column of the data source, which takes the id of each row's
        batch (templated).
    :param max_in_flight: requests under way at once, 1 to 20.
    :param pacing: keep below the documented rate of a data source: 19 MB/s, uncompressed, and 95 requests a second. Each
        task counts for itself.
    :param create_missing: let a Classic workspace create the data source where it does not exist, with columns guessed from the rows.
        Without it such a task fails before anything is sent, as far as the token may see which data sources there are.
    :param on_empty: what to do when there are no rows: ``success`` with a warning in the log, ``skip`` the task, or ``fail`` (templated).
    :param min_rows: fail where fewer rows than this would be in. Where the data itself has fewer, nothing is sent, as long as these are no
        more than 32 MB of NDJSON. Rows that go to quarantine do not count; where that makes them too few, the task fails for good, with the
        others in. Without rows ``skip`` and ``fail`` of ``on_empty`` come first (templated).
    :param on_narrowing: what to do about a value that its column would change without a word, such as a time out of range or a decimal
        with too many digits: ``fail`` before it is sent, or ``allow``. Without the scope ``DATASOURCES:READ:<datasource>`` nothing is
        looked for, and the log says so (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.quarantine.TinybirdQuarantineOperator`.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "data",
        "batch_id_column",
        "on_empty",
        "min_rows",
        "on_narrowing",
        *TinybirdQuarantineOperator.quarantine_fields,
    )

    def __init__(
        self,
        *,
        datasource: str,
        data: Any,
        wait: bool = True,
        compression: str | None = None,
        delivery: str = "at_most_once",
        batch_id_column: str | None = None,
        max_in_flight: int = 4,
        pacing: bool = True,
        create_missing: bool = False,
        on_empty: str = "success",
        min_rows: int | str | None = None,
        on_narrowing: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.data = wrapped(data)
        self.wait = wait
        self.compression = compression
        self.delivery = delivery
        self.batch_id_column = batch_id_column
        self.max_in_flight = max_in_flight
        self.pacing = pacing
        self.create_missing = create_missing
        self.on_empty = on_empty
        self.min_rows = min_rows
        self.on_narrowing = on_narrowing

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the rows."""
        return self._load(unwrapped(self.data), context).as_xcom()

    def _load(self, data: Any, context: Context) -> LoadResult:
        memory = LoadMemory(
            load_id=load_id_of(context, self),
            store=task_state_store(context),
            attempt=attempt_of(context, int(self.retries or 0)),
        )
        began = time.monotonic()
        with clear_failure():
            self.quarantine_policy()
            on_empty = choice("on_empty", self.on_empty, "success", "skip", "fail")
            least = rows_bound("min_rows", self.min_rows)
            self.tell(f"send rows to data source '{self.datasource}'")
            # With exactly_once the load itself counts its batches in the data source.
            counts_itself = self.delivery == Delivery.EXACTLY_ONCE
            before = None if counts_itself else self.look_before_events(self.datasource, memory)
            with choosing_when_empty(on_empty, self.datasource):
                result = self.hook.send_events(
                    self.datasource,
                    data,
                    wait=self.wait,
                    compression=self.compression,
                    delivery=self.delivery,
                    batch_id_column=self.batch_id_column,
                    max_in_flight=self.max_in_flight,
                    pacing=self.pacing,
                    create_missing=self.create_missing,
                    min_rows=least,
                    on_narrowing=self.on_narrowing,
                    memory=memory,
                )
            if not result.successful_rows and not result.quarantined_rows:
                nothing_to_load(on_empty, self.datasource)
            self.judge_quarantine(
                Load(
                    datasource=self.datasource,
                    rows=result.successful_rows,
                    quarantined=result.quarantined_rows,
                    seconds=time.monotonic() - began,
                )
            )
            if least is not None:
                deletes.check_rows_written(result.successful_rows, least, self.datasource, replaces=False)
            if before is not None:
                self.judge_target(before, events_written(result, wait=self.wait))
        return result
