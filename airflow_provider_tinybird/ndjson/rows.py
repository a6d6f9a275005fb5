"""Columns of JSON values -> rows of NDJSON, in one pass of one Arrow kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from airflow_provider_tinybird.ndjson.values import key_text


@dataclass(frozen=True, slots=True)
class JsonColumn:
    """The JSON texts of one column: ``before + text + after`` for each row.

    What all rows share (quotes, a final Z) stays out of the array: it joins the literals between the columns, which
    saves a copy of the column.

    :param texts: Arrow string array without nulls; None when every row is just ``before``.
    :param before: text in front of each value.
    :param after: text behind each value.
    """

    texts: Any
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Finished lines.

    :param body: the lines, each with its newline.
    :param ends: for each row, the position in ``body`` just behind its newline.
    """

    body: memoryview
    ends: Sequence[int]

    @property
    def rows(self) -> int:
        """How many lines there are."""
        return len(self.ends)


def nullable(texts: Any, before: str = "", after: str = "") -> JsonColumn:
    """A column whose Arrow nulls become JSON nulls.

    :param texts: Arrow string array, nulls allowed.
    :param before: text in front of each value that is not null.
    :param after: text behind each value that is not null.
    """
    if not texts.null_count:
        return JsonColumn(texts, before, after)
    import pyarrow.compute as pc

    if before or after:
        texts = pc.binary_join_element_wise(before, texts, after, "")
    return JsonColumn(pc.fill_null(texts, "null"))


def with_nulls_of(array: Any, texts: Any) -> Any:
    """The texts, null wherever the array is.

    :param array: Arrow array.
    :param texts: Arrow string array of the same length.
    """
    if not array.null_count:
        return texts
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(array.is_valid(), texts, pa.scalar(None, pa.string()))


def finished(column: JsonColumn, rows: int) -> Any:
    """The column as one Arrow string array, its literals included.

    :param column: the column.
    :param rows: how many rows it has.
    """
    return join([column.before, column.texts, column.after], rows)


def join_members(names: Sequence[str], columns: Sequence[JsonColumn], rows: int, end: str) -> Any:
    """JSON objects, one for each row, as an Arrow string array.

    :param names: the JSON texts of the keys, quotes included.
    :param columns: the values, one column for each name.
    :param rows: how many rows there are.
    :param end: what follows the last value: the closing brace, and a newline for whole rows.
    """
    parts: list[Any] = ["{"]
    for position, (name, column) in enumerate(zip(names, columns, strict=True)):
        parts += [f"{',' if position else ''}{name}:{column.before}", column.texts, column.after]
    parts.append(end)
    return join(parts, rows)


def join(parts: Sequence[Any], rows: int) -> Any:
    """Literals and arrays glued row by row; neighbouring literals are merged first, since each argument costs a copy.

    :param parts: str, Arrow string array, or None for nothing.
    :param rows: length of the arrays.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    merged: list[Any] = [""]
    for part in parts:
        if isinstance(part, str) and isinstance(merged[-1], str):
            merged[-1] += part
        elif part is not None:
            merged.append(part)
    merged = [part for part in merged if not (isinstance(part, str) and not part)]
    if all(isinstance(part, str) for part in merged):
        return pa.array(["".join(merged)] * rows, pa.string())
    if len(merged) == 1:
        return merged[0]
    return pc.binary_join_element_wise(*merged, "")


def encode_rows(names: Sequence[str], columns: Sequence[JsonColumn], rows: int) -> Encoded:
    """The lines of a slice.

    :param names: column names.
    :param columns: their values.
    :param rows: how many rows there are.
    """
    return _encoded(join_members([key_text(name) for name in names], columns, rows, "}\n"), rows)


def encode_sparse_rows(
    names: Sequence[str], columns: Sequence[JsonColumn], there: Sequence[Sequence[bool]], rows: int
) -> Encoded:
    """The lines of a slice in which not every row has every key.

    :param names: column names.
    :param columns: their values; what stands where a row lacks the key is of no account.
    :param there: for each column, which rows have it.
    :param rows: how many rows there are.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    members = []
    for name, column, mask in zip(names, columns, there, strict=True):
        texts = join([f",{key_text(name)}:{column.before}", column.texts, column.after], rows)
        members.append(texts if all(mask) else pc.if_else(pa.array(mask), texts, ""))
    # Not null_handling="skip": pyarrow (21 to 26 at least) drops a row of which it skips everything. A comma in front of each member,
    # the first of which becomes the brace, needs no knowledge of which member is first.
    return _encoded(join([pc.binary_replace_slice(join(members, rows), 0, 1, "{"), "}\n"], rows), rows)


def encode_lines(lines: Sequence[bytes]) -> Encoded:
    """Finished lines as one body.

    :param lines: JSON objects in UTF-8, each without its newline.
    """
    ends = list(accumulate(len(line) + 1 for line in lines))
    return Encoded(memoryview(b"\n".join(lines) + b"\n"), ends)


def _encoded(lines: Any, rows: int) -> Encoded:
    """The value buffer of an Arrow string array is the body: nothing is copied again."""
    import numpy as np

    if len(lines) != rows or lines.null_count:  # rows must never be lost, not even by a fault of a kernel
        raise RuntimeError(
            f"pyarrow made {len(lines) - lines.null_count} lines of {rows} rows; nothing of them was sent"
        )
    ends = np.frombuffer(lines.buffers()[1], np.int32, count=len(lines) + 1, offset=lines.offset * 4)
    body = memoryview(lines.buffers()[2]).cast("B").toreadonly()  # as signed bytes it would not equal bytes
    return Encoded(body[ends[0] : ends[-1]], memoryview(ends[1:] - ends[0]))


def first_surrogate(texts: Sequence[object]) -> int:
    """Position of the first text that UTF-8 cannot carry.

    :param texts: texts, of which at least one cannot be encoded; what is not text is passed over.
    """
    for position, text in enumerate(texts):
        if isinstance(text, str):
            try:
                text.encode()
            except UnicodeEncodeError:
                return position
    return 0
