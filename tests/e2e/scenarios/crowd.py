"""Many at once."""

from __future__ import annotations

from e2e.airflow_process import wait_until
from e2e.scenario import Facts, scenario
from e2e.stage import Stage

SIZE = 200


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
    stage.release()
    facts = stage.facts(patience=900)
    assert stage.box.distinct(stage.target) == SIZE
    blocked = [line for line in stage.airflow["triggerer"].log.read_text().splitlines() if "thread was blocked" in line]
    assert not blocked, blocked
    return facts
