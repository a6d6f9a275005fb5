"""Hosts that never answer or never end, and projects and directories that cannot be used."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from answers import job_error

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(hostile):
    return hostile


@pytest.fixture
def count(hostile_count):
    return hostile_count


class Hostile(BaseHTTPRequestHandler):
    """Answers that do not end, or lead elsewhere."""

    over = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.over.wait(20)
            return
        target = {"/loop": "/loop", "/file": "file:///etc/hostname", "/ftp": "ftp://127.0.0.1:1/x"}.get(self.path)
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        if self.path == "/short":
            self.send_header("Content-Length", "100")
        self.end_headers()
        try:
            while self.path == "/endless":
                self.wfile.write(b"2026-01-01,a,1\n" * 10_000)
            while self.path == "/slow" and not self.over.wait(0.05):
                self.wfile.write(b"2")
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def hostile_host() -> Iterator[str]:
    host = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=host.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{host.server_port}"
    Hostile.over.set()
    host.shutdown()
    thread.join()
    host.server_close()


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never reads from them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


class TestUrls:
    @pytest.mark.parametrize(
        ("path", "word"),
        [
            ("/endless", "limit"),
            ("/slow", "does not end"),
            ("/silent", "timed out"),
            ("/loop", "302"),
            ("/file", "302"),
            ("/ftp", "cannot be read"),
            ("/short", "too early"),
        ],
    )
    def test_hosts(self, client, hostile_host, count, path, word):
        """--url-timeout is half a second here, --max-import-bytes 30 MB."""
        before = count()
        params = {"format": "csv", "url": f"{hostile_host}{path}"}
        assert word in job_error(client, client.post("/v1/datasources/sales/append", params=params))
        assert count() == before

    def test_nobody_answers(self, client, hostile_server):
        with deaf_port() as port:
            for url in (
                f"http://127.0.0.1:{port}/x",
                "http://127.0.0.1:1/x",
                f"{hostile_server.base_url}/files/",
                "http://127.0.0.1:1/é x",
            ):
                answer = client.post("/v1/datasources/sales/append", params={"format": "csv", "url": url})
                assert "cannot be read" in job_error(client, answer)


class TestStart:
    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({"a.datasource": b"\xff\xfe"}, ("a.datasource:1:", "UTF-8")),
            ({"a.datasource": b""}, ("a.datasource:1:",)),
            ({"a.datasource": b"SCHEMA >\n  `a` String\n\nENGINE File\n"}, ("a.datasource:1:", "File")),
            ({"a.datasource": b"SCHEMA >\n  `a` String DEFAULT file('/etc/hostname')\n"}, ("a.datasource:1:", "file")),
            (
                {"x/a.datasource": b"SCHEMA >\n  a String\n", "y/a.datasource": b"SCHEMA >\n  b String\n"},
                ("a.datasource:1:", "a"),
            ),
            ({"a.datasource": b"SCHEMA >\n  a String\n", "a.pipe": b"NODE n\nSQL >\n  SELECT 1\n"}, (":1:", "a")),
            (
                {
                    "a.pipe": b"NODE n\nSQL >\n  SELECT * FROM file('/x')\nTYPE materialized\nDATASOURCE b\n",
                    "b.datasource": b"SCHEMA >\n  a String\n",
                },
                ("a.pipe:1:", "file"),
            ),
            ({"a b.pipe": b"NODE n\nSQL >\n  SELECT 1\n"}, ("a b.pipe:1:",)),
        ],
        ids=["bytes", "empty", "engine", "default", "two data sources", "data source and pipe", "view", "name"],
    )
    def test_projects(self, tmp_path, files, words):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        self.refused("--project", tmp_path, words=words)

    def test_data_directories(self, tmp_path):
        (tmp_path / "file").write_text("x")
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "workspace.json").write_text('{"workspace_id":')
        other = tmp_path / "other"
        other.mkdir()
        (other / "workspace.json").write_text("[]")
        (tmp_path / "engine").mkdir()
        (tmp_path / "engine" / "clickhouse").write_text("x")
        for name in ("file", "broken", "other", "engine"):
            self.refused("--data", tmp_path / name, words=(name,))

    def test_options(self, tmp_path):
        self.refused("--project", tmp_path / "nothing", words=("nothing",))
        for options in (("--query-timeout", "0"), ("--query-timeout", "nan"), ("--port", "x"), ("--port", "70000")):
            result = self.run(*options)
            assert result.returncode == 2, result.stderr
            assert options[0] in result.stderr or options[1] in result.stderr
            assert "Traceback" not in result.stderr

    def run(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        code = "from airflow_provider_tinybird.sandbox.cli import main; main()"
        command = [sys.executable, "-c", code, "--port", "0", *map(str, options)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)

    def refused(self, *options: str | Path, words: tuple[str, ...]) -> None:
        result = self.run(*options)
        assert result.returncode == 2, result.stderr
        assert result.stdout == ""
        [line] = result.stderr.splitlines()
        assert all(word in line for word in words), line
