"""The command: starting, refusing to, stopping; what a data directory keeps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sandbox_process import SandboxProcess

ROOT = Path(__file__).resolve().parents[2]


def run(
    *options: str | Path, code: str = "from airflow_provider_tinybird.sandbox.cli import main; main()"
) -> subprocess.CompletedProcess[str]:
    """Run the command until it ends by itself."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_one_ready_line_then_what_is_loaded(server):
    """Tools wait for the first line; the second is for people, and holds no token."""
    with SandboxProcess("--project", ROOT / "tests" / "contract" / "project") as started:
        assert started.base_url.startswith("http://127.0.0.1:")
        second = started.next_line()
        assert "4 data sources, 7 pipes" in second
        assert started.token not in second


def test_the_port_is_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--port", str(port))
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert str(port) in line
    assert "--port" in line


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("broken.datasource", "SCHEMA >\n    `a` Strin g\n", ("broken.datasource:2:", "a")),
        ("broken.datasource", "SCHEMA >\n    `a` NoType\n\nENGINE MergeTree\n", ("broken.datasource:1:", "NoType")),
        (
            "broken.pipe",
            "NODE a\nSQL >\n    SELECT 1\nTYPE copy\nTARGET_DATASOURCE nothing\n",
            ("broken.pipe:1:", "nothing"),
        ),
        ("broken.pipe", "NODE a\n", ("broken.pipe:1:", "SQL")),
    ],
)
def test_a_broken_project(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    result = run("--port", "0", "--project", tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert all(word in line for word in words), line


def test_a_missing_package():
    """It says how to install what is missing, before anything is imported."""
    code = (
        "import importlib.util as util; real = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'chdb' else real(name, *rest)\n"
        "from airflow_provider_tinybird.sandbox.cli import main; main()"
    )
    result = run("--port", "0", code=code)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "chdb" in line
    assert "pip install 'airflow-provider-tinybird[sandbox]'" in line


def test_another_sandbox_has_the_directory(contract_server, data):
    result = run("--port", "0", "--data", data)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "another sandbox" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked(tmp_path, number):
    """With a connection open, a query running and a job working; it leaves nothing behind."""
    with SandboxProcess("--job-delay", "30", environment={"TMPDIR": str(tmp_path)}) as server:
        [folder] = tmp_path.glob("tinybird-sandbox-*")
        with httpx.Client(base_url=server.base_url, headers=server.headers) as client:
            client.post("/v0/datasources", params={"name": "t", "schema": "a String"}).raise_for_status()
            client.post("/v1/datasources/t/append?format=csv", content="x\n").raise_for_status()
            started = time.monotonic()
            server.process.send_signal(number)
            server.process.wait(10)
        assert server.process.returncode == 0, server.errors()
        assert time.monotonic() - started < 5
        assert server.errors() == ""
    assert not folder.exists()


def test_rows_definitions_and_tokens_survive(tmp_path):
    """With --data, also when it was killed; what an interrupted load left behind is gone."""
    with (
        SandboxProcess("--data", tmp_path) as server,
        httpx.Client(base_url=server.base_url, headers=server.headers) as client,
    ):
        client.post("/v0/datasources", params={"name": "t", "schema": "a String `json:$.a`"}).raise_for_status()
        client.post("/v0/pipes", data={"name": "p", "sql": "SELECT count() AS n FROM t"}).raise_for_status()
        narrow = client.post("/v0/tokens", params={"name": "reader", "scope": "PIPES:READ:p"}).json()["token"]
        for number in range(5):
            client.post("/v0/events?name=t&wait=true", content=f'{{"a":"x{number}"}}').raise_for_status()
        token = server.token
        server.process.kill()
        server.process.wait()
    with SandboxProcess("--data", tmp_path) as server:
        assert server.token == token
        answer = httpx.get(f"{server.base_url}/v0/pipes/p.json", headers={"Authorization": f"Bearer {narrow}"})
        assert answer.json()["data"] == [{"n": 5}]


def test_changes_over_http_survive(tmp_path):
    """With --data: columns that were added, connectors, ids of renamed nodes, filters of tokens."""
    schema = "a String `json:$.a`"
    with (
        SandboxProcess("--data", tmp_path) as server,
        httpx.Client(base_url=server.base_url, headers=server.headers) as client,
    ):
        client.post("/v0/datasources", params={"name": "t", "schema": schema}).raise_for_status()
        client.post("/v0/datasources/t/alter", data={"schema": f"{schema}, b Int64 `json:$.b`"}).raise_for_status()
        client.put("/v0/datasources/t", data={"import_connection_name": "bucket"}).raise_for_status()
        client.post("/v0/events?name=t&wait=true", content='{"a":"x","b":1}\n{"a":"y","b":2}').raise_for_status()
        client.post("/v0/pipes", data={"name": "p", "sql": "SELECT a FROM t"}).raise_for_status()
        node = client.put("/v0/pipes/p/nodes/p_0?name=renamed", content="SELECT a, b FROM t").json()["id"]
        narrow = client.post("/v0/tokens", params={"name": "r", "scope": "DATASOURCES:READ:t:b > 1"}).json()["token"]
    with (
        SandboxProcess("--data", tmp_path) as server,
        httpx.Client(base_url=server.base_url, headers=server.headers) as client,
    ):
        assert client.get("/v0/pipes/p.json").json()["rows"] == 2
        assert client.get("/v0/pipes/p").json()["nodes"][0]["id"] == node
        assert [one["name"] for one in client.get("/v0/connectors").json()["connectors"]] == ["bucket"]
        headers = {"Authorization": f"Bearer {narrow}"}
        answer = httpx.post(f"{server.base_url}/v0/sql", content="SELECT a FROM t FORMAT TSV", headers=headers)
        assert answer.text == "y\n"


def test_what_a_killed_job_left_behind_is_gone(tmp_path):
    """A replace that was cut off in the middle: the old rows are there, and its copy is dropped at the next start."""
    options = ("--data", tmp_path, "--project", ROOT / "tests" / "contract" / "project")

    def copies() -> list[Path]:
        return [path for path in (tmp_path / "clickhouse").rglob("*.sql") if "copy_" in path.name]

    with SandboxProcess(*options) as server, httpx.Client(base_url=server.base_url, headers=server.headers) as client:
        client.post(
            "/v0/datasources?name=totals&mode=append&format=csv", content="shop,total\nold,1\n"
        ).raise_for_status()
        client.post("/v0/pipes/copy_slow/copy?_mode=replace").raise_for_status()
        deadline = time.monotonic() + 20
        while not copies():
            assert time.monotonic() < deadline
        server.process.kill()
        server.process.wait()
    assert copies()
    with SandboxProcess(*options) as server:
        assert not copies()
        answer = httpx.post(
            f"{server.base_url}/v0/sql", content="SELECT shop FROM totals FORMAT CSV", headers=server.headers
        )
        assert answer.text == '"old"\n'


def test_a_project_on_older_data(tmp_path):
    """The same schema finds its rows again; another one is refused instead of losing them."""
    project, data = tmp_path / "project", tmp_path / "data"
    project.mkdir()
    file = project / "t.datasource"
    file.write_text("SCHEMA >\n    `a` String `json:$.a`\n")
    with SandboxProcess("--data", data, "--project", project) as server:
        httpx.post(
            f"{server.base_url}/v0/events?name=t&wait=true", content='{"a":"x"}', headers=server.headers
        ).raise_for_status()
    with SandboxProcess("--data", data, "--project", project) as server:
        answer = httpx.post(f"{server.base_url}/v0/sql", content="SELECT * FROM t FORMAT CSV", headers=server.headers)
        assert answer.text == '"x"\n'
    file.write_text("SCHEMA >\n    `a` Int32 `json:$.a`\n")
    result = run("--port", "0", "--data", data, "--project", project)
    assert result.returncode == 2
    assert "t.datasource:1:" in result.stderr
    assert "--data" in result.stderr


def test_a_fixed_token():
    """Tinybird Local: TB_LOCAL_WORKSPACE_TOKEN."""
    with SandboxProcess(environment={"TB_LOCAL_WORKSPACE_TOKEN": "p.fixed.token"}) as server:
        assert server.token == "p.fixed.token"
        assert httpx.get(f"{server.base_url}/v0/workspace", headers=server.headers).status_code == 200


def test_only_this_machine(server):
    """It listens on 127.0.0.1 and on no other address."""
    port = int(server.base_url.rpartition(":")[2])
    with socket.socket() as other:
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.2", port)) != 0


def test_it_imports_neither_airflow_nor_the_provider():
    code = (
        "import sys\n"
        "import airflow_provider_tinybird.sandbox.app, airflow_provider_tinybird.sandbox.cli\n"
        "found = [name for name in sys.modules if name == 'airflow' or name.startswith(('airflow.', 'pandas', 'pyarrow'))\n"
        "         or (name.startswith('airflow_provider_tinybird.') and not name.startswith('airflow_provider_tinybird.sandbox'))]\n"
        "assert not found, found"
    )
    result = run(code=code)
    assert result.returncode == 0, result.stderr


def test_files(client, files):
    """For imports by URL: with a length, and nothing outside of the folder."""
    (files / "a.csv").write_text("a,b\n")
    answer = client.get("/files/a.csv")
    assert (answer.text, answer.headers["content-length"]) == ("a,b\n", "4")
    for path in ("/files/nothing.csv", "/files/%2e%2e/%2e%2e/etc/passwd", "/files//etc/passwd", "/files/"):
        assert client.get(path).status_code == 404
