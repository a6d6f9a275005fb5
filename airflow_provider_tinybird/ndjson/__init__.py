"""Any DataFrame, Arrow table, records or text as NDJSON bodies under a byte limit: lossless, or an error.

Frames are encoded column by column with Arrow kernels, since making a Python object for each value is what is slow.
Importing this package loads none of pyarrow, pandas and polars: Airflow parses DAG files often.
"""

from __future__ import annotations

from airflow_provider_tinybird.ndjson.batches import Batch, batches
from airflow_provider_tinybird.ndjson.check import check, check_values
from airflow_provider_tinybird.ndjson.errors import EncodeError, UnsupportedDataError
from airflow_provider_tinybird.ndjson.gate import Gate, GatedColumn
from airflow_provider_tinybird.ndjson.narrowing import Reader

__all__ = [
    "Batch",
    "EncodeError",
    "Gate",
    "GatedColumn",
    "Reader",
    "UnsupportedDataError",
    "batches",
    "check",
    "check_values",
]
