"""A pytest plugin: the fixture ``tinybird_sandbox``.

pytest loads it wherever this package is installed, so it imports nothing that takes time and does nothing until the fixture is asked for.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_tinybird.sandbox.testing import TinybirdSandbox

_HOST = "127.0.0.1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings."""
    parser.addini("tinybird_project", "Tinybird project of the fixture tinybird_sandbox, relative to this file")
    parser.addini("tinybird_conn_id", "Airflow connection that leads to it", default="tinybird_default")
    parser.addini("tinybird_sandbox_options", "further options of tinybird-sandbox", type="args", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "tinybird_project(path): Tinybird project that tinybird_sandbox loads, relative to the configuration file",
    )


@pytest.fixture(scope="session")
def tinybird_project(pytestconfig: pytest.Config) -> str | Path | None:
    """Directory of the Tinybird project; override it, or set the option ``tinybird_project``. None: an empty workspace."""
    return str(pytestconfig.getini("tinybird_project")) or None


@pytest.fixture(scope="session")
def tinybird_conn_id(pytestconfig: pytest.Config) -> str:
    """Id of the Airflow connection; override it, or set the option of that name."""
    return str(pytestconfig.getini("tinybird_conn_id"))


@pytest.fixture(scope="session")
def tinybird_sandbox_options(pytestconfig: pytest.Config) -> Sequence[str]:
    """Further options of ``tinybird-sandbox``; override it, or set the option of that name."""
    return tuple(pytestconfig.getini("tinybird_sandbox_options"))


class _Sandboxes:
    """The sandboxes of a session: one for each project, started when the first test asks for it."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._running: dict[tuple[str, ...], TinybirdSandbox] = {}
        self._failures: dict[tuple[str, ...], str] = {}

    def get(self, project: Path | None, options: Sequence[str]) -> TinybirdSandbox:
        """A sandbox as after its start."""
        from airflow_provider_tinybird.sandbox.testing import SandboxStartError, TinybirdSandbox

        key = (str(project or ""), *options)
        sandbox = self._running.get(key)
        if sandbox is not None and sandbox.process.is_running:
            sandbox.reset()
            return sandbox
        if sandbox is not None:  # a test has killed it
            self._running.pop(key).stop()
        if key not in self._failures:
            try:
                started = TinybirdSandbox(project, files=self._folders.mktemp("tinybird-files"), options=options)
            except SandboxStartError as error:
                self._failures[key] = str(error)
            else:
                self._running[key] = started
                return started
        pytest.fail(f"The fixture tinybird_sandbox cannot start:\n{self._failures[key]}", pytrace=False)

    def stop(self) -> None:
        """Stop them all."""
        for sandbox in self._running.values():
            sandbox.stop()


@pytest.fixture(scope="session")
def _tinybird_sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Sandboxes]:
    sandboxes = _Sandboxes(tmp_path_factory)
    try:
        yield sandboxes
    finally:
        sandboxes.stop()


@pytest.fixture
def tinybird_sandbox(
    request: pytest.FixtureRequest,
    tinybird_project: str | Path | None,
    tinybird_conn_id: str,
    tinybird_sandbox_options: Sequence[str],
    _tinybird_sandboxes: _Sandboxes,
) -> Iterator[TinybirdSandbox]:
    """A Tinybird on this machine, with the project loaded and nothing else in it, and an Airflow connection to it.

    It runs from the first test that needs it to the end of the session, and is reset before each test.
    """
    marker = request.node.get_closest_marker("tinybird_project")
    project = marker.args[0] if marker else tinybird_project
    sandbox = _tinybird_sandboxes.get(_project_path(request.config, project), tinybird_sandbox_options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"AIRFLOW_CONN_{tinybird_conn_id.upper()}", sandbox.connection())
        if urllib.request.getproxies():
            around = [value for name in ("no_proxy", "NO_PROXY") if (value := os.environ.get(name))]
            for name in ("no_proxy", "NO_PROXY"):
                patch.setenv(name, ",".join([*around[:1], _HOST]))
        yield sandbox


def _project_path(config: pytest.Config, project: str | Path | None) -> Path | None:
    return None if project is None else (config.inipath.parent if config.inipath else config.rootpath) / project
