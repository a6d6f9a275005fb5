"""Rows on their way in as events: several requests at a time, and each batch once."""

from __future__ import annotations

from airflow_provider_tinybird.loads.data import LoadMemory, load_data
from airflow_provider_tinybird.loads.enough import NotEnoughRowsError
from airflow_provider_tinybird.loads.errors import LoadInterruptedError, ResumableLoadError, SourceChangedError
from airflow_provider_tinybird.loads.load import send_batches
from airflow_provider_tinybird.loads.narrowing import file_gate, gate_of
from airflow_provider_tinybird.loads.options import Compression, Delivery, LoadOptions, OnNarrowing
from airflow_provider_tinybird.loads.tally import LoadResult
from airflow_provider_tinybird.loads.target import MissingDatasourceError, look_up

__all__ = [
    "Compression",
    "Delivery",
    "LoadInterruptedError",
    "LoadMemory",
    "LoadOptions",
    "LoadResult",
    "MissingDatasourceError",
    "NotEnoughRowsError",
    "OnNarrowing",
    "ResumableLoadError",
    "SourceChangedError",
    "file_gate",
    "gate_of",
    "load_data",
    "look_up",
    "send_batches",
]
