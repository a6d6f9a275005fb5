"""What only the sandbox has: jobs that are held, fail or are deaf to a cancel on demand, jobs over a restart."""

from __future__ import annotations

import itertools
from pathlib import Path

import httpx
import pytest
from sandbox_process import SandboxProcess

PROJECT = Path(__file__).parent / "project"
NUMBERS = itertools.count(1)


def plan(client: httpx.Client, **course: object) -> None:
    client.post("/sandbox/jobs", json={"name": "sales", **course}).raise_for_status()


def start(client: httpx.Client) -> str:
    """Append a row that no other equals."""
    csv = f"2026-01-01,a,{next(NUMBERS)}\n"
    job_id: str = client.post("/v1/datasources/sales/append?format=csv", content=csv).raise_for_status().json()["id"]
    return job_id


def count(client: httpx.Client) -> int:
    return client.post("/v0/sql", content="SELECT count() AS n FROM sales FORMAT JSON").json()["data"][0]["n"]


@pytest.mark.parametrize("status", ["waiting", "working"])
def test_a_job_is_held_until_it_is_released(client, poll, status):
    plan(client, hold=status)
    job_id = start(client)
    poll(client, job_id, (status,))
    other = start(client)
    assert poll(client, other, ("done",))
    assert poll(client, job_id, (status,))["status"] == status
    client.delete("/sandbox/jobs", params={"name": "totals"})
    assert poll(client, job_id, (status,))["status"] == status
    client.delete("/sandbox/jobs", params={"name": "sales"})
    poll(client, job_id, ("done",))
    assert count(client) == 2


def test_a_job_fails_with_given_words_and_the_next_one_does_not(client, poll):
    plan(client, error="Memory limit exceeded")
    assert poll(client, start(client), ("error",))["error"] == "Memory limit exceeded"
    poll(client, start(client), ("done",))
    assert count(client) == 1


def test_an_import_loses_rows_and_only_its_counts_tell(client, poll):
    plan(client, lose=2)
    answer = client.post("/v1/datasources/sales/append?format=csv", content="2026-01-01,a,1\n" * 5)
    job_id = answer.json()["id"]
    assert poll(client, job_id, ("done",)).get("error") is None
    (block,) = client.get(f"/v0/jobs/{job_id}?debug=blocks,block_log").json()["blocks"]
    assert (block["process_return"][0]["lines"], count(client)) == (3, 3)


def test_an_import_that_does_not_tell_its_counts(client, poll):
    plan(client, uncounted=True)
    job_id = start(client)
    poll(client, job_id, ("done",))
    job = client.get(f"/v0/jobs/{job_id}?debug=blocks,block_log").json()
    assert (job["blocks"], count(client)) == ([], 1)
    assert not {"quarantine_rows", "invalid_lines"} & job.keys()


def test_a_stubborn_job_stays_cancelling_until_it_is_released(client, poll):
    plan(client, hold="working", stubborn=True)
    job_id = start(client)
    poll(client, job_id, ("working",))
    assert client.post(f"/v0/jobs/{job_id}/cancel").json()["status"] == "cancelling"
    assert client.post(f"/v0/jobs/{job_id}/cancel").status_code == 400
    client.delete("/sandbox/jobs")
    poll(client, job_id, ("cancelled",))
    assert count(client) == 0


@pytest.mark.parametrize("course", [{"name": "sales", "hold": "done"}, {"hold": "working"}, {"name": "a", "x": 1}, "a"])
def test_a_course_that_cannot_be_read_is_refused(client, course):
    answer = client.post("/sandbox/jobs", json=course)
    assert (answer.status_code, "course" in answer.json()["error"]) == (400, True)


def test_jobs_outlive_a_kill_and_what_ran_is_in_error(tmp_path, poll):
    with SandboxProcess("--project", PROJECT, "--data", tmp_path) as server:
        with httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client:
            done = poll(client, start(client), ("done",))
            plan(client, hold="working")
            held = start(client)
            poll(client, held, ("working",))
        server.process.kill()
        server.process.wait()
    with (
        SandboxProcess("--project", PROJECT, "--data", tmp_path) as server,
        httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30) as client,
    ):
        again = poll(client, done["id"], ("done",))
        assert again | {"job_url": ""} == done | {"job_url": ""}
        broken = client.get(f"/v0/jobs/{held}").json()
        assert (broken["status"], "restarted" in broken["error"]) == ("error", True)
        assert count(client) == 1
