"""Tinybird's Python SDK: package ``tinybird-sdk``, pointed at the sandbox by ``base_url`` and ``token``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scenario import Client, NotOfferedError, RefusedError, Sandbox, main
from tinybird_sdk.api.api import TinybirdApi
from tinybird_sdk.api.workspaces import get_workspace
from tinybird_sdk.client.base import create_client


class Sdk(Client):
    package = "tinybird-sdk"

    def __init__(self, sandbox: Sandbox, files: Path) -> None:
        super().__init__(sandbox, files)
        self.config = {"base_url": sandbox.url, "token": sandbox.token}
        self.api = TinybirdApi(self.config)
        self.client = create_client(self.config)

    def number(self, sql: str) -> int:
        self.how = "TinybirdApi.sql"
        return int(self.api.sql(f"{sql} FORMAT JSON")["data"][0]["n"])

    def append_url(self, url: str) -> None:
        # It answers with the job that was queued, and does not wait for it.
        self.how = "datasources.append(url=)"
        self.client.datasources.append("sales", {"url": url})

    def append_missing_url(self, url: str) -> None:
        raise NotOfferedError("it does not wait for the job, so it cannot tell")

    def append_csv(self, file: Path) -> None:
        self.how = "datasources.append(file=)"
        self.client.datasources.append("sales", {"file": str(file)})

    append_ndjson = append_csv

    def append_events(self, rows: list[dict[str, Any]]) -> int:
        self.how = "TinybirdApi.ingest_batch"
        answer = self.api.ingest_batch("sales", rows)
        return int(answer["successful_rows"])

    def append_bad_events(self, rows: list[dict[str, Any]]) -> int:
        self.how = "TinybirdApi.ingest_batch"
        return int(self.api.ingest_batch("sales", rows)["quarantined_rows"])

    def replace_url(self, url: str) -> None:
        self.how = "datasources.replace(url=)"
        self.client.datasources.replace("sales", {"url": url})

    def replace_where(self, file: Path, condition: str) -> None:
        raise NotOfferedError("replaces everything only")

    def delete_dry_run(self, condition: str) -> int:
        self.how = "datasources.delete(dry_run=True)"
        answer = self.client.datasources.delete("sales", {"delete_condition": condition, "dry_run": True})
        return int(answer["rows_to_be_deleted"])

    def delete(self, condition: str) -> None:
        self.how = "datasources.delete"
        answer = self.client.datasources.delete("sales", {"delete_condition": condition})
        if not answer["job_id"]:
            raise RefusedError(f"no job in {answer}")

    def truncate(self) -> None:
        self.how = "datasources.truncate"
        self.client.datasources.truncate("sales")

    def endpoint(self, pipe: str, top: int) -> int:
        self.how = "TinybirdApi.query"
        return sum(row["sales"] for row in self.api.query(pipe, {"top": top})["data"])

    def row_count(self, name: str) -> int:
        # Of the data source alone: the SDK lists names only.
        self.how = "TinybirdApi.request_json"
        return int(self.api.request_json(f"/v0/datasources/{name}")["statistics"]["row_count"])

    def list_jobs(self) -> int:
        self.how = "TinybirdApi.request_json"
        return len(self.api.request_json("/v0/jobs")["jobs"])

    def job_details(self, job_id: str) -> int:
        self.how = "TinybirdApi.request_json"
        return int(self.api.request_json(f"/v0/jobs/{job_id}")["rows_affected"])

    def cancel_job(self, job_id: str) -> None:
        self.how = "TinybirdApi.request_json"
        self.api.request_json(f"/v0/jobs/{job_id}/cancel", method="POST")

    def workspace(self) -> str:
        self.how = "get_workspace"
        return str(get_workspace(self.config).id)

    def tokens(self) -> int:
        self.how = "TinybirdApi.request_json"
        return len(self.api.request_json("/v0/tokens")["tokens"])


main(Sdk)
