"""Sensors that wait for jobs which somebody else started."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_tinybird._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    PokeReturnValue,
    conf,
)
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.conditions import checks
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.jobs import outcome as outcomes
from airflow_provider_tinybird.jobs import watch as jobs
from airflow_provider_tinybird.operators.job import TRIGGER_SLACK, job_xcom
from airflow_provider_tinybird.operators.task import TinybirdTask
from airflow_provider_tinybird.sensors.base import PunctualSensor, TinybirdConditionSensor
from airflow_provider_tinybird.timespans import deadlines
from airflow_provider_tinybird.timespans.timestamps import moment
from airflow_provider_tinybird.triggers.jobs import TinybirdJobTrigger

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


FAILURES_TOLERATED = 1_000_000
"""Looks that may fail: passing trouble is outlasted until the sensor's timeout, in each mode."""


class TinybirdJobSensor(TinybirdTask, PunctualSensor):
    """Wait until a job is over: green when it is done, red when it failed or was cancelled.

    Give ``job_id``, or ``pipe`` for the newest job of a pipe, whoever started it.

    It never cancels the job, which is not its own. Token scope: ``DATASOURCES:CREATE`` (an append token may read the
    imports that it started). Returns ``job_id, status, job``.

    :param job_id: id of the job, usually the ``job_id`` that an operator with ``wait_for_completion=False`` returned
        (templated).
    :param pipe: name of the pipe whose newest job is waited for, where there is no ``job_id`` (templated).
    :param deferrable: wait in the triggerer, without holding a worker slot.
    :param tinybird_conn_id: id of a connection of type ``tinybird`` (templated).

    ``poke_interval``, ``timeout``, ``mode`` and ``soft_fail`` are those of every sensor and mean the same in each mode.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "job_id", "pipe")
    ui_color = "#27f795"
    ui_fgcolor = "#25283d"

    def __init__(
        self,
        *,
        job_id: str | None = None,
        pipe: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        tinybird_conn_id: str = TinybirdHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.pipe = pipe
        self.deferrable = deferrable
        self.tinybird_conn_id = tinybird_conn_id

    @cached_property
    def _watch(self) -> jobs.Watch:
        # The sensor's own timeout ends the wait, so the watch has no end of its own in any mode.
        now = time.time()
        rules = jobs.Rules(
            deadline=math.inf,
            started_at=now,
            failures_tolerated=FAILURES_TOLERATED,
            not_found_tolerated=len(jobs.FIND_PAUSES) - 1,
            not_found_seconds=0.0,
        )
        if bool(self.job_id) == bool(self.pipe):
            raise InvalidInputError(f"Give either job_id or pipe: job_id is {self.job_id!r}, pipe is {self.pipe!r}.")
        return jobs.Watch(self.job_id or "", rules, pipe=self.pipe or "")

    def execute(self, context: Context) -> Any:
        """Wait, here or in the triggerer."""
        with self._as_airflow_says():
            if not self.deferrable:
                return super().execute(context)
            now = self._began = time.time()
            value = self.poke(context)
        if value:
            return value.xcom_value
        self._defer(now + self.timeout)
        raise AssertionError("defer() returned")

    def _defer(self, deadline: float, bounces: int = 0) -> None:
        self.log.info(
            "Waiting for %s in the triggerer.", f"job {self.job_id}" if self.job_id else f"pipe '{self.pipe}'"
        )
        self.defer(
            trigger=TinybirdJobTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                job_id=self.job_id or "",
                pipe=self.pipe or "",
                told=self._watch.told,
                poll_interval=self.poke_interval,
                deadline=deadline,
                started_at=deadline - self.timeout,
                failures_tolerated=FAILURES_TOLERATED,
                not_found_tolerated=0,
                cancel_on_kill=False,
                resume={"deadline": deadline, "bounces": bounces},
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, deadline - time.time())) + TRIGGER_SLACK,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; where Tinybird says that it does not know the job, a few times."""
        watch = self._watch
        if watch.must_wait:
            return PokeReturnValue(is_done=False)
        ends = deadlines.looks_end(self.deadline(context))
        outcome = jobs.look(self.hook.client, watch, ends_at=ends)
        for pause in jobs.FIND_PAUSES[1:]:
            if outcome is None and watch.is_missing:
                time.sleep(pause)
                outcome = jobs.look(self.hook.client, watch, ends_at=ends)
        if outcome and outcome.job:
            self.leave_link(context, outcome.as_job())
        if outcome is None:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=job_xcom(outcomes.job_or_error(outcome)))

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Take up what the trigger found, as the other modes would have."""
        with self._as_airflow_says():
            outcome = outcomes.Outcome.from_payload(event)
            if outcome.ending is outcomes.Ending.LOST:
                return self.look_here(context, event, outcome.message, self._defer)
            self.resume_link(outcome.as_job(), outcome.waited)
            if outcome.ending is outcomes.Ending.TIMEOUT:
                self.out_of_time(outcome.message)
            return job_xcom(outcomes.job_or_error(outcome))

    @contextmanager
    def _as_airflow_says(self) -> Iterator[None]:
        """Do in each mode what Airflow does around each poke, and let it retry only what trying again can help."""
        try:
            yield
        except TinybirdError as e:
            # Not soft_fail: that is for time running out, and a failed job is no such thing.
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from e
            if e.retry_can_help:
                raise
            raise AirflowFailException(str(e)) from None

    def out_of_time(self, message: str) -> NoReturn:
        """End the wait, as Airflow's own rules say."""
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)


class TinybirdCopySucceededSensor(TinybirdConditionSensor):
    """Wait until a copy of a pipe that was started since a moment is done, whoever started it: its schedule, a task, a person.

    Of the copies since then the newest that is over decides. One that failed or was cancelled is waited past, as the schedule
    may run again, unless ``fail_on_error`` is set. Tinybird's list has the newest 100 jobs of 48 hours: earlier ones are
    not seen. Token scope: ``DATASOURCES:CREATE``. Returns ``job_id, status``.

    :param pipe: name of the copy pipe (templated).
    :param since: moment from which on a copy counts, by its creation: a datetime or ISO 8601 text, such as
        ``{{ data_interval_end }}`` (templated).
    :param fail_on_error: be red when the newest copy failed or was cancelled.

    The other parameters are those of :class:`~airflow_provider_tinybird.sensors.base.TinybirdConditionSensor`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "pipe", "since")

    def __init__(
        self,
        *,
        pipe: str,
        since: datetime | date | str,
        fail_on_error: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipe = pipe
        self.since = since
        self.fail_on_error = fail_on_error

    def question(self) -> checks.CopyCheck:
        """Ask for the copies."""
        return checks.CopyCheck(
            pipe=self.pipe, since=moment(self.since, "since").isoformat(), fails_with_copy=self.fail_on_error
        )
