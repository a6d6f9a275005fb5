"""Many at once."""

from __future__ import annotations

from e2e.airflow_process import wait_until
from e2e.scenario import Facts, scenario
from e2e.stage import Stage

SIZE = 200
LOOKS = 5


@scenario(
    f"{SIZE} mapped copies at once",
    waits="triggerer",
    jobs=("done",) * SIZE,
    task=("success",) * SIZE,
    rows=SIZE,
    phase="crowd",
)
def crowd(stage: Stage) -> Facts:
    stage.course(hold="working", times=SIZE)
    stage.start()
    # Instances exist one by one, and all of them are to wait at once.
    wait_until("crowd in the triggerer", lambda: stage.run.states().count("deferred") == SIZE, patience=900, pause=1)
    log = stage.airflow["triggerer"].log
    before = len(log.read_text())
    # Now nothing but the triggers is at work, so that nobody else can keep their event loop from running.
    job = stage.box.jobs(stage.target)[-1]["id"]
    seen = len(stage.box.requests("GET", f"/v0/jobs/{job}"))
    wait_until("looks", lambda: len(stage.box.requests("GET", f"/v0/jobs/{job}")) >= seen + LOOKS, pause=1)
    blocked = [line for line in log.read_text()[before:].splitlines() if "thread was blocked" in line]
    assert not blocked, blocked
    stage.release()
    facts = stage.facts(patience=900)
    assert stage.box.distinct(stage.target) == SIZE
    return facts
