"""Records, that is mappings, as lines: by columns where their keys are much the same, else one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from airflow_provider_tinybird.ndjson.errors import BadValueError, EncodeError
from airflow_provider_tinybird.ndjson.objects import encode_objects
from airflow_provider_tinybird.ndjson.rows import Encoded, JsonColumn, encode_lines, encode_rows, encode_sparse_rows
from airflow_provider_tinybird.ndjson.values import SURROGATE, json_text, key_text

_SPARSEST = 4  # by columns only while fewer than so many cells of the grid are there for each that holds a value

Row = dict[Any, object]


class RecordsSource:
    """Mappings at hand.

    :param records: the mappings.
    """

    def __init__(self, records: Sequence[Mapping[str, object]]) -> None:
        self._records = records
        self.rows = len(records)

    def encode(self, start: int, count: int, first_row: int) -> Encoded:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        return encode_records(self._records[start : start + count], first_row)


def encode_records(records: Sequence[Mapping[str, object]], first_row: int) -> Encoded:
    """The lines of some records. A key that a record lacks is absent from its line: ClickHouse fills in the default.

    :param records: at least one mapping.
    :param first_row: position of the first of them in all of the data, for errors.
    :raises EncodeError: a key is not text, or a value cannot be sent.
    """
    # A copy of all but plain dicts, since a defaultdict would grow by being asked for the keys of others.
    rows = [record if type(record) is dict else dict(record) for record in records]
    names = list(rows[0])
    columns = _columns(rows, names)
    if columns is not None:
        return encode_rows(_checked(names, rows, first_row), _encoded(names, columns, first_row), len(rows))
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    if names and len(names) * len(rows) <= _SPARSEST * sum(map(len, rows)):
        _checked(names, rows, first_row)
        there = [[name in row for row in rows] for name in names]
        columns = [[row.get(name) for row in rows] for name in names]
        return encode_sparse_rows(names, _encoded(names, columns, first_row), there, len(rows))
    return encode_lines([_line(row, first_row + position) for position, row in enumerate(rows)])


def _columns(rows: list[Row], names: list[Any]) -> list[Sequence[object]] | None:
    """The values by column; None when the keys differ from row to row (as many keys, and none missing, is the same keys)."""
    if not names or set(map(len, rows)) != {len(names)}:
        return None
    try:
        return [list(map(itemgetter(name), rows)) for name in names]
    except KeyError:
        return None


def _encoded(names: Sequence[str], columns: Sequence[Sequence[object]], first_row: int) -> list[JsonColumn]:
    encoded = []
    for name, values in zip(names, columns, strict=True):
        try:
            encoded.append(encode_objects(values))
        except BadValueError as error:
            raise error.located(name, first_row) from None
    return encoded


def _checked(names: list[Any], rows: list[Row], first_row: int) -> list[str]:
    for name in names:
        try:
            _key(name, 0)
        except EncodeError:
            row = next(position for position, record in enumerate(rows) if name in record)
            _key(name, first_row + row)
    return names


def _key(name: object, row: int) -> str:
    try:
        text = key_text(name)
        text.encode()
    except BadValueError as error:
        raise EncodeError(error.reason, row=row) from None
    except UnicodeEncodeError:
        raise EncodeError(f"the key {name!a}: {SURROGATE}", row=row) from None
    return text


def _line(record: Row, row: int) -> bytes:
    return f"{{{','.join(_member(name, value, row) for name, value in record.items())}}}".encode()


def _member(name: Any, value: object, row: int) -> str:
    key = _key(name, row)
    try:
        text = json_text(value)
        text.encode()
    except BadValueError as error:
        raise EncodeError(error.reason, column=name, row=row) from None
    except UnicodeEncodeError:
        raise EncodeError(SURROGATE, column=name, row=row) from None
    return f"{key}:{text}"
