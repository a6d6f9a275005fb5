"""Many at once."""

from __future__ import annotations

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
    stage.course(delay=2, times=SIZE)
    stage.start()
    facts = stage.facts(patience=900)
    assert stage.box.distinct(stage.target) == SIZE
    assert "async thread was blocked" not in stage.airflow["triggerer"].log.read_text()
    return facts
