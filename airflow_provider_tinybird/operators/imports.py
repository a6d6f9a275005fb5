"""What the operators share that import files: how the rows that are there are treated, and those that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird.api.import_options import ImportOptions
from airflow_provider_tinybird.api.models import ImportMode
from airflow_provider_tinybird.arguments import rows_bound
from airflow_provider_tinybird.operators.guards import TinybirdGuardedOperator
from airflow_provider_tinybird.operators.job import TinybirdJobOperator, import_xcom
from airflow_provider_tinybird.operators.quarantine import TinybirdQuarantineOperator
from airflow_provider_tinybird.policies import deletes
from airflow_provider_tinybird.policies import row_counts as counts
from airflow_provider_tinybird.policies.quarantine import Load
from airflow_provider_tinybird.policies.row_counts import import_id
from airflow_provider_tinybird.policies.target_rows import Before, Written

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context
    from airflow_provider_tinybird.api.models import Job
    from airflow_provider_tinybird.jobs.watch import Rules
    from airflow_provider_tinybird.policies.row_counts import RowCounts


class TinybirdImportOperator(TinybirdQuarantineOperator, TinybirdGuardedOperator, TinybirdJobOperator):
    """Base of the operators that start imports. A subclass says in ``submission`` what is imported.

    With ``replace`` what the task returns has ``rows_before`` and ``rows_after``, the rows of the data source; ``None`` where the
    token may not read it.

    :param datasource: name of an existing data source (templated).
    :param mode: ``append``, or ``replace`` to swap the rows that are there; readers see the old or the new ones
        (templated).
    :param replace_condition: with ``replace``: swap only rows that match this SQL condition, or one in a ``.sql`` file;
        it must name the partition key (templated).

    :param min_rows: fail, for good, where fewer rows were written than this. A replace by no rows can empty the data source,
        or leave it as it was, and without this is only warned of. It is found when the replace is done (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.quarantine.TinybirdQuarantineOperator`,
    :class:`~airflow_provider_tinybird.operators.guards.TinybirdGuardedOperator` and
    :class:`~airflow_provider_tinybird.operators.job.TinybirdJobOperator`. Without ``wait_for_completion`` nobody
    looks for rows in quarantine, nor counts the rows that are written.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "mode",
        "replace_condition",
        "expected_workspace",
        "min_rows",
        *TinybirdQuarantineOperator.quarantine_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"replace_condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        datasource: str,
        mode: str = "append",
        replace_condition: str | None = None,
        min_rows: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_rows = min_rows
        self.datasource = datasource
        self.mode = mode
        self.replace_condition = replace_condition

    _writes = True

    def _run(self, context: Context, rules: Rules) -> dict[str, Any]:
        # A mistake in them is to be found while nothing is in.
        self.quarantine_policy()
        rows_bound("min_rows", self.min_rows)
        return super()._run(context, rules)

    def before_submit(self, earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """See that it is the right workspace, and count the rows that are about to be replaced."""
        self.check_workspace(destroys=self._replaces)
        if not self._replaces:
            return {}
        return deletes.Facts.of_attempt(earlier, deletes.count_rows(self.hook.client, self.datasource)).as_json()

    def facts_after(self, job: Job, facts: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Count the rows that are there after a replace."""
        if not self._replaces:
            return {}
        after = deletes.count_rows(self.hook.client, self.datasource)
        return {"rows_before": facts.get("rows_before"), "rows_after": after}

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
                import_ids=(import_id(job),),
            )
        )
        deletes.check_rows_written(
            counts.rows, rows_bound("min_rows", self.min_rows), self.datasource, replaces=self._replaces
        )

    def target_before(self) -> Before:
        """Count the rows of the data source."""
        return self.look_before(self.datasource)

    def written(self, job: Job, counts: RowCounts | None) -> Written:
        """Say how many rows have to be there: whether Tinybird counts those in quarantine as written is not documented."""
        bad = (counts.quarantine_rows or 0) + (counts.invalid_lines or 0) if counts else 0
        known = counts.rows if counts else None
        told = super().written(job, counts)
        if self.replace_condition is not None:
            return replace(told, rows=None, unknown="Tinybird leaves out rows that do not match replace_condition")
        return replace(told, rows=None if known is None else max(0, known - bad), replaces=self._replaces)

    @property
    def _replaces(self) -> bool:
        return self.mode == ImportMode.REPLACE


class TinybirdFileImportOperator(TinybirdImportOperator):
    """Base of the operators that import one file as it is.

    :param dialect_delimiter: for CSV: the one character between values; by default Tinybird guesses (templated).
    :param dialect_new_line: for CSV: the one or two characters at the end of a row; by default Tinybird guesses.
    :param dialect_escapechar: for CSV: the one character that takes its meaning from the next one (templated).
    :param replace_truncate_when_empty: with ``replace`` and no condition: a file without rows removes all rows, which else
        stay.
    :param min_rows: as above. Where it is left out, a file that has rows and brings none at all, neither good ones nor bad ones, fails as
        well: its line ends or its delimiter were guessed wrong. ``min_rows=0`` says that no rows are fine.
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

    def holds_rows(self, counts: RowCounts) -> bool | None:  # noqa: ARG002
        """Tell whether there were rows in the file, where Tinybird counted none; ``None`` where that is not known."""
        return None

    def check_rows(self, job: Job, counts: RowCounts) -> None:
        """Hold the policy on quarantine against the rows, and see that a file which has rows brought some."""
        super().check_rows(job, counts)
        nothing = counts.rows == 0 and not counts.quarantine_rows and not counts.invalid_lines
        # Rows that do not match the condition of a replace are left out, which may be all of them.
        if (
            nothing
            and rows_bound("min_rows", self.min_rows) is None
            and not (self._replaces and self.replace_condition)
        ):
            self._check_why_none(self.holds_rows(counts))

    def _check_why_none(self, has_rows: bool | None) -> None:
        nothing = (
            f"0 rows came into data source '{self.datasource}', 0 went to quarantine, and every line could be read"
        )
        way_out = "min_rows=0 says that no rows are fine, min_rows=1 that they never are."
        if has_rows:
            raise deletes.TooFewRowsError(
                f"The file has rows, and {nothing}. Its line ends or its delimiter may have been guessed wrong: give dialect_new_line "
                f"(such as '\\r') and dialect_delimiter for CSV, or look at the file. {way_out}"
            )
        if has_rows is None:
            self.log.warning("%s. Whether the file has rows is not known. %s", nothing, way_out)

    def import_options(self) -> ImportOptions:
        """Make the options of the request."""
        return ImportOptions(
            dialect_delimiter=self.dialect_delimiter,
            dialect_new_line=self.dialect_new_line,
            dialect_escapechar=self.dialect_escapechar,
            replace_truncate_when_empty=self.replace_truncate_when_empty,
            skip_incompatible_partition_key=self.skip_incompatible_partition_key,
        )
