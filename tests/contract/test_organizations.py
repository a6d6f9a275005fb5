"""What is above and beside the data: organizations, workspaces, branches, tags, connections."""

from __future__ import annotations

import httpx
import pytest

ROWS = "day,shop,amount\n2026-01-01,a,1\n2026-01-02,b,2\n"


def test_organizations(client, narrow):
    """Organizations API: guess: one, with one member and the workspace without its token."""
    [one] = client.get("/v0/organizations").json()["organizations"]
    assert [member["email"] for member in client.get(f"/v0/organizations/{one['id']}/members").json()["members"]] == [
        "local@tinybird.co"
    ]
    [workspace] = client.get(f"/v0/organizations/{one['id']}/workspaces").json()["workspaces"]
    assert workspace["id"] == client.get("/v0/workspace").json()["id"]
    assert "token" not in workspace
    assert client.get("/v0/organizations/other/members").status_code == 404
    with narrow("DATASOURCES:CREATE") as other:
        assert other.get("/v0/organizations").status_code == 403


def test_workspaces(client):
    """Workspaces: a further one can be deleted, with a confirmation; that of the sandbox cannot."""
    made = client.post("/v1/workspaces", data={"name": "other"}).json()
    assert client.delete(f"/v1/workspaces/{made['id']}").status_code == 400
    assert client.delete(f"/v1/workspaces/{made['id']}?hard_delete_confirmation=yes").status_code == 200
    own = client.get("/v0/workspace").json()["id"]
    assert [one["id"] for one in client.get("/v1/user/workspaces").json()["workspaces"]] == [own]
    assert client.delete(f"/v1/workspaces/{own}?hard_delete_confirmation=yes").status_code == 403
    assert client.delete("/v1/workspaces/nothing?hard_delete_confirmation=yes").status_code == 404


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_a_branch_from_its_making_to_its_end(client, wait_for_job, version):
    """Branches: a job, a token of its own on the same host, gone with the branch."""
    job = client.post(f"/{version}/environments?name=b&data=last_partition").json()["job"]
    assert wait_for_job(job["id"])["status"] == "done"
    [listed] = client.get(f"/{version}/environments").json()["environments"]
    assert "token" not in listed
    assert "token" not in client.get("/v0/environments/b").json()
    branch = client.get("/v0/environments/b?with_token=true").json()
    assert (branch["id"], branch["name"]) == (listed["id"], "b")
    with httpx.Client(base_url=client.base_url, headers={"Authorization": f"Bearer {branch['token']}"}) as inside:
        assert inside.get("/v0/pipes/shops.json").status_code == 200
        assert client.delete(f"/v0/environments/{branch['id']}").status_code == 204
        assert inside.get("/v0/pipes/shops.json").status_code == 403
    assert client.get("/v0/environments/b").status_code == 404


def test_branches_refused(client, narrow):
    """Branches: 409 for a name that is taken, 403 without ADMIN."""
    client.post("/v1/environments?name=b").raise_for_status()
    for query, status in (("name=b", 409), ("name=from", 400), ("", 400), ("name=c&data=all", 400)):
        assert client.post(f"/v1/environments?{query}").status_code == status, query
    with narrow("DATASOURCES:CREATE") as other:
        assert other.post("/v1/environments?name=c").status_code == 403
        assert other.get("/v0/environments/b?with_token=true").status_code == 403


def test_tags(client):
    """Tags: made, put on other things, listed, deleted."""
    sales = client.get("/v0/datasources/sales").json()["id"]
    on_sales = [{"id": sales, "name": "sales", "type": "datasource"}]
    made = client.post("/v0/tags", json={"name": "t", "resources": on_sales}).json()
    assert client.get("/v0/tags").json()["tags"] == [{"id": made["id"], "name": "t", "resources": on_sales}]
    on_shops = [{"id": client.get("/v0/pipes/shops").json()["id"], "name": "shops", "type": "pipe"}]
    assert client.put("/v0/tags/t", json={"resources": on_shops}).json()["resources"] == on_shops
    assert client.post("/v0/tags", json={"name": "t"}).status_code == 409
    assert client.post("/v0/tags", json={"name": "u", "resources": [{"id": "x", "type": "pipe"}]}).status_code == 404
    assert client.post("/v0/tags", json={"name": "u", "resources": "sales"}).status_code == 400
    assert client.post("/v0/tags", content="name=u").status_code == 400
    assert client.delete("/v0/tags/t").status_code == 204
    assert client.delete("/v0/tags/t").status_code == 404


@pytest.fixture
def bucket(client, files):
    """A data source that is filled from a bucket with two files that fit, and one that does not."""
    for name in ("sale_1.csv", "sale_2.csv", "other.csv"):
        (files / name).write_text(f"day,shop,amount\n2026-01-01,a,1\n2026-01-02,{name},2\n")
    client.post("/v0/datasources", params={"name": "bought", "schema": "day Date, shop String, amount Int64"})
    settings = {"import_connection_name": "shop_bucket", "import_bucket_uri": "gs://bucket/in/sale_*.csv"}
    client.put("/v0/datasources/bought", data=settings).raise_for_status()
    return "/v0/datasources/bought"


def test_a_sync(client, query, bucket, wait_for_job):
    """Connectors: files of the bucket, which the folder of --files stands for, are appended by a job."""
    job = wait_for_job(client.post(f"{bucket}/scheduling/runs").json()["id"])
    assert (job["status"], job["kind"], job["stats"]) == ("done", "import", {"found_files": 2})
    assert query("SELECT count() AS n FROM bought") == [{"n": 4}]
    sampled = wait_for_job(
        client.post(f"{bucket}/sample", json={"max_files": 1, "full_export": False}).json()["job_id"]
    )
    assert sampled["stats"] == {"found_files": 1}
    assert query("SELECT count() AS n FROM bought") == [{"n": 4}]  # the same file again is a block that was there
    log = query("SELECT event_type, result, rows FROM tinybird.datasources_ops_log WHERE job_id != ''")
    assert log == [{"event_type": "append", "result": "ok", "rows": 2}] * 3


def test_a_schedule(client, bucket):
    """Connectors: running, paused, running again; only of a data source that has one."""
    assert client.get(f"{bucket}/scheduling/state").json() == {"state": "running"}
    client.put(f"{bucket}/scheduling/state", content='{"state":"paused"}').raise_for_status()
    assert client.get(f"{bucket}/scheduling/state").json() == {"state": "paused"}
    client.put(f"{bucket}/scheduling/state", content='{"state":"running"}').raise_for_status()
    assert client.put(f"{bucket}/scheduling/state", content='{"state":"off"}').status_code == 400
    for method, path in (
        ("GET", "scheduling/state"),
        ("POST", "scheduling/runs"),
        ("POST", "sample"),
        ("POST", "stop"),
    ):
        assert client.request(method, f"/v0/datasources/sales/{path}").status_code == 400
    assert client.post(f"{bucket}/sample", json={"max_files": 11}).status_code == 400
    assert client.post(f"{bucket}/stop").status_code == 400


def test_connections(client, bucket):
    """Connectors: those that data sources and sinks name, by service."""
    client.post("/v0/datasources", params={"name": "stream", "schema": "n Int64"})
    client.put("/v0/datasources/stream", data={"kafka_connection_name": "bus", "kafka_topic": "t"}).raise_for_status()
    for verb in ("stop", "start"):
        assert client.post(f"/v0/datasources/stream/{verb}").status_code == 200
    found = {one["name"]: (one["service"], one["linkers"]) for one in client.get("/v0/connectors").json()["connectors"]}
    named = {name: (kind, [one["datasource_name"] for one in linkers]) for name, (kind, linkers) in found.items()}
    assert named == {"shop_bucket": ("gcs", ["bought"]), "bus": ("kafka", ["stream"])}
    assert [one["name"] for one in client.get("/v0/connectors?service=kafka").json()["connectors"]] == ["bus"]
