"""No token and no signature of an address gets out of any operator: into logs at DEBUG, XCom, triggers, events or exceptions."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from operator_cases import ARGUMENTS, CSV, PROJECT, SIGNATURE, operators
from sandbox_process import SandboxProcess

from airflow_provider_tinybird._compat import BaseTrigger, TaskDeferred

# What merely looks like a token is cut everywhere: this one does not look like one, so that only knowing it helps.
TOKEN = 'local+odd/key=with"quotes\\and%20more&Zx9'


def encodings(secret: str) -> set[str]:
    """The ways in which a secret may stand in a text; of base64 also with other bytes before it."""
    raw = secret.encode()
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], raw.hex()}
    found |= {repr(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3]}
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + raw).decode().rstrip("=")
        found |= {one[4:-4] for one in (encoded, base64.urlsafe_b64encode(b"x" * before + raw).decode().rstrip("="))}
    return found


def test_every_operator_is_here():
    assert set(operators()) == set(ARGUMENTS), "tests/operator_cases.py: ARGUMENTS needs a line for each"


class Ti:
    """A task instance that keeps what is pushed."""

    max_tries, try_number, map_index = 0, 1, -1

    def __init__(self) -> None:
        self.pushed: list[Any] = []

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed.append((key, value))


class Task:
    """Runs an operator as Airflow would, and keeps all that it lets out."""

    def __init__(self, cls: type[Any], arguments: dict[str, Any]) -> None:
        self._cls, self._arguments, self._ti = cls, arguments, Ti()
        self.out: list[str] = []
        self.error: Exception | None = None

    def run(self) -> None:
        """Run it to its end, through the triggerer if it defers."""
        context = {"ti": self._ti}
        operator = self._make()
        try:
            operator.pre_execute(context)
            try:
                value = operator.execute(context)
            except TaskDeferred as wait:
                value = self._resume(wait, context)
            operator.post_execute(context, value)
            self._keep(value)
        except Exception as error:
            self.error = error
            self._keep_error(error)
        for link in operator.operator_extra_links:
            self._keep(link.get_link(operator, ti_key=None))
        self._keep(self._ti.pushed)

    def _resume(self, wait: TaskDeferred, context: dict[str, Any]) -> Any:
        path, arguments = wait.trigger.serialize()
        self._keep([path, arguments, wait.kwargs, repr(wait.trigger)])
        module, _, name = path.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**arguments)

        async def events() -> list[Any]:
            return [event.payload async for event in trigger.run()]

        (event,) = asyncio.run(events())
        self._keep(event)
        return getattr(self._make(), wait.method_name)(context, event, **(wait.kwargs or {}))

    def _make(self) -> Any:
        operator = self._cls(task_id="t", **self._arguments)
        operator.render_template_fields({})
        # What the user wrote is theirs; the rest of the operator is ours.
        self._keep({name: getattr(operator, name) for name in operator.template_fields if name != "url"})
        self._keep(repr(operator))
        return operator

    def _keep(self, value: Any) -> None:
        self.out += [repr(value), json.dumps(value, default=repr)]

    def _keep_error(self, error: BaseException | None) -> None:
        while error is not None:
            self.out += [str(error), repr(error), repr(error.args), repr(getattr(error, "__notes__", ""))]
            error = error.__cause__ or error.__context__


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    files = tmp_path_factory.mktemp("files")
    (files / "flights.csv").write_text(CSV)
    options = ("--project", PROJECT, "--files", files, "--job-delay", "0.15", "--no-deduplication")
    with SandboxProcess(*options, environment={"TB_LOCAL_WORKSPACE_TOKEN": TOKEN}) as server:
        assert server.token == TOKEN
        yield server


OWN_LOG = "own.log"


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that is logged, from DEBUG on. Airflow's own loggers mask secrets on some versions, and pytest does not see them."""
    logger = logging.getLogger(OWN_LOG)
    for kind in (*operators().values(), BaseTrigger):
        monkeypatch.setattr(kind, "log", property(lambda _: logger), raising=False)
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
def job(server: SandboxProcess) -> str:
    """A job that goes on for a moment, and rows."""
    server.reset()
    server.request("POST", "/v0/datasources", {"name": "flights", "mode": "append", "format": "csv"}, body=CSV.encode())
    return str(server.request("POST", "/v0/pipes/copy_totals/copy")["job"]["job_id"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flights.csv"
    path.write_text(CSV)
    return path


def arguments_of(name: str, server: SandboxProcess, file: Path, job: str, mode: str) -> dict[str, Any]:
    given = ARGUMENTS[name](server.base_url, file, job)
    if can_defer(name) and "poke_interval" not in given:
        given |= {"poll_interval": 0.05}
    if mode == "deferred":
        given |= {"deferrable": True}
    return given


def can_defer(name: str) -> bool:
    return hasattr(operators()[name](task_id="t", **ARGUMENTS[name]("", Path("x"), "j")), "deferrable")


CASES = [(name, mode) for name in ARGUMENTS for mode in ("sync", "deferred") if mode == "sync" or can_defer(name)]


def assert_nothing_is_out(out: str) -> None:
    assert [one for secret in (TOKEN, SIGNATURE) for one in encodings(secret) if one in out] == []


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_nothing_of_what_goes_well(name, mode, server, job, file, connection, logs):
    connection(server.base_url, TOKEN)
    task = Task(operators()[name], arguments_of(name, server, file, job, mode))
    task.run()
    # Some sensors wait for what does not come.
    assert task.error is None or (name.endswith("Sensor") and re.search("in vain|has timed out", str(task.error)))
    # Only where something is said can it be seen that nothing is said which must not be.
    own = [one for one in logs.records if one.name == OWN_LOG or one.name.startswith("airflow_provider_tinybird")]
    assert [one for one in own if one.levelno >= logging.INFO]
    assert_nothing_is_out("\n".join([logs.text, *task.out]))


@pytest.mark.parametrize("echo", [TOKEN, f"https://x.example/f?X-Amz-Signature={SIGNATURE}"], ids=["token", "address"])
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_nothing_of_an_error_that_repeats_it(name, mode, echo, server, job, file, connection, logs):
    connection(server.base_url, TOKEN)
    body = {"error": f"refused: {echo}", "errors": [echo]}
    fault = {"match": {"path": "/v0/|/v1/"}, "status": 400, "body": body, "times": 50}
    assert httpx.post(f"{server.base_url}/sandbox/faults", json=fault).status_code == 200
    task = Task(operators()[name], arguments_of(name, server, file, job, mode) | {"retries": 0})
    task.run()
    out = "\n".join([logs.text, *task.out])
    assert "refused" in out
    assert_nothing_is_out(out)


SIGNED = f"https://bucket.example/f.csv?X-Amz-Credential=a&X-Amz-Signature={SIGNATURE}"
LONG = 200_000


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("TinybirdCopyOperator", {"pipe": "copy_totals", "parameters": {"source": SIGNED}}),
        ("TinybirdSinkOperator", {"pipe": "out", "parameters": {"nested": [SIGNED]}}),
        ("TinybirdEndpointOperator", {"pipe": "top", "parameters": {"source": SIGNED}}),
        ("TinybirdQueryOperator", {"sql": f"SELECT '{SIGNED}' AS source FORMAT CSV"}),
        ("TinybirdDeleteOperator", {"datasource": "flights", "delete_condition": f"carrier = '{SIGNED}'"}),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_no_address_of_an_argument_in_the_log(name, arguments, server, job, connection, logs):
    connection(server.base_url, TOKEN)
    Task(operators()[name], arguments | {"retries": 0}).run()
    assert "Asking Tinybird at" in logs.text
    own = [
        one.getMessage() for one in logs.records if one.name == OWN_LOG or "airflow_provider_tinybird" in one.pathname
    ]
    assert_nothing_is_out("\n".join(own))


@pytest.mark.parametrize(
    "name", ["TinybirdCopyOperator", "TinybirdQueryOperator", "TinybirdEventsOperator", "TinybirdTruncateOperator"]
)
def test_a_long_answer_is_cut(name, server, file, job, connection, logs):
    connection(server.base_url, TOKEN)
    fault = {"match": {"path": "/v0/"}, "status": 400, "body": {"error": "refused: " + "z" * LONG}, "times": 50}
    assert httpx.post(f"{server.base_url}/sandbox/faults", json=fault).status_code == 200
    task = Task(operators()[name], arguments_of(name, server, file, job, "sync") | {"retries": 0})
    task.run()
    assert "refused" in str(task.error)
    said = [one.getMessage() for one in logs.records if "airflow_provider_tinybird" in one.pathname] + [str(task.error)]
    assert max(map(len, said)) < 10_000


def test_a_long_request_is_cut(server, job, connection, logs):
    connection(server.base_url, TOKEN)
    Task(operators()["TinybirdQueryOperator"], {"sql": f"SELECT 1 /* {'z' * LONG} */"}).run()
    said = [one.getMessage() for one in logs.records if "airflow_provider_tinybird" in one.pathname]
    assert max(map(len, said)) < 2_000


def test_a_secret_that_is_out_would_be_seen():
    for secret in (TOKEN, SIGNATURE):
        shown = [f"Bearer {secret}", quote(secret), json.dumps({"a": secret}), secret.encode().hex()]
        shown += [base64.b64encode(before + secret.encode() + b"tail").decode() for before in (b"", b"a:", b"u:p:")]
        for text in shown:
            with pytest.raises(AssertionError):
                assert_nothing_is_out(text)
