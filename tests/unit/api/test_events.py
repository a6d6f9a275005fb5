"""Events API on the wire."""

from __future__ import annotations

import gzip

import pytest

from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    BadRequestError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.events import send_events
from airflow_provider_tinybird.api.models import EventsResult
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings

ROWS = b'{"a": 1}\n{"a": 2}\n'


def test_request(wire):
    """Trap: without wait=true a 202 is not durable, so it is asked for by default."""
    wire.answers({"successful_rows": 2, "quarantined_rows": 0})
    result = wire.send(send_events("flights", ROWS))
    sent = wire.only
    assert (sent.method, sent.path) == ("POST", "/v0/events")
    assert sent.query == [("name", "flights"), ("wait", "true")]
    assert sent.headers["content-type"] == "application/x-ndjson"
    assert "content-encoding" not in sent.headers
    assert sent.headers["content-length"] == str(len(ROWS))
    assert sent.body == ROWS
    assert result == EventsResult(successful_rows=2, quarantined_rows=0)


def test_without_waiting(wire):
    wire.answers((202, {"successful_rows": 2, "quarantined_rows": 0}))
    assert wire.send(send_events("flights", ROWS, wait=False)).successful_rows == 2
    assert dict(wire.only.query)["wait"] == "false"


def test_gzip_header_and_bytes_go_together(wire):
    """Trap: a gzip header on a body that is not compressed."""
    packed = gzip.compress(ROWS)
    wire.answers({"successful_rows": 2})
    wire.send(send_events("flights", packed, gzipped=True))
    assert wire.only.headers["content-encoding"] == "gzip"
    assert wire.only.headers["content-type"] == "application/x-ndjson"
    assert gzip.decompress(wire.only.body) == ROWS


@pytest.mark.parametrize("status", [200, 202])
def test_quarantine_is_part_of_success(wire, status):
    """Trap: a 2xx can carry quarantined rows."""
    wire.answers((status, {"successful_rows": 1, "quarantined_rows": 3}))
    assert wire.send(send_events("flights", ROWS)) == EventsResult(successful_rows=1, quarantined_rows=3)


@pytest.mark.parametrize(
    "answer", [{}, {"quarantined_rows": 0}, {"ok": True}, {"error": "it broke"}, {"successful_rows": None}]
)
def test_an_answer_that_does_not_count_the_rows_is_no_success(wire, answer):
    """Zero rows must not be made up."""
    wire.answers(answer)
    with pytest.raises(UnreadableAnswerError, match="not as its API promises") as caught:
        wire.send(send_events("flights", ROWS))
    assert "it broke" in str(caught.value) or "error" not in answer
    assert len(wire.sent) == 1


def test_400_shows_tinybirds_words(wire):
    wire.answers((400, {"error": "Missing 'name' parameter", "documentation": "https://docs.example/events"}))
    with pytest.raises(
        BadRequestError, match=r"Missing 'name' parameter\. See https://docs\.example/events\."
    ) as caught:
        wire.send(send_events("flights", ROWS))
    assert caught.value.answer.documentation == "https://docs.example/events"


def test_403_names_the_scope(wire):
    wire.answers((403, {"error": "not enough permissions"}))
    with pytest.raises(AccessDeniedError, match="DATASOURCES:APPEND:flights"):
        wire.send(send_events("flights", ROWS))


@pytest.mark.parametrize("status", [403, 404])
def test_a_token_of_another_region_is_said_so(wire, status):
    """Trap: 404 of events can mean the host of another region rather than a missing data source."""
    wire.settings = Settings(base_url="https://api.us-east.tinybird.co", token=wire.settings.token)
    wire.answers((status, {"error": "workspace not found"}))
    with pytest.raises((AccessDeniedError, NotFoundError), match="gcp-europe-west3"):
        wire.send(send_events("flights", ROWS))


def test_404_without_a_known_region_names_the_host_as_well(wire):
    wire.settings = Settings(base_url="https://tb.example", token=Token("abc"))
    wire.answers((404, {"error": "not found"}))
    with pytest.raises(NotFoundError, match=r"Check the name, and that https://tb\.example is the region"):
        wire.send(send_events("flights", ROWS))


def test_413_says_to_send_less(wire):
    """Trap: the limit is 10 MB or 100 MB by plan."""
    wire.answers((413, {"error": "Payload too large"}))
    with pytest.raises(PayloadTooLargeError, match="send smaller pieces"):
        wire.send(send_events("flights", ROWS))


@pytest.mark.parametrize("name", ["", " ", "a b", "from", "a/b", "..", None])
def test_impossible_names_never_leave(name):
    with pytest.raises(InvalidInputError):
        send_events(name, ROWS)


def test_ids_and_shared_names_are_names(wire):
    wire.answers({"successful_rows": 1}, {"successful_rows": 1})
    wire.send(send_events("t_0123456789abcdef", ROWS))
    wire.send(send_events("other_workspace.flights", ROWS))
    assert [dict(sent.query)["name"] for sent in wire.sent] == ["t_0123456789abcdef", "other_workspace.flights"]
