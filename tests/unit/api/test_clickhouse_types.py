"""ClickHouse's names of types as trees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api.clickhouse_types import Type, parse, unquoted


def written(kind: Type) -> str:
    if not kind.args:
        return kind.name
    labels = kind.labels or ("",) * len(kind.args)
    args = (
        f"`{label}` {written(arg)}" if label else written(arg) for label, arg in zip(labels, kind.args, strict=True)
    )
    return f"{kind.name}({', '.join(args)})"


def made(name: str, *args: Type, labels: tuple[str, ...] = ()) -> Type:
    return Type(name, args, labels or ("",) * len(args))


LABEL = st.from_regex(r"[a-z][a-z .,()']{0,5}", fullmatch=True)
LITERAL = st.sampled_from(["'UTC'", "3", "'x),y' = 1", "'it\\'s (' = -2", "'a''b' = 3", "max_types=3"])
LEAF = st.sampled_from(["String", "IPv4", "UInt256", "Nothing"]).map(Type)
TYPES = st.recursive(
    LEAF | st.lists(LITERAL.map(Type), min_size=1, max_size=3).map(lambda args: made("Enum8", *args)),
    lambda inside: (
        inside.map(lambda one: made("Nullable", one))
        | inside.map(lambda one: made("Array", one))
        | st.tuples(inside, inside).map(lambda two: made("Map", *two))
        | st.lists(st.tuples(LABEL, inside), min_size=1, max_size=3).map(
            lambda items: made("Tuple", *(one for _, one in items), labels=tuple(label for label, _ in items))
        )
    ),
    max_leaves=8,
)


@given(TYPES)
def test_any_type(kind):
    assert parse(written(kind)) == kind


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("DateTime64(3, 'Europe/Madrid')", "DateTime64", ["3", "'Europe/Madrid'"]),
        ("JSON(max_dynamic_paths=8, a.b UInt32, SKIP c)", "JSON", ["max_dynamic_paths=8", "UInt32", "c"]),
        ("AggregateFunction(quantiles(0.5, 0.9), Float64)", "AggregateFunction", ["quantiles", "Float64"]),
        ("Tuple()", "Tuple", []),
        ("Object('json')", "Object", ["'json'"]),
    ],
)
def test_arguments(text, name, args):
    found = parse(text)
    assert (found.name, [arg.name for arg in found.args]) == (name, args)


@pytest.mark.parametrize("text", ["", "Array(", "Array(String))(", "Enum8('a = 1)", "(", "Array(String) x"])
def test_what_is_no_type(text):
    assert parse(text) == Type(text.strip())


def test_as_deep_as_it_likes():
    depth = 50_000
    assert parse("Array(" * depth + "String" + ")" * depth).args == ()
    assert len(list(parse("Array(" * 150 + "String" + ")" * 150).walk())) == 151


def test_what_is_around_values():
    kind = parse("SimpleAggregateFunction(anyLast, LowCardinality(Nullable(IPv4)))")
    assert kind.inner == Type("IPv4")
    assert kind.is_nullable
    assert not parse("Array(Nullable(IPv4))").is_nullable


def test_names_of_an_enum():
    kind = parse(r"Nullable(Enum8('x),y' = 1, 'it\'s' = -2, 'a''b' = 3, 'c\\,d\n' = 4, '' = 0))")
    assert kind.inner.elements == {1: "x),y", -2: "it's", 3: "a'b", 4: "c\\,d\n", 0: ""}


def test_labels():
    kind = parse(r"Tuple(a Int8, `b c,(` Tuple(`d\`` String), e.f Array(Int8))")
    assert kind.labels == ("a", "b c,(", "e.f")
    assert kind.args[1].labels == ("d`",)
    assert [one.name for one in kind.walk()] == ["Tuple", "Int8", "Tuple", "String", "Array", "Int8"]


def test_unquoted():
    assert unquoted("UTC") == "UTC"
    assert unquoted("'UTC'") == "UTC"
