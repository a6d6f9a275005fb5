from __future__ import annotations

import base64
import json

import pytest

from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.regions import LOCAL, REGIONS, region_by_host, region_by_id, token_region


def static_token(content: object, *, padded: bool = False, urlsafe: bool = False) -> Token:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    middle = encode(json.dumps(content, ensure_ascii=False).encode()).decode()
    return Token(f"p.{middle if padded else middle.rstrip('=')}.c2lnbmF0dXJl")


def test_the_ten_regions_have_ids_and_hosts_of_their_own():
    assert len(REGIONS) == 10
    assert len({region.id for region in REGIONS}) == 10
    hosts = [host for region in REGIONS for host in (region.host, *region.other_hosts)]
    assert len(hosts) == len(set(hosts)) == 11
    assert all(region.id == f"{region.provider}-{region.name}" for region in REGIONS)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("gcp-europe-west3", "api.tinybird.co"),
        ("aws-us-east-1", "api.us-east.aws.tinybird.co"),
        ("us-east-1", "api.us-east.aws.tinybird.co"),
        ("us-east4", "api.us-east.tinybird.co"),
        (" AWS us-west-2 ", "api.us-west-2.aws.tinybird.co"),
        ("gcp/northamerica_northeast2", "api.northamerica-northeast2.gcp.tinybird.co"),
        ("local", "localhost:7181"),
    ],
)
def test_region_by_what_people_write(text, host):
    assert region_by_id(text).host == host


@pytest.mark.parametrize("text", ["", "us-east", "mars-north-1", "gcp", "aws-us-east4"])
def test_no_region_is_guessed(text):
    assert region_by_id(text) is None


def test_a_name_that_two_providers_share_is_ambiguous(monkeypatch):
    other = type(REGIONS[0])("azure-us-east-1", "azure", "us-east-1", "https://api.us-east-1.azure.tinybird.co")
    monkeypatch.setattr("airflow_provider_tinybird.api.regions.REGIONS", (*REGIONS, other))
    assert region_by_id("us-east-1") is None
    assert region_by_id("azure-us-east-1") is other


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("api.tinybird.co", "gcp-europe-west3"),
        ("https://API.us-east.aws.tinybird.co:443/v0", "aws-us-east-1"),
        ("https://api.ap-east.aws.tinybird.co", "aws-ap-east-1"),
        ("https://api.ap-east-1.aws.tinybird.co", "aws-ap-east-1"),
    ],
)
def test_region_by_host(host, region):
    assert region_by_host(host).id == region


@pytest.mark.parametrize("host", ["api.tinybird.co.evil.example", "tinybird.internal", "http://localhost:7181", ""])
def test_other_hosts_belong_to_no_region(host):
    assert region_by_host(host) is None


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("user", ["u", "uu", "uuu", "uuuu"])
def test_region_of_a_static_token_whatever_its_padding(user, padded):
    token = static_token({"u": user, "id": "some-id", "host": "aws-us-east-1"}, padded=padded)
    assert token_region(token) == "aws-us-east-1"


def test_region_of_a_token_in_the_urlsafe_alphabet():
    token = static_token({"u": "ÿÿÿ>>>???", "host": "local"}, urlsafe=True)
    assert set("-_") & set(token.value)
    assert token_region(token) == LOCAL.id


@pytest.mark.parametrize(
    "token",
    [
        Token("p.eyJ.x"),
        Token("p.%%%.x"),
        Token("p..x"),
        Token("nonsense"),
        Token(""),
        Token("p." + "W1tb" * 50_000 + ".x"),
        Token("eyJhbGciOiJIUzI1NiJ9.eyJob3N0IjoiYXdzLXVzLWVhc3QtMSJ9.x"),
        static_token(["host"]),
        static_token("aws-us-east-1"),
        static_token({"u": "u"}),
        static_token({"host": 7}),
        static_token({"host": "has spaces and\nlines"}),
        static_token({"host": "x" * 200}),
    ],
    ids=lambda token: token.value[:24],
)
def test_a_token_that_says_nothing_useful_says_nothing(token):
    assert token_region(token) is None
