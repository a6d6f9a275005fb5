"""SQL and endpoints."""

from __future__ import annotations

from airflow_provider_tinybird.api import pipes, query
from airflow_provider_tinybird.api.models import EndpointFormat
from api_cases.case import Case

LONG = {"unused": "x" * 4100}

CASES = (
    Case(query.sql, ("SELECT 1",), "POST /v0/sql", b"q=SELECT+1%0AFORMAT+JSON"),
    Case(query.sql_by_get, ("SELECT 1",), "GET /v0/sql?q=SELECT+1%0AFORMAT+JSON"),
    Case(query.sql_as, ("SELECT 1", "TSV"), "POST /v0/sql", b"q=SELECT+1%0AFORMAT+TSV"),
    Case(
        query.sql_as_parquet,
        ("SELECT 1",),
        "POST /v0/sql",
        b"q=SELECT+1%0AFORMAT+Parquet&output_format_parquet_string_as_string=1",
    ),
    Case(pipes.endpoint, ("shops", {"at_least": 1}), "GET /v0/pipes/shops.json?at_least=1"),
    Case(pipes.endpoint, ("shops", LONG), "POST /v0/pipes/shops.json", b"unused=" + b"x" * 4100),
    Case(pipes.endpoint_as, ("shops", EndpointFormat.CSV), "GET /v0/pipes/shops.csv"),
    Case(pipes.endpoint_as, ("shops", EndpointFormat.NDJSON), "GET /v0/pipes/shops.ndjson"),
    Case(pipes.endpoint_as, ("shops", EndpointFormat.PARQUET), "GET /v0/pipes/shops.parquet"),
    Case(pipes.endpoint_as, ("metrics", EndpointFormat.PROMETHEUS), "GET /v0/pipes/metrics.prometheus"),
    *(
        Case(
            pipes.endpoint_as,
            ("metrics" if form is EndpointFormat.PROMETHEUS else "shops", form, LONG),
            f"POST /v0/pipes/{'metrics' if form is EndpointFormat.PROMETHEUS else 'shops'}.{form.value}",
            b"unused=" + b"x" * 4100,
        )
        for form in EndpointFormat
        if form is not EndpointFormat.JSON
    ),
)
