"""Where a FORMAT clause is seen in SQL, and where one is put."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api.sqltext import with_format, without_rows

WITHOUT = {
    "plain": "SELECT 1",
    "in a string": "SELECT 'x FORMAT JSON'",
    "in a string with an escaped quote": r"SELECT 'it\'s FORMAT JSON'",
    "in a string with a doubled quote": "SELECT 'it''s FORMAT JSON'",
    "in a quoted name": 'SELECT a AS "FORMAT JSON"',
    "in a name in backticks": "SELECT a AS `FORMAT JSON`",
    "in a heredoc": "SELECT $x$ it's FORMAT JSON$x$",
    "in a heredoc that looks like a comment": "SELECT $$ -- $$ AS a",
    "in a middle comment": "SELECT /* FORMAT JSON */ 1",
    "in the name of a table": "SELECT * FROM format",
    "table with an alias": "SELECT * FROM format f",
    "table with an alias and settings": "SELECT * FROM format f SETTINGS max_threads = 1",
    "joined table with an alias": "SELECT * FROM a CROSS JOIN format f",
    "second table with an alias": "SELECT * FROM a, format f",
    "table of a database with an alias": "SELECT * FROM db.format f",
    "CTE": "WITH format AS (SELECT 1) SELECT * FROM format",
    "alias at the end": "SELECT 1 AS format",
    "column": "SELECT format FROM t",
    "column with an alias": "SELECT a, format b",
    "column after the others": "SELECT a, format FROM t LIMIT 1",
    "ordered by": "SELECT format FROM t ORDER BY format DESC",
    "ordered by, second": "SELECT format FROM t ORDER BY a, format ASC",
    "ordered by, of a table": "SELECT format FROM t ORDER BY t.format DESC",
    "ordered by, in lower case": "select format from t order by format desc",
    "grouped by": "SELECT format, count() FROM t GROUP BY format",
    "grouped by, with totals": "SELECT count() FROM t GROUP BY format WITH TOTALS",
    "compared": "SELECT 1 FROM t WHERE format LIKE 'JSON'",
    "compared with a text": "SELECT 1 WHERE 'JSON' = format",
    "function": "SELECT format('{}', 'x')",
    "settings": "SELECT 1 SETTINGS max_threads = 1",
    "word that ends alike": "SELECT * FROM reformat JSON",
    "unclosed string": "SELECT 'x FORMAT",
    "template": "% SELECT {{String(format, 'FORMAT JSON')}}",
    "template comment at the end": "% SELECT 1 {# it's FORMAT CSV #}",
}


@pytest.mark.parametrize("sql", WITHOUT.values(), ids=WITHOUT)
@pytest.mark.parametrize(
    "end", ["", ";", " ; ", ";;\n", "\n", " -- FORMAT CSV", "; -- done;", " /* FORMAT CSV */;", "\n# FORMAT CSV\n"]
)
def test_sql_without_a_clause_gets_one(sql, end):
    """Trap: a substring test finds FORMAT where it is none, and a semicolon before the clause ends the statement."""
    if sql == WITHOUT["unclosed string"]:
        end = ""
    result = with_format(sql + end, "JSON")
    assert result.format == "JSON"
    body = sql[: sql.index("{#")].rstrip() if "{#" in sql else sql
    assert result.text == f"{body}\nFORMAT JSON"


WITH = {
    "plain": ("SELECT 1 FORMAT CSV", "CSV"),
    "lower case": ("select 1 format JSONEachRow", "JSONEachRow"),
    "on a line of its own": ("SELECT 1\nFORMAT\n  TSV", "TSV"),
    "comment between": ("SELECT 1 FORMAT /* as */ CSV", "CSV"),
    "after a string": ("SELECT * FROM t WHERE a = 'x'FORMAT CSV", "CSV"),
    "after a quoted name": ('SELECT * FROM "t" FORMAT CSV', "CSV"),
    "after a bracket": ("SELECT count() FORMAT CSV", "CSV"),
    "after an index": ("SELECT a[1] FORMAT CSV", "CSV"),
    "after settings": ("SELECT 1 SETTINGS max_threads = 1 FORMAT CSV", "CSV"),
    "before settings": ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1, b = 'x'", "CSV"),
    "of a column named format": ("SELECT format FROM t ORDER BY format DESC FORMAT CSV", "CSV"),
    "of a table named format": ("SELECT * FROM format f FORMAT CSV", "CSV"),
    "of an alias named format": ("SELECT 1 AS format FORMAT CSV", "CSV"),
    "of a table with FINAL": ("SELECT * FROM t FINAL FORMAT CSV", "CSV"),
    "of a template": ("% SELECT {{Int32(n)}} FORMAT CSV", "CSV"),
    "of a template with a condition": ("% SELECT 1 {% if defined(a) %} WHERE 1 {% end %} FORMAT CSV", "CSV"),
    "of CASE": ("SELECT CASE WHEN 1 THEN 2 END FORMAT CSV", "CSV"),
    "of ASC": ("SELECT a FROM t ORDER BY a ASC FORMAT CSV", "CSV"),
}


@pytest.mark.parametrize(("sql", "format"), WITH.values(), ids=WITH)
@pytest.mark.parametrize("end", ["", ";", " ;\n", " -- FORMAT JSON", "; /* x */"])
def test_a_clause_that_is_there_stays(sql, format, end):
    result = with_format(sql + end, "JSON")
    assert (result.text, result.format) == (sql, format)


PARSE = """
import json, sys, chdb
for sql in json.load(sys.stdin):
    quoted = sql.replace("\\\\", "\\\\\\\\").replace("'", "\\\\'")
    print(str(chdb.query(f"SELECT formatQuerySingleLine('{quoted}')", "TSVRaw")).strip())
"""


def test_the_engine_sees_the_clause_where_it_was_seen_here():
    """Parsed by ClickHouse itself, each statement ends in the clause (and settings): it was neither doubled nor misread."""
    cases = [(sql, "JSON") for name, sql in WITHOUT.items() if not name.startswith(("template", "unclosed"))]
    cases += [case for name, case in WITH.items() if "template" not in name]
    statements = json.dumps([with_format(sql, "JSON").text for sql, _ in cases])
    parsed = subprocess.run([sys.executable, "-c", PARSE], input=statements, capture_output=True, text=True, check=True)
    lines = parsed.stdout.splitlines()
    assert len(lines) == len(cases)
    for line, (_, wanted) in zip(lines, cases, strict=True):
        assert re.search(rf" FORMAT {wanted}( SETTINGS [^()]*)?$", line), line


TEXT = (
    "SELECT format FORMAT FROM t AS a , ( ) [ ] 1 'x' 'FORMAT JSON' \"format\" `format` -- /* */ # {# #} ; JSON CSV ORDER BY DESC "
    "SETTINGS x = 1 WHERE $$ '' \\ \n {{ }} %"
)
TOKENS = st.sampled_from(TEXT.split(" "))


@given(st.one_of(st.text(max_size=60), st.lists(TOKENS, max_size=20).map(" ".join)))
def test_any_text(sql):
    """The clause ends the text, nothing but the end of the SQL is cut, and doing it again changes nothing more."""
    result = with_format(sql, "JSON")
    kept = result.text.removesuffix("\nFORMAT JSON")
    assert sql.startswith(kept)
    again = with_format(result.text, "TSV")
    if result.text == kept:
        assert result.format in sql
    else:
        assert result.format == "JSON"
        assert len(with_format(again.text, "TSV").text) <= len(again.text)


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
LITERALS = st.text(st.characters(exclude_characters="'\\", exclude_categories=("Cs",)), max_size=20).map(
    lambda text: f"'{text}'"
)


@given(
    st.lists(st.one_of(NAMES.map(lambda name: f"`{name}`"), LITERALS), min_size=1, max_size=4),
    st.sampled_from(["", ";", " -- FORMAT TSV", "/* FORMAT TSV */", "\n;\n"]),
    st.sampled_from(["", " FORMAT CSV", "\nformat CSV", " FORMAT CSV SETTINGS a = 'FORMAT TSV'"]),
)
def test_any_select(columns, end, clause):
    sql = f"SELECT {', '.join(columns)} FROM `format` ORDER BY format DESC{clause}"
    result = with_format(sql + end, "JSON")
    assert result.format == ("CSV" if clause else "JSON")
    assert result.text == (sql if clause else f"{sql}\nFORMAT JSON")


@pytest.mark.parametrize(
    ("sql", "inner"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT 1; ", "SELECT 1"),
        ("SELECT 1 FORMAT CSV", "SELECT 1 "),
        ("SELECT 1 -- it", "SELECT 1"),
        ("SELECT 1 -- it\n+ 1", "SELECT 1 -- it\n+ 1"),
        ("WITH 1 AS x SELECT x", "WITH 1 AS x SELECT x"),
        ("SELECT ' format x'", "SELECT ' format x'"),
    ],
)
def test_without_rows(sql, inner):
    assert without_rows(sql) == f"SELECT * FROM (\n{inner}\n) LIMIT 0"


def test_a_template_without_rows_stays_a_template():
    assert without_rows("%\nSELECT {{Int8(x)}}") == "%\nSELECT * FROM (\n\nSELECT {{Int8(x)}}\n) LIMIT 0"
