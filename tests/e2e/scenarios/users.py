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


@scenario(
    "cleared, cancel_on_kill=False: runs afresh, and the old job goes on", modes=BOTH, jobs=("done", "done"), rows=6
)
def cleared_uncancelled(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.run.clear()
    stage.wait_for_job("waiting", "working", "done", count=2)
    stage.release()
    facts = stage.facts()
    stage.log_has("This task was cleared since it stored")
    return facts


@scenario("connection deleted and added again while the trigger starts", waits="triggerer")
def connection_missing(stage: Stage) -> Facts:
    conn_id, token = f"moved_{stage.name}", stage.box.process.token
    stage.airflow.connect(conn_id, stage.box.url, token)
    stage.course(hold="working")
    stage.start()
    stage.wait_for_job("working")
    stage.airflow.disconnect(conn_id)
    wait_until("look at the connection", lambda: "could not be read in the triggerer" in stage.run.log())
    stage.airflow.connect(conn_id, stage.box.url, token)
    stage.release()
    return stage.facts()


@scenario("token rotated", waits="triggerer")
def token_rotated(stage: Stage) -> Facts:
    conn_id = f"moved_{stage.name}"
    old = stage.box.send("POST", "/v0/tokens", name=stage.name, scope="ADMIN")["token"]
    stage.airflow.connect(conn_id, stage.box.url, old)
    stage.course(hold="working")
    stage.start()
    stage.wait_for_job("working")
    stage.run.wait_for("deferred")
    stage.box.send("DELETE", f"/v0/tokens/{old}")
    wait_until("refusal of the token", lambda: "is refused by Tinybird in the triggerer" in stage.run.log())
    stage.airflow.connect(conn_id, stage.box.url, stage.box.process.token)
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
