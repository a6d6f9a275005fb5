from __future__ import annotations

import base64
import copy
import json
from dataclasses import FrozenInstanceError

import pytest

from airflow_provider_tinybird import __version__
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings, SettingsError, normalise_base_url, region_hint

SECRET = "p.eyJ1IjoidSJ9.c2VjcmV0"


def token_of(region: str) -> Token:
    return Token(f"p.{base64.b64encode(json.dumps({'u': 'u', 'id': 'i', 'host': region}).encode()).decode()}.c2ln")


def settings(base_url: str = "https://api.tinybird.co", **changes: object) -> Settings:
    return Settings(**{"base_url": base_url, "token": Token(SECRET)} | changes)


def test_a_token_does_not_show_itself():
    token = Token(SECRET)
    shown = [
        repr(token),
        str(token),
        f"{token}",
        repr({"token": token}),
        repr(settings()),
    ]
    assert all(SECRET not in text and "***" in text for text in shown)
    assert token.value == SECRET
    assert not hasattr(token, "__dict__")


def test_a_token_gets_into_json_by_nobody_but_its_value():
    with pytest.raises(TypeError):
        json.dumps({"token": Token(SECRET)})


def test_tokens_are_equal_by_value():
    assert Token("a") == Token("a") != Token("b")
    assert Token("a") != "a"
    assert len({Token("a"), Token("a"), Token("b")}) == 2
    assert copy.deepcopy(settings()) == settings()


def test_a_token_cannot_be_changed():
    with pytest.raises(AttributeError):
        Token("a").value = "b"


def test_defaults():
    it = settings()
    assert (it.timeout, it.connect_timeout, it.verify, it.proxy, it.max_retries) == (30.0, 10.0, True, None, 5)
    assert it.user_agent == f"airflow-provider-tinybird/{__version__}"
    with pytest.raises(FrozenInstanceError):
        it.timeout = 1.0


def test_a_proxy_with_a_password_is_not_shown():
    assert "hunter2" not in repr(settings(proxy="http://me:hunter2@proxy.example:3128"))


@pytest.mark.parametrize(
    ("text", "base_url"),
    [
        ("api.tinybird.co", "https://api.tinybird.co"),
        ("  https://API.Tinybird.co/ \n", "https://api.tinybird.co"),
        ("HTTPS://api.tinybird.co:443", "https://api.tinybird.co"),
        ("api.tinybird.co:8443", "https://api.tinybird.co:8443"),
        ("https://api.tinybird.co/v0", "https://api.tinybird.co"),
        ("https://api.tinybird.co/v0/datasources/", "https://api.tinybird.co"),
        ("https://api.tinybird.co/v1/", "https://api.tinybird.co"),
        ("http://localhost:7181/api/v0/", "http://localhost:7181"),
        ("https://gateway.example/tinybird/", "https://gateway.example/tinybird"),
        ("https://gateway.example/tinybird/v0", "https://gateway.example/tinybird"),
        ("https://gateway.example/v0x", "https://gateway.example/v0x"),
        ("localhost", "http://localhost"),
        ("localhost:7181", "http://localhost:7181"),
        ("https://localhost:7181", "https://localhost:7181"),
        ("127.0.0.5:7181", "http://127.0.0.5:7181"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("::1", "http://[::1]"),
        ("http://[::1]:7181", "http://[::1]:7181"),
        ("2001:db8::1", "https://[2001:db8::1]"),
        ("10.0.0.7:9000", "https://10.0.0.7:9000"),
        ("tinybird_local", "https://tinybird_local"),
    ],
)
def test_base_url(text, base_url):
    assert normalise_base_url(text) == base_url
    assert normalise_base_url(base_url) == base_url


@pytest.mark.parametrize(
    "text", ["http://api.tinybird.co", "http://tinybird-local:7181", "http://localhost.example", "http://127.1"]
)
def test_plain_http_needs_leave(text):
    with pytest.raises(SettingsError, match="allow_http") as e:
        normalise_base_url(text)
    assert text in str(e.value)
    assert normalise_base_url(text, allow_http=True) == text


def test_leave_for_http_does_not_choose_it():
    assert normalise_base_url("tinybird-local:7181", allow_http=True) == "https://tinybird-local:7181"


def test_scheme_and_port_from_elsewhere():
    assert normalise_base_url("localhost", scheme="https", port=7181) == "https://localhost:7181"
    assert normalise_base_url("https://api.tinybird.co/v0", scheme="http", port=443) == "https://api.tinybird.co"
    assert normalise_base_url("https://api.example:8443", port=8443) == "https://api.example:8443"
    assert normalise_base_url("::1", port=7181) == "http://[::1]:7181"
    with pytest.raises(SettingsError, match=r"port 8443.*Port is 443"):
        normalise_base_url("https://api.example:8443", port=443)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "https:/api.tinybird.co",
        "https://https://api.tinybird.co",
        "ftp://api.tinybird.co",
        "api tinybird co",
        "https://api.tinybird.co/a b",
        "..",
        "api..co",
        "-x-",
        "api.tinybird.co:99999",
        "api.tinybird.co:0",
        "api.tinybird.co:port",
        "http://[::1",
        "api.tinybird.cö",
        "https://api.tinybird.co?q=1",
        "https://api.tinybird.co/#top",
        "https://user@api.tinybird.co",
        "https://api.tinybird.co/../..",
        "https://api.tinybird.co/a/../b",
        "https://api.tinybird.co/.",
        "https://api.tinybird.co/%2e%2E/x",
        "https://api.tinybird.co/.%2e/v0/datasources",
        "https://api.tinybird.co/%5c..%5c",
        "https://api.tinybird.co/a\\..\\b",
        "https://api.tinybird.co/a%00b",
        "https://api.tinybird.co/a%0d%0ab",
        "https://api.tiny\nbird.co",
        "https://api.tinybird.co/a\tb",
        "api.tinybird.co\x00",
        "\x1bapi.tinybird.co",
    ],
)
def test_nonsense_is_refused_and_named(text):
    with pytest.raises(SettingsError, match="API base URL") as e:
        normalise_base_url(text)
    assert "https://api.tinybird.co" in str(e.value)
    assert isinstance(e.value, ValueError)
    assert isinstance(e.value, TinybirdError)
    assert not e.value.retry_can_help


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"https://{SECRET}",
        f"https://api.tinybird.co?token={SECRET}",
        f"api.tinybird.co/v0/sql?token={SECRET}",
        f"https://:{SECRET}@api.tinybird.co",
        f"{SECRET}@api.tinybird.co",
        f"https://a:{SECRET}@b://c",
        f"api.tinybird.co:{SECRET}",
        f"https://api.tinybird.co#{SECRET}",
    ],
)
def test_a_token_in_the_wrong_place_is_not_shown(text):
    with pytest.raises(SettingsError) as e:
        normalise_base_url(text)
    assert "c2vjcmv0" not in str(e.value).lower()
    assert e.value.__cause__ is None


def test_a_token_of_another_region_is_told():
    token = token_of("aws-us-east-1")
    assert region_hint(settings(token=token)) == (
        "the token belongs to region aws-us-east-1 (https://api.us-east.aws.tinybird.co), the connection points at "
        "https://api.tinybird.co (gcp-europe-west3)"
    )


@pytest.mark.parametrize(
    ("base_url", "region"),
    [
        ("https://api.us-east.aws.tinybird.co", "aws-us-east-1"),
        ("https://api.ap-east.aws.tinybird.co", "aws-ap-east-1"),
        ("https://tinybird.example", "aws-us-east-1"),
        ("http://localhost:7181", "aws-us-east-1"),
        ("https://api.tinybird.co", "aws-of-tomorrow-1"),
    ],
)
def test_no_hint_where_regions_agree_or_are_unknown(base_url, region):
    assert region_hint(settings(base_url, token=token_of(region))) is None


def test_no_hint_for_a_token_that_says_nothing():
    assert region_hint(settings(token=Token("x.y"))) is None


def test_a_local_token_on_a_cloud_host_is_told():
    hint = region_hint(settings(token=token_of("local")))
    assert hint is not None
    assert "http://localhost:7181" in hint
