"""What every request has in common, and what never shows."""

from __future__ import annotations

import io
import logging
import traceback

import pytest

from airflow_provider_tinybird.api import datasources, events, imports, jobs, pipes, query, workspaces
from airflow_provider_tinybird.api.body import FileBody
from airflow_provider_tinybird.api.call import Repeat
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.api.models import EndpointFormat, FileFormat
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings

PRESIGNED = "https://bucket.s3.amazonaws.com/f.csv?X-Amz-Signature=5ec3e7&X-Amz-Credential=AKIA5EC3E7"
FILE = FileBody(lambda: io.BytesIO(b"a,b\n"), 4, "text/csv")

ALL_CALLS = {
    "list_datasources": datasources.list_datasources(),
    "get_datasource": datasources.get_datasource("d"),
    "truncate": datasources.truncate("d"),
    "delete_rows": datasources.delete_rows("d", "a = 1"),
    "count_rows_to_delete": datasources.count_rows_to_delete("d", "a = 1"),
    "delete_rows_v1": datasources.delete_rows_v1("d", "a = 1"),
    "delete_rows_v1_and_wait": datasources.delete_rows_v1_and_wait("d", "a = 1"),
    "append_url": imports.append_url("d", PRESIGNED, format=FileFormat.CSV),
    "append_url_v1": imports.append_url_v1("d", PRESIGNED, format=FileFormat.CSV),
    "append_file": imports.append_file("d", FILE, format=FileFormat.CSV, file_name="f.csv"),
    "append_body": imports.append_body("d", b"a,b\n", format=FileFormat.CSV),
    "append_file_v1": imports.append_file_v1("d", FILE, format=FileFormat.CSV),
    "send_events": events.send_events("d", b'{"a":1}'),
    "list_jobs": jobs.list_jobs(),
    "get_job": jobs.get_job("j"),
    "cancel_job": jobs.cancel_job("j"),
    "retry_job": jobs.retry_job("j"),
    "list_pipes": pipes.list_pipes(),
    "get_pipe": pipes.get_pipe("p"),
    "endpoint": pipes.endpoint("p", {"a": 1}),
    "endpoint_as": pipes.endpoint_as("p", EndpointFormat.CSV, {"a": "x" * 5000}),
    "copy": pipes.copy("p", {"a": 1}),
    "sink": pipes.sink("p"),
    "populate": pipes.populate("p", "n"),
    "pause_copy": pipes.pause_copy("p"),
    "resume_copy": pipes.resume_copy("p"),
    "sql": query.sql("SELECT 1"),
    "sql_as": query.sql_as("SELECT 1", "CSV"),
    "get_workspace": workspaces.get_workspace(),
    "get_workspace_v1": workspaces.get_workspace_v1(),
    "get_auth": workspaces.get_auth(),
}
EVERY_CALL = pytest.mark.parametrize("call", ALL_CALLS.values(), ids=ALL_CALLS)


def echo(settings) -> dict:
    """An error that repeats secrets, as a server or a proxy may."""
    return {
        "error": f"bad token {settings.token.value} for {PRESIGNED}",
        "errors": [f"Bearer {settings.token.value}"],
        "documentation": f"https://docs.example/x?token={settings.token.value}",
    }


def error_of(wire, call) -> TinybirdError | None:
    try:
        wire.send(call)
    except TinybirdError as e:
        return e
    return None


def assert_no_secret(text: str, settings) -> None:
    for secret in (settings.token.value, "c2lnbmF0dXJl", "5ec3e7", "AKIA5EC3E7"):
        assert secret not in text


@EVERY_CALL
def test_the_token_travels_in_the_header_and_nowhere_else(wire, call):
    """Trap: a token in the query string ends up in access logs and exceptions."""
    wire.answers((400, {"error": "no"}))
    with pytest.raises(TinybirdError):
        wire.send(call)
    sent = wire.only
    assert sent.headers["authorization"] == f"Bearer {wire.settings.token.value}"
    assert wire.settings.token.value not in sent.target
    assert wire.settings.token.value.encode() not in sent.body
    assert "token" not in dict(sent.query)


@EVERY_CALL
def test_no_request_carries_keys_that_identify_the_client(wire, call):
    """Trap: keys of one's own (from, cli_version, debug) become parameters of the pipe or collide with reserved names."""
    wire.answers((400, {"error": "no"}))
    with pytest.raises(TinybirdError):
        wire.send(call)
    assert not {"from", "cli_version", "__tb__semver", "debug"} & set(dict(wire.only.query))


@EVERY_CALL
def test_every_body_has_a_length_and_none_is_chunked(wire, call):
    """Trap: an upload without Content-Length may be answered with 411; a POST without a body needs one as well."""
    wire.answers((400, {"error": "no"}))
    with pytest.raises(TinybirdError):
        wire.send(call)
    sent = wire.only
    assert "transfer-encoding" not in sent.headers
    if sent.method == "POST":
        assert sent.headers["content-length"] == str(len(sent.body))
    else:
        assert sent.body == b""


@EVERY_CALL
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_no_secret_in_logs_and_errors(wire, call, status, caplog):
    """Trap: tokens and presigned addresses leak through httpx's log lines, exceptions and echoed error texts."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "airflow_provider_tinybird"):
        caplog.set_level(logging.DEBUG, logger=name)
    wire.answers(*[(status, echo(wire.settings))] * 6)
    with pytest.raises(TinybirdError) as caught:
        wire.send(call)
    shown = [caplog.text, str(caught.value), repr(caught.value), repr(call), str(call), repr(wire.settings)]
    shown += ["".join(traceback.format_exception(caught.value)), repr(vars(caught.value))]
    for text in shown:
        assert_no_secret(text, wire.settings)
    assert not [record for record in caplog.records if record.name == "httpx"]


def test_the_log_lines_of_other_peoples_requests_stay(wire, caplog):
    import httpx

    wire.answers({"is_valid": True, "is_user": False})
    wire.send(workspaces.get_auth())
    caplog.set_level(logging.INFO, logger="httpx")
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        client.get("https://example.com/somebody-else")
    assert "somebody-else" in caplog.text


def test_an_answer_that_is_no_json_is_shown_without_secrets(wire):
    wire.answers((200, f"<html>{PRESIGNED} {wire.settings.token.value}</html>"))
    with pytest.raises(TinybirdError) as caught:
        wire.send(workspaces.get_auth())
    assert_no_secret(str(caught.value), wire.settings)
    assert "<html>" in str(caught.value)


@pytest.mark.parametrize("token", ["", "p.eyJ1.x\n", "p.eyJ1 .x", "p.eyJ1é.x", "\x00"])
@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_token_that_fits_no_header_is_refused_without_being_shown(client, token):
    """The HTTP library would show the whole header in its exception."""
    with pytest.raises(InvalidInputError) as caught:
        client(Settings(base_url="https://api.tinybird.co", token=Token(token)))
    assert "Password" in str(caught.value)
    if token.strip("\x00"):
        assert token not in "".join(traceback.format_exception(caught.value))


def test_headers_and_addresses(wire):
    wire.answers({"is_valid": True, "is_user": False})
    wire.send(workspaces.get_auth())
    sent = wire.only
    assert sent.headers["user-agent"].startswith("airflow-provider-tinybird/")
    assert sent.headers["accept-encoding"] == "gzip, deflate"
    assert sent.headers["host"] == "api.tinybird.co"
    assert (sent.method, sent.target) == ("GET", "/v0/auth")


@pytest.mark.parametrize("base_url", ["https://api.own.example:8443/tinybird", "http://localhost:7181"])
def test_any_base_url_is_used_as_it_is(wire, base_url):
    """Trap: the list of regions is not fixed, and Tinybird Local speaks plain http."""
    wire.settings = Settings(base_url=base_url, token=wire.settings.token)
    wire.answers({"is_valid": True, "is_user": False})
    wire.send(workspaces.get_auth())
    host, _, path = base_url.partition("://")[2].partition("/")
    assert wire.only.headers["host"] == host
    assert wire.only.path == f"/{path}/v0/auth".replace("//", "/")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("send_events", 10),
        ("copy", 60),
        ("sink", 60),
        ("populate", 60),
        ("append_url", 60),
        ("append_file", 300),
        ("append_file_v1", 300),
        ("sql", 60),
        ("delete_rows_v1_and_wait", 300),
    ],
)
def test_calls_that_take_long_get_the_time(wire, name, least):
    """Trap: less than 10 s is too short for events with wait=true, less than 60 s for starting a copy."""
    wire.settings = Settings(
        base_url="https://api.tinybird.co", token=wire.settings.token, timeout=5, connect_timeout=3
    )
    wire.answers((400, {"error": "no"}))
    with pytest.raises(TinybirdError):
        wire.send(ALL_CALLS[name])
    assert wire.only.timeout["read"] >= least
    assert wire.only.timeout["connect"] == 3


def test_the_timeout_of_the_connection_counts_elsewhere_and_where_it_is_longer(wire):
    wire.settings = Settings(base_url="https://api.tinybird.co", token=wire.settings.token, timeout=1000)
    wire.answers({"is_valid": True}, {"successful_rows": 1})
    wire.send(workspaces.get_auth())
    wire.send(events.send_events("d", b"{}"))
    assert [sent.timeout["read"] for sent in wire.sent] == [1000, 1000]


def test_redirects_are_not_followed_and_say_where_they_lead(wire):
    wire.answers((301, b"", {"Location": "https://other.example/v0/auth?token=5ec3e7"}))
    with pytest.raises(TinybirdError, match=r"redirects to https://other\.example/v0/auth\?\*\*\*"):
        wire.send(workspaces.get_auth())
    assert len(wire.sent) == 1


def test_a_gzipped_answer_is_read(wire):
    import gzip

    wire.answers((200, gzip.compress(b'{"is_valid": true, "is_user": true}'), {"Content-Encoding": "gzip"}))
    assert wire.send(workspaces.get_auth()).is_user is True


@pytest.mark.parametrize("body", [b"[1]", b"null", b"", b"nonsense", b"\xff\xfe"])
@EVERY_CALL
def test_a_strange_success_is_never_a_stray_exception(wire, call, body):
    """Whatever a success carries, it becomes a result or an error of this package, and it is not sent again."""
    wire.answers((200, body))
    error = error_of(wire, call)
    assert error is None or error.retry_can_help is (call.repeat is not Repeat.ONCE)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("item", [1, "x", None, [], {}])
@pytest.mark.parametrize(
    ("call", "key"),
    [(datasources.list_datasources(), "datasources"), (pipes.list_pipes(), "pipes"), (jobs.list_jobs(), "jobs")],
    ids=["datasources", "pipes", "jobs"],
)
def test_lists_with_strange_items(wire, call, key, item):
    wire.answers({key: [item]})
    error = error_of(wire, call)
    assert error is None or error.retry_can_help is False
