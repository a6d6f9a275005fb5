"""HTML from values: whatever is no :class:`Html` is text, and is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1b1d27; --paper: #fbfbfd; --card: #fff; --line: #dfe1ea; --soft: #6a6f82;
  --good: #0b7a4b; --bad: #b3261e; --busy: #8a5a00; --accent: #27f795; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9f1; --paper: #14161d; --card: #1c1f29; --line: #32364a;
  --soft: #9aa0b6; --good: #4fd897; --bad: #ff8a80; --busy: #f2c063; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; border-left: .4rem solid var(--accent); padding-left: .7rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; font-family: ui-monospace, monospace; }
p { margin: .3rem 0; }
a { color: inherit; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; margin: .6rem 0; }
section:target, tr:target { outline: 2px solid var(--accent); }
.facts span { margin-right: 1.2rem; }
.count { font-weight: 600; }
.muted, .id, .waiting, .cancelled { color: var(--soft); }
.bad, .error { color: var(--bad); }
.done { color: var(--good); }
.working, .cancelling { color: var(--busy); }
.kind { font: .8rem system-ui, sans-serif; color: var(--soft); border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .6rem; }
details { margin: .3rem 0; }
summary { cursor: pointer; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font: .82rem/1.5 ui-monospace, monospace; margin: .4rem 0; }
th, td { text-align: left; vertical-align: top; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td p { white-space: normal; max-width: 40rem; }
th { font-weight: 600; color: var(--soft); }
pre { font: .82rem/1.5 ui-monospace, monospace; overflow-x: auto; margin: .4rem 0; }
"""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: str) -> Html:
    """Text as HTML; HTML stays as it is."""
    return value if isinstance(value, Html) else Html(html.escape(value))


def join(*parts: str) -> Html:
    """Parts, one after the other."""
    return Html("".join(escaped(part) for part in parts))


def element(name: str, *content: str, **attributes: str) -> Html:
    """An element.

    :param attributes: ``class_`` stands for ``class``.
    """
    given = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{join(*content)}</{name}>")


def with_class(text: str, name: str) -> Html:
    """Text that the style sheet can tell."""
    return element("span", text, class_=name)


def details(summary: str, content: Html, is_open: bool = False) -> Html:
    """Content that folds away."""
    return Html(f"<details{' open' if is_open else ''}>{element('summary', summary)}{content}</details>")


def table(head: Sequence[str], rows: Iterable[Iterable[str]], ids: Sequence[str] = ()) -> Html:
    """A table.

    :param ids: of the rows.
    """
    lines = []
    for index, row in enumerate(rows):
        cells = join(*(element("td", cell) for cell in row))
        lines.append(element("tr", cells, id=ids[index]) if ids else element("tr", cells))
    top = element("tr", *(element("th", one) for one in head))
    return element("div", element("table", element("thead", top), element("tbody", *lines)), class_="wide")
