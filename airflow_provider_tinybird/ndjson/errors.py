"""What goes wrong when data is turned into NDJSON."""

from __future__ import annotations

ACCEPTED = (
    "a pandas or polars DataFrame, a polars LazyFrame, a pyarrow Table, RecordBatch, RecordBatchReader, Dataset or Scanner, "
    "a DuckDB relation, anything with __arrow_c_stream__, a list or generator of records (mappings with text keys), one "
    "mapping, NDJSON text or bytes, the Path of a file of NDJSON (gzipped or not) or the file opened, a generator of any "
    "of these, or a function without arguments that returns or yields them"
)


class EncodeError(ValueError):
    """A value that JSON cannot carry without loss, or a row that fits in no body.

    :param reason: what is wrong and what to do about it.
    :param column: name of the column; None when the whole row or line is meant.
    :param row: 0-based position of the first offending row in all of the data; None when the column as such is meant.
    """

    def __init__(self, reason: str, *, column: str | None = None, row: int | None = None) -> None:
        self.reason = reason
        self.column = column
        self.row = row
        place = [f"column {column!r}"] if column is not None else []
        if row is not None:
            place.append(f"row {row}")
        super().__init__(f"{', '.join(place)}: {reason}" if place else reason)


class UnsupportedDataError(TypeError):
    """Data of a kind that cannot be turned into rows.

    :param data: the object in question; only its type is named.
    :param hint: what to do instead, when something better than the list of accepted kinds is known.
    """

    def __init__(self, data: object, hint: str = "") -> None:
        kind = type(data)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        super().__init__(f"Cannot make rows out of {name}. {hint + ' ' if hint else ''}Accepted: {ACCEPTED}.")


class BadValueError(Exception):
    """Internal: a bad value inside one column; the caller knows the column's name and where the slice begins.

    :param reason: what is wrong and what to do about it.
    :param row: 0-based position within the array at hand; None when the type itself cannot be sent.
    """

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row

    def located(self, column: str, first_row: int) -> EncodeError:
        """The same as a public error.

        :param column: name of the column.
        :param first_row: position in all of the data of row 0 of the array at hand.
        """
        return EncodeError(self.reason, column=column, row=None if self.row is None else first_row + self.row)
