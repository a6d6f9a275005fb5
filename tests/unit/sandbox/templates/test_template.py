from __future__ import annotations

import pytest

from airflow_provider_tinybird.sandbox.templates.template import Parameter, TemplateError, parameters_of, render

SPLIT = "{% for last, name in enumerate_with_last(split_to_array(names, 'a,b')) %}{{symbol(name)}}{% if not last %}, {% end %}{% end %}"


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT {{ String(x) }}", " SELECT '%' {% if %}", "", "-- %\nSELECT 1"])
def test_sql_that_is_no_template_comes_back_as_it_is(sql: str) -> None:
    assert render(sql, {"x": "1"}) == sql
    assert parameters_of(sql) == ()


@pytest.mark.parametrize(
    ("template", "parameters", "sql"),
    [
        ("SELECT 1", {}, "SELECT 1"),
        ("\n\nSELECT 1\n", {}, "SELECT 1\n"),
        # parameter types
        (
            "{{Int8(x)}} {{UInt8(x)}} {{Int16(x)}} {{UInt16(x)}}",
            {"x": "5"},
            "toInt8('5') toUInt8('5') toInt16('5') toUInt16('5')",
        ),
        ("{{Int32(x)}} {{Int64(x)}} {{Int128(x)}}", {"x": "-5"}, "toInt32('-5') toInt64('-5') toInt128('-5')"),
        ("{{UInt64(x)}}", {"x": "18446744073709551615"}, "toUInt64('18446744073709551615')"),
        ("{{UInt256(x)}}", {"x": str(2**256 - 1)}, f"toUInt256('{2**256 - 1}')"),
        ("{{Int(x)}} {{Integer(x)}}", {"x": "+007"}, "7 7"),
        ("{{Float32(x)}} {{Float64(x)}}", {"x": "1e3"}, "toFloat32('1000.0') toFloat64('1000.0')"),
        ("{{Boolean(x)}} {{Boolean(y)}} {{Boolean(z)}}", {"x": "TRUE", "y": "0", "z": ""}, "1 0 0"),
        ("{{String(x)}}", {"x": "it's"}, r"'it\'s'"),
        ("{{String(x)}}", {"x": ""}, "''"),
        ("{{Date(x)}} {{Date(y)}}", {"x": "2013-01-31", "y": "20130131"}, "'2013-01-31' '20130131'"),
        ("{{DateTime(x)}}", {"x": "2013-01-31 23:59:59"}, "'2013-01-31 23:59:59'"),
        ("{{DateTime64(x)}}", {"x": "2013-01-31 23:59:59.123"}, "'2013-01-31 23:59:59.123'"),
        # defaults and what else a type takes
        ("{{Int32(x, 10)}} {{Int32(x, '10')}} {{Int32(x, default=10)}}", {}, " ".join(["toInt32('10')"] * 3)),
        ("{{Int32(x, 10, description='d', required=False, format='f', example='1', enum=[1])}}", {}, "toInt32('10')"),
        ("{{Int32(x, 10, required=True)}}", {"x": "3"}, "toInt32('3')"),
        ("{{String(x, y)}}", {"y": "of another"}, "'of another'"),
        ("{{Boolean(x)}} {{Boolean(x, True)}} {{Boolean(x, 'false')}}", {}, "0 1 0"),
        # arrays
        ("{{Array(x)}} {{Array(x, 'String')}} {{Array(x, String)}}", {"x": "a,b c"}, " ".join(["['a','b c']"] * 3)),
        ("{{Array(x, 'Int32')}}", {"x": "1,2"}, "[1,2]"),
        ("{{Array(x, 'Float64')}}", {"x": "1,.5"}, "[1.0,0.5]"),
        ("{{Array(x, 'Date')}}", {"x": "2013-01-01,2013-01-02"}, "['2013-01-01','2013-01-02']"),
        ("{{Array(x, 'UUID')}}", {"x": "a"}, "['a']"),
        ("{{Array(x, 'Int32', default='1,2')}} {{Array(x, 'Int32', [1, 2])}}", {}, "[1,2] [1,2]"),
        # conditions
        ("{% if defined(x) %}{{x}}{% else %}none{% end %}", {}, "none"),
        ("{% if defined(x) %}{{x}}{% else %}none{% end %}", {"x": ""}, "''"),
        ("{% if not defined(x) and y == 'a' %}yes{% end %}", {"y": "a"}, "yes"),
        ("{% if x == 'a' %}1{% elif x == 'b' %}2{% elif x == 'c' %}3{% else %}4{% end %}", {"x": "c"}, "3"),
        ("{% if Int32(x, 5) > 3 and Int32(x, 5) <= 5 %}yes{% end %}", {}, "yes"),
        ("{% if x in ['a', 'b'] %}in{% end %}{% if x not in ['a'] %}out{% end %}", {"x": "b"}, "inout"),
        ("{% if x %}yes{% else %}no{% end %}", {}, "no"),
        ("{% if x == 'a' %}yes{% else %}no{% end %}", {}, "no"),
        ("{{ x if defined(x) else 'other' }}", {}, "'other'"),
        ("{% if Boolean(flag) %}on{% else %}off{% end %}", {"flag": "true"}, "on"),
        # assignments and loops
        ("{% set x = 5 %}{{Int32(x, 10)}} {{x}}", {"x": "7"}, "toInt32('5') 5"),
        ("{% set n = Int32(page, 2) * Int32(size, 50) %}{{n}} {{n + 1}}", {}, "100 101"),
        ("{% set a, b = 1, 'z' %}{% set a += 1 %}{{a}}{{b}}", {}, "2'z'"),
        ("{% set v = x.strip().upper() %}{{v}}", {"x": " abc "}, "'ABC'"),
        ("{% for i in [1, 2, 3] %}{{i}};{% end %}", {}, "1;2;3;"),
        (
            "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% end %}{% if i == 3 %}{% break %}{% end %}{{i}}{% end %}",
            {},
            "02",
        ),
        ("{% for i, v in enumerate(split_to_array(x)) %}{{i}}{{v}}{% end %}", {"x": "p, q"}, "0'p'1'q'"),
        (SPLIT, {}, "`a`, `b`"),
        (SPLIT, {"names": "c"}, "`c`"),
        ("{{split_to_array(x, separator='|')}}", {"x": "a|b"}, "['a', 'b']"),
        ("{{len(split_to_array(x, 'a,b'))}} {{split_to_array(x, 'a,b')[1]}}", {}, "2 'b'"),
        (
            "{% for f in JSON(x) %}{{column(f.get('c'))}} = {{f['v']}};{% end %}",
            {"x": '[{"c":"a","v":"\'"},{"c":"b","v":2}]'},
            r"`a` = '\'';`b` = 2;",
        ),
        ("{{JSON(x, '{\"a\": 1}').get('a')}} {{JSON(x).get('a', 0)}}", {}, "1 0"),
        # names
        ("{{column(x)}} {{column(y, 'd')}} {{column('t.c')}}", {"x": "a"}, "`a` `d` `t`.`c`"),
        ("{{columns(x)}} {{columns(y, 'c,d')}}", {"x": "a, b"}, "`a`,`b` `c`,`d`"),
        ("{{columns(x, fn='sum')}}", {"x": "a,b"}, "sum(`a`) as `a`,sum(`b`) as `b`"),
        ("{{symbol(x)}} {{symbol('a b')}}", {"x": "c"}, "`c` `a b`"),
        ("SELECT * FROM {{table(x)}} JOIN {{table('w.t')}}", {"x": "events"}, "SELECT * FROM events JOIN w.t"),
        # conditions of WHERE
        (
            "{{sql_and(a__in=Array(a, 'Int32', defined=False), b__not_in=Array(b, 'String', defined=False))}}",
            {"a": "1,2", "b": "x"},
            "a in [1,2] and b not in ['x']",
        ),
        ("[{{sql_and(a__in=Array(a, 'Int32', defined=False), b__gt=b)}}]", {}, "[]"),
        (
            "{{sql_and(a__gt=Int32(a, 1), b__gte=2, c__lt='x', d__lte=DateTime(d, '2013-01-01 00:00:00'), e=5)}}",
            {},
            "a > toInt32('1') and b >= 2 and c < 'x' and d <= '2013-01-01 00:00:00' and e = 5",
        ),
        # LIKE: a percent sign of a parameter is no wildcard unless the template says so
        ("LIKE {{String(x)}}", {"x": "50%"}, r"LIKE '50\%'"),
        ("LIKE {{sql_unescape(String(x), '%')}}", {"x": "50%'"}, r"LIKE '50%\''"),
        # dates
        ("{{day_diff('2013-01-31', '2013-01-01')}} {{day_diff('2013-01-01', '2013-01-31')}}", {}, "30 30"),
        ("{{date_diff_in_seconds('2013-01-01 00:00:00', '2013-01-03 01:02:03')}}", {}, "176523"),
        ("{{date_diff_in_minutes('2013-01-01 00:00:00', '2013-01-03 01:02:03')}}", {}, "2942"),
        ("{{date_diff_in_hours(DateTime(x, '2013-01-01 00:00:00'), DateTime(y, '2013-01-03 01:02:03'))}}", {}, "49"),
        ("{{date_diff_in_days('2013-01-01', '2013-01-03')}}", {}, "2"),
        ("{{date_diff_in_hours('2013-01-02', '2013-01-01', '%Y-%m-%d')}}", {}, "24"),
        ("{{date_diff_in_hours('2013-01-02', '2013-01-01 00:00:00', backup_date_format='%Y-%m-%d')}}", {}, "24"),
        ("{{date_diff_in_seconds('2013-01-01T00:00:00.5Z', '2013-01-01T00:00:02.000Z')}}", {}, "1"),
        (
            "{% if date_diff_in_days(x, '2013-01-01', none_if_error=True) is None %}no date{% end %}",
            {"x": "?"},
            "no date",
        ),
        # the rest
        ("{{tb_secret('key')}} {{tb_secret(\"key\")}}", {}, r"'p%\'w' 'p%\'w'"),
        ("a{# {{ comment }} %} it's #}b{% comment it is %}c", {}, "abc"),
        ("{{! x }} {%! if %}", {}, "{{ x }} {% if %}"),
        ("{{ '}}' }} {{ {'a': {'b': 1}} }}", {}, "'}}' {'a': {'b': 1}}"),
        ("SELECT '{' || \"}\" %} }}", {}, "SELECT '{' || \"}\" %} }}"),
        ("{{max_threads(2)}}{{backend_hint('x')}}SELECT 1", {}, "SELECT 1"),
        ("{{1 + 2}} {{7 // 2}} {{7 % 4}} {{-x}} {{not y}} {{1 < 2 < 3}} {{min(3, int(z))}}", {"z": "2"}, None),
        ("{{[1, 'a']}} {{('a', 1)}} {{True}} {{1.5}}", {}, "[1, 'a'] ('a', 1) true 1.5"),
    ],
)
def test_a_template_renders(template: str, parameters: dict[str, str], sql: str | None) -> None:
    if sql is None:
        parameters = parameters | {"y": ""}
        template, sql = template.replace("{{-x}}", "{{-5}}"), "3 3 3 -5 true true 2"
    assert render(f" \n%{template}", parameters, {"key": "p%'w"}) == sql
    assert render(f"%\n{template}", parameters, {"key": "p%'w"}) == sql


@pytest.mark.parametrize(
    ("template", "parameters", "message"),
    [
        (
            "{{Int32(x)}}",
            {},
            "Parameter 'x' is missing and has no default: pass x=<Int32>, or give it a default in the pipe",
        ),
        (
            "{{Int32(x, required=False)}}",
            {},
            "Parameter 'x' is missing and has no default: pass x=<Int32>, or give it a default in the pipe",
        ),
        (
            "{{Array(x, 'Int32')}}",
            {},
            "Parameter 'x' is missing and has no default: pass x=<Int32,Int32,...>, or give it a default in the pipe",
        ),
        ("{{x}}", {}, "Parameter 'x' is missing and has no default: pass x=<value>, or give it a default in the pipe"),
        ("{{column(x)}}", {}, "Parameter 'x' of column() is missing and has no default: pass x=<name>"),
        (
            "{{Int8(x)}}",
            {"x": "300"},
            "Parameter 'x' has the value '300', which is not of type Int8: use a whole number from -128 to 127",
        ),
        (
            "{{UInt8(x)}}",
            {"x": "-1"},
            "Parameter 'x' has the value '-1', which is not of type UInt8: use a whole number from 0 to 255",
        ),
        (
            "{{Float64(x)}}",
            {"x": "1,5"},
            "Parameter 'x' has the value '1,5', which is not of type Float64: use a number",
        ),
        (
            "{{Date(x)}}",
            {"x": "2013-02-30"},
            "Parameter 'x' has the value '2013-02-30', which is not of type Date: use a date as YYYY-MM-DD",
        ),
        (
            "{{DateTime(x)}}",
            {"x": "2013-02-01"},
            "Parameter 'x' has the value '2013-02-01', which is not of type DateTime: use a time as YYYY-MM-DD hh:mm:ss",
        ),
        (
            "{{DateTime64(x)}}",
            {"x": "2013-02-01 00:00:00"},
            "Parameter 'x' has the value '2013-02-01 00:00:00', which is not of type DateTime64: "
            "use a time as YYYY-MM-DD hh:mm:ss.fff",
        ),
        (
            "{{Boolean(x)}}",
            {"x": "maybe"},
            "Parameter 'x' has the value 'maybe', which is not of type Boolean: use true, false, 1 or 0",
        ),
        (
            "{{Array(x, 'Int8')}}",
            {"x": "1,b"},
            "Parameter 'x', element 2, has the value 'b', which is not of type Int8: use a whole number from -128 to 127",
        ),
        (
            "{{Int8(x, 1000)}}",
            {},
            "The default of parameter 'x' has the value '1000', which is not of type Int8: use a whole number from -128 to 127",
        ),
        (
            "{{String(x, wrong='a')}}",
            {"x": "a"},
            "String() got wrong=..., which it does not take: use description, enum, example, format, required",
        ),
        (
            "{{UUID(x)}}",
            {},
            "UUID() is not a function of templates: Tinybird has no such parameter type, use String(...), or column(...) for a name",
        ),
        ("{{nope(x)}}", {}, "nope() is not a function of templates: see Tinybird's list of template functions"),
        (
            "{{JSON(x)}}",
            {"x": "{"},
            "Parameter 'x' is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (
            "{{tb_secret('other')}}",
            {},
            "tb_secret() names the secret 'other', which does not exist: create it, or correct the name",
        ),
        ("{{table('a b')}}", {}, "table() got 'a b', which is not the name of a data source or node"),
        ("{{columns('a', fn='f(x)--')}}", {}, "columns() got fn='f(x)--', which is not the name of a function"),
        (
            "{{sql_and(a__like='b')}}",
            {},
            "sql_and() got a__like, whose operator 'like' is unknown: use one of in, not_in, gt, gte, lt, lte",
        ),
        (
            "{{day_diff('x', '2013-01-01')}}",
            {},
            "day_diff() got 'x', which is not a date of the format %Y-%m-%d: pass date_format",
        ),
        ("{% if x > 3 %}{% end %}", {}, "Cannot evaluate 'x > 3': parameter 'x' is missing"),
        (
            "{% if x > 3 %}{% end %}",
            {"x": "5"},
            "Cannot evaluate 'x > 3': TypeError: '>' not supported between instances of 'str' and 'int'",
        ),
        (
            "{% for i in x %}{% end %}",
            {},
            "Parameter 'x' is missing and has no default: pass x=<a,b,...>, or give it a default in the pipe",
        ),
        (
            "{% for i in Array(x) %}{% end %}",
            {"x": "a"},
            "{% for %} got a parameter type, which is SQL in a template: use split_to_array(...) to loop over values",
        ),
        ("{{error('too far back')}}", {}, "too far back"),
        ("{{ {'a': 1}['b'] }}", {}, "Cannot evaluate \"{'a': 1}['b']\": KeyError: 'b'"),
        ("{{ 1 / 0 }}", {}, "Cannot evaluate '1 / 0': ZeroDivisionError: division by zero"),
        # syntax
        ("\n\n{{ 'a }}", {}, "Template syntax error in line 3: {{ is not closed by }}"),
        ("{{ }}", {}, "Template syntax error in line 1: an expression is empty"),
        ("\n{{ 1 + }}", {}, "Template syntax error in line 2: cannot read '1 +': invalid syntax"),
        ("{% if x %}", {}, "Template syntax error in line 1: {% if %} has no {% end %}"),
        ("{% for x in [1] %}", {}, "Template syntax error in line 1: {% for %} has no {% end %}"),
        ("a\n{% end %}", {}, "Template syntax error in line 2: {% end %} closes nothing"),
        (
            "{% for x in [1] %}{% else %}{% end %}",
            {},
            "Template syntax error in line 1: {% else %} does not belong here",
        ),
        (
            "{% for 1 in [1] %}{% end %}",
            {},
            "Template syntax error in line 1: cannot read 'for 1 in [1]: pass': cannot assign to literal",
        ),
        (
            "{% set x.y = 1 %}",
            {},
            "Template syntax error in line 1: cannot assign to 'x.y': use a name, or names with commas",
        ),
        ("{% set x %}", {}, "Template syntax error in line 1: {% set %} needs the form: set name = value"),
        (
            "{% while True %}{% end %}",
            {},
            "Template syntax error in line 1: {% while %} is not supported: "
            "use if, elif, else, for, break, continue, set, comment or end",
        ),
    ],
)
def test_what_a_template_refuses_is_said(template: str, parameters: dict[str, str], message: str) -> None:
    with pytest.raises(TemplateError) as raised:
        render(f"%{template}", parameters)
    assert str(raised.value) == message
    assert raised.value.status == 400


def test_a_template_can_set_the_status_of_its_error() -> None:
    with pytest.raises(TemplateError) as raised:
        render("%{{custom_error({'error': 'gone', 'id': Int32(x)}, 404)}}", {"x": "5"})
    assert (str(raised.value), raised.value.status) == ('{"error": "gone", "id": 5}', 404)
    with pytest.raises(TemplateError) as raised:
        render("%{{custom_error('no', 200)}}", {})
    assert str(raised.value) == "custom_error() got the status 200: use 400 to 599"


@pytest.mark.parametrize(
    ("template", "parameters"),
    [
        ("SELECT {{Int32(x)}}", (Parameter("x", "Int32", required=True),)),
        (
            "{{Int32(lim, 10, description='rows', required=False)}} {{String(name, default='a')}}",
            (Parameter("lim", "Int32", 10, False, "rows"), Parameter("name", "String", "a")),
        ),
        ("{{Int32(lim, 10, required=True)}}", (Parameter("lim", "Int32", 10, True),)),
        (
            "{{Array(ids, 'Int64', default='1,2')}} {{Array(tags)}}",
            (Parameter("ids", "Array(Int64)", "1,2"), Parameter("tags", "Array(String)", required=True)),
        ),
        ("{{Array(ids, Int64, [1])}}", (Parameter("ids", "Array(Int64)", [1]),)),
        ("{% if defined(day) %}WHERE day = {{Date(day)}}{% end %}", (Parameter("day", "Date"),)),
        (
            "{{column(order_by, 'day')}} {{columns(cols)}}",
            (Parameter("order_by", "String", "day"), Parameter("cols", "String", required=True)),
        ),
        ("{% if date_diff_in_days(day, '2013-01-01') > 5 %}{% end %}", (Parameter("day", "String", required=True),)),
        ("{% if order == 'desc' %}DESC{% end %}", (Parameter("order", "String"),)),
        (SPLIT, (Parameter("names", "String", "a,b"),)),
        (
            "{% set y = Int32(x, 5) %}{{y}}{{y + z}}",
            (Parameter("x", "Int32", 5), Parameter("z", "String", required=True)),
        ),
        ("{{Int32(x)}} {{Int32(x, 7, description='later')}}", (Parameter("x", "Int32", 7, False, "later"),)),
        ("{{x}} {{Float32(x, 0.5)}}", (Parameter("x", "Float32", 0.5),)),
        ("{{Boolean(flag)}} {{JSON(filters)}}", (Parameter("flag", "Boolean"), Parameter("filters", "JSON"))),
        ("{{sql_and(a__in=Array(a, 'Int32', defined=False))}}", (Parameter("a", "Array(Int32)"),)),
        ("{{x.split(',')}} {{tb_secret(key)}} {{tb_secret('key')}}", (Parameter("x", "String", required=True),)),
        ("{{String(x, y)}}", (Parameter("x", "String", required=True), Parameter("y", "String", required=True))),
    ],
)
def test_the_parameters_of_a_template_are_listed(template: str, parameters: tuple[Parameter, ...]) -> None:
    assert parameters_of(f"%\n{template}") == parameters


def test_a_template_that_cannot_be_read_has_no_list() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        parameters_of("%\n{% if %}")
