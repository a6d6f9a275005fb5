"""Rows in: events and imports."""

from __future__ import annotations

from airflow_provider_tinybird.api import events, imports, quarantine
from airflow_provider_tinybird.api.models import Job
from api_cases.case import CSV, CSV_, FORM_URL, URL, Case, Send, a_file, count, done, file_of, finished

# Three are there, three are in the file of the address, one is in that of the body.
BY_URL = "format=csv&url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv"


def then(rows: int) -> dict[str, object]:
    """An import that leaves so many rows in sales."""

    def shows(found: object, send: Send) -> bool:
        return (not isinstance(found, Job) or done(found, send)) and count(send, "sales") == rows

    return {"shows": shows}


def one_bad_row(send: Send) -> tuple[str, str]:
    """The data source, and the id of an import that brought a row that does not fit."""
    job = send(imports.append_file_v1("sales", a_file(b"day,shop,amount\nno date,a,1\n"), **CSV_))
    return "sales", finished(job, send).id


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
    Case(
        quarantine.count_of_import,
        ("sales", "i-1"),
        "POST /v0/sql",
        b"q=SELECT+count%28%29+AS+c__rows+FROM+%60sales_quarantine%60+WHERE+c__import_id+%3D+%27i-1%27%0AFORMAT+JSON",
        live=one_bad_row,
        shows=lambda found, _: found == 1,
    ),
    Case(
        quarantine.reasons,
        ("sales",),
        "POST /v0/sql",
        b"q=SELECT+c__error_column%2C+any%28c__error%29+AS+c__errors%2C+count%28%29+AS+c__rows+FROM+%60sales_quarantine%60"
        b"+WHERE+insertion_date+%3E%3D+toDateTime%28intDiv%28toUnixTimestamp64Milli%28now64%283%29%29+-+61000%2C+1000%29%29"
        b"+GROUP+BY+c__error_column+ORDER+BY+c__rows+DESC%2C+c__error_column+LIMIT+5%0AFORMAT+JSON",
        kw={"seconds": 60},
        live=lambda send: one_bad_row(send)[:1],
        shows=lambda found, _: [(one.columns, one.rows) for one in found] == [(("day",), 1)],
    ),
)
