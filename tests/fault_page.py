"""The tables of docs/reliability.md that the tests of faults write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def check(name: str, text: str, *, write: bool) -> None:
    """See that the page has a table, or put it there."""
    begin = f"<!-- The table of {name} between these marks is written by tests/unit/faults. -->"
    end = "<!-- End of the table. -->"
    before, rest = DOCUMENT.read_text().split(begin, 1)
    inside, after = rest.split(end, 1)
    if write:
        DOCUMENT.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
    else:
        assert inside.strip() == text, "run `WRITE_TABLE=1 pytest tests/unit/faults` and read the difference"
