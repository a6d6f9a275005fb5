"""How values are written, and which names never leave."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api import encoding
from airflow_provider_tinybird.api.errors import InvalidInputError


class Colour(enum.StrEnum):
    RED = "red"


class OldColour(str, enum.Enum):  # noqa: UP042 - what users still write
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


CET = timezone(timedelta(hours=1))

TABLE = [
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (-5, "-5"),
    (2**64 - 1, "18446744073709551615"),
    (1.5, "1.5"),
    (Decimal("1.10"), "1.10"),
    ("text", "text"),
    ("", ""),
    ("a,b", "a,b"),
    ("True", "True"),
    (Colour.RED, "red"),
    (OldColour.RED, "red"),
    (Number.ONE, "1"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (date(2024, 1, 2), "2024-01-02"),
    (datetime(2024, 1, 2, 3, 4, 5), "2024-01-02 03:04:05"),
    (datetime(2024, 1, 2), "2024-01-02 00:00:00"),
    (datetime(2024, 1, 2, 3, 4, 5, 678000), "2024-01-02 03:04:05.678000"),
    (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02 03:04:05"),
    (datetime(2024, 1, 1, 0, 30, tzinfo=CET), "2023-12-31 23:30:00"),
    ([], ""),
    ([1, 2, 3], "1,2,3"),
    (("a", "b"), "a,b"),
    ([True, False], "true,false"),
    ([date(2024, 1, 1), datetime(2024, 1, 2)], "2024-01-01,2024-01-02 00:00:00"),
    ({"one"}, "one"),
    (frozenset({5}), "5"),
    ([Colour.RED], "red"),
]


@pytest.mark.parametrize(("value", "text"), TABLE)
def test_values(value, text):
    """Traps: True instead of true, repeated keys instead of one comma-joined value, T in times."""
    assert encoding.parameter("p", value) == text
    assert type(encoding.parameter("p", value)) is str


def test_the_times_that_airflow_gives():
    import pendulum

    moment = pendulum.datetime(2024, 1, 1, 0, 30, tz="Europe/Madrid")
    assert encoding.parameter("p", moment) == "2023-12-31 23:30:00"


def test_pandas_times():
    import pandas as pd

    assert encoding.parameter("p", pd.Timestamp("2024-01-02 03:04:05", tz="UTC")) == "2024-01-02 03:04:05"


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, b"x", object(), time(1, 2), timedelta(1), [None], [{"a": 1}], [b"x"], 1j, range(3), (i for i in "a")],
)
def test_values_without_a_form(value):
    with pytest.raises(InvalidInputError, match="Parameter 'p'"):
        encoding.parameter("p", value)


@pytest.mark.parametrize("value", [["a,b"], ["a", [1, 2]], ("x", "1,5")])
def test_a_comma_inside_of_a_list_would_split_it(value):
    with pytest.raises(InvalidInputError, match="holds a comma"):
        encoding.parameter("p", value)


def test_none_is_left_out():
    assert encoding.pairs({"a": None, "b": 0, "c": "", "d": False}) == (("b", "0"), ("c", ""), ("d", "false"))


@given(st.datetimes(timezones=st.sampled_from([None, UTC, CET])))
def test_any_time(moment):
    text = encoding.parameter("p", moment)
    assert "T" not in text
    assert "+" not in text
    read = datetime.fromisoformat(text)
    assert read == (moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None))


FORBIDDEN_TEXT = (
    "Array, Boolean, Date, Date32, DateTime, DateTime32, DateTime64, Decimal, Decimal128, Decimal256, Decimal32, Decimal64, Enum, "
    "Enum16, Enum8, FixedString, Float32, Float64, IPv4, IPv6, Int128, Int16, Int256, Int32, Int64, Int8, MultiPolygon, Point, "
    "Polygon, Ring, String, TABLE, UInt128, UInt16, UInt256, UInt32, UInt64, UInt8, UUID, _temporary_and_external_tables, add, "
    "after, all, and, anti, any, array, as, asc, asof, between, by, case, collate, column, columns, cross, cube, custom_error, "
    "day_diff, default, defined, desc, distinct, else, end, enumerate_with_last, error, exists, from, full, functions, "
    "generateRandom, global, group, having, if, ilike, in, inner, insert, interval, into, join, left, like, limit, limits, max, "
    "min, not, null, numbers_mt, on, one, or, order, outer, prewhere, public, right, sample, select, semi, split_to_array, "
    "sql_and, sql_unescape, system, table, then, tinybird, to, union, using, where, with, zeros_mt"
)
FORBIDDEN = FORBIDDEN_TEXT.split(", ")


def test_reserved_words_are_all_there():
    assert {word.lower() for word in FORBIDDEN} == encoding.RESERVED_NAMES


@pytest.mark.parametrize("word", FORBIDDEN)
@pytest.mark.parametrize("kind", ["data source", "pipe", "node"])
def test_reserved_words(word, kind):
    for spelling in (word, word.upper(), word.lower()):
        with pytest.raises(InvalidInputError, match=f"reserved word in Tinybird, so no {kind}"):
            encoding.resource_name(kind, spelling)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "\n",
        None,
        5,
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a%20b",
        "a\n",
        ".",
        "..",
        "a\tb",
        "a\x00b",
        "a\\b",
        "\x7f",
        "a\x1b[0m",
    ],
)
def test_impossible_names(name):
    with pytest.raises(InvalidInputError):
        encoding.resource_name("pipe", name)


@pytest.mark.parametrize(
    "name",
    ["flights", "t_0a1b", "workspace.flights", "flights_quarantine", "selected", "tinybird.jobs_log", "a-b", "año"],
)
def test_names(name):
    assert unquote(encoding.resource_name("pipe", name)) == name


@given(st.text(min_size=1))
def test_no_name_changes_the_path(name):
    """Whatever comes out is one segment of a path."""
    try:
        quoted = encoding.resource_name("pipe", name)
    except InvalidInputError:
        return
    assert quoted.isascii()
    assert not set(quoted) & set("/?# ")
    assert quoted.strip(".")
    assert unquote(quoted) == name


SERVER_NAMES = [
    "__tb__csv_header",
    "__tb__semver",
    "debug",
    "debug_source_tables",
    "explain",
    "finalize_aggregations",
    "pipeline",
    "playground",
    "q",
    "query_id",
    "release_replacements",
    "tag",
    "template_parameters",
    "token",
    "format",
]


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_parameters_that_the_server_claims(name):
    with pytest.raises(InvalidInputError, match="keeps the parameter name"):
        encoding.pipe_parameters({name: 1})


@pytest.mark.parametrize("name", ["", None, 5])
def test_parameters_need_names(name):
    with pytest.raises(InvalidInputError, match="names are text"):
        encoding.pipe_parameters({name: 1})


def test_no_parameters():
    assert encoding.pipe_parameters(None) == encoding.pipe_parameters({}) == ()


@pytest.mark.parametrize("value", ['{"day": 1}', "day=1", [("day", 1)], 5])
def test_parameters_that_are_no_mapping(value):
    with pytest.raises(InvalidInputError, match="give a mapping"):
        encoding.pipe_parameters(value)
