"""One job for one task: what a task remembers of its job across attempts, and how it finds a job whose answer was lost.

Nothing here knows Airflow; the store is whatever keeps JSON under a key for one task instance.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import (
    ConnectionFailedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    TinybirdError,
    UnreadableAnswerError,
)
from airflow_provider_tinybird.api.job import Job, JobStatus
from airflow_provider_tinybird.submissions import Submission

log = logging.getLogger(__name__)

KEY = "tinybird_job"
"""Key in the store. Renaming it would make retries that are under way submit twice."""

CLOCK_SLACK = 5.0
"""Seconds that the clocks of a worker and of Tinybird may differ, when jobs are sorted out by their creation."""

_LOOKS = (0.0, 2.0, 5.0)
"""Seconds before each look for a job whose answer was lost: it may be created while its validation still goes on."""


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
        if record.fingerprint != submission.fingerprint:
            if self.attempt.is_retry:  # else it is a job of this very attempt, such as the one before in a series
                log.info("Job %s was for another request: it is not taken for this one.", record.job_id)
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
    """

    job: Job
    began_at: float
    deadline: float
    facts: Mapping[str, Any] = field(default_factory=dict)


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
class Starter:
    """Starts a task's job once.

    :param client: sends the calls.
    :param memory: what is remembered.
    :param on_unknown: what to do when it cannot be told whether a job was started.
    :param others: ids of jobs that are known to be for something else.
    :param before_submit: looks before a job is submitted.
    :param sleep: waits; replaced in tests.
    """

    client: Client
    memory: Memory
    on_unknown: OnUnknown = OnUnknown.FAIL
    others: frozenset[str] = frozenset()
    before_submit: BeforeSubmit = nothing_to_ask
    sleep: Callable[[float], None] = time.sleep

    def start(self, submission: Submission, *, deadline: float) -> Started:
        """Take up the job that an earlier attempt started, or start one.

        :param deadline: moment at which a job that is started now must be over; one that is taken up keeps its own.
        :raises OutcomeUnknownError: it cannot be told whether a job was started.
        """
        record = self.memory.recall(submission)
        if record and record.job_id:
            taken_up = self._take_up(record, record.job_id)
            if taken_up:
                return taken_up
        elif record and not submission.is_idempotent:
            since = record.began_at
            found = self._search(submission, since, "An earlier attempt broke off while it started the job", retry=True)
            if found:
                return self._adopt(submission, found, since, record.deadline, record.facts)
        elif not self.memory.exists and self.memory.attempt.is_retry and not submission.is_idempotent:
            since = self.memory.attempt.first_started_at
            found = self._search_without_record(submission, since)
            if found:
                return self._adopt(submission, found, since, deadline, {})
        return self._submit(submission, deadline, self.before_submit(self._earlier(record)))

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
            job = self.client.send(submission.call)
        except OutcomeUnknownError as e:
            found = self._search(submission, record.began_at, e.cause, retry=False)
            if found is not None:
                return self._adopt(submission, found, record.began_at, deadline, facts)
            if is_second:
                raise
            return self._submit(submission, deadline, facts, is_second=True)
        except UnreadableAnswerError:
            raise  # it was accepted: a job may be running
        except TinybirdError as e:
            # Refused or not sent: nothing was started, and a retry must not look for a job. What was found before an idempotent one whose
            # answer was lost is kept: it may have been done, and would not be found again.
            if not (facts and submission.is_idempotent and _may_have_arrived(e)):
                self.memory.forget()
            raise
        return self._remember(submission, job, record.began_at, deadline, facts)

    def _remember(
        self, submission: Submission, job: Job, began_at: float, deadline: float, facts: Mapping[str, Any]
    ) -> Started:
        self.memory.remember(
            Record(
                fingerprint=submission.fingerprint,
                max_tries=self.memory.attempt.max_tries,
                began_at=began_at,
                deadline=deadline,
                job_id=job.id,
                facts=facts,
            )
        )
        return Started(job, began_at, deadline, facts)

    def _take_up(self, record: Record, job_id: str) -> Started | None:
        try:
            job = self.client.send(jobs_api.get_job(job_id))
        except NotFoundError:
            log.warning("Tinybird no longer knows job %s of an earlier attempt: it is submitted again.", job_id)
            return None
        if job.status in (JobStatus.ERROR, JobStatus.CANCELLED):
            log.info("%s of an earlier attempt ended as '%s': it is submitted again.", job, job.status_text)
            return None
        log.info("An earlier attempt started %s, which is %s: taking it up.", job, job.status_text)
        return Started(job, record.began_at, record.deadline, record.facts)

    def _adopt(
        self, submission: Submission, job: Job, began_at: float, deadline: float, facts: Mapping[str, Any]
    ) -> Started:
        log.warning("%s is the one that was asked for, by all that Tinybird shows of it: taking it up.", job)
        return self._remember(submission, job, began_at, deadline, facts)

    def _search(self, submission: Submission, since: float, why: str, *, retry: bool) -> Job | None:
        """Find the job of a submit whose answer was lost; ``None`` means submit again."""
        candidates: list[Job] = []
        for pause in (0.0,) if retry else _LOOKS:
            self.sleep(pause)
            candidates = self._candidates(submission, since)
            if candidates:
                break
        if len(candidates) == 1 and self._can_adopt(submission):
            return candidates[0]
        self._unknown(submission, candidates, why)
        return None

    def _search_without_record(self, submission: Submission, since: float) -> Job | None:
        """Find the job that an earlier attempt may have started, where nothing is remembered; ``None`` means submit."""
        candidates = [
            job
            for job in self._candidates(submission, since)
            if job.status not in (JobStatus.ERROR, JobStatus.CANCELLED, JobStatus.CANCELLING)
        ]
        if not candidates:
            return None
        if len(candidates) == 1 and self._can_adopt(submission):
            return candidates[0]
        why = "This is a retry, and an earlier attempt may have started a job"
        self._unknown(submission, candidates, why)
        return None

    def _can_adopt(self, submission: Submission) -> bool:
        # A sibling of a mapped task may have sent the very same request, and its job is not ours to take.
        return submission.identifies and not self.memory.attempt.is_mapped

    def _candidates(self, submission: Submission, since: float) -> list[Job]:
        call = jobs_api.list_jobs(kind=submission.kind or None)
        return [
            job
            for job in self.client.send(call)
            if submission.agrees(job)
            and job.id not in self.others
            and job.created_at is not None
            and job.created_at.timestamp() >= since - CLOCK_SLACK
        ]

    def _unknown(self, submission: Submission, candidates: list[Job], why: str) -> None:
        names = ", ".join(f"{job.id} ({job.status_text}, created {job.created_at:%H:%M:%S} UTC)" for job in candidates)
        seen = (
            f"Tinybird's list has these jobs that may be it, or somebody else's: {names}."
            if candidates
            else "Tinybird's list has no job that could be it."
        )
        if self.on_unknown is OnUnknown.RESUBMIT:
            log.warning("%s. %s It is submitted again, as on_unknown='resubmit' says.", why.rstrip("."), seen)
            return
        raise OutcomeUnknownError(
            submission.call.what,
            "jobs list",
            f"{why.rstrip('.')}. {seen}",
            f"Look at {'them and at ' if candidates else ''}the rows. Then clear the task to run it again, or mark it as success. "
            "on_unknown='resubmit' always runs it again, at the risk of doubled data.",
        )


def _may_have_arrived(error: TinybirdError) -> bool:
    return isinstance(error, ServerError) or (isinstance(error, ConnectionFailedError) and error.sent)
