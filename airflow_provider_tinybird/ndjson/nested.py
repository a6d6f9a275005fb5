"""Structs, lists and maps of Arrow: what is inside is encoded as one long column, then joined back to its parents."""

from __future__ import annotations

from typing import Any

from airflow_provider_tinybird.ndjson.columns import encode_array
from airflow_provider_tinybird.ndjson.errors import BadValueError
from airflow_provider_tinybird.ndjson.rows import JsonColumn, finished, join, join_members, nullable, with_nulls_of
from airflow_provider_tinybird.ndjson.values import key_text


def encode_struct(array: Any) -> JsonColumn:
    """A JSON object for each struct, all its fields included.

    :param array: Arrow struct array.
    :raises BadValueError: two fields have one name, or a value cannot be sent.
    """
    names = [field.name for field in array.type]
    if len(set(names)) < len(names):
        raise BadValueError(f"a struct has two fields of one name among {names}; rename one")
    columns = []
    for name, field in zip(names, array.flatten(), strict=True):  # flatten() hands the struct's nulls to its fields
        try:
            columns.append(encode_array(field))
        except BadValueError as error:
            raise BadValueError(f"field {name!r}: {error.reason}", error.row) from None
    texts = join_members([key_text(name) for name in names], columns, len(array), "}")
    return nullable(with_nulls_of(array, texts))


def encode_list(array: Any) -> JsonColumn:
    """A JSON array for each list.

    :param array: Arrow list, large_list, fixed_size_list or list_view array.
    :raises BadValueError: an item cannot be sent; the row is that of its list.
    """
    ends, items = _items(array)
    try:
        texts = finished(encode_array(items), len(items))
    except BadValueError as error:
        raise _in_parent(error, ends) from None
    return nullable(with_nulls_of(array, _grouped(texts, ends)), "[", "]")


def encode_map(array: Any) -> JsonColumn:
    """A JSON object for each map, which is what ClickHouse's Map type reads; keys that are no text become text.

    :param array: Arrow map array.
    :raises BadValueError: a key or a value cannot be sent; the row is that of its map.
    """
    import pyarrow as pa

    entry = pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])
    ends, entries = _items(array.view(pa.list_(entry)))
    keys, values = entries.flatten()
    try:
        parts = [*_quoted_keys(keys), ":", *_parts(encode_array(values))]
    except BadValueError as error:
        raise _in_parent(error, ends) from None
    return nullable(with_nulls_of(array, _grouped(join(parts, len(entries)), ends)), "{", "}")


def _parts(column: JsonColumn) -> list[Any]:
    return [column.before, column.texts, column.after]


def _quoted_keys(keys: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_decode()
    if pa.types.is_nested(keys.type):
        raise BadValueError(f"a map's key of type {keys.type} has no JSON form; use text keys")
    column = encode_array(keys)
    return _parts(column if column.before == '"' else JsonColumn(column.texts, '"' + column.before, '"'))


def _items(array: Any) -> tuple[Any, Any]:
    """Where each list ends among the items, and the items: without those under nulls and outside of the slice."""
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths)]), array.flatten()


def _grouped(texts: Any, ends: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), texts), ",")


def _in_parent(error: BadValueError, ends: Any) -> BadValueError:
    import numpy as np

    row = None if error.row is None else int(np.searchsorted(ends, error.row, side="right")) - 1
    return BadValueError(error.reason, row)
