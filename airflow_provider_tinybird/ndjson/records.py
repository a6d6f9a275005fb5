"""Records, that is mappings, as lines: by columns where their keys are much the same, else one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from operator import itemgetter
from typing import Any

from airflow_provider_tinybird.ndjson import durations
from airflow_provider_tinybird.ndjson.errors import BadValueError, EncodeError
from airflow_provider_tinybird.ndjson.objects import check_objects, encode_objects, json_texts, table_of
from airflow_provider_tinybird.ndjson.rows import (
    Encoded,
    JsonColumn,
    encode_lines,
    encode_rows,
    encode_sparse_rows,
    first_surrogate,
)
from airflow_provider_tinybird.ndjson.tables import line_length
from airflow_provider_tinybird.ndjson.values import SURROGATE, key_text

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

    def check(self, first_row: int) -> int:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        rows = [record if type(record) is dict else dict(record) for record in self._records]
        names = _checked(list(dict.fromkeys(chain.from_iterable(rows))), rows, first_row)
        lengths = []
        for name in names:
            there = [position for position, row in enumerate(rows) if name in row]
            try:
                lengths.append(check_objects([rows[position][name] for position in there]))
            except BadValueError as error:
                row = None if error.row is None else there[error.row]
                raise BadValueError(error.reason, row).located(name, first_row) from None
        return line_length(names, lengths)

    def columns(self, start: int, count: int, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        records = self._records[start : start + count]
        for key in keys:
            values = [record.get(key) for record in records]
            if any(value is not None for value in values):
                yield key, values

    def durations(self) -> dict[str, str]:
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        if not durations.are_in({type(value) for record in self._records for value in record.values()}):
            return {}
        return {
            key: durations.OF_OBJECTS
            for record in self._records
            for key, value in record.items()
            if durations.are_in([type(value)])
        }

    def arrow(self, start: int, count: int, first_row: int = 0) -> Any | None:  # noqa: ARG002
        """See :class:`~airflow_provider_tinybird.ndjson.sources.Source`."""
        rows = [dict(record) for record in self._records[start : start + count]]
        names = list(rows[0])
        if not names or len(set(map(tuple, rows))) > 1:
            return None
        return table_of(names, [list(map(itemgetter(name), rows)) for name in names])


def encode_records(records: Sequence[Mapping[str, object]], first_row: int) -> Encoded:
    """The lines of some records. A key that a record lacks is absent from its line: ClickHouse fills in the default.

    :param records: at least one mapping.
    :param first_row: position of the first of them in all of the data, for errors.
    :raises EncodeError: a key is not text, or a value cannot be sent.
    """
    # A copy of all but plain dicts, since a defaultdict would grow by being asked for the keys of others.
    rows = [record if type(record) is dict else dict(record) for record in records]
    shapes = set(map(tuple, rows))
    if len(shapes) == 1 and rows[0]:
        names = _checked(list(rows[0]), rows, first_row)
        columns: list[Sequence[object]] = [list(map(itemgetter(name), rows)) for name in names]
        return encode_rows(names, _encoded(names, columns, first_row), len(rows))
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    if names and len(names) * len(rows) <= _SPARSEST * sum(map(len, rows)) and _in_one_order(names, shapes):
        _checked(names, rows, first_row)
        there = [[name in row for row in rows] for name in names]
        columns = [[row.get(name) for row in rows] for name in names]
        return encode_sparse_rows(names, _encoded(names, columns, first_row), there, len(rows))
    return encode_lines(list(_lines(rows, first_row)))


def _in_one_order(names: list[Any], shapes: set[tuple[Any, ...]]) -> bool:
    """Whether columns in the order of the names leave the keys of every record in their own order.

    A line must not depend on which other records are encoded together with it: it is told again by its digest.
    """
    places = {name: place for place, name in enumerate(names)}
    return all(all(places[one] < places[next_] for one, next_ in pairwise(shape)) for shape in shapes)


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


def _lines(rows: Sequence[Row], first_row: int) -> Iterator[bytes]:
    keys = [[_key(name, first_row + position) for name in row] for position, row in enumerate(rows)]
    try:
        texts = iter(json_texts(chain.from_iterable(row.values() for row in rows)))
    except BadValueError as error:
        raise _placed(error.reason, rows, error.row or 0, first_row) from None
    for position, names in enumerate(keys):
        line = f"{{{','.join([f'{name}:{next(texts)}' for name in names])}}}"
        try:
            yield line.encode()
        except UnicodeEncodeError:
            values = json_texts(rows[position].values())
            raise EncodeError(
                SURROGATE, column=list(rows[position])[first_surrogate(values)], row=first_row + position
            ) from None


def _placed(reason: str, rows: Sequence[Row], number: int, first_row: int) -> EncodeError:
    """The error of a value that is known by its number among all the values of all rows."""
    for position, row in enumerate(rows):
        if number < len(row):
            return EncodeError(reason, column=list(row)[number], row=first_row + position)
        number -= len(row)
    raise AssertionError("there is no such value")
