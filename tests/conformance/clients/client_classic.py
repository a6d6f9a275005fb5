"""The command line of Classic: package ``tinybird-cli``, pointed at the sandbox by ``--host`` and ``--token``."""

from __future__ import annotations

from pathlib import Path

from command_line import CommandLine
from scenario import Sandbox, main, only_number


class Classic(CommandLine):
    package = "tinybird-cli"

    def __init__(self, sandbox: Sandbox, files: Path) -> None:
        super().__init__(sandbox, files, ["--host", sandbox.url, "--token", sandbox.token])

    def number(self, sql: str) -> int:
        return int(self.json(self.tb("sql", sql, "--format", "json"))["data"][0]["n"])

    def total(self, said: str) -> int:
        return only_number(said, r"Total rows in sales: (\d+)")

    def append_url(self, url: str) -> int:
        return self.total(self.tb("datasource", "append", "sales", url))

    def append_csv(self, file: Path) -> int:
        return self.total(self.tb("datasource", "append", "sales", str(file)))

    append_ndjson = append_csv

    def copy(self, pipe: str) -> None:
        self.tb("pipe", "copy", "run", pipe, "--wait", "--yes")

    def copy_replace(self, pipe: str, shop: str) -> None:
        self.tb("pipe", "copy", "run", pipe, "--wait", "--yes", "--mode", "replace", "--param", f"shop={shop}")

    def endpoint(self, pipe: str, top: int) -> int:
        answer = self.json(self.tb("pipe", "data", pipe, "--format", "json", "--top", str(top)))
        return sum(row["sales"] for row in answer["data"])

    def workspace(self) -> str:
        return self.workspace_id(self.tb("workspace", "current"))


main(Classic)
