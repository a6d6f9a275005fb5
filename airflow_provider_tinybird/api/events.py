"""Events API: rows as NDJSON, the way in for whatever is in memory."""

from __future__ import annotations

from airflow_provider_tinybird.api.body import NDJSON, BytesBody
from airflow_provider_tinybird.api.call import Call, Repeat, Reply
from airflow_provider_tinybird.api.encoding import loadable_name
from airflow_provider_tinybird.api.models import EventsResult


def send_events(
    datasource: str, body: bytes | memoryview, *, wait: bool = True, gzipped: bool = False
) -> Call[EventsResult]:
    """Append one body of events. ``POST /v0/events``.

    :param datasource: name of the data source. In a Classic workspace a missing one is created by guessing its schema
        from the rows (scope ``DATASOURCES:CREATE``); in a Forward one it must exist.
    :param body: NDJSON, one JSON object on each line; at most 10 MB on every plan.
    :param wait: answer only when the rows are in the database. Without it they are merely accepted and can still be
        lost.
    :param gzipped: the body is compressed with gzip.
    :return: rows in and rows in quarantine. Scope: ``DATASOURCES:APPEND:<datasource>``.
    """
    name = loadable_name(datasource)
    return Call(
        what=f"send events to data source '{datasource}'",
        method="POST",
        path="/v0/events",
        params=(("name", datasource), ("wait", "true" if wait else "false")),
        body=BytesBody(body, NDJSON, "gzip" if gzipped else None),
        read=_result,
        repeat=Repeat.ONCE,
        scope=f"DATASOURCES:APPEND:{name}",
        # Tinybird's guide asks for at least 10 s with wait=true, and its clients use 30 s; users see flushes of 25 s.
        min_timeout=60.0 if wait else 0.0,
        # 503 of the Events API means overload or an unavailable table, with nothing inserted.
        is_refused_when_busy=True,
        find_out=f"Count the rows of '{datasource}', or look at tinybird.datasources_ops_log (event type append-hfi).",
    )


def _result(reply: Reply) -> EventsResult:
    body = reply.json_object()
    return EventsResult(
        successful_rows=_count(body["successful_rows"]),  # an answer without it says nothing of the rows
        quarantined_rows=_count(body.get("quarantined_rows") or 0),
    )


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("that is no count of rows")
    return value
