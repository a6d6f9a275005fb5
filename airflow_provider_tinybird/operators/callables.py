"""Callables as arguments of operators: Airflow's rendering of templates would call them."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


class UncalledData:
    """A callable that comes out of Airflow's rendering of templates as it went in.

    Airflow calls each callable that it finds in a template field, with a context and a Jinja environment, before the
    task runs, and keeps what comes back. Ours take no arguments and are to be called when the rows are sent.

    :param function: the callable; this shows its name, as Airflow stores that of template fields.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        update_wrapper(self, function)
        self.function = function

    def __repr__(self) -> str:
        # Without an address in it: older versions store this text, and another text makes another version of the DAG.
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return f"<callable {getattr(self.function, '__module__', '')}.{name}>"

    def __call__(self, **_: Any) -> UncalledData:
        """Be rendered, as often as Airflow likes: tests render an operator again and again."""
        return self


def wrapped(data: Any) -> Any:
    """Prepare an argument that may be a callable for being rendered; for ``__init__``."""
    return UncalledData(data) if callable(data) else data


def unwrapped(data: Any) -> Any:
    """Return the argument as it was given; for ``execute``."""
    return data.function if isinstance(data, UncalledData) else data
