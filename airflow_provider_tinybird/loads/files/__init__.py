"""Rows that are too many for events, written to files of a bounded size: one at a time on disk, as they are asked for.

Importing this package loads neither pyarrow nor pandas: Airflow parses DAG files often.
"""

from __future__ import annotations

from airflow_provider_tinybird.loads.files.arrow_schema import TargetColumn, target_columns
from airflow_provider_tinybird.loads.files.checkpoint import Checkpoint, FilesMemory, chained
from airflow_provider_tinybird.loads.files.slices import Rows, text_of
from airflow_provider_tinybird.loads.files.writer import Limits, NoRoomError, RowFile, row_files

__all__ = [
    "Checkpoint",
    "FilesMemory",
    "Limits",
    "NoRoomError",
    "RowFile",
    "Rows",
    "TargetColumn",
    "chained",
    "row_files",
    "target_columns",
    "text_of",
]
