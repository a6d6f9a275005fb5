"""Parquet files that are sent as they are: the columns that could be changed are read before the first byte goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.files.local_or_remote import FileToSend
from airflow_provider_tinybird.ndjson import EncodeError, Gate

_ROWS = 100_000  # that are in memory at once


def check_file(file: FileToSend, gate: Gate | None, datasource: str, *, whole: bool = True) -> None:
    """Look for values of a Parquet file that their columns would change.

    :param file: a file; other formats than Parquet are passed over.
    :param gate: looks at the values, as those of a file that is read by type.
    :param datasource: name of the data source, for the message.
    :param whole: read the columns; else only the least and greatest values that the file itself notes, which is enough to find what is out
        of range, and costs next to nothing however large the file is.
    :raises InvalidInputError: a value would be changed.
    """
    if gate is None or not gate.keys or file.format is not FileFormat.PARQUET or file.gzipped:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open_file() as opened, pq.ParquetFile(opened) as parquet:
            if whole:
                _look_at_columns(parquet, gate)
            else:
                _look_at_extremes(parquet, gate)
    except EncodeError as e:
        raise InvalidInputError(f"Nothing was sent to '{datasource}': {file.name!r}, {e}") from e
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as e:
        raise InvalidInputError(
            f"The file {file.name!r} cannot be read as Parquet, so that nothing was sent to '{datasource}': {e}"
        ) from e


def _look_at_columns(parquet: Any, gate: Gate) -> None:
    names = [name for name in parquet.schema_arrow.names if name in gate.keys]
    row = 0
    if names:
        for batch in parquet.iter_batches(batch_size=_ROWS, columns=names):
            gate.look(zip(batch.schema.names, batch.columns, strict=True), row)
            row += batch.num_rows


def _look_at_extremes(parquet: Any, gate: Gate) -> None:
    row = 0
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        try:
            gate.look(_extremes(parquet, group, gate), 0)
        except EncodeError as e:
            raise EncodeError(e.reason, column=f"{e.column}, rows {row} to {row + group.num_rows - 1}") from None
        row += group.num_rows


def _extremes(parquet: Any, group: Any, gate: Gate) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa

    for position in range(group.num_columns):
        column = group.column(position)
        found = column.statistics
        if column.path_in_schema not in gate.keys or found is None or not found.has_min_max:
            continue
        kind = parquet.schema_arrow.field(column.path_in_schema).type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_floating(kind):
            yield column.path_in_schema, pa.array([found.min, found.max], kind)
