# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""SQL as text: its tokens, what it names, and which of it a user may run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.errors import bad_request

# Names of FORMAT that Tinybird documents, with ClickHouse's own where they differ.
FORMATS = {
    "csv": "CSV",
    "csvwithnames": "CSVWithNames",
    "json": "JSON",
    "tsv": "TSV",
    "tabseparated": "TSV",
    "tsvwithnames": "TSVWithNames",
    "tabseparatedwithnames": "TSVWithNames",
    "prettycompact": "PrettyCompactMonoBlock",
    "jsoneachrow": "JSONEachRow",
    "parquet": "Parquet",
    "prometheus": "Prometheus",
    "markdown": "Markdown",
}

# Everything else that ClickHouse has as a table function reads files, other hosts or other databases.
_SAFE_TABLE_FUNCTIONS = frozenset(
    (
        *("numbers", "numbers_mt", "zeros", "zeros_mt", "generaterandom", "generateseries", "generate_series"),
        *("null", "values", "view", "primes", "format", "input"),
    )
)
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]|\\.|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
      | (?P<number>\d[\w.]*)
      | (?P<word>[^\W\d]\w*)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_READ_STARTS = ("select", "with", "(")


@dataclass(frozen=True)
class SqlToken:
    """One token: its kind, where it is, and its text; ``value`` has no quotes."""

    kind: str
    text: str
    start: int

    @property
    def value(self) -> str:
        """The name that a word or a quoted identifier stands for."""
        if self.kind != "quoted":
            return self.text
        quote = self.text[0]
        return re.sub(r"\\(.)", r"\1", self.text[1:-1].replace(quote * 2, quote))

    @property
    def is_name(self) -> bool:
        """Whether it can name something."""
        return self.kind in ("word", "quoted")


def tokens_of(sql: str) -> list[SqlToken]:
    """Tokens of an SQL text, without white space and comments."""
    return list(_tokens(sql))


def _tokens(sql: str) -> Iterator[SqlToken]:
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "mark"
        if kind == "tag":
            kind = "string"
        if kind != "space":
            yield SqlToken(kind, match[0], match.start())


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def statement_of(sql: str) -> str:
    """The one statement in a text, without what ends it.

    :raises ApiError: 400, for an empty text or more than one statement.
    """
    tokens = tokens_of(sql)
    ends = [index for index, token in enumerate(tokens) if token.text == ";" and token.kind == "mark"]
    if ends:
        if any(token.text != ";" for token in tokens[ends[0] :]):
            raise bad_request("only one statement can be run: remove the ';' and what follows it")
        sql, tokens = sql[: tokens[ends[0]].start], tokens[: ends[0]]
    if not tokens:
        raise bad_request("the SQL is empty: give a SELECT")
    last = tokens[-1]
    return sql[: last.start + len(last.text)]  # a comment at the end would swallow what is put behind it


def split_format(sql: str) -> tuple[str, str | None]:
    """Separate ``FORMAT name`` from the end of a statement.

    :return: the statement without it, and ClickHouse's name of the format, or None when it has none.
    :raises ApiError: 400, for a format that Tinybird does not document.
    """
    tokens = tokens_of(sql)
    if len(tokens) < 3 or tokens[-2].text.lower() != "format" or tokens[-2].kind != "word" or tokens[-1].kind != "word":
        return sql, None
    name = FORMATS.get(tokens[-1].text.lower())
    if name is None:
        raise bad_request(
            f"FORMAT {tokens[-1].text} is not supported: use one of {', '.join(sorted(set(FORMATS.values())))}"
        )
    return sql[: tokens[-2].start].rstrip(), name


def check_readable(sql: str, table_functions: Collection[str], databases: Collection[str]) -> None:
    """Refuse what a user's query must not reach: anything but a SELECT, other databases, files and other hosts.

    The engine's read-only mode is the first wall; it leaves ``system`` and ``s3()`` open, so they are refused by name here.

    :param table_functions: names of the engine's table functions, in lower case.
    :param databases: databases that are not for users, in lower case.
    :raises ApiError: 400 for another kind of statement, 403 for what is out of reach.
    """
    tokens = tokens_of(sql)
    if not tokens or tokens[0].text.lower() not in _READ_STARTS:
        raise bad_request(f"only SELECT can be run here, found {tokens[0].text if tokens else 'nothing'}")
    for index, token in enumerate(tokens[:-1]):
        following = tokens[index + 1].text
        name = token.value.lower()
        if name == "into" and following.lower() == "outfile":
            # The embedded engine writes the file itself, even in read-only mode.
            raise bad_request("The query is not allowed: INTO OUTFILE cannot be used here")
        if token.is_name and following == "(" and name in table_functions and name not in _SAFE_TABLE_FUNCTIONS:
            raise bad_request(f"The query is not allowed: function {token.value}() cannot be used here")
        after_dot = index > 0 and tokens[index - 1].text == "."
        if token.is_name and following == "." and not after_dot and name in databases:
            raise bad_request(f"The query is not allowed: database {token.value} cannot be read")


def condition_of(sql: str, table_functions: Collection[str], databases: Collection[str]) -> str:
    """A boolean expression of a caller, safe to put between parentheses into a statement of ours.

    :raises ApiError: 400, for what would end the expression early, or reach what a query must not reach.
    """
    sql = statement_of(sql)
    depth = 0
    for token in tokens_of(sql):
        depth += {"(": 1, ")": -1}.get(token.text if token.kind == "mark" else "", 0)
        if depth < 0:
            break
    if depth != 0:
        raise bad_request(f"the condition cannot be used: its parentheses do not match: {sql}")
    check_readable(f"SELECT {sql}", table_functions, databases)
    return sql


def names_in(sql: str) -> set[str]:
    """Every name in a text that could be that of a table: not a function, not the part of a path behind a dot."""
    tokens = tokens_of(sql)
    found: set[str] = set()
    for index, token in enumerate(tokens):
        if not token.is_name:
            continue
        following = tokens[index + 1].text if index + 1 < len(tokens) else ""
        path = tokens[index - 2].value if index > 1 and tokens[index - 1].text == "." else None
        if following != "(" and path in (None, "workspace"):
            found.add(token.value)
    return found


def with_tables(tables: dict[str, str], sql: str) -> str:
    """Put named queries in front of a query, as common table expressions.

    :param tables: queries by name; a later one may read the earlier ones.
    :param sql: a SELECT, with or without a WITH of its own.
    """
    if not tables:
        return sql
    listed = ", ".join(f"{quoted(name)} AS (\n{query}\n)" for name, query in tables.items())
    first = tokens_of(sql)[0]
    if first.text.lower() == "with":
        return f"WITH {listed}, {sql[first.start + len(first.text) :]}"
    if first.text == "(":
        return f"WITH {listed} SELECT * FROM (\n{sql}\n)"
    return f"WITH {listed} {sql}"
