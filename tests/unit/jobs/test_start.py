"""One job for one task: retries, crashes, clears and lost answers, against a server that keeps a list of jobs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import OutcomeUnknownError, TinybirdError
from airflow_provider_tinybird.api.models import FileFormat
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.jobs import submissions
from airflow_provider_tinybird.jobs.start import KEY, Attempt, Memory, OnUnknown, Submitter

URL = "https://files.example/day.csv"


class Store(dict[str, Any]):
    """Keeps what it is given as JSON, as Airflow's does."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@dataclass
class Tinybird:
    """Keeps jobs; can take a submit and lose the answer to it."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    lose: str = ""  # "after": the job is made and the answer lost; "before": the request is lost
    refuse: httpx.Response | httpx.ConnectError | None = None
    submits: int = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "GET" and path == "/v0/jobs":
            kind = request.url.params.get("kind")
            return httpx.Response(200, json={"jobs": [job for job in self.jobs if not kind or job["kind"] == kind]})
        if request.method == "GET":
            found = [job for job in self.jobs if job["id"] == path.rpartition("/")[2]]
            return httpx.Response(200, json=found[0]) if found else httpx.Response(404, json={"error": "no such job"})
        if path == "/v0/sql":  # tinybird.jobs_log
            return httpx.Response(403, json={"error": "no"})
        if isinstance(self.refuse, httpx.ConnectError):
            raise self.refuse
        if self.refuse:
            return self.refuse
        self.submits += 1
        if self.lose == "before":
            raise httpx.ReadTimeout("lost")
        job = self.add(**self._fields(request))
        if self.lose == "after":
            raise httpx.RemoteProtocolError("lost")
        return httpx.Response(200, json={"id": "t_node", "job": job} if "/copy" in path else {**job, "job": job})

    def add(self, *, status: str = "working", created: float | None = None, **fields: Any) -> dict[str, Any]:
        moment = datetime.fromtimestamp(created or time.time(), UTC)
        job_id = f"job-{len(self.jobs) + 1}"
        job = {"id": job_id, "job_id": job_id, "status": status, "created_at": f"{moment:%Y-%m-%d %H:%M:%S.%f}"}
        self.jobs.append(job | fields)
        return self.jobs[-1]

    def _fields(self, request: httpx.Request) -> dict[str, Any]:
        path = request.url.path
        if path.endswith("/copy"):
            return {"kind": "copy", "pipe_name": path.split("/")[3]}
        if path == "/v0/datasources":
            form = parse_qs(request.content.decode())
            return {
                "kind": "import",
                "url": form["url"][0],
                "mode": request.url.params["mode"],
                "datasource": {"id": "t_1", "name": request.url.params["name"]},
            }
        return {"kind": "import", "mode": "append", "datasource": {"id": "t_1", "name": path.split("/")[3]}}


@pytest.fixture
def tinybird() -> Tinybird:
    return Tinybird()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def submitter(tinybird: Tinybird) -> Callable[..., Submitter]:
    settings = Settings(base_url="https://api.tinybird.co", token=Token("p.x.y"), max_retries=0)
    client = Client(settings, transport=httpx.MockTransport(tinybird.answer))

    def make(store: Store | None, *, on_unknown: str = "fail", **attempt: Any) -> Submitter:
        memory = Memory(store, Attempt(**{"max_tries": 2, **attempt}))
        return Submitter(client=client, memory=memory, on_unknown=OnUnknown(on_unknown), sleep=lambda _: None)

    return make


def append_url(url: str = URL) -> submissions.Submission:
    return submissions.import_url("flights", url, format=FileFormat.CSV, mode="append", replace_condition=None)


def replace_url() -> submissions.Submission:
    return submissions.import_url("flights", URL, format=FileFormat.CSV, mode="replace", replace_condition=None)


def copy(mode: str | None = "append", **parameters: Any) -> submissions.Submission:
    return submissions.run_copy("daily", parameters, mode=mode, on_demand_compute=False)


def deadline() -> float:
    return time.time() + 60


def test_a_retry_takes_up_the_job_that_runs(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    first = submitter(store).start(copy(), deadline=deadline())
    again = submitter(store, is_retry=True).start(copy(), deadline=deadline() + 1000)
    assert (again.job.id, tinybird.submits) == (first.job.id, 1)
    assert (again.began_at, again.deadline) == (first.began_at, first.deadline)


def test_a_retry_takes_the_result_of_a_job_that_is_done(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    submitter(store).start(copy(), deadline=deadline())
    tinybird.jobs[0]["status"] = "done"
    assert submitter(store, is_retry=True).start(copy(), deadline=deadline()).job.status == "done"
    assert tinybird.submits == 1


def test_a_retry_submits_again_after_a_copy_that_failed(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    submitter(store).start(copy(), deadline=deadline())
    tinybird.jobs[0]["status"] = "error"
    assert submitter(store, is_retry=True).start(copy(), deadline=deadline()).job.id == "job-2"


def test_a_retry_is_red_when_tinybird_forgot_the_job(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    """It may have been done: what cannot be found is not known not to be there."""
    submitter(store).start(copy(), deadline=deadline())
    tinybird.jobs.clear()
    with pytest.raises(OutcomeUnknownError, match="does not know job job-1 of an earlier attempt"):
        submitter(store, is_retry=True).start(copy(), deadline=deadline())
    assert tinybird.submits == 1


@pytest.mark.parametrize("status", ["working", "done"])
def test_a_cleared_task_runs_afresh(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter], status: str
) -> None:
    submitter(store).start(copy(), deadline=deadline())
    tinybird.jobs[0]["status"] = status
    assert submitter(store, max_tries=3).start(copy(), deadline=deadline()).job.id == "job-2"


def test_another_request_is_not_mistaken_for_this_one(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    """Nor is it started beside it, as a template such as the time would have it: that could double rows."""
    submitter(store).start(copy(day="2013-01-01"), deadline=deadline())
    with pytest.raises(OutcomeUnknownError, match="asked for something else"):
        submitter(store, is_retry=True).start(copy(day="2013-01-02"), deadline=deadline())
    tinybird.jobs[0]["status"] = "error"
    assert submitter(store, is_retry=True).start(copy(day="2013-01-02"), deadline=deadline()).job.id == "job-2"


def test_a_record_of_a_later_version_or_of_rubbish_is_ignored(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    started = submitter(store).start(copy(), deadline=deadline())
    store[KEY]["added_later"] = 1
    assert submitter(store, is_retry=True).start(copy(), deadline=deadline()).job.id == started.job.id
    store[KEY] = {"fingerprint": "of another kind"}
    submitter(store, is_retry=True).start(copy(), deadline=deadline())
    assert tinybird.submits == 2


def test_the_record_holds_no_secret_and_nothing_of_the_request(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    submitter(store).start(append_url(f"{URL}?X-Amz-Signature=secret"), deadline=deadline())
    known = {"fingerprint", "max_tries", "began_at", "deadline", "job_id", "ending", "rows", "version", "facts"}
    assert set(store[KEY]) == known
    assert "secret" not in json.dumps(store)


def test_a_lost_answer_is_made_up_for_by_the_one_job_that_shows_the_same_url(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    tinybird.add(kind="import", url="https://files.example/other.csv", mode="append", datasource={"name": "flights"})
    tinybird.add(kind="import", url=URL, mode="replace", datasource={"name": "flights"})
    tinybird.add(kind="import", url=URL, mode="append", datasource={"name": "weather"})
    tinybird.add(kind="import", url=URL, mode="append", datasource={"name": "flights"}, created=time.time() - 60)
    tinybird.lose = "after"
    started = submitter(store).start(append_url(), deadline=deadline())
    assert (started.job.id, store[KEY]["job_id"], tinybird.submits) == ("job-5", "job-5", 1)


def test_a_lost_answer_with_two_such_jobs_is_an_error_that_names_both(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    tinybird.lose = "after"
    tinybird.add(kind="import", url=URL, mode="append", datasource={"name": "flights"})
    with pytest.raises(OutcomeUnknownError, match=r"job-1.*job-2"):
        submitter(store).start(append_url(), deadline=deadline())
    assert tinybird.submits == 1


def test_a_lost_answer_with_no_such_job_is_an_error(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    tinybird.lose = "before"
    with pytest.raises(OutcomeUnknownError, match="no job that could be it"):
        submitter(store).start(append_url(), deadline=deadline())
    assert tinybird.submits == 1


@pytest.mark.parametrize("mode", ["append", None])
def test_a_copy_is_never_taken_up_by_its_looks_for_its_record_hides_the_parameters(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter], mode: str | None
) -> None:
    tinybird.lose = "after"
    with pytest.raises(OutcomeUnknownError, match="job-1"):
        submitter(store).start(copy(mode), deadline=deadline())
    assert tinybird.submits == 1


def test_mapped_tasks_never_take_each_others_jobs(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    submitter(Store(), is_mapped=True).start(append_url(), deadline=deadline())
    tinybird.lose = "before"
    with pytest.raises(OutcomeUnknownError, match="job-1"):
        submitter(store, is_mapped=True).start(append_url(), deadline=deadline())


def test_who_says_resubmit_gets_it_submitted_again(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    tinybird.lose = "after"
    answers = iter(["after", ""])
    original = tinybird.answer

    def answer_once_lost(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            tinybird.lose = next(answers)
        return original(request)

    settings = Settings(base_url="https://api.tinybird.co", token=Token("p.x.y"), max_retries=0)
    client = Client(settings, transport=httpx.MockTransport(answer_once_lost))
    memory = Memory(store, Attempt(max_tries=2))
    risky = Submitter(client=client, memory=memory, on_unknown=OnUnknown.RESUBMIT, sleep=lambda _: None)
    assert risky.start(copy(), deadline=deadline()).job.id == "job-2"


def test_who_says_resubmit_and_loses_that_answer_too_gets_an_error(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    tinybird.lose = "after"
    with pytest.raises(OutcomeUnknownError):
        submitter(store, on_unknown="resubmit").start(copy(), deadline=deadline())
    assert tinybird.submits == 2


@pytest.mark.parametrize(
    "refusal",
    [
        httpx.Response(403, json={"error": "You have reached the maximum number of copy jobs"}),
        httpx.Response(429, json={"error": "slow down"}),
        httpx.Response(400, json={"error": "no such column"}),
        httpx.ConnectError("refused"),
    ],
    ids=["quota", "rate", "sql", "connection"],
)
def test_after_a_refusal_a_retry_starts_the_job(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter], refusal: httpx.Response | httpx.ConnectError
) -> None:
    tinybird.refuse = refusal
    with pytest.raises(TinybirdError):
        submitter(store).start(copy(), deadline=deadline())
    tinybird.refuse = None
    tinybird.add(kind="copy", pipe_name="daily")
    assert submitter(store, is_retry=True).start(copy(), deadline=deadline()).job.id == "job-2"


def test_after_a_crash_between_submit_and_record_the_job_is_found(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    submitter(store).start(append_url(), deadline=deadline())
    store[KEY]["job_id"] = None  # as it was just before the answer
    assert submitter(store, is_retry=True).start(append_url(), deadline=deadline()).job.id == "job-1"
    assert tinybird.submits == 1


def test_after_a_crash_between_submit_and_record_a_copy_is_red_and_not_doubled(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter]
) -> None:
    submitter(store).start(copy(), deadline=deadline())
    store[KEY]["job_id"] = None
    with pytest.raises(OutcomeUnknownError, match="job-1"):
        submitter(store, is_retry=True).start(copy(), deadline=deadline())
    assert tinybird.submits == 1


@pytest.mark.parametrize("submission", [replace_url(), copy("replace")])
def test_idempotent_work_is_simply_submitted_again(
    tinybird: Tinybird, store: Store, submitter: Callable[..., Submitter], submission: submissions.Submission
) -> None:
    submitter(store).start(submission, deadline=deadline())
    store[KEY]["job_id"] = None
    submitter(store, is_retry=True).start(submission, deadline=deadline())
    assert tinybird.submits == 2


class TestWithoutAStore:
    """Airflow below 3.3 remembers nothing, so that a retry looks at the list of jobs."""

    def test_a_retry_takes_up_the_job_that_shows_the_same_url(
        self, tinybird: Tinybird, submitter: Callable[..., Submitter]
    ) -> None:
        submitter(None).start(append_url(), deadline=deadline())
        again = submitter(None, is_retry=True, first_started_at=time.time() - 10).start(
            append_url(), deadline=deadline()
        )
        assert (again.job.id, tinybird.submits) == ("job-1", 1)

    def test_a_retry_submits_when_there_is_no_such_job(
        self, tinybird: Tinybird, submitter: Callable[..., Submitter]
    ) -> None:
        submitter(None, is_retry=True, first_started_at=time.time() - 10).start(append_url(), deadline=deadline())
        assert tinybird.submits == 1

    def test_a_retry_submits_again_after_a_copy_that_failed(
        self, tinybird: Tinybird, submitter: Callable[..., Submitter]
    ) -> None:
        submitter(None).start(copy(), deadline=deadline())
        tinybird.jobs[0]["status"] = "error"
        again = submitter(None, is_retry=True, first_started_at=time.time() - 10).start(copy(), deadline=deadline())
        assert again.job.id == "job-2"

    def test_a_retry_is_red_after_an_import_that_failed(
        self, tinybird: Tinybird, submitter: Callable[..., Submitter]
    ) -> None:
        """A part of its rows may be in."""
        submitter(None).start(append_url(), deadline=deadline())
        tinybird.jobs[0]["status"] = "error"
        with pytest.raises(OutcomeUnknownError, match="a part of its rows may be in"):
            submitter(None, is_retry=True, first_started_at=time.time() - 10).start(append_url(), deadline=deadline())
        assert tinybird.submits == 1

    def test_a_retry_of_a_copy_is_red_when_a_job_of_the_pipe_may_be_its_own(
        self, tinybird: Tinybird, submitter: Callable[..., Submitter]
    ) -> None:
        submitter(None).start(copy(), deadline=deadline())
        with pytest.raises(OutcomeUnknownError, match="job-1"):
            submitter(None, is_retry=True, first_started_at=time.time() - 10).start(copy(), deadline=deadline())
        assert tinybird.submits == 1

    def test_jobs_from_before_the_run_are_not_looked_at(
        self, tinybird: Tinybird, submitter: Callable[..., Submitter]
    ) -> None:
        tinybird.add(kind="copy", pipe_name="daily", created=time.time() - 3600)
        submitter(None, is_retry=True, first_started_at=time.time() - 10).start(copy(), deadline=deadline())
        assert tinybird.submits == 1

    def test_the_first_attempt_looks_at_nothing(self, tinybird: Tinybird, submitter: Callable[..., Submitter]) -> None:
        tinybird.add(kind="import", url=URL, mode="append", datasource={"name": "flights"})
        assert submitter(None).start(append_url(), deadline=deadline()).job.id == "job-2"


class TestBeforeSubmit:
    """A look before the submit: not where a job is taken up, and with what the attempt before found."""

    @pytest.fixture
    def looks(self) -> list[Any]:
        return []

    @pytest.fixture
    def looking(self, submitter, looks):
        def make(store, **attempt):
            def look(earlier):
                looks.append(earlier)
                return {"rows_before": 10 - len(looks)}

            return dataclasses.replace(submitter(store, **attempt), before_submit=look)

        return make

    def test_a_job_that_is_taken_up_brings_its_facts(self, looking, store, looks):
        first = looking(store).start(replace_url(), deadline=time.time() + 60)
        second = looking(store).start(replace_url(), deadline=time.time() + 60)
        assert (second.job.id, second.facts, looks) == (first.job.id, {"rows_before": 9}, [None])

    def test_a_look_that_refuses_starts_nothing(self, submitter, store, tinybird):
        def refuse(earlier):
            raise TinybirdError("no")

        with pytest.raises(TinybirdError, match="no"):
            dataclasses.replace(submitter(store), before_submit=refuse).start(replace_url(), deadline=time.time() + 60)
        assert (tinybird.submits, store) == (0, {})

    def test_what_was_found_outlives_a_lost_answer(self, looking, store, looks, tinybird):
        tinybird.lose = "after"
        with pytest.raises(TinybirdError, match="lost"):
            looking(store).start(replace_url(), deadline=time.time() + 60)
        tinybird.lose = ""
        looking(store).start(replace_url(), deadline=time.time() + 60)
        assert looks == [None, {"rows_before": 9}]

    def test_a_refusal_is_forgotten(self, looking, store, looks, tinybird):
        tinybird.refuse = httpx.Response(400, json={"error": "no"})
        with pytest.raises(TinybirdError, match="no"):
            looking(store).start(replace_url(), deadline=time.time() + 60)
        tinybird.refuse = None
        looking(store).start(replace_url(), deadline=time.time() + 60)
        assert looks == [None, None]

    def test_after_a_clear_nothing_counts(self, looking, store, looks):
        looking(store).start(replace_url(), deadline=time.time() + 60)
        looking(store, max_tries=3).start(replace_url(), deadline=time.time() + 60)
        assert looks == [None, None]

    @pytest.mark.parametrize(("is_retry", "earlier"), [(False, None), (True, {})])
    def test_without_a_store_a_retry_is_told(self, looking, looks, is_retry, earlier):
        looking(None, is_retry=is_retry).start(replace_url(), deadline=time.time() + 60)
        assert looks == [earlier]

    def test_a_record_of_before_there_were_facts(self, looking, store, looks):
        job = looking(store).start(replace_url(), deadline=time.time() + 60).job
        del store[KEY]["facts"]
        started = looking(store).start(replace_url(), deadline=time.time() + 60)
        assert (started.job.id, dict(started.facts)) == (job.id, {})
