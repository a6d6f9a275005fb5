"""The trigger that asks a question: what Airflow stores of it, and that it always says how it ended."""

from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_tinybird.conditions.checks import (
    CopyCheck,
    FirstCellCheck,
    QuarantineCheck,
    SqlCheck,
    from_json,
)
from airflow_provider_tinybird.conditions.wait import Ending, Finding
from airflow_provider_tinybird.triggers.conditions import TinybirdConditionTrigger

ARGUMENTS = {
    "tinybird_conn_id": "tinybird_default",
    "question": {"kind": "first_cell", "sql": "SELECT 1"},
    "poll_interval": 5.0,
    "deadline": 1_800_000_060.0,
    "started_at": 1_800_000_000.0,
    "outlasts_refusals": False,
    "resume": {"deadline": 1_800_000_060.0, "bounces": 0},
}


def event(**changes):
    async def events():
        return [one.payload async for one in TinybirdConditionTrigger(**{**ARGUMENTS, **changes}).run()]

    (payload,) = asyncio.run(events())
    return Finding.from_payload(json.loads(json.dumps(payload)))


def test_what_airflow_stores():
    """Tasks that are deferred while the package is upgraded are made anew from this."""
    path, arguments = TinybirdConditionTrigger(**ARGUMENTS).serialize()
    assert path == "airflow_provider_tinybird.triggers.conditions.TinybirdConditionTrigger"
    assert arguments == ARGUMENTS
    assert json.loads(json.dumps(arguments)) == arguments


STORED = [
    (SqlCheck(sql="SELECT 1", what="it"), {"kind": "sql", "sql": "SELECT 1", "what": "it"}),
    (FirstCellCheck(sql="SELECT 1"), {"kind": "first_cell", "sql": "SELECT 1"}),
    (
        CopyCheck(pipe="p", since="2026-01-01T00:00:00+00:00"),
        {"kind": "copy", "pipe": "p", "since": "2026-01-01T00:00:00+00:00", "fails_with_copy": False},
    ),
    (
        QuarantineCheck(datasource="d", start="2026-01-01T00:00:00+00:00"),
        {
            "kind": "quarantine",
            "datasource": "d",
            "start": "2026-01-01T00:00:00+00:00",
            "end": None,
            "max_rows": 0,
            "condition": None,
        },
    ),
]


@pytest.mark.parametrize(("question", "stored"), STORED)
def test_what_is_stored_of_a_question(question, stored):
    assert question.to_json() == stored
    assert from_json({**stored, "of a later version": 1}) == question


def test_it_sends_what_it_saw(tinybird, clock):
    tinybird.on("POST /v0/sql", {"data": [{"n": 0}]}, {"data": [{"n": 7}]})
    assert event() == Finding(ending=Ending.MET, facts={"value": 7})


def test_no_connection(clock):
    found = event(tinybird_conn_id="nowhere")
    assert found.ending is Ending.LOST
    assert "nowhere" in found.message


def test_a_question_of_another_version(tinybird, clock):
    found = event(question={"kind": "oracle"})
    assert found.ending is Ending.LOST
    assert "'oracle'" in found.message


def test_a_deadline_that_is_over(tinybird, clock):
    tinybird.on("POST /v0/sql", {"data": []})
    found = event(deadline=clock.now - 1)
    assert (found.ending, len(tinybird.requests)) == (Ending.TIMEOUT, 1)
