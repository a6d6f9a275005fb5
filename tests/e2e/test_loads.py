"""Loads on a whole Airflow whose processes are killed (-9) at random moments, and then tried again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e import scenario
from e2e.airflow_process import Run
from e2e.stage import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
MARK = "<!-- The table of loads between these marks is written by tests/e2e. -->"
DELIVERIES = ("exactly_once", "at_most_once", "at_least_once")
LOADS, ROWS = 20, 24 * 25
UNKNOWN = "Unknown whether they are in: row"

pytestmark = pytest.mark.timeout(3600)  # the first test waits for the start of everything


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one load.

    :param attempts: how many there were.
    :param state: how its task ended.
    :param rows: rows of it in the data source.
    :param distinct: different ones among them.
    :param names_unknown: whether the error names rows of which it is unknown whether they are in.
    """

    attempts: int
    state: str
    rows: int
    distinct: int
    names_unknown: bool

    @property
    def is_doubled(self) -> bool:
        return self.rows > self.distinct

    @property
    def is_incomplete(self) -> bool:
        return self.distinct < ROWS


@pytest.fixture(scope="session")
def ended(world: World) -> dict[str, list[Load]]:
    """All loads, of all deliveries side by side."""
    runs = {}
    for delivery in DELIVERIES:
        world.airflow.wait_for_dag(f"killed_{delivery}")
        runs[delivery] = world.airflow.trigger(f"killed_{delivery}")
    return {delivery: _loads(world, delivery, run) for delivery, run in runs.items()}


def _loads(world: World, delivery: str, run: Run) -> list[Load]:
    run.wait_for_end("load", patience=1800)
    found = world.boxes["default"].query(
        f"SELECT load, count() AS m, uniqExact(n) AS d FROM killed_loads WHERE delivery = '{delivery}' GROUP BY load"
    )
    counts = {int(row["load"]): (int(row["m"]), int(row["d"])) for row in found}
    logs = run.logs()
    loads = []
    for one in sorted(run.tasks("load"), key=lambda task: int(task["map_index"])):
        index = int(one["map_index"])
        last = next(
            text
            for path, text in logs.items()
            if f"map_index={index}/" in path and f"attempt={one['try_number']}." in path
        )
        loads.append(Load(one["try_number"], one["state"], *counts.get(index, (0, 0)), UNKNOWN in last))
    return loads


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_each_was_killed_and_tried_again(ended: dict[str, list[Load]], delivery: str) -> None:
    assert len(ended[delivery]) == LOADS
    assert min(load.attempts for load in ended[delivery]) >= 2


def test_exactly_once_has_every_row_exactly_once(ended: dict[str, list[Load]]) -> None:
    assert [(load.state, load.rows, load.distinct) for load in ended["exactly_once"]] == [
        ("success", ROWS, ROWS)
    ] * LOADS


def test_at_most_once_never_doubles_a_row_and_is_red_where_one_may_be_missing(ended: dict[str, list[Load]]) -> None:
    for load in ended["at_most_once"]:
        assert not load.is_doubled, load
        assert load.state == ("failed" if load.names_unknown else "success"), load
        assert load.names_unknown or not load.is_incomplete, load


def test_at_least_once_never_loses_a_row(ended: dict[str, list[Load]]) -> None:
    assert [(load.state, load.distinct) for load in ended["at_least_once"]] == [("success", ROWS)] * LOADS


def test_the_document_has_the_table(ended: dict[str, list[Load]]) -> None:
    """How many end in which way is a matter of moments; what must not happen is not."""
    table = _table(ended)
    if os.environ.get("WRITE_TABLE"):
        scenario.write(DOCUMENT, table, MARK)
    assert _promises(scenario.in_document(DOCUMENT, MARK)) == _promises(table), "write it anew: WRITE_TABLE=1 make e2e"


_HEAD = ("delivery", "loads killed", "lost a row unnoticed", "doubled a row", "green", "red, naming the unknown rows")


def _table(ended: dict[str, list[Load]]) -> str:
    lines = [_HEAD, ("---",) * len(_HEAD)]
    for delivery, loads in ended.items():
        lost = sum(load.is_incomplete and not load.names_unknown for load in loads)
        doubled = sum(load.is_doubled for load in loads)
        green = sum(load.state == "success" for load in loads)
        named = sum(load.state == "failed" and load.names_unknown for load in loads)
        lines.append((f"`{delivery}`", *map(str, (len(loads), lost, doubled, green, named))))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _promises(table: str) -> list[list[str]]:
    """What of the table is the same each time: with ``at_least_once`` doubles are allowed."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [row[:3] if "at_least_once" in row[0] else row[:4] for row in rows]
