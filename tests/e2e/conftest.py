"""One Airflow for the whole suite. The scenarios start together, and each test waits for its own."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest
from e2e import scenarios  # noqa: F401 - registers them
from e2e.scenario import SCENARIOS, Facts, Scenario
from e2e.stage import Stage, World, running_world

AT_ONCE = 8
DAGS = Path(__file__).parent / "dags"


class Show:
    """Plays scenarios in the background.

    :param wanted: those to play.
    """

    def __init__(self, world: World, wanted: list[Scenario]) -> None:
        self._world = world
        world.wanted = wanted
        self._wanted = wanted
        self._facts: dict[str, Future[Facts]] = {one.name: Future() for one in wanted}
        self._thread = Thread(target=self._play_all, daemon=True)

    def start(self) -> None:
        """Play them, phase after phase."""
        self._thread.start()

    def facts(self, name: str) -> Facts:
        """Wait for what came of a scenario."""
        return self._facts[name].result()

    def results(self) -> dict[str, Facts]:
        """What came of all that went to their end."""
        ended = {name: one for name, one in self._facts.items() if one.done() and not one.exception()}
        return {name: one.result() for name, one in ended.items()}

    def _play_all(self) -> None:
        for phase in dict.fromkeys(("together", *(one.phase for one in self._wanted))):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._play, [one for one in self._wanted if one.phase == phase]))

    def _play(self, one: Scenario) -> None:
        try:
            self._facts[one.name].set_result(one.play(Stage(self._world, one)))
        except BaseException as e:  # it belongs to the test that waits for it
            self._facts[one.name].set_exception(e)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Everything that runs."""
    with (
        tempfile.TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True) as place,
        running_world(Path(place), DAGS, list(SCENARIOS), _free_ports()) as world,
    ):
        yield world


@pytest.fixture(scope="session")
def show(request: pytest.FixtureRequest, world: World) -> Show:
    """The scenarios of the tests that were selected, under way."""
    names = {
        item.callspec.params["name"]
        for item in request.session.items
        if "show" in item.fixturenames and hasattr(item, "callspec")
    }
    wanted = [one for one in SCENARIOS.values() if one.name in names]
    for one in wanted:
        world.airflow.wait_for_dag(one.name)
    playing = Show(world, wanted)
    playing.start()
    return playing


def _free_ports() -> tuple[int, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    ports = tuple(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    return ports
