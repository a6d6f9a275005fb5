"""Which words say that a smaller query may do."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api.answers import is_too_large_text

TOO_LARGE = [
    "Memory limit (for query) exceeded: would use 9.32 GiB (attempt to allocate chunk of 4 MiB), maximum: 9.31 GiB",
    "Code: 241. DB::Exception: Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)",
    "MEMORY_LIMIT_EXCEEDED",
    "Not enough memory to run the query",
    "The query ran out of memory",
    "Timeout exceeded: elapsed 20.001 seconds, maximum: 20",
    "Code: 159. DB::Exception: Timeout exceeded",
    "TIMEOUT_EXCEEDED",
    "The copy job exceeded the maximum execution time of 20 seconds",
    "Time limit exceeded",
    "Estimated query execution time (120 seconds) is too long. (TOO_SLOW)",
]
NOT_TOO_LARGE = [
    "",
    "Syntax error: failed at position 12",
    "You have reached the maximum number of copy jobs (2).",
    "Cannot connect: connection timed out",
    "connect timeout exceeded while talking to s3.amazonaws.com",
    "Missing columns: 'memory' while processing query",
    "Unknown table 'time_limits'",
    "Column 'limit' does not exist",
    "Code: 60. DB::Exception: Table default.x does not exist",
    "Disk quota exceeded",
]


@pytest.mark.parametrize("text", TOO_LARGE)
def test_too_large(text):
    assert is_too_large_text(text)


@pytest.mark.parametrize("text", NOT_TOO_LARGE)
def test_something_else(text):
    assert not is_too_large_text(text)
