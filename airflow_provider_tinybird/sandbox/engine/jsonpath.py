"""JSONPaths of a schema, and the SQL that takes the text at each of them out of a JSON line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal

_STEP = re.compile(r"\.?\[(?:\"(?P<double>[^\"]+)\"|'(?P<single>[^']+)')\]|\.(?P<bare>[^.\[\]]+)|(?P<all>\[(?:\*|:)\])")


class JsonPathError(ValueError):
    """A JSONPath that the sandbox cannot read."""


@dataclass(frozen=True)
class JsonPath:
    """Where a value is in a record.

    :param keys: from the root to the value, or to the array that holds it; empty for the whole record.
    :param is_array: whether the path ends in ``[:]`` or goes through one.
    :param inner: keys from an element of the array to the value.
    """

    keys: tuple[str, ...]
    is_array: bool = False
    inner: tuple[str, ...] = ()


def parse_jsonpath(text: str) -> JsonPath:
    """Read ``$.a.b``, ``$.tags[:]``, ``$.items[:].id``, ``$["a key"]`` or ``$``.

    :raises JsonPathError: saying what is supported.
    """
    rest = text[1:] if text.startswith("$") else None
    keys: list[str] = []
    inner: list[str] = []
    is_array = False
    while rest:
        match = _STEP.match(rest)
        if match is None or (match["all"] and is_array):
            rest = None
            break
        if match["all"]:
            is_array = True
        else:
            (inner if is_array else keys).append(match["double"] or match["single"] or match["bare"])
        rest = rest[match.end() :]
    if rest is None:
        raise JsonPathError(f"JSONPath {text!r} is not supported: use $.key, $.key.key, $.key[:] or $.key[:].key")
    return JsonPath(tuple(keys), is_array, tuple(inner))


@dataclass(frozen=True)
class _Tree:
    branches: dict[str, _Tree]

    def add(self, keys: Sequence[str]) -> None:
        node = self
        for key in keys:
            node = node.branches.setdefault(key, _Tree({}))

    def type_text(self) -> str:
        parts = (f"{_tuple_name(key)} {branch.type_text()}" for key, branch in self.branches.items())
        return f"Tuple({', '.join(parts)})" if self.branches else "Nullable(String)"

    def path_to(self, keys: Sequence[str]) -> list[int]:
        positions = []
        node = self
        for key in keys:
            positions.append(list(node.branches).index(key) + 1)
            node = node.branches[key]
        return positions


def _tuple_name(key: str) -> str:
    return "`" + key.replace("\\", "\\\\").replace("`", "\\`") + "`"


def texts_of(raw: str, paths: Sequence[tuple[str, ...]]) -> tuple[str, list[str]]:
    """SQL for the texts at several places of one JSON line, which is parsed once for all of them.

    :param raw: the SQL name of the line.
    :param paths: keys of each place.
    :return: an expression to be named ``record``, and for each place an expression over it: text, or NULL when missing or null.
    """
    tree = _Tree({})
    together = [keys for keys in paths if keys and not _holds_another(keys, paths)]
    for keys in together:
        tree.add(keys)
    texts = []
    for keys in paths:
        if not keys:
            texts.append(f"CAST({raw}, 'Nullable(String)')")
        elif keys in together:
            text = "record"
            for position in tree.path_to(keys):
                text = f"tupleElement({text}, {position})"
            texts.append(text)
        else:
            # The place of an object whose members are columns too cannot be a leaf of the same tuple.
            texts.append(f"JSONExtract({raw}, {', '.join(map(literal, keys))}, 'Nullable(String)')")
    record = f"JSONExtract({raw}, {literal(tree.type_text())})" if together else "0"
    return record, texts


def _holds_another(keys: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> bool:
    return any(other != keys and other[: len(keys)] == keys for other in paths)
