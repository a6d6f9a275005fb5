"""Jobs: a queue, worker threads, and the states that callers see."""

from __future__ import annotations

import enum
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_tinybird.sandbox.datafiles.resources import now, stamp
from airflow_provider_tinybird.sandbox.engine.engine import Engine
from airflow_provider_tinybird.sandbox.http.errors import ApiError, EngineError, bad_request, not_found
from airflow_provider_tinybird.sandbox.workspace.job_lifecycle import Course, Courses
from airflow_provider_tinybird.sandbox.workspace.job_log import JobLog

KEPT_FOR = timedelta(hours=48)
LISTED = 100
_WORKERS = 4


class JobStatus(enum.Enum):
    """States of a job; ``cancelling`` is not an end."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    ERROR = "error"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in (JobStatus.DONE, JobStatus.ERROR, JobStatus.CANCELLED)


class Cancelled(Exception):  # noqa: N818 - not an error: the way out of a job that was asked to stop
    """Raised inside a job that was cancelled."""


@dataclass
class Job:
    """One job. Only the queue, and the work while it runs, change it.

    :param facts: what the API shows of a job of this kind.
    :param blocks: what it shows on ``debug`` only.
    :param started_by: id of the token.
    :param repeat: makes the same work again; None when a job of this kind cannot be retried.
    """

    kind: str
    facts: dict[str, Any]
    started_by: str
    repeat: Callable[[], tuple[Job, Work]] | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: JobStatus = JobStatus.WAITING
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    started_at: datetime | None = None
    error: str | None = None
    errors: list[str] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    committing: bool = False
    course: Course = field(default_factory=Course)
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def marker(self) -> str:
        """The comment that its statements carry, by which they can be killed."""
        return f"job {self.id}"

    @property
    def is_cancellable(self) -> bool:
        """Whether a cancel can still change its outcome."""
        return not self.committing and self.status in (JobStatus.WAITING, JobStatus.WORKING)

    def check(self) -> None:
        """Leave the work when the job was cancelled."""
        if self.stop.is_set():
            raise Cancelled

    def commit(self) -> None:
        """From here on the work is written to the end, so that a cancel cannot leave half of it."""
        with self.lock:
            self.check()
            self.committing = True

    def shown(self, base_url: str, debug: bool = False) -> dict[str, Any]:
        """The job as the Jobs API shows it."""
        shown: dict[str, Any] = {
            "kind": self.kind,
            "id": self.id,
            "job_id": self.id,
            "status": self.status.value,
            "created_at": stamp(self.created_at),
            "updated_at": stamp(self.updated_at),
            "started_at": stamp(self.started_at),
            "is_cancellable": self.is_cancellable,
            "job_url": f"{base_url}/v0/jobs/{self.id}",
            **self.facts,
        }
        if self.error is not None:
            shown["error"] = self.error
        if self.errors:
            shown["errors"] = list(self.errors)
        if debug and self.kind == "import":
            shown["blocks"] = list(self.blocks)
            shown["block_log"] = [
                {"block_id": block["block_id"], "status": "done", "processing_time": block["processing_time"]}
                for block in self.blocks
            ]
        return shown


Work = Callable[[Job], None]


class JobQueue:
    """Runs jobs on its own threads, oldest first.

    :param delay: seconds that each job spends waiting, and again working, beyond what it needs.
    :param max_copies: copies that may wait or work at the same time; None for any number.
    :param log: keeps the jobs over a restart; one that broke off then is in error.
    """

    def __init__(self, engine: Engine, log: JobLog, delay: float = 0.0, max_copies: int | None = None) -> None:
        self._engine = engine
        self._log = log
        self._max_copies = max_copies
        self.courses = Courses(delay)
        self._jobs: dict[str, Job] = {job.id: job for job in map(self._from_log, log.load())}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="job")
        self._killers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kill")

    def submit(self, job: Job, work: Work) -> Job:
        """Put a job in the queue.

        :param work: what to do; it raises to fail.
        :raises ApiError: 403, when as many copies run as may.
        """
        with self._lock:
            self._drop_old()
            self._check_quota(job)
            job.course = self.courses.take(_names(job))
            self._jobs[job.id] = job
        self._log.write(job)
        if job.course.takes_time:
            # A job that only waits must not keep a worker from others.
            threading.Thread(target=self._run, args=(job, work), daemon=True).start()
        else:
            self._pool.submit(self._run, job, work)
        return job

    def _check_quota(self, job: Job) -> None:
        active = [one for one in self._jobs.values() if one.kind == job.kind == "copy" and not one.status.is_final]
        if self._max_copies is not None and len(active) >= self._max_copies:
            raise ApiError(403, f"You have reached the maximum number of copy jobs ({self._max_copies}).")

    def get(self, job_id: str) -> Job:
        """A job of the last 48 hours.

        :raises ApiError: 404.
        """
        with self._lock:
            self._drop_old()
            job = self._jobs.get(job_id)
        if job is None:
            raise not_found("Job", job_id)
        return job

    def listed(self, filters: Mapping[str, str], after: datetime | None, before: datetime | None) -> list[Job]:
        """The newest jobs, newest first.

        :param filters: values of ``kind``, ``status``, ``pipe_id`` and ``pipe_name`` that a job must have.
        """
        with self._lock:
            self._drop_old()
            jobs = sorted(self._jobs.values(), key=lambda job: job.created_at, reverse=True)
        found = [
            job
            for job in jobs
            if all(_value(job, key) == value for key, value in filters.items())
            and (after is None or job.created_at >= after)
            and (before is None or job.created_at <= before)
        ]
        return found[:LISTED]

    def cancel(self, job: Job) -> Job:
        """Stop a job: at once when it waits; when it works, the engine is told to stop its query.

        :raises ApiError: 400, when it is over or writes its result already.
        """
        with job.lock:
            if not job.is_cancellable:
                raise bad_request(f"Job {job.id} cannot be cancelled: its status is {job.status.value}")
            working = job.status is JobStatus.WORKING
            self._set(job, JobStatus.CANCELLING if working else JobStatus.CANCELLED)
            if working and job.course.stubborn:
                return job
            job.stop.set()
        if working:
            self._killers.submit(self._kill_until_ended, job)
        return job

    def _kill_until_ended(self, job: Job) -> None:
        """A kill can come between two statements of the job, so it is repeated."""
        while not job.ended.is_set():
            self._engine.kill(job.marker)
            job.ended.wait(0.2)

    def clear(self) -> None:
        """Cancel what runs, wait for it, and forget all jobs."""
        self._stop_all()
        with self._lock:
            self._jobs.clear()
        self._log.clear()

    def _stop_all(self) -> None:
        self.courses.release()
        for job in list(self._jobs.values()):
            if job.is_cancellable:
                try:
                    self.cancel(job)
                except ApiError:
                    continue  # it ended in between
        for job in list(self._jobs.values()):
            job.ended.wait(10)

    def close(self) -> None:
        """Stop every job and the threads."""
        self._stop_all()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._killers.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Job, work: Work) -> None:
        try:
            job.course.wait("waiting", job.stop)
            with job.lock:
                if job.stop.is_set():
                    return
                job.started_at = now()
                self._set(job, JobStatus.WORKING)
            job.course.wait("working", job.stop)
            self._work(job, work)
            self._end(job, JobStatus.DONE)
        except Cancelled:
            self._end(job, JobStatus.CANCELLED)
        except (ApiError, EngineError) as error:
            if job.stop.is_set():
                self._end(job, JobStatus.CANCELLED)
            else:
                job.errors = list(error.errors) if isinstance(error, ApiError) else []
                self._end(job, JobStatus.ERROR, error.text)
        except Exception as error:  # a thread must not die of one job
            self._end(job, JobStatus.ERROR, f"Internal error: {type(error).__name__}: {error}")
        finally:
            job.ended.set()

    def _work(self, job: Job, work: Work) -> None:
        if job.course.cancel:
            self.cancel(job)
        job.check()
        if job.status is JobStatus.CANCELLING:  # it was deaf to the cancel, until it was released
            raise Cancelled
        if job.course.error is not None:
            raise ApiError(400, job.course.error)
        if job.course.takes_time:
            self._pool.submit(work, job).result()
        else:
            work(job)

    def _end(self, job: Job, status: JobStatus, error: str | None = None) -> None:
        with job.lock:
            job.error = error
            self._set(job, status)

    def _set(self, job: Job, status: JobStatus) -> None:
        job.status = status
        job.updated_at = now()
        self._log.write(job)

    def _from_log(self, kept: dict[str, Any]) -> Job:
        job = Job(**{**kept, "status": JobStatus(kept["status"])})
        job.ended.set()
        if not job.status.is_final:
            self._end(job, JobStatus.ERROR, "The job broke off: the service was restarted")
        return job

    def _drop_old(self) -> None:
        oldest = now() - KEPT_FOR
        for job_id in [job.id for job in self._jobs.values() if job.created_at < oldest]:
            del self._jobs[job_id]


def _names(job: Job) -> tuple[str, ...]:
    datasource = job.facts.get("datasource")
    target = datasource.get("name") if isinstance(datasource, Mapping) else datasource
    return tuple(str(name) for name in (job.facts.get("pipe_name"), target) if name)


def _value(job: Job, key: str) -> str | None:
    if key == "kind":
        return job.kind
    return job.status.value if key == "status" else job.facts.get(key)
