"""What a scenario is, and the table that comes out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.stage import Stage

BEGIN = "<!-- The table between these marks is written by tests/e2e. -->"
END = "<!-- End of the table. -->"


@dataclass(frozen=True, slots=True)
class Facts:
    """What came of a scenario.

    :param jobs: state of each job that Tinybird has for it, oldest first.
    :param task: final state of the task, or of each mapped instance.
    :param rows: rows in the target.
    """

    jobs: tuple[str, ...]
    task: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that is done to a task.

    :param name: its DAG, its pipe and its data source.
    :param injected: what is done, for the table.
    :param waits: where the task waits.
    :param expected: what must come of it.
    :param play: does it.
    :param phase: ``together`` with others; then those of each other phase, one phase after the other, since what they do
        disturbs others.
    :param box: the sandbox that it runs on.
    :param meets: the same for scenarios that have one thing done to all of them.
    """

    name: str
    injected: str
    waits: str
    expected: Facts
    play: Callable[[Stage], Facts]
    phase: str = "together"
    box: str = "default"
    meets: str = ""


SCENARIOS: dict[str, Scenario] = {}
_MODES = {"sync": "worker", "deferred": "triggerer"}


def scenario(
    injected: str,
    *,
    jobs: Iterable[str] = ("done",),
    task: str | tuple[str, ...] = "success",
    rows: int = 3,
    modes: Iterable[str] = (),
    waits: str = "worker",
    phase: str = "together",
    box: str = "default",
    meets: str = "",
) -> Callable[[Callable[[Stage], Facts]], Callable[[Stage], Facts]]:
    """Register a function as a scenario.

    :param modes: register it once for each of these modes of the task, its DAG's name ends in them.
    """
    expected = Facts(tuple(jobs), (task,) if isinstance(task, str) else task, rows)

    def register(play: Callable[[Stage], Facts]) -> Callable[[Stage], Facts]:
        name = play.__name__
        found = [(f"{name}_{mode}", _MODES[mode]) for mode in modes] or [(name, waits)]
        for full, where in found:
            SCENARIOS[full] = Scenario(full, injected, where, expected, play, phase, box, meets)
        return play

    return register


def table(results: dict[str, Facts]) -> str:
    """Write the table."""
    lines = [
        "| what was injected | the task waits in | jobs submitted | the task ends as | its jobs end as | rows in the target |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in SCENARIOS.values():
        facts = results[one.name]
        cells = (one.injected, one.waits, len(facts.jobs), _summed(facts.task), _summed(facts.jobs), facts.rows)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def in_document(path: Path, begin: str = BEGIN) -> str:
    """Read the table that a document has behind a mark."""
    return path.read_text().split(begin, 1)[1].split(END, 1)[0].strip()


def write(path: Path, text: str, begin: str = BEGIN) -> None:
    """Put the table into a document."""
    before, rest = path.read_text().split(begin, 1)
    after = rest.split(END, 1)[1]
    path.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}")


def _summed(states: tuple[str, ...]) -> str:
    if not states:
        return "none"
    counts = Counter(states)
    if len(states) == len(counts):
        return ", ".join(states)
    return ", ".join(state if count == 1 else f"{count} {state}" for state, count in counts.items())
