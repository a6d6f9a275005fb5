"""``@task.tinybird_events``: a function whose rows go to a data source, with no XCom between."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_tinybird._compat import DecoratedOperator, determine_kwargs, task_decorator_factory
from airflow_provider_tinybird.operators.events import TinybirdEventsOperator

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


class TinybirdEventsDecoratedOperator(DecoratedOperator, TinybirdEventsOperator):
    """Calls a function and sends what it returns or yields.

    :param python_callable: the function: it returns or yields whatever
        :class:`~airflow_provider_tinybird.operators.events.TinybirdEventsOperator` takes as ``data``.
    :param op_args: its positional arguments (templated).
    :param op_kwargs: its keyword arguments (templated).

    The other parameters are those of that operator.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in TinybirdEventsOperator.template_fields if name != "data"),
    )
    custom_operator_name = "@task.tinybird_events"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, data=None, **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function and send its rows, as they come where it yields them."""
        arguments = {**determine_kwargs(self.python_callable, self.op_args, context), **self.op_kwargs}
        return self._load(partial(self.python_callable, *self.op_args, **arguments), context).as_xcom()


def tinybird_events_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> Any:
    """Make a function a task that sends the rows which it returns or yields.

    :param python_callable: the function.
    :param multiple_outputs: push each count as an XCom of its own as well.
    :param kwargs: arguments of :class:`~airflow_provider_tinybird.operators.events.TinybirdEventsOperator`, such as
        ``datasource``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=TinybirdEventsDecoratedOperator,
        **kwargs,
    )
