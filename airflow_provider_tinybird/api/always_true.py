"""Just enough understanding of a SQL condition to see that it holds for every row, whatever they are."""

from __future__ import annotations

import re

from airflow_provider_tinybird.api.sqltext import OPAQUE

_WORD = re.compile(r"\b(and|or|not)\b", re.IGNORECASE)
_EQUALITY = re.compile(r"(.+?)\s*(?:>=|<=|<=>|==?)\s*(.+)", re.DOTALL)


def is_always_true(condition: str) -> bool:
    """Tell whether a condition is true by its text alone: ``1``, ``true``, ``1 = 1``, ``day = day``, or one of these after an OR.

    It finds what people write when they mean every row. What it does not find shows when the rows are counted.
    """
    return _is_true(_without_comments(condition))


def _is_true(text: str) -> bool:
    text = _bare(text)
    alternatives = _parts(text, "or")
    if len(alternatives) > 1:
        return any(_is_true(part) for part in alternatives)
    terms = _parts(text, "and")
    if len(terms) > 1:
        return all(_is_true(part) for part in terms)
    if text[:4].lower() in ("not ", "not("):
        return _is_false(text[3:])
    if text.lower() == "true" or (_is_number(text) and float(text) != 0):
        return True
    sides = _EQUALITY.fullmatch(text)
    return sides is not None and _bare(sides[1]) == _bare(sides[2])


def _is_false(text: str) -> bool:
    text = _bare(text)
    return text.lower() == "false" or (_is_number(text) and float(text) == 0)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _parts(text: str, word: str) -> list[str]:
    """Split at a word that is neither in parentheses nor in a literal."""
    parts, start, blanked = [], 0, _blanked(text)
    for found in _WORD.finditer(blanked):
        if found[1].lower() == word and _depth(blanked[: found.start()]) == 0:
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def _bare(text: str) -> str:
    """Take away the white space and the parentheses around a condition."""
    text = " ".join(text.split()) if _blanked(text) == text else text.strip()
    while text.startswith("(") and text.endswith(")"):
        inner = _blanked(text)[1:-1]
        if min((_depth(inner[:end]) for end in range(len(inner) + 1)), default=0) < 0:
            break
        text = text[1:-1].strip()
    return text


def _depth(text: str) -> int:
    return text.count("(") - text.count(")")


def _blanked(text: str) -> str:
    return OPAQUE.sub(lambda match: "_" * len(match.group()), text)


def _without_comments(text: str) -> str:
    return OPAQUE.sub(lambda match: " " if match.group().startswith(("--", "/*", "#", "{#")) else match.group(), text)
