"""Make the pictures of the documentation: the connection form of a real Airflow, a task with its links, the demo, the page of the sandbox.

Run by ``make screenshots``; names of groups of pictures (``ARGS="airflow demo"``) make only those. It needs Chromium and its driver, which
are no package of Python; all else is fetched. What it starts lives in a temporary directory and on free ports, and is stopped in the end.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
BIN = ROOT / ".venv" / "bin"
DAG, TASK = "tinybird_quickstart", "copy_carrier_delays"
TOKEN = "p.token-of-the-sandbox"  # noqa: S105 - of a sandbox that lives as long as this script
NAMES = {"browser": ("chromium", "chromium-browser", "google-chrome"), "driver": ("chromedriver",)}
PATIENCE = 180
MOST_BYTES = 150_000
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ background: #fff; margin: 0 }} b {{ color: #fff }}
pre {{ background: #25283d; color: #d7d9e4; display: inline-block; margin: 0; padding: 1.4em 1.8em;
  font: 13px/1.45 "DejaVu Sans Mono", monospace }}
</style><pre><b>$ make demo ARGS=--keep</b>
{text}</pre>"""


def main() -> int:
    """Make them all; return the exit code."""
    missing = [names[0] for names in NAMES.values() if not found(names)]
    if missing:
        print(
            f"Needed and not found: {', '.join(missing)}. On Debian: apt-get install chromium chromium-driver",
            file=sys.stderr,
        )
        return 1
    groups = {"airflow": pictures_of_airflow, "demo": pictures_of_the_demo}
    chosen = sys.argv[1:] or list(groups)
    if unknown := set(chosen) - set(groups):
        print(f"No such pictures: {', '.join(sorted(unknown))}. There are: {', '.join(groups)}.", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    for name in chosen:
        with ExitStack() as stack:
            groups[name](stack, Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))))
    return 0


def pictures_of_airflow(stack: ExitStack, folder: Path) -> None:
    """Start an Airflow and a sandbox, and look at the connection, at a task, and at what the DAG left."""
    ports = free_ports(4)
    sandbox, airflow = (f"http://127.0.0.1:{port}" for port in ports[:2])
    env = environment(folder, ports)
    project = ["--project", "example_dags/tinybird", "--files", "example_dags/data", "--job-delay", "0.7"]
    stack.enter_context(running(["tinybird-sandbox", "--port", str(ports[0]), *project], env, folder / "sandbox.log"))
    stack.enter_context(running(["airflow", "standalone"], env, folder / "airflow.log"))
    api = Api(airflow)
    wait_for("Airflow", lambda: all(one["status"] == "healthy" for one in api.get("monitor/health").values()))
    api.log_in()
    browser = stack.enter_context(chromium(folder / "profile"))
    connection_form(browser, airflow, sandbox)
    run_id = api.run(DAG, {"flights_url": f"{sandbox}/files/flights_2013_01.csv.gz"})
    browser.open(f"{airflow}/dags/{DAG}/runs/{run_id}/tasks/{TASK}/details")
    browser.save("task-links", size=(1200, 900))
    browser.open(f"{airflow}/dags/{DAG}/runs/{run_id}/tasks/{TASK}")
    browser.save("task-log", size=(1200, 900))
    for name, scheme in (("sandbox", "light"), ("sandbox-dark", "dark")):
        browser.open(f"{sandbox}/sandbox", scheme=scheme)
        browser.save(name, size=(1100, 1400))


def pictures_of_the_demo(stack: ExitStack, folder: Path) -> None:
    """Run the demo, and show its output as a terminal does."""
    log = folder / "demo.log"
    with running(["python", "scripts/demo.py", "--keep"], {**os.environ, "PYTHONUNBUFFERED": "1"}, log):
        wait_for("end of the demo", lambda: "Ctrl-C ends it" in log.read_text())
        text = html.escape(log.read_text().strip())
    page = folder / "demo.html"
    page.write_text(TERMINAL.format(text=re.sub("(?m)^(?! )(.+)$", r"<b>\1</b>", text)))
    browser = stack.enter_context(chromium(folder / "profile"))
    browser.open(page.as_uri())
    browser.save("demo", within="pre")


def connection_form(browser: Browser, airflow: str, sandbox: str) -> None:
    """Fill the form in, save it, test it and edit it."""
    browser.open(f"{airflow}/connections")
    browser.click("Add Connection")
    browser.type("connection_id", "tinybird_default")
    browser.choose(0, "Tinybird")
    browser.type("host", sandbox)
    browser.type("password", TOKEN)
    browser.save("connection-form", within="[role=dialog]")
    browser.click("Extra Fields")
    browser.save("connection-extras", within="[role=dialog]")
    browser.click("Save")
    browser.open(f"{airflow}/connections")
    browser.save("connection-list", size=(1200, 420))


class Api:
    """Airflow's REST API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._headers = {"Content-Type": "application/json"}
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def log_in(self) -> None:
        """Get a token: everybody is an administrator here."""
        self._headers["Authorization"] = f"Bearer {self._send('GET', f'{self.url}/auth/token')['access_token']}"

    def get(self, path: str) -> Any:
        """Read."""
        return self._send("GET", f"{self.url}/api/v2/{path}")

    def run(self, dag: str, conf: dict[str, str]) -> str:
        """Run a DAG to its end; return the id of the run."""
        wait_for(f"DAG {dag}", lambda: self._send("PATCH", f"{self.url}/api/v2/dags/{dag}", {"is_paused": False}))
        body = {"logical_date": None, "conf": conf, "dag_run_id": "example"}
        self._send("POST", f"{self.url}/api/v2/dags/{dag}/dagRuns", body)
        wait_for("end of the run", lambda: self.get(f"dags/{dag}/dagRuns/example")["state"] == "success")
        return "example"

    def _send(self, method: str, url: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, self._headers, method=method)  # noqa: S310 - http, this machine
        with self._direct.open(request, timeout=30) as answer:
            return json.load(answer)


class Browser:
    """Chromium, seen through its driver."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def open(self, url: str, *, scheme: str = "light") -> None:
        """Open a page."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self._driver.get(url)
        time.sleep(4)

    def click(self, text: str) -> None:
        """Click the button with a text."""
        self._one("button", lambda one: one.text.strip() == text).click()
        time.sleep(1.5)

    def type(self, name: str, text: str) -> None:
        """Type into a field."""
        self._one(f"[name='{name}']", lambda _: True).send_keys(text)

    def choose(self, number: int, text: str) -> None:
        """Choose from a list."""
        field = [
            one for one in self._driver.find_elements("css selector", "input[role=combobox]") if one.is_displayed()
        ][number]
        field.click()
        field.send_keys(text)
        time.sleep(1)
        field.send_keys("\ue007")  # Enter
        time.sleep(1.5)

    def save(self, name: str, *, size: tuple[int, int] = (1000, 1500), within: str = "") -> None:
        """Save a picture, of the window or of an element, with few enough colours to be small."""
        from PIL import Image

        self._driver.set_window_size(*size)
        time.sleep(1)
        shot = self._one(within, lambda _: True).screenshot_as_png if within else self._driver.get_screenshot_as_png()
        path = IMAGES / f"{name}.png"
        Image.open(BytesIO(shot)).convert("RGB").quantize(128).save(path, optimize=True)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
        if path.stat().st_size > MOST_BYTES:
            raise SystemExit(f"{path.name} is larger than {MOST_BYTES:,} bytes: make it smaller")

    def _one(self, selector: str, is_it: Callable[[Any], bool]) -> Any:
        return wait_for(
            selector, lambda: next(filter(is_it, self._driver.find_elements("css selector", selector)), None), 20
        )


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Run Chromium without a window, with a profile of its own."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found(NAMES["browser"])
    switches = (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
    )
    for switch in (
        *switches,
        "disable-component-update",
        "disable-sync",
        "hide-scrollbars",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(found(NAMES["driver"])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    """Run a command of the virtual environment, and stop it with all that it started."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            env=env,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(8)


def environment(folder: Path, ports: list[int]) -> dict[str, str]:
    """Make the environment of the processes: nothing of an Airflow that this machine may have."""
    url = f"http://127.0.0.1:{ports[1]}"
    settings = {
        "CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": "2",
        "CORE__TEST_CONNECTION": "Enabled",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(ports[1]),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "LOGGING__WORKER_LOG_SERVER_PORT": str(ports[2]),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports[3]),
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
    own = {
        name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_") and name != "VIRTUAL_ENV"
    }
    return (
        own
        | {f"AIRFLOW__{name}": value for name, value in settings.items()}
        | {
            "AIRFLOW_HOME": str(folder / "airflow"),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "TB_LOCAL_WORKSPACE_TOKEN": TOKEN,
            "NO_PROXY": "127.0.0.1,localhost",
        }
    )


def free_ports(count: int) -> list[int]:
    """Find ports that nobody uses."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]


def found(names: tuple[str, ...]) -> str:
    """The path of the first program that is installed; empty for none."""
    return next((path for name in names if (path := shutil.which(name))), "")


def wait_for(what: str, look: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Look until there is something to see; what fails in between is looked at again."""
    end = time.monotonic() + patience
    while True:
        with suppress(OSError, LookupError):
            if seen := look():
                return seen
        if time.monotonic() > end:
            raise SystemExit(f"After {patience:.0f} s still no {what}.")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
