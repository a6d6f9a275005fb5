"""Query API on the wire."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.errors import BadRequestError, InvalidInputError, UnreadableAnswerError

RESULT = {"meta": [{"name": "c", "type": "UInt8"}], "data": [{"c": 1}], "rows": 1, "statistics": {"elapsed": 0.01}}


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "SELECT 1;", " SELECT 1 ;\n", "SELECT 1 -- FORMAT CSV", "SELECT 1 FORMAT JSON;"]
)
def test_sql(wire, sql):
    """Traps: what is answered without a FORMAT is not documented; a semicolon or a FORMAT that is there; long URLs."""
    wire.answers(RESULT)
    result = wire.send(query.sql(sql))
    sent = wire.only
    assert (sent.method, sent.target) == ("POST", "/v0/sql")
    (field,) = sent.form
    assert field[0] == "q"
    assert " ".join(field[1].split()) == "SELECT 1 FORMAT JSON"
    assert result.data == ({"c": 1},)
    assert result.rows_before_limit_at_least is None


def test_pipeline_and_template_parameters_travel_in_the_form(wire):
    wire.answers(RESULT)
    wire.send(
        query.sql(
            "% SELECT {{Int32(n)}} FROM _",
            pipeline="p",
            parameters={"n": 5, "flag": False, "output_format_json_quote_64bit_integers": 1},
        )
    )
    assert wire.only.form == [
        ("q", "% SELECT {{Int32(n)}} FROM _\nFORMAT JSON"),
        ("pipeline", "p"),
        ("n", "5"),
        ("flag", "false"),
        ("output_format_json_quote_64bit_integers", "1"),
    ]


@pytest.mark.parametrize("name", ["q", "token", "pipeline"])
def test_parameters_cannot_change_the_request(name):
    with pytest.raises(InvalidInputError, match=name):
        query.sql("SELECT 1", parameters={name: "x"})


@pytest.mark.parametrize(
    ("sql", "format"),
    [("SELECT 1", "CSVWithNames"), ("SELECT 1 FORMAT TSV", "TSV"), ("SELECT 1 format Parquet;", "Parquet")],
)
def test_sql_as(wire, sql, format):
    content = b"PAR1PAR1" if format == "Parquet" else b"1\n"
    wire.answers((200, content, {"Content-Type": "application/json"}))
    result = wire.send(query.sql_as(sql, "CSVWithNames"))
    assert dict(wire.only.form)["q"].upper().endswith(f"FORMAT {format.upper()}")
    assert (result.content, result.format) == (content, format)
    assert query.format_of(sql, "CSVWithNames") == format


@pytest.mark.parametrize("format", ["", "CSV ", "CSV; DROP TABLE x", "CSV\n"])
def test_a_format_is_one_word(format):
    with pytest.raises(InvalidInputError, match="no name of a format"):
        query.sql_as("SELECT 1", format)


def test_rows_need_json():
    with pytest.raises(InvalidInputError, match="asks for FORMAT CSV"):
        query.sql("SELECT 1 FORMAT CSV")


@pytest.mark.parametrize("sql", ["", " \n", None, 5])
def test_blank_sql(sql):
    with pytest.raises(InvalidInputError, match="blank"):
        query.sql(sql)
    with pytest.raises(InvalidInputError, match="blank"):
        query.sql_as(sql, "CSV")


def test_long_sql_is_no_longer_url(wire):
    """Trap: SQL of more than 4 to 8 kB does not fit into a URL."""
    wire.answers(RESULT)
    sql = "SELECT " + " + ".join(["1"] * 20_000)
    wire.send(query.sql(sql))
    assert wire.only.target == "/v0/sql"
    assert dict(wire.only.form)["q"].startswith(sql)


def test_bad_sql_shows_clickhouses_words(wire):
    wire.answers((400, {"error": "[Error] Unknown table `d`", "documentation": "https://docs.example/q?token=5ec3e7"}))
    with pytest.raises(BadRequestError, match=r"Could not run the SQL query: .*Unknown table `d`\.") as caught:
        wire.send(query.sql("SELECT * FROM d"))
    assert "5ec3e7" not in str(caught.value)
    assert caught.value.retry_can_help is False


@pytest.mark.parametrize("key", ["exception", "error"])
def test_a_query_that_breaks_after_its_answer_began(wire, key):
    """ClickHouse then writes the error behind the rows that it has sent, with HTTP 200: they are not all rows."""
    wire.answers(RESULT | {key: "Code: 241. Memory limit exceeded"})
    with pytest.raises(UnreadableAnswerError, match="Memory limit exceeded"):
        wire.send(query.sql("SELECT 1"))


def test_a_truncated_answer(wire):
    wire.answers((200, b'{"meta": [], "data": [{"c": 1}'))
    with pytest.raises(UnreadableAnswerError, match="not JSON"):
        wire.send(query.sql("SELECT 1"))


def test_an_empty_result(wire):
    wire.answers({"meta": [], "data": []})
    result = wire.send(query.sql("SELECT 1 WHERE 0"))
    assert (result.data, result.rows, dict(result.statistics)) == ((), 0, {})


def test_the_name_of_a_pipeline_is_checked():
    with pytest.raises(InvalidInputError, match="pipe"):
        query.sql("SELECT * FROM _", pipeline="a b")
