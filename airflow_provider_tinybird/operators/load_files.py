"""Rows in files of a bounded size, imported one after the other: what the operators share that load rows so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird._compat import task_state_store
from airflow_provider_tinybird.api.errors import (
    InvalidInputError,
    JobLostError,
    JobTimeoutError,
    OutcomeUnknownError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.models import Datasource, ImportMode, Job
from airflow_provider_tinybird.arguments import rows_bound
from airflow_provider_tinybird.jobs import submissions
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.jobs.start import Started, Submitter
from airflow_provider_tinybird.loads import (
    LoadInterruptedError,
    MissingDatasourceError,
    NotEnoughRowsError,
    OnNarrowing,
    SourceChangedError,
    gate_of,
    look_up,
)
from airflow_provider_tinybird.loads.events.breaks import note_nothing_sent
from airflow_provider_tinybird.loads.files import (
    Checkpoint,
    FilesMemory,
    Limits,
    NoRoomError,
    RowFile,
    Rows,
    TargetColumn,
    chained,
    row_files,
    target_columns,
)
from airflow_provider_tinybird.ndjson import EncodeError, Gate, UnsupportedDataError, check_values
from airflow_provider_tinybird.operators.base import attempt_of
from airflow_provider_tinybird.operators.callables import unwrapped, wrapped
from airflow_provider_tinybird.operators.guards import TinybirdGuardedOperator
from airflow_provider_tinybird.operators.job import INLINE_SECONDS
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineOperator
from airflow_provider_tinybird.operators.series import IMPORTS_PER_MINUTE, ImportPace, TinybirdSeriesOperator
from airflow_provider_tinybird.policies import row_counts
from airflow_provider_tinybird.policies.quarantine import Load
from airflow_provider_tinybird.policies.row_accounting import FileRows, ReplacedRowsMissingError
from airflow_provider_tinybird.policies.target_rows import Before, Written

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


class BrokenReplaceError(TinybirdError):
    """A replace in several files broke after the first of them: a retry starts from the replace, so nothing is doubled."""


class FilesOperator(TinybirdQuarantineOperator, TinybirdGuardedOperator, TinybirdSeriesOperator):
    """Base of the operators that write rows to files and import them.

    :param datasource: name of an existing data source (templated).
    :param data: the rows (templated).
    :param mode: ``append`` or ``replace`` (templated).
    :param replace_condition: with ``replace``: swap only rows that match this SQL condition (templated).
    :param max_file_bytes: largest file; Tinybird takes 50 MB of Parquet at the most.
    :param spool_folder: folder on the worker for the file; by default where the system keeps its temporary files (templated).
    :param imports_per_minute: files that are handed over in a minute at the most.
    :param create_missing: let a Classic workspace create the data source, which only events can.
    :param min_rows: fail where fewer rows than this would be in (templated).
    :param on_narrowing: what to do about a value that its column would change without a word: ``fail`` or ``allow`` (templated).
    """

    def __init__(
        self,
        *,
        datasource: str,
        data: Any,
        mode: str = "append",
        replace_condition: str | None = None,
        max_file_bytes: int = 45_000_000,
        spool_folder: str | None = None,
        imports_per_minute: int = IMPORTS_PER_MINUTE,
        create_missing: bool = False,
        min_rows: int | str | None = None,
        on_narrowing: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.data = wrapped(data)
        self.mode = mode
        self.replace_condition = replace_condition
        self.max_file_bytes = max_file_bytes
        self.spool_folder = spool_folder
        self.imports_per_minute = imports_per_minute
        self.create_missing = create_missing
        self.min_rows = min_rows
        self.on_narrowing = on_narrowing

    def _rows(self) -> Rows:
        """The rows, each of which the gate sees: all at once where they are in memory, else on their way."""
        data, gate = unwrapped(self.data), self._gate()
        if gate is not None:
            try:
                gate = None if check_values(data, gate) else gate
            except (EncodeError, UnsupportedDataError) as e:
                raise InvalidInputError(f"Nothing was sent to '{self.datasource}': {e}") from e
        return Rows(data, max_bytes=self._limits().slice_bytes, gate=gate)

    def _gate(self) -> Gate | None:
        return gate_of(self.hook.client, self.datasource, OnNarrowing.parse(self.on_narrowing), self._found)

    @cached_property
    def _found(self) -> Datasource | None:
        """The data source, looked up once; ``None`` where this token may not read it, or where it is yet to be created."""
        return look_up(self.hook.client, self.datasource, create_missing=self.create_missing)

    def _limits(self) -> Limits:
        return Limits(max_file_bytes=int(self.max_file_bytes), folder=self.spool_folder)

    def _memory(self, context: Context) -> FilesMemory:
        attempt = attempt_of(context, int(self.retries or 0))
        return FilesMemory(task_state_store(context) if self.durable else None, attempt)

    def _columns(self) -> tuple[TargetColumn, ...]:
        try:
            found = self._found or look_up(self.hook.client, self.datasource)
        except MissingDatasourceError as e:
            if not self.create_missing:
                raise
            raise MissingDatasourceError(
                f"Data source '{self.datasource}' does not exist, and the rows go as files, which cannot create it. Nothing was sent.\n"
                "Create it, or have the rows appended as events: via='events'."
            ) from e
        if found is None:
            self.log.info("The rows go as NDJSON, as this token may not read the columns of the data source.")
            return ()
        return target_columns(found)

    def load_files(self, context: Context, rows: Rows, checkpoint: Checkpoint, rules: jobs.Rules) -> Checkpoint:
        """Write file after file, skip those that are in, and import the rest."""
        run = FilesRun(self, context, checkpoint, rules)
        try:
            for file in row_files(rows.slices(self._columns()), self._limits()):
                run.take(file)
        except (EncodeError, UnsupportedDataError, NoRoomError) as e:
            run.stop(e)
        except TinybirdError:
            raise
        except Exception as e:  # the user's own, from the data: it is raised as it is
            run.say_what_is_in(e)
            raise
        return run.end()

    @contextmanager
    def forgetting(self, memory: FilesMemory, checkpoint: Checkpoint) -> Iterator[None]:
        """Forget a file whose import is known to have failed, so that a retry may bring other rows in its place."""
        try:
            yield
        except (OutcomeUnknownError, UnreadableAnswerError, JobTimeoutError, JobLostError):
            raise
        except TinybirdError:
            memory.remember(replace(checkpoint, sent=None))
            raise

    def note_import(self, context: Context, memory: FilesMemory, checkpoint: Checkpoint, job: Job) -> Checkpoint:
        """Record that the file that was sent is in, and see that its rows are.

        :raises RowsMissingError: some are not.
        :raises QuarantinedRowsError: too many of them are in quarantine to go on with the next file.
        """
        sent = checkpoint.sent
        if sent is None:
            raise AssertionError("no file was sent")
        found = row_counts.of_import(self.hook.client, job)
        if found.rows is not None:
            self.log.info("Done: %s. It wrote %d of %d rows.", job, found.rows, sent.rows)
        arrival = FileRows(datasource=self.datasource, job=job, sent=sent.rows, counts=found)
        noted = checkpoint.is_in(job.id, found, row_counts.import_id(job))
        memory.remember(noted)
        way_out = self._way_out(noted, is_last=sent.is_last)
        arrival = arrival.with_quarantine(self.hook.client, self.quarantine_policy(), "" if sent.is_last else way_out)
        noted = checkpoint.is_in(job.id, arrival.counts, row_counts.import_id(job))
        memory.remember(noted)
        try:
            arrival.check(self._replaces, way_out)
        except ReplacedRowsMissingError:
            self._submitter(context).memory.forget()  # or the retry would take up this very import
            raise
        if not sent.is_last:
            self._check_quarantine_so_far(noted, way_out)
        self.judge_target(Before.from_json(noted.before), self._written(noted, way_out))
        return noted

    def _written(self, checkpoint: Checkpoint, way_out: str) -> Written:
        """Say what of all files so far has to be there."""
        bad = (checkpoint.quarantined or 0) + checkpoint.invalid
        unknown = "Tinybird does not say how many rows it wrote, or sent to quarantine"
        is_known = checkpoint.written is not None and checkpoint.quarantined is not None
        if self._replaces and self.replace_condition is not None:
            is_known, unknown = False, "Tinybird leaves out rows that do not match replace_condition"
        return Written(
            what=f"The load by files ({checkpoint.files} so far)",
            rows=checkpoint.rows - bad if is_known else None,
            unknown=unknown,
            job_ids=frozenset(checkpoint.jobs),
            replaces=self._replaces,
            then=way_out,
        )

    def _check_quarantine_so_far(self, checkpoint: Checkpoint, way_out: str) -> None:
        load = Load(
            datasource=self.datasource,
            rows=checkpoint.written,
            quarantined=checkpoint.quarantined or 0,
            invalid_lines=checkpoint.invalid,
            import_ids=checkpoint.import_ids,
            stopped=way_out,
        )
        if self.quarantine_policy().is_broken_by(load):
            self.judge_quarantine(load)

    @property
    def _replaces(self) -> bool:
        return self.mode == ImportMode.REPLACE.value

    def _way_out(self, checkpoint: Checkpoint, *, is_last: bool) -> str:
        """Say what to do when what has been sent is not as it should be."""
        sent = (
            f"All rows were sent, in {checkpoint.files} files."
            if is_last
            else f"The load stopped: the first {checkpoint.rows} rows ({checkpoint.files} files) were sent, the rest was not."
        )
        if self._replaces:
            condition = (
                " Tinybird leaves out rows that do not match replace_condition." if self.replace_condition else ""
            )
            return f"{sent}{condition} A retry, or clearing the task, begins again with the replace, which doubles nothing."
        return (
            f"{sent} This is not retried, since that would double the rows that are in: take them out and clear the task to load all, or "
            f"load only what is missing{' and mark the task as success' if is_last else ''}."
        )


class FilesRun:
    """The files of one attempt, or of its part up to a deferral.

    :param task: the operator.
    :param context: its context.
    :param checkpoint: what is in.
    :param rules: until when, and how often to look.
    """

    def __init__(self, task: FilesOperator, context: Context, checkpoint: Checkpoint, rules: jobs.Rules) -> None:
        self._task = task
        self._context = context
        self._checkpoint = checkpoint
        self._rules = rules
        self._memory = task._memory(context)
        self._pace = ImportPace(task.imports_per_minute)
        self._began = time.monotonic()
        self._started: Started | None = None
        self._skipped = 0
        self._chain = ""

    def take(self, file: RowFile) -> None:
        """Skip a file that is in, or hand it over as soon as the one before it is in."""
        if self._skipped < self._checkpoint.files:
            self._skipped += 1
            self._chain = chained(self._chain, file.digest)
            if self._skipped == self._checkpoint.files and self._chain != self._checkpoint.chain:
                raise self._changed()
            return
        if self._started is not None:
            # A deferral costs writing all files up to here once more, so it has to be worth as much time.
            self._wait(max(INLINE_SECONDS, time.monotonic() - self._began))
        elif self._checkpoint.sent is not None and self._checkpoint.sent.digest != file.digest:
            raise self._changed()
        self._hand_over(file)

    def stop(self, cause: Exception) -> None:
        """Say what is in, when a value cannot be sent, or no file be written."""
        if self._started is not None:
            watch = jobs.Watch(self._started.job.id, self._task.rules_of(self._started, self._rules))
            outcome = jobs.watch_job(self._task.hook.client, watch)
            if outcome is None:  # only with a patience
                raise AssertionError("the watch ended without an outcome")
            with self._task.forgetting(self._memory, self._checkpoint):
                job = self._task._job_done(outcome)
            self._note(job)
        if not self._checkpoint.files and not self._checkpoint.sent:
            raise InvalidInputError(f"Nothing was sent to '{self._task.datasource}': {cause}") from cause
        raise LoadInterruptedError(f"{self._stopped} The cause: {cause}") from cause

    def say_what_is_in(self, cause: Exception) -> None:
        """Log it, when the data itself broke."""
        if self._checkpoint.files or self._checkpoint.sent:
            self._task.log.error("%s", self._stopped)
        else:
            note_nothing_sent(cause, self._task.datasource)

    def end(self) -> Checkpoint:
        """Wait for the last file."""
        if self._skipped < self._checkpoint.files or (self._checkpoint.sent is not None and self._started is None):
            raise self._changed()
        if self._started is not None:
            self._wait(INLINE_SECONDS)
        return self._checkpoint

    def _wait(self, patience: float) -> None:
        if self._started is None:
            raise AssertionError("nothing was sent")
        with self._task.forgetting(self._memory, self._checkpoint):
            job = self._task.wait_for_job(self._started, self._rules, self._checkpoint.as_json(), patience=patience)
        self._note(job)

    def _note(self, job: Job) -> None:
        self._checkpoint = self._task.note_import(self._context, self._memory, self._checkpoint, job)
        self._started = None
        self._skipped = self._checkpoint.files

    def _hand_over(self, file: RowFile) -> None:
        task, first = self._task, self._checkpoint.files == 0
        condition = task.replace_condition if first else None
        if condition is not None and not file.is_last:
            raise InvalidInputError(
                f"The rows do not fit into one file of {task.max_file_bytes:,} bytes, and a replace by condition must: Tinybird "
                "takes old rows away only from the partitions that the rows of a file are in, so that a second file would leave "
                "some. Nothing was sent. Split the condition, for instance by days in mapped tasks, or raise max_file_bytes (up "
                "to 50 MB of Parquet)."
            )
        least = rows_bound("min_rows", task.min_rows)
        if least is not None and first and file.is_last and file.rows < least:
            raise NotEnoughRowsError(file.rows, least, task.datasource, nothing_sent=True)
        mode = task.mode if first else ImportMode.APPEND.value
        submission = submissions.import_file(
            task.datasource, file.as_file_to_send(), mode=mode, replace_condition=condition
        )
        # Files may be equal byte for byte, and the job of one must not be taken for that of another.
        submission = replace(submission, request={**submission.request, "position": self._checkpoint.files})
        self._checkpoint = self._checkpoint.about_to_send(file)
        self._memory.remember(self._checkpoint)
        self._pace.wait(self._rules.deadline)
        try:
            with task.forgetting(self._memory, self._checkpoint):
                self._started = task.start_job(self._submitter(first), submission, self._rules)
        except OutcomeUnknownError as e:
            if task.mode != ImportMode.REPLACE.value:
                raise
            raise BrokenReplaceError(f"{e} A retry of this task starts from the replace, which is safe.") from e
        task.leave_link(self._context, self._started.job)
        number, size = self._checkpoint.files + 1, file.size / 1e6
        task.log.info(
            "File %d: %d rows, %.1f MB of %s; %s.", number, file.rows, size, file.format.value, self._started.job
        )

    def _submitter(self, first: bool) -> Submitter:
        submitter = self._task._submitter(self._context)
        if not first:
            # The jobs in Tinybird's list since the first attempt are our own by now.
            submitter.memory.attempt = replace(submitter.memory.attempt, is_retry=False)
        return submitter

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(
            f"The rows are not those of the attempt before, of which the first {self._checkpoint.rows} ({self._checkpoint.files} files) "
            f"are in '{self._task.datasource}'{self._under_way}: another order, other values, another max_file_bytes or another version of "
            "pyarrow. Nothing was sent now. Take those rows out and clear the task to load all, or load only what is missing."
        )

    @property
    def _stopped(self) -> str:
        return (
            f"The load into '{self._task.datasource}' stopped: the first {self._checkpoint.rows} rows ({self._checkpoint.files} files) "
            f"are in{self._under_way}, the rest is not."
        )

    @property
    def _under_way(self) -> str:
        return ", the import of one more may be under way" if self._checkpoint.sent else ""
