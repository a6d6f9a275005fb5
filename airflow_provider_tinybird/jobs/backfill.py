"""Many jobs of one task, one for each window of time: a few at once, halved where they are too large, none of them twice.

The life of each job is that of :mod:`airflow_provider_tinybird.jobs.start` and :mod:`airflow_provider_tinybird.jobs.watch`. Nothing here
knows Airflow.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from airflow_provider_tinybird.api.answers import is_quota_text, is_too_large_text
from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import ApiError, InvalidInputError, JobQuotaError, TinybirdError
from airflow_provider_tinybird.api.job import parse_job
from airflow_provider_tinybird.api.models import Job
from airflow_provider_tinybird.jobs import outcome as outcomes
from airflow_provider_tinybird.jobs import slots
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.jobs.outcome import Ending, Outcome
from airflow_provider_tinybird.jobs.start import Memory, OnUnknown, Started, Submitter
from airflow_provider_tinybird.jobs.submissions import Submission
from airflow_provider_tinybird.policies import row_counts, target_rows
from airflow_provider_tinybird.policies.target_rows import Before, Written
from airflow_provider_tinybird.timespans import deadlines
from airflow_provider_tinybird.timespans.windows import Window, halves

log = logging.getLogger(__name__)

_DONE, _HALVED = "done", "halved"


class RangeFailedError(TinybirdError):
    """A window failed, and trying again may help."""


class RangeStoppedError(TinybirdError):
    """A window failed for a reason that trying again cannot mend, or that makes it dangerous."""

    retry_can_help = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    :param windows: the windows, in order.
    :param submission: describes the job of a window.
    :param concurrency: jobs that may run at once.
    :param shortest: no window is halved into shorter ones; ``None``: none is halved.
    :param can_be: whether a moment can be the edge of a window.
    :param timeout: seconds that one job may take, its wait in Tinybird's queue included.
    :param ends_at: moment (seconds since the epoch) after which nothing is started, and no job goes on.
    :param poll_interval: seconds between two looks at a job.
    :param cancels: whether a job whose time is over is cancelled.
    :param counts_rows: whether the rows of a job can be told.
    :param pipe: the copy pipe, whose target is judged by what is in it; empty where no rows go to a data source.
    """

    windows: tuple[Window, ...]
    submission: Callable[[Window], Submission]
    concurrency: int = 1
    shortest: timedelta | None = None
    can_be: Callable[[datetime], bool] = lambda _: True
    timeout: float = jobs.TIMEOUT
    ends_at: float = math.inf
    poll_interval: float = jobs.POLL_INTERVAL
    cancels: bool = True
    counts_rows: bool = True
    pipe: str = ""

    def halves(self, window: Window) -> tuple[Window, Window] | None:
        """Halve a window, if it may be."""
        return None if self.shortest is None else halves(window, shortest=self.shortest, can_be=self.can_be)


@dataclass(frozen=True, slots=True)
class Done:
    """A window that is done, by which job, and how many rows that wrote, where it is known."""

    window: Window
    job_id: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a window failed."""

    window: Window
    why: str
    retry_can_help: bool


@dataclass(slots=True)
class Running:
    """A window whose job runs."""

    window: Window
    started: Started
    watch: jobs.Watch
    seen_first: float = field(default_factory=time.monotonic)
    look_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far it is; goes through a deferral as plain JSON.

    :param done: windows that are done.
    :param halved: windows that were too large, so that their halves take their place.
    :param running: windows whose job runs: job, moment of the submit, deadline.
    :param failures: windows that failed. From the first on, nothing more is started.
    :param refused_since: moment since when Tinybird has no slot for another job; 0 while it has.
    :param span: the range, since templates are rendered again after a deferral and may say something else then; ``None`` at first.
    :param before: what was in the target before the first window; ``None`` at first.
    """

    done: dict[Window, Done] = field(default_factory=dict)
    halved: set[Window] = field(default_factory=set)
    running: dict[Window, tuple[str, float, float]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    refused_since: float = 0.0
    span: Window | None = None
    before: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON."""
        return {
            "version": 1,
            "done": [[*one.window.to_json(), one.job_id, one.rows] for one in self.done.values()],
            "halved": [window.to_json() for window in sorted(self.halved)],
            "running": [[*window.to_json(), *job] for window, job in self.running.items()],
            "failures": [[*one.window.to_json(), one.why, one.retry_can_help] for one in self.failures],
            "refused_since": self.refused_since,
            "span": self.span and self.span.to_json(),
            "before": self.before and dict(self.before),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Progress:
        """Read what :meth:`to_json` wrote."""
        if value.get("version") != 1:
            raise InvalidInputError(
                f"What this task left when it deferred is of the unknown version {value.get('version')!r}: are all workers on the "
                "same version of this provider? Its jobs may go on running."
            )
        done = [Done(Window.from_json(one), one[2], one[3]) for one in value["done"]]
        return cls(
            done={one.window: one for one in done},
            halved={Window.from_json(one) for one in value["halved"]},
            running={Window.from_json(one): (one[2], one[3], one[4]) for one in value["running"]},
            failures=[Failure(Window.from_json(one), one[2], one[3]) for one in value["failures"]],
            refused_since=value["refused_since"],
            span=Window.from_json(value["span"]) if value.get("span") else None,
            before=value.get("before"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing can be done now but wait.

    :param job_ids: until one of these jobs is over; none: until there is a slot.
    :param until: moment at which to look again at the latest.
    """

    job_ids: tuple[str, ...]
    until: float


class Listener(Protocol):
    """Is told what happens."""

    def started(self, job: Job) -> None:
        """A job was started, or taken up."""

    def ended(self, job_id: str) -> None:
        """A job is over."""


class RangeRun:
    """Works a plan off.

    :param client: sends the calls.
    :param memory: what is remembered of it; each window has a part of it.
    :param on_unknown: what to do when it cannot be told whether a job was started.
    :param listener: is told what happens.
    :param progress: how far it is.
    :param cancelled: ids of jobs whose cancel this very task asked for; may grow meanwhile.
    """

    def __init__(
        self,
        client: Client,
        memory: Memory,
        plan: Plan,
        *,
        on_unknown: OnUnknown,
        listener: Listener,
        progress: Progress,
        cancelled: Collection[str] = (),
    ) -> None:
        self._cancelled = cancelled
        self._client = client
        self._memory = memory
        self._plan = plan
        self._on_unknown = on_unknown
        self._listener = listener
        self.progress = progress
        self._try_at = 0.0
        self._refusal = ""
        self._running = {
            window: self._watched(window, Started(parse_job({"job_id": job_id}), began_at, deadline))
            for window, (job_id, began_at, deadline) in progress.running.items()
        }
        self._own = {job_id for job_id, _, _ in progress.running.values()} | {d.job_id for d in progress.done.values()}
        self._pending = deque(w for top in plan.windows for w in self._left_of(top))

    def run(self, patience: float | None = None) -> Pause | None:
        """Go on until all is done.

        :param patience: return after so many seconds in which nothing ended, so that the caller can defer; by default never.
        :return: what is waited for; ``None`` when all is done.
        :raises RangeFailedError: a window failed; :class:`RangeStoppedError` alike.
        """
        quiet_since = time.monotonic()
        if self._plan.pipe and self.progress.before is None:
            ends = min(time.time() + self._plan.timeout, self._plan.ends_at)
            before = target_rows.look_before_copy(self._client.until(deadlines.monotonic(ends)), self._plan.pipe)
            self.progress.before = self._memory.first_facts("range", before.as_json())
        while True:
            self._start_what_may_start()
            if not self._running and (self.progress.failures or not self._pending):
                self._raise_failures()
                return None
            if self._look():
                quiet_since = time.monotonic()
                continue
            if patience is not None and time.monotonic() - quiet_since >= patience:
                started = [one.started for one in self._running.values()]
                until = min((one.deadline for one in started), default=self._try_at)
                return Pause(job_ids=tuple(one.job.id for one in started), until=until)
            time.sleep(self._nap(quiet_since, patience))

    def _left_of(self, window: Window) -> list[Window]:
        if window in self.progress.done or window in self.progress.running:
            return []
        pair = (
            halves(window, shortest=timedelta(0), can_be=self._plan.can_be) if window in self.progress.halved else None
        )
        return [window] if pair is None else [left for half in pair for left in self._left_of(half)]

    def _start_what_may_start(self) -> None:
        while self._pending and len(self._running) < self._plan.concurrency and not self.progress.failures:
            if self._try_at > time.time():
                return
            window = self._pending.popleft()
            try:
                if time.time() >= self._plan.ends_at:
                    raise RangeFailedError("It was not started, since execution_timeout is over.")
                self._start(window)
            except JobQuotaError as e:
                self._no_slot(window, str(e))
            except ApiError as e:
                if not (is_too_large_text(e.answer.text) and self._halve(window, str(e))):
                    self._fail(window, e)
            except TinybirdError as e:
                self._fail(window, e)

    def _start(self, window: Window) -> None:
        submission = self._plan.submission(window)
        memory = self._memory.of_part(window.key)
        if not memory.exists and self._own:
            # The list had no job of an earlier attempt when the first window was started. By now it is full of our own.
            memory.attempt = replace(memory.attempt, is_retry=False)
        record = memory.recall(submission)
        if record and record.ending == _DONE:
            log.info("Window %s was done by an earlier attempt, by job %s.", window, record.job_id)
            self.progress.done[window] = Done(window, record.job_id or "", record.rows)
            return
        if record and record.ending == _HALVED:
            self.progress.halved.add(window)
            self._pending.extendleft(reversed(self._left_of(window)))
            return
        submitter = Submitter(
            client=self._client,
            memory=memory,
            on_unknown=self._on_unknown,
            others=frozenset(self._own),
            ends_at=self._first_deadline(),
        )
        started = submitter.start(submission, deadline=min(time.time() + self._plan.timeout, self._plan.ends_at))
        self._own.add(started.job.id)
        self._try_at = self.progress.refused_since = 0.0
        self.progress.running[window] = (started.job.id, started.began_at, started.deadline)
        self._running[window] = self._watched(window, started)
        log.info("Window %s: %s is %s.", window, started.job, started.job.status_text or "queued")
        self._listener.started(started.job)

    def _watched(self, window: Window, started: Started) -> Running:
        rules = jobs.Rules(
            poll_interval=self._plan.poll_interval, deadline=started.deadline, started_at=started.began_at
        )
        return Running(window, started, jobs.Watch(started.job.id, rules, cancelled=self._cancelled))

    def _look(self) -> bool:
        """Look at the jobs whose turn it is; tells whether one of them is over."""
        over: list[tuple[Running, Outcome]] = []
        # A look at a job that has time must not use up that of another.
        ends = deadlines.looks_end(self._first_deadline())
        for one in list(self._running.values()):
            if one.look_at > time.monotonic():
                continue
            outcome = jobs.look(self._client, one.watch, ends_at=ends)
            if outcome is None:
                watched = time.monotonic() - one.seen_first
                one.look_at = time.monotonic() + one.watch.pause(max(jobs.SHORTEST_PAUSE, watched))
            else:
                over.append((one, outcome))
        late = [outcome.job_id for _, outcome in over if outcome.ending is Ending.TIMEOUT and self._plan.cancels]
        notes = dict(zip(late, jobs.cancel_all(self._client, late), strict=True))
        for one, outcome in over:
            self._ended(one, outcome, notes.get(outcome.job_id, ""))
        return bool(over)

    def _first_deadline(self) -> float:
        return min((one.started.deadline for one in self._running.values()), default=math.inf)

    def _ended(self, one: Running, outcome: Outcome, note: str) -> None:
        window = one.window
        del self._running[window]
        del self.progress.running[window]
        self._listener.ended(outcome.job_id)
        self._try_at = 0.0
        if outcome.ending is Ending.DONE:
            self._finish(window, outcome)
        elif outcome.ending is Ending.FAILED and is_quota_text(outcome.message):
            self._no_slot(window, outcome.message)
        elif not (
            outcome.ending is Ending.FAILED
            and is_too_large_text(outcome.message)
            and self._halve(window, outcome.message)
        ):
            try:
                outcomes.job_or_error(outcome, note=note, retry_is_safe=self._memory.exists)
            except TinybirdError as e:
                self._fail(window, e)

    def _finish(self, window: Window, outcome: Outcome) -> None:
        job = outcome.as_job()
        client = self._client.until(deadlines.closing_ends())
        rows = row_counts.of_copy(client, job).rows if self._plan.counts_rows else None
        self._remember(window, _DONE, rows)
        self.progress.done[window] = Done(window, job.id, rows)
        told = "" if rows is None else f", {rows:,} rows"
        log.info(
            "Window %s is done%s, after %.1f s. %d done, %d running, %d to go.",
            *(window, told, outcome.waited),
            *(len(self.progress.done), len(self._running), len(self._pending)),
        )
        try:
            self._judge_target()
        except target_rows.RowsNotThereError as e:
            self._fail(window, e)

    def _judge_target(self) -> None:
        """See after each window that the rows of all that are done are there; what others add, windows that run among them, does no harm.

        :raises RowsNotThereError: some are not.
        """
        if not self._plan.pipe:
            return
        before = Before.from_json(self.progress.before)
        counted = [one.rows for one in self.progress.done.values()]
        known = [rows for rows in counted if rows is not None]
        is_known = len(known) == len(counted)
        if (before.rows is None or not is_known) and (self._running or self._pending):
            return  # said once, at the end
        written = Written(
            what=f"The copies of {len(counted)} windows",
            rows=sum(known) if is_known else None,
            unknown="Tinybird's log does not say, or not to this token, how many rows they wrote",
            job_ids=frozenset(self._own),
            counts_views=True,
            then="The windows are not copied again by a retry.",
        )
        target_rows.judge(self._client, before, written)

    def _halve(self, window: Window, why: str) -> bool:
        pair = self._plan.halves(window)
        if pair is None:
            return False
        log.warning("Window %s is too large and is halved at %s. %s", window, pair[1].start.isoformat(sep=" "), why)
        self._remember(window, _HALVED, None)
        self.progress.halved.add(window)
        self._pending.extendleft(reversed(pair))
        return True

    def _remember(self, window: Window, ending: str, rows: int | None) -> None:
        memory, submission = self._memory.of_part(window.key), self._plan.submission(window)
        record = memory.recall(submission) or memory.blank(submission)
        memory.remember(replace(record, ending=ending, rows=rows))

    def _no_slot(self, window: Window, why: str) -> None:
        self._pending.appendleft(window)
        now = time.time()
        self.progress.refused_since = self.progress.refused_since or now
        waited = now - self.progress.refused_since
        if self._running:
            self.progress.refused_since = now  # it goes forward
        elif waited >= self._plan.timeout:
            self._fail(self._pending.popleft(), slots.no_slot(why, self._plan.timeout))
            return
        self._try_at = now + slots.pause(max(1.0, self._plan.timeout - waited))
        if why != self._refusal:
            log.info("No free slot for the job of window %s; it is tried again. %s", window, why)
            self._refusal = why

    def _fail(self, window: Window, error: TinybirdError) -> None:
        log.error("Window %s failed; no more windows are started. %s", window, error)
        self.progress.failures.append(Failure(window, str(error), error.retry_can_help))

    def _nap(self, quiet_since: float, patience: float | None) -> float:
        now = time.monotonic()
        ends = [one.look_at - now for one in self._running.values()]
        if self._pending and len(self._running) < self._plan.concurrency and not self.progress.failures:
            ends.append(self._try_at - time.time())
        if patience is not None:
            ends.append(patience - (now - quiet_since))
        return max(0.0, min(ends))

    def _raise_failures(self) -> None:
        failures = self.progress.failures
        if not failures:
            return
        why = " ".join(f"Window {one.window}: {one.why}" for one in failures)
        done = f"{len(self.progress.done)} windows are done"
        left = sorted({*(one.window for one in failures), *self._pending})
        rest = f"{len(left)} are not, the first of them {left[0]}"
        if not all(one.retry_can_help for one in failures):
            raise RangeStoppedError(
                f"{why} {done}, {rest}. They stay done: once it is clear what is in, run the rest in a task with another start; a "
                "clear of this one runs all of them again."
            )
        on_retry = (
            "A retry goes on with these."
            if self._memory.exists
            else "This Airflow remembers nothing for a retry: run these in a task with another start."
        )
        raise RangeFailedError(f"{why} {done}, {rest}. {on_retry}")
