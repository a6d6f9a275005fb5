"""Workspaces, branches, organizations, tags."""

from __future__ import annotations

from airflow_provider_tinybird.api import organizations, workspaces
from airflow_provider_tinybird.api.errors import BadRequestError
from api_cases.case import JOB, Case

CASES = (
    Case(workspaces.get_workspace, (), "GET /v0/workspace"),
    Case(workspaces.get_workspace_v1, (), "GET /v1/workspace", refused=BadRequestError),
    Case(workspaces.get_auth, (), "GET /v0/auth"),
    Case(
        organizations.list_organizations,
        (),
        "GET /v0/organizations",
        canned={"organizations": [{"id": "o", "name": "org"}]},
    ),
    Case(
        organizations.list_members, ("o",), "GET /v0/organizations/o/members", canned={"members": [{"email": "a@b.c"}]}
    ),
    Case(
        organizations.list_organization_workspaces,
        ("o",),
        "GET /v0/organizations/o/workspaces",
        canned={"workspaces": [{"id": "w", "name": "one"}]},
    ),
    Case(
        organizations.list_workspaces,
        (),
        "GET /v1/user/workspaces?with_organization=true",
        kw={"with_organization": True},
    ),
    Case(
        organizations.create_workspace,
        ("other",),
        "POST /v1/workspaces",
        b"name=other&assign_to_organization_id=o",
        kw={"organization_id": "o"},
    ),
    Case(organizations.delete_workspace, ("w",), "DELETE /v1/workspaces/w?hard_delete_confirmation=yes"),
    Case(organizations.list_branches, (), "GET /v1/environments"),
    Case(
        organizations.create_branch,
        ("b",),
        "POST /v1/environments?name=b&data=last_partition",
        kw={"data": "last_partition"},
        canned={"job": JOB},
    ),
    Case(
        organizations.get_branch,
        ("b",),
        "GET /v0/environments/b?with_token=true",
        kw={"with_token": True},
        canned={"id": "1", "name": "b", "token": "p.e30.s"},
    ),
    Case(organizations.delete_branch, ("1",), "DELETE /v0/environments/1"),
    Case(organizations.list_tags, (), "GET /v0/tags", canned={"tags": [{"id": "1", "name": "t"}]}),
    Case(organizations.create_tag, ("t",), "POST /v0/tags", b'{"name":"t"}', canned={"id": "1", "name": "t"}),
    Case(organizations.delete_tag, ("t",), "DELETE /v0/tags/t"),
    Case(organizations.list_regions, (), "GET /v0/regions"),
)
