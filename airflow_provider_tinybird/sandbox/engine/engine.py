"""The ClickHouse engine: chdb sessions, one for each thread, over one data directory.

A chdb session is a lock, so threads never share one. Only one data path can be open in a process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.sqltext import literal, quoted
from airflow_provider_tinybird.sandbox.http.errors import EngineError

DATABASE = "workspace"
SERVICE_DATABASE = "tinybird"
MAX_RESULT_BYTES = 100 * 1024 * 1024

# Of one statement: enough for what tests do, and what unpacks to gigabytes is refused before it harms the machine.
_MEMORY = str(1024**3)
# Our statements say much of each column, and nodes that read each other become one query. What users send is limited before.
_LONG_STATEMENTS = {
    "max_query_size": str(64 * 1024**2),
    "max_ast_elements": "5000000",
    "max_expanded_ast_elements": "5000000",
}
# Tinybird takes values of JSON columns as keys, and joins subqueries and table functions without an alias.
_LENIENT = {
    "joined_subquery_requires_alias": "0",
    "allow_suspicious_types_in_group_by": "1",
    "allow_suspicious_types_in_order_by": "1",
    "allow_dynamic_type_in_join_keys": "1",
}
_WRITE_SETTINGS = {
    **_LONG_STATEMENTS,
    **_LENIENT,
    # Tinybird takes ISO 8601 with T and Z for DateTime columns, not only the form of ClickHouse.
    "date_time_input_format": "'best_effort'",
    "cast_string_to_date_time_mode": "'best_effort'",
    "insert_null_as_default": "1",
    "mutations_sync": "2",
    "lightweight_deletes_sync": "2",
    "session_timezone": "'UTC'",
    # Compiling the expressions of an insert takes far longer than running them.
    "compile_expressions": "0",
    "compile_aggregate_expressions": "0",
    "max_memory_usage": _MEMORY,
    # The memory of parallel readers is not counted until it is used: a line that unpacks to 1 GB took three.
    "input_format_parallel_parsing": "0",
    # The same file is to make the same blocks each time, so that repetitions are told apart from other rows.
    "input_format_parquet_preserve_order": "1",
    # The default is 256 MiB, and an insert holds several such blocks at a time.
    "min_insert_block_size_bytes": str(32 * 1024**2),
}
_READ_SETTINGS = {
    **_LONG_STATEMENTS,
    **_LENIENT,
    "date_time_input_format": "'best_effort'",
    "session_timezone": "'UTC'",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_denormals": "0",
    # The documented default of Tinybird is Binary, other than that of ClickHouse.
    "output_format_parquet_string_as_string": "0",
    # Of the values in memory, so that they cannot fill it; the limit of Tinybird is for the text that they become.
    "max_result_bytes": str(4 * MAX_RESULT_BYTES),
    "max_memory_usage": _MEMORY,
}


@dataclass(frozen=True)
class ReadResult:
    """The bytes of a query's result, how many rows they are, and what reading took."""

    body: bytes
    rows: int
    rows_read: int
    elapsed: float


@dataclass(frozen=True)
class Written:
    """What a statement wrote."""

    rows: int = 0
    bytes: int = 0


class Engine:
    """Sessions over one data directory.

    :param path: the data directory; created when missing.
    :param query_timeout: seconds that a read may take.
    :param deduplicate: whether tables drop a block of rows that equals one of their last blocks.
    :raises EngineError: when another process has the directory open.
    """

    def __init__(self, path: Path, query_timeout: float = 10.0, deduplicate: bool = True) -> None:
        # The engine takes its time zone from here at start; text without an offset is UTC in Tinybird.
        os.environ["TZ"] = "UTC"
        with _hidden("pyarrow"):  # it is for results as tables, which nobody asks for here, and takes long to load
            from chdb.session import Session

        self._open_session: Callable[[str], Any] = Session
        self._path = path
        self._query_timeout = query_timeout
        self._write_settings = {
            **_WRITE_SETTINGS,
            # Every insert of ours is a SELECT; the engine's default leaves out those without ORDER BY ALL, servers before it do not.
            "deduplicate_insert_select": "'enable_even_for_bad_queries'" if deduplicate else "'disable'",
        }
        self._local = threading.local()
        self._sessions: list[Any] = []
        self._sessions_lock = threading.Lock()
        self._table_locks: dict[str, threading.RLock] = {}
        path.mkdir(parents=True, exist_ok=True)
        # Never used and never failing: with its last session the engine would go down.
        self._open({}, read_only=False)
        for database in (DATABASE, SERVICE_DATABASE):
            self.run(f"CREATE DATABASE IF NOT EXISTS {quoted(database)} ENGINE = Atomic")
        self.run(f"USE {quoted(DATABASE)}")
        # Beside the table functions only those of artificial intelligence reach other hosts.
        functions = self.rows(
            "SELECT name FROM system.table_functions UNION ALL SELECT name FROM system.functions WHERE lower(name) LIKE 'ai%'"
        )
        self.table_functions = frozenset(row["name"].lower() for row in functions)
        others = {row["name"].lower() for row in self.rows("SELECT name FROM system.databases")}
        self.other_databases = frozenset(others - {DATABASE, SERVICE_DATABASE})

    def run(self, sql: str, marker: str | None = None) -> Written:
        """Run a statement of ours that returns nothing.

        :param marker: text by which ``kill`` finds the statement while it runs.
        :return: what it wrote, into the tables of materialized views as well.
        :raises EngineError: with ClickHouse's text.
        """
        result = self._ask("writer", f"/* {marker} */ {sql}" if marker else sql, "Null")
        return Written(result.rows_written(), result.bytes_written())

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Run a query of ours and return its rows; 64-bit integers are ints."""
        body = self._ask("writer", sql, "JSONEachRow").bytes()
        return [json.loads(line) for line in body.splitlines() if line]

    def scalar(self, sql: str) -> Any:
        """First column of the first row of a query of ours."""
        return next(iter(self.rows(sql)[0].values()))

    def read(
        self,
        sql: str,
        output_format: str,
        settings: Mapping[str, str] | None = None,
        most_bytes: int | None = MAX_RESULT_BYTES,
    ) -> ReadResult:
        """Run a user's query, on a session that cannot write.

        :param output_format: ClickHouse's name of the format.
        :param settings: settings for this query alone; they need a session of their own, since a read-only one takes none.
        :param most_bytes: of the result; None for any number.
        :raises EngineError: with ClickHouse's text.
        """
        if settings:
            session = self._open({**_READ_SETTINGS, **settings}, read_only=True)
            try:
                return _read(_query(session, sql, output_format), most_bytes)
            finally:
                self._close_one(session)
        return _read(self._ask("reader", sql, output_format), most_bytes)

    def check(self, sql: str) -> list[tuple[str, str]]:
        """Names and types of the columns of a user's query, without running it.

        :raises EngineError: when the query is wrong.
        """
        body = self._ask("reader", f"DESCRIBE TABLE (\n{sql}\n)", "JSONEachRow").bytes()
        return [(row["name"], row["type"]) for row in map(json.loads, body.splitlines())]

    def tree(self, sql: str) -> str:
        """How the engine parses a user's query, as ``EXPLAIN AST`` shows it.

        :raises EngineError: when it cannot be parsed.
        """
        return str(self._ask("reader", f"EXPLAIN AST {sql}", "TSVRaw").bytes().decode("utf-8", errors="replace"))

    def kill(self, marker: str) -> None:
        """End every running statement that carries a marker; chdb does not let us choose the id of a query."""
        pattern = literal(f"%/* {marker} */%")
        self.run(f"KILL QUERY WHERE query LIKE {pattern} AND query NOT ILIKE '%KILL QUERY%' ASYNC")

    @contextmanager
    def locked(self, *tables: str) -> Iterator[None]:
        """Hold tables against the other writers: a mutation fails when it meets a truncate or an exchange of its table.

        Several are taken in the order of their names, so that two holders never wait for each other.
        """
        with self._sessions_lock:
            locks = [self._table_locks.setdefault(table, threading.RLock()) for table in sorted(set(tables))]
        for lock in locks:
            lock.acquire()
        try:
            yield
        finally:
            for lock in reversed(locks):
                lock.release()

    def close(self) -> None:
        """Close every session: an open one crashes the interpreter when it exits."""
        with self._sessions_lock:
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.cleanup()

    def _ask(self, role: str, sql: str, output_format: str) -> Any:
        """Ask this thread's session for reading or for writing."""
        session = getattr(self._local, role, None)
        if session is None:
            writes = role == "writer"
            session = self._open(self._write_settings if writes else _READ_SETTINGS, read_only=not writes)
            setattr(self._local, role, session)
        try:
            return _query(session, sql, output_format)
        except EngineError:
            # What a failed query had put out already comes in front of the result of the session's next query.
            delattr(self._local, role)
            self._close_one(session)
            raise

    def _open(self, settings: Mapping[str, str], read_only: bool) -> Any:
        try:
            session = self._open_session(str(self._path))
        except Exception as error:
            raise EngineError(str(error)) from None
        with self._sessions_lock:
            self._sessions.append(session)
        _query(session, f"CREATE DATABASE IF NOT EXISTS {quoted(DATABASE)} ENGINE = Atomic", "Null")
        _query(session, f"USE {quoted(DATABASE)}", "Null")
        if read_only:
            settings = {"max_execution_time": str(self._query_timeout), **settings}
        if settings:
            _query(session, "SET " + ", ".join(f"{key} = {value}" for key, value in settings.items()), "Null")
        if read_only:
            # Last, since nothing can be set afterwards. As a setting of the query it could be undone by a second statement.
            _query(session, "SET readonly = 1", "Null")
        return session

    def _close_one(self, session: Any) -> None:
        with self._sessions_lock:
            if session in self._sessions:
                self._sessions.remove(session)
        session.cleanup()


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """A module as if it were not installed, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def _read(result: Any, most_bytes: int | None) -> ReadResult:
    # The engine's own limit is for values in memory, and does not count those that are the same in all rows.
    if most_bytes is not None and result.size() > most_bytes:
        raise EngineError(
            f"Code: 396. DB::Exception: Limit for result exceeded, max bytes: {most_bytes}, current bytes: {result.size()}."
            " (TOO_MANY_ROWS_OR_BYTES)"
        )
    return ReadResult(result.bytes(), result.rows_read(), result.storage_rows_read(), result.elapsed())


def _query(session: Any, sql: str, output_format: str) -> Any:
    try:
        return session.query(sql, output_format)
    except Exception as error:  # chdb raises ChdbError or RuntimeError, by the place where it failed
        raise EngineError(str(error)) from None
