"""JSON escapes for a whole Arrow string array at once, on its value buffer."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_tinybird.ndjson.errors import BadValueError

_SPECIAL = [0x5C, 0x22, *range(0x20)]  # the backslash first: the other escapes bring new ones
_ESCAPES = {code: json.dumps(chr(code), ensure_ascii=False)[1:-1].encode() for code in _SPECIAL}
_INT32_MAX = 2**31 - 1


def escaped(array: Any) -> Any:
    """The texts as they stand between the quotes of a JSON string; nulls stay null.

    :param array: Arrow string, large_string or string_view array.
    :returns: Arrow string array of the same length.
    :raises BadValueError: a text is not UTF-8, or the slice holds more than 2 GiB.
    """
    import numpy as np
    import pyarrow as pa

    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        array = array.cast(pa.large_string())
    array = _from_zero(array)
    check_utf8(array)
    validity, offsets, data = array.buffers()
    codes = np.frombuffer(data or b"", np.uint8)
    special = (codes < 0x20) | (codes == 0x22) | (codes == 0x5C)
    if not special.any():
        return array
    positions = np.flatnonzero(special)
    raw = data.to_pybytes()
    growth = np.zeros(256, np.int64)
    for code in sorted(set(codes[positions].tolist()), key=_SPECIAL.index):
        growth[code] = len(_ESCAPES[code]) - 1
        raw = raw.replace(bytes([code]), _ESCAPES[code])
    added = np.concatenate([[0], np.cumsum(growth[codes[positions]])])
    ends = np.frombuffer(offsets, np.int32, count=len(array) + 1)
    moved = ends + added[np.searchsorted(positions, ends)]
    _check_size(int(moved[-1]))
    return pa.Array.from_buffers(
        pa.string(), len(array), [validity, pa.py_buffer(moved.astype(np.int32).tobytes()), pa.py_buffer(raw)]
    )


def _from_zero(array: Any) -> Any:
    """The same texts with 32-bit offsets that begin at 0, so that a slice far into a large column fits; no text is copied."""
    import numpy as np
    import pyarrow as pa

    if not len(array):
        return pa.array([], pa.string())
    _, offsets, data = array.buffers()
    dtype = np.int64 if pa.types.is_large_string(array.type) else np.int32
    ends = np.frombuffer(offsets, dtype, count=len(array) + 1, offset=array.offset * np.dtype(dtype).itemsize)
    first, last = int(ends[0]), int(ends[-1])
    _check_size(last - first)
    validity = None
    if array.null_count:  # rebuilt, since the slice may begin in the middle of a byte of the bitmap
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        validity = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    data = data.slice(first, last - first) if data is not None else pa.py_buffer(b"")
    return pa.Array.from_buffers(
        pa.string(), len(array), [validity, pa.py_buffer((ends - first).astype(np.int32).tobytes()), data]
    )


def _check_size(size: int) -> None:
    if size > _INT32_MAX:
        raise BadValueError(f"{size} bytes of text in one slice of rows; send smaller values", 0)


def check_utf8(array: Any) -> None:
    """Refuse bytes that are no text, which some programs put into columns of texts.

    :param array: Arrow string array.
    :raises BadValueError: there are some.
    """
    import pyarrow as pa

    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        bad = next(row for row in range(len(array)) if not _is_utf8(array, row))
        raise BadValueError("the text is not valid UTF-8; decode it with its real encoding first", bad) from None


def _is_utf8(array: Any, row: int) -> bool:
    try:
        array[row].as_py()
    except UnicodeDecodeError:
        return False
    return True
