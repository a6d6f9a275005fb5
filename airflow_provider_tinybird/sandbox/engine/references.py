"""Which tables a query reads, by the engine's own parser: a column, an alias or a CTE of the same name is not one.

The engine's tree has no positions. So each name that could stand for a table is replaced by a mark of its own before the engine parses
the text, and the tree says which marks are tables.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from airflow_provider_tinybird.sandbox.datafiles.sqltext import (
    SqlToken,
    check_readable,
    quoted,
    split_format,
    statement_of,
    tokens_of,
)
from airflow_provider_tinybird.sandbox.engine.engine import Engine
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError

_MOST_KEPT = 4096
_WORKSPACE = "workspace"
# What can stand in front of the name of a table; "(" and "," also for the functions in() and nullIn().
_BEFORE_TABLE = frozenset(("from", "join", "in", ",", "("))
_IN = re.compile(r"(?:global)?(?:not)?(?:null)?(?:not)?in(?:ignoreset)?", re.IGNORECASE)
_LINE = re.compile(r"(?P<indent> *)(?P<kind>\w+)(?: (?P<rest>.*))?", re.DOTALL)
_MARK = re.compile(r"(?:workspace\.)?__table_(\d+)__(?= |$)")
_ALIAS = re.compile(r" \(alias (\w+)\)")
_SET_OPERATIONS = frozenset(("union", "except", "intersect"))
_QUERY_STARTS = ("select", "with", "from", "(")
# What follows a WITH that brings no CTEs.
_OTHER_WITH = frozenset(("fill", "totals", "rollup", "cube", "ties"))
_CLAUSES = frozenset(
    ("select", "from", "join", "where", "prewhere", "group", "order", "having", "limit", "with", "using")
)
_VALUE = re.compile(r"\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
_BRANCH = re.compile(r"\{%.*?%\}", re.DOTALL)
_JOIN_FUNCTIONS = ("joinget", "joingetornull")


@dataclass(frozen=True)
class Reference:
    """One place of a text where a table is read.

    :param start: of the name, or of the database in front of it.
    :param end: after the name.
    :param needs_alias: whether columns may be qualified by the name, so that another table in its place has to be called the same.
    """

    name: str
    start: int
    end: int
    needs_alias: bool


@dataclass(frozen=True)
class Reading:
    """What a query reads.

    :param references: in the order of the text.
    :param own: names of the CTEs that the query itself defines, at any depth.
    """

    references: tuple[Reference, ...] = ()
    own: frozenset[str] = frozenset()

    @property
    def names(self) -> set[str]:
        """The tables by name."""
        return {one.name for one in self.references}


@dataclass(frozen=True)
class _Cte:
    """A CTE of a text, by indexes of tokens.

    :param start: the WITH; from there to ``end`` it can be read, but not in its own body.
    :param body: where its query opens; ``last``: where that closes.
    :param union: where a recursive one begins to mean itself in its body; the end of the body otherwise.
    """

    name: str
    start: int
    end: int
    body: int
    last: int
    union: int


class References:
    """Finds what queries read, and remembers it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[tuple[str, frozenset[str]], Reading] = {}
        self._lock = threading.Lock()

    def of(self, sql: str, known: Collection[str]) -> Reading:
        """What one statement reads of some tables.

        :param sql: a SELECT, rendered, without FORMAT.
        :param known: names of tables; other names are of no interest.
        :raises ApiError: 400, for SQL that is not allowed.
        :raises EngineError: for SQL that cannot be parsed.
        """
        tokens = tokens_of(sql)
        named = frozenset(_names(tokens)) & frozenset(known)
        if not named:
            return Reading()
        with self._lock:
            found = self._kept.get((sql, named))
        if found is None:
            check_readable(sql, self._engine.table_functions, self._engine.other_databases)
            found = self._found(sql, tokens, named)
            with self._lock:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[sql, named] = found
        return found

    def possible(self, sql: str, known: Collection[str]) -> set[str]:
        """The tables of a node as it was written, to show what depends on what: of a template those of all its branches."""
        known = [
            name for name in known if name in sql
        ]  # most are not, and a list of data sources asks for each of each pipe
        if not known:
            return set()
        if not sql.lstrip().startswith("%"):
            try:
                return self.of(split_format(statement_of(sql))[0], known).names
            except (ApiError, EngineError):  # whoever runs it is told what is wrong with it
                return in_table_position(sql) & set(known)
        return in_table_position(sql.lstrip()[1:]) & set(known)

    def _found(self, sql: str, tokens: Sequence[SqlToken], named: frozenset[str]) -> Reading:
        places = [index for index in range(len(tokens)) if _is_candidate(tokens, index, named)]
        tables = self._tables(sql, tokens, places)
        groups = _Groups(tokens)
        ctes = _ctes(tokens, groups)
        is_plain = _is_plain(tokens, ctes)
        found = list(_joined(tokens, named))
        for index, needs_alias in tables.items():
            is_qualified = tokens[index - 1].text == "."
            if is_qualified or not is_plain or not _is_cte(index, tokens, ctes, groups):
                start = tokens[index - 2 if is_qualified else index].start
                end = tokens[index].start + len(tokens[index].text)
                found.append(Reference(tokens[index].value, start, end, needs_alias))
        return Reading(tuple(sorted(found, key=lambda one: one.start)), frozenset(cte.name for cte in ctes))

    def _tables(self, sql: str, tokens: Sequence[SqlToken], places: Sequence[int]) -> dict[int, bool]:
        """Which candidates the engine takes for tables, and whether each of them has no alias."""
        if not places:
            self._engine.tree(sql)
            return {}
        try:
            return self._tables_among(sql, tokens, places)
        except EngineError:
            self._engine.tree(sql)  # the text itself is wrong, and its error is the caller's
        found: dict[int, bool] = {}
        for place in places:  # one of them is a keyword here
            with suppress(EngineError):
                found |= self._tables_among(sql, tokens, [place])
        return found

    def _tables_among(self, sql: str, tokens: Sequence[SqlToken], places: Sequence[int]) -> dict[int, bool]:
        names = {number: tokens[place].value for number, place in enumerate(places)}
        found = _tables_of(self._engine.tree(_marked(sql, tokens, places)), names)
        return {places[number]: needs_alias for number, needs_alias in found.items()}


def replaced(sql: str, reading: Reading, other: Mapping[str, str]) -> str:
    """A text that reads other tables in the place of some.

    :param other: names by the names that they take the place of.
    """
    for one in reversed(reading.references):
        if one.name in other:
            alias = f" AS {quoted(one.name)}" if one.needs_alias else ""
            sql = f"{sql[: one.start]}{quoted(other[one.name])}{alias}{sql[one.end :]}"
    return sql


def in_table_position(sql: str) -> set[str]:
    """Names behind FROM and JOIN that are not those of CTEs, in a text that the engine cannot parse: a template."""
    # Each branch begins like a further table.
    tokens = tokens_of(_BRANCH.sub(" , ", _VALUE.sub(" '' ", sql)))
    clauses = [""]
    found, own = set(), set()
    for index, token in enumerate(tokens):
        word = token.text.lower() if token.kind == "word" else token.text
        before = tokens[index - 1].text.lower() if index else ""
        if word == "(" and token.kind == "mark":
            clauses.append("")
        elif word == ")" and token.kind == "mark" and len(clauses) > 1:
            clauses.pop()
        elif token.kind == "word" and word in _CLAUSES:
            clauses[-1] = word
        elif token.is_name:
            if before == "." and index > 1 and tokens[index - 2].value == _WORKSPACE:
                before = tokens[index - 3].text.lower() if index > 2 else ""
            in_tables = clauses[-1] in ("from", "join") and before in ("from", "join", ",")
            if (in_tables or before == "in") and _word(tokens, index + 1) not in ("(", "."):
                found.add(token.value)
            if clauses[-1] == "with" and _word(tokens, index + 1) == "as" and _word(tokens, index + 2) == "(":
                own.add(token.value)
    return found - own


def _names(tokens: Sequence[SqlToken]) -> Iterator[str]:
    strings = any(token.value.lower() in _JOIN_FUNCTIONS for token in tokens)
    for token in tokens:
        if token.is_name or (strings and token.kind == "string"):
            yield _last_part(token)


def _last_part(token: SqlToken) -> str:
    return token.text[1:-1].rpartition(".")[2] if token.kind == "string" else token.value


def _is_candidate(tokens: Sequence[SqlToken], index: int, named: frozenset[str]) -> bool:
    token = tokens[index]
    if not token.is_name or token.value not in named or index == 0:
        return False
    before = index - 1
    if tokens[before].text == "." and before >= 2 and tokens[before - 1].value == _WORKSPACE:
        before -= 2
    return tokens[before].text.lower() in _BEFORE_TABLE


def _marked(sql: str, tokens: Sequence[SqlToken], places: Sequence[int]) -> str:
    parts, at = [], 0
    for number, place in enumerate(places):
        token = tokens[place]
        parts += [sql[at : token.start], f"__table_{number}__"]
        at = token.start + len(token.text)
    return "".join((*parts, sql[at:]))


@dataclass
class _Node:
    """A line of the engine's tree."""

    kind: str
    rest: str
    above: _Node | None
    children: int = 0
    aliases: set[str] = field(default_factory=set)


def _tables_of(tree: str, marked: Mapping[int, str]) -> dict[int, bool]:
    """Marks that are tables in a tree, and whether each has no alias; as the set of IN also those that are only identifiers there.

    :param marked: the names that the marks stand for.
    """
    found: dict[int, bool] = {}
    sets: list[tuple[int, _Node]] = []
    path: list[_Node] = []
    for match in filter(None, map(_LINE.fullmatch, tree.splitlines())):
        del path[len(match["indent"]) :]
        node = _Node(match["kind"], match["rest"] or "", path[-1] if path else None)
        path.append(node)
        if node.above:
            node.above.children += 1
        select = _select_around(node)
        alias = _ALIAS.search(node.rest)
        if alias and select:
            select.aliases.add(alias[1])
        mark = _MARK.match(node.rest)
        if mark and node.kind == "TableIdentifier":
            found[int(mark[1])] = alias is None
        elif mark and node.kind == "Identifier" and _is_set_of_in(node):
            sets.append((int(mark[1]), node))
    found.update({number: False for number, node in sets if marked[number] not in _aliases_around(node)})
    return found


def _is_set_of_in(node: _Node) -> bool:
    listed = node.above
    if listed is None or listed.kind != "ExpressionList" or listed.children != 2 or listed.above is None:
        return False
    return listed.above.kind == "Function" and bool(_IN.fullmatch(listed.above.rest.partition(" ")[0]))


def _select_around(node: _Node | None) -> _Node | None:
    while node and node.kind != "SelectQuery":
        node = node.above
    return node


def _aliases_around(node: _Node) -> set[str]:
    """Aliases that an expression sees: those of its SELECT and of the SELECTs around."""
    found: set[str] = set()
    select = _select_around(node)
    while select:
        found |= select.aliases
        select = _select_around(select.above)
    return found


def _joined(tokens: Sequence[SqlToken], named: frozenset[str]) -> Iterator[Reference]:
    """Tables that joinGet() reads, which names them in a string."""
    for index, token in enumerate(tokens[:-2]):
        if token.value.lower() in _JOIN_FUNCTIONS and tokens[index + 1].text == "(":
            given = tokens[index + 2]
            name = _last_part(given)
            if name in named:
                # It stays as it is: no CTE can take its place.
                yield Reference(name, given.start, given.start + len(given.text), False)


class _Groups:
    """The parentheses of a text."""

    def __init__(self, tokens: Sequence[SqlToken]) -> None:
        self.of: list[int] = []
        self.closing: dict[int, int] = {-1: len(tokens)}
        open_ones = [-1]
        for index, token in enumerate(tokens):
            if token.kind == "mark" and token.text == ")" and len(open_ones) > 1:
                self.closing[open_ones.pop()] = index
            self.of.append(open_ones[-1])
            if token.kind == "mark" and token.text == "(":
                open_ones.append(index)
        self.closing.update(dict.fromkeys(open_ones, len(tokens)))


def _ctes(tokens: Sequence[SqlToken], groups: _Groups) -> list[_Cte]:
    found: list[_Cte] = []
    for index, token in enumerate(tokens):
        if token.kind == "word" and token.text.lower() == "with" and _word(tokens, index + 1) not in _OTHER_WITH:
            found += _elements(tokens, index, groups)
    return found


def _elements(tokens: Sequence[SqlToken], start: int, groups: _Groups) -> Iterator[_Cte]:
    """The CTEs of one WITH."""
    group = groups.of[start]
    same = [index for index in range(group + 1, groups.closing[group]) if groups.of[index] == group]
    operations = [index for index in same if _is_set_operation(tokens, index)]
    # What stands in front of the first SELECT of a UNION is for all of them.
    is_first = not any(index < start for index in operations)
    end = groups.closing[group] if is_first else next((one for one in operations if one > start), groups.closing[group])
    recursive = _word(tokens, start + 1) == "recursive"
    for index in (index for index in same if index > start):
        if _word(tokens, index) in ("select", "from"):
            return
        body = _body(tokens, index, groups)
        if tokens[index].is_name and body is not None:
            first, last = body, groups.closing[body]
            inner = (one for one in range(first, last) if groups.of[one] == first and _is_set_operation(tokens, one))
            yield _Cte(tokens[index].value, start, end, first, last, next(inner, last) if recursive else last)


def _body(tokens: Sequence[SqlToken], index: int, groups: _Groups) -> int | None:
    """Where the query of a CTE opens whose name is at an index: ``name [(columns)] AS [MATERIALIZED] (SELECT``."""
    at = index + 1
    if _word(tokens, at) == "(":
        at = groups.closing[at] + 1
    if _word(tokens, at) != "as":
        return None
    at += 2 if _word(tokens, at + 1) == "materialized" else 1
    return at if _word(tokens, at) == "(" and _word(tokens, at + 1) in _QUERY_STARTS else None


def _is_set_operation(tokens: Sequence[SqlToken], index: int) -> bool:
    # SELECT * EXCEPT (a) is none.
    return _word(tokens, index) in _SET_OPERATIONS and (
        _word(tokens, index + 1) in ("all", "distinct", *_QUERY_STARTS[:-1])
        or (_word(tokens, index + 1) == "(" and _word(tokens, index + 2) in _QUERY_STARTS)
    )


def _word(tokens: Sequence[SqlToken], index: int) -> str:
    """A word or a mark, in lower case; nothing where there is none."""
    if not 0 <= index < len(tokens) or tokens[index].kind not in ("word", "mark"):
        return ""
    return tokens[index].text.lower()


def _is_cte(index: int, tokens: Sequence[SqlToken], ctes: Sequence[_Cte], groups: _Groups) -> bool:
    """Whether a name means a CTE: one whose SELECT it stands in, but not its body, and not across a view(), which sees none."""
    view = _view_around(index, tokens, groups)
    return any(
        cte.name == tokens[index].value
        and cte.start < index < cte.end
        and view <= cte.start
        and not cte.body <= index <= cte.union
        for cte in ctes
    )


def _view_around(index: int, tokens: Sequence[SqlToken], groups: _Groups) -> int:
    group = groups.of[index]
    while group >= 0 and _word(tokens, group - 1) != "view":
        group = groups.of[group]
    return group


def _is_plain(tokens: Sequence[SqlToken], ctes: Sequence[_Cte]) -> bool:
    """Whether no CTE reads one behind it: the engine may then take the names of both for tables after all."""
    return not any(
        later.name == tokens[index].value
        for at, earlier in enumerate(ctes)
        for later in ctes[at + 1 :]
        if later.start == earlier.start
        for index in range(earlier.body, earlier.last)
        if tokens[index].is_name
    )
