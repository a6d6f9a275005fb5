"""Jobs that do not end well, and the limits of time."""

from __future__ import annotations

from e2e.airflow_process import wait_until
from e2e.scenario import Facts, scenario
from e2e.stage import Stage

BOTH = ("sync", "deferred")
WORDS = "Memory limit (for query) exceeded: would use 7.50 GiB"
QUOTA = "You have reached the maximum number of copy jobs (2)."


@scenario("job ends in error", modes=BOTH, jobs=("error",), task="failed", rows=0)
def failing(stage: Stage) -> Facts:
    stage.course(error=WORDS, delay=2)
    stage.start()
    facts = stage.facts()
    stage.log_has(WORDS, stage.box.jobs(stage.target)[0]["id"])
    return facts


@scenario("job ends in error, the next attempt's does not", modes=BOTH, jobs=("error", "done"))
def failing_once(stage: Stage) -> Facts:
    stage.course(error=WORDS, delay=2)
    stage.start()
    return stage.facts()


@scenario("job cancelled by somebody else", modes=BOTH, jobs=("cancelled",), task="failed", rows=0)
def cancelled_outside(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.box.send("POST", f"/v0/jobs/{stage.wait_for_job('working')['id']}/cancel")
    facts = stage.facts()
    stage.log_has("was cancelled after", "not by this task")
    return facts


@scenario(
    "job cancelled by somebody else hangs in 'cancelling' beyond the deadline",
    modes=BOTH,
    jobs=("cancelling",),
    task="failed",
    rows=0,
)
def stuck_cancelling(stage: Stage) -> Facts:
    stage.course(hold="working", stubborn=True)
    stage.start()
    stage.wait_until_waiting()
    stage.box.send("POST", f"/v0/jobs/{stage.wait_for_job('working')['id']}/cancel")
    facts = stage.facts(settle=False)
    stage.log_has("was still 'cancelling' after", "Tinybird refused to cancel job")
    stage.release()
    return facts


@scenario("deadline (timeout) is over", modes=BOTH, jobs=("cancelled",), task="failed", rows=0)
def deadline(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    facts = stage.facts()
    stage.log_has("was still 'working' after", "timeout gives it 6 s", "Tinybird was asked to cancel job")
    return facts


@scenario("execution_timeout is over", modes=BOTH, jobs=("cancelled",), task="failed", rows=0)
def execution_timeout(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    facts = stage.facts()
    stage.log_has("Tinybird was asked to cancel job")
    return facts


@scenario(
    "8 mapped copies, of which Tinybird runs 2 at a time",
    waits="triggerer",
    jobs=("done",) * 8,
    task=("success",) * 8,
    rows=8,
    box="limited",
)
def quota(stage: Stage) -> Facts:
    stage.start()
    facts = stage.facts()
    assert facts.task == ("success",) * 8, stage.run.log()[-20_000:]
    refused = [one for one in stage.box.requests("POST", f"/v0/pipes/{stage.name}/copy") if one["status"] == 403]
    assert refused, "the quota was never met"
    assert stage.box.distinct(stage.target) == 8
    return facts


@scenario("job fails since Tinybird runs as many copies as it may", waits="triggerer", jobs=("error", "done"))
def no_slot_job(stage: Stage) -> Facts:
    stage.course(error=QUOTA, delay=1)
    stage.start()
    facts = stage.facts()
    stage.log_has("No free slot for the job; waiting for one in the triggerer")
    return facts


@scenario("job not waited for, but by four sensors: poke, reschedule, deferred, newest of the pipe", waits="sensors")
def waited_for(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    assert stage.run.wait_for_end() == ["success"]
    stage.run.wait_for("deferred", task_id="deferred")
    stage.run.wait_for("running", task_id="newest")
    stage.run.wait_for("up_for_reschedule", task_id="reschedule")
    assert stage.wait_for_job("working")
    stage.release()
    sensors = [stage.run.wait_for_end(task_id=name) for name in ("poke", "reschedule", "deferred", "newest")]
    assert sensors == [["success"]] * 4, sensors
    jobs = {stage.run.xcom(name)["job_id"] for name in ("job", "poke", "reschedule", "deferred", "newest")}
    assert jobs == {stage.box.jobs(stage.target)[0]["id"]}
    return stage.facts()


@scenario(
    "Tinybird killed (-9) and started again, the job broke off: submitted again",
    modes=BOTH,
    jobs=("error", "done"),
    box="fragile",
    meets="sandbox",
)
def restarted(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.together(stage.box.kill)
    stage.together(stage.box.start_again)
    wait_until(f"end of the first job of {stage.name}", lambda: not stage.active_jobs())
    return stage.facts()
