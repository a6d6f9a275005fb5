"""Builds and deployments of Forward workspaces, as the command line sends them and waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sandbox_process import SandboxProcess

ORDERS = "SCHEMA >\n    `id` UInt64 `json:$.id`,\n    `shop` String `json:$.shop`\n\nENGINE MergeTree\nENGINE_SORTING_KEY id\n"
SHOPS = (
    "NODE all_shops\nSQL >\n    SELECT shop, count() AS n FROM orders GROUP BY shop ORDER BY shop\n\nTYPE endpoint\n"
)
PROJECT = {"datasources/orders.datasource": ORDERS, "endpoints/shops.pipe": SHOPS}
WIDER = ORDERS.replace(
    "`shop` String `json:$.shop`", "`shop` String `json:$.shop`,\n    `amount` Int32 `json:$.amount` DEFAULT 7"
)
ROWS = '{"id": 1, "shop": "a"}\n{"id": 2, "shop": "b"}'

Send = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def forward_server() -> Iterator[SandboxProcess]:
    with SandboxProcess("--forward") as server:
        yield server


@pytest.fixture
def client(forward_server: SandboxProcess) -> Iterator[httpx.Client]:
    forward_server.reset()
    with httpx.Client(base_url=forward_server.base_url, headers=forward_server.headers, timeout=60) as client:
        yield client


@pytest.fixture
def send(client: httpx.Client) -> Send:
    """``send("/v1/deploy", files)``: a project, as the command line sends it."""

    def run(path: str, files: dict[str, str], **params: str) -> dict[str, Any]:
        parts = [("context://", ("cli-version", "1.0.0", "text/plain"))]
        parts += [("data_project://", (name, text, "text/plain")) for name, text in files.items()]
        answer = client.post(path, files=parts, params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return run


def state(client: httpx.Client, deployment: str) -> tuple[str, bool]:
    found = client.get(f"/v1/deployments/{deployment}").json()["deployment"]
    return found["status"], found["live"]


def wait(client: httpx.Client, send_result: dict[str, Any], poll) -> str:
    """Until the job of a deployment is over; its id."""
    assert send_result["result"] == "success", send_result
    made = str(send_result["deployment"]["id"])
    jobs = client.get("/v0/jobs", params={"kind": "deployment"}).json()["jobs"]
    poll(client, next(job["id"] for job in jobs if job["deployment_id"] == made), ("done", "error"))
    return made


def rows(client: httpx.Client, sql: str) -> list[dict[str, Any]]:
    answer = client.post("/v0/sql", content=f"{sql} FORMAT JSON")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_a_build(client, send):
    built = send("/v1/build", PROJECT)
    assert built["result"] == "success"
    assert (built["build"]["new_datasource_names"], built["build"]["new_pipe_names"]) == (["orders"], ["shops"])
    client.post("/v0/events?name=orders&wait=true", content=ROWS).raise_for_status()
    assert client.get("/v0/pipes/shops.json").json()["data"] == [{"shop": "a", "n": 1}, {"shop": "b", "n": 1}]
    again = send("/v1/build", PROJECT)["build"]
    assert not any(value for key, value in again.items() if key.endswith("_names"))
    changed = send("/v1/build", {**PROJECT, "datasources/orders.datasource": WIDER})["build"]
    assert changed["changed_datasource_names"] == ["orders"]
    assert rows(client, "SELECT id, amount FROM orders ORDER BY id") == [{"id": 1, "amount": 7}, {"id": 2, "amount": 7}]


@pytest.mark.parametrize(
    ("files", "filename", "words"),
    [
        ({"orders.datasource": "SCHEMA >\n    `id`\n"}, "orders.datasource", "has no type"),
        (
            {**PROJECT, "endpoints/bad.pipe": "NODE n\nSQL >\n    SELECT nope FROM orders\nTYPE endpoint\n"},
            "endpoints/bad.pipe",
            "nope",
        ),
        (
            {"p.pipe": "NODE n\nSQL >\n    SELECT 1 AS x\nTYPE copy\nTARGET_DATASOURCE none\n"},
            "p.pipe",
            "does not exist",
        ),
        (
            {"p.pipe": "NODE n\nSQL >\n    SELECT 1 AS x\nTYPE materialized\nDATASOURCE d\nENGINE Null\n"},
            "p.pipe",
            "ENGINE",
        ),
    ],
)
def test_what_cannot_be_built_changes_nothing(client, send, files, filename, words):
    send("/v1/build", PROJECT)
    client.post("/v0/events?name=orders&wait=true", content=ROWS).raise_for_status()
    failed = send("/v1/build", files)
    assert failed["result"] == "failed"
    assert [error["filename"] for error in failed["errors"]] == [filename]
    assert words in failed["errors"][0]["error"]
    checked = send("/v1/deploy", files, check="true", allow_destructive_operations="true")
    assert (checked["result"], checked["deployment"]["errors"]) == ("failed", failed["errors"])
    assert rows(client, "SELECT count() AS n FROM shops") == [{"n": 2}]


def test_a_deployment_that_promotes_itself(client, send, poll):
    assert [(one["id"], one["live"]) for one in client.get("/v1/deployments").json()["deployments"]] == [("0", True)]
    made = wait(client, send("/v1/deploy", PROJECT, auto_promote="true"), poll)
    assert state(client, made) == ("data_ready", True)
    assert [one["id"] for one in client.get("/v1/deployments").json()["deployments"]] == [made]
    everything = client.get("/v1/deployments?include_deleted=true").json()["deployments"]
    assert [(one["id"], one["status"]) for one in everything] == [("0", "deleted"), (made, "data_ready")]
    client.post("/v0/events?name=orders&wait=true", content=ROWS).raise_for_status()
    assert send("/v1/deploy", PROJECT)["result"] == "no_changes"


def test_a_deployment_that_is_promoted_by_hand(client, send, poll):
    """Until it is live nothing of it is to be seen."""
    made = wait(client, send("/v1/deploy", PROJECT), poll)
    assert state(client, made) == ("data_ready", False)
    assert client.get("/v0/pipes/shops.json").status_code == 404
    second = send("/v1/deploy", PROJECT)
    assert (second["result"], "is there already" in second["deployment"]["errors"][0]["error"]) == ("failed", True)
    assert client.post(f"/v1/deployments/{made}/set-live").status_code == 200
    assert client.get("/v0/pipes/shops.json").status_code == 200
    assert client.delete("/v1/deployments/0").json()["deployment"]["status"] == "deleted"
    assert client.delete(f"/v1/deployments/{made}").status_code == 400
    assert client.post(f"/v1/deployments/{made}/set-live").status_code == 400


def test_a_deployment_that_is_discarded(client, send, poll):
    made = wait(client, send("/v1/deploy", PROJECT), poll)
    assert client.delete(f"/v1/deployments/{made}").json()["deployment"]["status"] == "deleted"
    assert client.get("/v0/datasources").json()["datasources"] == []
    assert client.post(f"/v1/deployments/{made}/set-live").status_code == 400
    assert wait(client, send("/v1/deploy", PROJECT, auto_promote="true"), poll) != made


def test_a_check_makes_nothing(client, send):
    checked = send("/v1/deploy", PROJECT, check="true")
    assert (checked["result"], checked["deployment"]["new_pipe_names"]) == ("success", ["shops"])
    assert len(client.get("/v1/deployments?include_deleted=true").json()["deployments"]) == 1
    assert client.get("/v0/datasources").json()["datasources"] == []


def test_destructive_operations_are_allowed_by_name(client, send, poll):
    wait(client, send("/v1/deploy", PROJECT, auto_promote="true"), poll)
    client.post("/v0/events?name=orders&wait=true", content=ROWS).raise_for_status()
    other = {"d.datasource": ORDERS}
    refused = send("/v1/deploy", other, auto_promote="true")
    assert (refused["result"], "orders" in refused["deployment"]["errors"][0]["error"]) == ("failed", True)
    assert rows(client, "SELECT count() AS n FROM orders") == [{"n": 2}]
    wait(client, send("/v1/deploy", other, auto_promote="true", allow_destructive_operations="true"), poll)
    assert [one["name"] for one in client.get("/v0/datasources").json()["datasources"]] == ["d"]
    assert client.get("/v0/pipes").json()["pipes"] == []


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (ORDERS.replace("`id` UInt64", "`id` String"), "id"),
        (ORDERS.replace("ENGINE_SORTING_KEY id", "ENGINE_SORTING_KEY shop"), "ENGINE_SORTING_KEY"),
        (ORDERS.replace("ENGINE MergeTree", "ENGINE ReplacingMergeTree"), "ENGINE"),
    ],
)
def test_rows_move_into_another_schema_by_aforward_server_query(client, send, schema, word):
    send("/v1/build", PROJECT)
    client.post("/v0/events?name=orders&wait=true", content=ROWS).raise_for_status()
    refused = send("/v1/deploy", {**PROJECT, "datasources/orders.datasource": schema})
    text = refused["deployment"]["errors"][0]["error"]
    assert (refused["result"], word in text, "FORWARD_QUERY" in text) == ("failed", True, True)
    kind = "String" if "`id` String" in schema else "UInt64"
    moved = f"{schema}\nFORWARD_QUERY >\n    SELECT CAST(id, '{kind}') AS id, upper(shop) AS shop\n"
    assert send("/v1/build", {**PROJECT, "datasources/orders.datasource": moved})["result"] == "success"
    assert rows(client, "SELECT toString(id) AS id, shop FROM orders ORDER BY id") == [
        {"id": "1", "shop": "A"},
        {"id": "2", "shop": "B"},
    ]


def test_materialized_views_of_a_deployment(client, send):
    files = {
        **PROJECT,
        "totals.datasource": "SCHEMA >\n    `shop` String,\n    `n` UInt64\n\nENGINE SummingMergeTree\nENGINE_SORTING_KEY shop\n",
        "to_totals.pipe": "NODE summed\nSQL >\n    SELECT shop, count() AS n FROM orders GROUP BY shop\n"
        "TYPE materialized\nDATASOURCE totals\n",
    }
    assert send("/v1/build", files)["result"] == "success"
    client.post("/v0/events?name=orders&wait=true", content=ROWS).raise_for_status()
    assert send("/v1/build", {**files, "datasources/orders.datasource": WIDER})["result"] == "success"
    client.post("/v0/events?name=orders&wait=true", content=ROWS).raise_for_status()
    assert rows(client, "SELECT shop, sum(n) AS n FROM totals GROUP BY shop ORDER BY shop") == [
        {"shop": "a", "n": 2},
        {"shop": "b", "n": 2},
    ]


def test_a_reset_is_as_after_the_start(client, send, forward_server):
    send("/v1/build", PROJECT)
    forward_server.reset()
    assert client.get("/v0/datasources").json()["datasources"] == []
    assert [one["id"] for one in client.get("/v1/deployments").json()["deployments"]] == ["0"]


def test_who_may_deploy(client, send):
    for scope, status in (("DATASOURCES:CREATE", 403), ("WORKSPACE:DEPLOY", 200)):
        token = client.post("/v0/tokens", params={"name": scope, "scope": scope}).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{client.base_url}/v1/deployments", headers=headers).status_code == status


def test_classic_has_no_deployments(contract_server):
    answer = httpx.get(f"{contract_server.base_url}/v1/deployments", headers=contract_server.headers)
    assert (answer.status_code, "--forward" in answer.json()["error"]) == (400, True)
