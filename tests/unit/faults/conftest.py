"""The runner of the cases, without the pauses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fault_cases import Runner, impatient, run


@pytest.fixture
def run_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Runner]:
    """Run a case at a server whose first answer goes wrong."""
    with impatient():
        yield partial(run, folder=tmp_path, caplog=caplog)
