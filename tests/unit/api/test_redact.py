"""What is cut out of texts before they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api.redact import LONGEST, redact

TOKEN = "p.eyJ1IjoiYSIsImlkIjoiYiIsImhvc3QiOiJsb2NhbCJ9.c2lnbmF0dXJl-_x"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln-_x"

TABLE = [
    ("nothing to hide", "nothing to hide"),
    (f"token {TOKEN}, bad", "token ***, bad"),
    (f"Bearer {JWT}.", "Bearer ***."),
    (f'{{"token":"{TOKEN}"}}', '{"token":"***"}'),
    ("my-opaque-secret!", "***!"),
    ("GET https://h/p?a=1&b=2 failed", "GET https://h/p?*** failed"),
    ("'https://h/p?a=1'", "'https://h/p?***'"),
    ('<a href="https://h/p?a=1">', '<a href="https://h/p?***">'),
    ("s3://bucket/key?X-Amz-Signature=1", "s3://bucket/key?***"),
    ("https://user:pa55@h/p", "https://***@h/p"),
    ("HTTPS://H/P?A=1", "HTTPS://H/P?***"),
    ("two: https://h/1?a=1 and https://h/2?b=1", "two: https://h/1?*** and https://h/2?***"),
    ("key f.csv?X-Amz-Signature=abc&X-Amz-Date=1 gone", "key f.csv?X-Amz-Signature=***&X-Amz-Date=*** gone"),
    ("url=https%3A%2F%2Fh%2Ff%3Fx-goog-signature%3Dabc", "url=https%3A%2F%2Fh%2Ff%3Fx-goog-signature%3D***"),
    ("blob?sv=1&sig=abc%3D", "blob?sv=1&sig=***"),
    ("is it broken? yes", "is it broken? yes"),
    ("https://docs.example/a#b", "https://docs.example/a#b"),
]


@pytest.mark.parametrize(("text", "shown"), TABLE)
def test_redact(text, shown):
    assert redact(text, secret="my-opaque-secret") == shown


def test_long_texts_are_cut_after_secrets_are():
    text = "x" * (LONGEST - 5) + TOKEN + " " + "y" * 1000
    shown = redact(text)
    assert "p.ey" not in shown
    assert len(shown) < LONGEST + 50
    assert shown.endswith("characters more)")


@given(st.text(), st.text(), st.sampled_from(["", "?", "&", " ", "'", "\n"]))
def test_the_token_never_survives(before, after, glue):
    assert TOKEN not in redact(before + glue + TOKEN + glue + after, secret=TOKEN)


@given(
    st.text(st.characters(codec="ascii", exclude_characters=" \"'<>\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f"), min_size=8).map(
        lambda text: "5ec3e7" + text
    )
)
def test_no_query_string_survives(query):
    assert "5ec3e7" not in redact(f"at https://host/path?{query} it failed")
