# ruff: noqa: S608 - names go into SQL through quoted() and values through literal()
"""SQL as text: its tokens, what it names, and which of it a user may run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from airflow_provider_tinybird.sandbox.http.errors import bad_request

# That of the engine for a whole query.
MAX_BYTES = 256 * 1024
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
# The others tell of the machine and of other workspaces.
_SYSTEM_TABLES = frozenset(("one", "numbers", "numbers_mt", "functions"))
_TOKEN = re.compile(
    r"""(?P<space>\s+|(?:--|//|\#[!\ ])[^\n]*|/\*(?:(?!/\*|\*/).)*\*/)
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
      | (?P<open>/\*.*|['`"].*)
      | (?P<number>\d[\w.]*)
      | (?P<word>[^\W\d]\w*)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_READ_STARTS = ("select", "with", "from", "(")
# Pairs of words that are no query, or more than one.
_REFUSED_PAIRS = {
    # The embedded engine writes the file itself, even in read-only mode.
    ("into", "outfile"): "INTO OUTFILE",
    # A second statement, of any kind, without a semicolon.
    ("parallel", "with"): "PARALLEL WITH",
    # As a setting of a table it puts the rows into any folder, or onto another host.
    ("disk", "("): "disk()",
    # The engine writes this file where the query says.
    ("input_format_record_errors_file_path", "="): "input_format_record_errors_file_path",
}


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
    tokens = _clear_tokens(sql)
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
    tokens = _clear_tokens(sql)
    if not tokens or tokens[0].text.lower() not in _READ_STARTS:
        raise bad_request(f"only SELECT can be run here, found {shortened(tokens[0].text) if tokens else 'nothing'}")
    _check_parentheses(tokens)
    for index, token in enumerate(tokens[:-1]):
        following = tokens[index + 1].text
        name = token.value.lower()
        if refused := _REFUSED_PAIRS.get((name, following.lower())):
            raise bad_request(f"The query is not allowed: {refused} cannot be used here")
        if token.is_name and following == "(" and name in table_functions and name not in _SAFE_TABLE_FUNCTIONS:
            raise bad_request(f"The query is not allowed: function {token.value}() cannot be used here")
        after_dot = index > 0 and tokens[index - 1].text == "."
        is_database = token.is_name and following == "." and not after_dot
        if is_database and name == "system" and tokens[min(index + 2, len(tokens) - 1)].value in _SYSTEM_TABLES:
            continue
        if is_database and name in databases:
            raise bad_request(f"The query is not allowed: database {token.value} cannot be read")


def condition_of(sql: str, table_functions: Collection[str], databases: Collection[str]) -> str:
    """A boolean expression of a caller, safe to put between parentheses into a statement of ours.

    :raises ApiError: 400, for what would end the expression early, or reach what a query must not reach.
    """
    sql = statement_of(sql)
    check_readable(f"SELECT {sql}", table_functions, databases)
    return sql


def shortened(text: str, most: int = 100) -> str:
    """The beginning of a text that a caller sent, for a message."""
    return text if len(text) <= most else f"{text[:most]}..."


def _clear_tokens(sql: str) -> list[SqlToken]:
    """Tokens of an SQL text that the engine reads in the same way.

    Where it could see other tokens than we do, a query could hide from our checks what it names.

    :raises ApiError: 400, naming what is not clear.
    """
    if len(sql.encode()) > MAX_BYTES:
        raise bad_request(f"the SQL is too long: {len(sql.encode())} bytes, the limit is {MAX_BYTES}")
    tokens = tokens_of(sql)
    for token in tokens:
        if token.kind == "open":
            # The engine nests comments, so that one inside of another could end elsewhere than we think.
            raise bad_request(
                f"the SQL has a quote or a comment that is not closed, or a comment in a comment: {shortened(token.text)}"
            )
        # Outside of quotes the engine takes $ as a part of names or as a quote of its own, and typographic quotes as quotes.
        if token.kind in ("word", "number", "mark") and (token.text == "$" or not token.text.isascii()):
            raise bad_request(f"the SQL has {shortened(token.text)!r} where it can only be between quotes")
        # There are escapes as in \x73 for s, and one for each control character.
        if token.kind == "quoted" and re.search(r"\\[^\\`\"']", token.text):
            raise bad_request(
                f"the name {shortened(token.text)} cannot be used: its backslash is not followed by a quote"
            )
    return tokens


def _check_parentheses(tokens: list[SqlToken]) -> None:
    """Refuse what could leave the parentheses that it is put between."""
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text if token.kind == "mark" else "", 0)
        if depth < 0:
            break
    if depth != 0:
        raise bad_request("the SQL cannot be used: its parentheses do not match")


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
