"""Just enough understanding of SQL text to put a FORMAT clause where it works."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Strings (heredocs too), quoted names and comments (a template's too), so that their contents are not taken for SQL.
OPAQUE = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|\$(\w*)\$.*?\$\1\$"""
    r"""|--[^\n]*|/\*.*?\*/|\{\#.*?\#\}|\#[ !][^\n]*""",
    re.DOTALL,
)
_FORMAT = re.compile(r"\bformat\s+(\w+)\s*(\bsettings\b.*)?$", re.IGNORECASE | re.DOTALL)
# After one of these a name must follow, so that "format" is a column or a table: ORDER BY format DESC, FROM format f.
_BEFORE_NAME = re.compile(
    r"(?:\b(?:and|as|by|case|distinct|else|from|having|in|join|like|not|on|or|prewhere|select|then|using|when|where|with)"
    r"|[,.(\[=<>!+/%|?:-])\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class FormattedSql:
    """SQL that ends in a FORMAT clause.

    :param text: the SQL.
    :param format: its format, as written.
    """

    text: str
    format: str


def with_format(sql: str, default: str) -> FormattedSql:
    """Give SQL an explicit FORMAT clause, since what Tinybird answers without one is not documented.

    A clause that is there stays. The semicolon at the end goes. The clause is put on a line of its own, as the last
    line may end in a comment.

    :param sql: one SELECT.
    :param default: format for SQL that has none.
    """
    end, found = _format_clause(sql)
    if found:
        return FormattedSql(sql[:end], found.group(1))
    return FormattedSql(f"{sql[:end]}\nFORMAT {default}", default)


def without_rows(sql: str) -> str:
    """SQL that has the same columns as another, and no rows.

    :param sql: one SELECT; one that starts with ``%`` stays a template.
    """
    return select_from("*", sql, " LIMIT 0")


def select_from(columns: str, sql: str, end: str = "") -> str:
    """SQL that selects from another's result.

    :param columns: what it selects.
    :param sql: one SELECT; one that starts with ``%`` stays a template.
    :param end: what follows.
    """
    stop, found = _format_clause(sql)
    text = sql[: found.start() if found else stop]
    percent, text = ("%\n", text.lstrip()[1:]) if text.lstrip().startswith("%") else ("", text)
    return f"{percent}SELECT {columns} FROM (\n{text}\n){end}"  # noqa: S608 - the user's SQL, as it is


def literal(text: str) -> str:
    """Write text as a literal of SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """Write a name as one of SQL, whatever is in it."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _format_clause(sql: str) -> tuple[int, re.Match[str] | None]:
    """Where the SQL ends, and its FORMAT clause."""
    blanked = OPAQUE.sub(_blank, sql)
    end = len(blanked.rstrip("; \t\r\n"))
    found = _FORMAT.search(blanked[:end])
    while found and _BEFORE_NAME.search(blanked[: found.start()]):
        found = _FORMAT.search(blanked[:end], found.start() + 1)
    return end, found


def _blank(match: re.Match[str]) -> str:
    text = match.group()
    # A comment counts as white space, a literal as something that is there.
    return (" " if text.startswith(("--", "/*", "#", "{#")) else '"') * len(text)
