"""NDJSON that already is text."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError, batches


def sent(data: object, **options: int) -> bytes:
    return b"".join(batch.body for batch in batches(data, **options))


@pytest.mark.parametrize(
    "convert", [str, str.encode, lambda text: bytearray(text.encode()), lambda text: memoryview(text.encode())]
)
def test_lines_are_sent_as_they_are(convert):
    text = '{"a": 1}\n\n  {"b": "é\u2028\x85"}\r\n{"c":12345678901234567890.10, "c":1e999}'
    assert sent(convert(text)) == '{"a": 1}\n{"b": "é\u2028\x85"}\n{"c":12345678901234567890.10, "c":1e999}\n'.encode()


@pytest.mark.parametrize("text", ["", "\n", " \n\r\n", b""])
def test_nothing(text):
    assert list(batches(text)) == []


BAD = {
    "number": ('{"a":1}\n\n5\n', 3, 1, "not a JSON object"),
    "list": ('{"a":1}\n[{"a":1}]', 2, 1, "not a JSON object"),
    "cut": ('{"a":1}\n{"a":', 2, 1, "not valid JSON"),
    "two in a line": ('{"a":1} {"a":2}', 1, 0, "not valid JSON"),
    "pretty printed": ('{\n "a": 1\n}', 1, 0, "each line must be one JSON object"),
    "NaN": ('{"a":NaN}', 1, 0, "NaN is no JSON number"),
    "single quotes": ("{'a':1}", 1, 0, "not valid JSON"),
    "not UTF-8": (b'{"a":"\xff"}', 1, 0, "not valid UTF-8"),
    "control character": ('{"a":"\x01"}', 1, 0, "not valid JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_line(name):
    text, line, row, reason = BAD[name]
    with pytest.raises(EncodeError, match=f"line {line}: {reason}|line {line}: .*{reason}") as caught:
        sent(text)
    assert (caught.value.column, caught.value.row) == (None, row)


def test_bad_line_far_into_a_long_text():
    text = '{"a":"0123456789"}\n' * 200_000 + "oops\n"
    with pytest.raises(EncodeError, match="row 200000: line 200001: not valid JSON"):
        sent(text)


def test_long_text_is_whole():
    text = "".join(f'{{"a":{n}}}\n' for n in range(200_000))
    bodies = list(batches(text, max_bytes=1_000_000))
    assert b"".join(batch.body for batch in bodies) == text.encode()
    assert sum(batch.rows for batch in bodies) == 200_000


def test_surrogate():
    with pytest.raises(EncodeError, match="lone surrogate"):
        sent('{"a":"\ud800"}')


@pytest.mark.parametrize("text", ["hello", "a,b\n1,2", b"\x1f\x8b\x08", '"x"', "null"])
def test_text_of_another_kind(text):
    with pytest.raises(UnsupportedDataError, match="Text must be NDJSON"):
        sent(text)


def test_json_array():
    with pytest.raises(UnsupportedDataError, match=r"pass json.loads\(text\)"):
        sent('[{"a":1}]')


@pytest.mark.parametrize(
    "line",
    [r'{"a":"\ud83d"}', r'{"a":"\uDE00"}', r'{"\ud83d":1}', r'{"a":[{"b":"x\ud83dx"}]}', r'{"a":"\ude00\ud83d"}'],
)
def test_half_a_character_is_refused_before_anything_is_sent(line, tmp_path):
    """Tinybird would put the row into quarantine, or store something else."""
    path = tmp_path / "rows.ndjson"
    path.write_text(f'{{"a":1}}\n{line}\n')
    for data in (path.read_text(), path.read_bytes(), path):
        with pytest.raises(EncodeError, match=r"row 1: line 2: .*lone surrogate"):
            list(batches(data))


def test_whole_characters_and_backslashes_are_sent_as_they_are():
    text = '{"a":"\\ud83d\\ude00"}\n{"a":"\\\\ud83d"}\n'
    assert b"".join(batch.body for batch in batches(text)) == text.encode()
