"""Draw docs/images/architecture.svg: the folders of the package on their floors, and who imports whom.

Floors come from the contract "Floors" in pyproject.toml, arrows from the imports, descriptions from the first line of each package.
An arrow that a longer way implies is left out. ``--check`` writes nothing and fails where the picture is out of date.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "airflow_provider_tinybird"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 232, 62, 28, 44, 24

Arrows = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Box:
    """A folder, or a module of its own.

    :param name: as it is imported, below the package.
    :param about: what it is for.
    :param x: left edge.
    :param y: upper edge.
    """

    name: str
    about: str
    x: int
    y: int


def floors() -> list[list[str]]:
    """Read the floors, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == "Floors")
    return [[part.strip() for part in layer.split("|")] for layer in layers]


def part_of(module: str) -> str:
    """Return the folder or module below the package that a dotted name belongs to."""
    return module.removeprefix(f"{PACKAGE.name}.").split(".")[0]


def arrows() -> Arrows:
    """Read which part imports which."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        names = found.setdefault(inside[0], set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == PACKAGE.name:
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE.name}."):
                names.add(part_of(node.module or ""))
    return {part: frozenset(names - {part, "__version__"}) for part, names in found.items()}


def reachable(part: str, graph: Arrows) -> set[str]:
    """Return all that a part imports, directly or not."""
    seen: set[str] = set()
    todo = [part]
    while todo:
        for other in graph.get(todo.pop(), frozenset()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def reduced(graph: Arrows) -> Arrows:
    """Leave out the arrows that a longer way implies."""
    return {
        part: frozenset(
            other for other in others if not any(other in reachable(via, graph) for via in others if via != other)
        )
        for part, others in graph.items()
    }


def about(part: str) -> str:
    """Return the first line of what a part says of itself, up to its first colon or full stop."""
    path = PACKAGE / part / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else PACKAGE / f"{part}.py").read_text())) or ""
    return text.split("\n")[0].split(":")[0].rstrip(".")


def boxes(rows: list[list[str]]) -> dict[str, Box]:
    """Place the parts, each floor in the middle of the picture."""
    widest = max(map(len, rows))
    found = {}
    for row, parts in enumerate(rows):
        indent = (widest - len(parts)) * (WIDTH + GAP_X) // 2
        for column, part in enumerate(parts):
            x = MARGIN + indent + column * (WIDTH + GAP_X)
            found[part] = Box(part, about(part), x, MARGIN + row * (HEIGHT + GAP_Y))
    return found


def lines(text: str, most: int = 33) -> list[str]:
    """Break a text into two lines at the most."""
    first, rest = "", ""
    for word in text.split():
        if not rest and len(f"{first} {word}") <= most:
            first = f"{first} {word}".strip()
        else:
            rest = f"{rest} {word}".strip()
    return [first, rest if len(rest) <= most else f"{rest[: most - 1]}…"]


def drawn_box(box: Box) -> str:
    """Draw a part."""
    texts = "".join(
        f'<text x="{box.x + 12}" y="{box.y + 38 + 15 * number}" class="about">{escape(line)}</text>'
        for number, line in enumerate(lines(box.about))
    )
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text x="{box.x + 12}" y="{box.y + 21}" class="name">{escape(box.name)}</text>{texts}'
    )


def drawn_arrow(upper: Box, lower: Box) -> str:
    """Draw who imports whom."""
    x1, y1, x2, y2 = upper.x + WIDTH // 2, upper.y + HEIGHT, lower.x + WIDTH // 2, lower.y
    return f'<path d="M{x1} {y1} C{x1} {y1 + 36} {x2} {y2 - 36} {x2} {y2 - 5}" marker-end="url(#tip)"/>'


def picture() -> str:
    """Draw all of it as SVG."""
    rows = floors()
    placed = boxes(rows)
    graph = reduced(
        {part: frozenset(o for o in others if o in placed) for part, others in arrows().items() if part in placed}
    )
    width = 2 * MARGIN + max(map(len, rows)) * (WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + len(rows) * (HEIGHT + GAP_Y) - GAP_Y
    paths = "\n".join(drawn_arrow(placed[a], placed[b]) for a in sorted(graph) for b in sorted(graph[a]))
    parts = "\n".join(drawn_box(box) for box in placed.values())
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">
<style>
svg {{ background: #fff }} rect {{ fill: #f4f6fa; stroke: #25283d }} path {{ fill: none; stroke: #7a8096; stroke-width: 1.3 }}
.name {{ font-weight: 600; font-size: 15px; fill: #25283d }} .about {{ font-size: 12px; fill: #4b5066 }}
</style>
<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="4" orient="auto">
<path d="M0 0 L8 4 L0 8 z" style="fill:#7a8096"/></marker></defs>
{paths}
{parts}
</svg>
"""


def main() -> int:
    """Write the picture, or check it."""
    now = picture()
    if "--check" in sys.argv[1:]:
        if PICTURE.read_text() == now:
            return 0
        sys.stderr.write(f"{PICTURE.relative_to(ROOT)} is out of date: run 'make docs'.\n")
        return 1
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(now)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
