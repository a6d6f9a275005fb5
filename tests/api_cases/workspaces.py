"""Workspaces, branches, organizations, tags."""

from __future__ import annotations

from airflow_provider_tinybird.api import datasources, organizations, workspaces
from airflow_provider_tinybird.api.errors import BadRequestError
from airflow_provider_tinybird.api.resources import Named
from api_cases.case import Case, Send, done

AN_ORGANIZATION = "o"
A_BRANCH = (organizations.create_branch("b"),)
A_TAG = (organizations.create_tag("t"),)
SALES = (Named(id="", name="sales"),)


def organization(send: Send) -> tuple[str, ...]:
    return (send(organizations.list_organizations())[0].id,)


def other_workspace(send: Send) -> tuple[str, ...]:
    return (send(organizations.create_workspace("other")).id,)


def names(found: tuple[Named, ...]) -> list[str]:
    return [one.name for one in found]


def branch_works(found: Named, send: Send) -> bool:
    return names(send(organizations.list_branches())) == ["b"] == [found.name] and found.token.startswith("p.")


WORKSPACES = (
    Case(
        workspaces.get_workspace,
        (),
        "GET /v0/workspace",
        shows=lambda found, _: (found.name, found.is_forward) == ("Tinybird_Local_Testing", False),
    ),
    Case(workspaces.get_workspace_v1, (), "GET /v1/workspace", refused=BadRequestError),
    Case(workspaces.get_auth, (), "GET /v0/auth", shows=lambda found, _: found.is_valid and not found.is_user),
    Case(
        organizations.list_workspaces,
        (),
        "GET /v1/user/workspaces?with_organization=true",
        kw={"with_organization": True},
        shows=lambda found, _: names(found) == ["Tinybird_Local_Testing"] and found[0].token.startswith("p."),
    ),
    Case(
        organizations.create_workspace,
        ("other",),
        "POST /v1/workspaces",
        b"name=other&assign_to_organization_id=o",
        kw={"organization_id": "o"},
        shows=lambda found, send: found.id in {one.id for one in send(organizations.list_workspaces())},
    ),
    Case(
        organizations.delete_workspace,
        ("w",),
        "DELETE /v1/workspaces/w?hard_delete_confirmation=yes",
        live=other_workspace,
        shows=lambda _, send: names(send(organizations.list_workspaces())) == ["Tinybird_Local_Testing"],
    ),
    Case(organizations.list_regions, (), "GET /v0/regions", shows=lambda found, _: names(found) == ["local"]),
)
ORGANIZATIONS = (
    Case(
        organizations.list_organizations,
        (),
        "GET /v0/organizations",
        shows=lambda found, _: names(found) == ["Tinybird_Local"],
    ),
    Case(
        organizations.list_members,
        (AN_ORGANIZATION,),
        "GET /v0/organizations/o/members",
        live=organization,
        shows=lambda found, _: names(found) == ["local@tinybird.co"],
    ),
    Case(
        organizations.list_organization_workspaces,
        (AN_ORGANIZATION,),
        "GET /v0/organizations/o/workspaces",
        live=organization,
        shows=lambda found, _: names(found) == ["Tinybird_Local_Testing"] and not found[0].token,
    ),
)
BRANCHES = (
    Case(
        organizations.list_branches,
        (),
        "GET /v1/environments",
        before=A_BRANCH,
        shows=lambda found, _: names(found) == ["b"],
    ),
    Case(
        organizations.list_branches_v0,
        (),
        "GET /v0/environments",
        before=A_BRANCH,
        shows=lambda found, _: names(found) == ["b"],
    ),
    Case(
        organizations.create_branch,
        ("b",),
        "POST /v1/environments?name=b&data=last_partition",
        kw={"data": "last_partition"},
        shows=lambda job, send: done(job, send) and names(send(organizations.list_branches())) == ["b"],
    ),
    Case(
        organizations.create_branch_v0,
        ("b",),
        "POST /v0/environments?name=b",
        shows=lambda job, send: done(job, send) and names(send(organizations.list_branches())) == ["b"],
    ),
    Case(
        organizations.get_branch,
        ("b",),
        "GET /v0/environments/b?with_token=true",
        kw={"with_token": True},
        before=A_BRANCH,
        shows=branch_works,
    ),
    Case(
        organizations.delete_branch,
        ("b",),
        "DELETE /v0/environments/b",
        before=A_BRANCH,
        live=lambda send: (send(organizations.get_branch("b")).id,),
        shows=lambda _, send: send(organizations.list_branches()) == (),
    ),
)
TAGS = (
    Case(organizations.list_tags, (), "GET /v0/tags", before=A_TAG, shows=lambda found, _: names(found) == ["t"]),
    Case(
        organizations.create_tag,
        ("t", SALES),
        "POST /v0/tags",
        b'{"name":"t","resources":[{"id":"","name":"sales","type":"datasource"}]}',
        live=lambda send: ("t", (Named(id=send(datasources.get_datasource("sales")).id, name="sales"),)),
        shows=lambda found, send: found.id == send(organizations.list_tags())[0].id,
    ),
    Case(
        organizations.update_tag,
        ("t", SALES),
        "PUT /v0/tags/t",
        b'{"resources":[{"id":"","name":"sales","type":"datasource"}]}',
        before=A_TAG,
        shows=lambda _, send: send(organizations.list_tags())[0].raw["resources"][0]["name"] == "sales",
    ),
    Case(
        organizations.delete_tag,
        ("t",),
        "DELETE /v0/tags/t",
        before=A_TAG,
        shows=lambda _, send: send(organizations.list_tags()) == (),
    ),
)
CASES = (*WORKSPACES, *ORGANIZATIONS, *BRANCHES, *TAGS)
