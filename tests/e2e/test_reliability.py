"""A whole Airflow, a whole Tinybird, and whatever can happen to a task and its job: a job is started once, a green task
has its rows once, and what is killed is cancelled.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from e2e import scenario
from e2e.conftest import Show
from e2e.scenario import SCENARIOS

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"

pytestmark = pytest.mark.timeout(1800)  # the first test waits for the start of everything


@pytest.mark.parametrize("name", SCENARIOS)
def test_facts(show: Show, name: str) -> None:
    assert show.facts(name) == SCENARIOS[name].expected


def test_the_document_has_the_table_of_these_results(show: Show) -> None:
    results = show.results()
    if results.keys() != SCENARIOS.keys():
        pytest.fail(f"no results of {', '.join(SCENARIOS.keys() - results.keys())}")
    table = scenario.table(results)
    if os.environ.get("WRITE_TABLE"):
        scenario.write(DOCUMENT, table)
    assert scenario.in_document(DOCUMENT) == table, "write it anew: WRITE_TABLE=1 make e2e"
