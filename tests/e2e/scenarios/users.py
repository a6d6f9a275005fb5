"""What people do to tasks: mark them, clear them."""

from __future__ import annotations

from e2e.airflow_process import wait_until
from e2e.scenario import Facts, scenario
from e2e.stage import Stage

BOTH = ("sync", "deferred")


@scenario("marked as failed", modes=BOTH, jobs=("cancelled",), task="failed", rows=0)
def marked_failed(stage: Stage) -> Facts:
    return _marked(stage, "failed")


@scenario("marked as success", modes=BOTH, jobs=("cancelled",), task="success", rows=0)
def marked_success(stage: Stage) -> Facts:
    return _marked(stage, "success")


@scenario("cleared: runs afresh", modes=BOTH, jobs=("cancelled", "done"))
def cleared(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.run.clear()
    stage.wait_for_job("waiting", "working", "done", count=2)
    return stage.facts()


@scenario("cleared while Tinybird takes its time to cancel: runs afresh", modes=BOTH, jobs=("cancelled", "done"))
def cleared_slow_cancel(stage: Stage) -> Facts:
    stage.course(hold="working", stubborn=True)
    stage.start()
    stage.wait_until_waiting()
    stage.run.clear()
    # Nothing says whether the old job is cancelled before the new one is started: both may be there for a moment.
    wait_until("cancel of the first job", lambda: stage.box.jobs(stage.target)[0]["status"] == "cancelling")
    stage.run.wait_for("running", "deferred", "success")
    stage.release()
    return stage.facts()


@scenario("cleared after success: runs afresh", jobs=("done", "done"))
def cleared_after_success(stage: Stage) -> Facts:
    stage.start()
    stage.run.wait_for("success")
    stage.run.clear()
    stage.wait_for_job("waiting", "working", "done", count=2)
    return stage.facts()


def _marked(stage: Stage, state: str) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.run.mark(state)
    stage.wait_for_job("cancelled")
    return stage.facts()
