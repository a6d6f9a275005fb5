"""What a query reads: tables only, and neither columns, aliases nor CTEs that are called like one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from airflow_provider_tinybird.sandbox.engine.references import in_table_position

KNOWN = ["events", "country", "visitors"]

# The text, and what it reads.
CASES = {
    "column": ("SELECT country, uniq(id) AS visitors FROM events", ["events"]),
    "column behind a comma of FROM's SELECT": (
        "SELECT id, country, visitors FROM events WHERE country = 'x'",
        ["events"],
    ),
    "qualified column": ("SELECT events.country FROM events", ["events"]),
    "table alias": ("SELECT country.id FROM events AS country", ["events"]),
    "table alias without AS": ("SELECT country.id FROM events country", ["events"]),
    "several": ("SELECT * FROM events, country JOIN visitors USING id", ["country", "events", "visitors"]),
    "in quotes": ('SELECT * FROM `events`, "country"', ["country", "events"]),
    "qualified": ("SELECT * FROM workspace.events, `workspace`.`country`", ["country", "events"]),
    "of another database": ("SELECT * FROM other.events", []),
    "in a comment or a string": ("SELECT 'from country' /* from visitors */ FROM events -- country", ["events"]),
    "set of IN": ("SELECT id IN country, id NOT IN (visitors) FROM events", ["country", "events", "visitors"]),
    "set of in()": ("SELECT in(id, country), nullIn(id, visitors) FROM events", ["country", "events", "visitors"]),
    "element of IN": ("SELECT id IN (country, 2) FROM events", ["events"]),
    "function": ("SELECT country(1), visitors (2) FROM events", ["events"]),
    "FROM first": ("FROM events SELECT country", ["events"]),
    "subquery": ("SELECT (SELECT max(country) FROM visitors) FROM (SELECT * FROM events)", ["events", "visitors"]),
    "array join": ("SELECT * FROM events ARRAY JOIN country AS visitors", ["events"]),
    "table with an alias": ("SELECT c.id FROM country AS c FINAL", ["country"]),
    "alias of another SELECT beside IN": ("SELECT 1 IN country FROM (SELECT [1] AS country)", ["country"]),
    "joinGet": ("SELECT joinGet('country', 'x', 1), joinGet('workspace.visitors', 'x', 1)", ["country", "visitors"]),
    # CTEs
    "CTE": ("WITH country AS (SELECT 1 AS x) SELECT * FROM country", []),
    "CTE of itself": ("WITH country AS (SELECT * FROM country) SELECT * FROM country", ["country"]),
    "CTE with columns": ("WITH country (a) AS (SELECT 1) SELECT * FROM country", []),
    "CTE behind another and a value": (
        "WITH 5 AS five, a AS (SELECT 1 AS x), country AS (SELECT * FROM a) SELECT * FROM country",
        [],
    ),
    "CTE is for the whole UNION": (
        "WITH country AS (SELECT 1 AS x) SELECT * FROM country UNION ALL SELECT * FROM country",
        [],
    ),
    "CTE of the second of a UNION": (
        "SELECT * FROM country UNION ALL WITH country AS (SELECT 1 AS x) SELECT * FROM country",
        ["country"],
    ),
    "CTE of a subquery": (
        "SELECT * FROM (WITH country AS (SELECT 1 AS x) SELECT * FROM country) AS a, country",
        ["country"],
    ),
    "CTE read in a subquery": (
        "WITH country AS (SELECT 1 AS x) SELECT * FROM (SELECT x FROM country WHERE x IN (SELECT x FROM country))",
        [],
    ),
    "CTE as a set": ("WITH country AS (SELECT 1 AS x) SELECT 1 IN country", []),
    "columns except some": ("WITH country AS (SELECT 1 AS x) SELECT * EXCEPT (x) FROM country", []),
    "recursive CTE": (
        "WITH RECURSIVE country AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM country WHERE x < 3) SELECT * FROM country",
        [],
    ),
    "scalar of that name": ("WITH (SELECT 1) AS country SELECT * FROM country", ["country"]),
    "qualified beside a CTE": ("WITH country AS (SELECT 1 AS x) SELECT * FROM workspace.country", ["country"]),
    # The engine reads the tables here.
    "recursive CTE of the table": (
        "WITH RECURSIVE country AS (SELECT * FROM country) SELECT * FROM country",
        ["country"],
    ),
    "CTEs that read each other": (
        "WITH country AS (SELECT * FROM b), b AS (SELECT * FROM country) SELECT * FROM country",
        ["country"],
    ),
    "view sees no CTE": ("WITH country AS (SELECT 1 AS x) SELECT * FROM view(SELECT * FROM country)", ["country"]),
    "WITH TOTALS is none": ("SELECT id, count() FROM events GROUP BY id WITH TOTALS ORDER BY id", ["events"]),
    "alias beside IN": ("WITH [1, 2] AS country SELECT 1 IN country", []),
}

_PROGRAM = """
import json, sys, tempfile
from pathlib import Path
from airflow_provider_tinybird.sandbox.engine.engine import Engine
from airflow_provider_tinybird.sandbox.engine.references import References, replaced
engine = Engine(Path(tempfile.mkdtemp()))
references = References(engine)
cases, known = json.load(sys.stdin)
found = []
for sql in cases:
    reading = references.of(sql, known)
    found.append((sorted(reading.names), sorted(reading.own), replaced(sql, reading, {"country": "other"})))
engine.close()
print(json.dumps(found), flush=True)
import os; os._exit(0)
"""


@pytest.fixture(scope="module")
def read():
    """What the texts of all cases read; the engine runs in a process of its own."""
    texts = [sql for sql, _ in CASES.values()]
    given = json.dumps([texts, KNOWN])
    done = subprocess.run([sys.executable, "-c", _PROGRAM], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_what_a_query_reads(case, read):
    assert read[case][0] == CASES[case][1], CASES[case][0]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("CTE of itself", "WITH country AS (SELECT * FROM `other` AS `country`) SELECT * FROM country"),
        ("set of IN", "SELECT id IN `other`, id NOT IN (visitors) FROM events"),
        ("qualified", "SELECT * FROM workspace.events, `other` AS `country`"),
        ("column", CASES["column"][0]),
        ("table with an alias", "SELECT c.id FROM `other` AS c FINAL"),
    ],
)
def test_another_table_in_its_place(case, text, read):
    assert read[case][2] == text


def test_ctes_of_a_query(read):
    assert read["CTE behind another and a value"][1] == ["a", "country"]


def test_tables_of_a_template():
    """A template is no SQL: what it reads in any of its branches."""
    template = """
        SELECT country, visitors FROM {% if defined(x) %} events, b {% else %} a AS c JOIN d USING id {% end %}
        WHERE id IN e AND country IN {{ Array(countries) }} AND x > (SELECT max(x) FROM f, workspace.g)
    """
    assert in_table_position(template) >= {"events", "a", "b", "d", "e", "f", "g"}
    assert not in_table_position(template) & {"country", "visitors"}
    assert in_table_position("WITH a AS (SELECT 1 FROM b) SELECT * FROM a") == {"b"}
