"""Hostile bodies, connections and names: each is refused in words, nothing is harmed, and the server goes on."""

from __future__ import annotations

import gzip
import json
import socket
import time

import pyarrow as pa
import pytest
from answers import job_error, refused
from sandbox_process import SandboxProcess

EVENTS = "/v0/events?name=events&wait=true"
ROW = '{"id":1,"user":{"name":"x"},"at":"2026-01-01 00:00:00"}'


@pytest.fixture
def client(hostile):
    return hostile


@pytest.fixture
def count(hostile_count):
    return hostile_count


class TestBodies:
    def test_unterminated_gzip(self, client, count):
        before = count()
        body = gzip.compress((ROW + "\n").encode() * 1000)[:-20]
        for broken in (body, body[:5], b"\x1f\x8b" + b"\x00" * 50, b"plain"):
            refused(client.post(EVENTS, content=broken, headers={"Content-Encoding": "gzip"}), "gzip")
        assert count() == before

    @pytest.mark.parametrize("part", [b"\x00" * 10_000_000, b"{}\n" * 3_000_000], ids=["one line", "many lines"])
    def test_gzip_bomb(self, client, count, part):
        """1 GB when it is unpacked; refused once it is over the limit."""
        before = count()
        bomb = gzip.compress(part) * 110  # members behind each other are one file
        assert len(bomb) < 5_000_000
        refused(client.post(EVENTS, content=bomb, headers={"Content-Encoding": "gzip"}), "10000000", status=413)
        assert client.post(EVENTS, content=bomb).json()["successful_rows"] == 0  # not said to be packed: no JSON
        assert count() > before  # the lines are in quarantine

    @pytest.mark.parametrize("part", [b"\x00" * 10_000_000, b"{}\n" * 3_000_000], ids=["one line", "many lines"])
    def test_zstd_bomb(self, client, part):
        bomb = pa.compress(part, codec="zstd", asbytes=True) * 100
        assert len(bomb) < 1_000_000
        refused(client.post(EVENTS, content=bomb, headers={"Content-Encoding": "zstd"}), "10000000", status=413)
        refused(client.post(EVENTS, content=b"plain", headers={"Content-Encoding": "zstd"}), "zstd")

    def test_gzip_bomb_as_a_file(self, client):
        """One field of 1 GB: the engine has no memory for it."""
        bomb = gzip.compress(b"x" * 50_000_000) * 20
        answer = client.post("/v1/datasources/sales/append?format=csv", content=bomb)
        assert "could not be loaded" in job_error(client, answer) or "No line" in job_error(client, answer)

    def test_broken_files(self, client):
        for format_, body in (("parquet", b"PAR1" + b"\x00" * 100), ("parquet", b"x"), ("csv", b"\x1f\x8bx")):
            answer = client.post(f"/v1/datasources/sales/append?format={format_}", content=body)
            assert job_error(client, answer)

    @pytest.mark.parametrize(
        "line",
        [
            b'{"id":1,"user":{"name":"\xff\xfe"},"at":"2026-01-01 00:00:00"}',
            b'{"id":1,"user":{"name":"\xed\xa0\x80"},"at":"2026-01-01 00:00:00"}',
            b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b"[" * 100_000,
            b"\x00" * 1000,
            b'{"id":1e999999,"user":{"name":"x"},"at":"2026-01-01 00:00:00"}',
            b"{" + b'"a":1,' * 100_000 + b"}",
            b"\xef\xbb\xbf",
        ],
        ids=["UTF-8", "surrogate", "deep array", "deep object", "open array", "NUL", "number", "same key", "BOM"],
    )
    def test_lines(self, client, line):
        """Quarantined, beside a row that fits."""
        answer = client.post(EVENTS, content=line + b"\n" + ROW.encode())
        assert answer.json() == {"successful_rows": 1, "quarantined_rows": 1}, answer.text
        answer = client.post(
            "/v0/sql", content="SELECT * FROM events_quarantine ORDER BY insertion_date LIMIT 5 FORMAT JSON"
        )
        assert answer.status_code == 200
        assert json.loads(answer.text)["data"]

    def test_lines_that_fit(self, client):
        """NUL bytes inside of a text, and a line of nearly 10 MB."""
        line = '{"id":77,"user":{"name":"a\\u0000b"},"at":"2026-01-01 00:00:00"}'
        assert client.post(EVENTS, content=line).json()["successful_rows"] == 1
        assert (
            client.post("/v0/sql", content="SELECT hex(name) FROM events WHERE id = 77 FORMAT TSV").text == "610062\n"
        )
        line = json.dumps({"id": 78, "user": {"name": "x" * 9_900_000}, "at": "2026-01-01 00:00:00"})
        assert client.post(EVENTS, content=line).json() == {"successful_rows": 1, "quarantined_rows": 0}
        assert (
            client.post("/v0/sql", content="SELECT length(name) FROM events WHERE id = 78 FORMAT TSV").text
            == "9900000\n"
        )
        client.post("/v1/datasources/events/delete", data={"delete_condition": "id = 78"}).raise_for_status()
        refused(client.post(EVENTS, content="x" * 10_000_001), "10000000", status=413)

    @pytest.mark.parametrize("document", [b"[" * 100_000, b"\xff", b"{", b'{"a":"x\ny"}', b"NaN", b""])
    def test_json_documents(self, client, document):
        refused(client.post(f"{EVENTS}&format=json", content=document), "JSON")

    def test_new_data_sources(self, client):
        """Inferred of what is no record, or of too many members."""
        url = "/v0/events?name=inferred&wait=true"
        for body in (b"", b"1", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"{}"):
            refused(client.post(url, content=body))
        refused(client.post(url, content=json.dumps({f"c{n}": n for n in range(10_000)})), "limit")
        assert client.get("/v0/datasources/inferred").status_code == 404

    def test_json_for_the_api(self, client):
        """Where a body is JSON of ours: no JSON, deep JSON, or of other types."""
        headers = {"Content-Type": "application/json"}
        for path in ("/v0/sql", "/v0/pipes", "/sandbox/faults", "/sandbox/jobs"):
            for body in (
                b"{",
                b"[" * 100_000,
                b"1",
                b"null",
                b"[null]",
                b'"x"',
                b"\xff",
                b'{"nodes":1,"match":1,"name":[]}',
            ):
                answer = client.post(path, content=body, headers=headers)
                assert answer.status_code == 400, (path, body[:50], answer.text)
            answer = client.post(path, content=b" " * 2_000_000, headers=headers)
            assert answer.status_code == 413, (path, answer.text)
        for fault in ({"status": "x"}, {"status": 1}, {"delay": "x"}, {"delay": -1}, {"status": 500, "times": "x"}):
            refused(client.post("/sandbox/faults", json=fault))
        for course in ({"name": "x", "delay": "x"}, {"name": "x", "times": None}, {"name": "x", "delay": 1e999}):
            refused(client.post("/sandbox/jobs", content=json.dumps(course)))

    def test_multipart(self, client):
        for kind, body in (
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=a", b""),
            ("multipart/form-data; boundary=a", b"--a"),
            ("multipart/form-data; boundary=a", b"--a\r\n\r\n--a--"),
            ("multipart/form-data; boundary=\xff", b"--\xff\r\n"),
        ):
            answer = client.post(
                "/v0/datasources?name=sales&mode=append",
                content=body,
                headers=[(b"Content-Type", kind.encode("latin-1"))],
            )
            refused(answer)


class TestConnections:
    def send(self, server: SandboxProcess, head: str, body: bytes = b"") -> socket.socket:
        port = int(server.base_url.rpartition(":")[2])
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        token = server.headers["Authorization"]
        connection.sendall(f"{head}\r\nHost: x\r\nAuthorization: {token}\r\n".encode("latin-1") + body)
        return connection

    def test_content_length_too_long(self, client, hostile_server, count):
        """The client hangs up before the body is there: nothing of it is loaded."""
        before = count()
        line = f"{ROW}\n".encode()
        for closing in ("close", "reset"):
            body = b"Content-Length: 100000\r\n\r\n" + line
            connection = self.send(hostile_server, f"POST {EVENTS} HTTP/1.1", body)
            if closing == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.close()
        for _ in range(5):
            assert client.get("/v0/health").status_code == 200
        assert count() == before

    def test_content_length_too_short(self, client, hostile_server, count):
        """What follows the body is no request."""
        before = count()
        body = b"Content-Length: 3\r\n\r\n" + ROW.encode() + b"\r\n\r\n"
        with self.send(hostile_server, f"POST {EVENTS} HTTP/1.1", body) as connection:
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            assert b" 400 " in answer
        assert count() <= before + 1

    @pytest.mark.parametrize(
        "rest",
        [
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: x\r\n\r\n",
            b"Content-Length: 99999999999999999999999\r\n\r\n",
            b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            b"X: " + b"x" * 200_000 + b"\r\n\r\n",
            b"".join(b"X-%d: x\r\n" % n for n in range(10_000)) + b"\r\n",
            b"\x00\x01: \xff\r\n\r\n",
            b"X: a\x00b\r\n\r\n",
        ],
        ids=["negative", "no number", "huge", "two", "chunks", "long header", "many headers", "bytes", "NUL"],
    )
    def test_headers(self, client, hostile_server, rest):
        """Refused by status, or by closing the connection."""
        with self.send(hostile_server, f"POST {EVENTS} HTTP/1.1", rest) as connection:
            try:
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            except OSError:  # closed before all was sent
                answer = b""
        assert answer == b"" or answer.split()[1][:1] == b"4", answer

    def test_a_body_without_end(self, client, hostile_server):
        """Refused while it is coming in, and not kept."""
        for path, limit in ((EVENTS, 11_000_000), ("/v1/datasources/sales/append?format=csv", 31_000_000)):
            head = f"Content-Length: {10**15}\r\n\r\n".encode()
            with self.send(hostile_server, f"POST {path} HTTP/1.1", head) as connection:
                for _ in range(limit // 65536 + 1):
                    connection.sendall(b"x" * 65536)
                assert b" 413 " in connection.recv(65536)
            with self.send(
                hostile_server, f"POST {path} HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\n"
            ) as connection:
                for _ in range(limit // 65536 + 1):
                    connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                assert connection.recv(65536).split()[1] in (b"411", b"413")


class TestNames:
    NAMES = (
        "..",
        "../..",
        "%2e%2e",
        "a/b",
        "a'b",
        'a"b',
        "a`b",
        "a b",
        "a;b",
        "a.b",
        "a\\b",
        "é",
        "0a",
        "\x00",
        "select",
        "x" * 5000,
    )

    def test_of_data_sources(self, client, count):
        """In a path 404, to make one 400; nothing is made or dropped."""
        before = count(), client.get("/v0/datasources").json()["datasources"][0].keys()
        for name in (*self.NAMES, "events`; DROP TABLE events; --", "events'); DROP TABLE events; --", "system.tables"):
            path = "".join(f"%{byte:02x}" for byte in name.encode())
            for method, url in (
                ("GET", f"/v0/datasources/{path}"),
                ("DELETE", f"/v0/datasources/{path}"),
                ("POST", f"/v0/datasources/{path}/truncate"),
                ("GET", f"/v0/pipes/{path}"),
                ("GET", f"/v0/pipes/{path}.json"),
                ("POST", f"/v0/pipes/{path}/copy"),
                ("GET", f"/v0/jobs/{path}"),
                ("GET", f"/files/{path}"),
                ("GET", f"/{path}"),
            ):
                answer = client.request(method, url)
                assert answer.status_code in (404, 405, 414), (name, method, url, answer.text)
            for answer in (
                client.post("/v0/datasources", data={"name": name, "schema": "a String"}),
                client.post("/v0/events", params={"name": name}, content='{"a":1}'),
                client.post("/v0/pipes", json={"name": name, "nodes": [{"name": "n", "sql": "SELECT 1"}]}),
                client.post("/v0/pipes", json={"name": "hostile", "nodes": [{"name": name, "sql": "SELECT 1"}]}),
            ):
                assert answer.status_code in (400, 414), (name, answer.text)
        assert (count(), client.get("/v0/datasources").json()["datasources"][0].keys()) == before
        assert client.get("/v0/pipes/hostile").status_code == 404

    def test_of_columns(self, client):
        """Any name that is quoted is one; the SQL around it stays what it is."""
        for name in ("a'b", "a\\b", "x); DROP TABLE events; --", "é", "$a", "”"):
            schema = f"`{name}` String `json:$.a`"
            client.post("/v0/datasources", data={"name": "named", "schema": schema}).raise_for_status()
            answer = client.post("/v0/events?name=named&wait=true", content='{"a":"v"}')
            assert answer.json() == {"successful_rows": 1, "quarantined_rows": 0}
            assert client.post("/v0/sql", content="SELECT * FROM named FORMAT TSV").text == "v\n"
            client.delete("/v0/datasources/named").raise_for_status()

    @pytest.mark.parametrize(
        "url", ["http://[::1", "http://", "file:///etc/passwd", "ftp://x/y", "/etc/passwd", "s3://b/k", "", " "]
    )
    def test_of_urls(self, client, url):
        assert client.post("/v1/datasources/sales/append", params={"url": url, "format": "csv"}).status_code == 400

    def test_of_sink_files(self, client, hostile_server, tmp_path):
        """Values of rows make the names of files, which stay in their folder."""
        outside = str(tmp_path / "outside")
        sql = f"SELECT arrayJoin(['{outside}', '../../../{outside}', '..', '', 'a\\0b', '{'x' * 3000}']) AS name"
        pipe = {
            "name": "leaving",
            "nodes": [
                {
                    "name": "n",
                    "sql": sql,
                    "type": "sink",
                    "export_file_template": "{name}",
                    "export_bucket_uri": "s3://b/f",
                }
            ],
        }
        client.post("/v0/pipes", json=pipe).raise_for_status()
        job = client.post("/v0/pipes/leaving/sink").json()["job"]
        while (job := client.get(f"/v0/jobs/{job['id']}").json())["status"] in ("waiting", "working"):
            time.sleep(0.02)
        assert job["status"] == "done", job
        assert all(path.startswith(("b/f/", "f/")) for path in job["output"]), job
        assert list(tmp_path.iterdir()) == []
        client.delete("/v0/pipes/leaving").raise_for_status()
