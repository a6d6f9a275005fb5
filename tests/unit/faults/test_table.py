"""What each kind of operator does when the first answer to its request goes wrong.

The rule is one. What must not be done twice is sent once, unless the answer proves that nothing was taken, and the task is red and says
that the outcome is not known wherever it is not. What can be repeated is, after passing trouble.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import fault_page
import pytest
from certificates import certificate
from fault_cases import (
    CASES,
    COPIES,
    EVENTS,
    LOADS,
    POLLS,
    READS,
    REPLACES,
    Ended,
    run_at,
    short_tries,
)
from faulty_tinybird import EARLY, FAULTS, ODD_JOBS, SLOW, TAILS, Tinybird, serving, words

GREEN = Ended(1, is_green=True)
AGAIN = Ended(2, is_green=True)
RED = Ended(1, is_green=False)
RETRIED = Ended(1, is_green=False, is_retried=True)
UNKNOWN = Ended(1, is_green=False, is_unknown=True)
NOT_SENT = Ended(0, is_green=False)
NOT_SENT_YET = Ended(0, is_green=False, is_retried=True)
ONCE = (EVENTS, LOADS, COPIES)


@dataclass(frozen=True)
class Group:
    """Faults after which the same happens.

    :param title: what they are, for the page.
    :param faults: their names.
    :param ends: how a task of each kind ends.
    """

    title: str
    faults: tuple[str, ...]
    ends: Mapping[str, Ended]


def ends(once: Ended, replaces: Ended, reads: Ended, *, polls: Ended = AGAIN, **others: Ended) -> dict[str, Ended]:
    """Say how tasks end, by how safe their request is to repeat."""
    return {**dict.fromkeys(ONCE, once), REPLACES: replaces, READS: reads, POLLS: polls, **others}


def statuses(ending: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{number} {ending}" for number in numbers)


REFUSALS = (400, 401, 403, 404, 405, 409, 411, 413, 418, 451, 501)
PASSING = (408, 421, 425, 429, 500, 502, 503, 504, 520, 524, 599)
OWN = "in Tinybird's words"
GROUPS = (
    Group(
        "The connection is closed, reset or cut before the answer is whole, or what comes is no HTTP or cannot be unpacked",
        (
            "connection closed before the answer",
            "connection reset before the answer",
            "connection reset in the headers",
            "answer cut short",
            "chunked answer without an end",
            "gzip that is none",
            "no HTTP at all",
            "only 100 Continue",
            "101 Switching Protocols",
        ),
        ends(UNKNOWN, AGAIN, AGAIN),
    ),
    Group(
        "Success (200, 204) with a page, nothing, `[]`, `null`, bytes that are no text, or packed in a way that was not asked for",
        (
            "gzip of a page",
            "br that was not asked for",
            "200 with a page",
            "200 with nothing",
            "204",
            "200 with []",
            "200 with null",
            "200 with bytes that are no text",
            "200 with 100,000 brackets",
        ),
        ends(UNKNOWN, RETRIED, RETRIED),
    ),
    Group("Success with a JSON object that lacks what it must have", ("200 with {}",), ends(UNKNOWN, RED, RED)),
    Group(
        f"A page of something in front of Tinybird: {', '.join(map(str, REFUSALS))}",
        statuses("with a page", *REFUSALS),
        ends(UNKNOWN, RETRIED, RETRIED),
    ),
    Group(
        f"The same: {', '.join(map(str, PASSING))}",
        statuses("with a page", *PASSING),
        ends(UNKNOWN, AGAIN, AGAIN),
    ),
    Group(
        "A redirect: 301, 302, 303, 307, 308 (never followed)",
        (*statuses("to elsewhere", 301, 302, 303, 307, 308), "302 to nowhere that can be read"),
        ends(UNKNOWN, RETRIED, RETRIED),
    ),
    Group(
        "Tinybird's own words: 400, 401, 403, 405, 409, 411, 413, 418",
        statuses(OWN, 400, 401, 403, 405, 409, 411, 413, 418),
        ends(RED, RED, RED, polls=RETRIED),
    ),
    Group("Tinybird's own words: 404", statuses(OWN, 404), ends(RED, RED, RED)),
    Group("Tinybird's own words: 408", statuses(OWN, 408), ends(UNKNOWN, RED, RED)),
    Group("Tinybird's own words: 500", statuses(OWN, 500), ends(UNKNOWN, RETRIED, RETRIED)),
    Group("Tinybird's own words: 502, 504", statuses(OWN, 502, 504), ends(UNKNOWN, AGAIN, AGAIN)),
    Group("Tinybird's own words: 503", statuses(OWN, 503), ends(UNKNOWN, AGAIN, AGAIN, events=AGAIN)),
    Group(
        "Tinybird's own words: 429",
        (*statuses(OWN, 429), f"429 {OWN}, Retry-After: nan"),
        ends(AGAIN, AGAIN, AGAIN),
    ),
)
CELLS = [(group, fault, kind) for group in GROUPS for fault in group.faults for kind in group.ends]


def seen(ended: Ended, kind: str) -> Ended:
    # Of a job's polls, how many there are depends on its progress.
    return replace(ended, sent=min(ended.sent, 2)) if kind == POLLS else ended


@pytest.mark.parametrize(("group", "fault", "kind"), CELLS, ids=[f"{kind}: {fault}" for _, fault, kind in CELLS])
def test_first_answer_goes_wrong(run_case, group, fault, kind):
    found = {name: seen(run_case(case, FAULTS[fault]), kind) for name, case in CASES.items() if case.kind == kind}
    assert found == dict.fromkeys(found, group.ends[kind]), {name: one.message for name, one in found.items()}


def test_each_fault_has_its_place():
    named = [fault for group in GROUPS for fault in group.faults]
    assert sorted(named) == sorted(FAULTS)


# What does not fit into the first answer's table of all kinds

BIG = "x" * 4_000_000


def big(name: str, folder: Path) -> dict[str, object]:
    """Arguments for a request that does not fit into the buffers of a connection."""
    if name == "events":
        return {"data": [{"a": 1, "batch": BIG}, {"a": 2, "batch": BIG}]}
    path = folder / "big.ndjson"
    path.write_text(f'{{"a": 1, "batch": "{BIG}{BIG}"}}\n')
    return {"path": str(path)}


HALVES = Ended(3, is_green=True)
WITHIN = (
    Group(
        "The connection is closed or reset while the request is sent",
        ("closed within the request", "reset within the request"),
        {EVENTS: UNKNOWN, LOADS: UNKNOWN, REPLACES: AGAIN},
    ),
    Group(
        "413 in Tinybird's own words while the request is sent, and the end of the connection",
        (f"413 {OWN}, within the request",),
        {EVENTS: HALVES, LOADS: RED, REPLACES: RED},
    ),
    Group(
        "413 with a page while the request is sent, and the end of the connection",
        ("413 with a page, within the request",),
        {EVENTS: HALVES, LOADS: RETRIED, REPLACES: RETRIED},
    ),
    Group(
        "401 in Tinybird's own words while the request is sent, and the end of the connection",
        (f"401 {OWN}, within the request",),
        {EVENTS: RED, LOADS: RED, REPLACES: RED},
    ),
    Group(
        "401 with a page while the request is sent, and the end of the connection",
        ("401 with a page, within the request",),
        {EVENTS: RETRIED, LOADS: RETRIED, REPLACES: RETRIED},
    ),
)
UPLOADS = {EVENTS: "events", LOADS: "append of a file", REPLACES: "replace by a file"}
WITHIN_CELLS = [(group, fault, kind) for group in WITHIN for fault in group.faults for kind in group.ends]


@pytest.mark.parametrize(
    ("group", "fault", "kind"), WITHIN_CELLS, ids=[f"{kind}: {fault}" for _, fault, kind in WITHIN_CELLS]
)
def test_goes_wrong_within_the_request(run_case, tmp_path, group, fault, kind):
    name = UPLOADS[kind]
    ended = run_case(CASES[name], EARLY[fault], **big(name, tmp_path))
    assert ended == group.ends[kind], ended.message


NO_ANSWER = Group(
    "No answer, or one that drips, for as long as a try may take", tuple(SLOW), ends(UNKNOWN, AGAIN, RETRIED)
)


@pytest.mark.parametrize("fault", SLOW)
@pytest.mark.parametrize(
    "name", ["events", "append by URL", "copy that appends", "copy that replaces", "query", "poll of a copy"]
)
def test_no_answer(run_case, fault, name):
    with short_tries(0.5):
        ended = seen(run_case(CASES[name], SLOW[fault]), CASES[name].kind)
    assert ended == NO_ANSWER.ends[CASES[name].kind], ended.message


NO_TRUST = Group(
    "A certificate that is self-signed, over, or of another host", (), ends(NOT_SENT, NOT_SENT, NOT_SENT, polls=GREEN)
)
CERTIFICATES = {"self-signed": ("127.0.0.1", 10), "over": ("127.0.0.1", -1), "of another host": ("elsewhere", 10)}


@pytest.mark.parametrize("kind", CERTIFICATES)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind != POLLS])
def test_no_trust(tmp_path, caplog, monkeypatch, kind, name):
    host, days = CERTIFICATES[kind]
    pem = certificate(tmp_path, host, days=days)
    if kind != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with serving(CASES[name].target, FAULTS["204"], pem=pem) as server:
        ended = run_at(CASES[name], f"https://127.0.0.1:{server.server_port}", server, tmp_path, caplog)
    assert ended == NO_TRUST.ends[CASES[name].kind]
    assert "Nothing was sent" in ended.message
    assert "verify" in ended.message


NOBODY = Group("Nobody listens", (), ends(NOT_SENT_YET, NOT_SENT_YET, NOT_SENT_YET))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind != POLLS])
def test_nobody_listens(tmp_path, caplog, monkeypatch, name):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving("nothing", FAULTS["204"]) as server:
        ended = run_at(CASES[name], f"http://127.0.0.1:{port}", server, tmp_path, caplog)
    assert ended == NOBODY.ends[CASES[name].kind]
    assert "Nothing was sent" in ended.message


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind == POLLS])
@pytest.mark.parametrize("fault", ODD_JOBS)
def test_a_poll_that_shows_another_job(run_case, name, fault):
    assert run_case(CASES[name], ODD_JOBS[fault]).is_green


@pytest.mark.parametrize("fault", TAILS)
def test_an_answer_that_ends_in_an_exception(run_case, fault, tmp_path):
    case = CASES["query"]
    for where in ({}, {"output_path": str(tmp_path / "out.csv")}):
        ended = run_case(case, TAILS[fault], format="CSV", **where)
        assert not ended.is_green
        assert "DB::Exception" in ended.message
    assert not list(tmp_path.glob("out*"))


OTHERS_WORDS = [group for group in GROUPS if not group.title.startswith("Tinybird's own")]
LOOKS = {
    "events": (r"GET /v0/datasources/orders", {}),
    "load by files": (r"GET /v0/datasources/orders", {}),
    "copy that replaces": (r"GET /v\d/workspace", {"expected_workspace": "shop"}),
}


@pytest.mark.parametrize("fault", [fault for group in OTHERS_WORDS for fault in group.faults])
@pytest.mark.parametrize("name", LOOKS)
def test_a_look_beforehand_goes_wrong(run_case, name, fault):
    """A look that others answered is no look: neither is it taken for "no such data source", nor left out."""
    expected = next(group for group in OTHERS_WORDS if fault in group.faults).ends[READS]
    if fault == "200 with {}" and name != "copy that replaces":
        expected = GREEN  # a data source of which nothing is known
    target, more = LOOKS[name]
    ended = run_case(replace(CASES[name], target=target), FAULTS[fault], **more)
    assert (ended.is_green, ended.is_retried) == (expected.is_green, expected.is_retried), ended.message
    assert ended.is_green or not ended.rows


@pytest.mark.parametrize("text", ['Data Source "orders" does not exist', "Datasource not found", "Unknown data source"])
def test_what_a_look_finds_missing(run_case, text):
    case = replace(CASES["events"], target=r"GET /v0/datasources/orders")
    ended = run_case(case, words(404, text))
    assert (ended.is_green, ended.is_retried, ended.rows) == (False, False, 0)
    assert "does not exist" in ended.message


def test_a_look_whose_404_speaks_of_something_else(run_case):
    case = replace(CASES["events"], target=r"GET /v0/datasources/orders")
    assert run_case(case, words(404, "/v0/datasources/orders")).rows == 1


# Deliveries of events


@dataclass(frozen=True)
class Delivered:
    """What becomes of a load of one row.

    :param kept: rows there where Tinybird took the request that went wrong.
    :param lost: rows there where it did not.
    """

    is_green: bool
    kept: int = 1
    lost: int = 1


ONE_IN_DOUBT = {
    "at_most_once": Delivered(is_green=False, lost=0),
    "at_least_once": Delivered(is_green=True, kept=2),
    "exactly_once": Delivered(is_green=True),
}


def delivered(ended: Ended) -> dict[str, Delivered]:
    """Say what each delivery makes of a fault, by what it means for a request that must go once."""
    if ended.is_unknown:
        return ONE_IN_DOUBT
    return dict.fromkeys(ONE_IN_DOUBT, Delivered(ended.is_green, kept=int(ended.is_green), lost=int(ended.is_green)))


DELIVERIES = [(group, fault, delivery) for group in GROUPS for fault in group.faults for delivery in ONE_IN_DOUBT]


@pytest.mark.parametrize(
    ("group", "fault", "delivery"), DELIVERIES, ids=[f"{delivery}: {fault}" for _, fault, delivery in DELIVERIES]
)
def test_deliveries(run_case, group, fault, delivery):
    ended = group.ends[EVENTS]
    expected = delivered(ended)[delivery]
    more = {"delivery": delivery, "batch_id_column": "batch" if delivery == "exactly_once" else None}
    lost = run_case(CASES["events"], FAULTS[fault], takes=False, **more)
    assert (lost.is_green, lost.rows) == (expected.is_green, expected.lost), lost.message
    if ended.is_unknown:
        kept = run_case(CASES["events"], FAULTS[fault], takes=True, **more)
        assert (kept.is_green, kept.rows) == (expected.is_green, expected.kept), kept.message


# The page


def test_the_page_says_what_was_seen():
    columns = {
        "events": EVENTS,
        "append by URL or file": LOADS,
        "copy that appends, sink, populate": COPIES,
        "replace, delete": REPLACES,
        "query, endpoint": READS,
        "poll of a job": POLLS,
    }
    rows = [
        [group.title, *(_words(group.ends.get(kind), kind) for kind in columns.values())]
        for group in (*GROUPS, *WITHIN, NO_ANSWER, replace_polls(NO_TRUST), replace_polls(NOBODY))
    ]
    fault_page.check("faults", fault_page.table(["what goes wrong", *columns], rows), write="WRITE_TABLE" in os.environ)
    titles = {
        "Sent once, outcome unknown": ONE_IN_DOUBT,
        "Refused in Tinybird's own words": delivered(RED),
        "Refused for now in Tinybird's own words (429, 503)": delivered(AGAIN),
    }
    rows = [[title, *map(_rows_there, found.values())] for title, found in titles.items()]
    columns = [f"`{delivery}`" for delivery in ONE_IN_DOUBT]
    fault_page.check("deliveries", fault_page.table(["events", *columns], rows), write="WRITE_TABLE" in os.environ)


def replace_polls(group: Group) -> Group:
    return replace(group, ends={kind: one for kind, one in group.ends.items() if kind != POLLS})


def _words(ended: Ended | None, kind: str) -> str:
    if ended is None:
        return ""
    if kind == POLLS:
        return "goes on" if ended.is_green else "red, Airflow retries"
    words = {
        GREEN: "green",
        AGAIN: "sent again: green",
        RED: "red",
        RETRIED: "red, Airflow retries",
        UNKNOWN: "red: outcome unknown",
        HALVES: "sent again in halves: green",
        NOT_SENT: "red: nothing was sent",
        NOT_SENT_YET: "red: nothing was sent, Airflow retries",
    }
    return words[ended]


def _rows_there(one: Delivered) -> str:
    rows = f"{one.kept}" if one.kept == one.lost else f"{one.kept} if Tinybird took it, else {one.lost}"
    return f"{'green' if one.is_green else 'red'}, rows there: {rows}"


def test_the_server_is_a_tinybird(run_case):
    for name, case in CASES.items():
        ended = run_case(replace(case, target="nothing at all"), FAULTS["204"])
        assert ended.is_green, (name, ended.message)
    assert Tinybird.__doc__
