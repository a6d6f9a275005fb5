"""Tokens and variables of a workspace, managed over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from airflow_provider_tinybird.api import datasources, tokens, variables
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import AccessDeniedError, ConflictError, NotFoundError, TinybirdError
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.resources import Scope
from airflow_provider_tinybird.api.settings import Settings


@pytest.fixture
def client_of(box) -> Iterator[Callable[[str], Client]]:
    """Make a client with a token."""
    clients = []

    def make(token: str) -> Client:
        clients.append(Client(Settings(base_url=box.url, token=Token(token))))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_a_token_from_its_making_to_its_end(box, client_of):
    admin = client_of(box.token)
    made = admin.send(tokens.create_token("reader of flights", [Scope("DATASOURCES:READ", "flights")]))
    assert client_of(made.value).send(datasources.get_datasource("flights")).name == "flights"
    assert made.name in [one.name for one in admin.send(tokens.list_tokens())]
    assert admin.send(tokens.get_token(made.name)).scopes == (Scope("DATASOURCES:READ", "flights"),)

    fresh = admin.send(tokens.refresh_token(made.name))
    assert fresh.value != made.value
    with pytest.raises(TinybirdError):
        client_of(made.value).send(datasources.get_datasource("flights"))
    admin.send(tokens.update_token(made.name, [Scope("DATASOURCES:APPEND", "flights")]))
    assert admin.send(tokens.get_token(made.name)).scopes == (Scope("DATASOURCES:APPEND", "flights"),)

    admin.send(tokens.delete_token(made.name))
    with pytest.raises(AccessDeniedError):  # as of a token that there never was
        admin.send(tokens.get_token(made.name))


def test_a_variable_from_its_making_to_its_end(box, client_of):
    admin = client_of(box.token)
    admin.send(variables.create_variable("key", "s3cret"))
    with pytest.raises(ConflictError):
        admin.send(variables.create_variable("key", "an0ther"))
    admin.send(variables.update_variable("key", "an0ther"))
    assert [one.name for one in admin.send(variables.list_variables())] == ["key"]
    assert admin.send(variables.get_variable("key")).name == "key"
    admin.send(variables.delete_variable("key"))
    with pytest.raises(NotFoundError):
        admin.send(variables.get_variable("key"))
