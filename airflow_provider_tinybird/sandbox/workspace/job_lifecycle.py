"""The course of the next jobs on demand: held, slow, failing, deaf to a cancel. What a test cannot get from real work."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_tinybird.sandbox.http.errors import bad_request
from airflow_provider_tinybird.sandbox.http.web import number, parsed_json

_KEYS = frozenset({"name", "times", "hold", "delay", "error", "stubborn", "cancel", "lose", "uncounted"})
_HOLDS = ("waiting", "working")
_LOOK_SECONDS = 0.05


@dataclass
class Course:
    """How a job goes.

    :param delay: seconds that it spends waiting, and again working, beyond what it needs.
    :param hold: the status in which it stays until it is released.
    :param error: it does nothing, and fails with this text.
    :param stubborn: a cancel leaves it ``cancelling`` until it is released.
    :param cancel: somebody else cancels it as soon as it works; it does nothing.
    :param lose: so many good rows of an import are left out, and only the counts tell.
    :param uncounted: an import does not tell how many rows it wrote.
    """

    delay: float = 0.0
    hold: str | None = None
    error: str | None = None
    stubborn: bool = False
    cancel: bool = False
    lose: int = 0
    uncounted: bool = False
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def takes_time(self) -> bool:
        """Whether it keeps a job from being over at once."""
        return self.delay > 0 or self.hold is not None

    def wait(self, status: str, stop: threading.Event) -> None:
        """Spend the time that a job is in a status.

        :param stop: ends it early.
        """
        stop.wait(self.delay)
        while self.hold == status and not stop.is_set() and not self.released.is_set():
            stop.wait(_LOOK_SECONDS)


@dataclass
class _Plan:
    name: str
    times: int
    course: Mapping[str, Any]


class Courses:
    """The courses that the next jobs of a pipe or a data source take.

    :param delay: of the jobs for which nothing is planned.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._plans: list[_Plan] = []
        self._taken: list[tuple[str, Course]] = []
        self._lock = threading.Lock()

    def add(self, text: bytes) -> int:
        """Plan courses, from JSON: one object or a list of them.

        :return: how many wait for their job.
        :raises ApiError: 400, naming what cannot be read.
        """
        given = parsed_json(text, "the body must be a JSON list of courses")
        plans = [_plan(one) for one in (given if isinstance(given, list) else [given])]
        with self._lock:
            self._plans.extend(plans)
            return len(self._plans)

    def take(self, names: tuple[str, ...]) -> Course:
        """The course of a job.

        :param names: of its pipe and its data source.
        """
        with self._lock:
            for plan in self._plans:
                if plan.name in names:
                    plan.times -= 1
                    self._plans = [one for one in self._plans if one.times > 0]
                    course = Course(**{"delay": self._delay, **plan.course})
                    self._taken.append((plan.name, course))
                    return course
        return Course(self._delay)

    def release(self, name: str | None = None) -> None:
        """Let held jobs go on, and forget what is planned; None for all."""
        with self._lock:
            for one, course in self._taken:
                if name in (None, one):
                    course.released.set()
            self._taken = [(one, course) for one, course in self._taken if not course.released.is_set()]
            self._plans = [plan for plan in self._plans if name not in (None, plan.name)]


def _plan(given: Any) -> _Plan:
    if not isinstance(given, dict) or not given.keys() <= _KEYS or not given.get("name"):
        raise bad_request(
            f"a course must be an object with 'name' and keys of {', '.join(sorted(_KEYS))}, not {given!r}"
        )
    if given.get("hold") not in (None, *_HOLDS):
        raise bad_request(f"'hold' of a course must be one of {', '.join(_HOLDS)}, not '{given['hold']}'")
    course = {key: value for key, value in given.items() if key not in ("name", "times")}
    course.update({key: bool(course.get(key)) for key in ("stubborn", "cancel", "uncounted")})
    if course.get("error") is not None:
        course["error"] = str(course["error"])
    if "lose" in course:
        course["lose"] = int(number(course["lose"], "'lose' of a course"))
    if "delay" in course:
        course["delay"] = number(course["delay"], "'delay' of a course")
    return _Plan(str(given["name"]), int(number(given.get("times", 1), "'times' of a course")), course)
