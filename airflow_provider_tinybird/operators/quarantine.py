"""Rows that go to quarantine: the policy that all operators share that load rows, and a check of a window of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.arguments import fraction_bound, rows_bound
from airflow_provider_tinybird.conditions import checks
from airflow_provider_tinybird.operators.base import TinybirdOperator, clear_failure
from airflow_provider_tinybird.policies import quarantine
from airflow_provider_tinybird.policies.quarantine import Load, QuarantinedRowsError, QuarantinePolicy

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


class TinybirdQuarantineOperator(TinybirdOperator):
    """Base of the operators that load rows.

    Tinybird puts rows that do not fit into ``<datasource>_quarantine`` and answers with success. By default the task fails then,
    for good whatever ``retries`` says, since the other rows are in. Its log tells how many there are, and why, where the token
    may read the data source.

    :param on_quarantine: ``fail``; ``warn`` to be green, with a warning in the log; ``ignore`` to be green without a look
        (templated). The counts are in what the task returns, whichever it is.
    :param max_quarantined_rows: rows that ``fail`` puts up with, lines that could not be read included; none by default
        (templated).
    :param max_quarantined_fraction: part of the load's rows that ``fail`` puts up with, from 0 to 1. With both bounds, both
        must hold (templated).
    """

    quarantine_fields: Sequence[str] = ("on_quarantine", "max_quarantined_rows", "max_quarantined_fraction")

    def __init__(
        self,
        *,
        on_quarantine: str = "fail",
        max_quarantined_rows: int | str | None = None,
        max_quarantined_fraction: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_quarantine = on_quarantine
        self.max_quarantined_rows = max_quarantined_rows
        self.max_quarantined_fraction = max_quarantined_fraction

    def quarantine_policy(self) -> QuarantinePolicy:
        """Read the arguments; done before anything is sent, so that a mistake in them is found while nothing is in.

        :raises InvalidInputError: one of them cannot be used.
        """
        return QuarantinePolicy.parse(self.on_quarantine, self.max_quarantined_rows, self.max_quarantined_fraction)

    def judge_quarantine(self, load: Load) -> None:
        """Hold the policy against a load that is over.

        :raises QuarantinedRowsError: more rows are in quarantine than it allows.
        """
        quarantine.judge(self.hook.client, self.quarantine_policy(), load)


class TinybirdQuarantineCheckOperator(TinybirdOperator):
    """Look once at the quarantine of a data source over a window of time: red, for good and with the reasons, where more rows
    came into it than may.

    Token scope: ``DATASOURCES:READ:<datasource>``. Returns ``rows, reasons``, and ``fraction`` where it was asked for.

    :param datasource: name of the data source (templated).
    :param start: begin of the window, such as ``{{ data_interval_start }}``, by the time at which rows came into quarantine
        (templated).
    :param end: its end, which is not in it; by default now (templated).
    :param max_rows: rows that may be in quarantine; 0 where ``max_fraction`` is not given either (templated).
    :param max_fraction: part of all rows of the window that may be there, from 0 to 1. With both bounds, both must hold (templated).
    :param column: column of the data source with the time at which a row came in, by which those of the window are counted for
        ``max_fraction`` (templated).
    :param condition: SQL condition, or the name of a ``.sql`` file; only rows of the quarantine that match count (templated).
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "datasource",
        "start",
        "end",
        "max_rows",
        "max_fraction",
        "column",
        "condition",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        datasource: str,
        start: datetime | date | str,
        end: datetime | date | str | None = None,
        max_rows: int | str | None = None,
        max_fraction: float | str | None = None,
        column: str | None = None,
        condition: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.start = start
        self.end = end
        self.max_rows = max_rows
        self.max_fraction = max_fraction
        self.column = column
        self.condition = condition

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Check."""
        with clear_failure():
            policy = QuarantinePolicy(
                max_rows=rows_bound("max_rows", self.max_rows),
                max_fraction=fraction_bound("max_fraction", self.max_fraction),
            )
            if policy.max_fraction is not None and not self.column:
                raise InvalidInputError(
                    "max_fraction needs column: the time by which the rows of the window are counted."
                )
            question = checks.clean_quarantine(
                self.datasource, start=self.start, end=self.end, condition=self.condition
            )
            found = question.judge(self.hook.send(question.call))
            self.log.info("%s.", found.says)
            result = dict(found.facts)
            good = self._good_rows(question) if policy.max_fraction is not None and result["rows"] else 0
            if policy.max_fraction is not None:
                result["fraction"] = result["rows"] / (result["rows"] + good) if result["rows"] else 0.0
            verdict = policy.verdict(Load(datasource=self.datasource, rows=good, quarantined=result["rows"]))
            if verdict is quarantine.Verdict.FAIL:
                bounds = {"max_rows": policy.max_rows, "max_fraction": policy.max_fraction}
                given = ", ".join(f"{name}={value:g}" for name, value in bounds.items() if value is not None)
                share = f" ({result['fraction']:.2%} of the window's rows)" if "fraction" in result else ""
                raise QuarantinedRowsError(
                    f"{found.says}{share}, and {given or 'max_rows=0'} is all that may be there. Why: "
                    f"{'; '.join(result['reasons'])}. Look at '{self.datasource}_quarantine' and load corrected rows."
                )
            return result

    def _good_rows(self, question: checks.QuarantineCheck) -> int:
        window = checks.window_of(str(self.column), question.start, question.end)
        sql = f"SELECT count() AS rows_found FROM {checks.table(self.datasource)} WHERE {window}"  # noqa: S608
        return self.hook.send(query.sql(sql).then(lambda found: int(found.data[0]["rows_found"])))
