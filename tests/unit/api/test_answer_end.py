"""Exceptions of ClickHouse at the end of an answer with HTTP 200, in each form and format, and data that looks like them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api.answer_end import TAIL, AnswerEnd

WORDS = "Code: 241. DB::Exception: Memory limit exceeded: would use 10 GiB. (MEMORY_LIMIT_EXCEEDED)"
VERSION = " (version 25.8.1.1 (official build))"
OLD = "Code: 159, e.displayText() = DB::Exception: Timeout exceeded (version 21.3.1.1)"
NET = "Code: 210. DB::NetException: Connection reset by peer, while reading from socket. (NETWORK_ERROR)"
STD = "std::exception. Code: 1001, type: std::bad_alloc, e.what() = std::bad_alloc"
LINES = "Code: 27. DB::Exception: Cannot parse input: expected ',' before: 'x': \nRow 1:\nColumn 0, name: a\n: (CANNOT_PARSE)"
TAG = "dngjzjnxkvlwkeua"
ROWS = {
    "CSV": b'1,"a"\n2,"b"\n',
    "csv": b'"a","b"\n1,"a"\n',
    "CSVWithNames": b'"x ""y"""\n"line\nbreak"\n',
    "TSV": b"1\ta\n2\tb\n",
    "TabSeparatedWithNames": b"a\n1\n",
    "JSONEachRow": b'{"a":1}\n{"a":2}\n',
    "ndjson": b'{"a":1}\n',
    "JSONCompactEachRow": b"[1]\n[2]\n",
    "Pretty": "┏━━━┓\n┃ a ┃\n┗━━━┛\n│ 1 │\n".encode(),
    "Markdown": b"| a |\n|-:|\n| 1 |\n",
    "Values": b"(1),(2)",
    "SQLInsert": b"INSERT INTO table (`a`) VALUES (1);\n",
    "Prometheus": b"# TYPE a counter\na 1\n",
    "Vertical": b"Row 1:\n------\na: 1\n",
    "Template": b"one line\n",
    "RowBinary": b"\x01\x02",
    "Native": b"\x01\x01\x01a\x05UInt8\x01",
}
WHOLE = {
    **ROWS,
    "JSON": b'{\n\t"meta":\n\t[],\n\n\t"data":\n\t[\n\t\t{"exception": "Code: 1. DB::Exception: x"}\n\t],\n\n\t"rows": 1\n}\n',
    "json": b'{"data":[{"exception":"x"}]}',
    "Parquet": b"PAR1\x00\x01PAR1",
    "Arrow": b"ARROW1\x00\x00\x01ARROW1",
    "ArrowStream": b"\xff\xff\xff\xff\x01\xff\xff\xff\xff\0\0\0\0",
    "ORC": b"ORC" + bytes(9) + b"ORC\x16",
    "XML": b"<?xml version='1.0'?>\n<result>\n<data><row><exception>x</exception></row></data>\n</result>\n",
}


def trouble(format: str, body: bytes, **headers: str):
    end = AnswerEnd(format, {name.replace("_", "-"): value for name, value in headers.items()})
    for start in range(0, len(body), 1000):
        end.add(body[start : start + 1000])
    return end.trouble()


def block(words: str = WORDS) -> bytes:
    return f"\r\n__exception__\r\n{TAG}\r\n{words}\n{len(words) + 1} {TAG}\r\n__exception__\r\n".encode()


def on_its_line(body: bytes, words: str) -> bytes:
    return (body if not body or body.endswith(b"\n") else body + b"\n") + words.encode() + b"\n"


@pytest.mark.parametrize("format", WHOLE)
def test_whole(format):
    assert trouble(format, WHOLE[format]) is None
    assert trouble(format, b"" if format in ROWS else WHOLE[format], x_clickhouse_exception_tag=TAG) is None


@pytest.mark.parametrize("words", [WORDS, WORDS + VERSION, OLD, NET, STD, LINES, LINES + VERSION])
@pytest.mark.parametrize("format", sorted(set(ROWS) - {"RowBinary", "Native"}))
def test_on_a_line_of_its_own(format, words):
    for body in (ROWS[format], b""):
        found = trouble(format, on_its_line(body, words))
        assert found is not None
        assert found.is_exception
        assert found.text == " ".join(words.split())


@pytest.mark.parametrize("format", [*sorted(set(WHOLE) - set(ROWS)), "RowBinary", "Native"])
def test_where_a_format_has_no_lines(format):
    cut = WHOLE[format][:-5]
    found = trouble(format, cut + (WORDS + VERSION + "\n").encode())
    assert found is not None
    assert (found.text, found.is_exception) == (WORDS + VERSION, True)


@pytest.mark.parametrize("format", WHOLE)
@pytest.mark.parametrize("headers", [{}, {"x_clickhouse_exception_tag": TAG}])
def test_block_of_new_versions(format, headers):
    for end in (
        block(),
        block()[:-4],
        f"\r\n__exception__\r\n{TAG}\r\n{WORDS}\n".encode(),
        f"__exception__\n{WORDS}\n".encode(),
    ):
        found = trouble(format, WHOLE[format][:-5] + end, **headers)
        assert found is not None
        assert (found.text, found.is_exception) == (WORDS, True)


@pytest.mark.parametrize("format", sorted(set(WHOLE) - set(ROWS)))
def test_cut_short(format):
    found = trouble(format, WHOLE[format][:-5])
    assert found is not None
    assert not found.is_exception


def test_csv_cut_within_quotes():
    assert trouble("CSV", b'1,"a\n') is not None
    assert trouble("CSV", f'1,"ab{WORDS}\n'.encode()).text == WORDS


def test_within_json():
    words = json.dumps(WORDS).encode()
    document = b'{\n\t"meta": [],\n\t"data": [],\n\t"rows": 0,\n\n\t"exception": ' + words + b"\n}\n"
    for name in ("JSON", "JSONCompact", "json", "JSONColumnsWithMetadata"):
        assert trouble(name, document).text == WORDS
    for body in (b'{"a":1}\n', b"", b"[1]\n"):
        assert trouble("JSONEachRow", body + b'{"exception": ' + words + b"}\n").text == WORDS
    xml = f"<result>\n<data>\n</data>\n\t<exception>{WORDS}</exception>\n</result>\n"
    assert trouble("XML", xml.encode()).text == WORDS


@pytest.mark.parametrize(
    ("format", "body"),
    [
        ("CSV", f'1,"{WORDS}"\n'),
        ("CSV", f'"{WORDS}"\n'),
        ("CSV", f'1,"a log:\n{WORDS}"\n'),
        ("CSV", f'1,"a ""log"":\n{WORDS}",5\n'),
        ("TSV", f"x\ty\n{WORDS}\t5\n"),
        ("TSV", f"{WORDS}\n1\n"),
        ("TSV", f"5\t{WORDS}\n"),
        ("JSONEachRow", json.dumps({"a": WORDS}) + "\n"),
        ("JSONEachRow", json.dumps({"a": 1, "exception": WORDS}) + "\n"),
        ("JSONEachRow", 2 * (json.dumps({"exception": WORDS}) + "\n")),
        ("JSON", json.dumps({"data": [{"exception": WORDS}]})),
        ("Pretty", f"│ a log:\n{WORDS} │\n"),
        ("Markdown", f"| {WORDS} |\n"),
        ("Values", f"('{WORDS}')"),
        ("RowBinary", f"\x05{WORDS}"),
        ("Parquet", f"PAR1 {WORDS} PAR1"),
        ("CSV", f'"{block().decode()}"\n'),
    ],
)
def test_data_that_looks_like_one(format, body):
    assert trouble(format, body.encode()) is None


def test_another_tag_is_data():
    assert trouble("TSVRaw", b"x" + block(), x_clickhouse_exception_tag="another") is None


def test_what_cannot_be_told_apart_names_the_way_out():
    assert "CSV or JSONEachRow" in trouble("TSV", f"{WORDS}\n".encode()).way_out
    assert "another name" in trouble("JSONEachRow", (json.dumps({"exception": WORDS}) + "\n").encode()).way_out


def test_a_header_alone():
    assert "code 241" in trouble("CSV", b"1\n", x_clickhouse_exception_code="241").text
    assert trouble("CSV", b"1\n", x_clickhouse_exception_code="0") is None


def test_a_web_page_is_no_answer():
    assert "web page" in trouble("CSV", b"<html>log in</html>", content_type="text/html; charset=utf-8").text


@given(st.sampled_from(["CSV", "TSV", "JSONEachRow", "Parquet"]), st.lists(st.integers(1, 80), max_size=8))
def test_however_it_is_cut_into_pieces(format, sizes):
    body = WHOLE[format] * 3 + (b"" if format != "Parquet" else b"half a page\n") + WORDS.encode() + b"\n"
    end = AnswerEnd(format, {})
    for size in sizes:
        end.add(body[:size])
        body = body[size:]
    end.add(body)
    assert end.trouble().text == WORDS


def test_constant_memory():
    end = AnswerEnd("CSV", {})
    for _ in range(300):
        end.add(b'1,"' + b"x" * TAIL + b'"\n')
    end.add(b"".join([b"1,2\n"] * TAIL) + WORDS.encode())
    assert len(end._tail) == TAIL
    assert end.trouble().text == WORDS


def test_a_tail_that_begins_in_a_line():
    end = AnswerEnd("TSV", {})
    end.add(b"x\t")
    end.add(WORDS.encode().ljust(TAIL - 1) + b"\n")
    assert end.trouble() is None
