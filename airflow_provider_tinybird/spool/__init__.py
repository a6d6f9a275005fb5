"""Rows that are too many for events, written to files of a bounded size: one at a time on disk, as they are asked for.

Importing this package loads neither pyarrow nor pandas: Airflow parses DAG files often.
"""

from __future__ import annotations

from airflow_provider_tinybird.spool.columns import TargetColumn, target_columns
from airflow_provider_tinybird.spool.files import Limits, NoRoomError, SpooledFile, spooled
from airflow_provider_tinybird.spool.ledger import FilesMemory, Ledger, chained
from airflow_provider_tinybird.spool.slices import Rows, text_of

__all__ = [
    "FilesMemory",
    "Ledger",
    "Limits",
    "NoRoomError",
    "Rows",
    "SpooledFile",
    "TargetColumn",
    "chained",
    "spooled",
    "target_columns",
    "text_of",
]
