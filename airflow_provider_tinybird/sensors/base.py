"""What the sensors share that wait for something in the data: one question, and three modes that agree."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_tinybird._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_tinybird.api.errors import TinybirdError
from airflow_provider_tinybird.conditions import wait
from airflow_provider_tinybird.conditions.wait import WaitTimeoutError
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.jobs.outcome import left_before
from airflow_provider_tinybird.operators.job import BOUNCES, TRIGGER_SLACK
from airflow_provider_tinybird.operators.task import TinybirdTask
from airflow_provider_tinybird.timespans import deadlines
from airflow_provider_tinybird.triggers.conditions import TinybirdConditionTrigger

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context
    from airflow_provider_tinybird.conditions.checks import Check


class PunctualSensor(BaseSensorOperator):
    """Base of the sensors: none of their looks, and no pause between two, goes on far beyond ``timeout``."""

    _began = 0.0

    @abstractmethod
    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""

    def execute(self, context: Context) -> Any:
        """Wait, by Airflow's own rules."""
        self._began = time.time()
        return super().execute(context)

    def deadline(self, context: Context) -> float:
        """Tell when the wait is over, in seconds since the epoch."""
        began = self._began or time.time()
        if self.reschedule:
            # Airflow 2.11 asks its database, and cannot be asked from here: a look may then take as long as the whole wait.
            first = getattr(context.get("ti"), "get_first_reschedule_date", lambda _: None)(context)
            began = began if first is None else first.timestamp()
        return float(began + self.timeout)

    def look_here(
        self, context: Context, event: Any, message: str, go_back: Callable[[float, int], None]
    ) -> dict[str, Any]:
        """Look from the worker, since the trigger could not: a triggerer may lack what a worker has, such as a connection.

        :param message: what the trigger says.
        :param go_back: defers again, to a deadline, and with the number of times that it was done.
        """
        left = left_before(event)
        ends, bounces = float(left.get("deadline") or time.time() + self.timeout), int(left.get("bounces") or 0)
        self._began = ends - self.timeout
        self.log.warning(
            "%s Looking from the worker, with the connection read again. If only workers can read or use it, set deferrable=False.",
            message,
        )
        while True:
            found = self.poke(context)
            if found:
                return dict(found.xcom_value or {})
            if time.time() >= ends:
                self.out_of_time(f"Waited {self.timeout:g} s (timeout), in vain. {message}")
            if bounces < BOUNCES:
                go_back(ends, bounces + 1)
            time.sleep(max(0.0, min(self.poke_interval, ends - time.time())))

    @abstractmethod
    def out_of_time(self, message: str) -> NoReturn:
        """End the wait."""

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        # The poke after the end of the time is the one by which Airflow sees that it is over.
        planned = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        return float(min(planned, max(0.0, self.timeout - run_duration()) + 0.1))


class TinybirdConditionSensor(TinybirdTask, PunctualSensor):
    """Base of the sensors that ask a question, once a poll, until its answer is the one that they wait for.

    Passing trouble (a broken network, HTTP 429 and 5xx) is outlasted until ``timeout``. What waiting cannot mend (no such
    column, a token that may not read) fails at once, and Airflow does not retry it. ``soft_fail`` skips where time ran
    out, and nowhere else; ``never_fail`` skips instead of any failure; ``silent_fail`` waits on whatever Tinybird answers.

    :param deferrable: wait in the triggerer, without holding a worker slot.
    :param tinybird_conn_id: id of a connection of type ``tinybird`` (templated).

    ``poke_interval``, ``timeout``, ``mode`` and ``soft_fail`` are those of every sensor and mean the same in each mode.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id",)
    ui_color = "#27f795"
    ui_fgcolor = "#25283d"

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        tinybird_conn_id: str = TinybirdHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.tinybird_conn_id = tinybird_conn_id

    @abstractmethod
    def question(self) -> Check:
        """Say what is asked."""

    def execute(self, context: Context) -> Any:
        """Wait, here or in the triggerer."""
        with self._as_airflow_says():
            if not self.deferrable:
                return super().execute(context)
            began = self._began = time.time()
            found = self.poke(context)
            if found:
                return found.xcom_value
            self.leave_link(context)
            self._defer(began + self.timeout)
        raise AssertionError("defer() returned")

    def _defer(self, deadline: float, bounces: int = 0) -> None:
        self.log.info("Waiting for %s in the triggerer.", self.question().what)
        self.defer(
            trigger=TinybirdConditionTrigger(
                tinybird_conn_id=self.tinybird_conn_id,
                question=self.question().to_json(),
                poll_interval=self.poke_interval,
                deadline=deadline,
                started_at=deadline - self.timeout,
                outlasts_refusals=self.silent_fail,
                resume={"deadline": deadline, "bounces": bounces},
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, deadline - time.time())) + TRIGGER_SLACK,
        )

    @cached_property
    def _wait(self) -> wait.Wait:
        # The sensor's own timeout ends the wait, so that it has no end of its own here.
        return wait.Wait(
            self.question(),
            poll_interval=self.poke_interval,
            deadline=math.inf,
            started_at=time.time(),
            outlasts_refusals=self.silent_fail,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        if self._wait.must_wait:
            return PokeReturnValue(is_done=False)
        finding = wait.look(self.hook.client, self._wait, ends_at=deadlines.looks_end(self.deadline(context)))
        if finding is None:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=finding.facts_or_error())

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Take up what the trigger found, as the other modes would have."""
        finding = wait.Finding.from_payload(event)
        if finding.ending is wait.Ending.LOST:
            return self.look_here(context, event, finding.message, self._defer)
        return finding.facts_or_error()

    def out_of_time(self, message: str) -> NoReturn:
        """End the wait."""
        raise WaitTimeoutError(message)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from the triggerer."""
        with self._as_airflow_says():
            return super().resume_execution(next_method, next_kwargs, context)

    @contextmanager
    def _as_airflow_says(self) -> Iterator[None]:
        """Let each mode end in the same way. Airflow itself skips softly on any failure of its own in some modes, not in
        others.
        """
        try:
            yield
        except (WaitTimeoutError, AirflowSensorTimeout) as e:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(e)) from None
            raise AirflowSensorTimeout(str(e)) from None
        except TinybirdError as e:
            if self.never_fail:
                raise AirflowSkipException(f"Skipped, as never_fail says: {e}") from None
            if e.retry_can_help:
                raise
            raise AirflowFailException(str(e)) from None
