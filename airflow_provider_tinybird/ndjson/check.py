"""Find what cannot be sent before anything is, without making the bodies."""

from __future__ import annotations

from airflow_provider_tinybird.ndjson.batches import DEFAULT_MAX_BYTES, batches
from airflow_provider_tinybird.ndjson.gate import Gate
from airflow_provider_tinybird.ndjson.sources import GatedSource, is_in_memory, sources

_RECORDS = 10_000  # that are looked at together


def check(data: object, *, max_bytes: int = DEFAULT_MAX_BYTES, row_overhead: int = 0, gate: Gate | None = None) -> bool:
    """Find values that cannot be sent, several times as fast as encoding them.

    Columns that cannot fail, such as numbers, are not read at all. Python objects and nested columns are encoded. All is
    encoded once only where, by the lengths of its texts, a row might be longer than a body.

    What is in memory is checked: frames, tables, lists of records, text. Data that can be gone through once only
    (iterators, readers) or that is read from elsewhere when it is asked for (files, data sets, queries, functions) is not.

    :param data: what :func:`~airflow_provider_tinybird.ndjson.batches` takes.
    :param max_bytes: as given to ``batches``.
    :param row_overhead: as given to ``batches``.
    :param gate: as given to ``batches``, which needs it no more where the data was checked.
    :return: whether the data was checked.
    :raises EncodeError: a value cannot be sent, or a row is longer than ``max_bytes``.
    :raises UnsupportedDataError: the data is of a kind that has no rows.
    """
    if not is_in_memory(data):
        return False
    first_row = longest = 0
    for source in sources(data, lambda: _RECORDS, gate):
        longest = max(longest, source.check(first_row))
        first_row += source.rows
    if longest + row_overhead > max_bytes:
        for _ in batches(data, max_bytes=max_bytes, row_overhead=row_overhead):
            pass
    return True


def check_values(data: object, gate: Gate) -> bool:
    """Only have the gate look at data in memory, for what is encoded with all other checks later.

    :param data: what :func:`~airflow_provider_tinybird.ndjson.batches` takes.
    :param gate: looks at all values.
    :return: whether the data was looked at.
    :raises EncodeError: a value would be changed.
    :raises UnsupportedDataError: the data is of a kind that has no rows.
    """
    if not is_in_memory(data):
        return False
    first_row = 0
    for source in sources(data, lambda: _RECORDS, gate):
        if isinstance(source, GatedSource):
            source.look(first_row)
        first_row += source.rows
    return True
