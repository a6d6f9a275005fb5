"""Trouble between Airflow and Tinybird."""

from __future__ import annotations

import time

from e2e.airflow_process import wait_until
from e2e.scenario import Facts, scenario
from e2e.stage import Stage

BOTH = ("sync", "deferred")
REFUSED_SECONDS = 30.0


@scenario("30 s of refused connections while the job is watched", modes=BOTH)
def refused(stage: Stage) -> Facts:
    proxy = stage.world.proxies["flaky_deferred" if stage.name.endswith("deferred") else "flaky_sync"]
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    proxy.refuse()
    end = time.monotonic() + REFUSED_SECONDS
    stage.release()
    stage.wait_for_job("done")
    wait_until("end of the refusals", lambda: time.monotonic() > end)
    assert stage.run.states() == ["deferred" if stage.name.endswith("deferred") else "running"]
    proxy.accept()
    return stage.facts()


@scenario("HTTP 429 with Retry-After on the submit and on looks", modes=BOTH)
def rate_limited(stage: Stage) -> Facts:
    limit = {"status": 429, "headers": {"Retry-After": "1"}, "body": {"error": "Too many requests"}, "times": 2}
    stage.fault("POST", f"/v0/pipes/{stage.name}/copy", **limit)
    stage.course(hold="working")
    stage.start()
    job = stage.wait_for_job("working")
    submits = [one["status"] for one in stage.box.requests("POST", f"/v0/pipes/{stage.name}/copy")]
    assert submits == [429, 429, 200], submits
    stage.wait_until_waiting()
    stage.fault("GET", f"/v0/jobs/{job['id']}", **limit)
    polls = f"/v0/jobs/{job['id']}"
    wait_until("limited looks", lambda: sum(one["status"] == 429 for one in stage.box.requests("GET", polls)) == 2)
    stage.release()
    return stage.facts()


@scenario("answer to the submit lost after the work was done, append by URL", box="limited")
def answer_lost_url(stage: Stage) -> Facts:
    stage.fault("POST", "/v0/datasources", cut="after")
    stage.start()
    facts = stage.facts()
    stage.log_has("is the one that was asked for")
    return facts


@scenario(
    "answer to the submit lost after the work was done, copy that appends: red, the message names the job",
    task="failed",
)
def answer_lost_append(stage: Stage) -> Facts:
    stage.fault("POST", f"/v0/pipes/{stage.name}/copy", cut="after")
    stage.start()
    facts = stage.facts()
    stage.log_has("It is not known whether Tinybird did this", stage.box.jobs(stage.target)[0]["id"])
    return facts


@scenario("answer to the submit lost after the work was done, copy that replaces: done again", jobs=("done", "done"))
def answer_lost_replace(stage: Stage) -> Facts:
    stage.fault("POST", f"/v0/pipes/{stage.name}/copy", cut="after")
    stage.start()
    return stage.facts()
