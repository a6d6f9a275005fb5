"""Rows in: events and imports."""

from __future__ import annotations

from airflow_provider_tinybird.api import events, imports
from airflow_provider_tinybird.api.job import Job
from api_cases.case import CSV, CSV_, FORM_URL, URL, Case, Send, a_file, count, done, file_of

# Three are there, three are in the file of the address, one is in that of the body.
BY_URL = "format=csv&url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv"


def then(rows: int) -> dict[str, object]:
    """An import that leaves so many rows in sales."""

    def shows(found: object, send: Send) -> bool:
        return (not isinstance(found, Job) or done(found, send)) and count(send, "sales") == rows

    return {"shows": shows}


def by_url(send: Send) -> tuple[str, str]:
    return "sales", file_of(send)


CASES = (
    Case(
        events.send_events,
        ("events", b'{"id":1,"user":{"name":"n"},"at":"2026-01-01 00:00:00"}\n{"id":"no number"}\n'),
        "POST /v0/events?name=events&wait=true",
        b'{"id":1,"user":{"name":"n"},"at":"2026-01-01 00:00:00"}\n{"id":"no number"}\n',
        shows=lambda found, send: (
            (found.successful_rows, found.quarantined_rows) == (1, 1)
            and count(send, "events") == count(send, "events_quarantine") == 1
        ),
    ),
    Case(
        imports.append_url,
        ("sales", URL),
        "POST /v0/datasources?mode=append&name=sales&format=csv",
        FORM_URL,
        kw=CSV_,
        live=by_url,
        **then(6),
    ),
    Case(
        imports.replace_url,
        ("sales", URL),
        "POST /v0/datasources?mode=replace&name=sales&format=csv",
        FORM_URL,
        kw=CSV_,
        live=by_url,
        **then(3),
    ),
    Case(
        imports.append_url_v1,
        ("sales", URL),
        f"POST /v1/datasources/sales/append?{BY_URL}",
        kw=CSV_,
        live=by_url,
        **then(6),
    ),
    Case(
        imports.replace_url_v1,
        ("sales", URL),
        f"POST /v1/datasources/sales/replace?{BY_URL}",
        kw=CSV_,
        live=by_url,
        **then(3),
    ),
    Case(
        imports.append_file,
        ("sales", a_file()),
        "POST /v0/datasources?mode=append&name=sales&format=csv",
        CSV,
        kw={**CSV_, "file_name": "x.csv"},
        **then(4),
    ),
    Case(
        imports.replace_file,
        ("sales", a_file()),
        "POST /v0/datasources?mode=replace&name=sales&format=csv",
        CSV,
        kw={**CSV_, "file_name": "x.csv"},
        **then(1),
    ),
    Case(
        imports.append_body,
        ("sales", CSV),
        "POST /v0/datasources?mode=append&name=sales&format=csv",
        CSV,
        kw=CSV_,
        **then(4),
    ),
    Case(
        imports.replace_body,
        ("sales", CSV),
        "POST /v0/datasources?mode=replace&name=sales&format=csv&replace_condition=amount+%3D+1",
        CSV,
        kw={**CSV_, "condition": "amount = 1"},
        **then(3),
    ),
    Case(
        imports.append_file_v1,
        ("sales", a_file()),
        "POST /v1/datasources/sales/append?format=csv",
        CSV,
        kw=CSV_,
        **then(4),
    ),
    Case(
        imports.replace_file_v1,
        ("sales", a_file()),
        "POST /v1/datasources/sales/replace?format=csv",
        CSV,
        kw=CSV_,
        **then(1),
    ),
)
