"""Which workspace a token belongs to, and what it is worth."""

from __future__ import annotations

from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.models import TokenCheck, Workspace


def get_workspace() -> Call[Workspace]:
    """Get the token's workspace, Classic or Forward. ``GET /v0/workspace``.

    :return: the workspace. Scope: ``ADMIN``; a narrow token may be refused with 403.
    """
    return _workspace("/v0/workspace")


def get_workspace_v1() -> Call[Workspace]:
    """Get the token's workspace. ``GET /v1/workspace``, which fails on Classic workspaces: prefer
    :func:`get_workspace`. Scope: ``ADMIN``.
    """
    return _workspace("/v1/workspace")


def get_auth() -> Call[TokenCheck]:
    """Ask whether the token is known. ``GET /v0/auth``. Scope: any, also of a token that is none."""
    return Call(what="check the token", method="GET", path="/v0/auth", read=_token_check, repeat=Repeat.READ)


def _workspace(path: str) -> Call[Workspace]:
    return Call(
        what="get the workspace of the token",
        method="GET",
        path=path,
        read=_read_workspace,
        repeat=Repeat.READ,
        scope="ADMIN",
    )


def _read_workspace(reply: Reply) -> Workspace:
    body = reply.json_object()
    return Workspace(
        id=str(body.get("id") or ""), name=str(body.get("name") or ""), is_forward=body.get("is_forward"), raw=body
    )


def _token_check(reply: Reply) -> TokenCheck:
    body = reply.json_object()
    return TokenCheck(is_valid=bool(body.get("is_valid")), is_user=bool(body.get("is_user")))
