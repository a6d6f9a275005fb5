"""What all operators share: the hook, and clear failures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird._compat import AirflowFailException, BaseOperator, task_state_store
from airflow_provider_tinybird.api import wording
from airflow_provider_tinybird.api.errors import InvalidInputError, TinybirdError
from airflow_provider_tinybird.hooks.tinybird import TinybirdHook
from airflow_provider_tinybird.jobs.start import Attempt, Memory
from airflow_provider_tinybird.operators.task import TinybirdTask

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


def seconds(value: float | str | timedelta, name: str) -> float:
    """Read a length of time.

    :param value: seconds, or a timedelta.
    :param name: the argument's name, for the message.
    :raises InvalidInputError: it is no number, or not positive, or without end.
    """
    try:
        number = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise InvalidInputError(f"{name}={value!r} is no length of time: give seconds above 0, or a timedelta.")
    return number


@contextmanager
def clear_failure() -> Iterator[None]:
    """Let Airflow retry only what trying again can help; the rest fails at once, whatever ``retries`` says."""
    try:
        yield
    except TinybirdError as e:
        if e.retry_can_help:
            raise
        # The message says it all; the chain would put it into the task's log twice, under sixty lines of frames.
        raise AirflowFailException(str(e)) from None


def choice(name: str, value: object, *known: str) -> str:
    """Read one of some words, which may have been a template.

    :raises InvalidInputError: it is none of them.
    """
    if not isinstance(value, str) or value not in known:
        raise InvalidInputError(f"{name}={value!r} is not known: give one of {', '.join(map(repr, known))}.")
    return value


class TinybirdOperator(TinybirdTask, BaseOperator):
    """Base of the operators.

    An argument that was given and comes out as ``None`` fails the task for good, in every rendering.

    :param tinybird_conn_id: id of a connection of type ``tinybird`` (templated).
    """

    template_fields: Sequence[str] = ("tinybird_conn_id",)
    ui_color = "#27f795"
    ui_fgcolor = "#25283d"

    def __init__(self, *, tinybird_conn_id: str = TinybirdHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tinybird_conn_id = tinybird_conn_id

    def tell(self, what: str, **details: Any) -> None:
        """Put what is about to be asked into the task's log.

        :param what: what it is, for the place after "to".
        :param details: what makes this request what it is; secrets are cut out of it.
        """
        self.log.info("Asking Tinybird at %s to %s%s.", self.hook.settings.base_url, what, wording.details(details))


def attempt_of(context: Context, retries: int) -> Attempt:
    """Tell which attempt this is.

    ``max_tries`` is the number of retries at first; an automatic retry leaves it alone, a clear sets it to the tries so
    far plus the number of retries. So the first attempt, and the first after a clear, is the one that is just above the
    difference.
    """
    ti = context.get("ti")
    if ti is None:
        return Attempt(max_tries=retries)
    max_tries = int(ti.max_tries if ti.max_tries is not None else retries)
    run = context.get("dag_run")
    start = getattr(run, "start_date", None)
    return Attempt(
        max_tries=max_tries,
        is_retry=int(ti.try_number) - (max_tries - retries) > 1,
        first_started_at=start.timestamp() if start is not None else 0.0,
        is_mapped=int(getattr(ti, "map_index", -1)) >= 0,
    )


def load_id_of(context: Context, task: BaseOperator) -> str:
    """Name the load of a task instance: the same for each attempt and after each clear."""
    ti, run = context.get("ti"), context.get("dag_run")
    run_id = getattr(ti, "run_id", None) or context.get("run_id") or getattr(run, "run_id", "")
    dag_id = getattr(ti, "dag_id", None) or task.dag_id
    return json.dumps([dag_id, task.task_id, run_id, int(getattr(ti, "map_index", -1))])


def memory_of(context: Context, retries: int, *, durable: bool) -> Memory:
    """Return what this task remembers of its jobs.

    :param durable: whether a retry takes up what an earlier attempt started; without it nothing is remembered.
    """
    attempt = attempt_of(context, retries)
    if durable:
        return Memory(task_state_store(context), attempt)
    return Memory(None, Attempt(max_tries=attempt.max_tries, is_mapped=attempt.is_mapped))
