"""Faults that are none of the first answer: what the task does, and the test that shows it. The page on reliability lists them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fault_page
import pytest

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Fault:
    """A fault.

    :param what: what goes wrong.
    :param does: what the task does.
    :param test: file and function of the test that shows it.
    """

    what: str
    does: str
    test: str


TOPICS: dict[str, tuple[Fault, ...]] = {
    "Time": (
        Fault(
            "Tinybird takes requests and never answers: submit, poll, cancel, count",
            "ends at most 15 s after its `timeout`; sends nothing after it but its last poll and its cancel",
            "tests/unit/jobs/test_deadlines.py::test_a_copy",
        ),
        Fault(
            "The same, while a hundred triggers wait",
            "each of them ends in time",
            "tests/unit/jobs/test_deadlines.py::test_a_hundred_triggers",
        ),
        Fault(
            "An answer that drips byte by byte, in its head or its body",
            "counts as no answer once the time of a try is over",
            "tests/unit/api/test_wire.py::TestDeadlines",
        ),
        Fault(
            "`Retry-After` that is longer than any patience, on a poll",
            "waits as long as it says, at most until the deadline, and cancels the job then",
            "tests/unit/jobs/test_watch.py::test_a_wait_that_is_asked_for_lasts_to_the_deadline",
        ),
    ),
    "A retry and its job": (
        Fault(
            "The attempt before was killed, its answer was lost, or its job failed, was cancelled or is not known any more",
            "takes the job up, starts another, or is red and says that it is unknown: see the [table](jobs.md#a-retry-and-its-job)",
            "tests/unit/jobs/test_reattach.py::test_what_is_done",
        ),
        Fault(
            "The list in which a lost job is looked for cannot be read",
            "red: outcome unknown; names both causes",
            "tests/unit/jobs/test_reattach.py::test_both_causes_are_named",
        ),
        Fault(
            "A job in the list that does not show all of the request",
            "does not take it for its own",
            "tests/unit/jobs/test_reattach.py::test_what_does_not_show_its_parameters_is_never_adopted",
        ),
    ),
    "Worker and triggerer": (
        Fault(
            "The token is rotated while a task waits",
            "reads the connection again and goes on",
            "tests/unit/operators/test_resume.py::test_from_end_to_end_with_a_token_that_is_rotated_under_way",
        ),
        Fault(
            "The triggerer cannot read the connection",
            "the worker looks; a job that goes on is waited for again",
            "tests/unit/operators/test_resume.py::test_a_job_that_goes_on_goes_back_to_the_triggerer_then_waits_here",
        ),
        Fault(
            "The worker cannot read it either",
            "red; Airflow retries where the retry finds this very job, or doubles nothing",
            "tests/unit/operators/test_resume.py::test_where_the_worker_may_not_look_either_a_retry_does",
        ),
        Fault(
            "A running task is cleared, and its job cannot be cancelled",
            "starts afresh (Airflow 3.3 and later)",
            "tests/unit/operators/test_resume.py::test_a_clear_while_running_starts_afresh",
        ),
    ),
    "Values": (
        Fault(
            "A value that its column would change: out of range, too fine, a time that does not exist",
            "red before a row is sent; names column, row and value",
            "tests/unit/ndjson/test_narrowing.py::test_changed_values_of_frames",
        ),
        Fault(
            "Any value of any kind into any column",
            "the same in the data source, in quarantine, or refused",
            "tests/sandbox/test_values_property.py::test_any_value_into_any_column_is_equal_quarantined_or_refused",
        ),
        Fault(
            "Decimals in the answer to a query",
            "keep all digits; are text in XCom",
            "tests/unit/operators/test_query.py::test_decimals_are_text_in_xcom",
        ),
        Fault(
            "An answer under HTTP 200 that ends in ClickHouse's exception",
            "red; leaves no file",
            "tests/unit/faults/test_table.py::test_an_answer_that_ends_in_an_exception",
        ),
        Fault(
            "A file that has rows and brings none, such as a CSV with CR line ends",
            "red",
            "tests/sandbox/test_files_without_rows.py::test_a_file_with_rows_that_brings_none",
        ),
    ),
    "Rows that are written and not there": (
        Fault(
            "Tinybird drops a block of rows that equals a recent one, also when its rows were deleted since",
            "red, where it can be told that rows are missing; names the ways out",
            "tests/sandbox/test_reruns.py::test_delete_and_write_the_same_again",
        ),
        Fault(
            "A hundred reruns of any writer over rows that are there",
            "green with all rows, or red: never green and short",
            "tests/sandbox/test_reruns.py::test_a_hundred_random_reruns",
        ),
        Fault(
            "The token may not count, others delete meanwhile, or the engine or a TTL takes rows out",
            "green; its log says that the rows were not judged",
            "tests/sandbox/test_target_rows.py::test_a_token_that_may_not_look",
        ),
    ),
    "Arguments and names": (
        Fault(
            "An argument that was given turns out to be `None` or blank: a skipped task, a template, a mapped row",
            "red before anything is sent, without retries",
            "tests/airflow/test_given_none.py::test_nothing_is_touched",
        ),
        Fault(
            "The data source of a load does not exist",
            "red before anything is sent, unless `create_missing=True`",
            "tests/sandbox/test_names.py::test_no_load_goes_into_what_is_not_there",
        ),
        Fault(
            "A gateway answers the look for it, or the check of the workspace",
            "red: the page says nothing of the data source; Airflow retries",
            "tests/unit/faults/test_table.py::test_a_look_beforehand_goes_wrong",
        ),
        Fault(
            "Rows of another load are in quarantine at the same time",
            "does not name their reasons as its own, or says that some may be others'",
            "tests/sandbox/test_quarantine.py::test_reasons_of_another_load_of_the_same_moment_are_not_passed_off_as_its_own",
        ),
    ),
    "Secrets": (
        Fault(
            "A server sends the token back, in a page, a header or a job's error",
            "no message, log line or chained exception shows it",
            "tests/unit/api/test_wire.py::TestSecrets",
        ),
        Fault(
            "An error text of a megabyte",
            "is cut before it is searched for secrets; nothing waits for it",
            "tests/unit/api/test_redact.py::test_the_time_does_not_grow_with_what_is_not_shown",
        ),
    ),
}
FAULTS = [fault for faults in TOPICS.values() for fault in faults]


def names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.test for fault in FAULTS])
def test_the_test_is_there(fault):
    file, _, name = fault.test.partition("::")
    assert name.startswith(("test_", "Test"))
    assert name in set(names_in(ROOT / file))


def test_the_page_lists_them():
    rows = [
        [topic if fault is faults[0] else "", fault.what, fault.does, f"`{fault.test}`"]
        for topic, faults in TOPICS.items()
        for fault in faults
    ]
    text = fault_page.table(["topic", "what goes wrong", "the task", "the test that shows it"], rows)
    fault_page.check("other faults", text, write="WRITE_TABLE" in os.environ)
