"""Operators on pipes: run copies, sinks and populates; call endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird.api import pipes
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import EndpointFormat
from airflow_provider_tinybird.api.pipes import CopyMode
from airflow_provider_tinybird.arguments import rows_bound
from airflow_provider_tinybird.jobs import submissions
from airflow_provider_tinybird.operators.base import TinybirdOperator, clear_failure
from airflow_provider_tinybird.operators.guards import TinybirdGuardedOperator
from airflow_provider_tinybird.operators.job import TinybirdJobOperator, job_xcom
from airflow_provider_tinybird.operators.ranges import TinybirdCopyRangeOperator
from airflow_provider_tinybird.policies import deletes, target_rows
from airflow_provider_tinybird.policies import row_counts as counts
from airflow_provider_tinybird.policies.row_counts import RowCounts, of_copy
from airflow_provider_tinybird.policies.target_rows import Before, Written
from airflow_provider_tinybird.results.xcom import query_xcom, raw_xcom, write_result

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context
    from airflow_provider_tinybird.api.models import Job

__all__ = [
    "TinybirdCopyOperator",
    "TinybirdCopyRangeOperator",
    "TinybirdEndpointOperator",
    "TinybirdPopulateOperator",
    "TinybirdSinkOperator",
]


class TinybirdCopyOperator(TinybirdGuardedOperator, TinybirdJobOperator):
    """Run a copy pipe and be green when its rows are in the target.

    Token scopes: ``PIPES:READ:<pipe>`` and ``DATASOURCES:APPEND`` on the target. Returns ``job_id, status, job``, and when it
    was waited for ``rows``, which is ``None`` where Tinybird does not tell.

    :param pipe: name of the copy pipe (templated).
    :param parameters: the pipe's parameters: text, numbers, booleans, dates, times or lists of these (templated).
    :param mode: ``append`` or ``replace``; by default as the pipe is configured (templated).
    :param on_demand_compute: run on compute of its own (paid plans).
    :param min_rows: fail, for good, where fewer rows were written than this, or where Tinybird does not tell: a copy in replace mode
        whose query finds nothing empties its target. It is found when the copy is done (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.guards.TinybirdGuardedOperator` (the connection's
    ``workspace`` is checked with ``mode='replace'``) and :class:`~airflow_provider_tinybird.operators.job.TinybirdJobOperator`.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "pipe",
        "parameters",
        "mode",
        "expected_workspace",
        "min_rows",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}

    def __init__(
        self,
        *,
        pipe: str,
        parameters: Mapping[str, Any] | None = None,
        mode: str | None = None,
        on_demand_compute: bool = False,
        min_rows: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_rows = min_rows
        self.pipe = pipe
        self.parameters = parameters
        self.mode = mode
        self.on_demand_compute = on_demand_compute

    _writes = True

    def submission(self) -> submissions.Submission:
        """Start the copy."""
        rows_bound("min_rows", self.min_rows)
        return submissions.run_copy(
            self.pipe, self.parameters, mode=self.mode, on_demand_compute=self.on_demand_compute
        )

    def job_result(self, job: Job) -> dict[str, Any]:
        """Make what the task returns."""
        return job_xcom(job)

    def row_counts(self, job: Job) -> RowCounts:
        """Count the rows of the copy."""
        found = counts.of_copy(self.hook.client, job)
        if found.rows is None and self.min_rows is not None and job.datasource and self.mode == CopyMode.REPLACE:
            # Tinybird's log is late, or not for this token. After a replace, what is there is what was written.
            return RowCounts(rows=deletes.count_rows(self.hook.client, job.datasource))
        return found

    def before_submit(self, earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:  # noqa: ARG002
        """See that it is the right workspace."""
        self.check_workspace(destroys=self.mode == CopyMode.REPLACE)
        return {}

    def target_before(self) -> Before:
        """Count the rows of the pipe's target."""
        return target_rows.look_before_copy(self.hook.client, self.pipe)

    def written(self, job: Job, counts: RowCounts | None) -> Written:
        """Say how many rows it wrote, and whether in place of the others."""
        mode = self.mode or str(job.raw.get("mode") or "")
        return replace(
            super().written(job, counts),
            rows=counts.rows if counts else None,
            unknown="Tinybird's log does not say, or not to this token, how many rows it wrote",
            replaces=mode == CopyMode.REPLACE,
            counts_views=True,
        )

    def check_rows(self, job: Job, counts: RowCounts) -> None:
        """See that it wrote as many rows as was expected."""
        deletes.check_rows_written(
            counts.rows,
            rows_bound("min_rows", self.min_rows),
            job.datasource or f"the target of {self.pipe}",
            replaces=self.mode == CopyMode.REPLACE,
        )


class TinybirdSinkOperator(TinybirdJobOperator):
    """Run a sink pipe and be green when its files are written.

    Token scope: ``PIPES:READ:<pipe>``. Returns ``job_id, status, job``. Sinks need a paid plan.

    :param pipe: name of the sink pipe (templated).
    :param parameters: the pipe's parameters and those of its file template (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.job.TinybirdJobOperator`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "pipe", "parameters")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}

    def __init__(self, *, pipe: str, parameters: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipe = pipe
        self.parameters = parameters

    def submission(self) -> submissions.Submission:
        """Start the sink."""
        return submissions.run_sink(self.pipe, self.parameters)

    def job_result(self, job: Job) -> dict[str, Any]:
        """Make what the task returns."""
        return job_xcom(job)


class TinybirdPopulateOperator(TinybirdGuardedOperator, TinybirdJobOperator):
    """Fill a materialized view from the rows that its source holds; Classic workspaces only.

    Token scope: ``PIPES:CREATE``. Returns ``job_id, status, job``.

    :param pipe: name of the pipe (templated).
    :param node: name or id of its materialized node (templated).
    :param truncate: empty the target first, so that running it again does not double its rows.
    :param populate_subset: share of the source's rows to take, above 0 and at most 1; wins over the condition
        (templated).
    :param populate_condition: SQL condition on the source's rows, or the name of a ``.sql`` file with one (templated).
    :param unlink_on_populate_error: take the view off its source when this fails.
    :param on_demand_compute: run on compute of its own (paid plans).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.guards.TinybirdGuardedOperator` (the connection's
    ``workspace`` is checked with ``truncate``) and :class:`~airflow_provider_tinybird.operators.job.TinybirdJobOperator`.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "pipe",
        "node",
        "populate_subset",
        "populate_condition",
        "expected_workspace",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"populate_condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        pipe: str,
        node: str,
        truncate: bool = False,
        populate_subset: float | None = None,
        populate_condition: str | None = None,
        unlink_on_populate_error: bool = False,
        on_demand_compute: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipe = pipe
        self.node = node
        self.truncate = truncate
        self.populate_subset = populate_subset
        self.populate_condition = populate_condition
        self.unlink_on_populate_error = unlink_on_populate_error
        self.on_demand_compute = on_demand_compute

    _writes = True

    def submission(self) -> submissions.Submission:
        """Start the populate."""
        return submissions.populate(
            self.pipe,
            self.node,
            truncate=self.truncate,
            populate_subset=_share(self.populate_subset),
            populate_condition=self.populate_condition,
            unlink_on_populate_error=self.unlink_on_populate_error,
            on_demand_compute=self.on_demand_compute,
        )

    def before_submit(self, earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:  # noqa: ARG002
        """See that it is the right workspace."""
        self.check_workspace(destroys=self.truncate)
        return {}

    def target_before(self) -> Before:
        """Count the rows of the data source that the view fills."""
        return target_rows.look_before_populate(self.hook.client, self.pipe, self.node)

    def written(self, job: Job, counts: RowCounts | None) -> Written:  # noqa: ARG002
        """Ask Tinybird's log how many rows it wrote."""
        return Written(
            what=str(job),
            rows=of_copy(self.hook.client, job).rows,
            unknown="Tinybird's log does not say, or not to this token, how many rows it wrote",
            job_ids=frozenset({job.id}),
            replaces=self.truncate,
            counts_views=True,
            then="It is not retried. truncate=True empties the target first, which also forgets the blocks that were there.",
        )

    def job_result(self, job: Job) -> dict[str, Any]:
        """Make what the task returns."""
        return job_xcom(job)


class TinybirdEndpointOperator(TinybirdOperator):
    """Call an endpoint and return its rows, or write them to a file.

    Token scope: ``PIPES:READ:<pipe>``. Returns ``data, meta, rows, rows_before_limit_at_least, statistics`` (decimals are text), or
    ``output_path, size`` when the result went to a file.

    :param pipe: name of the pipe (templated).
    :param parameters: the pipe's parameters: text, numbers, booleans, dates, times or lists of these (templated).
    :param q: SQL over the result, which is ``_`` in it, or the name of a ``.sql`` file with it (templated).
    :param format: ``json``, ``csv``, ``ndjson``, ``parquet`` or ``prometheus`` (templated).
    :param output_path: where to write the answer as it streams in: a local path, or any URL that Airflow's
        ObjectStoragePath opens (templated).
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "pipe", "parameters", "q", "format", "output_path")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "q": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        pipe: str,
        parameters: Mapping[str, Any] | None = None,
        q: str | None = None,
        format: str = "json",
        output_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipe = pipe
        self.parameters = parameters
        self.q = q
        self.format = format
        self.output_path = output_path

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Call the endpoint."""
        with clear_failure():
            kind = _endpoint_format(self.format)
            what = f"The result of endpoint '{self.pipe}'"
            call = pipes.endpoint_as(self.pipe, kind, self.parameters, q=self.q)
            self.tell(call.what, parameters=self.parameters, q=self.q, format=self.format, output_path=self.output_path)
            if self.output_path is not None:
                return write_result(self.hook.client, call, self.output_path)
            if kind is EndpointFormat.JSON:
                return query_xcom(self.hook.call_endpoint(self.pipe, self.parameters, q=self.q), what)
            return raw_xcom(self.hook.send(call), what)


def _share(value: float | str | None) -> float | None:
    """Read a share that may have been a template."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"populate_subset is {value!r}: give a number above 0 and at most 1, such as 0.1."
        ) from None


def _endpoint_format(value: str) -> EndpointFormat:
    try:
        return EndpointFormat(value)
    except ValueError:
        names = ", ".join(item.value for item in EndpointFormat)
        raise InvalidInputError(f"format={value!r} is no format of an endpoint: give one of {names}.") from None
