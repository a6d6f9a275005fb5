"""Airflow parses DAG files often: importing the encoder loads no data library."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_loads_no_data_library():
    code = (
        "import sys, airflow_provider_tinybird.ndjson as n; n.batches; "
        "print([m for m in ('numpy', 'pandas', 'polars', 'pyarrow', 'airflow') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_text_loads_no_data_library_either():
    code = (
        "import sys; from airflow_provider_tinybird.ndjson import batches; "
        "print(*[bytes(b.body).decode().strip() for b in batches('{\"a\":1}')], "
        "[m for m in ('numpy', 'pandas', 'polars', 'pyarrow') if m in sys.modules])"
    )
    assert run(code) == '{"a":1} []'
