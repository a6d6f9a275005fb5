"""What an answer of the sandbox says when it refuses something."""

from __future__ import annotations

import time

import httpx


def refused(answer: httpx.Response, *words: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert all(word in error for word in words), error
    assert "Traceback" not in answer.text
    assert "/uploads/" not in answer.text


def job_error(client: httpx.Client, answer: httpx.Response) -> str:
    """The error of a job, which must come soon."""
    assert answer.status_code == 200, answer.text
    deadline = time.monotonic() + 20
    while (job := client.get(f"/v0/jobs/{answer.json()['id']}").json())["status"] not in ("done", "error"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert job["status"] == "error", job
    assert "Internal error" not in job["error"]
    assert "Traceback" not in job["error"]
    return str(job["error"])
