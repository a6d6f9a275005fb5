"""Checks of data by SQL: the check operators of Airflow's common.sql provider (extra: ``sql``), on a Tinybird connection."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird.hooks.sql import TinybirdSqlHook
from airflow_provider_tinybird.operators.base import TinybirdOperator, clear_failure
from airflow_provider_tinybird.timespans.timestamps import moment

if TYPE_CHECKING:
    from airflow.providers.common.sql.operators import sql as common

    from airflow_provider_tinybird._compat import Context
else:
    from airflow.providers.common.sql.operators import sql as common

_TEMPLATE = re.compile(r"\{\{.*?\}\}")


class _OnTinybird:
    """Lets an operator of common.sql ask Tinybird. It would find its hook by the connection's type, which has one of its own."""

    tinybird_conn_id: str

    def get_db_hook(self) -> TinybirdSqlHook:
        return TinybirdSqlHook(tinybird_conn_id=self.tinybird_conn_id)


class _Check(_OnTinybird, common.SQLCheckOperator):
    pass


class _ValueCheck(_OnTinybird, common.SQLValueCheckOperator):
    """Compares decimals and integers by all of their digits, where Airflow's own makes floats of them."""

    def _to_float(self, records: Sequence[Any]) -> list[Any]:
        return [one if isinstance(one, int | Decimal) else float(one) for one in records]

    def _get_numeric_matches(self, numeric_records: Sequence[Any], numeric_pass_value_conv: float) -> list[bool]:
        return [self._matches(one, numeric_pass_value_conv) for one in numeric_records]

    def _matches(self, found: Any, about: float) -> bool:
        if isinstance(found, float) or not math.isfinite(about):
            return bool(super()._get_numeric_matches([float(found)], about)[0])  # type: ignore[no-untyped-call]
        expected, exact = Fraction(self.pass_value), Fraction(found)
        return abs(exact - expected) <= abs(expected) * Fraction(str(self.tol or 0))


class _IntervalCheck(_OnTinybird, common.SQLIntervalCheckOperator):
    """Divides decimals too, where Airflow's own divides a float by one."""

    ratio_formulas: dict[str, Any] = {  # noqa: RUF012 - as in the base class
        "max_over_min": lambda cur, ref: _ratio(max(cur, ref), min(cur, ref)),
        "relative_diff": lambda cur, ref: _ratio(abs(cur - ref), ref),
    }


def _ratio(above: Any, below: Any) -> float:
    if isinstance(above, Decimal) or isinstance(below, Decimal):
        return float(Fraction(above) / Fraction(below))
    return float(above / below)


class _ColumnCheck(_OnTinybird, common.SQLColumnCheckOperator):
    # ClickHouse finds no type for a UNION of counts, which are unsigned, and of a signed or a fractional smallest value.
    column_checks: dict[str, str] = {  # noqa: RUF012 - as in the base class
        "null_check": "toFloat64(countIf({column} IS NULL))",
        "distinct_check": "toFloat64(uniqExact({column}))",
        "unique_check": "toFloat64(count({column}) - uniqExact({column}))",
        "min": "toFloat64(min({column}))",
        "max": "toFloat64(max({column}))",
    }


class _TableCheck(_OnTinybird, common.SQLTableCheckOperator):
    pass


class TinybirdSqlCheckBase(TinybirdOperator):
    """Base of the checks. A check that fails is red; Airflow retries it only where ``retry_on_failure`` says so.

    :param retry_on_failure: let Airflow retry a check that failed: the data may be there by then.
    """

    def __init__(self, *, retry_on_failure: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.retry_on_failure = retry_on_failure

    @abstractmethod
    def check(self) -> Any:
        """Make the operator of common.sql that checks. It reads its arguments when it is made, so templates are rendered by now."""

    def execute(self, context: Context) -> None:
        """Check."""
        with clear_failure():
            check = self.check()
            check.tinybird_conn_id = self.tinybird_conn_id
            # What Airflow puts around it asks whether the task's own operator is run, which is this one.
            execute = type(check).execute
            getattr(execute, "__wrapped__", execute)(check, context)

    def _common(self) -> dict[str, Any]:
        return {"task_id": self.task_id, "retry_on_failure": self.retry_on_failure}


class TinybirdCheckOperator(TinybirdSqlCheckBase):
    """Be green when each value of the first row of a SELECT is true: not 0, empty, null or false.

    Token scope: read on each data source and pipe that is looked at.

    :param sql: one SELECT, or the name of a ``.sql`` file (templated).
    :param parameters: values for ``%s`` or ``%(name)s`` in the SQL (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.checks.TinybirdSqlCheckBase`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "sql", "parameters")
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(self, *, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.parameters = parameters

    def check(self) -> Any:
        """Make the check."""
        return _Check(sql=self.sql, parameters=self.parameters, **self._common())


class TinybirdValueCheckOperator(TinybirdSqlCheckBase):
    """Be green when the values of the first row of a SELECT are a value, or near it.

    Token scope: read on each data source and pipe that is looked at.

    :param sql: one SELECT, or the name of a ``.sql`` file (templated).
    :param pass_value: the value (templated).
    :param tolerance: part of it that a number may be off, such as 0.1 (templated).
    :param parameters: values for ``%s`` or ``%(name)s`` in the SQL (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.checks.TinybirdSqlCheckBase`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "sql", "pass_value", "tolerance", "parameters")
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        sql: str,
        pass_value: Any,
        tolerance: float | str | None = None,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.pass_value = pass_value
        self.tolerance = tolerance
        self.parameters = parameters

    def check(self) -> Any:
        """Make the check."""
        return _ValueCheck(
            sql=self.sql,
            pass_value=self.pass_value,
            tolerance=None if self.tolerance is None else float(self.tolerance),
            parameters=self.parameters,
            **self._common(),
        )


class TinybirdIntervalCheckOperator(TinybirdSqlCheckBase):
    """Be green when expressions over the rows of a day are not too far from those of some days before.

    Token scope: read on each data source and pipe that is looked at.

    :param table: name of the data source (templated).
    :param day: the day: a date, or text such as ``{{ ds }}`` (templated).
    :param metrics_thresholds: SQL expressions, each with the ratio that the two days may differ by, such as ``{"count()": 1.5}``
        (templated).
    :param date_filter_column: column with the day (templated).
    :param days_back: days between the two: back, whatever the sign (templated).
    :param ratio_formula: ``max_over_min``, or ``relative_diff`` (templated).
    :param ignore_zero: let a metric be that is zero on one of the days.

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.checks.TinybirdSqlCheckBase`.
    """

    template_fields: Sequence[str] = (
        "tinybird_conn_id",
        "table",
        "day",
        "metrics_thresholds",
        "date_filter_column",
        "days_back",
        "ratio_formula",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"metrics_thresholds": "json"}

    def __init__(
        self,
        *,
        table: str,
        day: date | str,
        metrics_thresholds: Mapping[str, Any],
        date_filter_column: str = "ds",
        days_back: int | str = -7,
        ratio_formula: str = "max_over_min",
        ignore_zero: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.day = day
        self.metrics_thresholds = metrics_thresholds
        self.date_filter_column = date_filter_column
        self.days_back = days_back
        self.ratio_formula = ratio_formula
        self.ignore_zero = ignore_zero

    def check(self) -> Any:
        """Make the check. It leaves the two days to Airflow's templates, which are rendered no more."""
        check = _IntervalCheck(
            table=self.table,
            metrics_thresholds=dict(self.metrics_thresholds),
            date_filter_column=self.date_filter_column,
            days_back=int(self.days_back),
            ratio_formula=self.ratio_formula,
            ignore_zero=self.ignore_zero,
            **self._common(),
        )
        day = moment(self.day, "day").date()
        check.sql1 = _TEMPLATE.sub(day.isoformat(), check.sql1)
        check.sql2 = _TEMPLATE.sub((day + timedelta(days=check.days_back)).isoformat(), check.sql2)
        return check


class TinybirdColumnCheckOperator(TinybirdSqlCheckBase):
    """Be green when the columns of a data source pass checks: ``null_check``, ``distinct_check``, ``unique_check``, ``min``, ``max``.

    All of them are asked by one query. Values are compared as numbers: of dates as days, of times as seconds since 1970.
    Token scope: read on each data source and pipe that is looked at.

    :param table: name of the data source (templated).
    :param column_mapping: for each column its checks, and for each of these what must hold: ``equal_to``, ``greater_than``, ``geq_to``,
        ``less_than``, ``leq_to``, ``tolerance``, ``partition_clause``; such as ``{"delay": {"null_check": {"equal_to": 0}}}`` (templated).
    :param partition_clause: SQL condition; only rows that match count (templated).
    :param accept_none: take no value at all for 0.

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.checks.TinybirdSqlCheckBase`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "table", "column_mapping", "partition_clause")
    template_fields_renderers: ClassVar[dict[str, str]] = {"column_mapping": "json"}

    def __init__(
        self,
        *,
        table: str,
        column_mapping: Mapping[str, dict[str, Any]],
        partition_clause: str | None = None,
        accept_none: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.column_mapping = column_mapping
        self.partition_clause = partition_clause
        self.accept_none = accept_none

    def check(self) -> Any:
        """Make the check, with a mapping of its own: it writes its results there."""
        return _ColumnCheck(
            table=self.table,
            column_mapping=deepcopy(dict(self.column_mapping)),
            partition_clause=self.partition_clause,
            accept_none=self.accept_none,
            **self._common(),
        )


class TinybirdTableCheckOperator(TinybirdSqlCheckBase):
    """Be green when a data source passes checks, each an SQL expression over its rows that must be true.

    All of them are asked by one query. Token scope: read on each data source and pipe that is looked at.

    :param table: name of the data source (templated).
    :param checks: names of the checks, each with its ``check_statement`` and perhaps a ``partition_clause``, such as
        ``{"enough": {"check_statement": "count() >= 1000"}}`` (templated).
    :param partition_clause: SQL condition; only rows that match count (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.operators.checks.TinybirdSqlCheckBase`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "table", "checks", "partition_clause")
    template_fields_renderers: ClassVar[dict[str, str]] = {"checks": "json"}

    def __init__(
        self,
        *,
        table: str,
        checks: Mapping[str, dict[str, Any]],
        partition_clause: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.checks = checks
        self.partition_clause = partition_clause

    def check(self) -> Any:
        """Make the check, with checks of its own: it writes its results there."""
        return _TableCheck(
            table=self.table,
            checks=deepcopy(dict(self.checks)),
            partition_clause=self.partition_clause,
            **self._common(),
        )
