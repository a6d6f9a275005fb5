"""Connections as Airflow itself makes them, so that this file means something on every version of Airflow that runs it."""

# ruff: noqa: AIR311
from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import certifi
import pytest
from airflow.models import Connection  # the core's, which reads what is stored; workers have another class on 3.x

from airflow_provider_tinybird import _compat
from airflow_provider_tinybird._compat import AirflowNotFoundException, BaseHook, ConnectionFields, get_connection_async
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.regions import REGIONS
from airflow_provider_tinybird.api.settings import Settings, SettingsError
from airflow_provider_tinybird.connection import ConnectionLike, settings_from_connection
from airflow_provider_tinybird.get_provider_info import EXTRA_FIELDS

TOKEN = "p.eyJ1Ijoi/dSJ9+A==.c2VjcmV0"
CLOUD = "https://api.us-east.aws.tinybird.co"


def token_of(region: str) -> str:
    return f"p.{base64.b64encode(json.dumps({'u': 'u', 'id': 'i', 'host': region}).encode()).decode()}.c2lnbg"


def connection(host: str | None = CLOUD, password: str | None = TOKEN, **fields: object) -> Connection:
    if isinstance(fields.get("extra"), dict):
        fields["extra"] = json.dumps(fields["extra"])
    return Connection(conn_id="tb", conn_type="tinybird", host=host, password=password, **fields)


def from_uri(uri: str) -> list[ConnectionLike]:
    """Let every class of connection that this Airflow has read a URI."""
    made: list[ConnectionLike] = [Connection(conn_id="tb", uri=uri)]
    if hasattr(_compat.Connection, "from_uri"):
        made.append(_compat.Connection.from_uri(uri, conn_id="tb"))
    return made


def read(**fields: object) -> Settings:
    return settings_from_connection(connection(**fields))


def refusal(**fields: object) -> str:
    with pytest.raises(SettingsError) as e:
        read(**fields)
    assert str(e.value).startswith("Connection 'tb': ")
    assert "c2VjcmV0" not in str(e.value)
    assert e.value.__cause__ is None
    return str(e.value)


FULL = Settings(
    name="tb",
    base_url=CLOUD,
    token=Token(TOKEN),
    workspace="shop",
    timeout=12.5,
    verify=False,
    proxy="http://me:pw@proxy.example:3128",
    max_retries=0,
)
FULL_EXTRA = {
    "workspace": "shop",
    "timeout": 12.5,
    "verify": False,
    "proxy": "http://me:pw@proxy.example:3128",
    "max_retries": 0,
    "region": "aws-us-east-1",
    "allow_http": False,
}


class TestForms:
    """The ways in which people define connections."""

    def test_fields(self):
        assert read(extra=FULL_EXTRA) == FULL

    def test_json_in_the_environment(self, monkeypatch):
        text = json.dumps({"conn_type": "tinybird", "host": CLOUD, "password": TOKEN, "extra": FULL_EXTRA})
        monkeypatch.setenv("AIRFLOW_CONN_TB", text)
        assert settings_from_connection(BaseHook.get_connection("tb")) == FULL

    @pytest.mark.parametrize("host", [CLOUD, f"{CLOUD}:443/", f"{CLOUD}/v0"])
    def test_uri_in_the_environment(self, monkeypatch, host):
        extra = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in FULL_EXTRA.items())
        uri = f"tinybird://:{quote(TOKEN, safe='')}@{quote(host, safe='')}/?{extra}"
        monkeypatch.setenv("AIRFLOW_CONN_TB", uri)
        assert settings_from_connection(BaseHook.get_connection("tb")) == FULL

    async def test_fetched_from_an_event_loop(self, monkeypatch):
        text = json.dumps({"conn_type": "tinybird", "host": CLOUD, "password": TOKEN, "extra": FULL_EXTRA})
        monkeypatch.setenv("AIRFLOW_CONN_TB", text)
        found = await get_connection_async("tb")
        assert isinstance(found, ConnectionFields)
        assert TOKEN not in repr(found)
        assert "pw@proxy" not in repr(found)
        assert settings_from_connection(found) == FULL

    async def test_a_missing_connection_is_airflows_error(self):
        with pytest.raises(AirflowNotFoundException, match="nowhere"):
            await get_connection_async("nowhere")

    @pytest.mark.parametrize(
        ("uri", "base_url"),
        [
            ("tinybird://https://:tok@api.example:8443/", "https://api.example:8443"),
            ("tinybird://https://:tok@api.example/", "https://api.example"),
            ("tinybird://http://:tok@localhost:7181/", "http://localhost:7181"),
            ("tinybird://:tok@localhost:7181", "http://localhost:7181"),
            ("tinybird://:tok@localhost:7181/https", "https://localhost:7181"),
            ("tinybird://:tok@api.tinybird.co", "https://api.tinybird.co"),
            ("tinybird://:tok@api.tinybird.co/v0", "https://api.tinybird.co"),
            ("tinybird://:tok@api.tinybird.co:443/https", "https://api.tinybird.co"),
            ("tinybird://:tok@%5B%3A%3A1%5D:7181/", "http://[::1]:7181"),
            ("tinybird://:tok@https%3A%2F%2Fgateway.example%2Ftb", "https://gateway.example/tb"),
            ("tinybird://:tok@http%3A%2F%2Ftinybird-local%3A7181?allow_http=true", "http://tinybird-local:7181"),
            ("tinybird://:tok@?region=aws-us-east-1", CLOUD),
            ("tinybird://:tok@/?region=us-east-1", CLOUD),
            ("tinybird://:tok@/?__extra__=%7B%22region%22%3A%20%22local%22%7D", "http://localhost:7181"),
        ],
    )
    def test_uris(self, uri, base_url):
        for made in from_uri(uri):
            settings = settings_from_connection(made)
            assert settings.base_url == base_url
            assert settings.token == Token("tok")

    @pytest.mark.parametrize(
        "fields",
        [
            {"extra": FULL_EXTRA},
            {"host": f"{CLOUD}:443/"},
            {"host": "localhost", "port": 7181},
            {"host": "http://localhost", "port": 7181},
            {"host": "http://[::1]:7181"},
            {"host": "https://gateway.example/tb"},
            {"host": None, "password": token_of("aws-us-east-1")},
        ],
        ids=str,
    )
    def test_the_round_trip_through_a_uri_that_airflows_cache_makes(self, fields):
        before = connection(**fields)
        for after in from_uri(before.get_uri()):
            assert settings_from_connection(after) == settings_from_connection(before)


class TestHost:
    @pytest.mark.parametrize("nothing", [None, "", "  "])
    def test_empty_is_what_region_says(self, nothing):
        assert (
            read(host=nothing, schema=nothing, extra={"region": "gcp-us-east4"}).base_url
            == "https://api.us-east.tinybird.co"
        )

    def test_empty_without_region_is_what_the_token_says(self):
        assert read(host=None, password=token_of("aws-eu-west-1")).base_url == "https://api.eu-west-1.aws.tinybird.co"
        assert read(host=None, password=token_of("local")).base_url == "http://localhost:7181"

    def test_region_goes_before_the_token(self):
        settings = read(host=None, password=token_of("aws-eu-west-1"), extra={"region": "aws-us-east-1"})
        assert settings.base_url == CLOUD

    @pytest.mark.parametrize("password", [TOKEN, "opaque", token_of("aws-of-tomorrow-1")])
    def test_nothing_to_go_by_lists_the_hosts(self, password):
        message = refusal(host=None, password=password)
        assert "Host is empty" in message
        assert message.count("https://api.") == 10

    def test_a_token_of_an_unknown_region_says_which(self):
        assert "the token's region, aws-of-tomorrow-1, is not known" in refusal(
            host=None, password=token_of("aws-of-tomorrow-1")
        )

    def test_unknown_region_lists_the_known(self):
        message = refusal(host=None, extra={"region": "mars-1"})
        assert "'mars-1'" in message
        assert "aws-us-east-1" in message

    def test_a_region_of_tomorrow_does_no_harm_beside_a_host(self):
        assert (
            read(host="https://api.mars-1.tinybird.co", extra={"region": "mars-1"}).base_url
            == "https://api.mars-1.tinybird.co"
        )

    def test_host_and_region_that_contradict_each_other(self):
        message = refusal(host="api.tinybird.co", extra={"region": "aws-us-east-1"})
        assert "gcp-europe-west3" in message
        assert CLOUD in message

    def test_ports(self):
        assert read(host="api.example", port=8443).base_url == "https://api.example:8443"
        assert read(host="https://api.example:8443", port=8443).base_url == "https://api.example:8443"
        assert "8443" in refusal(host="https://api.example:8443", port=443)

    def test_schema_that_is_no_scheme(self):
        message = refusal(host="api.example", schema="analytics")
        assert "Schema is 'analytics'" in message

    def test_plain_http(self):
        assert "allow_http" in refusal(host="http://tinybird-local:7181")
        assert "allow_http" in refusal(host="tinybird-local", schema="http", port=7181)
        for yes in (True, "true", "True", "1", 1, "yes"):
            settings = read(host="http://tinybird-local:7181", extra={"allow_http": yes})
            assert settings.base_url == "http://tinybird-local:7181"

    def test_a_token_in_host_is_not_shown(self):
        assert "Password" in refusal(host=TOKEN)


class TestToken:
    @pytest.mark.parametrize("around", ["{}\n", "  {} ", "\t{}\r\n"])
    def test_space_around_is_cut(self, around):
        assert read(password=around.format(TOKEN)).token == Token(TOKEN)

    @pytest.mark.parametrize("nothing", [None, "", " \n"])
    def test_missing(self, nothing):
        assert "Password is empty. Put a Tinybird token into it" in refusal(password=nothing)

    def test_in_the_extra(self):
        for name in ("token", "extra__tinybird__token"):
            assert "the extra has a 'token'" in refusal(password=None, extra={name: TOKEN})

    def test_in_login(self):
        message = refusal(password=None, login=TOKEN)
        assert "Login" in message

    def test_with_bearer(self):
        for prefix in ("Bearer ", "bearer  "):
            assert "'Bearer'" in refusal(password=prefix + TOKEN)

    @pytest.mark.parametrize(
        "bad", ["p.eyJ c2VjcmV0", "p.eyJ\nc2VjcmV0", "p.eyJ\u00a0c2VjcmV0", "p.eyJ\u2026c2VjcmV0", "p.\x00c2VjcmV0"]
    )
    def test_with_something_inside(self, bad):
        assert "copy the token again" in refusal(password=bad)

    def test_airflows_own_placeholder(self):
        assert "asterisks" in refusal(password="***")


class TestExtras:
    @pytest.mark.parametrize("extra", [None, {}, dict.fromkeys(FULL_EXTRA, ""), dict.fromkeys(FULL_EXTRA)], ids=str)
    def test_nothing_means_the_defaults(self, extra):
        assert read(extra=extra) == Settings(base_url=CLOUD, token=Token(TOKEN), name="tb")

    def test_text_is_as_good_as_types(self):
        assert read(extra={name: str(value) for name, value in FULL_EXTRA.items()}) == FULL

    def test_names_with_airflows_old_prefix(self):
        old = {f"extra__tinybird__{name}": value for name, value in FULL_EXTRA.items()}
        assert read(extra=old) == FULL
        assert read(extra=old | {"timeout": 7}) == replace(FULL, timeout=7.0)
        assert read(extra=old | {"timeout": ""}) == FULL

    def test_a_workspace_with_digits_for_a_name(self):
        assert read(extra={"workspace": 2024}).workspace == "2024"

    def test_verify_with_a_file(self, tmp_path, monkeypatch):
        bundle = tmp_path / "authorities.pem"
        bundle.write_bytes(Path(certifi.where()).read_bytes())
        assert read(extra={"verify": str(bundle)}).verify == str(bundle)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert read(extra={"verify": "~/authorities.pem"}).verify == str(bundle)

    def test_verify_with_a_file_that_holds_no_certificate(self, tmp_path):
        bundle = tmp_path / "empty.pem"
        bundle.touch()
        assert "reading it failed" in refusal(extra={"verify": str(bundle)})

    @pytest.mark.parametrize("installed", [True, False])
    def test_a_socks_proxy_needs_its_package(self, installed, monkeypatch):
        monkeypatch.setattr("airflow_provider_tinybird.api.proxies.find_spec", lambda name: installed or None)
        fields = {"extra": {"proxy": "socks5://proxy.example:1080"}}
        if installed:
            assert read(**fields).proxy == "socks5://proxy.example:1080"
        else:
            assert "httpx[socks]" in refusal(**fields)

    @pytest.mark.parametrize("proxy", ["http://proxy.example:3128", "https://me:pw@proxy.example"])
    def test_proxies(self, proxy):
        assert read(extra={"proxy": proxy}).proxy == proxy

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("timeout", "soon"),
            ("timeout", 0),
            ("timeout", -1),
            ("timeout", "nan"),
            ("timeout", "inf"),
            ("timeout", True),
            ("timeout", [30]),
            ("timeout", "1" + "0" * 400),
            ("max_retries", "many"),
            ("max_retries", -1),
            ("max_retries", 1.5),
            ("max_retries", False),
            ("max_retries", {}),
            ("allow_http", "perhaps"),
            ("allow_http", 2),
            ("allow_http", 1.0),
            ("verify", "treu"),
            ("verify", "/no/such/file.pem"),
            ("verify", 3),
            ("verify", {"ca": "x"}),
            ("workspace", True),
            ("workspace", ["a"]),
            ("region", {"id": "x"}),
        ],
    )
    def test_nonsense_is_refused_by_name(self, name, value):
        message = refusal(extra={name: value})
        assert f"The extra '{name}' is " in message
        assert repr(value)[:90] in message
        assert len(message) < 400

    @pytest.mark.parametrize(
        "proxy",
        [
            "proxy.example:3128",
            "me:hunter2@proxy.example",
            "ftp://me:hunter2@x",
            "http://",
            "http://a b",
            "http://[hunter2",
            "http://a:hunter2",
        ],
    )
    def test_a_bad_proxy_is_refused_without_being_shown(self, proxy):
        message = refusal(extra={"proxy": proxy})
        assert "The extra 'proxy' is no URL" in message
        assert "hunter2" not in message

    def test_a_token_in_the_wrong_extra_is_not_shown(self):
        for name in ("region", "timeout", "verify", "allow_http", "max_retries"):
            refusal(host=None, extra={"region": "aws-us-east-1", name: "p.eyJ1IjoidSJ9.c2VjcmV0"})

    def test_an_extra_that_is_no_object(self):
        fields = ConnectionFields(
            conn_id="tb", host=CLOUD, schema=None, port=None, login=None, password=TOKEN, extra_dejson=["timeout"]
        )
        with pytest.raises(SettingsError, match="JSON list"):
            settings_from_connection(fields)


class TestType:
    """A token of another service would be sent to Tinybird, or Tinybird's to another host."""

    @pytest.mark.parametrize("kind", ["http", "https", "postgres", "HTTP"])
    async def test_another_type_is_refused_by_name(self, monkeypatch, kind):
        text = json.dumps({"conn_type": kind, "host": CLOUD, "password": TOKEN})
        monkeypatch.setenv("AIRFLOW_CONN_TB", text)
        for found in (BaseHook.get_connection("tb"), await get_connection_async("tb")):
            with pytest.raises(SettingsError) as e:
                settings_from_connection(found)
            assert str(e.value).startswith(f"Connection 'tb': Its type is '{kind}', not 'tinybird'.")

    def test_so_is_one_by_uri(self):
        for found in from_uri(f"https://:{quote(TOKEN, safe='')}@api.tinybird.co"):
            with pytest.raises(SettingsError, match="not 'tinybird'"):
                settings_from_connection(found)

    @pytest.mark.parametrize("fields", [{}, {"conn_type": ""}, {"conn_type": None}, {"conn_type": "generic"}])
    def test_one_that_says_none_is_read(self, monkeypatch, fields):
        monkeypatch.setenv("AIRFLOW_CONN_TB", json.dumps({"host": CLOUD, "password": TOKEN, **fields}))
        assert settings_from_connection(BaseHook.get_connection("tb")).base_url == CLOUD

    def test_a_generic_uri_is_read(self):
        for found in from_uri(f"generic://:{quote(TOKEN, safe='')}@api.tinybird.co"):
            assert settings_from_connection(found).token == Token(TOKEN)


class TestDocumentation:
    """What docs/connection.md tells people to type."""

    TEXT = (Path(__file__).resolve().parents[2] / "docs" / "connection.md").read_text()

    def test_examples_work(self, monkeypatch):
        examples = re.findall(r"^export AIRFLOW_CONN_TINYBIRD_DEFAULT='(.*?)'$", self.TEXT, re.MULTILINE | re.DOTALL)
        urls = []
        for example in examples:
            monkeypatch.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", example)
            settings = settings_from_connection(BaseHook.get_connection("tinybird_default"))
            assert settings.token == Token("YOUR-TOKEN")
            urls.append(settings.base_url)
        assert urls == [
            "https://api.tinybird.co",
            "https://api.us-east.aws.tinybird.co",
            "https://api.tinybird.co",
            "http://localhost:7181",
            "http://tinybird-local:7181",
        ]

    def test_regions_are_those_of_the_code(self):
        rows = re.findall(r"^\| `((?:gcp|aws)-[\w-]+)` \| `(https://\S+)` \|$", self.TEXT, re.MULTILINE)
        assert rows == [(region.id, region.base_url) for region in REGIONS]

    def test_extras_are_those_of_the_form(self):
        rows = re.findall(r"^\| `([a-z_]+)` \| ", self.TEXT, re.MULTILINE)
        assert rows == [extra.name for extra in EXTRA_FIELDS]
