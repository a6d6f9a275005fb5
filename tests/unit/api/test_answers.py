"""Error answers: which class, which words, which way out."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from airflow_provider_tinybird.api import errors, jobs
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings

CLASSES = [
    (400, errors.BadRequestError),
    (401, errors.AccessDeniedError),
    (403, errors.AccessDeniedError),
    (404, errors.NotFoundError),
    (405, errors.BadRequestError),
    (408, errors.QueryTimeoutError),
    (409, errors.ConflictError),
    (411, errors.BadRequestError),
    (413, errors.PayloadTooLargeError),
    (414, errors.BadRequestError),
    (418, errors.BadRequestError),
    (422, errors.PartiallyIngestedError),
    (429, errors.RateLimitedError),
    (500, errors.ServerError),
    (502, errors.ServerError),
    (503, errors.ServerError),
    (504, errors.ServerError),
    (598, errors.ServerError),
    (599, errors.ServerError),
]


def failure(wire, *answer):
    wire.settings = replace(wire.settings, max_retries=0)
    wire.answers(answer)
    with pytest.raises(errors.TinybirdError) as caught:
        wire.send(jobs.get_job("J"))
    return caught.value


@pytest.mark.parametrize(("status", "kind"), CLASSES)
def test_classes(wire, status, kind):
    error = failure(wire, status, {"error": "the words"})
    assert type(error) is kind
    assert isinstance(error, errors.ApiError)
    assert (error.status, error.answer.text) == (status, "the words")
    assert error.retry_can_help is (status == 429 or status >= 500)
    text = str(error)
    assert text.startswith(f"Could not get job J: Tinybird answered HTTP {status}: the words.")
    assert text.endswith("[GET https://api.tinybird.co/v0/jobs/J]")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "a"}', "a"),
        (b'{"error": "a", "errors": ["b", "a"]}', "a; b"),
        (b'{"error": {"message": "a"}}', "a"),
        (b'{"error": {"code": 1}}', '{"code": 1}'),
        (b'{"error": true, "errors": ["b"]}', "b"),
        (b'{"error": ["a", "b"]}', "a; b"),
        (b'{"message": "a"}', "a"),
        (b'{"error": null, "message": "a"}', "a"),
        (b'{"detail": "a"}', '{"detail": "a"}'),
        (b'["a"]', '["a"]'),
        (b'"a"', '"a"'),
        (b"", "(no text)"),
        (b"  \n", "(no text)"),
        (b"<html>\n  <h1>502 Bad Gateway</h1>\n</html>", "<html> <h1>502 Bad Gateway</h1> </html>"),
        (b"caf\xe9", "caf\ufffd"),
    ],
)
def test_words(wire, body, text):
    assert failure(wire, 400, body).answer.text == text


def test_a_page_of_a_proxy_is_cut_and_its_secrets_are_cut_first(wire):
    wire.settings = Settings(base_url=wire.settings.base_url, token=Token("opaque-token-value"))
    error = failure(wire, 502, "x" * 490 + " opaque-token-value " + "y" * 9000)
    assert "opaque" not in str(error)
    assert len(error.answer.text) <= 500


def test_documentation_is_passed_on(wire):
    error = failure(wire, 400, {"error": "a", "documentation": "https://docs.tinybird.co/api"})
    assert "See https://docs.tinybird.co/api." in str(error)
    assert failure(wire, 400, {"error": "a", "documentation": 5}).answer.documentation is None


@pytest.mark.parametrize("status", [401, 403])
def test_access_denied_names_the_scope_and_that_it_may_be_a_limit(wire, status):
    """Trap: 403 is not always a bad token."""
    text = str(failure(wire, status, {"error": "no"}))
    assert "needs the scope DATASOURCES:CREATE (or ADMIN)" in text
    assert "job limit" in text


def test_access_denied_names_the_connection(wire):
    wire.settings = replace(wire.settings, name="prod")
    assert "The token of connection 'prod' needs the scope" in str(failure(wire, 403, {"error": "no"}))


@pytest.mark.parametrize("words", ["Invalid authentication token: send one", "invalid token"])
def test_a_token_that_tinybird_does_not_know_lacks_no_scope(wire, words):
    text = str(failure(wire, 403, {"error": words}))
    assert "Tinybird does not know the token of the connection: it was deleted or refreshed" in text
    assert "scope" not in text
    assert "limit" not in text


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_wrong_region_is_the_first_suspect(wire, status):
    wire.settings = Settings(base_url="https://api.us-east.aws.tinybird.co", token=wire.settings.token)
    text = str(failure(wire, status, {"error": "no"}))
    assert "gcp-europe-west3" in text
    assert "aws-us-east-1" in text


def test_retry_after_is_kept_for_the_caller(wire):
    assert failure(wire, 429, {"error": "a"}, {"Retry-After": "9"}).answer.retry_after == 9.0
    assert failure(wire, 429, {"error": "a"}).answer.retry_after is None


@pytest.mark.parametrize(
    "error",
    [httpx.ReadError("reading https://h/f?sig=5ec3e7 broke"), httpx.ConnectError("no route to https://h/f?sig=5ec3e7")],
)
def test_errors_of_the_http_library_lose_their_secrets(wire, error):
    wire.settings = Settings(base_url=wire.settings.base_url, token=wire.settings.token, max_retries=0)
    wire.answers(error)
    with pytest.raises(errors.ConnectionFailedError) as caught:
        wire.send(jobs.get_job("J"))
    assert "5ec3e7" not in str(caught.value)
    assert "https://h/f?***" in str(caught.value)


def test_an_error_without_words_names_its_class(wire):
    wire.settings = Settings(base_url=wire.settings.base_url, token=wire.settings.token, max_retries=0)
    wire.answers(httpx.ReadError(""))
    with pytest.raises(errors.ConnectionFailedError, match="ReadError"):
        wire.send(jobs.get_job("J"))


def test_whether_a_retry_can_help_is_said_by_every_class():
    classes = {
        name: value.retry_can_help
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TinybirdError)
    }
    assert {name for name, helps in classes.items() if helps} == {
        "TinybirdError",
        "RateLimitedError",
        "ServerError",
        "JobQuotaError",
        "ConnectionFailedError",
        "JobError",
        "JobFailedError",
        "JobCancelledError",
        "JobTimeoutError",
        "JobSlotTimeoutError",
        "JobOutOfSightError",
        "QueryBrokeError",
    }
