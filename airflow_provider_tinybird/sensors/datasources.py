"""Sensors that wait for rows in data sources, for fresh ones, and for a quarantine that stays clean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from airflow_provider_tinybird.conditions import checks
from airflow_provider_tinybird.operators.base import seconds
from airflow_provider_tinybird.sensors.base import TinybirdConditionSensor


class TinybirdFreshnessSensor(TinybirdConditionSensor):
    """Wait until the newest value of a column of a data source is new enough.

    Token scope: ``DATASOURCES:READ:<datasource>``. Returns ``rows, newest``. Each look reads the column of all rows that
    ``condition`` leaves, and Tinybird counts what is read: name recent partitions there, or let the column be the one of the
    partition key.

    :param datasource: name of the data source (templated).
    :param column: the column, of dates, times or numbers; or an SQL expression over columns (templated).
    :param at_least: what it must reach: a datetime, a date, ISO 8601 text of either (without a zone it is UTC), or a number,
        such as ``{{ data_interval_end }}`` (templated).
    :param max_age: how old it may be, by Tinybird's clock, instead of ``at_least``: seconds or a timedelta
        (templated).
    :param condition: SQL condition, or the name of a ``.sql`` file; only rows that match count (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.sensors.base.TinybirdConditionSensor`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "datasource", "column", "at_least", "max_age", "condition")
    template_fields_renderers: ClassVar[dict[str, str]] = {"condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        datasource: str,
        column: str,
        at_least: datetime | date | str | float | timedelta | None = None,
        max_age: timedelta | float | str | None = None,
        condition: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.column = column
        self.at_least = at_least
        self.max_age = max_age
        self.condition = condition

    def question(self) -> checks.SqlCheck:
        """Ask for the newest value."""
        at_least, max_age = self.at_least, self.max_age
        if isinstance(at_least, timedelta) and max_age is None:
            at_least, max_age = None, at_least
        return checks.freshness(
            self.datasource,
            self.column,
            at_least=at_least,
            max_age=None if max_age is None else seconds(max_age, "max_age"),
            condition=self.condition,
        )


class TinybirdRowsSensor(TinybirdConditionSensor):
    """Wait until a data source has enough rows, or enough that match a condition.

    Token scope: ``DATASOURCES:READ:<datasource>``. Returns ``rows``.

    :param datasource: name of the data source; also ``<name>_quarantine`` (templated).
    :param condition: SQL condition, or the name of a ``.sql`` file; only rows that match count (templated).
    :param min_rows: rows that it must have (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.sensors.base.TinybirdConditionSensor`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "datasource", "condition", "min_rows")
    template_fields_renderers: ClassVar[dict[str, str]] = {"condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self, *, datasource: str, condition: str | None = None, min_rows: int | str = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.condition = condition
        self.min_rows = min_rows

    def question(self) -> checks.SqlCheck:
        """Ask for the number of rows."""
        min_rows = checks.row_count(self.min_rows, "min_rows")
        return checks.enough_rows(self.datasource, min_rows=min_rows, condition=self.condition)


class TinybirdSqlSensor(TinybirdConditionSensor):
    """Wait until the first cell of a SELECT is true, as Airflow's ``SqlSensor`` does: there is a row, and its first value is
    not null, empty, 0 or false.

    Token scope: read on each data source and pipe it reads. Returns ``value``.

    :param sql: one SELECT, or the name of a ``.sql`` file, such as ``SELECT count() >= 1000 FROM flights`` (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.sensors.base.TinybirdConditionSensor`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "sql")
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(self, *, sql: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sql = sql

    def question(self) -> checks.FirstCellCheck:
        """Ask for the first cell."""
        return checks.FirstCellCheck(sql=self.sql)


class TinybirdQuarantineSensor(TinybirdConditionSensor):
    """Watch the quarantine of a data source over a window of time: red as soon as more rows came into it than may, with the
    reasons; green when the window is over and they have not.

    To wait for rows in quarantine, in order to mend them, use :class:`TinybirdRowsSensor` on ``<datasource>_quarantine``.
    Token scope: ``DATASOURCES:READ:<datasource>``. Returns ``rows, reasons``.

    :param datasource: name of the data source (templated).
    :param start: begin of the window, such as ``{{ data_interval_start }}`` (templated).
    :param end: its end, which is not in it; by default the moment of the look, so that one look decides (templated).
    :param max_rows: rows that may be in quarantine (templated).
    :param condition: SQL condition, or the name of a ``.sql`` file; only rows of the quarantine that match count (templated).

    The other parameters are those of :class:`~airflow_provider_tinybird.sensors.base.TinybirdConditionSensor`.
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "datasource", "start", "end", "max_rows", "condition")
    template_fields_renderers: ClassVar[dict[str, str]] = {"condition": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        datasource: str,
        start: datetime | date | str,
        end: datetime | date | str | None = None,
        max_rows: int | str = 0,
        condition: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasource = datasource
        self.start = start
        self.end = end
        self.max_rows = max_rows
        self.condition = condition

    def question(self) -> checks.QuarantineCheck:
        """Ask for the rows of the window."""
        return checks.clean_quarantine(
            self.datasource, start=self.start, end=self.end, max_rows=self.max_rows, condition=self.condition
        )
