"""What the operators share that import files: how the rows that are there are treated, and those that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird import counts
from airflow_provider_tinybird.api.import_options import ImportOptions
from airflow_provider_tinybird.operators.job import TinybirdJobOperator, import_xcom
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineOperator
from airflow_provider_tinybird.quarantine import Load

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context
    from airflow_provider_tinybird.api.job import Job
    from airflow_provider_tinybird.counts import RowCounts


class TinybirdImportOperator(TinybirdQuarantineOperator, TinybirdJobOperator):
    """Base of the operators that start imports. A subclass says in ``submission`` what is imported.

    :param datasource: name of an existing data source (templated).
    :param mode: ``append``, or ``replace`` to swap the rows that are there; readers see the old or the new ones
        (templated).
    :param replace_condition: with ``replace``: swap only rows that match this SQL condition, or one in a ``.sql`` file;
        it must name the partition key (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.quarantine.TinybirdQuarantineOperator`
    and :class:`~airflow_provider_tinybird.operators.job.TinybirdJobOperator`. Without ``wait_for_completion`` nobody
    looks for rows in quarantine.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "mode",
        "replace_condition",
        *TinybirdQuarantineOperator.quarantine_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"replace_condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self, *, datasource: str, mode: str = "append", replace_condition: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.mode = mode
        self.replace_condition = replace_condition

    def _run(self, context: Context, rules: Any) -> dict[str, Any]:
        self.quarantine_policy()
        return super()._run(context, rules)

    def job_result(self, job: Job) -> dict[str, Any]:
        """Make what the task returns."""
        return import_xcom(job, self.hook.settings.base_url)

    def row_counts(self, job: Job) -> RowCounts:
        """Count the rows of the import."""
        return counts.of_import(self.hook.client, job)

    def check_rows(self, job: Job, counts: RowCounts) -> None:
        """Hold the policy on quarantine against them."""
        self.judge_quarantine(
            Load(
                datasource=job.datasource or self.datasource,
                rows=counts.rows,
                quarantined=counts.quarantine_rows,
                invalid_lines=counts.invalid_lines or 0,
                import_id=str(job.raw.get("import_id") or job.id),
            )
        )


class TinybirdFileImportOperator(TinybirdImportOperator):
    """Base of the operators that import one file as it is.

    :param dialect_delimiter: for CSV: the one character between values; by default Tinybird guesses (templated).
    :param dialect_new_line: for CSV: the one or two characters at the end of a row; by default Tinybird guesses.
    :param dialect_escapechar: for CSV: the one character that takes its meaning from the next one (templated).
    :param replace_truncate_when_empty: with ``replace`` and no condition: a file without rows removes all rows, which else
        stay.
    :param skip_incompatible_partition_key: with ``replace``: pass over dependent materialized views whose partition key does
        not go with the condition, where else the replace is refused.

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.imports.TinybirdImportOperator`.
    """

    template_fields: Sequence[str] = (
        *TinybirdImportOperator.template_fields,
        "dialect_delimiter",
        "dialect_escapechar",
    )

    def __init__(
        self,
        *,
        dialect_delimiter: str | None = None,
        dialect_new_line: str | None = None,
        dialect_escapechar: str | None = None,
        replace_truncate_when_empty: bool = False,
        skip_incompatible_partition_key: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dialect_delimiter = dialect_delimiter
        self.dialect_new_line = dialect_new_line
        self.dialect_escapechar = dialect_escapechar
        self.replace_truncate_when_empty = replace_truncate_when_empty
        self.skip_incompatible_partition_key = skip_incompatible_partition_key

    def import_options(self) -> ImportOptions:
        """Make the options of the request."""
        return ImportOptions(
            dialect_delimiter=self.dialect_delimiter,
            dialect_new_line=self.dialect_new_line,
            dialect_escapechar=self.dialect_escapechar,
            replace_truncate_when_empty=self.replace_truncate_when_empty,
            skip_incompatible_partition_key=self.skip_incompatible_partition_key,
        )
