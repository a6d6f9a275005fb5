"""One Arrow array -> the JSON texts of its values, by Arrow kernels, for each type on its own. No Python object per value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from airflow_provider_tinybird.ndjson.errors import BadValueError
from airflow_provider_tinybird.ndjson.rows import JsonColumn, finished, join, join_members, nullable, with_nulls_of
from airflow_provider_tinybird.ndjson.strings import check_utf8, escaped
from airflow_provider_tinybird.ndjson.values import BINARY, INFINITE, YEARS, key_text

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # 0001-01-01 00:00:00 and 9999-12-31 23:59:59
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_FIRST_EXPONENT = 1e6  # below it no version of Arrow writes whole numbers with an exponent


def encode_array(array: Any) -> JsonColumn:
    """The JSON texts of an Arrow array.

    :param array: Arrow array of any type, not chunked.
    :raises BadValueError: the type, or one of the values, cannot be sent without loss.
    """
    import pyarrow as pa

    if array.null_count == len(array):  # also spares the kernels types that they do not know
        check_type(array.type)
        return JsonColumn(None, "null")
    for test, encode in _encoders(pa.types):
        if test(array.type):
            return encode(array)
    raise _unsupported(array.type)


def _encoders(types: Any) -> list[tuple[Callable[[Any], bool], Callable[[Any], JsonColumn]]]:
    return [
        (types.is_integer, _plain),
        (types.is_boolean, _plain),
        (types.is_float16, _half),
        (types.is_floating, _float),
        (is_text, _string),
        (is_binary, _binary),
        (types.is_timestamp, _timestamp),
        (types.is_date, _date),
        (types.is_time, _quoted),
        (types.is_duration, _duration),
        (types.is_decimal, _decimal),
        (types.is_dictionary, _dictionary),
        (_is_run_end_encoded, _run_end_encoded),
        (types.is_struct, encode_struct),
        (types.is_map, encode_map),
        (_is_list, encode_list),
        (_is_known_extension, _extension),
    ]


def is_text(kind: Any) -> bool:
    """Whether a type is one of texts.

    :param kind: Arrow type.
    """
    return str(kind) in {"string", "large_string", "string_view"}


def is_binary(kind: Any) -> bool:
    """Whether a type is one of bytes.

    :param kind: Arrow type.
    """
    return str(kind) in {"binary", "large_binary", "binary_view"} or str(kind).startswith("fixed_size_binary")


def _is_list(kind: Any) -> bool:  # list, large_list, fixed_size_list, list_view, large_list_view
    return hasattr(kind, "value_type") and "list" in str(kind).partition("<")[0]


def _is_run_end_encoded(kind: Any) -> bool:
    return str(kind).startswith("run_end_encoded")


def _is_known_extension(kind: Any) -> bool:
    return getattr(kind, "extension_name", "") in {"arrow.uuid", "arrow.bool8", "arrow.json"}


def check_type(kind: Any) -> None:
    """Refuse a type even where all its values are null, so that the answer does not depend on the data.

    :param kind: Arrow type.
    :raises BadValueError: no value of it can be sent.
    """
    import pyarrow as pa

    if not pa.types.is_null(kind) and not any(test(kind) for test, _ in _encoders(pa.types)):
        raise _unsupported(kind)


def _unsupported(kind: Any) -> BadValueError:
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return BadValueError(f"the extension type {kind} has no JSON form; cast it to text or to its storage type")
    return BadValueError(f"the type {kind} has no JSON form; cast it to text or numbers before sending")


def _text(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(array, pa.string())


def _plain(array: Any) -> JsonColumn:
    return nullable(_text(array))


def _quoted(array: Any) -> JsonColumn:
    return nullable(_text(array), '"', '"')


def _string(array: Any) -> JsonColumn:
    return nullable(escaped(array), '"', '"')


def _binary(array: Any) -> JsonColumn:
    return _string(as_text(array))


def as_text(array: Any) -> Any:
    """Bytes as the text that they are in UTF-8: ClickHouse's String holds the same bytes then.

    :param array: Arrow array of bytes.
    :raises BadValueError: some are no UTF-8.
    """
    import pyarrow as pa

    texts = array.cast(pa.large_binary()).view(pa.large_string())
    try:
        check_utf8(texts)
    except BadValueError as error:
        raise BadValueError(BINARY, error.row) from None
    return texts


def _first(mask: Any) -> int:
    """Position of the first true value."""
    import pyarrow.compute as pc

    return int(pc.index(mask, True).as_py())


def check_finite(array: Any) -> None:
    """Refuse infinite numbers.

    :param array: Arrow array of floats.
    :raises BadValueError: there is one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_float16(array.type):
        array = pa.array(_halves(array))
    infinite = pc.is_inf(array)
    if pc.any(infinite).as_py():
        raise BadValueError(INFINITE, _first(infinite))


def _without_nan(array: Any) -> Any:
    """NaN as null, which is how ClickHouse's own JSON has it; infinities are refused."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(pc.is_finite(array)).as_py():
        return array
    check_finite(array)
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _float(array: Any) -> JsonColumn:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = _without_nan(array)
    texts = _text(array)
    # Arrow writes large numbers with an exponent (from 1e10 or from 1e15 on, by its version), which ClickHouse's integer
    # columns refuse. Whole numbers of that size are common: an integer column with gaps, such as microseconds since 1970,
    # is a float in pandas.
    size = pc.abs(array)
    if (pc.max(size).as_py() or 0) < _FIRST_EXPONENT:
        return nullable(texts)
    large = pc.and_(pc.greater_equal(size, _scalar(_FIRST_EXPONENT, array)), pc.less(size, _scalar(2.0**63, array)))
    whole = pc.and_(large, pc.equal(pc.floor(array), array))
    if pc.any(whole).as_py():
        digits = _text(pc.cast(pc.if_else(whole, array, _scalar(0.0, array)), pa.int64()))
        texts = pc.if_else(whole, digits, texts)
    return nullable(texts)


def _scalar(value: float, like: Any) -> Any:
    import pyarrow as pa

    return pa.scalar(value, like.type)


def _half(array: Any) -> JsonColumn:
    """As float32: ClickHouse has no narrower floats, and the shortest text of 65504 as a float16 is 65500."""
    import pyarrow as pa

    there = array.is_valid().to_numpy(zero_copy_only=False)
    return _float(pa.array(_halves(array), pa.float32(), mask=~there))


def _halves(array: Any) -> Any:
    """As float32 of numpy, nulls as 0; older versions of Arrow have no kernels for float16 at all."""
    import numpy as np
    import pyarrow as pa

    return array.view(pa.uint16()).fill_null(0).to_numpy(zero_copy_only=False).view(np.float16).astype(np.float32)


def _check_range(numbers: Any, low: int, high: int) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    bounds = pc.min_max(numbers)
    if bounds["min"].as_py() < low or bounds["max"].as_py() > high:
        raise BadValueError(
            YEARS, _first(pc.or_(pc.less(numbers, pa.scalar(low)), pc.greater(numbers, pa.scalar(high))))
        )


def check_timestamp(array: Any) -> None:
    """Refuse years that have no four digits.

    :param array: Arrow array of timestamps.
    :raises BadValueError: there is one.
    """
    import pyarrow as pa

    scale = _PER_SECOND[array.type.unit]
    if scale <= 10**6:  # 64 bits of nanoseconds stay within 1677 to 2262
        _check_range(array.view(pa.int64()), _FIRST_SECOND * scale, _LAST_SECOND * scale + scale - 1)


def _timestamp(array: Any) -> JsonColumn:
    import pyarrow as pa

    check_timestamp(array)
    unit, zone = array.type.unit, array.type.tz
    # With a zone the stored number is the UTC instant, so dropping the type's zone leaves UTC wall time.
    texts = _text(array.view(pa.timestamp(unit)))
    if zone is None:
        return nullable(texts, '"', '"')
    return nullable(_with_t(texts), '"', 'Z"')


def _with_t(texts: Any) -> Any:
    """Moments with a T where the blank is: they all begin with ten characters of date. Arrow's own kernel is ten times as slow."""
    import numpy as np
    import pyarrow as pa

    validity, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32, count=len(texts) + 1, offset=texts.offset * 4)
    codes = np.frombuffer(data, np.uint8).copy()
    codes[ends[:-1][np.diff(ends) > 0] + len("2024-07-01")] = ord("T")
    return pa.Array.from_buffers(
        pa.string(), len(texts), [validity, offsets, pa.py_buffer(codes.data)], offset=texts.offset
    )


def check_date(array: Any) -> None:
    """Refuse years that have no four digits.

    :param array: Arrow array of dates.
    :raises BadValueError: there is one.
    """
    import pyarrow as pa

    _check_range(array.cast(pa.date32()).view(pa.int32()), _FIRST_DAY, _LAST_DAY)


def _date(array: Any) -> JsonColumn:
    import pyarrow as pa

    check_date(array)
    return _quoted(array.cast(pa.date32()))


def _duration(array: Any) -> JsonColumn:
    import pyarrow as pa

    return _plain(array.view(pa.int64()))


def _decimal(array: Any) -> JsonColumn:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _text(array)
    exponent = pc.fill_null(pc.match_substring(texts, "E"), False)
    if pc.any(exponent).as_py():  # Arrow writes 0.00000001 as 1E-8
        values = [None if value is None else format(value, "f") for value in array.to_pylist()]
        texts = pa.array(values, pa.string())
    return nullable(texts, '"', '"')


def _dictionary(array: Any) -> JsonColumn:
    import pyarrow.compute as pc

    if len(array.dictionary) <= len(array):
        try:
            values = finished(encode_array(array.dictionary), len(array.dictionary))
            return nullable(pc.take(values, array.indices))
        except BadValueError:
            pass  # perhaps of a category that no row uses; the rows decide, and know which of them is to blame
    return encode_array(array.dictionary_decode())


def _run_end_encoded(array: Any) -> JsonColumn:
    import pyarrow.compute as pc

    return encode_array(pc.call_function("run_end_decode", [array]))


def _extension(array: Any) -> JsonColumn:
    import pyarrow as pa

    if array.type.extension_name == "arrow.uuid":
        values = [None if value is None else str(UUID(bytes=value)) for value in array.storage.to_pylist()]
        return nullable(pa.array(values, pa.string()), '"', '"')
    if array.type.extension_name == "arrow.bool8":
        return _plain(array.storage.cast(pa.bool_()))
    return _string(array.storage)  # arrow.json: as text, since nobody checked that it is one line of valid JSON


# Structs, lists and maps: what is inside is encoded as one long column, then joined back to its parents.


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
