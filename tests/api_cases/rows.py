"""Rows in: events and imports."""

from __future__ import annotations

from airflow_provider_tinybird.api import events, imports
from api_cases.case import CSV, CSV_, FORM_URL, URL, Case, a_file

CASES = (
    Case(events.send_events, ("events", b'{"id":1}\n'), "POST /v0/events?name=events&wait=true", b'{"id":1}\n'),
    Case(
        imports.append_url, ("sales", URL), "POST /v0/datasources?mode=append&name=sales&format=csv", FORM_URL, kw=CSV_
    ),
    Case(
        imports.replace_url,
        ("sales", URL),
        "POST /v0/datasources?mode=replace&name=sales&format=csv",
        FORM_URL,
        kw=CSV_,
    ),
    Case(
        imports.append_url_v1,
        ("sales", URL),
        "POST /v1/datasources/sales/append?format=csv&url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv",
        kw=CSV_,
    ),
    Case(
        imports.replace_url_v1,
        ("sales", URL),
        "POST /v1/datasources/sales/replace?format=csv&url=http%3A%2F%2F127.0.0.1%3A9%2Fx.csv",
        kw=CSV_,
    ),
    Case(
        imports.append_file,
        ("sales", a_file()),
        "POST /v0/datasources?mode=append&name=sales&format=csv",
        CSV,
        kw={**CSV_, "file_name": "x.csv"},
    ),
    Case(
        imports.replace_file,
        ("sales", a_file()),
        "POST /v0/datasources?mode=replace&name=sales&format=csv",
        CSV,
        kw={**CSV_, "file_name": "x.csv"},
    ),
    Case(imports.append_body, ("sales", CSV), "POST /v0/datasources?mode=append&name=sales&format=csv", CSV, kw=CSV_),
    Case(
        imports.replace_body,
        ("sales", CSV),
        "POST /v0/datasources?mode=replace&name=sales&format=csv&replace_condition=amount+%3D+1",
        CSV,
        kw={**CSV_, "condition": "amount = 1"},
    ),
    Case(imports.append_file_v1, ("sales", a_file()), "POST /v1/datasources/sales/append?format=csv", CSV, kw=CSV_),
    Case(imports.replace_file_v1, ("sales", a_file()), "POST /v1/datasources/sales/replace?format=csv", CSV, kw=CSV_),
)
