"""Rows of a job: of an import by its blocks and never by the size of the data source; of a copy by the log."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_tinybird.api.client import Client
from airflow_provider_tinybird.api.job import parse_job
from airflow_provider_tinybird.api.redact import Token
from airflow_provider_tinybird.api.settings import Settings
from airflow_provider_tinybird.policies import row_counts

JOB = {"id": "j1", "status": "done", "kind": "import", "statistics": {"row_count": 1_000_000}}


def client(answer: httpx.Response, seen: list[httpx.Request] | None = None) -> Client:
    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return answer

    settings = Settings(base_url="https://api.tinybird.co", token=Token("p.x.y"), max_retries=0)
    return Client(settings, transport=httpx.MockTransport(handle))


def test_an_import_is_counted_by_its_blocks() -> None:
    blocks = [
        {"process_return": [{"lines": 10, "quarantine": 1, "bytes": 5}, {"lines": 5, "quarantine": 0, "bytes": 5}]},
        {"process_return": None},
    ]
    seen: list[httpx.Request] = []
    found = row_counts.of_import(
        client(httpx.Response(200, json=JOB | {"blocks": blocks}), seen), parse_job(JOB | {"invalid_lines": 2})
    )
    assert found.as_xcom() == {"rows": 15, "quarantine_rows": 1, "invalid_lines": 2}
    assert seen[0].url.params["debug"] == "blocks,block_log"


@pytest.mark.parametrize("answer", [httpx.Response(403, json={"error": "no"}), httpx.Response(200, json=JOB)])
def test_an_import_whose_blocks_cannot_be_seen_is_not_counted_by_its_statistics(answer: httpx.Response) -> None:
    assert row_counts.of_import(client(answer), parse_job(JOB)).as_xcom() == {"rows": None}


@pytest.mark.parametrize(
    ("row", "rows"), [({"operations": 1, "written": 42}, 42), ({"operations": 0, "written": 0}, None)]
)
def test_a_copy_is_counted_by_the_log_of_operations(row: dict[str, int], rows: int | None) -> None:
    seen: list[httpx.Request] = []
    found = row_counts.of_copy(
        client(httpx.Response(200, json={"meta": [], "data": [row], "rows": 1}), seen), parse_job(JOB)
    )
    assert found.as_xcom() == {"rows": rows}
    assert b"datasources_ops_log" in seen[0].content


def test_a_copy_is_green_without_a_view_of_the_log() -> None:
    assert row_counts.of_copy(client(httpx.Response(403, json={"error": "no"})), parse_job(JOB)).rows is None
