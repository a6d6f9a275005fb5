"""The pytest plugin: a user's project, run by a pytest of its own that finds the plugin through its entry point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest

DATASOURCE = "SCHEMA >\n    `n` Int64 `json:$.n`\n"
PID = "open('pids', 'a').write(f'{tinybird_sandbox.process.process.pid}\\n')"


class User:
    """Somebody's repository.

    :param folder: where it is.
    :param environment: of its pytest.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.write("tinybird/numbers.datasource", DATASOURCE)
        self.write("pytest.ini", "[pytest]\ntinybird_project = tinybird\n")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **counts: int) -> str:
        """Run the tests.

        :param counts: how many must have ``passed``, ``failed`` or had ``errors``.
        """
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=120)
        last = output.strip().splitlines()[-1] if output.strip() else ""
        found = pytest.RunResult.parse_summary_nouns([last])
        found.pop("warnings", None)
        assert found == counts, output
        return output

    def pids(self) -> list[int]:
        """Process of the sandbox of each test that noted it, in their order."""
        return [int(line) for line in (self.folder / "pids").read_text().split()]

    def noted(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


@pytest.fixture
def user(tmp_path: Path, installed: Path) -> User:
    folder = tmp_path / "user"
    folder.mkdir()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AIRFLOW_", "COV_CORE_"))
    }
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return User(folder, {**kept, "PYTHONPATH": str(installed), "TMPDIR": str(temporary)})


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process, which must come by itself."""
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:  # over, and nobody has asked how it ended
                return
        except psutil.NoSuchProcess:
            return
        assert time.monotonic() < deadline, psutil.Process(pid).cmdline()
        time.sleep(0.02)


# For those who do not ask for it


def test_nothing_happens_unless_it_is_asked_for(user):
    user.write(
        "test_other.py",
        """
        import os, sys
        import psutil

        def test_other(pytestconfig):
            assert pytestconfig.pluginmanager.hasplugin("tinybird_sandbox")
            ours = {name for name in sys.modules if name.startswith("airflow_provider_tinybird")}
            assert ours == {"airflow_provider_tinybird", "airflow_provider_tinybird.sandbox",
                            "airflow_provider_tinybird.sandbox.pytest_plugin"}
            loaded = {name.partition(".")[0] for name in sys.modules}
            assert not loaded & {"airflow", "chdb", "starlette", "uvicorn", "pandas", "pyarrow", "httpx"}
            assert not [name for name in os.environ if name.startswith("AIRFLOW_CONN")]
            assert psutil.Process().children() == []
        """,
    )
    user.run("--strict-markers", "--strict-config", "-W", "error", "-p", "no:asyncio", passed=1)


def test_it_can_be_switched_off(user):
    user.write("test_off.py", "def test_off(tinybird_sandbox):\n    pass\n")
    assert "fixture 'tinybird_sandbox' not found" in user.run("-p", "no:tinybird_sandbox", errors=1)


# What it does


def test_the_users_project_and_connection(user):
    user.write(
        "test_it.py",
        """
        import json, os, urllib.request

        def test_it(tinybird_sandbox):
            given = json.loads(os.environ["AIRFLOW_CONN_TINYBIRD_DEFAULT"])
            assert (given["conn_type"], given["host"]) == ("tinybird", tinybird_sandbox.base_url)
            request = urllib.request.Request(f"{given['host']}/v0/events?name=numbers&wait=true", b'{"n": 3}',
                                             {"Authorization": f"Bearer {given['password']}"})
            assert json.load(urllib.request.urlopen(request))["successful_rows"] == 1
            assert tinybird_sandbox.rows("numbers") == [{"n": 3}]
            assert [request.path for request in tinybird_sandbox.requests()] == ["/v0/events"]

        def test_afterwards():
            assert "AIRFLOW_CONN_TINYBIRD_DEFAULT" not in os.environ
        """,
    )
    user.run(passed=2)


def test_each_test_starts_with_an_empty_one(user, capsys):
    user.write(
        "test_reset.py",
        f"""
        import json, os, pathlib, time, urllib.request
        import pytest

        def client(sandbox, method, path, body=None):
            request = urllib.request.Request(sandbox.base_url + path, body, sandbox.process.headers, method=method)
            return json.load(urllib.request.urlopen(request))

        @pytest.mark.parametrize("n", range(3))
        def test_reset(tinybird_sandbox, n, monkeypatch):
            {PID}
            sandbox = tinybird_sandbox
            assert sandbox.rows("numbers") == sandbox.rows("numbers_quarantine") == []
            assert sandbox.jobs() == sandbox.requests() == list(sandbox.files.iterdir()) == []
            assert sandbox.faults_left() == 0
            assert [one["name"] for one in client(sandbox, "GET", "/v0/datasources")["datasources"]] == ["numbers"]
            assert "test" not in json.dumps(client(sandbox, "GET", "/v0/tokens"))
            # All that a test can leave behind, a job that is deaf to its cancel among it.
            sandbox.insert("numbers", [{{"n": n}}])
            client(sandbox, "POST", "/v0/events?name=made&wait=true", b'{{"x": 1}}')
            url = sandbox.serve_file("numbers.csv", "1")
            sandbox.create_token("DATASOURCES:READ:test")
            sandbox.hang_job("numbers", ignores_cancel=True)
            job = client(sandbox, "POST", f"/v1/datasources/numbers/append?format=csv&url={{url}}", b"")
            client(sandbox, "POST", f"/v0/jobs/{{job['job_id']}}/cancel", b"")
            assert [job.status for job in sandbox.jobs()] in (["cancelling"], ["cancelled"])
            sandbox.cut_after(times=1000)
            sandbox.fail_job("numbers", times=1000)
            if n == 2:
                times = []
                for _ in range(9):
                    sandbox.reset()
                    sandbox.insert("numbers", [{{"n": n}}])
                    started = time.perf_counter()
                    sandbox.reset()
                    times.append(1000 * (time.perf_counter() - started))
                pathlib.Path("milliseconds").write_text(json.dumps(sorted(times)))
        """,
    )
    user.run(passed=3)
    assert len(set(user.pids())) == 1
    times = user.noted("milliseconds")
    with capsys.disabled():
        print(f"\n  reset: {times[len(times) // 2]:.1f} ms (median of {len(times)}, the slowest {times[-1]:.1f} ms)")


def test_each_worker_has_its_own(user):
    user.write(
        "test_workers.py",
        f"""
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_one(tinybird_sandbox, n):
            {PID}
            tinybird_sandbox.insert("numbers", [{{"n": n}}] * 100)
            assert tinybird_sandbox.query("SELECT n, count() AS rows FROM numbers GROUP BY n") == [{{"n": n, "rows": 100}}]
        """,
    )
    user.run("-n", "2", "--dist", "each", passed=8)
    assert len(set(user.pids())) == 2
    for pid in set(user.pids()):
        wait_until_gone(pid)


# Settings


def test_project_by_marker_and_by_fixture(user):
    user.write("other/letters.datasource", "SCHEMA >\n    `a` String `json:$.a`\n")
    user.write(
        "test_marker.py",
        """
        import pytest

        @pytest.mark.tinybird_project("other")
        def test_marker(tinybird_sandbox):
            assert tinybird_sandbox.rows("letters") == []

        def test_option(tinybird_sandbox):
            assert tinybird_sandbox.rows("numbers") == []

        class TestFixture:
            @pytest.fixture
            def tinybird_project(self, request):
                return request.config.rootpath / "other"

            def test_fixture(self, tinybird_sandbox):
                assert tinybird_sandbox.rows("letters") == []

            @pytest.mark.tinybird_project("tinybird")
            def test_marker_wins(self, tinybird_sandbox):
                assert tinybird_sandbox.rows("numbers") == []

        class TestEmpty:
            @pytest.fixture
            def tinybird_project(self):
                return None

            def test_empty(self, tinybird_sandbox):
                assert tinybird_sandbox.process.request("GET", "/v0/datasources")["datasources"] == []
        """,
    )
    user.run("--strict-markers", passed=5)


def test_connection_id_and_options(user):
    user.write(
        "pytest.ini",
        """
        [pytest]
        tinybird_project = tinybird
        tinybird_conn_id = warehouse
        tinybird_sandbox_options = --forward --max-events-bytes 20
        """,
    )
    user.write(
        "test_settings.py",
        """
        import json, os

        def test_settings(tinybird_sandbox, monkeypatch):
            assert json.loads(os.environ["AIRFLOW_CONN_WAREHOUSE"])["host"] == tinybird_sandbox.base_url
            assert "AIRFLOW_CONN_TINYBIRD_DEFAULT" not in os.environ
            workspace = tinybird_sandbox.process.request("GET", "/v0/workspace")
            assert workspace["is_forward"] is True
            narrow = tinybird_sandbox.create_token("DATASOURCES:APPEND:numbers")
            assert json.loads(tinybird_sandbox.connection(narrow, timeout=5)) == {
                "conn_type": "tinybird", "host": tinybird_sandbox.base_url, "password": narrow, "extra": {"timeout": 5}}
        """,
    )
    user.run(passed=1)


def test_tasks_do_not_ask_a_proxy_for_it(user):
    user.environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.org"}
    user.write(
        "test_proxy.py",
        """
        import os, urllib.request

        def test_proxy(tinybird_sandbox):
            assert urllib.request.urlopen(f"{tinybird_sandbox.base_url}/v0/health").status == 200
            assert os.environ["NO_PROXY"] == "example.org,127.0.0.1"

        def test_afterwards():
            assert os.environ["NO_PROXY"] == "example.org"
            assert "no_proxy" not in os.environ
        """,
    )
    for name in ("no_proxy", "http_proxy", "all_proxy", "ALL_PROXY"):
        user.environment.pop(name, None)
    user.run(passed=2)


# What goes wrong


def test_a_broken_project_is_said_once_for_each_test_and_tried_once(user):
    user.write("tinybird/broken.datasource", 'SCHEMA >\n    `n` Int64 `json:$.n`\n\nENGINE_SORTING_KEY "m"\nWHAT\n')
    user.write("test_broken.py", "".join(f"def test_{n}(tinybird_sandbox):\n    pass\n" for n in range(3)))
    output = user.run(errors=3)
    # The summary at the end cuts such lines on a terminal, and says them whole where CI is set.
    told = output.partition("short test summary")[0]
    assert told.count("The fixture tinybird_sandbox cannot start:") == 3
    assert "broken.datasource:5:" in output
    assert "Traceback" not in output


def test_without_the_engine_it_says_what_to_install(user, tmp_path):
    hiding = """
        from importlib.machinery import PathFinder
        find = PathFinder.find_spec
        PathFinder.find_spec = classmethod(lambda cls, name, *more: None if name == "chdb" else find(name, *more))
        """
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding" / "sitecustomize.py").write_text(dedent(hiding))
    user.environment["PYTHONPATH"] += f"{os.pathsep}{tmp_path / 'hiding'}"
    user.write("test_missing.py", "def test_missing(tinybird_sandbox):\n    pass\n\ndef test_other():\n    pass\n")
    output = user.run(passed=1, errors=1)
    assert "chdb is not installed: pip install 'airflow-provider-tinybird[sandbox]'" in output
    assert "Traceback" not in output


def test_after_a_test_that_killed_it_the_next_has_a_new_one(user):
    user.write(
        "test_killed.py",
        f"""
        def test_killing(tinybird_sandbox):
            {PID}
            tinybird_sandbox.process.process.kill()
            tinybird_sandbox.process.process.wait()

        def test_next(tinybird_sandbox):
            {PID}
            assert tinybird_sandbox.rows("numbers") == []
        """,
    )
    user.run(passed=2)
    assert len(set(user.pids())) == 2


# No process is left


@pytest.mark.parametrize("ending", ["pass", "assert False", "raise KeyboardInterrupt", "os._exit(3)"])
def test_no_process_is_left(user, ending):
    user.write(
        "test_ending.py",
        f"""
        import os

        def test_ending(tinybird_sandbox):
            {PID}
            {ending}
        """,
    )
    process = user.start()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == {"pass": 0, "assert False": 1, "raise KeyboardInterrupt": 2}.get(ending, 3), output
    [pid] = user.pids()
    wait_until_gone(pid)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_pytest_is_killed(user, tmp_path, number, workers):
    """With a job at work, whose data goes with it."""
    user.write(
        "test_killed.py",
        f"""
        import os, pathlib, time, urllib.request
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_killed(tinybird_sandbox, n):
            sandbox = tinybird_sandbox
            sandbox.hang_job("numbers")
            request = urllib.request.Request(sandbox.base_url + "/v1/datasources/numbers/append?format=csv", b"1",
                                             sandbox.process.headers)
            urllib.request.urlopen(request).close()
            {PID}
            pathlib.Path("ready").touch()
            time.sleep(600)
        """,
    )
    process = user.start("-n", workers)
    try:
        deadline = time.monotonic() + 60
        while not (user.folder / "ready").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers_of = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    for one in workers_of:
        wait_until_gone(one.pid)
    assert user.pids()
    assert list((tmp_path / "temporary").glob("tinybird-sandbox-*")) == []
