"""Certificates and proxies: what is trusted, which way is gone, and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import misbehaving as wrong
import pytest
from certificates import certificate
from misbehaving import misbehaving

from airflow_provider_tinybird.api import certificates, jobs, proxies
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.errors import ConnectionFailedError
from airflow_provider_tinybird.api.proxies import excepted, proxy_of
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings, SettingsError

LOOK = jobs.get_job("j")
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 29\r\nConnection: close\r\n\r\n{"id": "j", "status": "done"}'


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in certificates.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest) -> Any:
    def run(settings: Settings, call: Any = LOOK) -> Any:
        if request.param == "sync":
            with Client(settings) as client:
                return client.send(call)

        async def run_async() -> Any:
            async with AsyncClient(settings) as client:
                return await client.send(call)

        return asyncio.run(run_async())

    return run


# --- servers ---


class TlsServer:
    """Answers each connection with a job that is done, where the handshake succeeds."""

    def __init__(self, pem: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = 0
        self.requests: list[bytes] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            self.connections += 1
            try:
                with self.context.wrap_socket(connection, server_side=True) as tls:
                    self.requests.append(tls.recv(65536))
                    tls.sendall(ANSWER)
            except OSError:
                connection.close()
            if self._ending:
                return

    _ending = False

    def end(self) -> None:
        self._ending = True
        socket.create_connection(self.listener.getsockname()).close()
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return certificate(tmp_path, "127.0.0.1")


@pytest.fixture
def tls(good: Path) -> Iterator[TlsServer]:
    server = TlsServer(good)
    yield server
    server.end()


def settings_of(url: str, **fields: Any) -> Settings:
    return Settings(base_url=url, token=Token("t-5ec3e7"), **{"timeout": 10, "max_retries": 3, **fields})


class TestCertificates:
    def test_one_that_is_not_trusted_is_said_so_and_not_tried_again(self, send, tls):
        with pytest.raises(
            ConnectionFailedError, match=r"extra 'verify'.*SSL_CERT_FILE or REQUESTS_CA_BUNDLE"
        ) as caught:
            send(settings_of(tls.url, name="prod"))
        assert "connection 'prod'" in str(caught.value)
        assert (caught.value.sent, caught.value.retry_can_help) == (False, False)
        assert (tls.connections, tls.requests) == (1, [])

    @pytest.mark.parametrize(("name", "days"), [("127.0.0.1", -5), ("other.example", 10)])
    def test_one_that_is_over_or_of_another_host(self, send, tmp_path, name, days):
        pem = certificate(tmp_path, name, days=days)
        server = TlsServer(pem)
        try:
            with pytest.raises(ConnectionFailedError, match="extra 'verify'"):
                send(settings_of(server.url, verify=str(pem)))
            assert (server.connections, server.requests) == (1, [])
        finally:
            server.end()

    def test_https_to_a_port_that_speaks_http(self, send):
        def refuse(peer: wrong.Peer) -> None:
            peer.connection.recv(65536)
            peer.connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        with misbehaving(refuse) as server:
            with pytest.raises(ConnectionFailedError, match="whether it speaks https") as caught:
                send(settings_of(server.url.replace("http:", "https:")))
            assert caught.value.retry_can_help is False

    def test_a_handshake_that_breaks_off_is_a_lost_connection_and_tried_again(self, send, waits):
        with (
            misbehaving(lambda peer: peer.connection.recv(1)) as server,
            pytest.raises(ConnectionFailedError) as caught,
        ):
            send(settings_of(server.url.replace("http:", "https:")))
        assert caught.value.retry_can_help is True
        assert len(waits) == 3

    @pytest.mark.parametrize("variable", [name for name in certificates.VARIABLES if not name.endswith("DIR")])
    def test_authorities_of_the_environment(self, send, tls, good, monkeypatch, variable):
        monkeypatch.setenv(variable, str(good))
        assert send(settings_of(tls.url)).id == "j"

    def test_all_that_are_named_are_trusted(self, send, tls, good, tmp_path, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path, "other.example")))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(good))
        assert send(settings_of(tls.url)).id == "j"

    def test_verify_of_the_connection_counts_alone(self, send, tls, good, tmp_path, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
        assert send(settings_of(tls.url, verify=str(good))).id == "j"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(good))
        with pytest.raises(ConnectionFailedError):
            send(settings_of(tls.url, verify=str(certificate(tmp_path, "other.example"))))

    @pytest.mark.parametrize("variable", [name for name in certificates.VARIABLES if not name.endswith("DIR")])
    def test_a_file_that_cannot_be_read_is_named(self, tmp_path, monkeypatch, variable):
        (tmp_path / "x.pem").write_text("nonsense")
        for place in (tmp_path / "x.pem", tmp_path / "missing.pem"):
            monkeypatch.setenv(variable, str(place))
            with pytest.raises(SettingsError, match=f"{variable} of the environment is .*extra 'verify'"):
                Client(settings_of("https://api.tinybird.co"))
            Client(settings_of("http://localhost:7181")).close()


# --- proxies ---

NO_PROXY = [
    # host, NO_PROXY, whether it is excepted
    ("https://api.tinybird.co", "tinybird.co", True),
    ("https://api.tinybird.co", ".tinybird.co", True),
    ("https://api.tinybird.co", "*.tinybird.co", True),
    ("https://api.tinybird.co", "API.Tinybird.CO", True),
    ("https://api.tinybird.co", "bird.co", False),
    ("https://tinybird.co", ".tinybird.co", False),
    ("https://api.tinybird.co", "*", True),
    ("https://api.tinybird.co", "a, *", True),
    ("https://api.tinybird.co", "", False),
    ("https://api.tinybird.co", " , ,, ", False),
    ("https://api.tinybird.co", "localhost tinybird.co", True),
    ("https://api.tinybird.co:8443", "tinybird.co:8443", True),
    ("https://api.tinybird.co:8443", "tinybird.co:443", False),
    ("https://api.tinybird.co", "tinybird.co:443", True),
    ("https://api.tinybird.co", "https://tinybird.co", True),
    ("https://api.tinybird.co", "http://tinybird.co", False),
    ("https://api.tinybird.co", "all://tinybird.co", True),
    ("https://10.1.2.3", "10.0.0.0/8", True),
    ("https://11.1.2.3", "10.0.0.0/8", False),
    ("https://10.1.2.3", "10.1.2.3", True),
    ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
    ("https://10.1.2.3", "10.1.2.3/33", False),
    ("https://10.1.2.3", "10.1.2", False),
    ("https://10.1.2.3", "3", False),
    ("https://[fd00::1]", "fd00::/8", True),
    ("https://[fe00::1]", "fd00::/8", False),
    ("https://[fd00::1]", "[fd00::1]", True),
    ("https://[fd00::1]", "[fd00::]/8", True),
    ("https://[fd00::1]:8443", "[fd00::1]:8443", True),
    ("https://[fd00::1]:8443", "[fd00::1]:443", False),
    ("https://[fd00::1]", "fd00:0:0::0001", True),
    ("https://[fe80::1]", "fe80::1%eth0", True),
    ("https://[fe80::1]", "fe80::%eth0/64", True),
    ("https://[::ffff:10.1.2.3]", "10.0.0.0/8", True),
]
UNREADABLE = [
    "fd00::/8",
    "[::1]",
    "::1/128",
    "[::1]:80",
    "fe80::%eth0",
    "fe80::/10%eth0",
    "[",
    "]",
    "[::1",
    "::",
    ":",
    "://",
    "a://b://c",
    "/8",
    "host:port",
    "host:99999999999999999999999",
    "%",
    "\\",
    "ex ample",
    "*.*",
    "é.example",
    "a" * 300,
    "..",
    "@",
    "user:pw@host",
    "?",
    "#",
]


class TestProxies:
    @pytest.mark.parametrize(("url", "no_proxy", "expected"), NO_PROXY)
    def test_what_no_proxy_excepts(self, url, no_proxy, expected):
        assert excepted(urlsplit(url), no_proxy) is expected

    @pytest.mark.parametrize("entry", UNREADABLE)
    def test_what_cannot_be_read_in_it_stops_no_call(self, send, monkeypatch, entry):
        with misbehaving(wrong.answer("200 OK", b'{"id": "j", "status": "done"}')) as server:
            monkeypatch.setenv("NO_PROXY", f"localhost,{entry},127.0.0.1")
            monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
            assert send(settings_of(server.url)).id == "j"
            Client(settings_of("https://api.tinybird.co")).close()

    @pytest.mark.parametrize(
        ("url", "environment", "proxy"),
        [
            ("https://api.tinybird.co", {"https": "http://p:1"}, "http://p:1"),
            ("https://api.tinybird.co", {"https": "p:1"}, "http://p:1"),
            ("https://api.tinybird.co", {"http": "http://p:1"}, None),
            ("http://tb.example", {"http": "http://p:1", "all": "http://q:1"}, "http://p:1"),
            ("https://api.tinybird.co", {"all": "http://q:1"}, "http://q:1"),
            ("https://api.tinybird.co", {"https": "http://p:1", "no": "tinybird.co"}, None),
            # A proxy's loopback is another machine, and would be shown the token.
            ("http://127.0.0.1:7181", {"http": "http://p:1"}, None),
            ("http://localhost:7181", {"all": "http://p:1"}, None),
            ("http://[::1]:7181", {"http": "http://p:1"}, None),
            ("https://api.tinybird.co", {}, None),
        ],
    )
    def test_which_one_counts(self, url, environment, proxy):
        found = proxy_of(settings_of(url), environment)
        assert (found.url if found else None) == proxy

    def test_that_of_the_connection_counts_for_all(self, send):
        with misbehaving(wrong.answer("200 OK", b'{"id": "j", "status": "done"}')) as proxy:
            assert send(settings_of("http://127.0.0.1:1", proxy=proxy.url)).id == "j"
            assert proxy.requests[0].head.startswith(b"GET http://127.0.0.1:1/v0/jobs/j HTTP/1.1")

    def test_that_of_the_environment_is_used_and_named(self, send, monkeypatch):
        with misbehaving(wrong.answer("407 X", b"no")) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//user:5ec3e7@"))
            with pytest.raises(ConnectionFailedError, match="the variable HTTP_PROXY of the environment") as caught:
                send(settings_of("http://tb.example"))
            assert b"proxy-authorization: basic" in proxy.requests[0].head.lower()
            assert "5ec3e7" not in str(caught.value)

    @pytest.mark.parametrize("client", [Client, AsyncClient])
    @pytest.mark.parametrize("url", ["socks5://u:5ec3e7@p:1080", "socks5h://p:1"])
    def test_socks_without_its_package_names_the_variable(self, client, url, monkeypatch):
        monkeypatch.setattr(proxies, "find_spec", lambda _: None)
        monkeypatch.setenv("ALL_PROXY", url)
        with pytest.raises(
            SettingsError, match=r"The variable ALL_PROXY of the environment is a SOCKS proxy.*httpx\[socks\]"
        ) as caught:
            client(settings_of("https://api.tinybird.co"))
        assert "5ec3e7" not in str(caught.value)
        monkeypatch.setenv("NO_PROXY", "tinybird.co")
        made = client(settings_of("https://api.tinybird.co"))
        made.close() if client is Client else asyncio.run(made.close())

    @pytest.mark.parametrize("url", ["socks4://p:1", "ftp://p:1", "http://", "http://p:0", "http://p:x", "http://p :1"])
    def test_one_that_cannot_be_used_is_named_and_not_shown(self, url, monkeypatch):
        monkeypatch.setenv("https_proxy", url)
        with pytest.raises(SettingsError, match="The variable https_proxy of the environment is no URL of a proxy"):
            Client(settings_of("https://api.tinybird.co"))
