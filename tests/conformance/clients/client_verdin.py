"""The community's client ``verdin``, pointed at the sandbox by its host and token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scenario import Client, NotOfferedError, Sandbox, main
from verdin.api.apis import Apis


class Verdin(Client):
    package = "verdin"

    def __init__(self, sandbox: Sandbox, files: Path) -> None:
        super().__init__(sandbox, files)
        self.apis = Apis(sandbox.token, sandbox.url)

    def number(self, sql: str) -> int:
        self.how = "QueryApi.query"
        return int(self.apis.query.query(sql, format="JSON").data[0]["n"])

    def append_url(self, url: str) -> None:
        raise NotOfferedError("bodies only")

    def append_csv(self, file: Path) -> int:
        self.how = "DataSourcesApi.append(format='csv')"
        return self._rows(self.apis.datasources.append("sales", file.read_bytes(), format="csv"))

    def append_ndjson(self, file: Path) -> int:
        self.how = "DataSourcesApi.append(format='ndjson')"
        return self._rows(self.apis.datasources.append("sales", file.read_bytes(), format="ndjson"))

    def _rows(self, answer: Any) -> int | None:
        if answer.quarantine_rows or answer.invalid_lines or answer.error:
            raise AssertionError(f"quarantine {answer.quarantine_rows}, invalid {answer.invalid_lines}: {answer.error}")
        return None

    def append_events(self, rows: list[dict[str, Any]]) -> int:
        self.how = "EventsApi.send(wait=True, compress=True)"
        return int(self.apis.events.send("sales", rows, wait=True, compress=True).successful_rows)

    def append_bad_events(self, rows: list[dict[str, Any]]) -> int:
        self.how = "EventsApi.send"
        return int(self.apis.events.send("sales", rows).quarantined_rows)

    def truncate(self) -> None:
        self.how = "DataSourcesApi.truncate"
        self.apis.datasources.truncate("sales")

    def endpoint(self, pipe: str, top: int) -> int:
        self.how = "PipesApi.query"
        return sum(row["sales"] for row in self.apis.pipes.query(pipe, parameters={"top": str(top)}).data)

    def row_count(self, name: str) -> int:
        self.how = "DataSourcesApi.list"
        [found] = [one for one in self.apis.datasources.list().datasources if one["name"] == name]
        return int(found["statistics"]["row_count"])

    def tokens(self) -> int:
        self.how = "TokensApi.list"
        return len(self.apis.tokens.list().tokens)


main(Verdin)
