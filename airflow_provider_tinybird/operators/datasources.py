"""Operators on data sources: append or replace by URL or file, truncate, delete by condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.quarantine import quarantine_of
from airflow_provider_tinybird.arguments import rows_bound
from airflow_provider_tinybird.files.local_or_remote import file_format, holds_rows
from airflow_provider_tinybird.files.sniff import LOOK_AT
from airflow_provider_tinybird.jobs import submissions, watch
from airflow_provider_tinybird.jobs.outcome import small_json
from airflow_provider_tinybird.loads import OnNarrowing, file_gate
from airflow_provider_tinybird.loads.files.upload import upload
from airflow_provider_tinybird.operators.base import clear_failure
from airflow_provider_tinybird.operators.guards import TinybirdGuardedOperator
from airflow_provider_tinybird.operators.imports import TinybirdFileImportOperator
from airflow_provider_tinybird.operators.job import TinybirdJobOperator, job_xcom
from airflow_provider_tinybird.policies import deletes

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context
    from airflow_provider_tinybird.api.models import Job
    from airflow_provider_tinybird.ndjson import Gate
    from airflow_provider_tinybird.policies.row_counts import RowCounts


class TinybirdAppendUrlOperator(TinybirdFileImportOperator):
    """Have Tinybird fetch a file and append it to a data source, or replace what is there.

    Token scope: ``DATASOURCES:CREATE``. Returns ``id, import_id, job_id, job_url, status, job, datasource``, and
    when it was waited for ``rows, quarantine_rows, invalid_lines``; with ``replace`` also ``rows_before, rows_after``.

    Tinybird allows 5 such calls a minute for a workspace: an Airflow pool keeps mapped tasks below that.

    :param url: address of the file, which Tinybird must be able to reach; plain or gzipped (templated).
    :param format: ``csv``, ``ndjson`` or ``parquet`` (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.imports.TinybirdFileImportOperator`.
    """

    template_fields: Sequence[str] = (*TinybirdFileImportOperator.template_fields, "url", "format")

    def __init__(
        self,
        *,
        url: str,
        format: str = "csv",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.format = format

    def submission(self) -> submissions.Submission:
        """Hand the address to Tinybird."""
        return submissions.import_url(
            self.datasource,
            self.url,
            format=file_format(self.format),
            mode=self.mode,
            replace_condition=self.replace_condition,
            options=self.import_options(),
        )

    def holds_rows(self, counts: RowCounts) -> bool | None:
        """Tell it by the bytes that Tinybird read, where these are more than a header can have."""
        header = {FileFormat.NDJSON: 0, FileFormat.CSV: LOOK_AT}.get(file_format(self.format))
        return True if header is not None and (counts.bytes or 0) > header else None


class TinybirdAppendFileOperator(TinybirdFileImportOperator):
    """Send a file to a data source, streamed in constant memory: append it, or replace what is there.

    Token scope: ``DATASOURCES:CREATE``. Returns ``id, import_id, job_id, job_url, status, job, datasource``, and
    when it was waited for ``rows, quarantine_rows, invalid_lines``; with ``replace`` also ``rows_before, rows_after``.

    :param path: local path on the worker, or any URL that Airflow's ObjectStoragePath opens, such as
        ``s3://aws_default@bucket/day.parquet`` (templated).
    :param format: ``csv``, ``ndjson`` or ``parquet``; by default what the name ends in, with or without ``.gz``
        (templated). A gzipped file is known by its first bytes.
    :param by_url: have Tinybird fetch the file from the object store, by an address that is signed for a few hours: S3,
        Google Cloud Storage and Azure Blob Storage do that. The address is in no log, no XCom and no rendered field.
    :param max_size: the most bytes that the file may have. By default what Tinybird documents: 500 MB of CSV or NDJSON, 50 MB
        of Parquet; with ``by_url`` 32 GB and 5 GB. It is checked before the first byte is sent.
    :param on_narrowing: what to do about a value of a Parquet file that its column would change without a word, such as a time out of
        range: ``fail`` before the file is sent, or ``allow``. With ``by_url`` only the least and greatest values are looked at, which the
        file itself notes; CSV and NDJSON are not looked at. Without the scope ``DATASOURCES:READ:<datasource>`` nothing is (templated).

    The dialect of CSV is documented by Tinybird for files that it fetches. For one that is sent it goes with the request too,
    and whether it is heeded is not documented.

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.imports.TinybirdFileImportOperator`.
    """

    template_fields: Sequence[str] = (*TinybirdFileImportOperator.template_fields, "path", "format", "on_narrowing")

    def __init__(
        self,
        *,
        path: str,
        format: str | None = None,
        by_url: bool = False,
        max_size: int | None = None,
        on_narrowing: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.format = format
        self.by_url = by_url
        self.max_size = max_size
        self.on_narrowing = on_narrowing

    def submission(self) -> submissions.Submission:
        """Send the file."""
        return upload(
            self.datasource,
            self.path,
            format=self.format,
            mode=self.mode,
            replace_condition=self.replace_condition,
            by_url=self.by_url,
            max_size=self.max_size,
            gate=self._gate(),
            options=self.import_options(),
        )

    def _gate(self) -> Callable[[], Gate | None]:
        policy = OnNarrowing.parse(self.on_narrowing)
        return lambda: file_gate(self.hook.client, self.datasource, policy)

    def holds_rows(self, counts: RowCounts) -> bool | None:  # noqa: ARG002
        """Look at the file again, where it still is."""
        return holds_rows(self.path, self.format)


class TinybirdTruncateOperator(TinybirdGuardedOperator):
    """Delete all rows of a data source. Materialized views that it feeds keep theirs.

    Token scope: ``DATASOURCES:CREATE``, and read on the data source for the counts. Returns ``truncated, result, rows_before,
    rows_after``; the counts are ``None`` where the token may not know.

    :param datasource: name of the data source, or of a quarantine (templated).
    :param quarantine: empty ``<datasource>_quarantine`` too, before the data source.
    :param max_rows: refuse to delete more rows than this (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.guards.TinybirdGuardedOperator`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "datasource", "expected_workspace", "max_rows")

    def __init__(
        self, *, datasource: str, quarantine: bool = False, max_rows: int | str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.quarantine = quarantine
        self.max_rows = max_rows

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Truncate it."""
        with clear_failure():
            self.tell(f"truncate data source '{self.datasource}'")
            most = rows_bound("max_rows", self.max_rows)
            self.check_workspace(destroys=True)
            before = deletes.count_rows(self.hook.client, self.datasource)
            deletes.check_truncate(before, most, self.datasource)
            if self.quarantine:
                self.hook.truncate(quarantine_of(self.datasource))
                self.log.info("Truncated '%s'.", quarantine_of(self.datasource))
            truncated = self.hook.truncate(self.datasource)
            self.log.info("Truncated data source '%s'.", self.datasource)
            after = deletes.count_rows(self.hook.client, self.datasource)
        return {
            "truncated": True,
            "result": small_json(truncated.result),
            "rows_before": before,
            "rows_after": after,
        }


class TinybirdDeleteOperator(TinybirdGuardedOperator, TinybirdJobOperator):
    """Delete the rows of a data source that match a SQL condition. Materialized views that it feeds keep theirs.

    The rows are counted first, and nothing is deleted where they are too many, too few, or all there are. A retry takes up the delete
    that was started, and does not mind that its rows are gone.

    Token scope: ``DATASOURCES:CREATE``, and read on the data source for the counts. Returns ``id, job_id, delete_id, job_url, status,
    job, rows_affected, rows_before``, and when it was waited for ``rows_after``; a dry run returns ``rows_to_be_deleted``.

    :param datasource: name of the data source, or of a quarantine (templated).
    :param delete_condition: SQL condition, or the name of a ``.sql`` file with one (templated).
    :param dry_run: only count the rows; no bound is held against them.
    :param lightweight: use Tinybird's lightweight delete (beta), which does not rewrite whole parts.
    :param min_rows: refuse to delete fewer rows than this (templated).
    :param max_rows: refuse to delete more rows than this (templated).
    :param max_fraction: refuse to delete more than this part of the data source's rows, from 0 to 1 (templated).
    :param allow_all: delete even if these are all rows, if the condition is always true, or blank (templated).
    :param quarantine: delete from ``<datasource>_quarantine`` too, before the data source. All columns are text there.
    :param quarantine_condition: SQL condition for the quarantine; by default ``delete_condition`` (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.guards.TinybirdGuardedOperator` and
    :class:`~airflow_provider_tinybird.operators.job.TinybirdJobOperator`.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "delete_condition",
        "expected_workspace",
        "min_rows",
        "max_rows",
        "max_fraction",
        "allow_all",
        "quarantine_condition",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"delete_condition": "sql", "quarantine_condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        datasource: str,
        delete_condition: str,
        dry_run: bool = False,
        lightweight: bool = False,
        min_rows: int | str | None = None,
        max_rows: int | str | None = None,
        max_fraction: float | str | None = None,
        allow_all: bool | str = False,
        quarantine: bool = False,
        quarantine_condition: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.delete_condition = delete_condition
        self.count_only = dry_run  # every operator has a method of the name dry_run
        self.lightweight = lightweight
        self.min_rows = min_rows
        self.max_rows = max_rows
        self.max_fraction = max_fraction
        self.allow_all = allow_all
        self.quarantine = quarantine
        self.quarantine_condition = quarantine_condition

    def execute(self, context: Context) -> dict[str, Any]:
        """Count the rows, or delete them."""
        if not self.count_only:
            return super().execute(context)
        with clear_failure():
            self.check_workspace(destroys=False)
            counted = self.hook.count_rows_to_delete(self.datasource, self.delete_condition)
        self.log.info("%d rows of data source '%s' would be deleted.", counted.rows_to_be_deleted, self.datasource)
        return {"rows_to_be_deleted": counted.rows_to_be_deleted}

    def submission(self) -> submissions.Submission:
        """Start the delete."""
        return submissions.delete_rows(self.datasource, self._condition(), lightweight=self.lightweight)

    def before_submit(self, earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """See that it is the right workspace, and that as many rows would go as were meant."""
        self.check_workspace(destroys=True)
        bounds = self._bounds()
        matching = None
        if bounds.needs_count:
            matching = self.hook.count_rows_to_delete(self.datasource, self._condition()).rows_to_be_deleted
        total = deletes.count_rows(self.hook.client, self.datasource)
        if matching is not None:
            bounds.check(matching, total, self.datasource, may_be_gone=earlier is not None)
            self.log.info("%d rows are about to be deleted.", matching)
        if self.quarantine:
            self._delete_quarantine()
        return deletes.Facts.of_attempt(earlier, total).as_json()

    def job_result(self, job: Job) -> dict[str, Any]:
        """Make what the task returns."""
        if job.status.is_successful:
            self.log.info("Deleted %s rows of data source '%s'.", job.rows_affected, self.datasource)
        return {
            "id": job.id,
            "delete_id": str(job.raw.get("delete_id") or job.id),
            **job_xcom(job),
            "job_url": f"{self.hook.settings.base_url}/v0/jobs/{job.id}",
            "rows_affected": job.rows_affected,
        }

    def facts_after(self, job: Job, facts: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Count the rows that are left."""
        after = deletes.count_rows(self.hook.client, self.datasource)
        return {"rows_before": facts.get("rows_before"), "rows_after": after}

    def _bounds(self) -> deletes.DeleteBounds:
        return deletes.DeleteBounds.parse(
            min_rows=self.min_rows,
            max_rows=self.max_rows,
            max_fraction=self.max_fraction,
            allow_all=self.allow_all,
        )

    def _condition(self) -> str:
        return self._bounds().condition(self.delete_condition)

    def _delete_quarantine(self) -> None:
        """Delete from the quarantine and wait for it here: it is small, and a refusal leaves the data source as it is."""
        name = quarantine_of(self.datasource)
        condition = self._condition() if self.quarantine_condition is None else self.quarantine_condition
        job = self.hook.delete_rows(name, condition, lightweight=self.lightweight)
        self._running_job_id = job.id
        outcome = watch.watch_job(self.hook.client, watch.Watch(job.id, self._rules(deadline=self._deadline)))
        if outcome is None:  # only with a patience
            raise AssertionError("the watch ended without an outcome")
        done = self._job_done(outcome)
        self.log.info("Deleted %s rows of '%s'.", done.rows_affected, name)
