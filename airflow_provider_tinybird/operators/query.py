"""The operator that runs SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_tinybird.api import query
from airflow_provider_tinybird.operators.base import TinybirdOperator, clear_failure
from airflow_provider_tinybird.results.xcom import query_xcom, raw_xcom, write_result

if TYPE_CHECKING:
    from airflow_provider_tinybird._compat import Context


class TinybirdQueryOperator(TinybirdOperator):
    """Run a SELECT over data sources and endpoints, and return its rows or write them to a file.

    Token scope: read on each data source and pipe it reads. Returns ``data, meta, rows, rows_before_limit_at_least,
    statistics`` (decimals are text, with all of their digits; in a format other than JSON the text is ``data``), or
    ``output_path, size`` when the result went to a file.

    :param sql: one SELECT, or the name of a ``.sql`` file (templated).
    :param pipeline: name of a pipe that the SQL can read as ``_`` (templated).
    :param format: ClickHouse format: ``JSON``, ``CSVWithNames``, ``TSV``, ``JSONEachRow``, ``Parquet``, ...; a FORMAT
        clause in the SQL wins (templated).
    :param output_path: where to write the answer as it streams in: a local path, or any URL that Airflow's
        ObjectStoragePath opens (templated).
    """

    template_fields: Sequence[str] = ("tinybird_conn_id", "sql", "pipeline", "format", "output_path")
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    template_ext: Sequence[str] = (".sql",)

    def __init__(
        self,
        *,
        sql: str,
        pipeline: str | None = None,
        format: str = "JSON",
        output_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.pipeline = pipeline
        self.format = format
        self.output_path = output_path

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Run it."""
        with clear_failure():
            what = "The result of the query"
            call = query.sql_as(self.sql, self.format, pipeline=self.pipeline)
            self.tell(call.what, sql=self.sql, pipeline=self.pipeline, format=self.format, output_path=self.output_path)
            if self.output_path is not None:
                return write_result(self.hook.client, call, self.output_path)
            if query.format_of(self.sql, self.format).upper() == "JSON":
                return query_xcom(self.hook.query(self.sql, pipeline=self.pipeline), what)
            return raw_xcom(self.hook.send(call), what)
