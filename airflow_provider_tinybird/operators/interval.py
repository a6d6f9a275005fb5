"""The operator that swaps the rows of an interval of time, so that a backfill or a rerun leaves each row once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_tinybird._compat import AirflowSkipException, task_state_store
from airflow_provider_tinybird.api import datasources
from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.dependencies import get_dependencies
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.models import Datasource, ImportMode, Job
from airflow_provider_tinybird.api.query import sql as query
from airflow_provider_tinybird.files.local_or_remote import file_format, file_to_send
from airflow_provider_tinybird.jobs import submissions, watch
from airflow_provider_tinybird.jobs.start import Attempt, Memory, OnUnknown, Submitter
from airflow_provider_tinybird.jobs.submissions import Submission
from airflow_provider_tinybird.loads import OnNarrowing, gate_of
from airflow_provider_tinybird.loads.events.breaks import note_nothing_sent
from airflow_provider_tinybird.loads.files import Limits, RowFile, Rows, row_files, target_columns
from airflow_provider_tinybird.loads.files.interval_scan import Seen
from airflow_provider_tinybird.loads.files.interval_swap import Replaced
from airflow_provider_tinybird.loads.files.parquet import check_file
from airflow_provider_tinybird.ndjson import EncodeError, Gate, UnsupportedDataError
from airflow_provider_tinybird.operators.base import attempt_of, clear_failure
from airflow_provider_tinybird.operators.callables import unwrapped, wrapped
from airflow_provider_tinybird.operators.guards import TinybirdGuardedOperator
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineOperator
from airflow_provider_tinybird.operators.series import TinybirdSeriesOperator
from airflow_provider_tinybird.policies import row_counts
from airflow_provider_tinybird.policies.quarantine import Load
from airflow_provider_tinybird.policies.target_rows import keeps_every_row
from airflow_provider_tinybird.timespans.intervals import Interval, quoted, time_column
from airflow_provider_tinybird.timespans.partitions import KeyValues, is_aligned, partition_key, partitions_of
from airflow_provider_tinybird.timespans.timestamps import moment

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context

_LOOKS = (0.0, 1.0, 3.0)
"""Seconds before each count of what is in: a replica may lag behind a job that is done."""


class EmptyIntervalError(TinybirdError):
    """There are no rows for the interval."""


class IntervalNotReplacedError(TinybirdError):
    """The interval does not hold what was sent, once each."""


class TinybirdReplaceIntervalOperator(TinybirdQuarantineOperator, TinybirdGuardedOperator, TinybirdSeriesOperator):
    """Swap the rows of an interval of time, by default the run's data interval, for those of a frame, a file or a URL.

    However often it runs, each row is there once afterwards. Rows before and behind the interval stay. Readers see the old rows or the
    new ones.

    Token scope: ``DATASOURCES:CREATE`` and ``DATASOURCES:READ:<datasource>``. Returns ``rows, rows_before, rows_deleted, start, end,
    job_id, quarantine_rows, invalid_lines``: ``rows`` are those of the interval when it is done, ``rows_before`` those that the first
    attempt found in it (before Airflow 3.3, where tasks remember nothing, the last one).

    It is one import that replaces by one condition. Tinybird takes old rows away only from the partitions that new rows are in, so the
    operator counts what is left elsewhere in the interval and deletes it, and is green only when the rows of the interval are as many as
    were sent. With a ``url`` it cannot look at the rows before they are sent: rows outside the interval are left out by Tinybird, and
    noticed afterwards; old rows in partitions without new ones make the task fail.

    Nothing else may write into the partitions of the interval meanwhile: Tinybird says that rows can be lost then.

    :param datasource: name of an existing data source (templated).
    :param column: column of type Date, Date32, DateTime or DateTime64 that says where in time a row belongs (templated).
    :param data: the rows: a frame, records, NDJSON, or a callable that returns or yields any of them (templated). They must fit into one
        file of ``max_file_bytes``.
    :param url: address of a file that Tinybird fetches (templated).
    :param path: local path, or URL of Airflow's object storage, of a file that the worker sends (templated).
    :param format: ``csv``, ``ndjson`` or ``parquet`` of ``url`` (``csv`` unless given) or ``path`` (by its name unless given) (templated).
    :param start: first moment of the interval, UTC unless it says otherwise; by default the run's ``data_interval_start`` (templated).
    :param end: first moment behind the interval; by default the run's ``data_interval_end`` (templated).
    :param timezone: whose days a column of days counts, such as ``Europe/Madrid`` (templated).
    :param on_empty: what to do without rows: ``fail``; ``delete`` what is in the interval; ``skip`` the task, and leave it (templated).
    :param outside: what to do about rows outside the interval: ``fail`` before anything is sent, or ``drop`` them (templated).
    :param max_file_bytes: largest file that ``data`` may become; Tinybird takes 50 MB of Parquet at the most.
    :param spool_folder: folder on the worker for it; by default where the system keeps its temporary files (templated).
    :param on_narrowing: what to do about a value of ``data``, or of a Parquet file in ``path``, that its column would change without a
        word, such as a time out of range or a decimal with too many digits: ``fail`` before it is sent, or ``allow`` (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.quarantine.TinybirdQuarantineOperator`,
    :class:`~airflow_provider_tinybird.operators.guards.TinybirdGuardedOperator` and
    :class:`~airflow_provider_tinybird.operators.job.TinybirdJobsOperator`; a retry starts over, which is safe.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "column",
        "data",
        "url",
        "path",
        "format",
        "start",
        "end",
        "timezone",
        "on_empty",
        "outside",
        "spool_folder",
        "on_narrowing",
        "expected_workspace",
        *TinybirdQuarantineOperator.quarantine_fields,
    )

    def __init__(
        self,
        *,
        datasource: str,
        column: str,
        data: Any = None,
        url: str | None = None,
        path: str | None = None,
        format: str | None = None,
        start: Any = None,
        end: Any = None,
        timezone: str = "UTC",
        on_empty: str = "fail",
        outside: str = "fail",
        max_file_bytes: int = 45_000_000,
        spool_folder: str | None = None,
        on_narrowing: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.max_file_bytes = max_file_bytes
        self.spool_folder = spool_folder
        self.on_narrowing = on_narrowing
        self.column = column
        self.data = wrapped(data)
        self.url = url
        self.path = path
        self.format = format
        self.start = start
        self.end = end
        self.timezone = timezone
        self.on_empty = on_empty
        self.outside = outside

    def execute(self, context: Context) -> dict[str, Any]:
        """Replace the interval."""
        with clear_failure():
            self._check()
            rules = self._rules()
            self.check_workspace(destroys=True)
            # on_kill runs inside a signal handler, where the connection can no longer be looked up.
            self._settings = self.hook.settings
            datasource = self.hook.send(datasources.get_datasource(self.datasource))
            interval = self._interval(datasource, context)
            self._warn(datasource, interval)
            self._let_others_end(rules)
            return self._replace(context, datasource, interval, rules)

    def is_idempotent(self) -> bool:
        """Whatever an attempt did, the next replaces it."""
        return True

    def execute_complete(
        self,
        context: Context,
        event: Any = None,
        *,
        state: dict[str, Any] | None = None,
        deadline: float | None = None,
        started_at: float | None = None,
    ) -> dict[str, Any]:
        """Take up what the trigger found.

        :param state: kept by Airflow for tasks that an older version deferred, as are all arguments behind the event.
        """
        with clear_failure():
            left, rules, outcome = self.resumed(context, event, state=state, deadline=deadline, started_at=started_at)
            return self._go_on(context, Replaced.from_json(left), self._job_done(outcome), rules)

    # Before anything is sent

    def _check(self) -> None:
        self.quarantine_policy()
        OnUnknown.parse(self.on_unknown)
        OnNarrowing.parse(self.on_narrowing)
        for name, value, known in (
            ("on_empty", self.on_empty, ("fail", "delete", "skip")),
            ("outside", self.outside, ("fail", "drop")),
        ):
            if value not in known:
                raise InvalidInputError(f"{name}={value!r} is not known: give one of {', '.join(map(repr, known))}.")
        given = [name for name in ("data", "url", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidInputError(f"Give one of data, url and path, not {' and '.join(given) or 'none of them'}.")

    def _interval(self, datasource: Datasource, context: Context) -> Interval:
        moments = []
        for name, value in (("start", self.start), ("end", self.end)):
            value = context.get(f"data_interval_{name}") if value in (None, "") else value
            if value is None:
                raise InvalidInputError(
                    f"This run has no data interval, as when an asset or a call of the API started it: give {name} (a template)."
                )
            moments.append(moment(value, name))
        try:
            zone = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise InvalidInputError(
                f"timezone={self.timezone!r} is not known: give one such as 'Europe/Madrid'."
            ) from None
        return Interval.of(time_column(datasource, self.column), moments[0], moments[1], zone=zone)

    def _warn(self, datasource: Datasource, interval: Interval) -> None:
        """Say what this replace cannot do, or cannot do safely."""
        key = partition_key(datasource)
        if key is not None:
            if interval.column.name not in key.columns:
                self.log.warning(
                    "The partition key of '%s' (%s) does not name column '%s': Tinybird wants the condition of a replace to name it.",
                    self.datasource,
                    key.expression,
                    interval.column.name,
                )
            elif is_aligned(self.hook.client, key, interval) is False:
                self.log.warning(
                    "The interval %s begins or ends within a partition of '%s' (%s). That is right as long as nothing else writes into "
                    "that partition meanwhile: let tasks whose intervals share one run one after the other (a pool with one slot).",
                    interval,
                    self.datasource,
                    key.expression,
                )
        try:
            found = self.hook.send(get_dependencies(datasource=self.datasource, check_for_partial_replace=True))
        except TinybirdError as e:
            self.log.info("What hangs on '%s' is not known: %s", self.datasource, e)
            return
        if found.incompatible_datasources:
            self.log.warning(
                "Materialized views of '%s' whose partition key does not go with it cannot follow the replace: %s.",
                self.datasource,
                ", ".join(found.incompatible_datasources),
            )

    def _let_others_end(self, rules: watch.Rules) -> None:
        """Wait for imports and deletes of the data source: of an attempt that was killed, or of others."""
        for kind in ("import", "delete_data"):
            for job in self.hook.send(jobs_api.list_jobs(kind=kind)):
                if job.datasource == self.datasource and not job.status.is_terminal:
                    self.log.info("Before the replace, %s on the same data source has to end.", job)
                    self.let_end(job, rules)

    # The replace

    def _replace(
        self, context: Context, datasource: Datasource, interval: Interval, rules: watch.Rules
    ) -> dict[str, Any]:
        key = partition_key(datasource)
        seen = Seen(interval, KeyValues(key) if key else None, target_columns(datasource))
        doubt = keeps_every_row(datasource)
        if doubt:
            self.log.info("Whether all rows of the interval are there cannot be told afterwards: %s.", doubt)
        plan = Replaced.of(interval, key, self.datasource, merges=bool(doubt))
        plan = plan.with_before(self._rows_before(context, plan.condition))
        if self.url is not None:
            submission = submissions.import_url(
                self.datasource,
                self.url,
                format=file_format(self.format or "csv"),
                mode=ImportMode.REPLACE.value,
                replace_condition=interval.condition,
            )
            return self._import(context, submission, plan, rules)
        if self.path is not None:
            file = file_to_send(self.path, self.format)
            file.check_size(None, fetched=False)
            check_file(file, self._gate(datasource, typed=True), self.datasource)
            seen.look_into(file)
            if seen.rows == 0:
                return self._nothing(context, plan, rules)
            return self._import(context, self._of_file(file, interval), self._checked(seen, plan), rules)
        is_read = False
        try:
            limits = Limits(max_file_bytes=int(self.max_file_bytes), folder=self.spool_folder)
            rows = Rows(unwrapped(self.data), max_bytes=limits.slice_bytes, gate=self._gate(datasource))
            for row_file in row_files(seen.pass_on(rows.slices(seen.columns)), limits):
                self._check_whole(row_file)
                is_read = True
                submission = self._of_file(row_file.as_file_to_send(), interval)
                return self._import(context, submission, self._checked(seen, plan), rules)
        except (EncodeError, UnsupportedDataError) as e:
            raise InvalidInputError(f"Nothing was sent to '{self.datasource}': {e}") from e
        except TinybirdError:
            raise
        except Exception as e:
            if not is_read:  # the user's own, from the data
                note_nothing_sent(e, self.datasource)
            raise
        return self._nothing(context, plan, rules)

    def _gate(self, datasource: Datasource, *, typed: bool = False) -> Gate | None:
        policy = OnNarrowing.parse(self.on_narrowing)
        return gate_of(self.hook.client, self.datasource, policy, datasource, typed=typed)

    def _rows_before(self, context: Context, condition: str) -> int:
        memory = Memory(
            task_state_store(context) if self.durable else None, attempt_of(context, int(self.retries or 0))
        )
        found = {"rows_before": self._count(condition)}
        return int(memory.first_facts(f"{self.datasource} {condition}", found)["rows_before"])

    def _of_file(self, file: Any, interval: Interval) -> Submission:
        return submissions.import_file(
            self.datasource, file, mode=ImportMode.REPLACE.value, replace_condition=interval.condition
        )

    def _check_whole(self, file: RowFile) -> None:
        if not file.is_last:
            raise InvalidInputError(
                f"The rows of the interval do not fit into one file of {self.max_file_bytes:,} bytes, and a replace by condition must: a "
                "second one would leave old rows in partitions. Nothing was sent. Take shorter intervals, raise max_file_bytes (up to 50 "
                "MB of Parquet), or write the rows to an object store and give their url."
            )

    def _checked(self, seen: Seen, plan: Replaced) -> Replaced:
        """Refuse rows outside, and find out which partitions the others are in."""
        bad = seen.outside + seen.unknown
        if bad and self.outside == "fail":
            raise InvalidInputError(
                f"{seen.outside} of {seen.rows} rows are outside the interval {seen.interval}, and {seen.unknown} have no value that says: "
                f"column '{self.column}' is {seen.example!r} in one of them. Nothing was sent. Correct the rows or the interval, or give "
                "outside='drop' to leave them out."
            )
        if bad:
            self.log.warning(
                "%d of %d rows are not in the interval %s: they are left out.", bad, seen.rows, seen.interval
            )
        partitions = partitions_of(self.hook.client, seen.keys) if seen.keys else None
        return plan.with_rows(seen.inside, is_exact=not bad, partitions=partitions)

    def _import(self, context: Context, submission: Submission, plan: Replaced, rules: watch.Rules) -> dict[str, Any]:
        self.log.info("Replacing the rows of '%s' where %s.", self.datasource, plan.condition)
        return self._run_job(context, submission, plan, rules)

    def _run_job(self, context: Context, submission: Submission, plan: Replaced, rules: watch.Rules) -> dict[str, Any]:
        # Everything here can be done twice, so that a retry does all of it again and reattaches to nothing.
        submitter = Submitter(
            client=self.hook.client,
            memory=Memory(None, Attempt(max_tries=0)),
            on_unknown=OnUnknown.parse(self.on_unknown),
        )
        started = self.start_job(submitter, submission, rules)
        self.leave_link(context, started.job)
        return self._go_on(context, plan, self.wait_for_job(started, rules, plan.as_json()), rules)

    def _go_on(self, context: Context, plan: Replaced, job: Job, rules: watch.Rules) -> dict[str, Any]:
        """Do what comes after a job: after the import the clean-up, after the clean-up the end."""
        if plan.is_imported:
            return self._verified(plan.with_deleted(job.rows_affected or 0))
        found = row_counts.of_import(self.hook.client, job)
        plan = plan.imported(job.id, found, row_counts.import_id(job))
        left = self._left_over(plan) if plan.left_over else 0
        if not left:
            return self._verified(plan)
        self.log.info("%d old rows are in partitions of the interval that no new row is in: they are deleted.", left)
        submission = submissions.delete_rows(self.datasource, plan.left_over, lightweight=False)
        return self._run_job(context, submission, plan, rules)

    def _left_over(self, plan: Replaced) -> int:
        """Count the old rows that are to be deleted, once the others are seen to be those that were sent.

        What partition a row is in is reckoned before it is sent. Were that wrong, the delete would take new rows away.
        """
        left = kept = 0
        for pause in _LOOKS:
            time.sleep(pause)
            sql = f"SELECT countIf({plan.left_over}) AS n, count() - n AS kept FROM {quoted(self.datasource)} WHERE {plan.condition}"  # noqa: S608
            left, kept = self.hook.send(
                query(sql).then(lambda found: (int(found.data[0]["n"]), int(found.data[0]["kept"])))
            )
            if not left or (plan.agrees(kept) and (kept or not plan.rows)):
                return left
        raise IntervalNotReplacedError(
            f"{plan.complaint(left + kept)} {left} of them are not in the partitions that the new rows were reckoned to be in, {kept} are. "
            "Nothing was deleted."
        )

    def _verified(self, plan: Replaced) -> dict[str, Any]:
        """Be green only when the interval holds what was sent, once each."""
        found = -1
        for pause in _LOOKS:
            time.sleep(pause)
            found = self._count(plan.condition)
            if plan.agrees(found):
                break
        else:
            raise IntervalNotReplacedError(plan.complaint(found))
        self.log.info("The interval has %d rows.", found)
        if plan.rows is None and plan.written is None:
            self.log.info("Nobody has checked whether these are all: Tinybird does not say how many rows it wrote.")
        load = Load(
            datasource=self.datasource,
            rows=found,
            quarantined=plan.quarantined,
            invalid_lines=plan.invalid,
            import_ids=(plan.import_id or plan.job_id,),
        )
        if plan.job_id:
            self.judge_quarantine(load)
        return plan.as_xcom(found)

    def _nothing(self, context: Context, plan: Replaced, rules: watch.Rules) -> dict[str, Any]:
        if self.on_empty == "fail":
            raise EmptyIntervalError(
                f"There are no rows for the interval where {plan.condition}. Nothing was changed. on_empty='delete' deletes what is there, "
                "on_empty='skip' skips the task."
            )
        if self.on_empty == "skip":
            raise AirflowSkipException(
                "There are no rows for the interval: it is left as it is, as on_empty='skip' says."
            )
        plan = plan.with_rows(0, is_exact=True, partitions=None).emptied()
        if not self._count(plan.condition):
            return self._verified(plan)
        self.log.info("There are no rows: those of the interval are deleted, as on_empty='delete' says.")
        return self._run_job(
            context, submissions.delete_rows(self.datasource, plan.condition, lightweight=False), plan, rules
        )

    def _count(self, condition: str) -> int:
        rows = query(f"SELECT count() AS n FROM {quoted(self.datasource)} WHERE {condition}")  # noqa: S608
        return self.hook.send(rows.then(lambda found: int(found.data[0]["n"])))
