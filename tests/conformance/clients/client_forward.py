"""The command line of Forward: package ``tinybird``.

It finds the sandbox as it finds Tinybird Local: by ``TB_LOCAL_HOST`` and ``TB_LOCAL_PORT``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from command_line import CommandLine
from scenario import Sandbox, main, only_number


class Forward(CommandLine):
    package = "tinybird"

    def __init__(self, sandbox: Sandbox, files: Path) -> None:
        super().__init__(sandbox, files, [])
        parts = urlsplit(self.url)
        os.environ["TB_LOCAL_HOST"], os.environ["TB_LOCAL_PORT"] = str(parts.hostname), str(parts.port)

    def number(self, sql: str) -> int:
        return int(self.json(self.tb("sql", sql, options=["--output", "json"]))["data"][0]["n"])

    def append_url(self, url: str) -> None:
        self.tb("datasource", "append", "sales", "--url", url)

    def append_csv(self, file: Path) -> None:
        self.tb("datasource", "append", "sales", "--file", str(file))

    append_ndjson = append_csv

    def append_events(self, rows: list[dict[str, Any]]) -> int:
        return only_number(self._events(rows), r"(\d+) rows? appended")

    def append_bad_events(self, rows: list[dict[str, Any]]) -> int:
        return only_number(self._events(rows), r"(\d+) rows? went to quarantine")

    def _events(self, rows: list[dict[str, Any]]) -> str:
        said = self.tb("datasource", "append", "sales", "--events", "\n".join(map(json.dumps, rows)))
        self.how = "tb datasource append sales --events …"
        return said

    def copy(self, pipe: str) -> None:
        self.tb("copy", "run", pipe, "--wait")

    def copy_replace(self, pipe: str, shop: str) -> None:
        self.tb("copy", "run", pipe, "--wait", "--mode", "replace", "--param", f"shop={shop}")

    def endpoint(self, pipe: str, top: int) -> int:
        answer = self.json(self.tb("endpoint", "data", pipe, "--format", "json", "--top", str(top)))
        return sum(row["sales"] for row in answer["data"])

    def workspace(self) -> str:
        # Of a workspace in the cloud only, so it is pointed at the sandbox as at any other host.
        options = ["--host", self.url, "--token", self.token]
        return self.workspace_id(self.tb("workspace", "current", options=options))


main(Forward)
