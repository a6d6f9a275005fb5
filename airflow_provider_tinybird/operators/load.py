"""The operator for rows that are too many for events: it writes files of a bounded size and imports them one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird._compat import task_state_store
from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.models import ImportMode
from airflow_provider_tinybird.arguments import rows_bound
from airflow_provider_tinybird.jobs import submissions, watch
from airflow_provider_tinybird.jobs.start import CLOCK_SLACK, Attempt
from airflow_provider_tinybird.jobs.submissions import import_mode
from airflow_provider_tinybird.loads import LoadMemory, LoadResult, NotEnoughRowsError
from airflow_provider_tinybird.loads.events.breaks import note_nothing_sent
from airflow_provider_tinybird.loads.files import Checkpoint, FilesMemory, Rows, text_of
from airflow_provider_tinybird.ndjson import EncodeError, UnsupportedDataError
from airflow_provider_tinybird.operators.base import attempt_of, choice, clear_failure, load_id_of
from airflow_provider_tinybird.operators.empty import nothing_to_load
from airflow_provider_tinybird.operators.interval import TinybirdReplaceIntervalOperator
from airflow_provider_tinybird.operators.load_files import FilesOperator
from airflow_provider_tinybird.operators.writers import events_written
from airflow_provider_tinybird.policies import deletes
from airflow_provider_tinybird.policies.quarantine import Load

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context

__all__ = ["TinybirdLoadOperator", "TinybirdReplaceIntervalOperator"]

EVENTS_BYTES = 32_000_000
"""Up to so many bytes of NDJSON go as events, unless told: that takes two seconds, and an import takes one of five calls a minute."""


class NothingToReplaceError(TinybirdError):
    """There are no rows to put in the place of what is there."""


class TinybirdLoadOperator(FilesOperator):
    """Load rows into a data source, however many: as events while they are few, else as files that Tinybird imports.

    Token scope: ``DATASOURCES:CREATE``, and ``DATASOURCES:READ:<datasource>`` for Parquet. Returns ``via, rows, files, bytes, job_ids,
    quarantine_rows, invalid_lines``; with ``replace`` also ``rows_before, rows_after``, the rows of the data source.

    Green when Tinybird says of each file that its rows are in, less those in quarantine that the policy allows; where it does not say, the
    log does. Rows that are missing are red before the next file is sent: for good in an append, which a retry would double.

    Files are Parquet where the types of the rows are those of the data source, else gzipped NDJSON. One is on the worker's disk at a
    time; the next one is written while Tinybird imports the last. On Airflow 3.3 and later a retry goes on behind the files that are in,
    and takes up the import that is under way; below, a retry of an append fails where an earlier attempt may have started an import, and
    says so. A replace in several files starts with the replace and appends the rest: readers see a part in between, and a retry begins
    again with the replace.

    :param datasource: name of the data source (templated).
    :param data: a pandas, polars or Arrow table, a list of records, NDJSON text, or a callable without arguments that returns or yields any
        of them, called when the task runs (templated). The files that are in are skipped by their content, so it must hand out the same
        rows in the same order when the task is retried; other rows are noticed.
    :param mode: ``append``, or ``replace`` to put the rows in the place of those that are there (templated).
    :param replace_condition: with ``replace``: swap only rows that match this SQL condition, which must name the partition key. Rows of
        ``data`` that do not match it are left out by Tinybird. All rows must then fit into one file (templated).
    :param via: ``auto``, ``events`` or ``files`` (templated).
    :param on_empty: what to do when there are no rows: ``success`` with a warning in the log, ``skip`` the task, or ``fail``. By default
        an append succeeds and a replace fails. A replace with ``success``, ``keep`` or ``skip`` leaves what is there, and ``delete``
        deletes it; an append with ``keep`` or ``delete`` succeeds (templated).
    :param min_rows: fail where fewer rows than this would be in. Where the data itself has fewer, nothing is sent, as far as that is known
        before the first file, or the first 32 MB of events. Rows that go to quarantine do not count; where that makes them too few, the
        task fails for good, with the others in. Without rows an ``on_empty`` other than ``success`` comes first (templated).
    :param create_missing: let a Classic workspace create the data source where it does not exist, with columns guessed from the rows: only
        an append by events can. Without it such a task fails before anything is sent.
    :param max_file_bytes: largest file; Tinybird takes 50 MB of Parquet at the most.
    :param spool_folder: folder on the worker for the file; by default where the system keeps its temporary files (templated).
    :param imports_per_minute: files that are handed over in a minute at the most. Tinybird allows 5 to all tasks of a workspace together;
        what is more is a wait.
    :param on_narrowing: what to do about a value that its column would change without a word, such as a time out of range or a decimal
        with too many digits: ``fail`` before it is sent, or ``allow``. Without the scope ``DATASOURCES:READ:<datasource>`` nothing is
        looked for, and the log says so (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.quarantine.TinybirdQuarantineOperator`,
    :class:`~airflow_provider_tinybird.operators.guards.TinybirdGuardedOperator` and
    :class:`~airflow_provider_tinybird.operators.job.TinybirdJobsOperator`; ``timeout`` is for all files together.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "data",
        "mode",
        "replace_condition",
        "via",
        "on_empty",
        "min_rows",
        "spool_folder",
        "on_narrowing",
        "expected_workspace",
        *FilesOperator.quarantine_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"replace_condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(self, *, via: str = "auto", on_empty: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.via = via
        self.on_empty = on_empty

    def execute(self, context: Context) -> dict[str, Any]:
        """Load the rows."""
        with clear_failure():
            mode = self._checked_mode()
            rules = self._rules()
            self.quarantine_policy()
            self.check_workspace(destroys=mode is ImportMode.REPLACE)
            # on_kill runs inside a signal handler, where the connection can no longer be looked up.
            self._settings = self.hook.settings
            memory = self._memory(context)
            checkpoint = memory.recall(self._target())
            rows = self._rows()
            with self._clear_source():
                if self._goes_as_events(mode, checkpoint, rows, memory):
                    return self._send_events(context, rows)
            if mode is ImportMode.REPLACE:
                if memory.attempt.is_retry or checkpoint.files or checkpoint.sent:
                    self._let_earlier_imports_end(memory.attempt, rules)
                checkpoint = self._from_the_start(checkpoint)
                memory.remember(checkpoint)
            if not checkpoint.files and checkpoint.sent is None:
                checkpoint = replace(checkpoint, before=self.look_before(self.datasource).as_json())
            return self._load(context, rows, checkpoint, rules)

    def is_idempotent(self) -> bool:
        """A replace begins again with the replace."""
        return self.mode == ImportMode.REPLACE.value

    def execute_complete(
        self,
        context: Context,
        event: Any = None,
        *,
        state: dict[str, Any] | None = None,
        deadline: float | None = None,
        started_at: float | None = None,
    ) -> dict[str, Any]:
        """Take up what the trigger found, and go on with the next file.

        :param state: kept by Airflow for tasks that an older version deferred, as are all arguments behind the event.
        """
        with clear_failure():
            left, rules, outcome = self.resumed(context, event, state=state, deadline=deadline, started_at=started_at)
            checkpoint = Checkpoint.from_json(left)
            if checkpoint is None or checkpoint.sent is None:
                raise AssertionError("deferred without a file")
            memory, is_last = self._memory(context), checkpoint.sent.is_last
            with self.forgetting(memory, checkpoint):
                job = self._job_done(outcome)
            checkpoint = self.note_import(context, memory, checkpoint, job)
            if is_last:
                return self._result(checkpoint, rules.started_at)
            return self._load(context, self._rows(), checkpoint, rules)

    def _load(self, context: Context, rows: Rows, checkpoint: Checkpoint, rules: watch.Rules) -> dict[str, Any]:
        checkpoint = self.load_files(context, rows, checkpoint, rules)
        return (
            self._result(checkpoint, rules.started_at)
            if checkpoint.files
            else self._nothing(context, checkpoint, rules)
        )

    def _from_the_start(self, checkpoint: Checkpoint) -> Checkpoint:
        """Begin again with the replace; what the first attempt found before it is kept."""
        before = checkpoint.rows_before
        if before is None:
            before = deletes.count_rows(self.hook.client, self.datasource)
        return Checkpoint(target=checkpoint.target, max_tries=checkpoint.max_tries, rows_before=before)

    # What goes which way

    def _checked_mode(self) -> ImportMode:
        mode = import_mode(self.mode, self.replace_condition)
        choice("via", self.via, "auto", "events", "files")
        if self.on_empty is not None:
            choice("on_empty", self.on_empty, "success", "skip", "fail", "keep", "delete")
        rows_bound("min_rows", self.min_rows)
        if mode is ImportMode.REPLACE and self.via == "events":
            raise InvalidInputError("Events can only be appended: leave out via='events' where mode is 'replace'.")
        return mode

    def _target(self) -> str:
        return f"{self.mode} {self.datasource} {self.replace_condition or ''}".strip()

    def _goes_as_events(self, mode: ImportMode, checkpoint: Checkpoint, rows: Rows, memory: FilesMemory) -> bool:
        if mode is ImportMode.REPLACE:
            self.log.info("The rows go as files: events cannot replace what is there.")
            return False
        if self.via != "auto":
            self.log.info("The rows go as %s, as via=%r says.", self.via, self.via)
            return self.via == "events"
        if checkpoint.files or checkpoint.sent:
            self.log.info("The rows go as files, as in the attempt before.")
            return False
        if memory.has_events(self.datasource):
            self.log.info("The rows go as events, as in the attempt before.")
            return True
        size = rows.size_up_to(EVENTS_BYTES)
        if size > EVENTS_BYTES:
            self.log.info("The rows go as files: they are more than %d MB of NDJSON.", EVENTS_BYTES // 10**6)
            return False
        self.log.info(
            "The rows go as events: they are about %.1f MB of NDJSON, and up to %d go so.",
            size / 1e6,
            EVENTS_BYTES // 10**6,
        )
        return True

    def _send_events(self, context: Context, rows: Rows) -> dict[str, Any]:
        attempt = attempt_of(context, int(self.retries or 0))
        if not self.durable:  # asks for a retry that knows nothing of the attempt before
            attempt = Attempt(max_tries=attempt.max_tries)
        memory = LoadMemory(
            load_id=load_id_of(context, self),
            store=task_state_store(context) if self.durable else None,
            attempt=attempt,
            found=self._found,
        )
        began = time.monotonic()
        bodies = text_of(rows) if self.via == "auto" else (bytes(one.lines or b"") for one in rows.slices())
        least = rows_bound("min_rows", self.min_rows)
        before = self.look_before_events(self.datasource, memory)
        try:
            sent = self.hook.send_events(
                self.datasource,
                bodies,
                memory=memory,
                create_missing=self.create_missing,
                min_rows=least,
                on_narrowing="allow",  # the rows have passed the gate
            )
        except NotEnoughRowsError as e:
            if e.rows or self.on_empty in (None, "success"):
                raise
            sent = LoadResult(0, 0)
        if not sent.successful_rows and not sent.quarantined_rows:
            self._nothing_to_append()
        self.log.info("%d rows are in data source '%s'.", sent.successful_rows, self.datasource)
        self._judge(sent.successful_rows, sent.quarantined_rows, 0, time.monotonic() - began)
        if least is not None and sent.successful_rows + sent.quarantined_rows:
            deletes.check_rows_written(sent.successful_rows, least, self.datasource, replaces=False)
        self.judge_target(before, events_written(sent))
        return {
            "via": "events",
            "rows": sent.successful_rows,
            "quarantine_rows": sent.quarantined_rows,
            "skipped_rows": sent.skipped_rows,
        }

    def _judge(
        self, rows: int | None, quarantined: int, invalid: int, seconds: float, import_ids: tuple[str, ...] = ()
    ) -> None:
        load = Load(
            datasource=self.datasource,
            rows=rows,
            quarantined=quarantined,
            invalid_lines=invalid,
            import_ids=import_ids,
            seconds=seconds,
        )
        self.judge_quarantine(load)

    def _let_earlier_imports_end(self, attempt: Attempt, rules: watch.Rules) -> None:
        """Wait for imports of earlier attempts: rows that they append after the replace would be there twice."""
        since = attempt.first_started_at - CLOCK_SLACK
        for job in self.hook.send(jobs_api.list_jobs(kind="import")):
            is_ours = (
                job.datasource == self.datasource and job.created_at is not None and job.created_at.timestamp() >= since
            )
            if is_ours and not job.status.is_terminal:
                self.log.info("Before the replace, %s into the same data source has to end.", job)
                self.let_end(job, rules)

    # Without rows, and at the end

    def _nothing(self, context: Context, checkpoint: Checkpoint, rules: watch.Rules) -> dict[str, Any]:
        empty = {"via": "files", "rows": 0, "files": 0, "bytes": 0, "job_ids": []}
        least = rows_bound("min_rows", self.min_rows)
        if least and self.on_empty in (None, "success"):
            raise NotEnoughRowsError(0, least, self.datasource, nothing_sent=True)
        if self.mode == ImportMode.APPEND.value:
            self._nothing_to_append()
            return empty
        if self.on_empty in (None, "fail"):
            raise NothingToReplaceError(
                f"There are no rows to put in the place of those in '{self.datasource}'. Nothing was changed. on_empty='keep' makes this a "
                "success, on_empty='skip' skips the task, on_empty='delete' deletes what is there."
            )
        if self.on_empty == "skip":
            nothing_to_load(self.on_empty, self.datasource)
        if self.on_empty in ("keep", "success"):
            self.log.warning(
                "There are no rows: what is in '%s' stays, as on_empty='%s' says.", self.datasource, self.on_empty
            )
            return empty | self._rows_around(checkpoint)
        self.log.info("There are no rows: what is there is deleted, as on_empty='delete' says.")
        if self.replace_condition is None:
            self.hook.truncate(self.datasource)
            return empty | self._rows_around(checkpoint)
        submission = submissions.delete_rows(self.datasource, self.replace_condition, lightweight=False)
        started = self.start_job(self._submitter(context), submission, rules)
        outcome = watch.watch_job(self.hook.client, watch.Watch(started.job.id, self.rules_of(started, rules)))
        if outcome is None:  # only with a patience
            raise AssertionError("the watch ended without an outcome")
        job = self._job_done(outcome)
        return empty | {"rows_deleted": job.rows_affected} | self._rows_around(checkpoint)

    def _result(self, checkpoint: Checkpoint, started_at: float) -> dict[str, Any]:
        self.log.info(
            "%d rows in %d files went into data source '%s'.", checkpoint.rows, checkpoint.files, self.datasource
        )
        # Where it is not known, that was said, or was an error, when the file was in.
        self._judge(
            checkpoint.written,
            checkpoint.quarantined or 0,
            checkpoint.invalid,
            time.time() - started_at,
            checkpoint.import_ids,
        )
        least = rows_bound("min_rows", self.min_rows)
        if least is not None:
            deletes.check_rows_written(checkpoint.written, least, self.datasource, replaces=self._replaces)
        self._tell_what_was_left_out(checkpoint)
        return {
            "via": "files",
            "rows": checkpoint.rows if checkpoint.written is None else checkpoint.written,
            "files": checkpoint.files,
            "bytes": checkpoint.size,
            "job_ids": list(checkpoint.jobs),
            "quarantine_rows": checkpoint.quarantined,
            "invalid_lines": checkpoint.invalid,
            **self._rows_around(checkpoint),
        }

    def _tell_what_was_left_out(self, checkpoint: Checkpoint) -> None:
        """Count behind a replace by condition: Tinybird counts rows as written that it leaves out, since they do not match."""
        if self.replace_condition is None or not checkpoint.written:
            return
        found = deletes.count_matching(self.hook.client, self.datasource, self.replace_condition)
        if found is not None and found < checkpoint.written:
            self.log.warning(
                "%d rows were written, and replace_condition holds for %d rows of '%s' now: Tinybird leaves out rows that do not match it. "
                "An engine that merges rows makes them fewer, too.",
                checkpoint.written,
                found,
                self.datasource,
            )

    def _nothing_to_append(self) -> None:
        # To keep or delete what is there is for a replace: an append leaves it, whatever it is.
        nothing_to_load(self.on_empty if self.on_empty in ("skip", "fail") else "success", self.datasource)

    def _rows_around(self, checkpoint: Checkpoint) -> dict[str, Any]:
        if self.mode == ImportMode.APPEND.value:
            return {}
        return {
            "rows_before": checkpoint.rows_before,
            "rows_after": deletes.count_rows(self.hook.client, self.datasource),
        }

    @contextmanager
    def _clear_source(self) -> Iterator[None]:
        try:
            yield
        except (EncodeError, UnsupportedDataError) as e:
            raise InvalidInputError(f"Nothing was sent to '{self.datasource}': {e}") from e
        except TinybirdError:
            raise
        except Exception as e:  # the user's own, from the data
            note_nothing_sent(e, self.datasource)
            raise
