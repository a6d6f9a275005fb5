"""What the first version stored in Airflow is still read: triggers of deferred tasks, and records of tasks that are retried.

``first_version.json`` was written by that version, by one attempt of each operator against the sandbox. It is never written again.
"""

from __future__ import annotations

import http.server
import importlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CASES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("first_version.json").read_text())["cases"]
EVENTS_TEXT = '{"day":"2026-01-05","n":1}\n' * 600_000
"""The rows of the recorded loads by events: two batches."""


def done_job(job_id: str) -> dict[str, Any]:
    """A job that was a copy, a delete and an import, whichever is asked for."""
    return {
        "id": job_id,
        "job_id": job_id,
        "status": "done",
        "pipe_name": "sum_up",
        "quarantine_rows": 0,
        "invalid_lines": 0,
        "blocks": [{"block_id": "b", "process_return": [{"lines": 4, "quarantine": 0, "invalid_lines": 0}]}],
    }


class Store(dict[str, Any]):
    def set(self, key: str, value: Any, **_: Any) -> None:
        self[key] = json.loads(json.dumps(value))


class Tinybird(http.server.ThreadingHTTPServer):
    """Knows every job, and says that it is done; notes what it was asked to do."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.submitted: list[str] = []
        self.event_rows = 0


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Tinybird

    def log_message(self, *_: Any) -> None:
        pass

    def _say(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/v0/jobs/"):
            job_id = path.rpartition("/")[2]
            return self._say(
                200, {"id": job_id, "job_id": job_id, "kind": "copy", "status": "done", "pipe_name": "sum_up"}
            )
        if path == "/v0/datasources/orders":
            return self._say(200, {"id": "t_1", "name": "orders", "columns": [], "engine": {}})
        return self._say(404, {"error": f"nothing here: {path}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if path == "/v0/events":
            self.server.event_rows += (rows := body.count(b"\n") + (not body.endswith(b"\n")))
            return self._say(200, {"successful_rows": rows, "quarantined_rows": 0})
        if path == "/v0/sql":
            return self._say(
                200, {"meta": [{"name": "c", "type": "UInt64"}], "data": [{"c": 0, "c__rows": 0}], "rows": 1}
            )
        self.server.submitted.append(self.path)
        return self._say(
            200, {"id": "node", "job": {"id": f"new-{len(self.server.submitted)}", "kind": "copy", "status": "done"}}
        )


@pytest.fixture
def tinybird(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tinybird]:
    server = Tinybird()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    connection = {"conn_type": "tinybird", "host": f"http://127.0.0.1:{server.server_port}", "password": "p.x"}
    monkeypatch.setenv("AIRFLOW_CONN_TINYBIRD_DEFAULT", json.dumps(connection))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def operator_of(case: dict[str, Any], **changes: Any) -> Any:
    module, _, name = case["operator"].rpartition(".")
    return getattr(importlib.import_module(module), name)(task_id="t", retries=2, **{**case["arguments"], **changes})


def second_attempt(case: dict[str, Any]) -> tuple[dict[str, Any], Store]:
    store = Store(json.loads(json.dumps(case["store"])))
    ti = SimpleNamespace(
        dag_id="d", task_id="t", run_id="r", try_number=2, max_tries=2, map_index=-1, xcom_push=lambda **_: None
    )
    return {"ti": ti, "task_instance": ti, "task_state_store": store, "run_id": "r", "params": {}}, store


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "trigger" in case])
def test_a_stored_trigger_is_made_again(name):
    path, arguments = CASES[name]["trigger"]
    module, _, class_name = path.rpartition(".")
    trigger = getattr(importlib.import_module(module), class_name)(**arguments)
    path_now, arguments_now = trigger.serialize()
    assert path_now == path
    assert {key: arguments_now[key] for key in arguments} == arguments


@pytest.mark.parametrize("name", ["copy", "append_url", "delete"])
def test_a_retry_takes_the_recorded_job(name, tinybird):
    case = CASES[name]
    context, store = second_attempt(case)
    job_id = store["tinybird_job"]["job_id"]
    result = operator_of(case, deferrable=False).execute(context)
    assert result["job_id"] == job_id
    assert tinybird.submitted == []


@pytest.mark.parametrize("name", ["copy", "append_url", "delete"])
def test_a_deferred_task_comes_back(name, tinybird):
    case = CASES[name]
    context, _ = second_attempt(case)
    job_id = case["trigger"][1]["job_id"]
    payload = {
        "ending": "done",
        "job_id": job_id,
        "message": "",
        "waited": 5.0,
        "job": done_job(job_id),
        "version": 1,
    }
    result = getattr(operator_of(case), case["method"])(context, payload, **(case["kwargs"] or {}))
    assert result["job_id"] == job_id
    assert tinybird.submitted == []


def test_a_range_goes_on_behind_its_recorded_windows(tinybird):
    case = CASES["range"]
    context, store = second_attempt(case)
    first = next(value["job_id"] for key, value in store.items() if key.startswith("tinybird_job/2026"))
    result = operator_of(case, deferrable=False).execute(context)
    assert len(tinybird.submitted) == 2
    assert "2026-01-02" in tinybird.submitted[0]
    assert "2026-01-03" in tinybird.submitted[1]
    assert not any("start=2026-01-01" in path for path in tinybird.submitted)
    assert first in json.dumps(result)


def test_a_deferred_range_comes_back(tinybird):
    case = CASES["range"]
    context, _ = second_attempt(case)
    resumed = getattr(operator_of(case, deferrable=False), case["method"])
    result = resumed(context, {"message": "job is done.", "version": 1}, **case["kwargs"])
    assert len(tinybird.submitted) == 2
    assert case["trigger"][1]["job_ids"][0] in json.dumps(result)


def test_a_load_that_may_not_double_sends_nothing(tinybird):
    context, _ = second_attempt(CASES["events_at_most_once"])
    with pytest.raises(Exception, match=r"370370 to 599999") as failed:
        operator_of(CASES["events_at_most_once"], data=EVENTS_TEXT).execute(context)
    assert type(failed.value).__name__ == "AirflowFailException"
    assert tinybird.event_rows == 0


def test_a_load_goes_on_behind_its_recorded_rows(tinybird):
    context, _ = second_attempt(CASES["events_at_least_once"])
    result = operator_of(CASES["events_at_least_once"], data=EVENTS_TEXT).execute(context)
    assert tinybird.event_rows == 600_000 - 370_370
    assert result["skipped_rows"] == 370_370


def test_a_load_by_files_knows_the_file_that_is_under_way():
    from airflow_provider_tinybird.jobs.start import Attempt
    from airflow_provider_tinybird.loads.files import FilesMemory

    _, store = second_attempt(CASES["load_files"])
    recorded = store["tinybird_load_files"]
    found = FilesMemory(store, Attempt(max_tries=2, is_retry=True)).recall(recorded["target"])
    assert found.sent is not None
    assert (found.sent.digest, found.sent.rows) == (recorded["sent"]["digest"], recorded["sent"]["rows"])


def test_an_interval_remembers_what_was_there_before_it():
    from airflow_provider_tinybird.jobs.start import Attempt, Memory

    _, store = second_attempt(CASES["interval"])
    recorded = store["tinybird_job/facts"]
    memory = Memory(store, Attempt(max_tries=2, is_retry=True))
    assert memory.first_facts(recorded["about"], {"rows_before": 999}) == recorded["facts"]
