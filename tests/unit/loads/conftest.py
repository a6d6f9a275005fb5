"""Loads whose batches are as small as a test wants them, into the server that answers from a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.loads.events import options


@pytest.fixture
def client(tinybird: Any) -> Iterator[Client]:
    with Client(Settings(base_url=tinybird.url, token=Token(tinybird.token), max_retries=0)) as client:
        yield client


@pytest.fixture
def bodies_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have bodies hold so many bytes at the most, whoever sends them."""

    def limit(size: int) -> None:
        monkeypatch.setitem(options.LoadOptions.__init__.__kwdefaults__, "max_bytes", size)

    return limit
