"""What the operators share that can destroy rows: the check of the workspace."""

from __future__ import annotations

from typing import Any

from airflow_provider_tinybird.operators.base import TinybirdOperator
from airflow_provider_tinybird.policies import deletes


class TinybirdGuardedOperator(TinybirdOperator):
    """Base of the operators that can destroy rows.

    :param expected_workspace: name or id of the workspace that the token must belong to, checked before anything is sent that
        writes. By default it is the connection's ``workspace``, where there is one, and is checked before rows are destroyed
        (templated).
    """

    def __init__(self, *, expected_workspace: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.expected_workspace = expected_workspace

    def check_workspace(self, *, destroys: bool) -> None:
        """See that the token belongs to the workspace that was meant.

        :param destroys: whether rows are about to be destroyed; else only what the task itself says counts.
        :raises WrongWorkspaceError: it does not, or may not see it.
        """
        expected = self.expected_workspace
        if expected is None and destroys:
            expected = self.hook.settings.workspace
        if expected is not None:
            deletes.check_workspace(self.hook.client, expected)
