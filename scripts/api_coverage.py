"""Write docs/api-coverage.md: each documented call of Tinybird's API, the function that sends it, its test case, and the sandbox.

With ``--documents FOLDER`` also compare the list of documented calls with the documents themselves.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from airflow_provider_tinybird import api

ROOT = Path(__file__).resolve().parent.parent
CALLS = ROOT / "scripts" / "documented_calls.toml"
PAGE = ROOT / "docs" / "api-coverage.md"
Row = tuple[str, str, str, str]
_HELPERS = ("sending",)  # what it has makes calls for the other modules
YES, REFUSED = "yes", "refuses"

INTRODUCTION = """# API coverage

Written by `scripts/api_coverage.py` (`make api-coverage`), and a test sees that it is up to date.

*Call*: as a document names it; where documents disagree, also what is really sent, and why. *Function*: in
`airflow_provider_tinybird.api`; its docstring says what it needs and what it returns. *Case*: in `tests/api_cases`. Each case is sent over
a stub by both clients, where the request is compared byte by byte (`tests/unit/api/test_calls.py`), and over HTTP, against the sandbox
(`tests/sandbox/test_api.py`), where the type of the result is looked at, and what it did. *Sandbox*: *yes*, or *refuses* where it answers
with the error that a Classic workspace gives.
"""


@dataclass(frozen=True)
class Documented:
    """A call that a document names, and what is sent for it."""

    text: str
    sent: str
    why: str

    def matches(self, case: Any) -> bool:
        """Whether a case sends it."""
        method, _, target = self.sent.partition(" ")
        path, _, keys = target.partition("?")
        sent_method, _, sent_target = case.sent.partition(" ")
        pattern = re.sub(r"\\{\w+\\}", r"[^/.]+", re.escape(path.rstrip("/")))
        return (
            method == sent_method
            and re.fullmatch(pattern, sent_target.partition("?")[0]) is not None
            and set(filter(None, keys.split("&"))) <= _keys(case)
        )


def _keys(case: Any) -> set[str]:
    """The names of all parameters of a case, in its query string or its body."""
    query = parse_qsl(case.sent.partition("?")[2], keep_blank_values=True)
    if case.body.startswith(b"{"):
        try:
            return {key for key, _ in query} | set(json.loads(case.body))
        except ValueError:
            return {key for key, _ in query}
    form = parse_qsl(case.body.decode("latin-1"), keep_blank_values=True)
    return {key for key, _ in (*query, *form)}


def documents() -> dict[str, tuple[str, list[Documented]]]:
    """Title and calls of each document."""
    listed = tomllib.loads(CALLS.read_text())
    instead = {one["documented"]: one for one in listed.pop("instead")}
    found = {}
    for name, document in listed.items():
        calls = []
        for text in document["calls"]:
            other = instead.get(text, {"sent": text, "why": ""})
            calls.append(Documented(text, other["sent"], other["why"]))
        found[name] = (str(document["title"]), calls)
    return found


def functions() -> dict[str, Any]:
    """Every public function of ``api`` that makes a call, as ``module.function``."""
    found = {}
    for info in pkgutil.iter_modules(api.__path__):
        if info.name in _HELPERS:
            continue
        module = importlib.import_module(f"{api.__name__}.{info.name}")
        for name, value in inspect.getmembers(module, inspect.isfunction):
            makes_a_call = str(inspect.signature(value).return_annotation).startswith("Call[")
            if makes_a_call and value.__module__ == module.__name__ and not name.startswith("_"):
                found[f"{info.name}.{name}"] = value
    return found


def cases() -> tuple[Any, ...]:
    """The cases of the tests."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(ROOT / "tests"))
    found: tuple[Any, ...] = importlib.import_module("api_cases").CASES
    return found


def support(case: Any) -> str:
    """What the sandbox does with a case."""
    return REFUSED if case.refused else YES


def problems() -> list[str]:
    """What is missing."""
    found = []
    known = cases()
    with_case = {case.name for case in known}
    found += [
        f"{name} makes a call and has no case in tests/api_cases" for name in functions() if name not in with_case
    ]
    found += [
        f"the sandbox has no {case.sent.partition('?')[0]}, of {case.name}" for case in known if not case.in_sandbox
    ]
    ids = [case.id for case in known]
    found += [f"two cases have the id {one}" for one in sorted({one for one in ids if ids.count(one) > 1})]
    for title, calls in documents().values():
        found += [f"{title}: no case sends {one.text}" for one in calls if not any(one.matches(case) for case in known)]
    return found


def page() -> str:
    """The text of docs/api-coverage.md."""
    known = cases()
    parts = [INTRODUCTION, _summary(known)]
    documented: set[str] = set()
    for title, calls in documents().values():
        rows: list[Row] = []
        for one in calls:
            sending = [case for case in known if one.matches(case)]
            documented |= {case.id for case in sending}
            rows += _rows(one, sending)
        parts.append(_table(f"{title}: {len(calls)} of {len(calls)} calls", rows))
    others = [case for case in known if case.id not in documented]
    rows = [(f"`{_call(case)}`", *_columns(case)) for case in others]
    parts.append(_table("Beyond these documents: what the official clients send", rows))
    return "\n".join(parts)


def _summary(known: Sequence[Any]) -> str:
    counts = {one: sum(support(case) == one for case in known) for one in (YES, REFUSED)}
    calls = sum(len(listed) for _, listed in documents().values())
    return (
        f"{calls} documented calls, all of them covered; {len(functions())} functions, {len(known)} cases: {counts[YES]} are done by the"
        f" sandbox, {counts[REFUSED]} refused by it.\n"
    )


def _rows(one: Documented, sending: Sequence[Any]) -> Iterator[Row]:
    call = f"`{one.text}`" + (f"; sent: `{one.sent}`: {one.why}" if one.why else "")
    for case in sending:
        yield (call, *_columns(case))
        call = ""


def _columns(case: Any) -> tuple[str, str, str]:
    return f"`{case.name}`", f"`{_call(case)}`", support(case)


def _call(case: Any) -> str:
    return str(case.sent.partition("?")[0])


def _table(title: str, rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"## {title}\n", "| call | function | case | sandbox |", "| --- | --- | --- | --- |", *lines, ""])


def difference(folder: Path) -> list[str]:
    """Compare the list of documented calls with the documents.

    :param folder: a text file for each: found by what they start with or hold.
    """
    found = []
    listed = {name: [one.text for one in calls] for name, (_, calls) in documents().items()}
    for path in sorted(folder.glob("*.txt")):
        text = path.read_text()
        if "openapi: 3" in text:
            real = list(_of_openapi(text))
            found += [f"{path.name}: not listed: {call}" for call in real if call not in listed["openapi"]]
            found += [f"{path.name}: does not have {call}" for call in listed["openapi"] if call not in real]
            continue
        name = next((one for start, one in _STARTS.items() if text.startswith(start)), None)
        if name is None:
            continue
        known = [Documented(text, text.partition("?")[0], "") for text in listed[name]]
        found += [f"{path.name}: not listed: {call}" for call in _of_prose(text) if not _is_listed(call, known)]
    return found


_STARTS = {"API Overview": "overview", "Pipe API": "pipes", "Events API": "events"}
_SENT = "https://api.tinybird.co"


def _of_openapi(text: str) -> Iterator[str]:
    path = ""
    for match in re.finditer(
        r"(?<= )(/v\d/\S*): (?=get:|post:|put:|delete:)|(?<= )(get|post|put|delete): operationId", text
    ):
        path = match[1] or path
        if match[2]:
            yield f"{match[2].upper()} {path}"


def _of_prose(text: str) -> Iterator[str]:
    """Calls in headings (``GET /v0/pipes/(.+)/explain``), and paths in examples, whose method is ``*``."""
    for method, path in re.findall(r"^(GET|POST|PUT|DELETE) (/v\d/\S*)", text, re.MULTILINE):
        path = path.replace("/?", "").replace("(.+)", "x").replace("(.+\\.pipe)", "x.pipe")
        formats = re.search(r"\\\.\(([\w|]+)\)", path)
        for form in formats[1].split("|") if formats else [""]:
            yield f"{method} {path[: formats.start()]}.{form}" if formats else f"{method} {path}"
    for path in re.findall(rf"{_SENT}(/v\d/[^\s\"'?<]*)", text):
        example = re.sub(r":(\w+)", "x", path).replace("x.format", "x.json").rstrip("/")
        yield f"* {example}"


def _is_listed(call: str, known: Sequence[Documented]) -> bool:
    method, _, path = call.partition(" ")
    for one in known:
        listed_method, _, listed = one.sent.partition(" ")
        pattern = re.sub(r"\\{\w+\\}", r"[^/.]+", re.escape(listed))
        if method in ("*", listed_method) and re.fullmatch(pattern, path):
            return True
    return False


def main(arguments: Sequence[str]) -> int:
    """Write the page.

    :return: 1 when something is missing.
    """
    found = problems()
    if arguments[:1] == ["--documents"]:
        found += difference(Path(arguments[1]))
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        PAGE.write_text(page())
        print(f"{PAGE.relative_to(ROOT)} written")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
