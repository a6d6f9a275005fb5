"""SQL and endpoints."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq

from airflow_provider_tinybird.api import pipes, query
from airflow_provider_tinybird.api.models import EndpointFormat, RawResult
from api_cases.case import Case, Send

LONG = {"unused": "x" * 4100}
TOTALS = [{"shop": "a", "total": 3}, {"shop": "b", "total": 5}]
TEXTS = {
    EndpointFormat.CSV: '"shop","total"\n"a",3\n"b",5\n',
    EndpointFormat.NDJSON: '{"shop":"a","total":3}\n{"shop":"b","total":5}\n',
    EndpointFormat.PROMETHEUS: "# HELP rows rows of sales\n# TYPE rows gauge\nrows 3\n\n",
}


def as_expected(found: RawResult, _: Send) -> bool:
    form = EndpointFormat(found.format)
    if form is EndpointFormat.PARQUET:
        return parquet(found)["total"] == [3, 5]
    return found.text == TEXTS[form]


def parquet(found: RawResult) -> dict[str, Any]:
    return dict(pq.read_table(io.BytesIO(found.content)).to_pydict())


def in_each_format(method: str, parameters: dict[str, str]) -> tuple[Case, ...]:
    cases = []
    for form in EndpointFormat:
        if form is not EndpointFormat.JSON:
            pipe = "metrics" if form is EndpointFormat.PROMETHEUS else "shops"
            body = b"unused=" + b"x" * 4100 if method == "POST" else b""
            sent = f"{method} /v0/pipes/{pipe}.{form.value}"
            cases.append(Case(pipes.endpoint_as, (pipe, form, parameters), sent, body, shows=as_expected))
    return tuple(cases)


CASES = (
    Case(
        query.sql,
        ("SELECT sum(amount) AS n FROM sales",),
        "POST /v0/sql",
        b"q=SELECT+sum%28amount%29+AS+n+FROM+sales%0AFORMAT+JSON",
        shows=lambda found, _: list(found.data) == [{"n": 8}],
    ),
    Case(
        query.sql_by_get,
        ("SELECT 1 AS n",),
        "GET /v0/sql?q=SELECT+1+AS+n%0AFORMAT+JSON",
        shows=lambda found, _: list(found.data) == [{"n": 1}],
    ),
    Case(
        query.sql_as,
        ("SELECT 1", "TSV"),
        "POST /v0/sql",
        b"q=SELECT+1%0AFORMAT+TSV",
        shows=lambda found, _: found.text == "1\n",
    ),
    Case(
        query.sql_as_parquet,
        ("SELECT 'x' AS c",),
        "POST /v0/sql",
        b"q=SELECT+%27x%27+AS+c%0AFORMAT+Parquet&output_format_parquet_string_as_string=1",
        shows=lambda found, _: parquet(found) == {"c": ["x"]},
    ),
    Case(
        query.count_bad_text,
        ("SELECT unhex('ff') AS s", ["s"]),
        "POST /v0/sql",
        b"q=SELECT+countIf%28NOT+isValidUTF8%28toString%28%60s%60%29%29%29+AS+c0+FROM+%28%0ASELECT+unhex%28%27ff%27%29+AS+s%0A%29"
        b"%0AFORMAT+JSON",
        shows=lambda found, _: found == {"s": 1},
    ),
    Case(
        pipes.count_bad_text,
        ("shops", ["shop"]),
        "GET /v0/pipes/shops.json?q=SELECT+countIf%28NOT+isValidUTF8%28toString%28%60shop%60%29%29%29+AS+c0+FROM+_",
        shows=lambda found, _: found == {},
    ),
    Case(
        query.column_types,
        ("SELECT 1 AS n FORMAT CSV;",),
        "POST /v0/sql",
        b"q=SELECT+%2A+FROM+%28%0ASELECT+1+AS+n+%0A%29+LIMIT+0%0AFORMAT+JSON",
        shows=lambda found, _: [(one.name, one.type) for one in found] == [("n", "UInt8")],
    ),
    Case(
        pipes.endpoint,
        ("shops", {"at_least": 1}),
        "GET /v0/pipes/shops.json?at_least=1",
        shows=lambda found, _: list(found.data) == TOTALS,
    ),
    Case(
        pipes.endpoint,
        ("shops", LONG),
        "POST /v0/pipes/shops.json",
        b"unused=" + b"x" * 4100,
        shows=lambda found, _: list(found.data) == TOTALS,
    ),
    *in_each_format("GET", {}),
    *in_each_format("POST", LONG),
)
