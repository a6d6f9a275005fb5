"""Batches of rows on their way in, and what is said when a load breaks."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from airflow_provider_tinybird import loads
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    AccessDeniedError,
    InvalidInputError,
    OutcomeUnknownError,
    PartiallyIngestedError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.settings import Settings, Token
from airflow_provider_tinybird.loads import Compression, LoadInterruptedError, send_batches
from airflow_provider_tinybird.ndjson import batches

ALL_IN = {"successful_rows": 2, "quarantined_rows": 0}


@pytest.fixture
def client(tinybird):
    with Client(Settings(base_url=tinybird.url, token=Token(tinybird.token), max_retries=0)) as client:
        yield client


def rows(count: int) -> list[dict[str, int]]:
    return [{"n": number} for number in range(count)]


def two_by_two(count: int) -> Any:
    return batches(rows(count), max_bytes=len(b'{"n":0}\n') * 2)


def test_each_batch_is_one_request(client, tinybird):
    tinybird.on("POST /v0/events", ALL_IN, {"successful_rows": 1, "quarantined_rows": 1}, ALL_IN)
    result = send_batches(client, "flights", two_by_two(6))
    assert (result.successful_rows, result.quarantined_rows) == (5, 1)
    assert [request.body for request in tinybird.requests] == [
        b'{"n":0}\n{"n":1}\n',
        b'{"n":2}\n{"n":3}\n',
        b'{"n":4}\n{"n":5}\n',
    ]
    first = tinybird.requests[0]
    assert first.query == {"name": "flights", "wait": "true"}
    assert first.headers["content-type"] == "application/x-ndjson"
    assert first.headers["content-length"] == "16"


def test_without_acknowledgement(client, tinybird):
    tinybird.on("POST /v0/events", (202, ALL_IN))
    send_batches(client, "flights", two_by_two(2), wait=False)
    assert tinybird.only.query["wait"] == "false"


def test_compressed(client, tinybird):
    tinybird.on("POST /v0/events", ALL_IN)
    send_batches(client, "flights", two_by_two(2), compression=Compression.GZIP)
    assert tinybird.only.headers["content-encoding"] == "gzip"
    assert gzip.decompress(tinybird.only.body) == b'{"n":0}\n{"n":1}\n'


@pytest.mark.parametrize("value", [None, "none"])
def test_no_compression(value):
    assert Compression.parse(value) is None


@pytest.mark.parametrize("value", ["zstd", "GZIP", "", "br"])
def test_a_compression_that_tinybird_does_not_know(value):
    with pytest.raises(InvalidInputError, match="'gzip'"):
        Compression.parse(value)


def test_no_rows_send_nothing(client, tinybird):
    result = send_batches(client, "flights", batches([]))
    assert (result.successful_rows, result.quarantined_rows, tinybird.requests) == (0, 0, [])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((403, {"error": "no scope"}), AccessDeniedError),
        ((500, "boom"), OutcomeUnknownError),
        ((422, {"error": "view failed"}), PartiallyIngestedError),
        ((200, {"hello": "there"}), UnreadableAnswerError),
    ],
)
def test_a_first_batch_that_fails_raises_its_own_error(client, tinybird, answer, error):
    tinybird.on("POST /v0/events", answer)
    with pytest.raises(error):
        send_batches(client, "flights", two_by_two(6))
    assert len(tinybird.requests) == 1


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((400, {"error": "bad"}), "The batch after them is not in."),
        ((403, {"error": "no scope"}), "The batch after them is not in."),
        ((422, {"error": "view failed"}), "The batch after them is in only in part."),
        ((500, "boom"), "It is unknown whether the batch after them is in."),
        ((200, {"hello": "there"}), "It is unknown whether the batch after them is in."),
    ],
)
def test_a_later_one_tells_what_is_in(client, tinybird, answer, state):
    tinybird.on("POST /v0/events", ALL_IN, ALL_IN, answer)
    with pytest.raises(LoadInterruptedError) as caught:
        send_batches(client, "flights", two_by_two(8))
    message = str(caught.value)
    assert "the first 4 rows (2 batches) are in" in message
    assert state in message
    assert "'flights'" in message
    assert not caught.value.retry_can_help
    assert len(tinybird.requests) == 3


def test_data_that_breaks_in_between(client, tinybird):
    def broken() -> Any:
        yield rows(2)
        raise ConnectionError("the source went away")

    tinybird.on("POST /v0/events", ALL_IN)
    with pytest.raises(LoadInterruptedError, match=r"first 2 rows.*not in\..*the source went away"):
        send_batches(client, "flights", batches(broken, max_bytes=16))


def test_a_source_that_breaks_before_anything_is_in_can_be_tried_again(client, tinybird):
    def broken() -> Any:
        raise ConnectionError("the source is down")
        yield

    with pytest.raises(ConnectionError):
        send_batches(client, "flights", batches(broken))
    assert tinybird.requests == []


@pytest.mark.parametrize("data", [[{"a": object()}], [{"a": float("nan"), "b": {1, 2}}], 7, object(), {"a": b"\xff"}])
def test_data_that_cannot_be_sent(client, tinybird, data):
    with pytest.raises(InvalidInputError, match="Nothing was sent to 'flights'"):
        send_batches(client, "flights", batches(data))
    assert tinybird.requests == []


def test_a_bad_value_names_its_place(client, tinybird):
    with pytest.raises(InvalidInputError, match=r"column 'b', row 1"):
        send_batches(client, "flights", batches([{"a": 1, "b": 2}, {"a": 1, "b": object()}]))


def test_the_message_holds_no_token(client, tinybird):
    tinybird.on("POST /v0/events", ALL_IN, (400, {"error": f"bad token {tinybird.token}"}))
    with pytest.raises(LoadInterruptedError) as caught:
        send_batches(client, "flights", two_by_two(4))
    assert tinybird.token not in str(caught.value)
    json.dumps(str(caught.value))


def test_a_429_is_waited_for(tinybird, monkeypatch):
    import types

    naps: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", types.SimpleNamespace(sleep=naps.append))
    tinybird.on("POST /v0/events", (429, {"error": "slow down"}, {"Retry-After": "3"}), ALL_IN)
    with Client(Settings(base_url=tinybird.url, token=Token("t"))) as client:
        assert loads.send_batches(client, "flights", two_by_two(2)).successful_rows == 2
    assert naps == [3.0]
