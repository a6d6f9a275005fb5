"""The Jobs API: states, list, cancel, retry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

CSV = "2026-01-01,a,1\n"


def start(client, body: str = CSV) -> str:
    job_id: str = client.post("/v1/datasources/sales/append?format=csv", content=body).json()["id"]
    return job_id


def count(client) -> int:
    return client.post("/v0/sql", content="SELECT count() AS n FROM sales FORMAT JSON").json()["data"][0]["n"]


def test_states_one_after_the_other(slow, poll):
    """Jobs API: waiting, working, done; started_at is null before it works; is_cancellable says whether a cancel helps."""
    job_id = start(slow)
    waiting = poll(slow, job_id, ("waiting",))
    assert (waiting["started_at"], waiting["is_cancellable"]) == (None, True)
    assert count(slow) == 0
    working = poll(slow, job_id, ("working",))
    assert working["started_at"] is not None
    done = poll(slow, job_id, ("done", "error"))
    assert (done["status"], done["is_cancellable"]) == ("done", False)
    assert waiting["created_at"] == done["created_at"] < done["started_at"] < done["updated_at"]
    assert count(slow) == 1


def test_members_of_a_job(client, wait_for_job, server):
    """Jobs API: id and job_id are one value; job_url is absolute; times have no zone."""
    job = wait_for_job(start(client))
    assert job["id"] == job["job_id"]
    assert job["job_url"] == f"{server.base_url}/v0/jobs/{job['id']}"
    datetime.strptime(job["created_at"], "%Y-%m-%d %H:%M:%S.%f")
    assert "error" not in job


def test_cancel_a_waiting_job(slow, poll):
    """Jobs API: a waiting job is cancelled; the answer is the job."""
    job_id = start(slow)
    answer = slow.post(f"/v0/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["id"]) == (200, "cancelled", job_id)
    assert poll(slow, job_id, ("cancelled",))["is_cancellable"] is False
    assert slow.post(f"/v0/jobs/{job_id}/cancel").status_code == 400
    assert count(slow) == 0


def test_cancel_a_working_job(client, poll, query):
    """Jobs API: cancelling is not an end; cancelled follows. The engine's query is stopped; what it wrote stays."""
    job_id = client.post("/v0/pipes/copy_slow/copy").json()["job"]["id"]
    rows = "SELECT count() AS n FROM totals"
    while query(rows) == [{"n": 0}]:
        assert client.get(f"/v0/jobs/{job_id}").json()["status"] in ("waiting", "working")
    cancelled = client.post(f"/v0/jobs/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelling")
    assert cancelled.json()["is_cancellable"] is False
    job = poll(client, job_id, ("cancelled", "done", "error"))
    assert (job["status"], "error" in job) == ("cancelled", False)
    [written] = query(rows)
    assert 0 < written["n"] < 10_000
    assert query(rows) == [written]


def test_cancel_a_working_replace(client, poll, query):
    """A replace that is cancelled leaves the old rows."""
    client.post("/v0/datasources?name=totals&mode=append&format=csv", content="shop,total\nold,1\n").raise_for_status()
    job_id = client.post("/v0/pipes/copy_slow/copy?_mode=replace").json()["job"]["id"]
    poll(client, job_id, ("working",))
    client.post(f"/v0/jobs/{job_id}/cancel").raise_for_status()
    assert poll(client, job_id, ("cancelled", "done", "error"))["status"] == "cancelled"
    assert query("SELECT shop FROM totals") == [{"shop": "old"}]


def test_cancel_a_finished_job(client, wait_for_job):
    """Jobs API: 400, not cancellable in this state."""
    job_id = start(client)
    wait_for_job(job_id)
    answer = client.post(f"/v0/jobs/{job_id}/cancel")
    assert answer.status_code == 400
    assert "done" in answer.json()["error"]


def test_retry(client, server, files, wait_for_job, query):
    """Changelog of 2026-09-11, job retry: an import in error or cancelled; the answer is a new job."""
    url = f"{server.base_url}/files/later.csv"
    (files / "later.csv").unlink(missing_ok=True)
    job_id = client.post("/v1/datasources/sales/append", params={"format": "csv", "url": url}).json()["id"]
    assert wait_for_job(job_id)["status"] == "error"
    (files / "later.csv").write_text(CSV)
    fresh = client.post(f"/v0/jobs/{job_id}/retry").json()
    assert fresh["id"] != job_id
    assert wait_for_job(fresh["id"])["status"] == "done"
    assert query("SELECT count() AS n FROM sales") == [{"n": 1}]
    assert client.post(f"/v0/jobs/{fresh['id']}/retry").status_code == 400


def test_retry_of_a_body(slow, poll):
    """A cancelled import of a body can be retried too: the sandbox keeps the body."""
    job_id = start(slow)
    slow.post(f"/v0/jobs/{job_id}/cancel").raise_for_status()
    fresh = slow.post(f"/v0/jobs/{job_id}/retry").json()
    assert poll(slow, fresh["id"], ("done", "error"))["status"] == "done"
    assert count(slow) == 1


def test_list_newest_first_and_filters(client, wait_for_job):
    """Jobs API: filters kind, status, pipe_id, pipe_name, created_after, created_before."""
    before = datetime.now(UTC)
    first = start(client)
    wait_for_job(first)
    deleted = client.post("/v0/datasources/sales/delete", data={"delete_condition": "1"}).json()["id"]
    wait_for_job(deleted)
    copied = client.post("/v0/pipes/copy_totals/copy").json()["job"]
    wait_for_job(copied["id"])

    def listed(**filters: str) -> list[str]:
        return [job["id"] for job in client.get("/v0/jobs", params=filters).json()["jobs"]]

    assert listed() == [copied["id"], deleted, first]
    assert listed(kind="import") == [first]
    assert listed(kind="copy", status="done") == [copied["id"]]
    assert listed(status="error") == []
    assert listed(pipe_name="copy_totals") == listed(pipe_id=copied["pipe_id"]) == [copied["id"]]
    assert listed(created_after=(before + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")) == []
    assert len(listed(created_after=before.isoformat(), created_before="2100-01-01")) == 3
    assert client.get("/v0/jobs", params={"status": "failed"}).status_code == 400
    assert client.get("/v0/jobs", params={"created_after": "soon"}).status_code == 400


def test_unknown_job(client):
    for answer in (
        client.get("/v0/jobs/nothing"),
        client.post("/v0/jobs/nothing/cancel"),
        client.post("/v0/jobs/nothing/retry"),
    ):
        assert answer.status_code == 404


def test_an_append_token_reads_its_own_imports_only(client, narrow, wait_for_job):
    """Jobs API and changelog of 2026-09-11: DATASOURCES:CREATE reads jobs; an append token reads the imports that it started."""
    other = start(client)
    with narrow("DATASOURCES:APPEND:sales") as appender:
        own = start(appender)
        assert appender.get(f"/v0/jobs/{own}").status_code == 200
        assert appender.get(f"/v0/jobs/{other}").status_code == 403
        assert appender.get("/v0/jobs").status_code == 403
    with narrow("DATASOURCES:CREATE") as creator:
        assert creator.get(f"/v0/jobs/{own}").status_code == 200
    wait_for_job(own)
    wait_for_job(other)


def test_jobs_run_beside_each_other(slow, poll):
    jobs = [start(slow, f"2026-01-0{number},x,{number}\n") for number in range(1, 6)]
    assert [poll(slow, job, ("done", "error"))["status"] for job in jobs] == ["done"] * 5
    assert count(slow) == 5


@pytest.mark.parametrize("number", [105])
def test_no_more_than_a_hundred_are_listed(client, wait_for_job, number):
    """Jobs API: at most 100 jobs."""
    ids = [
        client.post("/v0/datasources/sales/delete", data={"delete_condition": "0"}).json()["id"] for _ in range(number)
    ]
    listed = [job["id"] for job in client.get("/v0/jobs").json()["jobs"]]
    assert listed == ids[::-1][:100]
    wait_for_job(ids[-1])
