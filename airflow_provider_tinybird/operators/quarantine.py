"""What the operators share that load rows: their policy on rows that go to quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_tinybird import quarantine
from airflow_provider_tinybird.operators.base import TinybirdOperator
from airflow_provider_tinybird.quarantine import Load, QuarantinePolicy


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
