"""From data of any kind to a load: checked, encoded, and with the journal that its delivery needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import Datasource
from airflow_provider_tinybird.jobs.start import Attempt, Store
from airflow_provider_tinybird.loads.events.batch_counts import Target
from airflow_provider_tinybird.loads.events.datasource_journal import ExactlyOnce
from airflow_provider_tinybird.loads.events.enough import enough
from airflow_provider_tinybird.loads.events.errors import LoadInterruptedError
from airflow_provider_tinybird.loads.events.journal import Journal, NoJournal
from airflow_provider_tinybird.loads.events.loader import send_batches
from airflow_provider_tinybird.loads.events.options import Delivery, LoadOptions
from airflow_provider_tinybird.loads.events.progress import LoadResult, rows_of
from airflow_provider_tinybird.loads.events.task_journal import TaskJournal, note_exactly_once
from airflow_provider_tinybird.loads.narrowing import gate_of
from airflow_provider_tinybird.ndjson import Batch, EncodeError, UnsupportedDataError, batches, check


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMemory:
    """What tells one load from another, and where it remembers how far it is.

    :param load_id: names the load: the same for each attempt.
    :param store: keeps JSON from one attempt to the next; ``None`` where there is none (before Airflow 3.3).
    :param attempt: the attempt.
    :param found: the data source, where the task has looked it up already.
    """

    load_id: str | None = None
    store: Store | None = None
    attempt: Attempt = field(default_factory=lambda: Attempt(max_tries=0))
    found: Datasource | None = None


def load_data(
    client: Client,
    datasource: str,
    data: Any,
    options: LoadOptions,
    memory: LoadMemory | None = None,
    found: Datasource | None = None,
    *,
    min_rows: int | None = None,
) -> LoadResult:
    """Send data as events.

    What is in memory is looked through before the first body is sent, so that a value that cannot be sent is found while
    nothing is in. What comes from an iterator or a function is encoded as it comes.

    :param client: sends it.
    :param datasource: name of the data source.
    :param data: see :func:`~airflow_provider_tinybird.ndjson.batches`.
    :param options: how to send it.
    :param memory: what is remembered.
    :param found: the data source, from :func:`~airflow_provider_tinybird.loads.target.look_up`; ``None`` where it could not be read.
    :param min_rows: rows that the data must have; see :func:`~airflow_provider_tinybird.loads.events.enough.enough`.
    :raises TinybirdError: see :func:`~airflow_provider_tinybird.loads.send_batches`.
    """
    journal = _journal(client, datasource, options, memory or LoadMemory(), found)
    gate = gate_of(client, datasource, options.on_narrowing, found)
    try:
        if check(data, max_bytes=options.max_bytes, row_overhead=journal.row_overhead, gate=gate):
            gate = None
    except (EncodeError, UnsupportedDataError) as e:
        raise InvalidInputError(f"Nothing was sent to '{datasource}': {e}") from e
    encoded: Iterator[Batch] = batches(data, max_bytes=options.max_bytes, row_overhead=journal.row_overhead, gate=gate)
    if min_rows:
        encoded = enough(encoded, min_rows, datasource)
    return send_batches(client, datasource, encoded, options=options, journal=journal, total=rows_of(data))


def _journal(
    client: Client, datasource: str, options: LoadOptions, memory: LoadMemory, found: Datasource | None
) -> Journal:
    if options.delivery is not Delivery.EXACTLY_ONCE:
        if memory.store is None:
            if memory.attempt.is_retry and options.delivery is Delivery.AT_MOST_ONCE:
                raise _not_remembered(datasource)
            return NoJournal()
        return TaskJournal(memory.store, memory.attempt, datasource, options.delivery)
    if not memory.load_id:
        raise InvalidInputError(
            "delivery='exactly_once' needs load_id, a name that is the same whenever this load is tried again, such as the DAG's and the "
            "run's id; the operator makes one."
        )
    target = Target.opened(client, datasource, options.batch_id_column or "", found)
    note_exactly_once(memory.store, memory.attempt, datasource)
    return ExactlyOnce(target, memory.load_id, is_retry=memory.attempt.is_retry)


def _not_remembered(datasource: str) -> LoadInterruptedError:
    # An attempt that failed knew that nothing was in, or it would not be retried; of one whose worker died nobody knows.
    return LoadInterruptedError(
        f"This is a retry, and Airflow before 3.3 has nowhere to remember what an earlier attempt sent to '{datasource}': where its worker "
        "died, rows may be in, and sending all again would double them. Nothing was sent by this attempt. Look at the rows; clear the task "
        "to send all of it again, or mark it as success. delivery='exactly_once' finds out by itself, and where rows may be doubled "
        "'at_least_once' just sends again."
    )
