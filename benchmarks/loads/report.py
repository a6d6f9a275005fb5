"""What was measured, as text, as a page of the documentation and as a plot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Cost

HEADER = ("", "rows", "rows/s", "MB/s", "CPU s per million rows", "memory on top, MB", "times as many rows/s")
PACKAGES = ("pandas", "pyarrow", "polars", "duckdb", "orjson", "httpx", "apache-airflow")


@dataclass(frozen=True, slots=True)
class Row:
    """What one way cost, in the median."""

    way: str
    cost: Cost

    @property
    def rate(self) -> float:
        """Rows in a second."""
        return self.cost.rows / self.cost.seconds

    def cells(self, first: Row) -> tuple[str, ...]:
        """The row of the table; the last cell compares with the first row."""
        cost = self.cost
        speed = f"{cost.megabytes / cost.seconds:,.0f}" if cost.megabytes else ""
        cpu = cost.cpu_seconds / cost.rows * 1e6 if cost.rows else cost.cpu_seconds
        factor = f"1 / {first.rate / self.rate:.1f}" if self.rate < first.rate else f"{self.rate / first.rate:.1f}"
        return (self.way, f"{cost.rows:,}", f"{self.rate:,.0f}", speed, f"{cpu:.2f}", f"{cost.peak_mb:,.0f}", factor)


@dataclass(frozen=True, slots=True)
class Section:
    """Ways that ran in the same rounds; the first is what the others are compared with."""

    title: str
    rows: Sequence[Row]

    def table(self) -> list[tuple[str, ...]]:
        """Header and rows."""
        return [HEADER, *(row.cells(self.rows[0]) for row in self.rows)]

    def show(self) -> None:
        """Print it."""
        widths = [max(map(len, column)) for column in zip(*self.table(), strict=True)]
        for cells in self.table():
            first, *rest = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            print("  ".join([first.strip().ljust(widths[0]), *rest]), flush=True)

    def markdown(self) -> str:
        """Write it as Markdown."""
        header, *rows = (f"| {' | '.join(cells)} |" for cells in self.table())
        return "\n".join([f"## {self.title}", "", header, "| --- |" + " ---: |" * (len(HEADER) - 1), *rows])


def write(sections: Sequence[Section], load_before: float, docs: Path | None) -> None:
    """Write the page and the plot.

    :param load_before: load of the machine before anything ran.
    :param docs: folder of the documentation; ``None`` writes nothing.
    """
    if docs is None:
        return
    plot(sections, docs / "images" / "benchmarks.png")
    body = "\n\n".join(section.markdown() for section in sections)
    (docs / "benchmarks.md").write_text(f"{_INTRODUCTION.format(machine=_machine(load_before))}\n\n{body}\n")
    print(f"\nwritten: {docs / 'benchmarks.md'}")


def plot(sections: Sequence[Section], path: Path) -> None:
    """Draw rows a second of encoding and of sending, on a scale of powers of ten."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    chosen = [one for one in sections if "100,000" in one.title or "after 50 ms" in one.title]
    figure, axes = plt.subplots(len(chosen), 1, figsize=(9, 2.6 * len(chosen)), constrained_layout=True)
    for axis, section in zip(axes, chosen, strict=True):
        names = [row.way for row in section.rows][::-1]
        rates = [row.rate for row in section.rows][::-1]
        colours = ["#27a876" if name.startswith("ours") else "#9aa0a6" for name in names]
        bars = axis.barh(names, rates, color=colours)
        axis.bar_label(bars, [f" {rate:,.0f}" for rate in rates], fontsize=7)
        axis.set_xscale("log")
        axis.set_title(f"{section.title}: rows a second", fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.margins(x=0.15)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _machine(load_before: float) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return (
        f"{os.cpu_count()} cores ({cpu}), load before the start {load_before:.1f}, Python {platform.python_version()}; {versions}. "
        "Others: verdin 0.5.3, tinybird-python-sdk 0.3.7, requests"
    )


_INTRODUCTION = """# Benchmarks

Written by `make bench`, which runs every way in a process of its own, in rounds: each round runs all ways of a table once, one after the
other, and the medians are shown. The last column compares with the first row of its table.

Machine: {machine}.

![rows a second](images/benchmarks.png)

How to read it:

- *Memory on top* is the highest memory of the process, less that before the work, when the source was loaded already.
- The narrow table has 6 plain columns, the wide one 22: gaps, quotes, dates, decimals, lists, categories and Python objects. The flights
  are those of the examples, repeated.
- *Values looked at*: each column that could change its values without a word is looked at first, as loads do; the columns are narrower
  than most.
- The ways that make a dict of each row run on 100,000 rows only: more would take minutes and gigabytes.
- *Sending* goes to a server on the same cores that keeps nothing and answers after the given time; over plain HTTP, without TLS. The
  pacing below Tinybird's documented 20 MB/s for each data source is off there. Into one data source of Tinybird's, no client is faster
  than that limit: what is gained then is processor time and memory on the worker.
- Where a line says *4 connections* or nothing, four requests are in flight."""
