"""Workers, schedulers and triggerers that die."""

from __future__ import annotations

import signal

from e2e.airflow_process import wait_until
from e2e.scenario import Facts, scenario
from e2e.stage import Stage

BOTH = ("sync", "deferred")


@scenario("worker killed (-9) after the submit was recorded", modes=BOTH)
def killed_recorded(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.release()
    facts = stage.facts()
    stage.log_has("An earlier attempt started")
    return facts


@scenario("worker killed (-9) between the submit and its record, append by URL", modes=BOTH)
def killed_unrecorded_url(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.release()
    facts = stage.facts()
    stage.log_has("is the one that was asked for")
    return facts


@scenario(
    "worker killed (-9) between the submit and its record, copy that appends: red, the message names the job",
    modes=BOTH,
    task="failed",
)
def killed_unrecorded_append(stage: Stage) -> Facts:
    stage.start()
    facts = stage.facts()
    stage.log_has("An earlier attempt broke off while it started the job", stage.box.jobs(stage.target)[0]["id"])
    return facts


@scenario(
    "worker killed (-9) between the submit and its record, copy that replaces: done again",
    modes=BOTH,
    jobs=("done", "done"),
)
def killed_unrecorded_replace(stage: Stage) -> Facts:
    stage.start()
    return stage.facts()


@scenario(
    "worker killed (-9) between the submit and its record, copy that appends with on_unknown='resubmit': doubled, as asked for",
    jobs=("done", "done"),
    rows=6,
)
def killed_unrecorded_resubmit(stage: Stage) -> Facts:
    stage.start()
    return stage.facts()


@scenario("task process killed (-9) while it polls")
def killed_polling_task(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.kill(stage.processes()[0])
    stage.processes(attempt=2)
    stage.release()
    return stage.facts()


@scenario("task process and its supervisor killed (-9) while it polls")
def killed_polling_both(stage: Stage) -> Facts:
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    task, supervisor = stage.processes()
    stage.kill(supervisor, task)
    stage.processes(attempt=2)
    stage.release()
    return stage.facts()


@scenario(
    "triggerer killed (-9) and started again", waits="triggerer", phase="triggerer killed", meets="triggerer killed"
)
def triggerer_killed(stage: Stage) -> Facts:
    deferred(stage)
    stage.together(stage.airflow["triggerer"].kill)
    stage.together(stage.airflow["triggerer"].start)
    polls_again(stage)
    stage.release()
    return not_cancelled(stage)


@scenario(
    "triggerer killed (-9), started again after the job was done",
    waits="triggerer",
    phase="triggerer killed",
    meets="triggerer killed",
)
def triggerer_killed_late(stage: Stage) -> Facts:
    deferred(stage)
    stage.together(stage.airflow["triggerer"].kill)
    stage.release()
    stage.wait_for_job("done")
    stage.together(stage.airflow["triggerer"].start)
    return not_cancelled(stage)


@scenario("triggerer stopped (SIGTERM) and started again", waits="triggerer", phase="triggerer stopped")
def triggerer_stopped(stage: Stage) -> Facts:
    deferred(stage)
    stage.airflow["triggerer"].kill(signal.SIGTERM, with_children=False)
    stage.airflow["triggerer"].start()
    polls_again(stage)
    stage.release()
    return not_cancelled(stage)


@scenario(
    "scheduler killed (-9) and started again, its workers go on",
    modes=BOTH,
    phase="scheduler killed",
    meets="scheduler killed",
)
def scheduler_killed(stage: Stage) -> Facts:
    return scheduler_started_again(stage, with_workers=False)


@scenario(
    "scheduler killed (-9) together with all workers, and started again",
    modes=BOTH,
    phase="machine killed",
    meets="machine killed",
)
def machine_killed(stage: Stage) -> Facts:
    return scheduler_started_again(stage, with_workers=True)


def scheduler_started_again(stage: Stage, *, with_workers: bool) -> Facts:
    scheduler = stage.airflow["scheduler"]
    stage.course(hold="working")
    stage.start()
    stage.wait_until_waiting()
    stage.together(lambda: scheduler.kill(with_children=with_workers))
    stage.together(scheduler.start)
    stage.airflow.wait_until_healthy()
    polls_again(stage)
    stage.release()
    return stage.facts()


def not_cancelled(stage: Stage) -> Facts:
    facts = stage.facts()
    assert stage.cancels() == 0
    return facts


def deferred(stage: Stage) -> None:
    """Have the task deferred while its job works."""
    stage.course(hold="working")
    stage.start()
    stage.run.wait_for("deferred")
    polls_again(stage)


def polls_again(stage: Stage) -> None:
    """Wait until somebody looks at the job."""
    polls = f"/v0/jobs/{stage.box.jobs(stage.target)[-1]['id']}"
    seen = len(stage.box.requests("GET", polls))
    wait_until(f"polls of {stage.name}", lambda: len(stage.box.requests("GET", polls)) > seen)
