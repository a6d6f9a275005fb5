"""Workspace and token on the wire."""

from __future__ import annotations

import pytest

from airflow_provider_tinybird.api import workspaces
from airflow_provider_tinybird.api.errors import AccessDeniedError
from airflow_provider_tinybird.api.models import TokenCheck


@pytest.mark.parametrize("forward", [True, False, None])
def test_the_workspace_is_asked_for_on_the_route_that_all_kinds_have(wire, forward):
    """Trap: /v1/workspace fails on Classic workspaces."""
    wire.answers(
        {"id": "w", "name": "mine", "user_email": "a@b.c"} | ({} if forward is None else {"is_forward": forward})
    )
    workspace = wire.send(workspaces.get_workspace())
    assert (wire.only.method, wire.only.target) == ("GET", "/v0/workspace")
    assert (workspace.id, workspace.name, workspace.is_forward) == ("w", "mine", forward)
    assert "a@b.c" not in repr(workspace)


def test_v1(wire):
    wire.answers({"id": "w", "name": "mine"})
    assert wire.send(workspaces.get_workspace_v1()).name == "mine"
    assert wire.only.target == "/v1/workspace"


@pytest.mark.parametrize("valid", [True, False])
def test_auth_is_a_result_and_no_error(wire, valid):
    """Trap: a narrow token is refused by the workspace call, but valid."""
    wire.answers({"is_valid": valid, "is_user": False})
    assert wire.send(workspaces.get_auth()) == TokenCheck(is_valid=valid, is_user=False)
    assert (wire.only.method, wire.only.target) == ("GET", "/v0/auth")


@pytest.mark.parametrize("status", [401, 403])
def test_401_and_403_are_the_same(wire, status):
    wire.answers((status, {"error": "invalid authentication token"}))
    with pytest.raises(AccessDeniedError, match="invalid authentication token") as caught:
        wire.send(workspaces.get_workspace())
    assert caught.value.status == status
