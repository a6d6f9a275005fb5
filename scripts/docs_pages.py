"""Write anew what the pages below docs/ repeat from the code: pieces of the example DAGs, and the token scopes of operators and sensors.

The pages hold what they repeat, so that they can be read where nobody builds a site; a test finds what is no longer as in the code.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "airflow_provider_tinybird"
PIECE = re.compile(
    r"(?P<mark><!-- from (?P<file>[\w/.-]+): (?P<name>\w+) -->\n+)```python\n.*?```$", re.DOTALL | re.MULTILINE
)
TABLE = re.compile(r"(?P<mark><!-- scopes: begin -->\n).*?(?=<!-- scopes: end -->)", re.DOTALL)
SCOPE = re.compile(r"Token scopes?: (.+?)\.(?= |$)")


class PageError(Exception):
    """A page asks for what is not there; the text says which."""


def piece_of(name: str, section: str) -> str:
    """Return the lines of a file between ``[START section]`` and ``[END section]``, as far left as they go.

    :raises PageError: there is no such section.
    """
    text = (ROOT / name).read_text()
    found = re.search(rf"^ *# \[START {section}\]\n(.*?)^ *# \[END {section}\]$", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise PageError(f"{name} has no section {section}")
    return formatted(textwrap.dedent(found[1]))


def formatted(code: str) -> str:
    """Return code in the project's format: further left, lines that were broken may fit, and the formatter sees pages as well."""
    command = [str(Path(sys.executable).with_name("ruff")), "format", "--quiet", "--stdin-filename", "piece.py", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip("\n")


def scopes() -> Iterator[tuple[str, str]]:
    """Yield the classes that users name in DAGs, and the token scopes that their descriptions, or those of their bases, ask for.

    :raises PageError: none names any.
    """
    paths = sorted([*PACKAGE.glob("operators/*.py"), *PACKAGE.glob("sensors/*.py")])
    nodes = [node for path in paths for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        if re.fullmatch(r"Tinybird\w+(Operator|Sensor)", node.name) and not is_base(node):
            lineage = [
                node,
                *(by_name[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in by_name),
            ]
            found = next(filter(None, map(scope_in, lineage)), None)
            if found is None:
                raise PageError(f"The description of {node.name} has no 'Token scope: ...'")
            yield node.name, found


def scope_in(node: ast.ClassDef) -> str | None:
    """Return what the description of a class says of scopes."""
    found = SCOPE.search(" ".join((ast.get_docstring(node) or "").partition("\n:param")[0].split()))
    return found and found[1].replace("``", "`")


def is_base(node: ast.ClassDef) -> bool:
    """Tell whether a class is there for others to build on: its description says so in its first words."""
    return (ast.get_docstring(node) or "").startswith("Base ")


def written(text: str) -> str:
    """Return a page with what it repeats as it is now."""

    def piece(found: re.Match[str]) -> str:
        return f"{found['mark']}```python\n{piece_of(found['file'], found['name'])}\n```"

    def table(found: re.Match[str]) -> str:
        rows = "".join(f"| `{name}` | {scope} |\n" for name, scope in scopes())
        return f"{found['mark']}\n| operator or sensor | least scope of its token |\n| --- | --- |\n{rows}\n"

    return TABLE.sub(table, PIECE.sub(piece, text))


def stale_pages() -> list[Path]:
    """Return the pages that no longer say what the code says."""
    pages = sorted(DOCS.glob("*.md"))
    return [page for page in pages if written(page.read_text()) != page.read_text()]


def main() -> int:
    """Write the pages; return the exit code."""
    try:
        for page in stale_pages():
            page.write_text(written(page.read_text()))
            print(f"written: {page.relative_to(ROOT)}")
    except PageError as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
