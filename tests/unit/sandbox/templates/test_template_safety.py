from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.sandbox.templates.template import TemplateError, render


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "''.__class__.__mro__[1].__subclasses__()",
        "x.format(a=1)",
        "'{0.__class__}'.format(1)",
        "x.__init__()",
        "x.encode()",
        "().__class__",
        "__import__('os')",
        "open('/etc/passwd')",
        "eval('1')",
        "getattr(x, 'upper')",
        "(lambda: 1)()",
        "[i for i in [1]]",
        "f'{x}'",
        "x.name",
        "defined.__globals__",
        "String(x).value",
        "(y := 1)",
        "'%s' % x",
        "2 ** 9",
        "1 << 9",
        "[*x]",
        "min(*[1, 2])",
        "{**{}}",
        "b'a'",
        "...",
        "await x",
    ],
)
@pytest.mark.parametrize(
    "form", ["{{{{ {0} }}}}", "{{% set z = {0} %}}", "{{% if {0} %}}{{% end %}}", "{{% for z in {0} %}}{{% end %}}"]
)
def test_an_expression_cannot_leave_the_template(expression: str, form: str) -> None:
    with pytest.raises(TemplateError):
        render("%" + form.format(expression), {"x": "text"})


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% end %}{% end %}{% end %}",
        "{% set s = 'a' * 999999 %}{% for i in range(10000) %}{% set t = s + 'b' %}{% end %}",
        "{{ 'a' * 10000000000 }}",
        "{{ 10000000000 * [1] }}",
        "{{ range(10000000000) }}",
        "{% set s = 'a' * 1000000 %}{% set t = s.replace('a', s) %}",
        "{% set s = 'a' * 1000000 %}{% set t = s.join(split_to_array(x)) %}",
        "{% set n = 10 %}{% for i in range(10000) %}{% set n = n * n %}{% end %}",
        "{% set s = 'abcdefgh' * 100000 %}{{s}}{{s}}",
        "{{ " + "-" * 9_000 + "1 }}",
        "{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}",
        "{{ " + "1 + " * 2_500 + "1 }}",
        "{% if 1 %}" * 100 + "{% end %}" * 100,
        "{{ '" + "a" * 20_000 + "' }}",
        "{{ Float64(x) }}",
        "{{ Int256(x) }}",
    ],
)
def test_a_template_always_ends_soon(template: str) -> None:
    started = time.monotonic()
    with pytest.raises(TemplateError):
        render(f"%{template}", {"x": "1," * 5_000 + "1" * 500_000 + "x"})
    assert time.monotonic() - started < 5


def read_literal(sql: str) -> str:
    """Read SQL that is one ClickHouse string literal and nothing else; a backslash before % or _ stays, as in ClickHouse."""
    assert sql[0] == sql[-1] == "'"
    escapes = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}
    text, at = "", 1
    while at < len(sql) - 1:
        assert sql[at] != "'", f"the literal ends before its end: {sql!r}"
        if sql[at] == "\\":
            at += 1
            assert at < len(sql) - 1, f"the literal escapes its own end: {sql!r}"
            if sql[at] in escapes:
                text += escapes[sql[at]]
            elif sql[at] in "\\'\"`":
                text += sql[at]
            else:
                assert sql[at] in "%_", f"a needless escape: {sql!r}"
                text += "\\" + sql[at]
        else:
            text += sql[at]
        at += 1
    return text


HOSTILE = st.text(alphabet=st.sampled_from("'\"`\\%_{}#-;,\n\0\u2028 ab"), max_size=20)


@given(st.text() | HOSTILE)
def test_a_string_parameter_is_one_literal_of_its_value(value: str) -> None:
    expected = value.replace("%", "\\%")  # what keeps it from being a wildcard of LIKE
    assert read_literal(render("%{{ String(x) }}", {"x": value})) == expected
    assert read_literal(render("%{{ x }}", {"x": value})) == expected
    assert read_literal(render("%{{ String(y, x) }}", {"x": value})) == expected
    assert read_literal(render("%{% set z = 'a' + x %}{{ z }}", {"x": value})) == "a" + expected
    assert read_literal(render("%{{ sql_unescape(x, '%') }}", {"x": value})) == value
    assert read_literal(render("%{{ tb_secret('x') }}", {}, {"x": value})) == value


@given(st.lists(HOSTILE, min_size=1))
def test_an_array_parameter_is_one_array_of_literals(values: list[str]) -> None:
    values = [value.replace(",", "") for value in values]
    sql = render("%{{ Array(x, 'String') }}", {"x": ",".join(values)})
    assert sql[0] + sql[-1] == "[]"
    literals = [render("%{{ String(x) }}", {"x": value}) for value in values]
    assert sql[1:-1] == ",".join(literals)


def rendered_or_refused(template: str, value: str) -> tuple[str | None, str]:
    try:
        return render(template, {"x": value}), ""
    except TemplateError as error:
        return None, str(error)


@given(st.text() | HOSTILE)
def test_a_name_is_one_identifier(value: str) -> None:
    for template in ("%{{ symbol(x) }}", "%{{ column(x) }}", "%{{ columns(x) }}"):
        sql, refusal = rendered_or_refused(template, value)
        if sql is None:
            assert "is not a name" in refusal
            continue
        bare = sql.replace("\\\\", "").replace("\\`", "")
        outside = "".join(bare.split("`")[::2])
        assert set(outside) <= {".", ","}, f"text outside of the backticks: {sql!r}"


@given(
    st.text() | HOSTILE,
    st.sampled_from(["Int32", "UInt8", "Float64", "Date", "DateTime", "DateTime64", "Boolean", "Int"]),
)
def test_other_types_render_only_what_they_parse(value: str, type_name: str) -> None:
    sql, refusal = rendered_or_refused(f"%{{{{ {type_name}(x) }}}}", value)
    if sql is None:
        assert refusal.startswith("Parameter 'x' has the value ")
    else:
        assert set(sql) <= set("toInt32UInt8Float64infna('0123456789.e+-: TZ)")


@pytest.mark.parametrize(
    "value",
    [
        "' OR 1=1 --",
        "\\' OR 1=1 --",
        "a') UNION ALL SELECT 1 --",
        "{{tb_secret('key')}}",
        "{% set x = 1 %}",
        "`; DROP TABLE t",
    ],
)
def test_an_injection_stays_in_its_literal(value: str) -> None:
    sql = render("%SELECT * FROM t WHERE a = {{String(x)}} AND b IN {{Array(x)}}", {"x": value}, {"key": "hidden"})
    start, end = "SELECT * FROM t WHERE a = ", " AND b IN ["
    assert sql.startswith(start)
    assert read_literal(sql[len(start) : sql.rindex(end)]) == value.replace("%", "\\%")
    assert "hidden" not in sql
