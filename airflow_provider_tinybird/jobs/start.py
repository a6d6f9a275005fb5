"""One job for one task: what a task remembers of its job across attempts, and how it finds a job whose answer was lost.

Nothing here knows Airflow; the store is whatever keeps JSON under a key for one task instance.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Protocol

from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.answers import is_quota_text
from airflow_provider_tinybird.api.call import Call, Reply
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    ConnectionFailedError,
    InvalidInputError,
    OutcomeUnknownError,
    ServerError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.job import parse_job
from airflow_provider_tinybird.api.models import Job, JobStatus
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.jobs.reattach import Known, Shown, Step, needs_look, step
from airflow_provider_tinybird.jobs.submissions import Agreement, Submission
from airflow_provider_tinybird.timespans import deadlines

log = logging.getLogger(__name__)

KEY = "tinybird_job"
"""Key in the store. Renaming it would make retries that are under way submit twice."""

CLOCK_SLACK = 5.0
"""Seconds that the clocks of a worker and of Tinybird may differ, when jobs are sorted out by their creation."""

_LOOKS = (0.0, 2.0, 5.0)
"""Seconds before each look for a job whose answer was lost: it may be created while its validation still goes on."""

SEARCH_SECONDS = 60.0
"""Seconds that such a search may take, however much time the task has left."""

LISTED_JOBS = 100
"""Jobs that Tinybird's list has at the most: one that is full may leave out the one that is looked for."""

LISTED_SECONDS = 48 * 3600.0
"""Seconds for which a job stays in the list."""

# Words for a file that could not be fetched, so that nothing of it was read.
_NOT_FETCHED = re.compile(
    r"\b40[134]\b|\b410\b|not found|forbidden|unauthorized|could not (?:be )?(?:fetch|resolve|download|open|connect|reach)|"
    r"(?:failed|error|unable) (?:to|when|while) (?:fetch|resolv|download|open|connect)|(?:invalid|unreachable|wrong) url|"
    r"name or service not known|connection refused|no such host",
    re.IGNORECASE,
)


class OnUnknown(StrEnum):
    """What to do when it cannot be told whether a job was started."""

    FAIL = "fail"
    RESUBMIT = "resubmit"

    @classmethod
    def parse(cls, value: str) -> OnUnknown:
        """Read an argument.

        :raises InvalidInputError: it is neither.
        """
        try:
            return cls(value)
        except ValueError:
            raise InvalidInputError(
                f"on_unknown={value!r} is not known: give 'fail', or 'resubmit' to run the risk of doubled data."
            ) from None


class Store(Protocol):
    """Keeps JSON for one task instance across its attempts, as Airflow's task state store does."""

    def get(self, key: str) -> Any:
        """Return what is stored, or ``None``."""

    def set(self, key: str, value: Any) -> None:
        """Store JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Which attempt of a task this is.

    :param max_tries: Airflow's own count. A retry leaves it alone and a clear changes it: after a clear the task runs
        afresh.
    :param is_retry: whether an earlier attempt since the first run, or since the last clear, may have started a job.
    :param first_started_at: earliest moment (seconds since the epoch) at which that can have been.
    :param is_mapped: whether there are siblings that may send the very same request.
    """

    max_tries: int
    is_retry: bool = False
    first_started_at: float = 0.0
    is_mapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a task remembers of its job.

    :param fingerprint: of the request.
    :param max_tries: Airflow's count when it was written.
    :param began_at: moment just before the submit.
    :param deadline: moment at which the job must be over.
    :param job_id: the job; ``None`` while the answer to the submit is awaited.
    :param ending: what became of it, where a task has several jobs and goes on with the others.
    :param rows: rows that it wrote, where that is known.
    :param facts: what was found just before the submit, such as the rows that there were: small JSON.
    """

    fingerprint: str
    max_tries: int
    began_at: float
    deadline: float
    job_id: str | None = None
    ending: str = ""
    rows: int | None = None
    version: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)


class Memory:
    """Reads and writes a task's record.

    :param store: where; ``None`` where Airflow has none (before 3.3), so that nothing is remembered.
    :param attempt: the attempt.
    :param part: which of its jobs is meant, where a task has several; each has a record of its own.
    """

    def __init__(self, store: Store | None, attempt: Attempt, *, part: str = "") -> None:
        self._store = store
        self._key = f"{KEY}/{part}" if part else KEY
        self.attempt = attempt

    def of_part(self, part: str) -> Memory:
        """Return the memory of one of several jobs."""
        return Memory(self._store, self.attempt, part=part)

    @property
    def exists(self) -> bool:
        """Whether anything can be remembered."""
        return self._store is not None

    def recall(self, submission: Submission) -> Record | None:
        """Return the record of this very request, made since the last clear."""
        record = self._of_this_run()
        return record if record and record.fingerprint == submission.fingerprint else None

    def known(self, submission: Submission) -> tuple[Known, Record | None]:
        """Say what is known of a job before this submit, with the record that says so."""
        record = self._of_this_run()
        if record is None:
            blind = not self.exists and self.attempt.is_retry
            return (Known.RETRY if blind else Known.NOTHING), None
        if record.fingerprint == submission.fingerprint:
            return (Known.JOB if record.job_id else Known.SUBMIT), record
        if not self.attempt.is_retry:  # a job of this very attempt, such as the one before in a series
            return Known.NOTHING, None
        return (Known.OTHER_JOB if record.job_id else Known.OTHER_SUBMIT), record

    def _of_this_run(self) -> Record | None:
        stored = None if self._store is None else self._store.get(self._key)
        if not isinstance(stored, Mapping) or "fingerprint" not in stored:
            return None
        names = Record.__dataclass_fields__
        try:
            record = Record(**{name: value for name, value in stored.items() if name in names})
        except TypeError:
            log.warning("The stored record of this task's job cannot be read and is ignored: %s", sorted(stored))
            return None
        if record.max_tries != self.attempt.max_tries:
            log.info("This task was cleared since job %s: it runs afresh.", record.job_id)
            return None
        return record

    def forget(self) -> None:
        """Write that there is no job."""
        if self._store is not None:
            self._store.set(self._key, {"version": 1})

    def is_about(self, fingerprint: str) -> bool:
        """Note what a task of several jobs is about; tells whether that is what it was about in its earlier attempts."""
        key = f"{self._key}/about"
        stored = None if self._store is None else self._store.get(key)
        if isinstance(stored, Mapping) and stored.get("max_tries") == self.attempt.max_tries:
            return bool(stored.get("fingerprint") == fingerprint)
        if self._store is not None:
            self._store.set(key, {"version": 1, "max_tries": self.attempt.max_tries, "fingerprint": fingerprint})
        return True

    def first_facts(self, about: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Note what a first attempt found, and return it to later ones, which may see what it did; ``about`` says what it is about."""
        key = f"{self._key}/facts"
        stamp = {"version": 1, "max_tries": self.attempt.max_tries, "about": about}
        stored = None if self._store is None else self._store.get(key)
        if isinstance(stored, Mapping) and stamp.items() <= stored.items():
            return {**stored["facts"]}
        if self._store is not None:
            self._store.set(key, {**stamp, "facts": dict(facts)})
        return facts

    def blank(self, submission: Submission) -> Record:
        """Make a record of a submission, without a job."""
        now = time.time()
        return Record(fingerprint=submission.fingerprint, max_tries=self.attempt.max_tries, began_at=now, deadline=now)

    def remember(self, record: Record) -> None:
        """Write the record."""
        if self._store is not None:
            self._store.set(self._key, asdict(record))


@dataclass(frozen=True, slots=True)
class Started:
    """The one job of this task.

    :param job: the job.
    :param began_at: moment at which it was submitted.
    :param deadline: moment at which it must be over.
    :param facts: what was found just before it was submitted.
    :param is_reattached: whether an earlier attempt submitted it.
    """

    job: Job
    began_at: float
    deadline: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_reattached: bool = False


class BeforeSubmit(Protocol):
    """Looks before a job is submitted, and may refuse. Not asked where the job of an earlier attempt is taken up."""

    def __call__(self, earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the facts to remember.

        :param earlier: ``None`` on a first attempt. Else what the attempt before found, as far as that is known; its job may have done
            its work.
        """


def nothing_to_ask(earlier: Mapping[str, Any] | None) -> Mapping[str, Any]:  # noqa: ARG001
    """Submit without a look."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Starts a task's job once.

    :param client: sends the calls.
    :param memory: what is remembered.
    :param on_unknown: what to do when it cannot be told whether a job was started.
    :param others: ids of jobs that are known to be for something else.
    :param before_submit: looks before a job is submitted.
    :param ends_at: moment (seconds since the epoch) after which it sends nothing, where that is before the deadline of the job: the
        deadline of another job of the same task.
    :param sleep: waits; replaced in tests.
    """

    client: Client
    memory: Memory
    on_unknown: OnUnknown = OnUnknown.FAIL
    others: frozenset[str] = frozenset()
    before_submit: BeforeSubmit = nothing_to_ask
    ends_at: float = math.inf
    sleep: Callable[[float], None] = time.sleep

    def start(self, submission: Submission, *, deadline: float) -> Started:
        """Take up the job that an earlier attempt started, or start one.

        :param deadline: moment at which a job that is started now must be over; one that is taken up keeps its own.
        :raises OutcomeUnknownError: it cannot be told whether a job was started.
        """
        known, record = self.memory.known(submission)
        by = min(deadline, self.ends_at)
        found = self._ask(known, record, submission, by)
        todo = step(known, found.shown if found else None, is_idempotent=submission.is_idempotent)
        if todo is Step.REATTACH and found and found.job:
            if record is None or not record.job_id:
                return self._adopt(submission, found.job, record or self._blind(deadline))
            log.info(
                "An earlier attempt started %s, which is %s: taking it up. Nothing is submitted now; clear the task, or set durable=False, "
                "to start another job.",
                *(found.job, found.job.status_text or "not seen yet"),
            )
            return Started(found.job, record.began_at, record.deadline, record.facts, is_reattached=True)
        if todo is Step.UNKNOWN:
            self._unknown(submission, known, found)
        elif found:
            log.info("%s. It is submitted.", _capital(found.says))
        # What was found for another request says nothing of what there was before this one.
        mine = record if known in (Known.JOB, Known.SUBMIT) else None
        return self._submit(submission, deadline, self.before_submit(self._earlier(mine)))

    def _blind(self, deadline: float) -> Record:
        since = self.memory.attempt.first_started_at
        return Record(fingerprint="", max_tries=self.memory.attempt.max_tries, began_at=since, deadline=deadline)

    def _earlier(self, record: Record | None) -> Mapping[str, Any] | None:
        if record:
            return record.facts
        return {} if not self.memory.exists and self.memory.attempt.is_retry else None

    def _submit(
        self, submission: Submission, deadline: float, facts: Mapping[str, Any], *, is_second: bool = False
    ) -> Started:
        record = Record(
            fingerprint=submission.fingerprint,
            max_tries=self.memory.attempt.max_tries,
            began_at=time.time(),
            deadline=deadline,
            facts=facts,
        )
        if facts or not submission.is_idempotent:
            # Written first, so that an attempt after a crash knows that there may be a job, and what there was before it.
            self.memory.remember(record)
        try:
            by = min(deadline, self.ends_at)
            job = self.client.send(submission.call, deadline=deadlines.monotonic(by))
        except OutcomeUnknownError as e:
            found = self._in_list(submission, record.began_at, by, Known.LOST)
            if step(Known.LOST, found.shown, is_idempotent=False) is Step.REATTACH and found.job:
                return self._adopt(submission, found.job, record)
            if is_second:
                raise
            self._unknown(submission, Known.LOST, found, lost=e)
            return self._submit(submission, deadline, facts, is_second=True)
        except UnreadableAnswerError:
            raise  # it was accepted: a job may be running
        except TinybirdError as e:
            # Refused or not sent: nothing was started, and a retry must not look for a job. What was found before an idempotent one whose
            # answer was lost is kept: it may have been done, and would not be found again.
            if not (facts and submission.is_idempotent and _may_have_arrived(e)):
                self.memory.forget()
            raise
        return self._remember(job, record)

    def _remember(self, job: Job, record: Record) -> Started:
        self.memory.remember(replace(record, job_id=job.id))
        return Started(job, record.began_at, record.deadline, record.facts)

    def _adopt(self, submission: Submission, job: Job, record: Record) -> Started:
        log.warning("%s is the one that was asked for, by all that Tinybird shows of it: taking it up.", job)
        return self._remember(job, replace(record, fingerprint=submission.fingerprint))

    # What Tinybird says

    def _ask(self, known: Known, record: Record | None, submission: Submission, deadline: float) -> Found | None:
        if not needs_look(known, is_idempotent=submission.is_idempotent):
            return None
        if record and record.job_id:
            return self._of_job(submission, record.job_id, deadline)
        since = record.began_at if record else self.memory.attempt.first_started_at
        return self._in_list(submission, since, deadline, known)

    def _of_job(self, submission: Submission, job_id: str, deadline: float) -> Found:
        """Look at the job whose id is remembered."""
        try:
            job = jobs.find(self.client, job_id, deadline=deadline, sleep=self.sleep)
        except TinybirdError as e:
            log.warning("Job %s of an earlier attempt could not be looked at. %s", job_id, e)
            unseen = parse_job({"job_id": job_id, "status": JobStatus.UNKNOWN.value})
            return Found(Shown.UNREAD, f"job {job_id} of an earlier attempt could not be looked at: {e}", unseen)
        if job is None:
            return Found(
                Shown.MISSING,
                f"Tinybird does not know job {job_id} of an earlier attempt, neither at {len(jobs.FIND_PAUSES)} looks nor in "
                "tinybird.jobs_log",
            )
        return self._judged(submission, job, deadlines.looks_end(deadline))

    def _judged(self, submission: Submission, job: Job, ends: float) -> Found:
        shown = {
            JobStatus.DONE: Shown.DONE,
            JobStatus.ERROR: Shown.FAILED,
            JobStatus.CANCELLED: Shown.CANCELLED,
        }.get(job.status, Shown.GOING_ON)
        if shown is Shown.FAILED and self._wrote_nothing(submission, job, ends):
            shown = Shown.WROTE_NOTHING
        ended = {
            Shown.WROTE_NOTHING: "failed and wrote nothing",
            Shown.FAILED: "failed, and a part of its rows may be in",
            Shown.CANCELLED: "was cancelled, and a part of its rows may be in",
        }.get(shown, f"is {job.status_text}")
        why = f" ({job.error})" if job.error else ""
        return Found(shown, f"{job} of an earlier attempt {ended}{why}", job)

    def _wrote_nothing(self, submission: Submission, job: Job, ends: float) -> bool:
        """Tell whether no row of a job that failed is in. What is not shown does not count."""
        if submission.fails_clean or is_quota_text(job.error):
            return True
        if submission.kind != "import":
            return False
        try:
            shown = self.client.send(jobs_api.get_job(job.id, blocks=True), deadline=ends)
        except TinybirdError as e:
            log.info("What %s wrote is not known. %s", job, e)
            return False
        blocks = shown.blocks
        if blocks is None:
            return False
        if blocks.blocks == 0:
            return _NOT_FETCHED.search(job.error) is not None
        return blocks.parts >= blocks.blocks and blocks.lines == 0

    def _in_list(self, submission: Submission, since: float, deadline: float, known: Known) -> Found:
        """Look for a job by what it shows of the request.

        :param since: moment before which it cannot have been created.
        """
        ends = min(deadlines.looks_end(deadline), time.monotonic() + SEARCH_SECONDS)
        found = Found(Shown.UNREAD, "the list of jobs was not read")
        for pause in _LOOKS if known is Known.LOST else _LOOKS[:1]:
            left = ends - time.monotonic()
            if pause and left <= 0:
                break
            self.sleep(min(pause, max(0.0, left)))
            try:
                found = self._candidates(submission, since, known, ends)
            except TinybirdError as e:
                found = Found(Shown.UNREAD, f"the list of jobs could not be read, so the job may be running: {e}")
                if jobs.is_final(e):
                    break
            else:
                if found.shown is not Shown.NONE:
                    break
        return found

    def _candidates(self, submission: Submission, since: float, known: Known, ends: float) -> Found:
        listing = self.client.send(_listing(submission.kind), deadline=ends)
        if known is Known.RETRY:
            # A server whose clock is behind must not hide the job of the attempt before.
            since = min(since, since - listing.ahead)
        sure: list[Found] = []
        unsure: list[Job] = []
        for job in listing.jobs:
            agreement = submission.agrees(job)
            too_old = job.created_at is not None and job.created_at.timestamp() < since - CLOCK_SLACK
            if agreement is Agreement.NO or job.id in self.others or too_old:
                continue
            judged = self._judged(submission, job, ends)
            if judged.shown is Shown.WROTE_NOTHING and known is not Known.LOST:
                continue
            # A sibling of a mapped task may have sent the very same request, and its job is not ours to take.
            identified = submission.identifies and not self.memory.attempt.is_mapped
            if identified and agreement is Agreement.YES and job.created_at is not None:
                sure.append(judged)
            else:
                unsure.append(job)
        if len(sure) == 1 and not unsure:
            return sure[0]
        candidates = [*(one.job for one in sure if one.job), *unsure]
        if candidates:
            names = ", ".join(f"{one.id} ({one.status_text}{_created(one)})" for one in candidates)
            says = f"Tinybird's list has these jobs that may be it, or somebody else's: {names}"
            return Found(Shown.UNSURE, says)
        if known is Known.RETRY and not listing.reaches(since):
            return Found(Shown.UNSURE, "Tinybird's list of jobs does not go back to the attempt before")
        return Found(Shown.NONE, "Tinybird's list has no job that could be it")

    def _unknown(
        self, submission: Submission, known: Known, found: Found | None, *, lost: OutcomeUnknownError | None = None
    ) -> None:
        why = _WHY[known] if lost is None else lost.cause.rstrip(".")
        cause = ". ".join(part for part in (why, _capital(found.says) if found else "") if part)
        if self.on_unknown is OnUnknown.RESUBMIT:
            log.warning("%s. It is submitted again, as on_unknown='resubmit' says.", cause)
            return
        raise OutcomeUnknownError(
            submission.call.what,
            "jobs list" if lost is None else lost.where,
            cause,
            "Look at the jobs and at the rows that are there. Then clear the task to run it again, or mark it as success. "
            "on_unknown='resubmit' always runs it again, at the risk of doubled data.",
        ) from lost


_WHY = {
    Known.JOB: "",
    Known.SUBMIT: "An earlier attempt broke off while it started the job",
    Known.OTHER_JOB: "An earlier attempt asked for something else, since a template or the DAG has changed",
    Known.OTHER_SUBMIT: (
        "An earlier attempt broke off while it started a job, and asked for something else, since a template or the DAG has changed"
    ),
    Known.RETRY: "This is a retry, and an earlier attempt may have started a job",
    Known.LOST: "The answer was lost",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What Tinybird says of a job.

    :param shown: what it comes to.
    :param says: the same for people, the begin of a sentence.
    :param job: the job, where there is one.
    """

    shown: Shown
    says: str
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class _Listing:
    """Tinybird's list of jobs.

    :param jobs: the jobs.
    :param ahead: seconds that this machine's clock is ahead of the server's, as far as that is known.
    """

    jobs: tuple[Job, ...]
    ahead: float

    def reaches(self, since: float) -> bool:
        """Tell whether no job that was created since then can be missing from it."""
        if since > 0 and time.time() - since > LISTED_SECONDS:
            return False
        oldest = min((one.created_at.timestamp() for one in self.jobs if one.created_at), default=0.0)
        return len(self.jobs) < LISTED_JOBS or oldest < since - CLOCK_SLACK


def _listing(kind: str) -> Call[_Listing]:
    call = jobs_api.list_jobs(kind=kind or None)

    def read(reply: Reply) -> _Listing:
        try:
            server: datetime | None = parsedate_to_datetime(reply.headers.get("date") or "")
        except (ValueError, OverflowError):
            server = None
        return _Listing(call.read(reply), time.time() - server.timestamp() if server else 0.0)

    return Call(
        what=call.what,
        method=call.method,
        path=call.path,
        params=call.params,
        read=read,
        repeat=call.repeat,
        scope=call.scope,
    )


def _created(job: Job) -> str:
    return f", created {job.created_at:%H:%M:%S} UTC" if job.created_at else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _may_have_arrived(error: TinybirdError) -> bool:
    return isinstance(error, ServerError) or (isinstance(error, ConnectionFailedError) and error.sent)
