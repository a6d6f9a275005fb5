"""What the operators share that write rows: they are judged by what is in the data source afterwards."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_tinybird.jobs.start import Memory
from airflow_provider_tinybird.loads import LoadMemory, LoadResult
from airflow_provider_tinybird.operators.base import TinybirdOperator
from airflow_provider_tinybird.policies import target_rows
from airflow_provider_tinybird.policies.target_rows import Before, Written


class TinybirdWriterOperator(TinybirdOperator):
    """Base of the operators that write rows to a data source.

    Its rows are counted before and after. Where fewer came in than Tinybird says it wrote, and nothing else took rows out, the task fails,
    for good. Where that cannot be told, a line in the log says why.
    """

    def look_before(self, datasource: str) -> Before:
        """Count the rows of a data source before anything is written to it."""
        return target_rows.look_before(self.hook.client, datasource)

    def look_before_events(self, datasource: str, memory: LoadMemory) -> Before:
        """Count the rows of a data source before the first attempt sent anything: what that sent counts for a retry as well."""
        found = self.look_before(datasource)
        if memory.attempt.is_retry:
            why = "an earlier attempt may have sent some of them, and did not count what was there before"
            found = replace(found, why=found.why or why)
        if memory.store is None or found.rows is None:
            return found
        kept = Memory(memory.store, memory.attempt).first_facts(f"events {datasource}", found.as_json())
        return Before.from_json(kept)

    def judge_target(self, before: Before, written: Written) -> None:
        """See that the rows that were written are there.

        :param before: what was there before.
        :param written: what was written.
        :raises RowsNotThereError: some are not.
        """
        target_rows.judge(self.hook.client, before, written)


def events_written(result: LoadResult, *, wait: bool = True) -> Written:
    """Say what a load of events wrote, its earlier attempts included.

    :param wait: whether the rows were acknowledged by the database.
    """
    return Written(
        what="The load of events",
        rows=result.successful_rows if wait else None,
        unknown="with wait=False they are merely accepted, and come in later",
        then="It is not retried: a retry would be dropped again, or double the rows that are in. delivery='exactly_once' writes an id into "
        "each row, which no other row has.",
    )
