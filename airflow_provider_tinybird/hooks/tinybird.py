"""The hook: an Airflow connection becomes a Tinybird client, with the calls that people make by hand."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_tinybird import connection
from airflow_provider_tinybird._compat import BaseHook, get_connection_async
from airflow_provider_tinybird.api import datasources, pipes, query, workspaces
from airflow_provider_tinybird.api import jobs as jobs_api
from airflow_provider_tinybird.api.call import Call
from airflow_provider_tinybird.api.client import AsyncClient, Client
from airflow_provider_tinybird.api.errors import ApiError, TinybirdError
from airflow_provider_tinybird.api.import_options import ImportOptions
from airflow_provider_tinybird.api.models import Job, QueryResult, RowsToDelete, Truncated
from airflow_provider_tinybird.api.redact import redact
from airflow_provider_tinybird.api.retry import RetryPolicy
from airflow_provider_tinybird.api.settings import Settings, region_hint
from airflow_provider_tinybird.files.local_or_remote import file_format
from airflow_provider_tinybird.hooks.rereading import RereadingClient
from airflow_provider_tinybird.hooks.shared_clients import shared_client
from airflow_provider_tinybird.jobs import outcome as outcomes
from airflow_provider_tinybird.jobs import submissions, watch
from airflow_provider_tinybird.loads import (
    Compression,
    Delivery,
    LoadMemory,
    LoadOptions,
    LoadResult,
    OnNarrowing,
    file_gate,
    load_data,
    look_up,
)
from airflow_provider_tinybird.loads.files.upload import upload
from airflow_provider_tinybird.results.dataframes import data_frame
from airflow_provider_tinybird.results.xcom import checked_text, query_table, write_result
from airflow_provider_tinybird.timespans import deadlines

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from airflow_provider_tinybird.ndjson import Gate

T = TypeVar("T")

# Somebody sits in front of a form and waits.
_CHECK_POLICY = RetryPolicy(max_retries=1, total=10.0)


class TinybirdHook(BaseHook):
    """Talks to Tinybird with the credentials of an Airflow connection.

    Calls that start a job return it at once: ``wait_for_job`` waits until it is over.

    :param tinybird_conn_id: id of a connection of type ``tinybird``.
    """

    conn_name_attr = "tinybird_conn_id"
    default_conn_name = "tinybird_default"
    conn_type = "tinybird"
    hook_name = "Tinybird"

    def __init__(self, tinybird_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tinybird_conn_id = tinybird_conn_id
        self._ends_at: float | None = None

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Fields of the connection form for Airflow below 3.2; later ones read the provider's metadata."""
        return connection.connection_form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels of the connection form for Airflow below 3.2; later ones read the provider's metadata."""
        return connection.ui_field_behaviour()

    @cached_property
    def settings(self) -> Settings:
        """What the connection says, checked.

        :raises SettingsError: a field cannot be used; the message names it.
        """
        return connection.settings_from_connection(self.get_connection(self.tinybird_conn_id))

    @cached_property
    def client(self) -> Client:
        """The client, one for the life of the hook. Any call of ``airflow_provider_tinybird.api`` can be sent with
        it. When Tinybird refuses the token, the connection is read again: the token may have been rotated.
        """
        return RereadingClient(self.settings, self._reread).until(self._ends_at)

    def _reread(self) -> Settings | None:
        try:
            found = connection.settings_from_connection(self.get_connection(self.tinybird_conn_id))
        except Exception as e:  # whatever it is: that the token was refused is what the reader should see
            self.log.warning("Connection '%s' could not be read again: %s", self.tinybird_conn_id, redact(str(e)))
            return None
        self.__dict__["settings"] = found
        return found

    def until(self, deadline: float) -> None:
        """Give all calls from here on a deadline, after which nothing is sent; one that has a deadline of its own keeps that.

        :param deadline: moment in seconds since the epoch.
        """
        self._ends_at = deadlines.monotonic(deadline)
        if "client" in self.__dict__:
            self.__dict__["client"] = self.client.until(self._ends_at)

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[AsyncClient]:
        """Lend a client for an event loop; the connection is looked up without blocking the loop."""
        if "settings" not in self.__dict__:
            found = await get_connection_async(self.tinybird_conn_id)
            self.__dict__["settings"] = connection.settings_from_connection(found)
        async with shared_client(self.settings) as client:
            yield client

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the client, which belongs to this process, and the token: a copy reads the connection by itself."""
        state = {name: value for name, value in vars(self).items() if name not in ("client", "settings", "_log")}
        return {**state, "_ends_at": None}

    def get_conn(self) -> Client:
        """Return the client, as hooks do."""
        return self.client

    def send(self, call: Call[T]) -> T:
        """Send any call of ``airflow_provider_tinybird.api`` and return its result."""
        return self.client.send(call)

    def send_events(
        self,
        datasource: str,
        data: Any,
        *,
        wait: bool = True,
        compression: str | None = None,
        delivery: str = "at_most_once",
        batch_id_column: str | None = None,
        load_id: str | None = None,
        max_in_flight: int = 4,
        pacing: bool = True,
        create_missing: bool = False,
        min_rows: int | None = None,
        on_narrowing: str = "fail",
        memory: LoadMemory | None = None,
    ) -> LoadResult:
        """Append rows that are in memory, or come from an iterator, in as many requests as they need.

        :param datasource: name of the data source.
        :param data: a pandas, polars or Arrow table, records, NDJSON, or a callable that returns or yields any of them.
        :param wait: have each request acknowledged by the database, instead of merely accepted.
        :param compression: ``gzip``; ``auto`` to find out whether it pays; ``None``.
        :param delivery: what happens when an answer is lost: ``at_most_once`` stops, ``at_least_once`` sends again,
            ``exactly_once`` looks into the data source.
        :param batch_id_column: for ``exactly_once``: String column of the data source that takes the id of each row's batch.
        :param load_id: for ``exactly_once``: name of the load; calls with the same name and data source are the same load.
        :param max_in_flight: requests under way at once, 1 to 20.
        :param pacing: keep below 19 MB/s and 95 requests a second.
        :param create_missing: let a Classic workspace create the data source where it does not exist, with columns guessed from the rows.
            Without it that is an error, as far as the token may see which data sources there are.
        :param min_rows: rows that the data must have. Fewer are an error before the first is sent, except where they are more than 32 MB of
            NDJSON.
        :param on_narrowing: what to do about a value that its column would change without a word, such as a time out of range:
            ``fail`` before it is sent, or ``allow``.
        :param memory: what a task remembers of the load; for operators.
        :return: rows in and rows in quarantine, requests, bytes, and rows that an earlier attempt had sent.
        :raises NotEnoughRowsError: the data has fewer rows than ``min_rows``, and nothing was sent.
        :raises MissingDatasourceError: the data source does not exist, and nothing was sent.
        :raises LoadInterruptedError: it broke after rows were in, or may be; the message tells which.
        :raises InvalidInputError: the data or an argument cannot be used, and nothing was sent.
        """
        options = LoadOptions(
            wait=wait,
            compression=Compression.parse(compression),
            delivery=Delivery.parse(delivery),
            batch_id_column=batch_id_column,
            max_in_flight=max_in_flight,
            pacing=pacing,
            on_narrowing=OnNarrowing.parse(on_narrowing),
        )
        memory = memory or LoadMemory(load_id=load_id)
        found = memory.found or look_up(self.client, datasource, create_missing=create_missing)
        return load_data(self.client, datasource, data, options, memory, found, min_rows=min_rows)

    def append_url(
        self,
        datasource: str,
        url: str,
        *,
        format: str = "csv",
        mode: str = "append",
        replace_condition: str | None = None,
        **options: Any,
    ) -> Job:
        """Have Tinybird fetch a file; returns the import's job at once.

        :param datasource: name of an existing data source.
        :param url: address that Tinybird can reach.
        :param format: ``csv``, ``ndjson`` or ``parquet``.
        :param mode: ``append``, or ``replace`` to swap the rows that are there.
        :param replace_condition: with ``replace``: only rows that match this SQL condition are swapped.
        :param options: those of :class:`~airflow_provider_tinybird.api.import_options.ImportOptions`, such as
            ``dialect_delimiter``.
        """
        submission = submissions.import_url(
            datasource,
            url,
            format=file_format(format),
            mode=mode,
            replace_condition=replace_condition,
            options=ImportOptions(**options),
        )
        return self.send(submission.call)

    def append_file(
        self,
        datasource: str,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        mode: str = "append",
        replace_condition: str | None = None,
        by_url: bool = False,
        max_size: int | None = None,
        on_narrowing: str = "fail",
        **options: Any,
    ) -> Job:
        """Send a file, streamed in constant memory; returns the import's job at once.

        :param datasource: name of an existing data source.
        :param path: local path, or URL or ObjectStoragePath of Airflow's object storage.
        :param format: ``csv``, ``ndjson`` or ``parquet``; by default what the name ends in, with or without ``.gz``.
        :param mode: ``append``, or ``replace`` to swap the rows that are there.
        :param replace_condition: with ``replace``: only rows that match this SQL condition are swapped.
        :param by_url: have Tinybird fetch the file from the object store, by an address that is signed for a few hours.
        :param max_size: the most bytes that the file may have; by default what Tinybird documents.
        :param on_narrowing: what to do about a value of a Parquet file that its column would change without a word: ``fail`` before the
            file is sent, or ``allow``.
        :param options: those of :class:`~airflow_provider_tinybird.api.import_options.ImportOptions`, such as
            ``dialect_delimiter``.
        """
        submission = upload(
            datasource,
            path,
            format=format,
            mode=mode,
            replace_condition=replace_condition,
            by_url=by_url,
            max_size=max_size,
            gate=self._file_gate(datasource, on_narrowing),
            options=ImportOptions(**options),
        )
        return self.send(submission.call)

    def _file_gate(self, datasource: str, on_narrowing: str) -> Callable[[], Gate | None]:
        policy = OnNarrowing.parse(on_narrowing)
        return lambda: file_gate(self.client, datasource, policy)

    def truncate(self, datasource: str) -> Truncated:
        """Delete all rows of a data source, at once."""
        return self.send(datasources.truncate(datasource))

    def delete_rows(self, datasource: str, delete_condition: str, *, lightweight: bool = False) -> Job:
        """Delete the rows that match a SQL condition; returns the delete's job at once.

        :param lightweight: use Tinybird's lightweight delete (beta), which does not rewrite whole parts.
        """
        return self.send(submissions.delete_rows(datasource, delete_condition, lightweight=lightweight).call)

    def count_rows_to_delete(self, datasource: str, delete_condition: str) -> RowsToDelete:
        """Count the rows that a delete would remove, without removing them."""
        return self.send(datasources.count_rows_to_delete(datasource, delete_condition))

    def run_copy(
        self,
        pipe: str,
        parameters: Mapping[str, Any] | None = None,
        mode: str | None = None,
        *,
        on_demand_compute: bool = False,
    ) -> Job:
        """Run a copy pipe; returns its job at once.

        :param parameters: the pipe's parameters.
        :param mode: ``append`` or ``replace``; by default as the pipe is configured.
        """
        submission = submissions.run_copy(pipe, parameters, mode=mode, on_demand_compute=on_demand_compute)
        return self.send(submission.call)

    def run_sink(self, pipe: str, parameters: Mapping[str, Any] | None = None) -> Job:
        """Run a sink pipe; returns its job at once."""
        return self.send(pipes.sink(pipe, parameters))

    def query(self, sql: str, *, pipeline: str | None = None) -> QueryResult:
        """Run a SELECT and return its rows. Values of ``Decimal`` columns are :class:`decimal.Decimal`.

        :param pipeline: name of a pipe that the SQL can read as ``_``.
        :raises NotTextError: a text has bytes that are not UTF-8, which JSON cannot hold; :meth:`query_df` gives them.
        """
        result = self.send(query.sql(sql, pipeline=pipeline))
        return checked_text(self.client, result, partial(query.count_bad_text, sql, pipeline=pipeline))

    def query_df(self, sql: str, *, pipeline: str | None = None) -> pd.DataFrame:
        """Run a SELECT and return a pandas DataFrame with the types of the columns, time zones included.

        The answer comes as Parquet, streamed to disk and read from there. A second query without rows asks for the types.

        :param pipeline: name of a pipe that the SQL can read as ``_``.
        """
        return data_frame(*query_table(self.client, sql, pipeline=pipeline))

    def query_arrow(self, sql: str, *, pipeline: str | None = None) -> pa.Table:
        """Run a SELECT and return a pyarrow Table with the types of the columns, time zones included.

        :param pipeline: name of a pipe that the SQL can read as ``_``.
        """
        table: pa.Table = query_table(self.client, sql, pipeline=pipeline)[0]
        return table

    def query_to_file(
        self,
        sql: str,
        output_path: str | os.PathLike[str],
        *,
        format: str = "Parquet",
        pipeline: str | None = None,
    ) -> int:
        """Run a SELECT and write its answer to a file as it streams in, in constant memory; returns its size in bytes.

        :param output_path: local path, or URL of Airflow's object storage. The file is there only when it is whole.
        :param format: ClickHouse format, such as ``Parquet`` or ``CSVWithNames``; a FORMAT clause in the SQL wins.
        :param pipeline: name of a pipe that the SQL can read as ``_``.
        """
        call = query.sql_as(sql, format, pipeline=pipeline)
        return int(write_result(self.client, call, output_path)["size"])

    def call_endpoint(
        self, pipe: str, parameters: Mapping[str, Any] | None = None, *, q: str | None = None
    ) -> QueryResult:
        """Call an endpoint and return its rows. Values of ``Decimal`` columns are :class:`decimal.Decimal`.

        :param parameters: the pipe's parameters.
        :param q: SQL over the result, which is ``_`` in it.
        """
        result = self.send(pipes.endpoint(pipe, parameters, q=q))
        return checked_text(self.client, result, partial(pipes.count_bad_text, pipe, parameters=parameters, q=q))

    def get_job(self, job_id: str) -> Job:
        """Look at a job."""
        return self.send(jobs_api.get_job(job_id))

    def wait_for_job(
        self, job_id: str, *, poll_interval: float = watch.POLL_INTERVAL, timeout: float = watch.TIMEOUT
    ) -> Job:
        """Wait until a job is over and return it. It is not cancelled when the time is over.

        :param poll_interval: seconds between two looks.
        :param timeout: seconds to wait at the most.
        :raises JobFailedError: it failed; :class:`JobCancelledError`, :class:`JobTimeoutError`, :class:`JobLostError`
            alike.
        """
        rules = watch.Rules.starting_now(timeout=timeout, poll_interval=poll_interval)
        outcome = watch.watch_job(self.client, watch.Watch(job_id, rules))
        if outcome is None:  # only with a patience, which is not given here
            raise AssertionError("the watch ended without an outcome")
        return outcomes.job_or_error(outcome)

    def cancel_job(self, job_id: str) -> Job:
        """Ask Tinybird to cancel a job.

        :raises BadRequestError: it cannot be cancelled any more.
        """
        return self.send(jobs_api.cancel_job(job_id))

    def test_connection(self) -> tuple[bool, str]:
        """Check the connection, for the button in Airflow's connection form; never raises.

        Narrow tokens are refused the workspace but are fine: then the token itself is checked.
        """
        try:
            with Client(self.settings, policy=_CHECK_POLICY) as client:
                return _check(client)
        except Exception as e:  # also a connection that is not there, or a file of certificates that cannot be read
            # The forms test what they hold under a name that they make up, which would only puzzle the reader.
            said = redact(str(e)).removeprefix(f"Connection '{self.tinybird_conn_id}': ")
            return False, said or type(e).__name__


def _check(client: Client) -> tuple[bool, str]:
    place = client.settings.base_url
    try:
        workspace = client.send(workspaces.get_workspace())
    except ApiError as refused:
        try:
            check = client.send(workspaces.get_auth())
        except TinybirdError:
            raise refused from None
        if not check.is_valid:
            hint = region_hint(client.settings)
            return False, f"{place} does not know the token{f': {hint}' if hint else ''}. Check Password and Host."
        return (
            True,
            f"Connected to {place}. The token is valid but narrow: it may not see which workspace it belongs to.",
        )
    expected = client.settings.workspace
    if expected and workspace.name != expected:
        return False, f"The token belongs to workspace '{workspace.name}', the connection expects '{expected}'."
    kind = {True: " (Forward)", False: " (Classic)", None: ""}[workspace.is_forward]
    return True, f"Connected to workspace '{workspace.name}'{kind} at {place}."
