"""Tinybird's older Python SDK: package ``tinybird-python-sdk``, pointed at the sandbox by ``api_url`` and ``token``.

It has events, and for everything else a generic client, which is used here as its users have to use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from scenario import Client, NotOfferedError, Sandbox, main
from tb.api import API
from tb.datasource import Datasource


class OldSdk(Client):
    package = "tinybird-python-sdk"

    def __init__(self, sandbox: Sandbox, files: Path) -> None:
        super().__init__(sandbox, files)
        self.api = API(sandbox.token, sandbox.url)

    def get(self, path: str, **params: object) -> Any:
        self.how = "API.get"
        return self.api.get(f"{path}?{urlencode(params)}").json()

    def post(self, path: str, data: Any = b"", **params: object) -> Any:
        self.how = "API.post"
        answer = self.api.post(f"{path}?{urlencode(params)}", data=data)
        return answer.json() if answer.content else None

    def number(self, sql: str) -> int:
        return int(self.get("/sql", q=f"{sql} FORMAT JSON")["data"][0]["n"])

    def append_url(self, url: str) -> None:
        self.post("/datasources", name="sales", mode="append", format="ndjson", url=url)

    def append_csv(self, file: Path) -> None:
        self.post("/datasources", file.read_bytes(), name="sales", mode="append", format="csv")

    def append_ndjson(self, file: Path) -> None:
        self.post("/datasources", file.read_bytes(), name="sales", mode="append", format="ndjson")

    def append_events(self, rows: list[dict[str, Any]]) -> None:
        self.how = "Datasource.append"
        # It buffers rows, sends them at the end, and drops the answer.
        with Datasource("sales", self.token, api_url=self.url) as datasource:
            for row in rows:
                datasource.append(row)

    append_bad_events = append_events

    def replace_url(self, url: str) -> None:
        self.post("/datasources", name="sales", mode="replace", format="ndjson", url=url)

    def replace_where(self, file: Path, condition: str) -> None:
        params = {"name": "sales", "mode": "replace", "format": "ndjson", "replace_condition": condition}
        self.post("/datasources", file.read_bytes(), **params)

    def copy(self, pipe: str) -> None:
        self.post(f"/pipes/{pipe}/copy")

    def copy_replace(self, pipe: str, shop: str) -> None:
        self.post(f"/pipes/{pipe}/copy", _mode="replace", shop=shop)

    def delete_dry_run(self, condition: str) -> int:
        form = {"delete_condition": condition, "dry_run": "true"}
        return int(self.post("/datasources/sales/delete", form)["rows_to_be_deleted"])

    def delete(self, condition: str) -> None:
        self.post("/datasources/sales/delete", {"delete_condition": condition})

    def delete_lightweight(self, condition: str) -> int:
        raise NotOfferedError("it only speaks /v0")

    def truncate(self) -> None:
        self.post("/datasources/sales/truncate")

    def endpoint(self, pipe: str, top: int) -> int:
        return sum(row["sales"] for row in self.get(f"/pipes/{pipe}.json", top=top)["data"])

    def row_count(self, name: str) -> int:
        [found] = [one for one in self.get("/datasources")["datasources"] if one["name"] == name]
        return int(found["statistics"]["row_count"])

    def list_jobs(self) -> int:
        return len(self.get("/jobs")["jobs"])

    def job_details(self, job_id: str) -> int:
        return int(self.get(f"/jobs/{job_id}")["rows_affected"])

    def cancel_job(self, job_id: str) -> None:
        self.post(f"/jobs/{job_id}/cancel")

    def workspace(self) -> str:
        return str(self.get("/workspace")["id"])

    def tokens(self) -> int:
        return len(self.get("/tokens")["tokens"])


main(OldSdk)
