"""What all tests share. Airflow reads its settings when it is imported, so they are made before that."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sandbox_process import SandboxProcess

# A home of its own for each process: Airflow writes there, and tests beside each other must not read each other's.
_home = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _home
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for _name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
    del os.environ[_name]

Connect = Callable[..., None]


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Set an Airflow connection: ``connection(host, token, conn_id=..., **extra)``."""

    def connect(host: str, token: str | None, *, conn_id: str = "tinybird_default", **extra: Any) -> None:
        fields = {"conn_type": "tinybird", "host": host, "password": token, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return connect


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxProcess]:
    """One sandbox for all tests of this process; whoever changes it resets it: ``sandbox_server.reset()``."""
    with SandboxProcess() as server:
        yield server


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: compressed ones hold the time, so that test processes would disagree on what there is to run."""
    return argname if isinstance(val, bytes) else None
