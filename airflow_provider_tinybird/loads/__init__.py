"""Rows on their way in as events: several requests at a time, and each batch once."""

from __future__ import annotations

from airflow_provider_tinybird.loads.events.enough import NotEnoughRowsError
from airflow_provider_tinybird.loads.events.errors import LoadInterruptedError, ResumableLoadError, SourceChangedError
from airflow_provider_tinybird.loads.events.loader import send_batches
from airflow_provider_tinybird.loads.events.options import Compression, Delivery, LoadOptions
from airflow_provider_tinybird.loads.events.progress import LoadResult
from airflow_provider_tinybird.loads.events.send import LoadMemory, load_data
from airflow_provider_tinybird.loads.narrowing import OnNarrowing, file_gate, gate_of
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
