"""What a second attempt does about the job of the first: each cell of (what is known, what Tinybird says), against a server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import OutcomeUnknownError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.jobs import start as starting
from airflow_provider_tinybird.jobs import submissions
from airflow_provider_tinybird.jobs.reattach import OF_JOB, OTHERWISE, Known, Shown
from airflow_provider_tinybird.jobs.start import Attempt, Memory, OnUnknown, Submitter
from airflow_provider_tinybird.jobs.submissions import Submission

URL = "https://files.example/day.csv?part=1"
OTHER = "https://files.example/day.csv?part=2"
PAGE = httpx.Response(403, html="<html>blocked</html>")
REFUSED = httpx.Response(403, json={"error": "The token has no access"})
UNKNOWN_JOB = httpx.Response(404, json={"error": "job not found"})


def append_url(url: str = URL) -> Submission:
    return submissions.import_url("flights", url, format=FileFormat.CSV, mode="append", replace_condition=None)


def replace_url(url: str = URL) -> Submission:
    return submissions.import_url("flights", url, format=FileFormat.CSV, mode="replace", replace_condition=None)


def copy(day: str = "1") -> Submission:
    return submissions.run_copy("daily", {"day": day}, mode="append", on_demand_compute=False)


def copy_replace(day: str = "1") -> Submission:
    return submissions.run_copy("daily", {"day": day}, mode="replace", on_demand_compute=False)


def sink(day: str = "1") -> Submission:
    return submissions.run_sink("daily", {"day": day})


def populate(day: str = "1") -> Submission:
    return submissions.populate("daily", "node", populate_condition=f"day = {day}")


def delete(day: str = "1") -> Submission:
    return submissions.delete_rows("flights", f"day = {day}", lightweight=False)


DOUBLE = (append_url, copy, sink, populate)
IDEMPOTENT = (replace_url, copy_replace, delete)


def record_of(make: Callable[..., Submission], **changes: Any) -> dict[str, Any]:
    """A job as Tinybird shows it that agrees with the request in everything."""
    name = make.__name__
    moment = datetime.fromtimestamp(time.time(), UTC)
    job: dict[str, Any] = {"id": "first", "status": "working", "created_at": f"{moment:%Y-%m-%d %H:%M:%S.%f}"}
    if name.endswith("_url"):
        mode = name.partition("_")[0]
        job |= {"kind": "import", "url": URL, "mode": mode, "datasource": {"id": "t_1", "name": "flights"}}
    elif name == "delete":
        job |= {"kind": "delete_data", "delete_condition": "day = 1", "datasource": {"name": "flights"}}
    else:
        kind = {"sink": "sink", "populate": "populateview"}.get(name, "copy")
        job |= {"kind": kind, "pipe_name": "daily", "pipe_id": "t_2"}
    return {key: value for key, value in (job | changes).items() if value is not None}


@dataclass
class Server:
    """Answers looks at the first job, the list, the log, and submits.

    :param looks: what it answers to looks in turn, the last for ever.
    :param jobs: its list, or its answer to it.
    :param logged: status in tinybird.jobs_log.
    :param blocks: blocks of the job, where they are asked for.
    :param loses: submits whose answers are lost.
    """

    looks: list[Any] = field(default_factory=list)
    jobs: list[dict[str, Any]] | httpx.Response | Exception = field(default_factory=list)
    logged: str = ""
    blocks: Any = None
    loses: int = 0
    submits: int = 0
    date: str = ""

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/v0/sql":
            rows = [{"job_id": "first", "kind": "import", "status": self.logged}] if self.logged else []
            return httpx.Response(200, json={"data": rows, "meta": [], "rows": len(rows)})
        if request.method == "GET" and path == "/v0/jobs":
            if isinstance(self.jobs, Exception):
                raise self.jobs
            if isinstance(self.jobs, httpx.Response):
                return self.jobs
            headers = {"Date": self.date} if self.date else {}
            return httpx.Response(200, json={"jobs": self.jobs}, headers=headers)
        if request.method == "GET":
            return self._look(request)
        self.submits += 1
        if self.submits <= self.loses:
            raise httpx.ReadTimeout("the answer was lost")
        job = {"id": "second" if self.submits > 1 or self.loses else "first", "status": "waiting"}
        return httpx.Response(200, json={**job, "job": job})

    def _look(self, request: httpx.Request) -> httpx.Response:
        looks = self.looks or [one for one in self.jobs if one["id"] == request.url.path.rpartition("/")[2]]
        found = looks.pop(0) if len(looks) > 1 else looks[0]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, httpx.Response):
            return found
        more = {"blocks": self.blocks} if "debug" in request.url.params and self.blocks is not None else {}
        return httpx.Response(200, json=found | more)


class Store(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


def start(
    server: Server, store: Store | None, submission: Submission, *, on_unknown: str = "fail", **attempt: Any
) -> str:
    """Run an attempt; tells what it came to."""
    before = server.submits
    client = Client(
        Settings(base_url="https://api.tinybird.co", token=Token("p.x.y"), max_retries=0),
        transport=httpx.MockTransport(server.answer),
    )
    memory = Memory(store, Attempt(**{"max_tries": 2, "first_started_at": time.time() - 30, **attempt}))
    submitter = Submitter(client=client, memory=memory, on_unknown=OnUnknown(on_unknown), sleep=lambda _: None)
    try:
        job = submitter.start(submission, deadline=time.time() + 600).job
    except OutcomeUnknownError:
        return "unknown" if server.submits - before == server.loses else "submitted and unknown"
    if server.submits == before + server.loses:
        assert job.id == "first"
        return "reattach"
    assert job.id == "second"
    return "submit"


def remembered(make: Callable[..., Submission], *, job_id: str | None = "first") -> Store:
    """The store after the first attempt."""
    store = Store()
    memory = Memory(store, Attempt(max_tries=2))
    memory.remember(replace(memory.blank(make()), deadline=time.time() + 600, job_id=job_id))
    return store


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Known, Shown | None]]:
    """The cells of the table that were read."""
    read: list[tuple[Known, Shown | None]] = []
    step = starting.step

    def spied(known: Known, shown: Shown | None, *, is_idempotent: bool) -> Any:
        read.append((known, shown))
        return step(known, shown, is_idempotent=is_idempotent)

    monkeypatch.setattr(starting, "step", spied)
    return read


def ids(value: Any) -> str | None:
    return value.__name__ if callable(value) else None


def status(word: str, **more: Any) -> Callable[[Callable[..., Submission]], list[Any]]:
    return lambda make: [record_of(make, status=word, **more)]


def answers(*found: Any) -> Callable[[Callable[..., Submission]], list[Any]]:
    return lambda make: [record_of(make, status=one) if isinstance(one, str) else one for one in found]


# What Tinybird says of the job that is remembered: (name, looks, other answers, cell, what is then done when doubling, when idempotent)
OF_A_JOB: list[tuple[str, Any, dict[str, Any], Shown, str, str]] = [
    ("waiting", status("waiting"), {}, Shown.GOING_ON, "reattach", "reattach"),
    ("working", status("working"), {}, Shown.GOING_ON, "reattach", "reattach"),
    ("cancelling", status("cancelling"), {}, Shown.GOING_ON, "reattach", "reattach"),
    ("brand new", status("brand new"), {}, Shown.GOING_ON, "reattach", "reattach"),
    ("done", status("done"), {}, Shown.DONE, "reattach", "reattach"),
    ("cancelled", status("cancelled"), {}, Shown.CANCELLED, "unknown", "submit"),
    ("404 once", answers(UNKNOWN_JOB, "working"), {}, Shown.GOING_ON, "reattach", "reattach"),
    ("404 twice", answers(UNKNOWN_JOB, UNKNOWN_JOB, "done"), {}, Shown.DONE, "reattach", "reattach"),
    ("404 for ever", answers(UNKNOWN_JOB), {}, Shown.MISSING, "unknown", "submit"),
    ("done in the log", answers(UNKNOWN_JOB), {"logged": "done"}, Shown.DONE, "reattach", "reattach"),
    ("cancelled in the log", answers(UNKNOWN_JOB), {"logged": "cancelled"}, Shown.CANCELLED, "unknown", "submit"),
    ("no slot", status("error", error="You have reached the maximum number of copy jobs"), {}, Shown.WROTE_NOTHING, "submit", "submit"),
    ("unreadable", answers(httpx.Response(200, html="<html>")), {}, Shown.UNREAD, "reattach", "reattach"),
    ("page", answers(PAGE), {}, Shown.UNREAD, "reattach", "reattach"),
    ("404 page", answers(httpx.Response(404, html="<html>")), {}, Shown.UNREAD, "reattach", "reattach"),
    ("refused", answers(REFUSED), {}, Shown.UNREAD, "reattach", "reattach"),
    ("502", answers(httpx.Response(502, html="<html>")), {}, Shown.UNREAD, "reattach", "reattach"),
    ("half-open", answers(httpx.ReadTimeout("no answer")), {}, Shown.UNREAD, "reattach", "reattach"),
]  # fmt: skip
FAILED: list[tuple[str, Callable[..., Submission], Any, str, Any]] = [
    # What a job that failed may have written: (name, request, its error, done then, its blocks)
    ("a copy", copy, "no memory", "submit", None),
    ("a sink", sink, "no memory", "unknown", None),
    ("a populate", populate, "no memory", "unknown", None),
    ("an import", append_url, "bad line", "unknown", None),
    ("an import without blocks", append_url, "bad line", "unknown", []),
    ("an import with rows", append_url, "bad line", "unknown", [{"process_return": [{"lines": 3}]}]),
    ("an import with a block that says nothing", append_url, "bad", "unknown", [{"process_return": [{"lines": 0}]}, {}]),
    ("an import without rows", append_url, "bad line", "submit", [{"process_return": [{"lines": 0, "quarantine": 0}]}]),
    ("an import that was not fetched", append_url, "HTTP 404 Not Found", "submit", []),
    ("an import that broke while it was fetched", append_url, "HTTP 404 Not Found", "unknown", None),
    ("a replace", replace_url, "bad line", "submit", None),
    ("a copy that replaces", copy_replace, "no memory", "submit", None),
    ("a delete", delete, "no memory", "submit", None),
]  # fmt: skip


class TestAJobThatIsRemembered:
    @pytest.mark.parametrize("make", [*DOUBLE, *IDEMPOTENT], ids=ids)
    @pytest.mark.parametrize("case", OF_A_JOB, ids=[case[0] for case in OF_A_JOB])
    def test_what_is_done(self, cells, case, make):
        _, looks, more, cell, doubling, idempotent = case
        server = Server(looks=looks(make), submits=1, **more)
        found = start(server, remembered(make), make(), is_retry=True)
        assert (found, cells) == (idempotent if make in IDEMPOTENT else doubling, [(Known.JOB, cell)])

    @pytest.mark.parametrize("is_mapped", [False, True])
    @pytest.mark.parametrize("case", FAILED, ids=[case[0] for case in FAILED])
    def test_a_job_that_failed(self, cells, case, is_mapped):
        _, make, error, done, blocks = case
        server = Server(looks=[record_of(make, status="error", error=error)], blocks=blocks, submits=1)
        assert start(server, remembered(make), make(), is_retry=True, is_mapped=is_mapped) == done

    @pytest.mark.parametrize("make", [*DOUBLE, *IDEMPOTENT], ids=ids)
    @pytest.mark.parametrize("case", OF_A_JOB, ids=[case[0] for case in OF_A_JOB])
    def test_of_another_request(self, cells, case, make):
        """A template such as the time, or the DAG, changed since the first attempt."""
        _, looks, more, cell, _, _ = case
        server = Server(looks=looks(make), submits=1, **more)
        found = start(server, remembered(make), make("https://files.example/other.csv"), is_retry=True)
        wrote_nothing = cell is Shown.WROTE_NOTHING
        assert found == ("submit" if wrote_nothing or make in IDEMPOTENT else "unknown")

    def test_in_the_same_attempt_it_is_that_of_the_file_before(self):
        server = Server(looks=[record_of(append_url, status="done")], submits=1)
        other = append_url("https://files.example/other.csv")
        assert start(server, remembered(append_url), other, is_retry=False) == "submit"

    @pytest.mark.parametrize("case", [case for case in OF_A_JOB if case[4] == "unknown"], ids=lambda case: case[0])
    def test_who_says_resubmit_gets_it(self, case):
        server = Server(looks=case[1](copy), submits=1, **case[2])
        assert start(server, remembered(copy), copy(), is_retry=True, on_unknown="resubmit") == "submit"


LISTS: list[tuple[str, Any, Shown, str, str, str]] = [
    # What the list shows: (name, list, cell, done after a lost answer, after an attempt that broke off, on a retry without memory)
    ("one", lambda: [record_of(append_url)], Shown.GOING_ON, "reattach", "reattach", "reattach"),
    ("one that is done", lambda: [record_of(append_url, status="done")], Shown.DONE, "reattach", "reattach", "reattach"),
    ("one cancelled", lambda: [record_of(append_url, status="cancelled")], Shown.CANCELLED, "reattach", "unknown", "unknown"),
    ("one failed", lambda: [record_of(append_url, status="error")], Shown.FAILED, "reattach", "unknown", "unknown"),
    ("none", list, Shown.NONE, "unknown", "unknown", "submit"),
    ("another url", lambda: [record_of(append_url, url=OTHER)], Shown.NONE, "unknown", "unknown", "submit"),
    ("another kind", lambda: [record_of(append_url, kind="copy")], Shown.NONE, "unknown", "unknown", "submit"),
    ("another mode", lambda: [record_of(append_url, mode="replace")], Shown.NONE, "unknown", "unknown", "submit"),
    ("another data source", lambda: [record_of(append_url, datasource={"name": "weather"})], Shown.NONE, "unknown", "unknown", "submit"),
    ("an older one", lambda: [record_of(append_url, created_at="2026-01-01 00:00:00")], Shown.NONE, "unknown", "unknown", "submit"),
    ("no url", lambda: [record_of(append_url, url=None)], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("an empty url", lambda: [record_of(append_url, url="")], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("a url without its query", lambda: [record_of(append_url, url=URL.partition("?")[0])], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("no mode", lambda: [record_of(append_url, mode=None)], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("no kind", lambda: [record_of(append_url, kind=None)], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("no data source", lambda: [record_of(append_url, datasource=None)], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("only its id", lambda: [record_of(append_url, datasource={"id": "t_1"})], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("no time", lambda: [record_of(append_url, created_at=None)], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("two", lambda: [record_of(append_url), record_of(append_url, id="other")], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("one and a half", lambda: [record_of(append_url), record_of(append_url, url=None)], Shown.UNSURE, "unknown", "unknown", "unknown"),
    ("refused", lambda: REFUSED, Shown.UNREAD, "unknown", "unknown", "unknown"),
    ("page", lambda: PAGE, Shown.UNREAD, "unknown", "unknown", "unknown"),
    ("HTML", lambda: httpx.Response(200, html="<html>"), Shown.UNREAD, "unknown", "unknown", "unknown"),
    ("text", lambda: httpx.Response(200, json={"jobs": ["one", "two"]}), Shown.UNREAD, "unknown", "unknown", "unknown"),
    ("502", lambda: httpx.Response(502, html="<html>"), Shown.UNREAD, "unknown", "unknown", "unknown"),
    ("half-open", lambda: httpx.ReadTimeout("no answer"), Shown.UNREAD, "unknown", "unknown", "unknown"),
]  # fmt: skip
each_list = pytest.mark.parametrize("case", LISTS, ids=[case[0] for case in LISTS])


class TestAJobThatIsLookedForInTheList:
    @each_list
    def test_a_lost_answer(self, cells, case):
        server = Server(jobs=case[1](), loses=1)
        assert start(server, Store(), append_url()) == case[3]
        assert cells[-1] == (Known.LOST, case[2])

    @each_list
    def test_an_attempt_that_broke_off(self, cells, case):
        server = Server(jobs=case[1](), submits=1)
        assert start(server, remembered(append_url, job_id=None), append_url(), is_retry=True) == case[4]
        assert cells == [(Known.SUBMIT, case[2])]

    @each_list
    def test_a_retry_where_nothing_is_remembered(self, cells, case):
        server = Server(jobs=case[1](), submits=1)
        assert start(server, None, append_url(), is_retry=True) == case[5]
        assert cells == [(Known.RETRY, case[2])]

    @each_list
    @pytest.mark.parametrize("make", [copy, sink, populate], ids=ids)
    def test_what_does_not_show_its_parameters_is_never_adopted(self, case, make):
        server = Server(jobs=[record_of(make)], loses=1)
        assert start(server, Store(), make()) == "unknown"
        server = Server(jobs=[record_of(make)], submits=1)
        assert start(server, remembered(make, job_id=None), make(), is_retry=True) == "unknown"
        assert start(server, None, make(), is_retry=True) == "unknown"

    @pytest.mark.parametrize("known", ["lost", "broke off", "nothing remembered"])
    def test_a_mapped_task_never_adopts(self, known):
        jobs = [record_of(append_url)]
        if known == "lost":
            found = start(Server(jobs=jobs, loses=1), Store(), append_url(), is_mapped=True)
        else:
            store = remembered(append_url, job_id=None) if known == "broke off" else None
            found = start(Server(jobs=jobs, submits=1), store, append_url(), is_retry=True, is_mapped=True)
        assert found == "unknown"

    @each_list
    @pytest.mark.parametrize("make", IDEMPOTENT, ids=ids)
    def test_what_is_idempotent_is_submitted(self, case, make):
        server = Server(jobs=case[1](), submits=1)
        assert start(server, remembered(make, job_id=None), make(), is_retry=True) == "submit"
        assert start(server, None, make(), is_retry=True) == "submit"

    @pytest.mark.parametrize("store", [remembered(append_url, job_id=None), None], ids=["broke off", "not remembered"])
    def test_a_job_that_wrote_nothing_is_none(self, store):
        failed = record_of(append_url, status="error", error="maximum number of import jobs")
        found = start(Server(jobs=[failed], submits=1), store, append_url(), is_retry=True)
        assert found == ("submit" if store is None else "unknown")  # ours may not be in the list yet

    def test_a_list_that_does_not_go_back_far_enough(self):
        others = [record_of(append_url, id=f"j{i}", url=f"https://files.example/{i}.csv") for i in range(100)]
        assert start(Server(jobs=others, submits=1), None, append_url(), is_retry=True) == "unknown"
        others[-1]["created_at"] = "2026-01-01 00:00:00"
        assert start(Server(jobs=others, submits=1), None, append_url(), is_retry=True) == "submit"

    def test_a_run_whose_start_is_not_known(self):
        date = f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT"
        found = start(Server(submits=1, date=date), None, append_url(), is_retry=True, first_started_at=0.0)
        assert found == "submit"

    def test_an_attempt_that_is_older_than_the_list(self):
        since = time.time() - 3 * 86400
        assert start(Server(submits=1), None, append_url(), is_retry=True, first_started_at=since) == "unknown"

    def test_a_server_whose_clock_is_behind(self):
        """Its job seems to be older than the task: after a lost answer that is unknown, and no retry takes it for none."""
        behind = datetime.fromtimestamp(time.time() - 3 * 3600, UTC)
        job = record_of(append_url, created_at=f"{behind:%Y-%m-%d %H:%M:%S.%f}")
        date = f"{behind:%a, %d %b %Y %H:%M:%S} GMT"
        assert start(Server(jobs=[job], loses=1, date=date), Store(), append_url()) == "unknown"
        assert start(Server(jobs=[job], submits=1, date=date), None, append_url(), is_retry=True) == "reattach"
        job = record_of(copy, created_at=job["created_at"])
        assert start(Server(jobs=[job], submits=1, date=date), None, copy(), is_retry=True) == "unknown"

    @pytest.mark.parametrize(
        ("jobs", "said"),
        [(REFUSED, "The token has no access"), (PAGE, "blocked"), (httpx.ReadTimeout("slow"), "time for an answer ran out")],
        ids=["refused", "page", "half-open"],
    )  # fmt: skip
    def test_both_causes_are_named(self, jobs, said):
        client = Client(
            Settings(base_url="https://api.tinybird.co", token=Token("p.x.y"), max_retries=0),
            transport=httpx.MockTransport(Server(jobs=jobs, loses=1).answer),
        )
        submitter = Submitter(client=client, memory=Memory(None, Attempt(max_tries=0)), sleep=lambda _: None)
        with pytest.raises(OutcomeUnknownError) as caught:
            submitter.start(copy(), deadline=time.time() + 60)
        message = str(caught.value)
        assert message.startswith("It is not known whether Tinybird did this: run copy pipe 'daily'. The time for an")
        assert said in message
        assert "the job may be running" in message


class TestWhatIsNotAsked:
    @pytest.mark.parametrize("make", [*DOUBLE, *IDEMPOTENT], ids=ids)
    @pytest.mark.parametrize("word", ["working", "done", "error", "cancelled"])
    @pytest.mark.parametrize("how", ["first", "cleared", "not durable"])
    def test_it_is_submitted(self, cells, make, word, how):
        """A first attempt, the first after a clear, and a task that is not to remember look at nothing."""
        server = Server(looks=[record_of(make, status=word)], jobs=[record_of(make)], submits=1)
        store = {"first": Store(), "cleared": remembered(make), "not durable": None}[how]
        attempt = {"max_tries": 3} if how == "cleared" else {}
        assert start(server, store, make(), **attempt) == "submit"
        assert cells == [(Known.NOTHING, None)]

    @pytest.mark.parametrize("make", [*DOUBLE, *IDEMPOTENT], ids=ids)
    def test_a_submit_of_another_request_that_broke_off(self, cells, make):
        server = Server(submits=1)
        found = start(server, remembered(make, job_id=None), make("https://files.example/other.csv"), is_retry=True)
        assert found == ("submit" if make in IDEMPOTENT else "unknown")
        assert cells == [(Known.OTHER_SUBMIT, None)]


def test_no_cell_is_left_out():
    """Each cell of the table has a case above."""
    of_job = {case[3] for case in OF_A_JOB} | {Shown.FAILED}
    assert of_job == set(OF_JOB) == set(OTHERWISE[Known.OTHER_JOB])
    of_list = {case[2] for case in LISTS}
    for known in (Known.LOST, Known.SUBMIT, Known.RETRY):
        assert of_list == set(OTHERWISE[known]) - {Shown.WROTE_NOTHING}, known
    assert set(OTHERWISE) == {Known.LOST, Known.SUBMIT, Known.RETRY, Known.OTHER_JOB}


@pytest.mark.parametrize("table", [OF_JOB, *OTHERWISE.values()], ids=["job", *OTHERWISE])
def test_nothing_in_doubt_is_ever_submitted(table):
    doubt = {Shown.FAILED, Shown.CANCELLED, Shown.MISSING, Shown.UNREAD, Shown.UNSURE, Shown.GOING_ON, Shown.DONE}
    for shown in doubt & set(table):
        step = table[shown][0] if isinstance(table[shown], tuple) else table[shown]
        assert step.value != "submit"
