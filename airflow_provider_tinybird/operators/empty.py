"""A load without rows: what its task does is a choice of the DAG's author."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_tinybird._compat import AirflowSkipException
from airflow_provider_tinybird.loads import NotEnoughRowsError
from airflow_provider_tinybird.policies.deletes import EmptyLoadError

log = logging.getLogger(__name__)


def nothing_to_load(on_empty: str, datasource: str) -> None:
    """Do what ``on_empty`` says: a warning, unless it is ``skip`` or ``fail``.

    :raises AirflowSkipException: the task is to be skipped.
    :raises EmptyLoadError: it is to fail.
    """
    if on_empty == "skip":
        raise AirflowSkipException(
            f"There are no rows for data source '{datasource}': skipped, as on_empty='skip' says."
        )
    if on_empty == "fail":
        raise EmptyLoadError(
            f"There are no rows for data source '{datasource}'. Nothing was sent.\n"
            "See why where the rows come from. on_empty='success' makes this green, on_empty='skip' skips the task."
        )
    log.warning(
        "There are no rows for data source '%s': nothing was sent. on_empty='skip' or 'fail' would show it.", datasource
    )


@contextmanager
def choosing_when_empty(on_empty: str, datasource: str) -> Iterator[None]:
    """Let ``skip`` and ``fail`` come before ``min_rows``, where there are no rows at all."""
    try:
        yield
    except NotEnoughRowsError as e:
        if not e.rows and on_empty in ("skip", "fail"):
            nothing_to_load(on_empty, datasource)
        raise
