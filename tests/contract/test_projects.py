"""Small projects, each with something that projects of the world have, and how the sandbox must take it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_process import SandboxProcess

from airflow_provider_tinybird.sandbox.testing import SandboxError, SandboxStartError, TinybirdSandbox

PROJECTS = Path(__file__).parents[1] / "conformance" / "projects"

Open = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def opened() -> Iterator[Open]:
    """``opened("name")``: a client of a sandbox that was started with a project."""
    clients: dict[tuple[str, ...], httpx.Client] = {}
    with ExitStack() as stack:

        def open_(name: str, *options: str) -> httpx.Client:
            key = (name, *options)
            if key not in clients:
                server = stack.enter_context(SandboxProcess("--project", PROJECTS / name, *options))
                client = httpx.Client(base_url=server.base_url, headers=server.headers, timeout=30)
                clients[key] = stack.enter_context(client)
            return clients[key]

        yield open_


def data(client: httpx.Client, pipe: str, **params: str) -> list[dict[str, Any]]:
    """The rows of an endpoint."""
    answer = client.get(f"/v0/pipes/{pipe}.json", params=params)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


def token_named(client: httpx.Client, name: str) -> dict[str, Any]:
    """A token, as the Tokens API shows it."""
    tokens = {one["name"]: one for one in client.get("/v0/tokens").json()["tokens"]}
    assert name in tokens
    return dict(tokens[name])


def with_token(client: httpx.Client, token: str) -> httpx.Client:
    """The same sandbox with another token."""
    return httpx.Client(base_url=client.base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


# Names


def test_a_column_like_its_pipe(opened):
    assert data(opened("column_like_its_pipe"), "visitors") == [{"visitors": 0}]


def test_a_column_like_another_pipe(opened):
    """It is no reference to that pipe: its parameters are not asked for, and its scope is not needed."""
    client = opened("column_like_another_pipe")
    client.post("/v0/events?name=visits&wait=true", content='{"person": "a", "city": "Madrid"}').raise_for_status()
    assert data(client, "by_city") == [{"city": "Madrid", "n": 1}]
    assert client.get("/v0/sql", params={"q": "SELECT city FROM visits FORMAT CSV"}).text == '"Madrid"\n'
    made = client.post("/v0/tokens", params={"name": "narrow", "scope": "DATASOURCES:READ:visits"}).json()["token"]
    with with_token(client, made) as narrow:
        assert narrow.get("/v0/sql", params={"q": "SELECT city FROM visits FORMAT CSV"}).text == '"Madrid"\n'
        refused = narrow.get("/v0/sql", params={"q": "SELECT * FROM city"})
        assert refused.status_code == 403
        assert "PIPES:READ:city" in refused.json()["error"]


@pytest.mark.parametrize(
    ("pipe", "rows"),
    [
        ("own_name", [{"x": "from the CTE"}]),
        ("other_name", [{"x": "from the CTE"}]),
        ("node_name", [{"x": "from the CTE"}]),
        ("around_the_pipe", [{"x": "from the pipe, by way of the CTE", "y": "from the pipe"}]),
    ],
)
def test_a_cte_like_a_pipe_or_a_node(opened, pipe, rows):
    """It hides the pipe, but not in its own body."""
    assert data(opened("cte_like_a_pipe"), pipe) == rows


# Classic and Forward


def test_a_pipe_without_type_publishes_its_last_node(opened):
    """Classic command line: what is no copy, sink or materialized pipe is an endpoint once it is pushed."""
    client = opened("classic")
    assert data(client, "views") == [{"n": 0}]
    kinds = {one["name"]: one["type"] for one in client.get("/v0/pipes").json()["pipes"]}
    assert kinds == {"views": "endpoint", "latest__v2": "endpoint", "to_copies": "copy"}


def test_a_version_is_a_part_of_the_name(opened):
    client = opened("classic")
    assert [one["name"] for one in client.get("/v0/datasources").json()["datasources"]] == ["page_views__v3"]
    assert data(client, "latest__v2") == [{"x": 1}]


def test_tokens_that_files_name(opened):
    """They are there with the scopes of all files that name them, keep their text over a reset, and may do just that."""
    client = opened("classic")
    assert token_named(client, "loader")["scopes"] == [{"type": "PIPES:CREATE"}]
    reader, tracker = token_named(client, "reader"), token_named(client, "tracker")
    assert reader["scopes"] == [
        {"type": "DATASOURCES:READ", "resource": "page_views__v3"},
        {"type": "PIPES:READ", "resource": "latest__v2"},
    ]
    with with_token(client, tracker["token"]) as narrow:
        assert narrow.post("/v0/events?name=page_views__v3", content='{"path": "/"}').status_code == 202
        assert narrow.get("/v0/sql", params={"q": "SELECT * FROM page_views__v3"}).status_code == 403
    with with_token(client, reader["token"]) as narrow:
        assert narrow.get("/v0/pipes/latest__v2.json").status_code == 200
        assert narrow.get("/v0/pipes/views.json").status_code == 403
    client.delete(f"/v0/tokens/{reader['id']}")
    client.put(f"/v0/tokens/{tracker['id']}", params={"scope": "DATASOURCES:READ:page_views__v3"})
    client.post("/v0/tokens", params={"name": "mine", "scope": "TOKENS"})
    client.post("/sandbox/reset").raise_for_status()
    assert token_named(client, "tracker") == tracker
    assert token_named(client, "reader")["scopes"] == reader["scopes"]
    assert "mine" not in {one["name"] for one in client.get("/v0/tokens").json()["tokens"]}


def test_a_forward_project(opened):
    """A pipe without TYPE is none, and a comma may stand behind the last column."""
    client = opened("forward", "--forward")
    assert data(client, "shops") == [{"n": 0}]
    assert client.get("/v0/pipes/helper.json").status_code == 404
    assert token_named(client, "tracker")["scopes"] == [{"type": "DATASOURCES:APPEND", "resource": "orders"}]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.datasource", "TOKEN app CREATE\nSCHEMA >\n    `id` String\n", "TOKEN app has the permission CREATE"),
        (
            "a.datasource",
            "SCHEMA >\n    `id` String\nKAFKA_STORE_BINARY_HEADERS 'True'\n",
            "KAFKA_STORE_BINARY_HEADERS",
        ),
        ("a.datasource", "SCHEMA >\n    `id` String\nIMPORT_STRATEGY append\n", "IMPORT_STRATEGY is for Classic"),
        (
            "a.pipe",
            "NODE n\nSQL >\n    SELECT 1 AS x\nTYPE materialized\nDATASOURCE d\nENGINE MergeTree\n",
            "ENGINE is for Classic",
        ),
    ],
)
def test_forward_refuses_what_is_for_classic(tmp_path, name, text, reason):
    """The parser of Forward's command line does: a project that starts here must not fail when it is deployed."""
    (tmp_path / name).write_text(text)
    (tmp_path / "d.datasource").write_text("SCHEMA >\n    `x` UInt8\n")
    with SandboxProcess("--project", tmp_path):
        pass
    with pytest.raises(SandboxStartError, match=reason):
        SandboxProcess("--project", tmp_path, "--forward")


def test_classic_refuses_what_is_for_forward(tmp_path):
    (tmp_path / "a.datasource").write_text("SCHEMA >\n    `id` String,\n")
    with pytest.raises(SandboxStartError, match="a comma of SCHEMA has no column"):
        SandboxProcess("--project", tmp_path)


# The engine


def test_engine_settings(opened):
    client = opened("engine_settings")
    assert data(client, "no_alias") == [{"x": 1}] * 3
    assert data(client, "system_tables") == [{"n": 3}]
    answer = client.post("/v0/events?name=dates&wait=true", content='{"id": "a"}')
    assert answer.json() == {"successful_rows": 1, "quarantined_rows": 0}
    rows = client.get("/v0/sql", params={"q": "SELECT id, at FROM dates FORMAT JSON"}).json()["data"]
    assert rows == [{"id": "a", "at": "1970-01-01 00:00:00"}]


@pytest.mark.parametrize("name", ["tables", "databases", "processes", "settings", "parts", "numbers_mt_"])
def test_other_tables_of_the_system_stay_out_of_reach(opened, name):
    answer = opened("engine_settings").get("/v0/sql", params={"q": f"SELECT * FROM system.{name}"})
    assert answer.status_code == 400


def test_columns_that_connectors_bring(opened):
    """Kafka and DynamoDB: rows that come in another way leave them at their defaults."""
    client = opened("connectors")
    for name, row in (("events", '{"id": "a"}'), ("items", '{"pk": "a"}')):
        answer = client.post(f"/v0/events?name={name}&wait=true", content=row)
        assert answer.json() == {"successful_rows": 1, "quarantined_rows": 0}
    columns = [one["name"] for one in client.get("/v0/datasources/events").json()["columns"]]
    meta = ["__value", "__topic", "__partition", "__offset", "__timestamp", "__key", "__headers"]
    assert columns == ["id", *meta]
    columns = [one["name"] for one in client.get("/v0/datasources/items").json()["columns"]]
    assert columns == ["pk", "_record", "_old_record", "_timestamp", "_event_name", "_is_deleted"]


def test_wide_rows(tmp_path):
    """The statements for so many columns are longer than the engine takes by its own defaults; 3,000 take a minute."""
    columns = ",\n".join(f"    `c{n}` Nullable(Int32) `json:$.c{n}`" for n in range(900))
    (tmp_path / "wide.datasource").write_text(f"SCHEMA >\n    `id` String `json:$.id`,\n{columns}\n")
    row = json.dumps({"id": "a", **{f"c{n}": n for n in range(900)}})
    with SandboxProcess("--project", tmp_path) as server:
        url, headers = server.base_url, server.headers
        answer = httpx.post(f"{url}/v0/events?name=wide&wait=true", headers=headers, content=row, timeout=120)
        assert answer.json() == {"successful_rows": 1, "quarantined_rows": 0}
        sql = "SELECT c0, c899 FROM wide FORMAT TSV"
        assert httpx.get(f"{url}/v0/sql", headers=headers, params={"q": sql}).text == "0\t899\n"


def test_the_text_of_a_token_of_the_project():
    """What the fixture of users' tests gives for the connection of a DAG."""
    with TinybirdSandbox(PROJECTS / "classic") as box:
        with httpx.Client(
            base_url=box.base_url, headers={"Authorization": f"Bearer {box.project_token('reader')}"}
        ) as client:
            assert client.get("/v0/pipes/latest__v2.json").status_code == 200
        with pytest.raises(SandboxError):
            box.project_token("nobody")
