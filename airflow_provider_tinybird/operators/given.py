"""Arguments that were given and came out as nothing: a task ends before it does anything with them.

``None`` means "left out" to an operator: no condition, no bound, the pipe's defaults. A template or the result of another task can come
out as ``None`` too, and must not mean the same. All operators, sensors and decorators pass this one gate, with each template field.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from airflow_provider_tinybird._compat import AirflowFailException, AirflowSkipException

_ELSEWHERE = object()
"""Stands for a value that is no literal of the DAG's author."""


class GivenArguments:
    """Base of everything that has template fields: no field that was given may come out as nothing.

    "Nothing" is ``None``, NaN, an undefined name of Jinja, and blank text or the text ``None`` that a template rendered. In a mapped
    task each value of the mapped row counts as given, ``None`` too, also of arguments that are no template fields. A literal ``None``
    still means "left out"; so does one within a literal mapping such as ``parameters={"city": None}``.
    """

    may_be_none: ClassVar[frozenset[str]] = frozenset({"op_args", "op_kwargs"})
    """Fields that are not checked: they are the user's own business."""

    may_be_blank: ClassVar[frozenset[str]] = frozenset({"data", "dialect_delimiter", "dialect_escapechar"})
    """Fields in which blank text is a value: no rows, or a tab."""

    _values_may_be_blank: ClassVar[frozenset[str]] = frozenset({"parameters"})
    """Mappings whose values may be blank text, which is sent as such and does not vanish."""

    _not_looked_into: ClassVar[frozenset[str]] = frozenset({"data"})
    """Fields that hold rows, whose own values are nulls."""

    _mapped_names: frozenset[str] = frozenset()
    _came_out_as_nothing: tuple[tuple[str, str], ...] = ()

    def __new__(cls, *_: Any, **kwargs: Any) -> Any:
        """Note which arguments come from a mapping: the task is made when it runs then, from values that are known already."""
        self = super().__new__(cls)
        if kwargs.get("_airflow_from_mapped"):
            own = frozenset(cls.template_fields) | own_arguments(cls)  # type: ignore[attr-defined]
            self.__dict__["_mapped_names"] = _names_of_mapping(kwargs) & own
            self.__dict__["_came_out_as_nothing"] = tuple(
                (name, repr(kwargs[name]))
                for name in sorted(self._mapped_names - cls.may_be_none)
                if is_missing(kwargs[name])
            )
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Put the gate in front of ``execute``, also of a subclass that users write."""
        super().__init_subclass__(**kwargs)
        if "execute" in cls.__dict__:
            cls.execute = _gated(cls.__dict__["execute"])  # type: ignore[attr-defined]

    def _do_render_template_fields(self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any) -> Any:
        """Compare each field before and after; mapped tasks come through here too, and not through ``render_template_fields``."""
        if parent is not self:
            return super()._do_render_template_fields(parent, template_fields, *args, **kwargs)  # type: ignore[misc]
        fields = tuple(template_fields)
        before = {
            name: _ELSEWHERE if name in self._mapped_names else getattr(self, name, None)
            for name in fields
            if name not in self.may_be_none
        }
        rendered = super()._do_render_template_fields(parent, fields, *args, **kwargs)  # type: ignore[misc]
        found = dict(self._came_out_as_nothing)
        for name, value in before.items():
            found.update(self._lost(name, value, getattr(self, name, None)))
        self.__dict__["_came_out_as_nothing"] = tuple(found.items())
        return rendered

    def _lost(self, name: str, before: Any, after: Any) -> Iterator[tuple[str, str]]:
        if _is_nothing(after, blank=name not in self.may_be_blank):
            if not _is_nothing(before, blank=True):
                yield name, _shown(after)
        elif name not in self._not_looked_into:
            yield from _lost_within(name, before, after, blank=name not in self._values_may_be_blank)

    def check_given(self) -> None:
        """Let no argument through that was given and came out as nothing.

        :raises AirflowFailException: one did. Trying again would not help: the results of other tasks stay as they are.
        """
        if not self._came_out_as_nothing:
            return
        message = "\n".join(_complaint(name, shown) for name, shown in self._came_out_as_nothing)
        if getattr(self, "never_fail", False):  # a sensor's: skip instead of any failure
            raise AirflowSkipException(message)
        raise AirflowFailException(message)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Come back from the triggerer: the fields were rendered again, and may be used to start another job."""
        self.check_given()
        return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]


def is_missing(value: object) -> bool:
    """Tell whether a value stands for none at all: ``None``, NaN, NaT, NA, or an undefined name of Jinja."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    kind = type(value)
    if kind.__module__.startswith("jinja2"):
        from jinja2 import Undefined

        return isinstance(value, Undefined)
    return kind.__name__ in ("NaTType", "NAType") and kind.__module__.startswith("pandas")


def _is_nothing(value: object, *, blank: bool) -> bool:
    """Tell whether a value is missing, or text that a template makes of a missing one.

    :param blank: whether blank text is such.
    """
    if isinstance(value, str):
        text = value.strip()
        return text == "None" or (blank and not text)
    return is_missing(value)


def _lost_within(name: str, before: Any, after: Any, *, blank: bool) -> Iterator[tuple[str, str]]:
    """Find the values of a mapping or list that were given and came out as nothing."""
    if isinstance(after, Mapping):
        inside = [(key, before[key] if isinstance(before, Mapping) and key in before else _ELSEWHERE) for key in after]
    elif isinstance(after, list | tuple):
        is_literal = isinstance(before, list | tuple) and len(before) == len(after)
        inside = [(key, before[key] if is_literal else _ELSEWHERE) for key in range(len(after))]
    else:
        return
    for key, was in inside:
        value, path = after[key], f"{name}[{key!r}]"
        # What another task returned as a whole is no template: blank text in it is a value.
        is_lost = is_missing(value) if was is _ELSEWHERE else _is_nothing(value, blank=blank)
        if is_lost:
            if was is _ELSEWHERE or not _is_nothing(was, blank=True):
                yield path, _shown(value)
        else:
            yield from _lost_within(path, was, value, blank=blank)


def _gated(execute: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(execute)
    def gated(self: GivenArguments, *args: Any, **kwargs: Any) -> Any:
        self.check_given()
        return execute(self, *args, **kwargs)

    return gated


def _names_of_mapping(kwargs: Mapping[str, Any]) -> frozenset[str]:
    """Tell which arguments of a mapped task are those of its row, and not of ``partial``."""
    task = getattr(kwargs.get("dag"), "task_dict", {}).get(kwargs.get("task_id"))
    partial = getattr(task, "partial_kwargs", {})
    # A row may override what partial gave. The DAG's own task may be a copy of the one that runs, so no more is compared than this.
    overridden = {name for name, value in kwargs.items() if is_missing(value) and not is_missing(partial.get(name))}
    return (frozenset(kwargs) - frozenset(partial)) | overridden


def own_arguments(cls: type) -> frozenset[str]:
    """Name the arguments of a class that are not Airflow's own."""
    names: set[str] = set()
    for base in cls.__mro__:
        if issubclass(base, GivenArguments) and "__init__" in vars(base):
            names |= set(inspect.signature(inspect.unwrap(vars(base)["__init__"])).parameters)
    return frozenset(names)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"the text {value!r}" if value.strip() else f"blank text ({value!r})"
    return (
        "None" if value is None else "an undefined name" if type(value).__module__.startswith("jinja2") else repr(value)
    )


def _complaint(name: str, shown: str) -> str:
    return (
        f"{name} was given and came out as {shown}. That is not the same as leaving it out, so the task stopped here.\n"
        "Usual causes: the task that it comes from was skipped or returned None, dag_run.conf or an XCom has no such key, or a mapped row "
        "has None for it.\n"
        f"Correct the value and clear the task. If none is meant, leave {name} out (in a mapped row: leave out its key)."
    )
