"""What is cut out of texts before they are shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_tinybird.api import redact as redact_module
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
    ("Authorization: Bearer opaque", "Authorization: Bearer ***"),
    ('{"authorization": "Basic dXNlcjpwdw==", "a": 1}', '{"authorization": "Basic ***", "a": 1}'),
    ("Proxy-Authorization: Basic dXNlcjpwdw==", "Proxy-Authorization: Basic ***"),
    ("got Bearer 0paque-5ec3e7 instead", "got Bearer *** instead"),
    ("Set-Cookie: session=5ec3e7; Path=/; HttpOnly\nx", "Set-Cookie: ***\nx"),
    (
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=5ec3e7+/==;EndpointSuffix=x",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=***;EndpointSuffix=x",
    ),
    ("user=u password=5ec3e7 host=h", "user=u password=*** host=h"),
    ("user=u password='5ec 3e7' host=h", "user=u password='***' host=h"),
    ('{"password": "5ec \\" 3e7", "b": 1}', '{"password": "***", "b": 1}'),
    ("Password: 5ec3e7", "Password: ***"),
    ("db_password=5ec3e7", "db_password=***"),
    ("client_secret=5ec3e7&refresh_token=5ec3e7", "client_secret=***&refresh_token=***"),
    ("aws_secret_access_key = 5ec3e7", "aws_secret_access_key = ***"),
    ("key AKIA0123456789ABCDEF", "key ***"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMII5ec3e7\n-----END", "-----BEGIN RSA PRIVATE KEY-----***-----END"),
    ("https://u:p@ss@h/p", "https://***@h/p"),
    (
        "basic authentication is needed; the bearer of this is me",
        "basic authentication is needed; the bearer of this is me",
    ),
    ("Invalid authentication token: send one", "Invalid authentication token: send one"),
    ("column token is missing, primary key day", "column token is missing, primary key day"),
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


SLOW = [
    "a.",
    "a-1-",
    "eyJ-",
    "a://",
    "://@",
    "a://?",
    "X-Amz-",
    "X-Amz-a=",
    "_token",
    "a_",
    "secret",
    "bearer ",
    "bearer " + "a" * 199 + " ",
    "authorization: ",
    "cookie: a;",
    'password="',
    '"\\',
    "-----BEGIN PRIVATE KEY-----",
    "p.eyJ",
    "=",
    "%3D",
    "\u00e9",
    " ",
    "\n",
    "5ec3e7-the-token-",
    "5ec3e7-the-",
]


@pytest.mark.parametrize("unit", SLOW)
def test_the_time_does_not_grow_with_what_is_not_shown(unit):
    """A megabyte takes 1 to 20 ms. The time of this process alone counts, and the bound is far above: before, it was minutes to days."""
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    began = time.process_time()
    shown = redact(text, secret="5ec3e7-the-token")
    assert time.process_time() - began < 1.0
    assert len(shown) < LONGEST + 50


@pytest.mark.parametrize("unit", SLOW)
def test_what_is_searched_is_searched_in_time_that_grows_as_it_does(unit, monkeypatch):
    monkeypatch.setattr(redact_module, "_SEARCHED", 10**9)
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    began = time.process_time()
    redact(text, secret="5ec3e7-the-token")
    assert time.process_time() - began < 5.0


SECRETS = [
    (TOKEN, "bm90", "c2lnbmF0dXJl"),
    (f"Bearer {JWT}", "c2ln-_x", "MSJ9"),
    ("Authorization: Bearer opaque5ec3e7", "5ec3e7", "opaque"),
    ("https://user:5ec3e7@h/p", "5ec", "user:"),
    ("https://h/p?sig=5ec3e7", "5ec3e7", "sig=5"),
    ("password=5ec3e7", "5ec3e7", "5ec"),
    ("AccountKey=5ec3e7", "5ec3e7", "5ec"),
    ("an-opaque-5ec3e7-token", "5ec3e7", "an-opaque"),
]


@given(
    st.integers(0, 9000), st.sampled_from(["x", "x ", "a.", "a/", "https://a/ ", "\u00e9"]), st.sampled_from(SECRETS)
)
def test_a_secret_across_a_cut_leaves_nothing(before, filling, secret):
    """Wherever the cut is: within its mark, within the secret, behind it."""
    text, *parts = secret
    filled = (filling * (before // len(filling) + 1))[:before]
    shown = redact(f"{filled} {text} and then {'y' * 9000}", secret="an-opaque-5ec3e7-token")
    for part in parts:
        assert part not in shown


@pytest.mark.parametrize("secret", SECRETS, ids=lambda one: one[0])
def test_nothing_is_left_at_any_place_of_the_first_cut(secret):
    """What comes before is nearly all cut out, so that the place of the cut is shown."""
    text, *parts = secret
    opaque = "an-opaque-5ec3e7-token"
    before = f"{TOKEN} " * (7600 // (len(TOKEN) + 1))
    end = redact_module._SEARCHED + len(opaque) - len(before)
    for place in range(end - len(text) - 5, end + 5):
        shown = redact(f"{before}{'x' * (place - 1)} {text} and then {'y' * 9000}", secret=opaque)
        assert "xxx" in shown
        for part in parts:
            assert part not in shown, (place, shown[-100:])


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
