"""Small projects, each with something that projects of the world have, and how the sandbox must take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_process import SandboxProcess

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
