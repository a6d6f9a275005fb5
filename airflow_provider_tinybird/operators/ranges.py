"""The operator that runs a copy or sink pipe window after window: a backfill."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.jobs import submissions, watch
from airflow_provider_tinybird.jobs.backfill import Pause, Plan, Progress, RangeRun
from airflow_provider_tinybird.jobs.outcome import left_before
from airflow_provider_tinybird.jobs.slots import SlotEvent
from airflow_provider_tinybird.jobs.start import OnUnknown
from airflow_provider_tinybird.operators.base import clear_failure, memory_of, seconds
from airflow_provider_tinybird.operators.job import CANCEL_POLICY, INLINE_SECONDS, TRIGGER_SLACK, TinybirdJobsOperator
from airflow_provider_tinybird.timespans.timestamps import moment
from airflow_provider_tinybird.timespans.windows import Window, cut, length
from airflow_provider_tinybird.triggers.ranges import TinybirdAnyJobTrigger
from airflow_provider_tinybird.triggers.slots import TinybirdSlotTrigger

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context
    from airflow_provider_tinybird.api.models import Job

_KINDS = ("copy", "sink")


class TinybirdCopyRangeOperator(TinybirdJobsOperator):
    """Run a copy or sink pipe over a range of time, window after window, and be green when each window is done, once.

    The pipe takes the window's begin and end as parameters and must read it half-open: ``WHERE at >= {{DateTime(start)}} AND at <
    {{DateTime(end)}}``. A window that fails for memory or time is halved, as far as ``min_window`` allows; any other failure
    lets the windows that run come to their end, starts no more, and is red.

    A retry goes on with the windows that are not done (Airflow 3.3 and later; before that a retry that finds jobs of an
    earlier attempt is red). A cleared task runs all of them again, which doubles rows unless they were deleted before.

    Token scopes: ``PIPES:READ:<pipe>``, ``DATASOURCES:APPEND`` on the target, and ``DATASOURCES:CREATE`` to look at the jobs. Returns
    ``windows`` (each with ``start, end, job_id, rows``) and ``rows``; rows are ``None`` where Tinybird does not tell.

    :param pipe: name of the copy or sink pipe (templated).
    :param start: begin of the range: a datetime, a date or ISO 8601 text; without a zone it is UTC (templated).
    :param end: end of the range, which is not in it (templated).
    :param window: ``hour``, ``6 hours``, ``day``, ``week``, ``month``, ``quarter``, ``year``: windows begin where these do in UTC's
        calendar, so that the first and the last may be shorter; or a timedelta or a relativedelta, which are counted from the
        start (templated).
    :param parameters: the pipe's other parameters, the same for each window (templated).
    :param min_window: no window is halved into shorter ones: seconds, a timedelta, or text such as ``6 hours``. One day where
        ``parameter_format`` has no time in it, else an hour, by default; a window no longer than it is never halved (templated).
    :param concurrency: jobs that may run at once. More than the plan has slots for does no harm: they wait (templated).
    :param mode: of a copy: ``append``. ``replace`` is refused, as each window would remove those before it (templated).
    :param kind: ``copy`` or ``sink`` (templated).
    :param start_parameter: name of the pipe's parameter for the begin of a window (templated).
    :param end_parameter: name of the pipe's parameter for its end (templated).
    :param parameter_format: how these are written, as for ``strftime``, in UTC; ``%Y-%m-%d`` for parameters of the type Date: windows
        are then whole days (templated).
    :param on_demand_compute: run copies on compute of their own (paid plans).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.job.TinybirdJobsOperator`. ``timeout`` is for each
    window's job; ``cancel_on_kill`` cancels all jobs of this task; with ``durable`` a retry goes on where the attempt before it ended,
    instead of running all windows again. While deferrable, each window that is done wakes the task up.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "pipe",
        "start",
        "end",
        "window",
        "parameters",
        "min_window",
        "concurrency",
        "mode",
        "kind",
        "start_parameter",
        "end_parameter",
        "parameter_format",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}

    def __init__(
        self,
        *,
        pipe: str,
        start: datetime | date | str,
        end: datetime | date | str,
        window: timedelta | str | Any = "day",
        parameters: Mapping[str, Any] | None = None,
        min_window: timedelta | float | str | None = None,
        concurrency: int | str = 1,
        mode: str = "append",
        kind: str = "copy",
        start_parameter: str = "start",
        end_parameter: str = "end",
        parameter_format: str = "%Y-%m-%d %H:%M:%S",
        on_demand_compute: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipe = pipe
        self.start = start
        self.end = end
        self.window = window
        self.parameters = parameters
        self.min_window = min_window
        self.concurrency = concurrency
        self.mode = mode
        self.kind = kind
        self.start_parameter = start_parameter
        self.end_parameter = end_parameter
        self.parameter_format = parameter_format
        self.on_demand_compute = on_demand_compute
        self._running_job_ids: set[str] = set()

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the pipe over the range, window after window."""
        with clear_failure():
            # Airflow does not enforce it while a task is deferred, and starts it over each time the task wakes up.
            limit = self.execution_timeout if self.deferrable else None
            return self._run(
                context, Progress(), ends_at=math.inf if limit is None else time.time() + limit.total_seconds()
            )

    def execute_on(
        self,
        context: Context,
        event: Any = None,
        *,
        progress: dict[str, Any] | None = None,
        ends_at: float | None = None,
    ) -> dict[str, Any]:
        """Go on after a wait in the triggerer; only workers submit.

        :param progress: kept by Airflow for tasks that an older version deferred, as is ``ends_at``.
        """
        with clear_failure():
            left = left_before(event, needs="progress", progress=progress, ends_at=ends_at)
            self.log.info("Going on: %s", SlotEvent.from_payload(event).message)
            ends = left.get("ends_at")
            return self._run(context, Progress.from_json(left["progress"]), ends_at=math.inf if ends is None else ends)

    def on_kill(self) -> None:
        """Cancel this task's jobs, and no others."""
        job_ids, settings = sorted(self._running_job_ids), self._settings
        if not job_ids or settings is None:
            return
        if not self.cancel_on_kill:
            self.log.info("Jobs %s go on running: cancel_on_kill is off.", ", ".join(job_ids))
            return
        self._cancelled_job_ids.update(job_ids)
        # A client of its own: the signal may have interrupted the other one while it held a lock.
        with Client(self.hook.settings, policy=CANCEL_POLICY) as client:
            for said in watch.cancel_all(client, job_ids):
                self.log.info("%s", said)

    def _run(self, context: Context, progress: Progress, *, ends_at: float) -> dict[str, Any]:
        # An end such as "now" would otherwise move with each deferral, and the last window be run again as another one.
        progress.span = progress.span or Window(moment(self.start, "start"), moment(self.end, "end"))
        plan = self._plan(progress.span, ends_at)
        # on_kill runs inside a signal handler, where the connection can no longer be looked up.
        self._settings = self.hook.settings
        self._running_job_ids = {job_id for job_id, _, _ in progress.running.values()}
        memory = memory_of(context, int(self.retries or 0), durable=self.durable)
        if not memory.is_about(self._fingerprint(plan)):
            raise InvalidInputError(
                "The pipe, its parameters, the range or the window changed since this task's earlier attempt, so that the windows that "
                "are done may not line up with those that are left. Put them back; or delete what is in and clear the task."
            )
        run = RangeRun(
            self.hook.client.until(None),  # each window has a deadline of its own
            memory,
            plan,
            on_unknown=OnUnknown.parse(self.on_unknown),
            listener=_Listener(self, context),
            progress=progress,
            cancelled=self._cancelled_job_ids,
        )
        if not progress.running and not progress.done:
            self.log.info(
                "Running %s pipe '%s' at %s over %d windows, from %s to %s, %d at once.",
                *(self.kind, self.pipe, self._settings.base_url),
                *(len(plan.windows), plan.windows[0].start, plan.windows[-1].end, plan.concurrency),
            )
        pause = run.run(min(INLINE_SECONDS, plan.poll_interval) if self.deferrable else None)
        if pause is not None:
            self._defer(pause, plan, run.progress)
        return _result(run.progress)

    def _plan(self, span: Window, ends_at: float) -> Plan:
        windows = cut(span.start, span.end, self.window)
        kind = self._checked_kind()
        for edge in (windows[0].start, *(one.end for one in windows)):
            if not self._can_be(edge):
                raise InvalidInputError(
                    f"parameter_format={self.parameter_format!r} cannot write {edge.isoformat(sep=' ')}, where a window begins or ends."
                )
        # Half of a day would be written as the day.
        has_time = self._can_be(datetime(2000, 1, 1, 1, tzinfo=UTC))
        shortest = timedelta(hours=1) if has_time else timedelta(days=1)
        if self.min_window is not None:
            shortest = length(self.min_window, "min_window")
        return Plan(
            windows=windows,
            submission=self._submission,
            concurrency=_whole(self.concurrency, "concurrency"),
            shortest=shortest,
            can_be=self._can_be,
            timeout=seconds(self.timeout, "timeout"),
            ends_at=ends_at,
            poll_interval=seconds(self.poll_interval, "poll_interval"),
            cancels=self.cancel_on_kill,
            counts_rows=kind == "copy",
            pipe=self.pipe if kind == "copy" else "",
        )

    def _checked_kind(self) -> str:
        if self.kind not in _KINDS:
            raise InvalidInputError(
                f"kind={self.kind!r} is no kind of pipe that can run over a range: give 'copy' or 'sink'."
            )
        if self.mode != "append":
            raise InvalidInputError(
                f"mode={self.mode!r} does not go with a range: only 'append' keeps the rows of the windows before. To replace the rows of "
                "the range, delete them in a task before this one."
            )
        if self.start_parameter == self.end_parameter:
            raise InvalidInputError(f"start_parameter and end_parameter are both {self.start_parameter!r}.")
        for name in (self.start_parameter, self.end_parameter):
            if name in (self.parameters or {}):
                raise InvalidInputError(f"parameters has {name!r}, which this operator sets itself for each window.")
        return self.kind

    def _submission(self, window: Window) -> submissions.Submission:
        """Describe the job of a window."""
        parameters = {
            **(self.parameters or {}),
            self.start_parameter: window.start.strftime(self.parameter_format),
            self.end_parameter: window.end.strftime(self.parameter_format),
        }
        if self.kind == "sink":
            return submissions.run_sink(self.pipe, parameters)
        return submissions.run_copy(self.pipe, parameters, mode=self.mode, on_demand_compute=self.on_demand_compute)

    def _can_be(self, edge: datetime) -> bool:
        """Tell whether a moment can be written in the format of the parameters without losing anything."""
        try:
            written = edge.strftime(self.parameter_format)
            return datetime.strptime(written, self.parameter_format).replace(tzinfo=UTC) == edge
        except ValueError:
            return False

    def _fingerprint(self, plan: Plan) -> str:
        first, last = self._submission(plan.windows[0]), self._submission(plan.windows[-1])
        text = json.dumps([first.fingerprint, last.fingerprint, *(one.key for one in plan.windows)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _defer(self, pause: Pause, plan: Plan, progress: Progress) -> None:
        self.log.info("Waiting for %s in the triggerer.", ", ".join(pause.job_ids) or "a free slot")
        resume = {"progress": progress.to_json(), "ends_at": None if plan.ends_at == math.inf else plan.ends_at}
        trigger: TinybirdAnyJobTrigger | TinybirdSlotTrigger
        if pause.job_ids:
            trigger = TinybirdAnyJobTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                job_ids=list(pause.job_ids),
                until=pause.until,
                poll_interval=plan.poll_interval,
                cancel_on_kill=self.cancel_on_kill,
                resume=resume,
            )
        else:
            trigger = TinybirdSlotTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                kind=plan.submission(plan.windows[0]).kind,
                until=pause.until,
                poll_interval=plan.poll_interval,
                resume=resume,
            )
        self.defer(
            trigger=trigger,
            method_name="execute_on",
            timeout=timedelta(seconds=max(0.0, pause.until - time.time())) + TRIGGER_SLACK,
        )
        raise AssertionError("defer() returned")


@dataclass(frozen=True, slots=True)
class _Listener:
    """Notes which jobs are to be cancelled when the task is killed, and leaves the links to them."""

    operator: TinybirdCopyRangeOperator
    context: Context

    def started(self, job: Job) -> None:
        """A job was started, or taken up."""
        self.operator._running_job_ids.add(job.id)
        self.operator.leave_link(self.context, job)

    def ended(self, job_id: str) -> None:
        """A job is over."""
        self.operator._running_job_ids.discard(job_id)


def _result(progress: Progress) -> dict[str, Any]:
    done = [progress.done[window] for window in sorted(progress.done)]
    counted = [one.rows for one in done if one.rows is not None]
    return {
        "windows": [
            {
                "start": one.window.start.isoformat(),
                "end": one.window.end.isoformat(),
                "job_id": one.job_id,
                "rows": one.rows,
            }
            for one in done
        ],
        "rows": sum(counted) if len(counted) == len(done) else None,
    }


def _whole(value: object, name: str) -> int:
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if number < 1:
        raise InvalidInputError(f"{name}={value!r} is no number of jobs: give a whole number from 1 on.")
    return number
