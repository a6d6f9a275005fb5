"""What MkDocs does not do by itself: pages made from what lies outside docs/, and links that lead there.

A hook of MkDocs, and an extension of griffe, which reads descriptions in the code; both are named in mkdocs.yml.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "airflow_provider_tinybird"
ELSEWHERE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
"""Files at the root and the pages that they are here."""
LINK = re.compile(r"(?<=\]\()(?!https?://|#|mailto:)([^)\s#]+)")

REFERENCE = {
    "hooks": ("Hooks", "hooks/tinybird.py", "hooks/sql.py"),
    "operators": ("Operators", "operators/*.py"),
    "sensors": ("Sensors", "sensors/*.py"),
    "triggers": ("Triggers", "triggers/*.py"),
    "decorators": ("Decorators", "decorators/events.py"),
    "links": ("Links on the page of a task", "links/tinybird.py"),
    "api": ("API without Airflow", "api/*.py"),
    "sandbox": ("Sandbox in tests", "sandbox/testing.py"),
}
"""Pages of the reference: title, and the modules on it."""

CALLED_BY_AIRFLOW = ("operators", "sensors", "triggers", "links")
"""Where users name classes and arguments only; their methods are Airflow's business."""

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")
LINKED = re.compile(r"airflow_provider_tinybird\.(hooks\.(?:tinybird|sql)|operators|sensors|triggers|api)\.")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from elsewhere."""
    pages = {page: (ROOT / name).read_text() for name, page in ELSEWHERE.items() if name != "README.md"}
    pages["examples.md"] = examples_page()
    pages |= {f"reference/{name}.md": reference_page(*what) for name, what in REFERENCE.items()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - names of MkDocs
    """Have links that leave docs/ lead to the pages made from what is there."""
    source = page.file.src_uri
    at_root = source in ELSEWHERE.values() and source != "index.md"
    depth = source.count("/")
    return LINK.sub(lambda match: target_of(match[1], at_root=at_root, depth=depth), markdown)


def target_of(link: str, *, at_root: bool, depth: int = 0) -> str:
    """Translate a link as it works in the repository into one that works on the site."""
    inside = link.removeprefix("docs/") if at_root else link
    if inside != link:
        return inside
    outside = link if at_root else link.removeprefix("../") if link.startswith("../") else ""
    up = "../" * depth
    if outside in ELSEWHERE:
        return f"{up}{ELSEWHERE[outside]}"
    if outside.startswith("example_dags"):
        return f"{up}examples.md"
    return link


def examples_page() -> str:
    """All example DAGs as they are."""
    head = (
        "# Example DAGs\n\nThey run as they are on the [sandbox](testing-your-dags.md), and the tests run them there."
    )
    files = sorted((ROOT / "example_dags").glob("*.py"))
    parts = [f"## {path.stem}\n\n```python\n{path.read_text().rstrip()}\n```" for path in files]
    return "\n\n".join([head, *parts])


def reference_page(title: str, *patterns: str) -> str:
    """Modules with the descriptions in their code."""
    parts = [f"# {title}"]
    for path in [path for pattern in patterns for path in sorted(PACKAGE.glob(pattern))]:
        tree = ast.parse(path.read_text())
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        heading = f"## {path.stem}\n\n`{module}`"
        if path.parent.name in CALLED_BY_AIRFLOW:
            classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
            options = "\n    options:\n      members: false"
            entries = [f"::: {module}.{name}{options}" for name in classes if name.startswith("Tinybird")]
            entries[:0] = [(ast.get_docstring(tree) or "").partition("\n")[0]] if entries else []
        else:
            entries = [f"::: {module}\n    options:\n      show_root_heading: false"] if path.stem != "__init__" else []
        parts += [heading, *entries] if entries else []
    return "\n\n".join(parts)


class Descriptions(griffe.Extension):
    """Reads descriptions as they are written here: in reST, with what is said of all parameters after the last of them."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Prepare the description of anything."""
        if obj.docstring:
            obj.docstring.value = markdown_of(obj.docstring.value)


def markdown_of(description: str) -> str:
    """Translate roles, and put the list of parameters last: what follows it would belong to its last entry."""
    paragraphs = description.split("\n\n")
    fields = [one for one in paragraphs if one.startswith(":")]
    text = "\n\n".join([*(one for one in paragraphs if not one.startswith(":")), *fields])
    return ROLE.sub(_reference, text)


def _reference(role: re.Match[str]) -> str:
    short, name = role.groups()
    shown = name.rpartition(".")[2] if short else name
    return f"[`{shown}`][{name}]" if LINKED.match(name) else f"`{shown}`"
