"""Organizations, workspaces, branches, tags and regions: what is above and beside the data. Scope where nothing else is said: a user's
token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from airflow_provider_tinybird.api.body import form
from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.encoding import pairs, resource_name
from airflow_provider_tinybird.api.job import submitted_job
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.api.resources import Named
from airflow_provider_tinybird.api.sending import MANAGE_TIMEOUT, json_body, named_list, nothing, one_named

USER = "a user's token"


def list_organizations() -> Call[tuple[Named, ...]]:
    """List the organizations of the user. ``GET /v0/organizations``."""
    return _list("organizations", "/v0/organizations", "organizations")


def list_members(organization_id: str) -> Call[tuple[Named, ...]]:
    """List the members of an organization. ``GET /v0/organizations/{id}/members``.

    :param organization_id: id of the organization.
    """
    return _list("members", f"/v0/organizations/{resource_name('organization', organization_id)}/members", "members")


def list_organization_workspaces(organization_id: str) -> Call[tuple[Named, ...]]:
    """List the workspaces of an organization. ``GET /v0/organizations/{id}/workspaces``.

    :param organization_id: id of the organization.
    """
    path = f"/v0/organizations/{resource_name('organization', organization_id)}/workspaces"
    return _list("workspaces of the organization", path, "workspaces")


def list_workspaces(*, with_organization: bool = False) -> Call[tuple[Named, ...]]:
    """List the workspaces of the user, with their tokens. ``GET /v1/user/workspaces``.

    :param with_organization: also name the organization.
    """
    params = pairs({"with_organization": with_organization or None})
    return _list("workspaces", "/v1/user/workspaces", "workspaces", params)


def create_workspace(name: str, *, organization_id: str | None = None) -> Call[Named]:
    """Create a workspace. ``POST /v1/workspaces`` with a form.

    :param name: its name, no reserved word.
    :param organization_id: organization to put it into.
    :return: the workspace, with its token.
    """
    resource_name("workspace", name)
    return Call(
        what=f"create workspace '{name}'",
        method="POST",
        path="/v1/workspaces",
        body=form(pairs({"name": name, "assign_to_organization_id": organization_id})),
        read=one_named,
        repeat=Repeat.ONCE,
        scope=USER,
        min_timeout=MANAGE_TIMEOUT,
        find_out="Look at the workspaces (GET /v1/user/workspaces).",
    )


def delete_workspace(workspace_id: str) -> Call[None]:
    """Delete a workspace with all that is in it. ``DELETE /v1/workspaces/{id}?hard_delete_confirmation=yes``.

    :param workspace_id: id of the workspace.
    """
    return Call(
        what=f"delete workspace '{workspace_id}'",
        method="DELETE",
        path=f"/v1/workspaces/{resource_name('workspace', workspace_id)}",
        params=(("hard_delete_confirmation", "yes"),),
        read=nothing,
        repeat=Repeat.IDEMPOTENT,
        scope=USER,
        min_timeout=MANAGE_TIMEOUT,
    )


def list_branches() -> Call[tuple[Named, ...]]:
    """List the branches of the workspace. ``GET /v1/environments``. Scope: ``ADMIN``."""
    return _list("branches", "/v1/environments", "environments", scope="ADMIN")


def create_branch(name: str, *, data: str | None = None) -> Call[Job]:
    """Create a branch. ``POST /v1/environments``. Scope: ``ADMIN``.

    :param name: its name, no reserved word.
    :param data: rows to take along: ``last_partition``, ``all_partitions``, or none.
    :return: the job, not yet done.
    :raises ConflictError: the name is taken.
    """
    resource_name("branch", name)
    return Call(
        what=f"create branch '{name}'",
        method="POST",
        path="/v1/environments",
        params=pairs({"name": name, "data": data}),
        read=submitted_job,
        repeat=Repeat.ONCE,
        scope="ADMIN",
        min_timeout=MANAGE_TIMEOUT,
        find_out="Look at the branches (GET /v1/environments).",
    )


def list_branches_v0() -> Call[tuple[Named, ...]]:
    """List the branches as Classic's command line does: ``GET /v0/environments``. Scope: ``ADMIN``."""
    return _list("branches", "/v0/environments", "environments", scope="ADMIN")


def create_branch_v0(name: str, *, data: str | None = None) -> Call[Job]:
    """Create a branch as Classic's command line does: ``POST /v0/environments``. Arguments, result and scope are those of
    :func:`create_branch`.
    """
    return replace(create_branch(name, data=data), path="/v0/environments")


def get_branch(name: str, *, with_token: bool = False) -> Call[Named]:
    """Get a branch. ``GET /v0/environments/{name}``. Scope: ``ADMIN``.

    :param name: name of the branch.
    :param with_token: also its token, which works on the same host.
    """
    return Call(
        what=f"get branch '{name}'",
        method="GET",
        path=f"/v0/environments/{resource_name('branch', name)}",
        params=pairs({"with_token": with_token or None}),
        read=one_named,
        repeat=Repeat.READ,
        scope="ADMIN",
    )


def delete_branch(branch_id: str) -> Call[None]:
    """Delete a branch with all that is in it. ``DELETE /v0/environments/{id}``. Scope: ``ADMIN``.

    :param branch_id: id of the branch.
    """
    return Call(
        what=f"delete branch '{branch_id}'",
        method="DELETE",
        path=f"/v0/environments/{resource_name('branch', branch_id)}",
        read=nothing,
        repeat=Repeat.IDEMPOTENT,
        scope="ADMIN",
        min_timeout=MANAGE_TIMEOUT,
    )


def list_tags() -> Call[tuple[Named, ...]]:
    """List the tags of the workspace. ``GET /v0/tags``. Scope: ``ADMIN``."""
    return _list("tags", "/v0/tags", "tags", scope="ADMIN")


def create_tag(name: str, resources: Sequence[Named] = (), *, kind: str = "datasource") -> Call[Named]:
    """Create a tag. ``POST /v0/tags`` with JSON. Scope: ``ADMIN``.

    :param name: its name.
    :param resources: what is tagged.
    :param kind: ``datasource`` or ``pipe``: what these are.
    """
    listed = _tagged(resources, kind)
    return Call(
        what=f"create tag '{name}'",
        method="POST",
        path="/v0/tags",
        body=json_body({"name": name, **({"resources": listed} if listed else {})}),
        read=one_named,
        repeat=Repeat.ONCE,
        scope="ADMIN",
        find_out="Look at the tags (GET /v0/tags).",
    )


def update_tag(tag: str, resources: Sequence[Named], *, kind: str = "datasource") -> Call[None]:
    """Put a tag on other things. ``PUT /v0/tags/{name}`` with JSON. Scope: ``ADMIN``.

    :param tag: name of the tag.
    :param resources: what it is on from then on, instead of what it was on.
    :param kind: ``datasource`` or ``pipe``: what these are.
    """
    return Call(
        what=f"update tag '{tag}'",
        method="PUT",
        path=f"/v0/tags/{resource_name('tag', tag)}",
        body=json_body({"resources": _tagged(resources, kind)}),
        read=nothing,
        repeat=Repeat.IDEMPOTENT,
        scope="ADMIN",
    )


def delete_tag(name: str) -> Call[None]:
    """Delete a tag; what it was on stays. ``DELETE /v0/tags/{name}``. Scope: ``ADMIN``.

    :param name: name of the tag.
    """
    return Call(
        what=f"delete tag '{name}'",
        method="DELETE",
        path=f"/v0/tags/{resource_name('tag', name)}",
        read=nothing,
        repeat=Repeat.IDEMPOTENT,
        scope="ADMIN",
    )


def list_regions() -> Call[tuple[Named, ...]]:
    """List the regions of Tinybird. ``GET /v0/regions``; any token, or none."""
    return _list("regions", "/v0/regions", "regions", scope="")


def _tagged(resources: Sequence[Named], kind: str) -> list[dict[str, str]]:
    return [{"id": one.id, "name": one.name, "type": kind} for one in resources]


def _list(
    what: str, path: str, key: str, params: tuple[tuple[str, str], ...] = (), scope: str = USER
) -> Call[tuple[Named, ...]]:
    def read(reply: Reply) -> tuple[Named, ...]:
        return named_list(reply, key)

    return Call(
        what=f"list the {what}", method="GET", path=path, params=params, read=read, repeat=Repeat.READ, scope=scope
    )
